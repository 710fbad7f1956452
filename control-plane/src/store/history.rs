//! The words of a recovery: what SPUs have seen, the cluster's counters, and what becomes of both.
//! `plan::history` decides with them, [`super::recovery`] writes them.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{
    DatabaseId, Incarnation, LeaderEpoch, PartitionEpoch, PartitionKey, ProducerId, RestoreNumber,
    Revision, SpuId,
};

/// What one SPU of a frozen cluster has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which.
    pub spu: SpuId,
    /// The database that its folder last heard of.
    pub database: Option<(DatabaseId, RestoreNumber)>,
    /// That one's highest revision.
    pub revision: Revision,
    /// The highest producer id given to it.
    pub producer_id: ProducerId,
    /// The highest of any partition.
    pub leader_epoch: LeaderEpoch,
    /// The highest of any partition.
    pub partition_epoch: PartitionEpoch,
    /// The highest of any SPU.
    pub incarnation: Incarnation,
    /// The replicas in its folder.
    pub held: BTreeSet<PartitionKey>,
}

/// A cluster's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often it was recovered.
    pub restore_number: RestoreNumber,
    /// Its metadata's last revision.
    pub revision: Revision,
    /// The first producer id that was not given out.
    pub next_producer_id: ProducerId,
    /// The last id given to an SPU.
    pub last_spu_id: SpuId,
    /// The highest of any partition.
    pub leader_epoch: LeaderEpoch,
    /// The highest of any partition.
    pub partition_epoch: PartitionEpoch,
    /// The highest of any SPU.
    pub incarnation: Incarnation,
}

/// How a frozen cluster is taken up again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// What its counters become.
    pub counters: Counters,
    /// Whose logs must be seen before anybody leads.
    pub awaited: BTreeSet<SpuId>,
    /// SPUs that were not heard. What only they have is lost if the recovery is done without them.
    pub unheard: BTreeSet<SpuId>,
    /// SPUs that the database does not know: they were added after the backup.
    pub new_spus: BTreeSet<SpuId>,
    /// Replicas that lie where the database does not know of any.
    pub joins: Vec<(PartitionKey, SpuId)>,
    /// Partitions that a topic was given after the backup, by who holds them: it has them again.
    pub regrown: BTreeMap<PartitionKey, BTreeSet<SpuId>>,
    /// What lies on SPUs and belongs to nothing that the database knows. It is kept.
    pub unknown: BTreeMap<PartitionKey, BTreeSet<SpuId>>,
    /// Other databases' histories that are taken in.
    pub histories: BTreeMap<DatabaseId, RestoreNumber>,
}
