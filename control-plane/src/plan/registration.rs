//! Whether an SPU that asks to register is who it says it is, is wanted, and has not seen a
//! later history than this database holds.
//!
//! Pure: the edge loads [`Known`] and compares the secret, this decides, the edge acts.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{
    ErrorCode,
    ids::{
        BootId, DatabaseId, FolderId, Incarnation, LaunchId, LeaderEpoch, PartitionEpoch,
        PartitionKey, ProcessId, ProducerId, RestoreNumber, Revision,
    },
};

use weir_runtime::plant;

use super::{
    history,
    scale::{self, Blocking},
};
use crate::store::types::Desired;

/// The version of the session protocol that this control plane speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// What the database holds about the SPU that asks.
#[derive(Clone, Debug)]
pub struct Known {
    /// The cluster; `None` when the asked-for org has none of this id.
    pub cluster: Option<KnownCluster>,
    /// The SPU; `None` when the cluster has none of this id.
    pub spu: Option<KnownSpu>,
    /// The SPU's current launch; `None` when nothing was ever started, or when it ended.
    pub launch: Option<KnownLaunch>,
    /// How it proves to be a launch of this SPU at all, be it an earlier or an ended one.
    pub proof: Proof,
    /// Leader epochs of the cluster's partitions.
    pub leader_epochs: BTreeMap<PartitionKey, LeaderEpoch>,
    /// What would be gone with its folder, if that is another one now: no other replica has what
    /// was committed.
    pub last_copies: Vec<Blocking>,
}

/// What an SPU's secret shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: it may be anybody's.
    None,
    /// A launch of this SPU that the database knows.
    Known,
    /// A launch of this SPU that the database does not know, by a control plane over it: it is of
    /// after a backup, or so old that it was forgotten.
    Origin,
}

/// A cluster, as far as it matters here.
#[derive(Clone, Debug)]
pub struct KnownCluster {
    /// Whether it should run at all.
    pub desired: Desired,
    /// Its metadata revision.
    pub revision: Revision,
    /// The database's history.
    pub database_id: DatabaseId,
    /// How often that history was restored from a backup.
    pub restore_number: RestoreNumber,
    /// The first producer id that was never given out.
    pub next_producer_id: ProducerId,
    /// When the revision that the SPU has seen was made here; `None`: it is not known any more.
    pub revised_at_unix_ms: Option<i64>,
    /// Other databases' histories that were taken in, each up to which restore.
    pub histories: Vec<(DatabaseId, RestoreNumber)>,
    /// Why it is frozen, if it is.
    pub frozen: Option<String>,
}

/// An SPU, as far as it matters here.
#[derive(Clone, Debug)]
pub struct KnownSpu {
    /// Removed for good; its id is never used again.
    pub removed: bool,
    /// Its data folder, once it registered.
    pub folder_id: Option<FolderId>,
    /// The process that registered last.
    pub process_id: Option<ProcessId>,
    /// The boot of its machine in which that was, if it said so.
    pub boot_id: Option<BootId>,
    /// The last incarnation given out; 0: none yet.
    pub incarnation: Incarnation,
    /// The launch whose session stands, if one does.
    pub standing: Option<LaunchId>,
}

/// The current launch of an SPU.
#[derive(Clone, Copy, Debug)]
pub struct KnownLaunch {
    /// Which start.
    pub launch_id: LaunchId,
    /// Whether the secret that the SPU showed is this launch's (compared in constant time
    /// by the edge).
    pub secret_matches: bool,
}

/// What the SPU says of itself.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The session protocol that it speaks.
    pub protocol_version: u32,
    /// Which start of it.
    pub launch_id: LaunchId,
    /// Its data folder.
    pub folder_id: FolderId,
    /// Its process.
    pub process_id: ProcessId,
    /// Which boot of its machine this is, if it says.
    pub boot_id: Option<BootId>,
    /// The database that its folder last heard of, if any.
    pub database: Option<(DatabaseId, RestoreNumber)>,
    /// The highest revision that its folder saw.
    pub highest_revision: Revision,
    /// When that was made, as its database said; 0: it did not say.
    pub revised_at_unix_ms: i64,
    /// The highest leader epoch of any partition that its folder saw.
    pub highest_leader_epoch: LeaderEpoch,
    /// Likewise.
    pub highest_partition_epoch: PartitionEpoch,
    /// The highest incarnation of any SPU that its folder saw.
    pub highest_incarnation: Incarnation,
    /// The replicas in its folder.
    pub held: BTreeSet<PartitionKey>,
    /// The highest producer id that its folder saw; 0 (never given out): none.
    pub highest_producer_id: ProducerId,
    /// The leader epochs of its replicas.
    pub leader_epochs: Vec<(PartitionKey, LeaderEpoch)>,
}

impl Asked {
    /// Whether its folder has never been used.
    fn is_fresh(&self) -> bool {
        self.database.is_none()
            && self.leader_epochs.is_empty()
            && self.highest_revision == Revision(0)
            && self.highest_producer_id == ProducerId(0)
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may serve.
    Accept {
        /// Its folder is new and empty: whatever it held is gone, and others have it.
        wiped: bool,
        /// Its life's number.
        incarnation: Incarnation,
        /// Whether this is another life than the last one that registered: partitions that
        /// it leads then get a new leader epoch.
        new_incarnation: bool,
    },
    /// It has to wait: the database went back, or that of its cluster did before.
    WentBack {
        /// What was noticed, for people. One that proved nothing is told little.
        reason: String,
        /// Whether it is believed: then the cluster is frozen, if it is not yet, and what the SPU
        /// has seen is kept.
        believed: bool,
        /// Whether the launch, which the database does not know, is the SPU's current one: it
        /// runs, and has seen more.
        adopt: bool,
    },
    /// It may not.
    Refuse {
        /// Why, for machines.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
    },
}

/// Whether the machine was started anew since the SPU registered last: what no fsync had covered
/// may be gone.
#[must_use]
pub fn booted_anew(known: &Known, asked: &Asked) -> bool {
    let before = known.spu.as_ref().and_then(|spu| spu.boot_id);
    before.zip(asked.boot_id).is_some_and(|(before, now)| before != now)
}

fn refuse(code: ErrorCode, reason: impl Into<String>) -> Decision {
    Decision::Refuse { code, reason: reason.into() }
}

/// Decides on a registration. The order of the checks is from "who are you" to "what have
/// you seen", so that a stranger learns nothing of the cluster.
#[must_use]
pub fn decide(known: &Known, asked: &Asked) -> Decision {
    if asked.protocol_version != PROTOCOL_VERSION {
        return refuse(
            ErrorCode::UnsupportedVersion,
            format!(
                "the SPU speaks session protocol {}, this control plane {PROTOCOL_VERSION}",
                asked.protocol_version
            ),
        );
    }
    let Some(cluster) = &known.cluster else {
        return refuse(ErrorCode::UnknownCluster, "no such cluster in this org");
    };
    if known.spu.as_ref().is_some_and(|spu| spu.removed) {
        return refuse(ErrorCode::SpuRemoved, "this SPU was removed from its cluster for good");
    }
    let later = history::later(cluster, &known.leader_epochs, asked);
    // One reason for all, or each that asks again would have another one to store.
    let later = later.map(|reason| cluster.frozen.clone().unwrap_or(reason));
    // The same words whether another launch is the current one, or none is just now.
    let current = known.launch.filter(|launch| launch.launch_id == asked.launch_id);
    let (Some(spu), Some(launch)) = (&known.spu, current) else {
        return stranger(known, cluster, asked, later);
    };
    if !launch.secret_matches {
        return refuse(ErrorCode::Unauthenticated, "the launch secret is wrong");
    }
    match cluster.desired {
        Desired::Running => {}
        Desired::Shutdown => {
            return refuse(ErrorCode::ShuttingDown, "the cluster is to be shut down");
        }
        Desired::Deleted => {
            return refuse(ErrorCode::UnknownCluster, "the cluster is being deleted");
        }
    }
    // Two with one secret: the one that is there stays, whoever the other is. Should it be gone, its
    // session breaks, or its lease ends.
    let twin = spu.standing == Some(asked.launch_id) && spu.process_id != Some(asked.process_id);
    if twin && !plant::active("twin_takes_over") {
        let reason = "another process that proved the same launch is this SPU right now; whoever \
                      comes second has to wait until it is gone";
        return refuse(ErrorCode::NotYetAvailable, reason);
    }
    let other = spu.folder_id.filter(|folder| *folder != asked.folder_id);
    let own_history = asked.database.is_some_and(|(id, _)| id == cluster.database_id);
    if let Some(folder) = other {
        // It may have been given this folder after the backup, and hold what only it has.
        let since = own_history && (later.is_some() || cluster.frozen.is_some());
        if let Some(refusal) = another_folder(folder, known, asked).filter(|_| !since) {
            return refusal;
        }
        // Who else has what was in its own folder, a database that went back does not know.
        if cluster.frozen.is_some() && !own_history {
            let reason = format!(
                "this SPU's data folder is {folder}, not {}, and its cluster is frozen",
                asked.folder_id
            );
            return refuse(ErrorCode::FolderMismatch, reason);
        }
    }
    if let Some(reason) = later.or_else(|| cluster.frozen.clone()) {
        return Decision::WentBack { reason, believed: true, adopt: false };
    }
    let wiped = other.is_some();
    let same =
        spu.process_id == Some(asked.process_id) && spu.incarnation > Incarnation(0) && !wiped;
    Decision::Accept {
        wiped,
        incarnation: if same { spu.incarnation } else { spu.incarnation.next() },
        new_incarnation: !same,
    }
}

/// A launch that is not the SPU's current one, or of an SPU that there is not. A database that went
/// back may not know the launch that runs: then the SPU must not be ended for it, but wait.
fn stranger(
    known: &Known,
    cluster: &KnownCluster,
    asked: &Asked,
    later: Option<String>,
) -> Decision {
    let believed = known.proof != Proof::None && cluster.desired == Desired::Running;
    match (later, &cluster.frozen) {
        (Some(reason), _) if believed => {
            let adopt = known.proof == Proof::Origin && known.spu.is_some();
            Decision::WentBack { reason, believed, adopt }
        }
        // One that has seen no more may be of any time: it is heard, and stays who it is.
        (None, Some(reason)) if believed => {
            Decision::WentBack { reason: reason.clone(), believed, adopt: false }
        }
        (Some(_), _) => {
            let reason =
                "this launch is not known, and the SPU has seen more than the database has";
            Decision::WentBack { reason: reason.to_owned(), believed: false, adopt: false }
        }
        (None, _) if known.spu.is_none() => {
            refuse(ErrorCode::StaleLaunch, "no such SPU was ever started for this cluster")
        }
        (None, _) => refuse(
            ErrorCode::StaleLaunch,
            format!("launch {} of this SPU is not the current one", asked.launch_id),
        ),
    }
}

/// Why the SPU may not go on with another folder than `folder`, its own. A used one is another
/// SPU's, or an older one; an empty one may be a disk that was not mounted.
fn another_folder(folder: FolderId, known: &Known, asked: &Asked) -> Option<Decision> {
    let mismatch = format!("this SPU's data folder is {folder}, not {}", asked.folder_id);
    if !asked.is_fresh() {
        return Some(refuse(ErrorCode::FolderMismatch, mismatch));
    }
    if known.last_copies.is_empty() {
        return None;
    }
    let reason = format!(
        "{mismatch}, which is empty, and no other SPU that is there has all of what was in it: {}. \
         Bring that folder back, or delete these topics first",
        scale::told(&known.last_copies)
    );
    Some(refuse(ErrorCode::FolderMismatch, reason))
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
