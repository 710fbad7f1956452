//! Messages and services generated from the files in `proto/`.

#![allow(missing_docs, reason = "generated; the .proto files carry the documentation")]
#![allow(clippy::all, reason = "generated")]

/// Records: produce and fetch. No topic names.
pub mod data {
    pub mod v1 {
        tonic::include_proto!("weir.data.v1");
    }
    pub use v1::*;
}
/// The map of a cluster; the only place where topic names travel.
pub mod metadata {
    pub mod v1 {
        tonic::include_proto!("weir.metadata.v1");
    }
    pub use v1::*;
}
/// Named consumers and their committed offsets. No topic names.
pub mod offsets {
    pub mod v1 {
        tonic::include_proto!("weir.offsets.v1");
    }
    pub use v1::*;
}
/// Between the SPUs of a cluster. No topic names.
pub mod replication {
    pub mod v1 {
        tonic::include_proto!("weir.replication.v1");
    }
    pub use v1::*;
}
/// Between an SPU and the control plane.
pub mod session {
    pub mod v1 {
        tonic::include_proto!("weir.session.v1");
    }
    pub use v1::*;
}

/// The encoded `FileDescriptorSet` of all packages, for tests and tools.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
