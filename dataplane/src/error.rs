//! Why an SPU could not start, or ended by itself.

use std::io;

use weir_protocol::ErrorCode;

use crate::data_folder::FolderError;

/// Why [`crate::run()`] returned without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpuError {
    /// The listening address cannot be had.
    #[error(
        "cannot listen on {address}: {source}. Stop what uses the port, or choose another with --listen"
    )]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody could be told how to reach this SPU.
    #[error(
        "{address} is where to listen, not where clients can connect to; say where with --advertise HOST:PORT"
    )]
    NoEndpoint {
        /// The address listened on.
        address: String,
    },
    /// The data folder is not usable.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The control plane refuses this SPU for good.
    #[error("the control plane refused this SPU, {code}: {message}. {}", remedy(*code))]
    Refused {
        /// Why.
        code: ErrorCode,
        /// The control plane's words.
        message: String,
    },
    /// A part of the SPU ended by a panic.
    #[error("{0} ended by a panic; this is a bug")]
    Bug(&'static str),
    /// The operating system has no randomness to give.
    #[error("no randomness from the operating system: {0}")]
    Randomness(io::Error),
}

/// What somebody who reads the refusal can do.
fn remedy(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::StaleLaunch => {
            "A newer start of this SPU is the current one; this process ends so that it does not disturb it"
        }
        ErrorCode::SpuRemoved => {
            "It holds nothing that its cluster needs; the folder may be deleted"
        }
        ErrorCode::FolderMismatch => {
            "Start it with the data folder that it had, or remove the SPU and add a new one"
        }
        ErrorCode::UnknownCluster => "Check --org, --cluster and --control-plane",
        ErrorCode::Unauthenticated => "Check the launch id and WEIR_LAUNCH_SECRET",
        ErrorCode::UnsupportedVersion => "Use the same version of Weir on both sides",
        _ => "The control plane's log says more",
    }
}
