//! An end that loses nothing on its way. A socket that is closed while something of the peer lies
//! unread is reset, and with it goes what the peer has not read yet, the last answers among it (RFC
//! 1122, 4.2.2.13). So whoever closes says so, then reads what still comes until the peer closes too.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deadline::Timer;
use crate::clock::Clock;

/// How long the peer may take to close.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Read and thrown away at a time.
const SCRATCH_BYTES: usize = 4096;

/// A stream whose shutdown lingers.
pub(super) struct Lingering<S> {
    stream: S,
    limit: Duration,
    /// Once our side is closed.
    until: Option<Timer>,
}

impl<S> Lingering<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self::within(LINGER_MAX, stream)
    }

    const fn within(limit: Duration, stream: S) -> Self {
        Self { stream, limit, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.until.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.until = Some(Box::pin(Clock.sleep(self.limit)));
        }
        let Self { stream, until, .. } = &mut *self;
        let mut scratch = [0; SCRATCH_BYTES];
        loop {
            if until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Ok(()));
            }
            let mut unread = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut unread)) {
                Ok(()) if !unread.filled().is_empty() => {}
                // Closed, or gone: nothing that we sent is on its way any more.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_the_peer_still_sends_is_read_until_it_closes() {
        let (mine, mut peer) = duplex(8);
        let mut mine = Lingering::new(mine);
        mine.write_all(b"answer").await.unwrap();
        let closing = tokio::spawn(async move { mine.shutdown().await });
        // More than the pipe holds: somebody reads it.
        peer.write_all(&[7; 64]).await.unwrap();
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");
        assert!(!closing.is_finished());
        drop(peer);
        closing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_never_closes_is_not_waited_for_for_ever() {
        let (mine, _peer) = duplex(8);
        Lingering::within(Duration::ZERO, mine).shutdown().await.unwrap();
    }
}
