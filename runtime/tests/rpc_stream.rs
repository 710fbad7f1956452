//! Streaming calls without copies, in both worlds, and against tonic's own codec on either
//! side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

mod common;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use common::{Echo, Ping, channel, start};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, body::Body, metadata::MetadataMap, server::NamedService};
use tower::Service;
use weir_runtime::{
    net::Listener,
    rpc::{
        self, Channel,
        stream::{self, Incoming},
    },
    task::{self, CancellationToken},
};

const PATH: &str = "/test.Echo/Stream";
const MESSAGE_BYTES_MAX: usize = 4 << 20;

fn encode(ping: Ping, out: &mut BytesMut) -> Bytes {
    let Ping { id, body } = ping;
    Ping { id, body: Bytes::new() }.encode(out).unwrap();
    encode_key(2, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    body
}

/// Echoes as an SPU would, by this crate's streams.
#[derive(Clone)]
struct Ours;

impl NamedService for Ours {
    const NAME: &'static str = "test.Echo";
}

impl Service<Request<Body>> for Ours {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metadata, mut pings) = match stream::accept(request, MESSAGE_BYTES_MAX) {
            Ok(accepted) => accepted,
            Err(code) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = code;
                return ready(Ok(response));
            }
        };
        if metadata.contains_key("refuse") {
            return ready(Ok(Status::permission_denied("no").into_http()));
        }
        let (out, answers) = mpsc::channel(4);
        task::spawn(async move {
            loop {
                let answer = match pings.message::<Ping>().await {
                    Ok(None) => return,
                    Ok(Some(ping)) => Ok(ping),
                    Err(status) => Err(status),
                };
                let over = answer.is_err();
                if out.send(answer).await.is_err() || over {
                    return;
                }
            }
        });
        ready(Ok(stream::respond(ReceiverStream::new(answers), encode)))
    }
}

async fn ours() -> String {
    serve(tonic::service::Routes::new(Ours)).await
}

async fn serve(routes: tonic::service::Routes) -> String {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let config = rpc::ServerConfig::default();
    task::spawn(rpc::serve(listener, routes, config, CancellationToken::new()));
    endpoint
}

async fn call(channel: &Channel) -> (mpsc::Sender<Ping>, Incoming) {
    let (send, pings) = mpsc::channel(4);
    let pings = ReceiverStream::new(pings);
    let metadata = MetadataMap::new();
    let answers = stream::call(channel, PATH, metadata, pings, encode, MESSAGE_BYTES_MAX);
    (send, answers.await.unwrap())
}

/// Small ones that share a frame, ones of a frame, and ones of several; bodies all different.
fn pings() -> Vec<Ping> {
    let sizes = [0, 1, 100, 5_000, 131_072, 3 << 20, 600_000, 0, 7];
    let body = |n: usize, size| Bytes::from(vec![u8::try_from(n).unwrap() + 1; size]);
    (0..).zip(sizes).map(|(n, size)| Ping { id: n as u64, body: body(n, size) }).collect()
}

async fn echoes(channel: &Channel) {
    let (send, mut answers) = call(channel).await;
    let sent = pings();
    let sending = task::spawn(async move {
        for ping in pings() {
            send.send(ping).await.unwrap();
        }
    });
    for ping in sent {
        assert!(answers.message::<Ping>().await.unwrap() == Some(ping));
    }
    sending.await.unwrap();
    assert_eq!(answers.message::<Ping>().await.unwrap(), None);
    assert_eq!(answers.message::<Ping>().await.unwrap(), None, "and it stays over");
}

#[tokio::test]
async fn both_sides_ours() {
    echoes(&channel(&ours().await)).await;
}

#[tokio::test]
async fn our_client_and_tonic_s_server() {
    let server = start(Echo::default(), "127.0.0.1:0", rpc::ServerConfig::default()).await;
    echoes(&channel(&server.endpoint)).await;
}

#[tokio::test]
async fn tonic_s_client_and_our_server() {
    let channel = channel(&ours().await);
    let (send, pings_sent) = mpsc::channel(16);
    let mut answers = common::stream(&channel, pings_sent).await.unwrap();
    for ping in pings() {
        send.send(ping.clone()).await.unwrap();
        assert!(answers.message().await.unwrap() == Some(ping));
    }
    drop(send);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_comes_instead_of_the_stream() {
    let channel = channel(&ours().await);
    let mut metadata = MetadataMap::new();
    metadata.insert("refuse", "yes".parse().unwrap());
    let none = futures::stream::empty::<Ping>();
    let refused = stream::call(&channel, PATH, metadata, none, encode, MESSAGE_BYTES_MAX).await;
    let status = refused.err().unwrap();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no"));
}

/// What a server says to bytes that are no messages of ours.
async fn answer_to(body: &[u8]) -> (Code, String) {
    answer_to_body(Body::new(Full::new(Bytes::copy_from_slice(body)))).await
}

async fn answer_to_body(body: Body) -> (Code, String) {
    let channel = channel(&ours().await);
    let mut request = Request::post(PATH).body(body);
    let headers = request.as_mut().unwrap().headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    let response = channel.clone().call(request.unwrap()).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    let status = Status::from_header_map(body.trailers().unwrap()).unwrap();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn what_is_no_message_ends_the_stream_with_the_reason() {
    let mut large = vec![0];
    large.extend_from_slice(&(MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes());
    let cases = [
        (&[1, 0, 0, 0, 0][..], Code::Unimplemented, "compressed"),
        (&large[..], Code::OutOfRange, "4194305"),
        (&[0, 0, 0, 0, 9, 8, 1], Code::InvalidArgument, "within a message"),
        (&[0, 0, 0], Code::InvalidArgument, "within a message"),
        (&[0, 0, 0, 0, 2, 0xff, 0xff], Code::InvalidArgument, "no such message"),
        (&[], Code::Ok, ""),
    ];
    for (body, code, text) in cases {
        let (found, message) = answer_to(body).await;
        assert_eq!(found, code, "{body:?}: {message}");
        assert!(message.contains(text), "{message}");
    }
}

#[tokio::test]
async fn a_message_in_tiny_frames_is_read_and_a_client_s_trailers_are_not() {
    let mut frames = BytesMut::from(&[0, 0, 0, 0, 0][..]);
    let body = encode(Ping { id: 7, body: Bytes::from(vec![1; 5_000]) }, &mut frames);
    frames.extend_from_slice(&body);
    let bytes = u32::try_from(frames.len() - 5).unwrap();
    frames[1..5].copy_from_slice(&bytes.to_be_bytes());
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "1".parse().unwrap());
    // No base64, on which tonic would panic.
    trailers.insert("grpc-status-details-bin", "!".parse().unwrap());
    // The first one does not even hold the prefix.
    let mut rest = frames.freeze();
    let tiny = std::iter::from_fn(move || {
        let next = rest.split_to(rest.len().min(if rest.len() % 2 == 0 { 101 } else { 3 }));
        (!next.is_empty()).then(|| Frame::data(next))
    });
    let all = futures::stream::iter(tiny.chain([Frame::trailers(trailers)]).map(Ok::<_, Status>));
    assert_eq!(answer_to_body(Body::new(StreamBody::new(all))).await, (Code::Ok, String::new()));
}

#[tokio::test]
async fn an_answer_that_is_over_before_its_first_message_is_none_and_no_error() {
    /// Trailers for headers: all at once.
    #[derive(Clone)]
    struct Nothing;
    impl NamedService for Nothing {
        const NAME: &'static str = "test.Echo";
    }
    impl Service<Request<Body>> for Nothing {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            ready(Ok(Status::ok("").into_http()))
        }
    }
    let channel = channel(&serve(tonic::service::Routes::new(Nothing)).await);
    let (_send, mut answers) = call(&channel).await;
    assert_eq!(answers.message::<Ping>().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_grpc_is_refused() {
    let channel = channel(&ours().await);
    let request = Request::post(PATH).body(Body::empty()).unwrap();
    let response = channel.clone().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    // And our client says so, of a server that is none.
    let none = futures::stream::empty::<Ping>();
    let path = "/nowhere/Stream";
    let lost = stream::call(&channel, path, MetadataMap::new(), none, encode, 1).await;
    assert_eq!(lost.err().unwrap().code(), Code::Unimplemented);
}

#[tokio::test]
async fn small_messages_that_are_ready_share_a_frame() {
    let pings = futures::stream::iter((0..100).map(|id| Ok(Ping { id, body: Bytes::new() })));
    let mut body = stream::respond(pings, stream::whole).into_body();
    let first = body.frame().await.unwrap().unwrap();
    let mut rest = first.into_data().unwrap();
    let mut ids = Vec::new();
    while !rest.is_empty() {
        let message = rest.split_off(5 + rest[4] as usize);
        ids.push(Ping::decode(rest.split_off(5)).unwrap().id);
        rest = message;
    }
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert!(body.frame().await.is_none());
    let failing = futures::stream::iter([Err::<Ping, _>(Status::aborted("why"))]);
    let only = stream::respond(failing, stream::whole).into_body().collect().await.unwrap();
    let status = Status::from_header_map(only.trailers().unwrap()).unwrap();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "why"));
}
