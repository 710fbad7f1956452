//! Who may do what.

use weir_protocol::{
    ErrorCode,
    pb::data::{self, produce_message::Message},
    token::Scope,
};

use crate::{
    client::{Client, batch, code_of, request, soon, token, with_token},
    control_plane::{key, topic},
    node::Node,
};

async fn produce_status(client: &Client, token: Option<&str>) -> ErrorCode {
    let stream = tokio_stream::iter(Vec::<data::ProduceMessage>::new());
    let request = match token {
        Some(token) => with_token(stream, token),
        None => tonic::Request::new(stream),
    };
    code_of(&soon(client.data().produce(request)).await.unwrap_err())
}

#[tokio::test]
async fn without_a_good_token_no_stream_opens() {
    let node = Node::start().await;
    let client = &node.client;
    assert_eq!(produce_status(client, None).await, ErrorCode::Unauthenticated);
    assert_eq!(produce_status(client, Some("nonsense")).await, ErrorCode::Unauthenticated);
    let expired = token(&[Scope::Produce], -60);
    assert_eq!(produce_status(client, Some(&expired)).await, ErrorCode::TokenExpired);
    let reader = token(&[Scope::Consume], 60);
    assert_eq!(produce_status(client, Some(&reader)).await, ErrorCode::Forbidden);

    let stream = tokio_stream::iter(Vec::<data::FetchMessage>::new());
    let writer = token(&[Scope::Produce], 60);
    let refused = soon(client.data().fetch(with_token(stream, &writer))).await.unwrap_err();
    assert_eq!(code_of(&refused), ErrorCode::Forbidden);
    let refused = client.data().allocate_producer_id(data::AllocateProducerIdRequest {}).await;
    assert_eq!(code_of(&refused.unwrap_err()), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn internal_topics_need_their_scope() {
    let node = Node::start().await;
    node.control_plane.change(vec![topic(5, 1, "__probe")]).await;
    node.leads(5, 0).await;
    let mut producer = node.client.produce().await;
    let refused = producer.refused(request(key(5, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::Forbidden);
    let authenticate = |token: String| data::ProduceMessage {
        message: Some(Message::Authenticate(data::Authenticate { token })),
    };
    // One that is refused changes nothing.
    producer.send.send(authenticate(token(&[Scope::Internal], 60))).await.unwrap();
    let refused = producer.refused(request(key(5, 0), batch(1, 10, None))).await;
    assert_eq!(refused.code, ErrorCode::Forbidden);
    let internal = token(&[Scope::Produce, Scope::Internal], 60);
    producer.send.send(authenticate(internal)).await.unwrap();
    assert!(producer.send(request(key(5, 0), batch(1, 10, None))).await.is_ok());
}

#[tokio::test]
async fn an_expired_token_is_good_while_the_control_plane_is_away() {
    let node = Node::start().await;
    let expired = token(&[Scope::Produce], -60);
    assert_eq!(produce_status(&node.client, Some(&expired)).await, ErrorCode::TokenExpired);
    node.control_plane.stop();
    let client = Client { token: expired, ..Client::new(&node.client.endpoint) };
    // The SPU learns of it when its session breaks.
    let mut producer = soon(async {
        loop {
            let (send, messages) = tokio::sync::mpsc::channel(4);
            let stream = tokio_stream::wrappers::ReceiverStream::new(messages);
            if client.data().produce(with_token(stream, &client.token)).await.is_ok() {
                drop(send);
                break client.produce().await;
            }
        }
    })
    .await;
    assert!(producer.send(request(key(1, 0), batch(1, 10, None))).await.is_ok());
}
