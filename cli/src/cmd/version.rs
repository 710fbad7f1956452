//! `weir version`.

use clap::Args;
use serde::Serialize;

use crate::{
    error::Result,
    out::{self, OutputArg},
};

/// Options of `weir version`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir version\n  weir version -o json")]
pub struct VersionArgs {
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    os: &'static str,
    architecture: &'static str,
    debug: bool,
}

/// Prints it.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &VersionArgs) -> Result<()> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        debug: cfg!(debug_assertions),
    };
    out::print(args.output.format, &version, || {
        let build = if version.debug { ", debug build" } else { "" };
        format!("weir {} ({}, {}{build})", version.version, version.os, version.architecture)
    })
}
