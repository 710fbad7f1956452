//! The map of a cluster, and what an update makes of it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weir_protocol::{
    ids::{
        GenerationNumber, Incarnation, LeaderEpoch, PartitionEpoch, PartitionIndex, PartitionKey,
        Revision, SpuId, TopicGenerationId,
    },
    pb::metadata::{self as wire, GenerationState, MetadataUpdate},
    topic_config::TopicConfig,
};

use crate::{replica::Assignment, seen::Database};

/// Why an update was not taken. The map is as it was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// It breaks the protocol.
    #[error("the metadata update is malformed: {0}")]
    Malformed(&'static str),
    /// The same database counts lower than before: it went back.
    #[error("the metadata went back from revision {seen} to {sent}")]
    WentBack {
        /// What was sent before.
        seen: Revision,
        /// What was sent now.
        sent: Revision,
    },
    /// Changes to a history that is not this map's.
    #[error("changes arrived without a snapshot of their database")]
    NoSnapshot,
}

/// One incarnation of a topic, as it was sent, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Its identity.
    pub id: TopicGenerationId,
    /// Deleted ones are known but not served.
    pub active: bool,
    /// Deleted for good: its data is being removed, by explicit orders, and what others keep
    /// of it may be forgotten.
    pub purged: bool,
    /// How its records are kept.
    pub config: TopicConfig,
    /// As sent, with partitions in the order of their indexes.
    pub wire: Arc<wire::TopicGeneration>,
}

impl Generation {
    fn from_wire(sent: &wire::TopicGeneration) -> Result<Option<Self>, MapError> {
        let id = TopicGenerationId::from_wire(&sent.generation_id)
            .ok_or(MapError::Malformed("a generation id is not 16 bytes"))?;
        let (active, purged) = match sent.state() {
            GenerationState::Active => (true, false),
            GenerationState::Tombstone => (false, false),
            // Nothing of it is left anywhere.
            GenerationState::Purged if sent.partitions.is_empty() => return Ok(None),
            GenerationState::Purged => (false, true),
            GenerationState::Unspecified => {
                return Err(MapError::Malformed("a generation has no state"));
            }
        };
        let mut sent = sent.clone();
        sent.partitions.sort_by_key(|partition| partition.index);
        if !sent
            .partitions
            .iter()
            .map(|partition| partition.index)
            .eq(0..sent.partitions.len() as u32)
        {
            return Err(MapError::Malformed("partition indexes are not 0..n"));
        }
        let config = TopicConfig::from_wire(sent.config.as_ref());
        Ok(Some(Self { id, active, purged, config, wire: Arc::new(sent) }))
    }

    /// The label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.wire.name
    }

    /// Counts up per name.
    #[must_use]
    pub fn number(&self) -> GenerationNumber {
        GenerationNumber(self.wire.generation_number)
    }

    /// Whether it is for the cluster's own use.
    #[must_use]
    pub fn internal(&self) -> bool {
        self.wire.internal
    }

    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&wire::Partition> {
        self.wire.partitions.get(usize::try_from(index.get()).ok()?)
    }

    /// What the control plane says of a partition, as its replica on `me` takes it.
    fn assignment(
        &self,
        partition: &wire::Partition,
        me: SpuId,
        incarnation: Option<Incarnation>,
        online: impl Fn(SpuId) -> Option<Incarnation>,
    ) -> Assignment {
        let spus = |ids: &[u32]| ids.iter().copied().map(SpuId).collect::<BTreeSet<_>>();
        let replicas = spus(&partition.replica_spu_ids);
        Assignment {
            me,
            incarnation,
            serving: self.active,
            leader: partition.leader_spu_id.map(SpuId),
            leader_incarnation: Incarnation(partition.leader_incarnation),
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            unclean_epoch: LeaderEpoch(partition.unclean_leader_epoch),
            partition_epoch: PartitionEpoch(partition.partition_epoch),
            online: replicas.iter().filter_map(|spu| Some((*spu, online(*spu)?))).collect(),
            isr: spus(&partition.isr_spu_ids),
            min_insync: self.wire.min_insync_replicas.max(1),
            replicas,
            config: self.config,
        }
    }
}

/// The highest numbers of a map that fence the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fences {
    /// Of any partition.
    pub leader_epoch: LeaderEpoch,
    /// Of any partition.
    pub partition_epoch: PartitionEpoch,
    /// Of any SPU.
    pub incarnation: Incarnation,
}

/// What the control plane said last. Cheap to clone: the entries are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterMap {
    database: Option<Database>,
    revision: Revision,
    revised_at_unix_ms: i64,
    generations: BTreeMap<TopicGenerationId, Generation>,
    by_name: BTreeMap<String, BTreeSet<(GenerationNumber, TopicGenerationId)>>,
    spus: BTreeMap<SpuId, wire::Spu>,
}

impl ClusterMap {
    /// Which history its revision belongs to; `None` before the first snapshot.
    #[must_use]
    pub const fn database(&self) -> Option<Database> {
        self.database
    }

    /// Its version.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// When that version was made, as its database says; 0: it did not say.
    #[must_use]
    pub const fn revised_at_unix_ms(&self) -> i64 {
        self.revised_at_unix_ms
    }

    /// The highest numbers in it that fence the past.
    #[must_use]
    pub fn fences(&self) -> Fences {
        let mut fences = Fences::default();
        for partition in self.generations.values().flat_map(|known| &known.wire.partitions) {
            let leader_epoch = LeaderEpoch(partition.leader_epoch);
            fences.leader_epoch = fences.leader_epoch.max(leader_epoch);
            let partition_epoch = PartitionEpoch(partition.partition_epoch);
            fences.partition_epoch = fences.partition_epoch.max(partition_epoch);
        }
        let lives = self.spus.values().map(|spu| Incarnation(spu.incarnation));
        fences.incarnation = lives.max().unwrap_or_default();
        fences
    }

    /// A generation that is active, a tombstone, or being purged.
    #[must_use]
    pub fn generation(&self, id: TopicGenerationId) -> Option<&Generation> {
        self.generations.get(&id)
    }

    /// Every generation, deleted ones too.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.generations.values()
    }

    /// The newest active generation of a name.
    #[must_use]
    pub fn newest_active(&self, name: &str) -> Option<&Generation> {
        let of_name = self.by_name.get(name)?.iter().rev();
        of_name.filter_map(|(_, id)| self.generations.get(id)).find(|generation| generation.active)
    }

    /// A partition of a known generation.
    #[must_use]
    pub fn partition(&self, key: PartitionKey) -> Option<(&Generation, &wire::Partition)> {
        let generation = self.generation(key.generation)?;
        Some((generation, generation.partition(key.partition)?))
    }

    /// What the control plane says of a partition, as its replica on `me` takes it.
    #[must_use]
    pub fn assignment(
        &self,
        generation: &Generation,
        partition: &wire::Partition,
        me: SpuId,
        incarnation: Option<Incarnation>,
    ) -> Assignment {
        generation.assignment(partition, me, incarnation, |spu| {
            let spu = self.spus.get(&spu)?;
            (spu.state() == wire::SpuState::Online).then_some(Incarnation(spu.incarnation))
        })
    }

    /// Where an SPU listens, unless it is removed or has not registered yet.
    #[must_use]
    pub fn endpoint(&self, spu: SpuId) -> Option<&str> {
        let spu = self.spus.get(&spu).filter(|spu| spu.state() != wire::SpuState::Removed)?;
        Some(spu.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty())
    }

    /// Takes an update. False: it brings nothing new.
    ///
    /// # Errors
    /// [`MapError`]; the map is as it was.
    pub fn apply(&mut self, update: &MetadataUpdate) -> Result<bool, MapError> {
        let database = Database::from_wire(update.database.as_ref());
        let database = database.ok_or(MapError::Malformed("no database is named"))?;
        let revision = Revision(update.revision);
        let same = self.database == Some(database);
        if update.snapshot {
            if same && revision < self.revision {
                return Err(MapError::WentBack { seen: self.revision, sent: revision });
            }
        } else if !same {
            return Err(MapError::NoSnapshot);
        } else if revision <= self.revision {
            return Ok(false);
        }
        // Everything is checked before anything is changed.
        let mut parsed = Vec::with_capacity(update.topics.len());
        for sent in &update.topics {
            let id = TopicGenerationId::from_wire(&sent.generation_id);
            parsed.push((id, Generation::from_wire(sent)?));
        }
        if update.snapshot {
            *self = Self::default();
        }
        (self.database, self.revision) = (Some(database), revision);
        self.revised_at_unix_ms = update.revised_at_unix_ms;
        for (id, generation) in parsed {
            if let Some(id) = id {
                self.forget(id);
            }
            if let Some(generation) = generation {
                let of_name = self.by_name.entry(generation.name().to_owned()).or_default();
                of_name.insert((generation.number(), generation.id));
                self.generations.insert(generation.id, generation);
            }
        }
        for spu in &update.spus {
            self.spus.insert(SpuId(spu.spu_id), spu.clone());
        }
        Ok(true)
    }

    /// Whether an SPU is in sync for a partition, as far as is known here.
    #[must_use]
    pub fn in_sync(&self, key: PartitionKey, spu: SpuId) -> bool {
        self.partition(key).is_some_and(|(_, wire)| wire.isr_spu_ids.contains(&spu.get()))
    }

    fn forget(&mut self, id: TopicGenerationId) {
        let Some(gone) = self.generations.remove(&id) else { return };
        if let Some(of_name) = self.by_name.get_mut(gone.name()) {
            of_name.remove(&(gone.number(), id));
            if of_name.is_empty() {
                self.by_name.remove(gone.name());
            }
        }
    }

    /// The whole map as an update; `None` before the first snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Option<MetadataUpdate> {
        Some(MetadataUpdate {
            revision: self.revision.get(),
            snapshot: true,
            database: Some(self.database?.to_wire()),
            topics: self.generations.values().map(|known| (*known.wire).clone()).collect(),
            spus: self.spus.values().cloned().collect(),
            revised_at_unix_ms: self.revised_at_unix_ms,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;

    use super::*;

    pub(crate) fn topic(
        id: u128,
        number: u32,
        name: &str,
        state: GenerationState,
    ) -> wire::TopicGeneration {
        let partition = |index| wire::Partition {
            index,
            leader_spu_id: Some(1),
            leader_incarnation: 1,
            leader_epoch: 1,
            partition_epoch: 1,
            replica_spu_ids: vec![1],
            isr_spu_ids: vec![1],
            ..Default::default()
        };
        wire::TopicGeneration {
            generation_id: TopicGenerationId(Uuid::from_u128(id)).to_wire(),
            generation_number: number,
            name: name.to_owned(),
            state: state.into(),
            internal: name.starts_with("__"),
            partitions: vec![partition(1), partition(0)],
            config: None,
            min_insync_replicas: 1,
        }
    }

    pub(crate) fn update(
        revision: u64,
        snapshot: bool,
        topics: Vec<wire::TopicGeneration>,
    ) -> MetadataUpdate {
        let database_id = Uuid::from_u128(50).to_string();
        let database = Some(wire::DatabaseRef { database_id, restore_number: 0 });
        MetadataUpdate { revision, snapshot, database, topics, ..MetadataUpdate::default() }
    }

    fn id(id: u128) -> TopicGenerationId {
        TopicGenerationId(Uuid::from_u128(id))
    }

    #[test]
    fn a_snapshot_replaces_and_a_delta_changes() {
        let mut map = ClusterMap::default();
        let (a, b) = (GenerationState::Active, GenerationState::Tombstone);
        assert_eq!(map.apply(&update(3, true, vec![topic(1, 1, "t", a)])), Ok(true));
        let delta = update(4, false, vec![topic(1, 1, "t", b), topic(2, 2, "t", a)]);
        assert_eq!(map.apply(&delta), Ok(true));
        assert_eq!(map.newest_active("t").map(|known| known.id), Some(id(2)));
        assert!(!map.generation(id(1)).unwrap().active);
        assert_eq!(map.apply(&delta), Ok(false), "a repeated delta brings nothing");

        let mut purged = topic(1, 1, "t", GenerationState::Purged);
        assert_eq!(map.apply(&update(5, false, vec![purged.clone()])), Ok(true));
        let known = map.generation(id(1)).unwrap();
        assert!(known.purged && !known.active, "until its data is gone");
        assert_eq!(map.snapshot().unwrap().topics[0].state(), GenerationState::Purged);
        purged.partitions.clear();
        assert_eq!(map.apply(&update(6, false, vec![purged])), Ok(true));
        assert!(map.generation(id(1)).is_none());
        assert_eq!(map.apply(&update(9, true, vec![])), Ok(true));
        assert!(map.generation(id(2)).is_none());
        assert!(map.by_name.is_empty());
    }

    #[test]
    fn a_snapshot_of_the_map_makes_the_same_map() {
        let mut map = ClusterMap::default();
        map.apply(&update(3, true, vec![topic(1, 1, "t", GenerationState::Active)])).unwrap();
        let mut copy = ClusterMap::default();
        copy.apply(&map.snapshot().unwrap()).unwrap();
        assert_eq!(copy, map);
    }

    #[test]
    fn what_goes_back_or_is_malformed_changes_nothing() {
        let mut map = ClusterMap::default();
        assert_eq!(map.apply(&update(1, false, vec![])), Err(MapError::NoSnapshot));
        map.apply(&update(3, true, vec![topic(1, 1, "t", GenerationState::Active)])).unwrap();
        let before = map.clone();
        let (seen, sent) = (Revision(3), Revision(2));
        assert_eq!(map.apply(&update(2, true, vec![])), Err(MapError::WentBack { seen, sent }));
        let good = topic(2, 1, "u", GenerationState::Active);
        for spoil in [
            |topic: &mut wire::TopicGeneration| topic.generation_id = bytes::Bytes::new(),
            |topic: &mut wire::TopicGeneration| topic.state = 99,
            |topic: &mut wire::TopicGeneration| topic.partitions[0].index = 7,
        ] {
            let mut bad = good.clone();
            spoil(&mut bad);
            let refused = map.apply(&update(4, false, vec![good.clone(), bad]));
            assert!(matches!(refused, Err(MapError::Malformed(_))));
        }
        let nameless = MetadataUpdate { database: None, ..update(5, false, vec![]) };
        assert!(map.apply(&nameless).is_err());
        assert_eq!(map, before);
    }
}
