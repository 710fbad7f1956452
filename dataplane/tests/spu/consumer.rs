//! Named consumers of generated code, and nodes that coordinate them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tonic::Status;
use weir_dataplane::Config;
use weir_protocol::{
    ErrorCode, WireError,
    ids::PartitionKey,
    pb::{
        data,
        metadata::TopicGeneration,
        offsets::{
            CommitRequest, CommitResponse, CommittedOffset, DeleteRequest, DescribeRequest,
            DescribeResponse, OpenSessionRequest, ResetRequest, offsets_client::OffsetsClient,
        },
    },
    token::Scope,
};
use weir_runtime::{clock::Clock, disk::Disk, rpc::Channel};

use crate::{
    client::{Client, code_of, soon, token, with_token},
    control_plane::{ControlPlane, key, led, topic},
    node::{Node, real_disk},
};

/// The generation of the offsets topic.
pub const OFFSETS: u128 = 9;

pub fn offsets_topic() -> TopicGeneration {
    topic(OFFSETS, 1, "__offsets")
}

/// Uploads without waiting long.
pub fn quick(config: &mut Config) {
    config.limits.offsets_flush_interval = Duration::from_millis(10);
}

/// A node that leads "t" and the offsets topic.
pub async fn start() -> Node {
    let folder = Arc::new(TempDir::new().unwrap());
    let disk = real_disk(&folder).await;
    start_with(folder, disk, quick).await
}

pub async fn start_with(
    folder: Arc<TempDir>,
    disk: Arc<dyn Disk>,
    change: impl FnOnce(&mut Config),
) -> Node {
    let control_plane = ControlPlane::start(vec![topic(1, 1, "t"), offsets_topic()]).await;
    let node = Node::with(folder, disk, control_plane, change).await;
    coordinating(&node).await;
    node
}

/// Waits until both offsets partitions are led.
pub async fn coordinating(node: &Node) {
    for partition in 0..2 {
        node.leads(OFFSETS, partition).await;
    }
}

/// Ends the SPU and starts it anew, in its next life: every topic is led at the next epoch.
pub async fn again(node: Node, change: impl FnOnce(&mut Config)) -> Node {
    let (ended, control_plane, folder, disk) = node.stop().await;
    ended.unwrap();
    next_life(&control_plane);
    let node = Node::with(folder, disk, control_plane, change).await;
    coordinating(&node).await;
    node
}

/// An SPU that starts anew leads every topic at the next epoch.
pub fn next_life(control_plane: &ControlPlane) {
    let life = control_plane.state.incarnation.fetch_add(1, Ordering::SeqCst) + 1;
    control_plane.state.replicas.send_modify(|all| all.clear());
    for topic in &mut *control_plane.state.topics.lock().unwrap() {
        *topic = led(topic.clone(), u32::try_from(life).unwrap(), life);
    }
    control_plane.state.revision.fetch_add(1, Ordering::SeqCst);
}

pub struct Consumer {
    channel: Channel,
    token: String,
    pub name: String,
    pub session: [u8; 16],
    sequence: u64,
}

/// One partition's offset.
pub fn at(key: PartitionKey, next_offset: u64) -> CommittedOffset {
    let partition = Some(key.to_wire());
    CommittedOffset { partition, next_offset, ..CommittedOffset::default() }
}

/// The error in a status's details.
pub fn error_of(status: &Status) -> WireError {
    use prost::Message as _;
    data::Error::decode(status.details()).unwrap().into()
}

impl Consumer {
    /// A session of a consumer, by a number of its own.
    pub fn new(client: &Client, name: &str, session: u8) -> Self {
        let token = token(&[Scope::Consume, Scope::Internal], 600);
        let (channel, name) = (client.channel.clone(), name.to_owned());
        Self { channel, token, name, session: [session; 16], sequence: 0 }
    }

    pub fn with_scopes(self, scopes: &[Scope]) -> Self {
        Self { token: token(scopes, 600), ..self }
    }

    fn offsets(&self) -> OffsetsClient<Channel> {
        OffsetsClient::new(self.channel.clone())
    }

    /// Asks until the coordinator knows what is committed.
    pub async fn open(&self, keys: &[PartitionKey]) -> Result<Vec<(PartitionKey, u64)>, Status> {
        soon(Box::pin(async {
            loop {
                match self.try_open(keys).await {
                    Err(status) if code_of(&status) == ErrorCode::NotYetAvailable => {
                        Clock.sleep(Duration::from_millis(1)).await;
                    }
                    other => return other,
                }
            }
        }))
        .await
    }

    pub async fn try_open(
        &self,
        keys: &[PartitionKey],
    ) -> Result<Vec<(PartitionKey, u64)>, Status> {
        let request = OpenSessionRequest {
            consumer: self.name.clone(),
            session_id: self.session.to_vec().into(),
            partitions: keys.iter().map(|key| key.to_wire()).collect(),
        };
        let answer =
            soon(Box::pin(self.offsets().open_session(with_token(request, &self.token)))).await?;
        let found =
            answer.into_inner().committed.into_iter().map(|it| {
                (PartitionKey::from_wire(&it.partition.unwrap()).unwrap(), it.next_offset)
            });
        Ok(found.collect())
    }

    /// Commits with the next sequence number.
    pub async fn commit(&mut self, offsets: Vec<CommittedOffset>) -> Result<(), Status> {
        self.sequence += 1;
        self.commit_as(self.sequence, offsets).await.map(drop)
    }

    pub async fn commit_as(
        &self,
        sequence: u64,
        offsets: Vec<CommittedOffset>,
    ) -> Result<CommitResponse, Status> {
        let (consumer, session_id) = (self.name.clone(), self.session.to_vec().into());
        let request = CommitRequest { consumer, session_id, sequence, offsets };
        let answer =
            soon(Box::pin(self.offsets().commit(with_token(request, &self.token)))).await?;
        Ok(answer.into_inner())
    }

    /// Gives what was committed before.
    pub async fn reset(
        &self,
        offsets: Vec<CommittedOffset>,
    ) -> Result<Vec<CommittedOffset>, Status> {
        let (consumer, session_id) = (self.name.clone(), self.session.to_vec().into());
        let request = ResetRequest { consumer, session_id, offsets };
        let answer = soon(Box::pin(self.offsets().reset(with_token(request, &self.token)))).await?;
        Ok(answer.into_inner().before)
    }

    /// A part of what is known, for who knows of this epoch of the offsets partition.
    pub async fn describe(
        &self,
        leader_epoch: u32,
        after: Option<PartitionKey>,
        limit: u32,
    ) -> Result<DescribeResponse, Status> {
        let (consumer, after) = (self.name.clone(), after.map(PartitionKey::to_wire));
        let request = DescribeRequest { consumer, leader_epoch, after, limit };
        let answer =
            soon(Box::pin(self.offsets().describe(with_token(request, &self.token)))).await?;
        Ok(answer.into_inner())
    }

    pub async fn delete(&self, keys: &[PartitionKey]) -> Result<u32, Status> {
        let partitions = keys.iter().map(|key| key.to_wire()).collect();
        let request = DeleteRequest { consumer: self.name.clone(), partitions };
        let answer =
            soon(Box::pin(self.offsets().delete(with_token(request, &self.token)))).await?;
        Ok(answer.into_inner().partitions)
    }
}

/// A consumer of "t" with one commit.
pub async fn committed(node: &Node, name: &str, session: u8, next: u64) -> Consumer {
    let mut consumer = Consumer::new(&node.client, name, session);
    consumer.open(&[key(1, 0)]).await.unwrap();
    consumer.commit(vec![at(key(1, 0), next)]).await.unwrap();
    consumer
}
