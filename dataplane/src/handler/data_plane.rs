//! The calls of `weir.data.v1.DataPlane`. By hand, because the generated server copies every
//! batch into and out of its buffers: produce and fetch are read and written without.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;
use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    metadata::MetadataMap,
    server::{Grpc, NamedService},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};
use weir_protocol::{
    WireError,
    pb::data::{AllocateProducerIdRequest, ListOffsetsRequest, data_plane_server::SERVICE_NAME},
    streams::{
        ALLOCATE_PRODUCER_ID_PATH, FETCH_PATH, LIST_OFFSETS_PATH, PRODUCE_PATH, encode_fetched,
    },
};
use weir_runtime::rpc::stream::{Encode, Incoming, accept, respond, whole};

use super::{Shared, fetch, list_offsets, produce, producer_id, status};
use crate::config::MESSAGE_BYTES_MAX;

/// The service.
#[derive(Clone)]
pub(super) struct DataPlane(pub Arc<Shared>);

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl NamedService for DataPlane {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for DataPlane {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let shared = self.0.clone();
        match request.uri().path() {
            PRODUCE_PATH => stream(request, whole, |metadata, messages| {
                produce::open(shared, metadata, messages)
            }),
            FETCH_PATH => stream(request, encode_fetched, |metadata, messages| {
                fetch::open(shared, metadata, messages)
            }),
            ALLOCATE_PRODUCER_ID_PATH => {
                unary(request, move |asked: tonic::Request<AllocateProducerIdRequest>| {
                    let shared = shared.clone();
                    async move { producer_id::allocate(&shared, asked.metadata()).await }
                })
            }
            LIST_OFFSETS_PATH => {
                unary(request, move |asked: tonic::Request<ListOffsetsRequest>| {
                    let shared = shared.clone();
                    async move { list_offsets::list(&shared, asked.metadata(), asked.get_ref()).await }
                })
            }
            other => {
                let status = Status::unimplemented(format!("there is no {other}"));
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}

pub(super) fn stream<M: Send + 'static, R>(
    request: Request<Body>,
    encode: Encode<M>,
    open: impl FnOnce(&MetadataMap, Incoming) -> Result<R, WireError>,
) -> Answer
where
    R: Stream<Item = Result<M, Status>> + Send + 'static,
{
    let response = match accept(request, MESSAGE_BYTES_MAX) {
        Ok((metadata, messages)) => open(&metadata, messages).map_or_else(
            |refusal| status::of(refusal).into_http(),
            |responses| respond(responses, encode),
        ),
        Err(code) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = code;
            response
        }
    };
    Box::pin(ready(Ok(response)))
}

fn unary<Q, A, F>(
    request: Request<Body>,
    mut answer: impl FnMut(tonic::Request<Q>) -> F + Send + 'static,
) -> Answer
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + 'static,
    F: Future<Output = Result<A, WireError>> + Send + 'static,
{
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let service = service_fn(move |asked| {
            let answer = answer(asked);
            async move { answer.await.map(tonic::Response::new).map_err(status::of) }
        });
        Ok(grpc.unary(service, request).await)
    })
}
