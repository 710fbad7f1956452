//! Compiles the .proto files without protoc; keeps the descriptor set for tests and tools.

#![allow(clippy::disallowed_methods, reason = "a build script works on the builder's disk")]

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 5] = [
    "weir/data/v1/data.proto",
    "weir/metadata/v1/metadata.proto",
    "weir/offsets/v1/offsets.proto",
    "weir/replication/v1/replication.proto",
    "weir/session/v1/session.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        // Record batches are sliced out of the HTTP/2 frame, never copied into a Vec.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
