//! A small gRPC service written by hand, so that the seam is tested without any of the
//! domain's messages.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, missing_docs)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{NamedService, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;
use weir_runtime::{clock::Clock, net::Listener, rpc, task::CancellationToken};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Ping {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
}

pub const SLOW: u64 = 777;

#[derive(Clone, Default)]
pub struct Echo {
    /// Handlers that were dropped before they finished.
    pub abandoned: Arc<AtomicU64>,
    pub started: Arc<AtomicU64>,
}

struct Guard(Arc<AtomicU64>, bool);
impl Drop for Guard {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl UnaryService<Ping> for Echo {
    type Response = Ping;
    type Future = BoxFuture<'static, Result<Response<Ping>, Status>>;
    fn call(&mut self, request: Request<Ping>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            echo.started.fetch_add(1, Ordering::SeqCst);
            let mut guard = Guard(echo.abandoned.clone(), false);
            let ping = request.into_inner();
            if ping.id == SLOW {
                Clock.sleep(Duration::from_secs(3600)).await;
            }
            guard.1 = true;
            Ok(Response::new(ping))
        })
    }
}

#[derive(Clone)]
struct EchoStream;
impl StreamingService<Ping> for EchoStream {
    type Response = Ping;
    type ResponseStream = ReceiverStream<Result<Ping, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;
    fn call(&mut self, request: Request<Streaming<Ping>>) -> Self::Future {
        Box::pin(async move {
            let (tx, rx) = mpsc::channel(4);
            let mut pings = request.into_inner();
            weir_runtime::task::spawn(async move {
                while let Ok(Some(ping)) = pings.message().await {
                    if tx.send(Ok(ping)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(Response::new(ReceiverStream::new(rx)))
        })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<Ping, Ping>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(echo, request).await,
                _ => grpc.streaming(EchoStream, request).await,
            })
        })
    }
}

pub struct Server {
    pub endpoint: String,
    pub shutdown: CancellationToken,
    pub done: weir_runtime::task::JoinHandle<()>,
}

pub async fn start(echo: Echo, address: &str, config: rpc::ServerConfig) -> Server {
    let listener = Listener::bind(address).await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let routes = tonic::service::Routes::new(echo);
    let done = weir_runtime::task::spawn(rpc::serve(listener, routes, config, shutdown.clone()));
    Server { endpoint, shutdown, done }
}

pub fn channel(endpoint: &str) -> rpc::Channel {
    rpc::Channel::new(endpoint, rpc::ChannelConfig::default())
}

pub async fn unary(channel: &rpc::Channel, request: Request<Ping>) -> Result<Ping, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Unary");
    Ok(grpc.unary(request, path, ProstCodec::<Ping, Ping>::default()).await?.into_inner())
}

pub async fn stream(
    channel: &rpc::Channel,
    outgoing: mpsc::Receiver<Ping>,
) -> Result<Streaming<Ping>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Stream");
    let request = Request::new(ReceiverStream::new(outgoing));
    Ok(grpc.streaming(request, path, ProstCodec::<Ping, Ping>::default()).await?.into_inner())
}
