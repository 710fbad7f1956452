//! Replicas in sync, leaders that stop, SPUs that are lost: over sessions and the reconciler.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support_spus/mod.rs"]
mod support;

#[path = "replication/boots.rs"]
mod boots;
#[path = "replication/lost.rs"]
mod lost;
#[path = "replication/proposals.rs"]
mod proposals;
#[path = "replication/racks.rs"]
mod racks;
#[path = "replication/reassign.rs"]
mod reassign;
#[path = "replication/stops.rs"]
mod stops;

use support::{
    ControlPlane, PATIENCE,
    case::launch,
    spu::{self, Identity, Session},
};
use tempfile::TempDir;
use weir_control_plane::{
    app::{
        self, Answer, TopicRequest,
        view::{PartitionView, TopicView},
    },
    store::{spus, types::SpuState},
};
use weir_protocol::{
    ids::{ClusterId, PartitionIndex, PartitionKey, SpuId, TopicGenerationId},
    pb::{
        metadata::MetadataUpdate,
        session::{IsrMember, ProposeIsr, ProposedIsr, spu_message},
    },
};

/// A control plane without a reconciler, and a cluster of SPUs that a test speaks for; three,
/// where it needs no other number.
struct Three {
    control: ControlPlane,
    cluster: ClusterId,
    identities: Vec<Identity>,
    folder: TempDir,
}

async fn three() -> Three {
    some(3).await
}

async fn some(spus: u32) -> Three {
    let folder = TempDir::new().unwrap();
    // The sessions of these tests send no heartbeats.
    let control = ControlPlane::start_with(&folder, PATIENCE * 10).await;
    let cluster = control.create("demo", spus).await;
    let mut identities = Vec::new();
    for n in 1..=spus {
        identities.push(launch(&control, cluster, SpuId(n), u128::from(n)).await);
    }
    Three { control, cluster, identities, folder }
}

impl Three {
    /// A session of each, past its snapshot.
    async fn sessions(&self) -> Vec<Session> {
        let mut sessions = Vec::new();
        for identity in &self.identities {
            sessions.push(self.session(identity).await);
        }
        sessions
    }

    /// The connection of an SPU's process breaks: another one is taken from then on.
    fn broken(&self, spu: SpuId) {
        let board = &self.control.app.board;
        if let Some(session) = board.spu(self.cluster, spu).session {
            board.session_down(self.cluster, spu, session.id);
        }
    }

    async fn session(&self, identity: &Identity) -> Session {
        self.broken(identity.spu);
        let mut session = spu::open(&self.control.rpc, identity.register()).await.unwrap();
        assert!(session.metadata().await.snapshot);
        session
    }

    async fn topic(&self, partitions: u32, replication: u32, min_insync: u32) -> TopicView {
        create(&self.control, "orders", partitions, replication, Some(min_insync)).await
    }

    async fn shown(&self, partition: usize) -> PartitionView {
        let shown = app::topic_get(&self.control.app, &self.control.principal, "demo", "orders");
        shown.await.unwrap().partitions[partition].clone()
    }

    async fn revision(&self) -> u64 {
        self.control.cluster(self.cluster).await.unwrap().revision
    }

    /// What the reconciler writes of an SPU that is gone, without what follows.
    async fn set_offline(&self, spu: u32) {
        let mut tx = self.control.app.store.write().await.unwrap();
        let mut scoped = tx.scoped(self.control.org());
        let offline = SpuState::Offline;
        spus::set_state(&mut scoped, self.cluster, SpuId(spu), offline, None, 1).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn create(
    control: &ControlPlane,
    name: &str,
    partitions: u32,
    replication: u32,
    min_insync_replicas: Option<u32>,
) -> TopicView {
    let wanted =
        TopicRequest { replication, min_insync_replicas, ..TopicRequest::new(name, partitions) };
    match app::topic_create(&control.app, &control.principal, "demo", &wanted, None).await.unwrap()
    {
        Answer::Fresh(view) => view,
        repeated => panic!("{repeated:?}"),
    }
}

/// The next update that is about topics.
async fn told(session: &mut Session) -> MetadataUpdate {
    loop {
        let update = session.metadata().await;
        if !update.topics.is_empty() {
            return update;
        }
    }
}

/// In any order.
fn ids(spus: &[u32]) -> Vec<u32> {
    let mut sorted = spus.to_vec();
    sorted.sort_unstable();
    sorted
}

/// A proposal on what is shown; each member in incarnation 1.
fn proposal(generation: TopicGenerationId, on: &PartitionView, members: &[u32]) -> ProposedIsr {
    let key = PartitionKey { generation, partition: PartitionIndex(on.index) };
    ProposedIsr {
        partition: Some(key.to_wire()),
        leader_epoch: on.leader_epoch,
        partition_epoch: on.partition_epoch,
        members: members.iter().map(|n| IsrMember { spu_id: *n, incarnation: 1 }).collect(),
    }
}

const fn propose(partitions: Vec<ProposedIsr>) -> spu_message::Message {
    spu_message::Message::ProposeIsr(ProposeIsr { partitions })
}
