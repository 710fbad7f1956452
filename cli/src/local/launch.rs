//! The command line that starts the home's control plane.

use std::ffi::OsString;

use super::endpoint::{self, Endpoint};
use crate::home::Home;

/// Arguments of this program that make it the home's control plane.
pub fn arguments(home: &Home, endpoint: &Endpoint) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["run", "control-plane", "--own-session"].map(Into::into).to_vec();
    let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    option("--data-dir", home.control_plane().into());
    option("--clusters-dir", home.clusters().into());
    option("--http-listen", endpoint.http.clone().into());
    option("--rpc-listen", endpoint.rpc.clone().into());
    option("--admin-key-file", endpoint::key_file(home).into());
    // It belongs to whoever asks it: that user may write wherever the system permits it.
    option("--data-dir-root", "/".into());
    arguments
}
