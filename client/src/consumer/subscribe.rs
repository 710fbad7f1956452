//! When and where a consumer's partitions are subscribed.

use std::{collections::BTreeSet, time::Duration};

use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, PartitionIndex, PartitionKey, SpuId},
    pb::data::Subscribe,
};

use super::{
    ConsumerConfig, Isolation,
    item::Item,
    part::{Part, Phase, Subscribed},
    reader::{Over, Reader},
};
use crate::{
    metadata::{ClusterMap, Generation, Partition},
    pool::{FetchCommand, Subscription},
};

/// Who is to serve a partition, where, and in which epoch: the leader, and once that has said where
/// to begin and to end, a follower that is nearer, where the consumer wants that.
pub(super) fn server<'a>(
    map: &'a ClusterMap,
    partition: &Partition,
    part: &Part,
    config: &ConsumerConfig,
) -> Option<(SpuId, &'a str, LeaderEpoch)> {
    let rack = config.rack.as_deref().filter(|_| config.isolation == Isolation::Committed);
    let near = rack.filter(|_| part.position.begun() && !part.position.wants_end());
    near.and_then(|rack| map.on_rack(partition, rack))
        .filter(|(spu, ..)| part.avoids != Some(*spu))
        .or_else(|| map.leader(partition))
}

impl Reader {
    pub(super) fn waits_for_room(&self) -> bool {
        self.parts.values().any(|part| matches!(part.phase, Phase::Waiting { .. }))
    }

    fn has_room(&self, paused: bool) -> bool {
        // A pause ends only when it was worth it.
        let max = self.config.max_buffer_bytes;
        self.gauge.bytes() < if paused { max / 2 } else { max }.max(1)
    }

    /// Subscribes what is due; gives up what was not answered; reports outages.
    pub(super) fn subscribe_due(&mut self, now: Duration) -> Result<(), Over> {
        let Some(generation) = self.generation.clone() else { return Ok(()) };
        let map = self.map.borrow().clone();
        let budget = self.budget(&generation, &map);
        let indexes: Vec<PartitionIndex> = self.parts.keys().copied().collect();
        for index in indexes {
            let room = [false, true].map(|paused| self.has_room(paused));
            let Some(part) = self.parts.get_mut(&index) else { continue };
            match &part.phase {
                Phase::Subscribed(subscribed)
                    if !subscribed.started
                        && now >= subscribed.since + self.core.config.request_timeout =>
                {
                    let message = "the SPU did not answer the subscription";
                    part.again(WireError::new(ErrorCode::TimedOut, message), now);
                    self.core.metadata.suspect();
                }
                Phase::Waiting { until, paused } if *until <= now && room[usize::from(*paused)] => {
                    let key = PartitionKey { generation: generation.id, partition: index };
                    let partition = generation.partition(index);
                    let server =
                        partition.and_then(|partition| server(&map, partition, part, &self.config));
                    match server {
                        None => {
                            let message = "the partition has no leader";
                            part.down(WireError::new(ErrorCode::NotLeader, message), now);
                        }
                        Some((spu, endpoint, epoch)) => {
                            let id = self.core.next_id();
                            let leads = partition.is_some_and(|p| p.leader == Some(spu));
                            let request = Subscribe {
                                subscription_id: id,
                                partition: Some(key.to_wire()),
                                leader_epoch: epoch.0,
                                start: Some(part.position.opening().to_wire()),
                                max_bytes: self.config.fetch_bytes.max(1),
                                uncommitted: self.config.isolation == Isolation::Uncommitted,
                                from_follower: !leads,
                                settled: part.position.wants_end(),
                            };
                            let subscription = Subscription {
                                consumer: self.id,
                                budget,
                                request,
                                events: self.event_to.clone(),
                                gauge: self.gauge.clone(),
                            };
                            let link = self.core.pool.fetch(spu, endpoint);
                            let command = FetchCommand::Subscribe(Box::new(subscription));
                            if link.send(command).is_err() {
                                let message = "the connection is closed";
                                part.again(WireError::new(ErrorCode::Unreachable, message), now);
                                continue;
                            }
                            self.subscriptions.insert(id, index);
                            let (started, since) = (false, now);
                            part.phase = Phase::Subscribed(Subscribed {
                                id,
                                spu,
                                epoch,
                                started,
                                since,
                                link,
                            });
                        }
                    }
                }
                _ => {}
            }
            if let Some(error) = part.overdue(now, self.config.unavailable_after) {
                let session = part.session;
                self.hand_on(Item::Error { error, session })?;
            }
        }
        let live = |id: &u64, index: &mut PartitionIndex| {
            self.parts.get(index).and_then(Part::subscription) == Some(*id)
        };
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        subscriptions.retain(live);
        self.subscriptions = subscriptions;
        Ok(())
    }

    /// What the consumer is ready to hold of each SPU.
    fn budget(&self, generation: &Generation, map: &ClusterMap) -> u64 {
        let server = |partition: &Partition| {
            let part = self.parts.get(&partition.index)?;
            Some(server(map, partition, part, &self.config)?.0)
        };
        let spus: BTreeSet<SpuId> = generation.partitions.iter().filter_map(server).collect();
        (self.config.max_buffer_bytes / spus.len().max(1)).max(1) as u64
    }

    pub(super) fn wake_at(&self, now: Duration) -> Option<Duration> {
        let after = self.config.unavailable_after;
        let times = self.parts.values().flat_map(|part| {
            let due = match &part.phase {
                Phase::Waiting { until, .. } => Some(*until).filter(|until| *until > now),
                Phase::Subscribed(s) if !s.started => {
                    Some(s.since + self.core.config.request_timeout)
                }
                _ => None,
            };
            [due, part.overdue_at(after)]
        });
        times.flatten().min()
    }
}
