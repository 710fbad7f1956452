//! Streaming calls whose messages are mostly one payload: the payload is a frame of its own on
//! the way out, and a slice of the frame that came on the way in. It is copied on neither way,
//! but where it came in several frames: because it is larger than one, or a window was full.
//!
//! What travels is plain gRPC (`PROTOCOL-HTTP2.md` of gRPC: a flag, a length of 4 bytes, the
//! message; the status in trailers), so any gRPC client or server is a peer. The generated
//! codecs write each message into a buffer and collect each in another, which was the largest
//! single cost of an SPU.
//!
//! | Module | Does |
//! |---|---|
//! | `incoming` | a body's frames to messages |
//! | `outgoing` | messages to a body's frames |

mod incoming;
mod outgoing;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use prost::Message;
use tonic::{Code, Status, body::Body, metadata::MetadataMap};
use tower::Service as _;

pub use self::incoming::Incoming;
use self::outgoing::Outgoing;
use super::Channel;

/// Flag and length before each message.
const PREFIX_BYTES: usize = 5;

/// Writes a message behind what is in the buffer, but for its payload, which it returns: the
/// message is what was written and then the payload.
pub type Encode<M> = fn(M, &mut BytesMut) -> Bytes;

/// The [`Encode`] of messages without a payload worth the name.
pub fn whole<M: Message>(message: M, out: &mut BytesMut) -> Bytes {
    // A buffer that grows takes any message.
    message.encode_raw(out);
    Bytes::new()
}

/// Opens a streaming call, and waits until the server accepted it.
///
/// # Errors
/// What the channel says, or the server instead of accepting.
pub async fn call<M: Send + 'static>(
    channel: &Channel,
    path: &'static str,
    metadata: MetadataMap,
    messages: impl Stream<Item = M> + Send + 'static,
    encode: Encode<M>,
    message_bytes_max: usize,
) -> Result<Incoming, Status> {
    let mut request = Request::new(Body::new(Outgoing::new(messages.map(Ok), encode, false)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    *request.headers_mut() = metadata.into_headers();
    let headers = request.headers_mut();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(GRPC));
    let (head, body) = channel.clone().call(request).await?.into_parts();
    // A call that is over at once has its trailers for headers.
    if ended(&head.headers)?.is_some() {
        return Ok(Incoming::none());
    }
    if head.status != StatusCode::OK {
        return Err(of_http(head.status));
    }
    Ok(Incoming::response(body, message_bytes_max))
}

/// The messages of a call to this server.
///
/// # Errors
/// It is no gRPC call: the HTTP status to answer with.
pub fn accept(
    request: Request<Body>,
    message_bytes_max: usize,
) -> Result<(MetadataMap, Incoming), StatusCode> {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if head.method != Method::POST || !kind.is_some_and(|kind| kind.starts_with(GRPC.as_bytes())) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    Ok((MetadataMap::from_headers(head.headers), Incoming::request(body, message_bytes_max)))
}

/// Accepts a call and answers with a stream of messages, which ends at its end or first error.
pub fn respond<M: Send + 'static>(
    messages: impl Stream<Item = Result<M, Status>> + Send + 'static,
    encode: Encode<M>,
) -> Response<Body> {
    let mut response = Response::new(Body::new(Outgoing::new(messages, encode, true)));
    let kind = HeaderValue::from_static(GRPC);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

const GRPC: &str = "application/grpc";

/// What trailers say of a call: nothing, that it ended well, or that it failed.
fn ended(trailers: &HeaderMap) -> Result<Option<()>, Status> {
    match Status::from_header_map(trailers) {
        None => Ok(None),
        Some(status) if status.code() == Code::Ok => Ok(Some(())),
        Some(status) => Err(status),
    }
}

/// gRPC's `http-grpc-status-mapping.md`: something between the peers answered.
fn of_http(status: StatusCode) -> Status {
    let code = match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    };
    Status::new(code, format!("the answer is HTTP {status}, not gRPC"))
}
