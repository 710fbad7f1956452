//! Which ports the home's control plane listens on: free ones from 9400 upward, on the
//! loopback device only, remembered for the next start.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
};

/// Where the search begins.
pub const FIRST: u16 = 9400;
/// How many ports are tried.
const TRIED: u16 = 100;

/// Two free ports next to each other, not below `from`: HTTP and gRPC. They are free now,
/// which is no promise for later.
pub fn free_pair(from: u16) -> Option<(u16, u16)> {
    let last = FIRST.checked_add(TRIED)?;
    (from..last)
        .step_by(2)
        .map(|http| (http, http + 1))
        .find(|(http, rpc)| is_free(*http) && is_free(*rpc))
}

/// Whether a server could listen on this port of the loopback device now.
pub fn is_free(port: u16) -> bool {
    obstacle(port).is_none()
}

/// Why a server could not listen on this port of the loopback device now, if so.
pub fn obstacle(port: u16) -> Option<io::Error> {
    TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).err()
}

/// `127.0.0.1:port`.
pub fn loopback(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}

/// The port of `host:port`.
pub fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let Some((http, _)) = free_pair(FIRST) else { return };
        let Ok(taken) = TcpListener::bind((Ipv4Addr::LOCALHOST, http)) else { return };
        assert!(!is_free(http));
        assert_ne!(free_pair(FIRST).map(|pair| pair.0), Some(http));
        drop(taken);
    }

    #[test]
    fn addresses_are_told_apart() {
        assert_eq!(port_of(&loopback(9400)), Some(9400));
        assert_eq!(port_of("nowhere"), None);
        assert_eq!(free_pair(u16::MAX), None);
    }
}
