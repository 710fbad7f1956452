//! TCP, in both worlds: the one place with network cfgs.
//!
//! In simulation a [`Stream`] sends on every write, closes on shutdown, and obeys the
//! `cuts` table: a connect across a cut hangs, as a lost SYN does, and a peer's death
//! stays unseen while its packets cannot arrive.

use std::{io, net::SocketAddr};

pub(crate) mod accept;

#[cfg(madsim)]
pub mod cuts;
#[cfg(madsim)]
mod sim;

/// A connected stream.
#[cfg(not(madsim))]
pub type Stream = tokio::net::TcpStream;
#[cfg(madsim)]
pub use sim::Stream;

/// A listening socket. Accepted streams have `TCP_NODELAY` set where the system allows it.
#[derive(Debug)]
pub struct Listener(tokio::net::TcpListener);

impl Listener {
    /// Binds `address` (`host:port`; port 0 lets the system choose).
    ///
    /// # Errors
    /// As the system says, with the address in the message.
    pub async fn bind(address: &str) -> io::Result<Self> {
        tokio::net::TcpListener::bind(address).await.map(Self).map_err(|e| at(address, &e))
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// As the system says; the listener stays usable.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        // Without it small answers wait for the peer's delayed acknowledgement. Some systems
        // refuse it on a connection that the peer has reset already; that concerns this one
        // connection, which its first read ends, and must not look like a failing listener.
        let _ = stream.set_nodelay(true);
        Ok((wrap(stream), peer))
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
    #[cfg(madsim)]
    sim::wait_for_path(address).await?;
    let stream = tokio::net::TcpStream::connect(address).await.map_err(|e| at(address, &e))?;
    stream.set_nodelay(true)?;
    Ok(wrap(stream))
}

fn at(address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

#[cfg(not(madsim))]
fn wrap(stream: tokio::net::TcpStream) -> Stream {
    stream
}

#[cfg(madsim)]
fn wrap(stream: tokio::net::TcpStream) -> Stream {
    Stream::new(stream)
}
