//! madsim's TCP made to behave like a kernel's.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::cuts;
use crate::trace::{self, Kind};

/// How often a held connect or a hidden death looks at the cut table again.
const RECHECK: Duration = Duration::from_millis(50);
/// How long after a shutdown what was written before it may be on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
/// The most that one write takes, so that large messages arrive in pieces.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Waits while packets cannot travel both ways: a SYN or its answer would be lost.
pub(super) async fn wait_for_path(address: &str) -> io::Result<()> {
    for peer in tokio::net::lookup_host(address).await? {
        while cuts::blocked_to(peer.ip()) || cuts::blocked_from(peer.ip()) {
            tokio::time::sleep(RECHECK).await;
        }
    }
    trace::line(Kind::Net, || format!("connect {address}"));
    Ok(())
}

/// A simulated connection.
pub struct Stream {
    /// `None` after shutdown: dropping it is the only FIN that madsim knows.
    inner: Option<tokio::net::TcpStream>,
    peer: Option<IpAddr>,
    /// The peer is gone, which this side may not see yet.
    ended: Option<io::Result<()>>,
    hold: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Our side is shut down, and ends then.
    fin: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream {
    pub(super) fn new(stream: tokio::net::TcpStream) -> Self {
        let peer = stream.peer_addr().ok().map(|a| a.ip());
        Self { inner: Some(stream), peer, ended: None, hold: None, fin: None }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(hold) = self.hold.as_mut() {
                ready!(hold.as_mut().poll(cx));
                self.hold = None;
            }
            if self.peer.is_some_and(cuts::blocked_from) {
                self.hold = Some(Box::pin(tokio::time::sleep(RECHECK)));
                continue;
            }
            trace::line(Kind::Net, || format!("end of stream from {:?}", self.peer));
            // Every later read finds the end as well.
            return Poll::Ready(self.ended.replace(Ok(())).unwrap_or(Ok(())));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.is_some() {
            return self.poll_end(cx);
        }
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Ok(())) };
        let before = buf.filled().len();
        let result = ready!(Pin::new(inner).poll_read(cx, buf));
        if result.is_err() || buf.filled().len() == before {
            self.ended = Some(result);
            return self.poll_end(cx);
        }
        trace::line(Kind::Net, || {
            let bytes = &buf.filled()[before..];
            format!("read {} bytes {:08x} from {:?}", bytes.len(), fingerprint(bytes), self.peer)
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let blocked_from = self.peer.is_some_and(cuts::blocked_from);
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        // madsim would send an empty packet.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let piece = &buf[..buf.len().min(WRITE_BYTES_MAX)];
        let written = ready!(Pin::new(&mut *inner).poll_write(cx, piece))?;
        match ready!(Pin::new(inner).poll_flush(cx)) {
            // The peer is dead, but its reset cannot arrive: the bytes go into the void.
            Err(_) if blocked_from => Poll::Ready(Ok(written)),
            other => Poll::Ready(other.map(|()| written)),
        }
    }

    /// Every write was sent at once, as a kernel does.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// madsim knows no half-closed connection: once dropped, what the peer writes is an error there,
    /// even while it has not read what was sent before, which a kernel would have told it first. So
    /// it is dropped when all of that has arrived, or the peer is gone.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, fin, .. } = &mut *self;
        if let Some(stream) = inner.as_mut() {
            let fin = fin.get_or_insert_with(|| Box::pin(tokio::time::sleep(ON_ITS_WAY)));
            let mut scratch = [0; 4096];
            while fin.as_mut().poll(cx).is_pending() {
                let mut unread = ReadBuf::new(&mut scratch);
                let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut unread));
                if read.is_err() || unread.filled().is_empty() {
                    break;
                }
            }
        }
        self.inner = None;
        Poll::Ready(Ok(()))
    }
}

/// FNV-1a: enough to tell two traces apart.
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}
