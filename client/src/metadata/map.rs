//! The map of a cluster as the client knows it, and how updates change it. Pure.

use std::{collections::BTreeMap, sync::Arc};

use weir_protocol::{
    ids::{
        GenerationNumber, LeaderEpoch, PartitionIndex, RestoreNumber, Revision, SpuId,
        TopicGenerationId,
    },
    pb::metadata as pb,
};
use weir_runtime::plant;

/// Which history of revisions a map belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The control plane's database.
    pub id: String,
    /// How often it was restored from a backup.
    pub restore_number: RestoreNumber,
}

/// A partition: who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: PartitionIndex,
    /// Its name, if it was given one.
    pub label: Option<String>,
    /// Who leads it, if anybody.
    pub leader: Option<SpuId>,
    /// Version of its leadership.
    pub leader_epoch: LeaderEpoch,
    /// Who is in sync, the leader too.
    pub isr: Vec<SpuId>,
}

/// A topic generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// What the data belongs to.
    pub id: TopicGenerationId,
    /// How many generations the name has had, counting this one.
    pub number: GenerationNumber,
    /// The label.
    pub name: Arc<str>,
    /// Served; if not, deleted.
    pub active: bool,
    /// One of Weir's own.
    pub internal: bool,
    /// By index, without gaps.
    pub partitions: Vec<Partition>,
}

impl Generation {
    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }
}

/// An SPU of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spu {
    /// Its session with the control plane is up.
    pub online: bool,
    /// `host:port`; empty before it registered.
    pub endpoint: String,
    /// What fails together with it, if it said.
    pub rack: Option<String>,
}

/// What became of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is served.
    Active(Arc<Generation>),
    /// It was deleted, and the name belongs to this one now.
    Recreated(Arc<Generation>),
    /// It was deleted.
    Deleted,
}

/// An update that cannot be applied: the watch has to begin anew with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// A delta of another database's history.
    #[error("a change counted by another database")]
    OtherDatabase,
    /// An entry that makes no sense.
    #[error("malformed update: {0}")]
    Malformed(&'static str),
}

/// The map of a cluster: a value, replaced whole at every change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMap {
    /// Its version.
    pub revision: Revision,
    /// What the revision is counted by; none before the first snapshot.
    pub database: Option<Database>,
    generations: BTreeMap<TopicGenerationId, Arc<Generation>>,
    names: BTreeMap<Arc<str>, TopicGenerationId>,
    spus: BTreeMap<SpuId, Spu>,
}

impl ClusterMap {
    /// The generation that carries `name` now.
    #[must_use]
    pub fn active(&self, name: &str) -> Option<&Arc<Generation>> {
        self.names.get(name).and_then(|id| self.generations.get(id))
    }

    /// A generation by its id, deleted ones included until they are purged.
    #[must_use]
    pub fn generation(&self, id: TopicGenerationId) -> Option<&Arc<Generation>> {
        self.generations.get(&id)
    }

    /// What became of a generation that carried `name`.
    #[must_use]
    pub fn fate(&self, id: TopicGenerationId, name: &str) -> Fate {
        match (self.generations.get(&id).filter(|g| g.active), self.active(name)) {
            (Some(generation), _) => Fate::Active(generation.clone()),
            (None, Some(successor)) => Fate::Recreated(successor.clone()),
            (None, None) => Fate::Deleted,
        }
    }

    /// Names of the active topics, in order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.names.values().filter_map(|id| self.generations.get(id))
    }

    /// The SPUs, by id.
    pub fn spus(&self) -> impl Iterator<Item = (SpuId, &Spu)> {
        self.spus.iter().map(|(id, spu)| (*id, spu))
    }

    /// Where SPUs listen: those that are online first.
    #[must_use]
    pub fn endpoints(&self) -> Vec<&str> {
        let known = || self.spus.values().filter(|spu| !spu.endpoint.is_empty());
        let (online, others) = (known().filter(|s| s.online), known().filter(|s| !s.online));
        online.chain(others).map(|spu| &*spu.endpoint).collect()
    }

    /// The endpoint of an SPU that is online.
    #[must_use]
    pub fn endpoint(&self, id: SpuId) -> Option<&str> {
        self.spus.get(&id).filter(|s| s.online && !s.endpoint.is_empty()).map(|s| &*s.endpoint)
    }

    /// Who leads a partition, where, and with which epoch. The SPU's session with the control
    /// plane may be down: it may serve all the same.
    #[must_use]
    pub fn leader(&self, partition: &Partition) -> Option<(SpuId, &str, LeaderEpoch)> {
        let leader = partition.leader?;
        let spu = self.spus.get(&leader).filter(|spu| !spu.endpoint.is_empty())?;
        Some((leader, &spu.endpoint, partition.leader_epoch))
    }

    /// Who serves a reader on `rack`: an SPU there that is in sync and online, the leader where
    /// it is one; another one for each partition, where there are several. `None`: there is none.
    #[must_use]
    pub fn on_rack(&self, partition: &Partition, rack: &str) -> Option<(SpuId, &str, LeaderEpoch)> {
        let there =
            |spu: &SpuId| self.spus.get(spu).is_some_and(|s| s.rack.as_deref() == Some(rack));
        let near = partition.isr.iter().copied().filter(there);
        let near: Vec<_> = near.filter_map(|spu| Some((spu, self.endpoint(spu)?))).collect();
        if plant::active("nobody_is_near") {
            return None;
        }
        let leader = near.iter().position(|(spu, _)| Some(*spu) == partition.leader);
        let count = u32::try_from(near.len()).ok().filter(|count| *count > 0)?;
        let turn = usize::try_from(partition.index.0 % count).ok();
        let (spu, endpoint) = near.get(leader.or(turn)?).copied()?;
        Some((spu, endpoint, partition.leader_epoch))
    }

    /// As [`ClusterMap::leader`], if that SPU is online.
    #[must_use]
    pub fn live_leader(&self, partition: &Partition) -> Option<(SpuId, &str, LeaderEpoch)> {
        let leader = partition.leader?;
        Some((leader, self.endpoint(leader)?, partition.leader_epoch))
    }

    /// The map after `update`; `None` when it says nothing new.
    ///
    /// What is older than the map is passed by, so that an SPU that lags behind cannot turn
    /// it back; but a snapshot of another database, or of a restored one, replaces it.
    ///
    /// # Errors
    /// [`MapError`], and the map stays as it was.
    pub fn apply(&self, update: &pb::MetadataUpdate) -> Result<Option<Self>, MapError> {
        let database = update.database.as_ref().map(|d| Database {
            id: d.database_id.clone(),
            restore_number: RestoreNumber(d.restore_number),
        });
        let same = match (&self.database, &database) {
            (Some(ours), Some(theirs)) if ours.id == theirs.id => {
                if theirs.restore_number < ours.restore_number {
                    return Ok(None);
                }
                theirs.restore_number == ours.restore_number
            }
            // A delta need not repeat what its stream's snapshot said.
            (Some(_), None) => !update.snapshot,
            _ => false,
        };
        if same && Revision(update.revision) <= self.revision {
            return Ok(None);
        }
        if !same && !update.snapshot {
            return Err(MapError::OtherDatabase);
        }
        let mut map = if update.snapshot { Self::default() } else { self.clone() };
        map.revision = Revision(update.revision);
        map.database = database.or_else(|| self.database.clone());
        for topic in &update.topics {
            map.put_topic(topic)?;
        }
        for spu in &update.spus {
            map.put_spu(spu);
        }
        map.names = names(&map.generations);
        Ok(Some(map))
    }

    fn put_topic(&mut self, wire: &pb::TopicGeneration) -> Result<(), MapError> {
        let id = TopicGenerationId::from_wire(&wire.generation_id)
            .ok_or(MapError::Malformed("generation id"))?;
        if wire.state() == pb::GenerationState::Purged {
            self.generations.remove(&id);
            return Ok(());
        }
        let mut partitions: Vec<_> = wire.partitions.iter().map(partition).collect();
        partitions.sort_by_key(|p| p.index);
        let dense = partitions.iter().zip(0..).all(|(p, index)| p.index.0 == index);
        if !dense {
            return Err(MapError::Malformed("partition indexes"));
        }
        let generation = Generation {
            id,
            number: GenerationNumber(wire.generation_number),
            name: wire.name.as_str().into(),
            active: wire.state() == pb::GenerationState::Active,
            internal: wire.internal,
            partitions,
        };
        self.generations.insert(id, Arc::new(generation));
        Ok(())
    }

    fn put_spu(&mut self, wire: &pb::Spu) {
        let id = SpuId(wire.spu_id);
        if wire.state() == pb::SpuState::Removed {
            self.spus.remove(&id);
        } else {
            let online = wire.state() == pb::SpuState::Online;
            let rack = Some(wire.rack.clone()).filter(|rack| !rack.is_empty());
            self.spus.insert(id, Spu { online, endpoint: wire.endpoint.clone(), rack });
        }
    }
}

fn partition(wire: &pb::Partition) -> Partition {
    Partition {
        index: PartitionIndex(wire.index),
        label: Some(wire.label.clone()).filter(|label| !label.is_empty()),
        leader: wire.leader_spu_id.map(SpuId),
        leader_epoch: LeaderEpoch(wire.leader_epoch),
        isr: wire.isr_spu_ids.iter().copied().map(SpuId).collect(),
    }
}

/// Which generation each name belongs to: of the active ones the newest.
fn names(
    generations: &BTreeMap<TopicGenerationId, Arc<Generation>>,
) -> BTreeMap<Arc<str>, TopicGenerationId> {
    let mut names: BTreeMap<Arc<str>, &Arc<Generation>> = BTreeMap::new();
    for generation in generations.values().filter(|g| g.active) {
        let newest = names.entry(generation.name.clone()).or_insert(generation);
        if newest.number < generation.number {
            *newest = generation;
        }
    }
    names.into_iter().map(|(name, generation)| (name, generation.id)).collect()
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
