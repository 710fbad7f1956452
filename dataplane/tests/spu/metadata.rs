//! The map as clients see it.

use tonic::Streaming;
use weir_protocol::{
    ErrorCode,
    pb::metadata::{MetadataUpdate, WatchMetadataRequest, metadata_client::MetadataClient},
    token::Scope,
};

use crate::{
    client::{self, CLUSTER, Client, soon, token, with_token},
    control_plane::{database, topic},
    node::Node,
};

async fn watch(client: &Client, token: &str, from: u64) -> Streaming<MetadataUpdate> {
    let request = WatchMetadataRequest {
        cluster_id: CLUSTER.to_string(),
        from_revision: from,
        database: Some(database()),
    };
    let mut metadata = MetadataClient::new(client.channel.clone());
    soon(metadata.watch_metadata(with_token(request, token))).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<MetadataUpdate>) -> (u64, bool, Vec<String>) {
    let update = soon(stream.message()).await.unwrap().expect("an update");
    let names = update.topics.into_iter().map(|topic| topic.name).collect();
    (update.revision, update.snapshot, names)
}

#[tokio::test]
async fn a_watcher_takes_a_snapshot_then_changes_and_can_resume() {
    let node = Node::start().await;
    let mut stream = watch(&node.client, &node.client.token, 0).await;
    assert_eq!(next(&mut stream).await, (10, true, vec!["t".to_owned()]));
    node.control_plane.change(vec![topic(2, 1, "u")]).await;
    assert_eq!(next(&mut stream).await, (11, false, vec!["u".to_owned()]));
    node.control_plane.change(vec![topic(3, 1, "__own")]).await;
    assert_eq!(next(&mut stream).await, (12, false, vec![]), "internal topics are hidden");

    let mut resumed = watch(&node.client, &node.client.token, 10).await;
    let since = next(&mut resumed).await;
    assert_eq!(since, (12, false, vec!["u".to_owned()]), "what was missed, as one change");
    let mut too_old = watch(&node.client, &node.client.token, 3).await;
    assert_eq!(next(&mut too_old).await, (12, true, vec!["t".to_owned(), "u".to_owned()]));
    let own = token(&[Scope::Internal], 60);
    let mut internal = watch(&node.client, &own, 11).await;
    assert_eq!(next(&mut internal).await, (12, false, vec!["__own".to_owned()]));
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let node = Node::start().await;
    let request = WatchMetadataRequest { cluster_id: "cl_other".to_owned(), ..Default::default() };
    let mut metadata = MetadataClient::new(node.client.channel.clone());
    let refused = metadata.watch_metadata(with_token(request, &node.client.token)).await;
    assert_eq!(client::code_of(&refused.unwrap_err()), ErrorCode::UnknownCluster);
}
