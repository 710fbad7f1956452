//! Deadlines of gRPC calls: the `grpc-timeout` header, and a body that ends when it passes.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::trailers;

/// Reads `grpc-timeout` (gRPC over HTTP/2: at most 8 digits and a unit). A malformed one is
/// read as none.
pub(super) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Who is told that the deadline passed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The caller: the body ends in an error.
    Client,
    /// The callee: the body ends in trailers that carry the status.
    Server,
}

/// What remains of a call's deadline after its response headers came.
pub(super) type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A response body bounded by its call's deadline.
struct DeadlineBody {
    inner: Option<Body>,
    timer: Timer,
    side: Side,
}

/// Bounds a response's body by `timer`.
pub(super) fn bound(
    response: http::Response<Body>,
    timer: Timer,
    side: Side,
) -> http::Response<Body> {
    response.map(|body| Body::new(DeadlineBody { inner: Some(body), timer, side }))
}

pub(super) fn exceeded() -> Status {
    Status::deadline_exceeded("the call's deadline passed")
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(cx);
        if polled.is_ready() {
            return polled.map_err(|e| Status::from_error(e.into()));
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.inner = None;
        Poll::Ready(Some(match self.side {
            Side::Client => Err(exceeded()),
            Side::Server => Ok(Frame::trailers(trailers())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(Code::DeadlineExceeded as i32));
    trailers.insert("grpc-message", HeaderValue::from_static("deadline passed on the server"));
    trailers
}

/// Turns any body of bytes into tonic's. Its trailers are such as tonic can read.
pub(super) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let body = body.map_frame(|mut frame| {
        if let Some(trailers) = frame.trailers_mut() {
            trailers::sanitize(trailers);
        }
        frame
    });
    Body::new(body.map_err(|e| Status::unavailable(format!("connection lost: {e}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static(text));
        grpc_timeout(&headers)
    }

    #[test]
    fn reads_every_unit_and_refuses_the_rest() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("4S"), Some(Duration::from_secs(4)));
        assert_eq!(parse("5m"), Some(Duration::from_millis(5)));
        assert_eq!(parse("6u"), Some(Duration::from_micros(6)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "S", "1", "-1S", "1x", "123456789S", "1.5S", " 1S", "1s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
