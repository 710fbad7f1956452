//! A database that went back: an old backup was put in its place, its file was lost, or two
//! stores are in use.
//!
//! Every SPU keeps the highest that its folder ever saw of the database's numbers, and says it
//! when it registers. [`later`] compares. Who has seen more than the database holds proves that
//! the database went back, and then nothing that it says can be relied on: not who is in sync,
//! not which epochs were given. So the cluster is **frozen**, in SQL: no election, no change of
//! in-sync replicas, no placement, no removal, no producer ids, no session, until
//! `weir control-plane recover`. SPUs without a session serve on with what they know, as they do
//! while the control plane is away.
//!
//! **Who is believed.** A stranger must not be able to freeze a cluster, so an SPU is believed
//! when it shows a secret: of a launch that the database knows, or of one that it does not know
//! but that carries a proof made with the key of the database's hashes (`auth::launch_secret`).
//! That key is in the backup, and only a control plane over this database could have made the
//! proof: so the launch was begun after the backup. Others wait, and change nothing.
//!
//! **Why numbers alone do not do.** A database that went back goes on counting, and reaches the
//! revision that an SPU has seen before that SPU is heard. So an SPU also says when its revision
//! was made: two histories that parted made the same one at other times.
//!
//! **Why the in-sync replicas of the backup are of no use.** Since then others may have become
//! in sync and acknowledged what one of them never got. [`recover`] raises every counter above
//! all that was seen, leaves every partition without a leader, under a new epoch, and names whose
//! logs must be seen: everybody's who was heard. Once a replica has taken that epoch it answers no
//! older leader, so nothing is committed any more and its log stands still; then it reports its
//! end. [`lead`] waits for all of them and chooses the log whose last record has the highest
//! epoch, and of those the longest. What was committed in epoch *e* is in the logs of all that
//! were in sync then, so the chosen log's last epoch is at least *e*; whoever wrote in a later
//! epoch began with a log that had it, and of one epoch's logs the longer begins with the shorter.
//! So the chosen log has all that was ever acknowledged.
//!
//! **Each cluster has a restore number of its own**, on top of the database's: clusters are
//! frozen and recovered one by one, and raising a number that all share would end the sessions of
//! those that are well, and make what SPUs of a frozen one have seen look as old as it is not.
//! Under another restore number an SPU takes any snapshot and refuses orders of the history before.
//!
//! What this cannot see: an SPU that was cut off since before the backup and is heard alone. A
//! control plane that has just begun therefore gives no epoch before it has heard every SPU, or a
//! lease is over (`app::status_board`); whoever restores a backup on purpose starts with
//! `--from-backup`, which freezes at once.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{
    DatabaseId, Incarnation, LeaderEpoch, Offset, PartitionIndex, PartitionKey, ProducerId,
    RestoreNumber, SpuId,
};
use weir_runtime::plant;

use super::{
    names::PARTITIONS_MAX,
    registration::{Asked, KnownCluster},
};
use crate::store::{
    history::{Counters, Heard, Recovery},
    partition_state::PartitionState,
    partitions::PartitionRow,
};

/// What the SPU has seen that this database has not, if anything.
#[must_use]
pub fn later(
    cluster: &KnownCluster,
    leader_epochs: &BTreeMap<PartitionKey, LeaderEpoch>,
    asked: &Asked,
) -> Option<String> {
    if plant::active("no_freeze") {
        return None;
    }
    let (database, restored) = asked.database?;
    let taken_in =
        cluster.histories.iter().any(|(id, up_to)| *id == database && restored <= *up_to);
    if database != cluster.database_id && !taken_in {
        return Some(format!(
            "the SPU's data belongs to database {database}, this control plane's is {}",
            cluster.database_id
        ));
    }
    let same = database == cluster.database_id;
    if same && restored > cluster.restore_number {
        return Some(format!(
            "the SPU has seen restore {restored} of the database, this one is {}",
            cluster.restore_number
        ));
    }
    // Revisions of another history do not compare; what fences does.
    if same && restored == cluster.restore_number {
        let seen = asked.highest_revision;
        if seen > cluster.revision {
            return Some(format!(
                "the SPU has seen metadata revision {seen}, the database is at {}",
                cluster.revision
            ));
        }
        let made = cluster.revised_at_unix_ms;
        if asked.revised_at_unix_ms != 0 && made.is_some_and(|at| at != asked.revised_at_unix_ms) {
            return Some(format!(
                "the SPU has seen another metadata revision {seen} than the database has"
            ));
        }
    }
    if asked.highest_producer_id > ProducerId(0)
        && asked.highest_producer_id >= cluster.next_producer_id
    {
        return Some(format!(
            "the SPU has seen producer id {}, the database gives out {} next",
            asked.highest_producer_id, cluster.next_producer_id
        ));
    }
    asked.leader_epochs.iter().find_map(|(key, seen)| {
        let ours = leader_epochs.get(key)?;
        (seen > ours).then(|| {
            format!("the SPU has seen leader epoch {seen} of {key}, the database is at {ours}")
        })
    })
}

/// A frozen cluster, as its database holds it.
#[derive(Clone, Debug)]
pub struct Before {
    /// Which database that is.
    pub database_id: DatabaseId,
    /// The restore number that comes on top of the cluster's.
    pub restored: RestoreNumber,
    /// Its counters.
    pub counters: Counters,
    /// Its SPUs that are not removed.
    pub spus: BTreeSet<SpuId>,
    /// Who holds each partition; nobody, where it is being purged.
    pub holders: BTreeMap<PartitionKey, Option<BTreeSet<SpuId>>>,
}

/// Who was not heard may have seen more than all others: so far above what these have seen the
/// counters go then, that nothing is given out twice when one of them comes back.
const UNHEARD_GAP: u32 = 1 << 16;

/// What recovering comes to, with the SPUs that were heard.
#[must_use]
pub fn recover(before: &Before, heard: &[Heard]) -> Recovery {
    let Before { counters, .. } = before;
    let own = heard.iter().filter_map(|spu| spu.database);
    let own = own.filter(|(id, _)| *id == before.database_id).map(|(_, restored)| restored.0);
    // On top of the database's own, which is not raised.
    let seen = own.max().unwrap_or(0).saturating_sub(before.restored.0);
    let restore_number = RestoreNumber(counters.restore_number.0.max(seen)).next();
    let highest_producer = heard.iter().map(|spu| spu.producer_id).max().unwrap_or_default();
    let mut recovery = Recovery {
        counters: Counters {
            restore_number,
            revision: highest(counters.revision, heard, |spu| spu.revision),
            next_producer_id: counters.next_producer_id.max(highest_producer.next()),
            last_spu_id: highest(counters.last_spu_id, heard, |spu| spu.spu),
            leader_epoch: highest(counters.leader_epoch, heard, |spu| spu.leader_epoch).next(),
            partition_epoch: highest(counters.partition_epoch, heard, |spu| spu.partition_epoch)
                .next(),
            incarnation: highest(counters.incarnation, heard, |spu| spu.incarnation),
        },
        awaited: heard.iter().map(|spu| spu.spu).collect(),
        ..Recovery::default()
    };
    recovery.unheard = before.spus.difference(&recovery.awaited).copied().collect();
    if !recovery.unheard.is_empty() {
        let Counters { next_producer_id, leader_epoch, partition_epoch, incarnation, .. } =
            &mut recovery.counters;
        next_producer_id.0 = next_producer_id.0.saturating_add(u64::from(UNHEARD_GAP) << 16);
        leader_epoch.0 = leader_epoch.0.saturating_add(UNHEARD_GAP);
        partition_epoch.0 = partition_epoch.0.saturating_add(UNHEARD_GAP);
        incarnation.0 = incarnation.0.saturating_add(UNHEARD_GAP.into());
    }
    recovery.new_spus = recovery.awaited.difference(&before.spus).copied().collect();
    for spu in heard {
        if let Some((id, restored)) = spu.database.filter(|(id, _)| *id != before.database_id) {
            let up_to = recovery.histories.entry(id).or_default();
            *up_to = restored.max(*up_to);
        }
        for key in &spu.held {
            match before.holders.get(key) {
                Some(Some(holders)) if !holders.contains(&spu.spu) => {
                    recovery.joins.push((*key, spu.spu));
                }
                Some(_) => {}
                None if grows(before, *key) => {
                    recovery.regrown.entry(*key).or_default().insert(spu.spu);
                }
                None => {
                    recovery.unknown.entry(*key).or_default().insert(spu.spu);
                }
            }
        }
    }
    recovery
}

/// Whether the database knows the topic and it is not being purged, so that only this partition of
/// it is of after the backup.
fn grows(before: &Before, key: PartitionKey) -> bool {
    let first = PartitionKey { partition: PartitionIndex(0), ..key };
    key.partition.0 < PARTITIONS_MAX && matches!(before.holders.get(&first), Some(Some(_)))
}

fn highest<T: Ord + Copy>(ours: T, heard: &[Heard], of: impl Fn(&Heard) -> T) -> T {
    heard.iter().map(of).fold(ours, T::max)
}

/// Whose logs are waited for once nobody waits for those of `gone` any more: of those that were
/// waited for the others, or else any other holder. `None`: there is nobody else.
#[must_use]
pub fn without(row: &PartitionRow, gone: &BTreeSet<SpuId>) -> Option<BTreeSet<SpuId>> {
    let holders: BTreeSet<_> = row.holders().into_iter().collect();
    let left = |of: BTreeSet<SpuId>| {
        let left: BTreeSet<_> = of.difference(gone).copied().collect();
        Some(left).filter(|left| !left.is_empty())
    };
    left(row.isr()).or_else(|| left(holders))
}

/// A replica that has taken the epoch which nobody leads in: its log stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The epoch that it has taken.
    pub epoch: LeaderEpoch,
    /// Of its last record.
    pub last_epoch: LeaderEpoch,
    /// Next offset to write.
    pub log_end: Offset,
    /// First offset that is not known to be on the disk.
    pub durable_end: Offset,
}

/// Who leads a partition after a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This is its state.
    Lead(PartitionState),
    /// The logs of these have not been seen.
    Wait(BTreeSet<SpuId>),
}

/// Who leads: of those that must be seen, which are in sync by the partition's row, the one with
/// the newest log. Whoever has the same log is in sync with it. `lives`: who is there.
#[must_use]
pub fn lead(
    row: &PartitionRow,
    fenced: &BTreeMap<SpuId, Fenced>,
    lives: &BTreeMap<SpuId, Incarnation>,
) -> Verdict {
    // Nobody of its replicas was heard: then all of them are waited for.
    let awaited = Some(row.isr()).filter(|isr| !isr.is_empty());
    let awaited = awaited.unwrap_or_else(|| row.holders().into_iter().collect());
    let seen = |spu: &SpuId| {
        let log = fenced.get(spu).filter(|log| log.epoch == row.leader_epoch)?;
        lives.contains_key(spu).then_some(log)
    };
    let missing: BTreeSet<_> = awaited.iter().filter(|spu| seen(spu).is_none()).copied().collect();
    if !missing.is_empty() && !plant::active("leads_unseen") {
        return Verdict::Wait(missing);
    }
    let newest = |log: &Fenced| (log.last_epoch, log.log_end);
    let in_order = || row.replicas.iter().map(|r| r.spu).filter(|spu| awaited.contains(spu));
    let best = in_order().filter_map(|spu| seen(&spu)).map(newest).max();
    let has_all = |spu: &SpuId| seen(spu).map(newest) == best;
    let leader = in_order().find(has_all);
    let leader = leader.and_then(|spu| Some((spu, *lives.get(&spu)?)));
    let (Some((leader, incarnation)), Some(_)) = (leader, best) else {
        return Verdict::Wait(missing);
    };
    let durable = |spu: &SpuId| seen(spu).is_some_and(|log| log.durable_end >= log.log_end);
    let isr = awaited
        .iter()
        .filter(|spu| **spu == leader || (has_all(spu) && durable(spu)))
        .copied()
        .collect();
    Verdict::Lead(PartitionState {
        leader: Some(leader),
        leader_incarnation: incarnation,
        leader_epoch: row.leader_epoch.next(),
        isr,
        eligible: BTreeSet::new(),
    })
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
