//! How requests reach the coordinator of their consumer, and who keeps the coordinators.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use weir_protocol::{
    ErrorCode, WireError,
    ids::{PartitionIndex, PartitionKey, SpuId},
    murmur2::partition_of,
};
use weir_runtime::task::{self, JoinHandle};

use super::{
    OFFSETS_TOPIC,
    inbox::Inbox,
    request::{Answer, Request},
    task::{Parts, Task, shutting_down},
};
use crate::{
    metadata::{ClusterMap, Generation},
    partition::{Partition, Registry},
};

/// The coordinators of this SPU. Clones share them.
#[derive(Clone)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

struct Inner {
    me: SpuId,
    registry: Registry,
    parts: Parts,
    inboxes: Mutex<BTreeMap<PartitionKey, Inbox>>,
}

impl Coordinator {
    /// Starts the task that keeps a coordinator for each partition of the offsets topic that
    /// this SPU holds. It ends, after them, when `parts.stop` says so.
    #[must_use]
    pub fn start(me: SpuId, registry: Registry, parts: Parts) -> (Self, JoinHandle<()>) {
        let inner = Inner { me, registry, parts, inboxes: Mutex::default() };
        let coordinator = Self { inner: Arc::new(inner) };
        let task = task::spawn(coordinator.clone().keep());
        (coordinator, task)
    }

    /// Asks the coordinator of the request's consumer.
    ///
    /// # Errors
    /// `NOT_LEADER` with the one to ask, `NOT_YET_AVAILABLE`, `OVERLOADED`, `TIMED_OUT`
    /// (which may yet happen), `SHUTTING_DOWN`, and what the coordinator says.
    pub async fn ask(&self, request: Request) -> Result<Answer, WireError> {
        let Parts { cache, limits, clock, stop, .. } = &self.inner.parts;
        let inbox = self.inbox(&cache.current().map, &request.consumer)?;
        let answer = inbox.put(request).map_err(|refusal| match refusal.code {
            ErrorCode::NotYetAvailable if stop.is_cancelled() => shutting_down(),
            _ => refusal,
        })?;
        match clock.timeout(limits.consumer_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                let text = "the coordinator ended without an answer";
                Err(WireError::new(ErrorCode::Internal, text))
            }
            Err(_) => {
                let text = "not committed within the deadline; it may yet be";
                Err(WireError::new(ErrorCode::TimedOut, text))
            }
        }
    }

    /// Where requests of a consumer go.
    fn inbox(&self, map: &ClusterMap, consumer: &str) -> Result<Inbox, WireError> {
        let not_yet = |text: &str| WireError::new(ErrorCode::NotYetAvailable, text);
        let topic = offsets_topic(map)
            .ok_or_else(|| not_yet("the cluster has no offsets topic yet; try again"))?;
        let count = u32::try_from(topic.wire.partitions.len()).unwrap_or(u32::MAX);
        let index = PartitionIndex(partition_of(consumer.as_bytes(), count));
        let key = PartitionKey { generation: topic.id, partition: index };
        if let Some(inbox) = self.inboxes().get(&key).filter(|inbox| !inbox.is_closed()) {
            return Ok(inbox.clone());
        }
        let partition = topic.partition(index);
        let leader = partition.and_then(|partition| partition.leader_spu_id);
        if leader == Some(self.inner.me.get()) {
            return Err(not_yet("the coordinator is being started; try again"));
        }
        let mut error =
            WireError::new(ErrorCode::NotLeader, "this SPU is not the coordinator of the consumer");
        error.wire.leader_spu_id = leader;
        error.wire.leader_epoch = partition.map(|partition| partition.leader_epoch);
        Err(error)
    }

    /// Starts a coordinator wherever one is missing, until it is told to stop.
    async fn keep(self) {
        let Inner { registry, parts, .. } = &*self.inner;
        let (mut maps, mut transitions) = (parts.cache.watch(), registry.transitions());
        let mut tasks = Vec::<JoinHandle<()>>::new();
        loop {
            tasks.retain(|task| !task.is_finished());
            let cached = maps.borrow_and_update().clone();
            transitions.borrow_and_update();
            tasks.extend(self.start_missing(&cached.map));
            tokio::select! {
                biased;
                () = parts.stop.cancelled() => break,
                Ok(()) = maps.changed() => {}
                Ok(()) = transitions.changed() => {}
            }
        }
        for task in tasks {
            if task.await.is_err() {
                tracing::error!("a coordinator ended by a panic");
            }
        }
    }

    fn start_missing(&self, map: &ClusterMap) -> Vec<JoinHandle<()>> {
        let mut inboxes = self.inboxes();
        inboxes.retain(|_, inbox| !inbox.is_closed());
        let Some(topic) = offsets_topic(map) else { return Vec::new() };
        let held = topic.wire.partitions.iter().filter_map(|partition| {
            let partition = PartitionIndex(partition.index);
            let key = PartitionKey { generation: topic.id, partition };
            (!inboxes.contains_key(&key)).then(|| self.inner.registry.get(key))?
        });
        let missing: Vec<_> = held.collect();
        missing.into_iter().map(|partition| self.start_one(&mut inboxes, partition)).collect()
    }

    fn start_one(
        &self,
        inboxes: &mut BTreeMap<PartitionKey, Inbox>,
        partition: Arc<Partition>,
    ) -> JoinHandle<()> {
        let parts = self.inner.parts.clone();
        let (way_in, inbox) = Inbox::new(&parts.limits);
        inboxes.insert(partition.key(), way_in);
        task::spawn(Task { partition, parts, inbox }.run())
    }

    fn inboxes(&self) -> std::sync::MutexGuard<'_, BTreeMap<PartitionKey, Inbox>> {
        self.inner.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The topic that holds what consumers committed.
fn offsets_topic(map: &ClusterMap) -> Option<&Generation> {
    map.newest_active(OFFSETS_TOPIC).filter(|topic| topic.internal())
}
