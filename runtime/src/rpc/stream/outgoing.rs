//! Messages to a body's frames.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame};
use tonic::Status;

use super::{Encode, PREFIX_BYTES};

/// A payload that is smaller is copied behind its message's head: a frame of its own costs more.
const APART_BYTES_MIN: usize = 4 << 10;
/// Small messages that are ready together share a frame up to about so many bytes.
const TOGETHER_BYTES_MAX: usize = 16 << 10;

enum State {
    Open,
    /// The messages ended; what is written goes first.
    Ending(Option<Status>),
    Over,
}

/// The body that carries a stream's messages.
pub(super) struct Outgoing<S, M> {
    messages: Pin<Box<S>>,
    encode: Encode<M>,
    /// Whether the end is told by trailers.
    trailers: bool,
    state: State,
    written: BytesMut,
    /// Goes after what is written.
    payload: Bytes,
}

impl<S, M> Outgoing<S, M> {
    /// A client ends its messages with the body, a server with `trailers`.
    pub fn new(messages: S, encode: Encode<M>, trailers: bool) -> Self {
        Self {
            messages: Box::pin(messages),
            encode,
            trailers,
            state: State::Open,
            written: BytesMut::new(),
            payload: Bytes::new(),
        }
    }

    fn write(&mut self, message: M) -> Result<(), Status> {
        let Self { written, payload, encode, .. } = self;
        let start = written.len();
        written.extend_from_slice(&[0; PREFIX_BYTES]);
        *payload = encode(message, written);
        let bytes = written.len() - start - PREFIX_BYTES + payload.len();
        let Ok(bytes) = u32::try_from(bytes) else {
            written.truncate(start);
            *payload = Bytes::new();
            return Err(Status::out_of_range("a message beyond 4 GiB"));
        };
        written[start + 1..start + PREFIX_BYTES].copy_from_slice(&bytes.to_be_bytes());
        if payload.len() < APART_BYTES_MIN {
            written.extend_from_slice(payload);
            *payload = Bytes::new();
        }
        Ok(())
    }

    /// What is written, as a frame.
    fn flush(&mut self) -> Option<Frame<Bytes>> {
        let whole = if self.written.is_empty() {
            std::mem::take(&mut self.payload)
        } else {
            self.written.split().freeze()
        };
        (!whole.is_empty()).then(|| Frame::data(whole))
    }
}

impl<S, M> HttpBody for Outgoing<S, M>
where
    S: Stream<Item = Result<M, Status>> + Send,
    M: Send,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        while matches!(this.state, State::Open)
            && this.payload.is_empty()
            && this.written.len() < TOGETHER_BYTES_MAX
        {
            let ended = match this.messages.as_mut().poll_next(cx) {
                Poll::Pending if this.written.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(Ok(message))) => match this.write(message) {
                    Ok(()) => continue,
                    Err(status) => Some(status),
                },
                Poll::Ready(Some(Err(status))) => Some(status),
                Poll::Ready(None) => None,
            };
            this.state = State::Ending(ended);
        }
        if let Some(frame) = this.flush() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match std::mem::replace(&mut this.state, State::Over) {
            State::Ending(status) if this.trailers => {
                let status = status.unwrap_or_else(|| Status::ok(""));
                let mut trailers = HeaderMap::new();
                Poll::Ready(Some(
                    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
                ))
            }
            State::Ending(Some(status)) => Poll::Ready(Some(Err(status))),
            State::Open | State::Ending(None) | State::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }
}
