//! Whether an SPU that asks to register is who it says it is, is wanted, and has not seen a
//! later history than this database holds.
//!
//! Pure: the edge loads [`Known`] and compares the secret, this decides, the edge acts.

use std::collections::BTreeMap;

use weir_protocol::{
    ErrorCode,
    ids::{
        DatabaseId, FolderId, Incarnation, LaunchId, LeaderEpoch, PartitionKey, ProcessId,
        ProducerId, RestoreNumber, Revision,
    },
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
    /// Leader epochs of the cluster's partitions.
    pub leader_epochs: BTreeMap<PartitionKey, LeaderEpoch>,
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
    /// The last incarnation given out; 0: none yet.
    pub incarnation: Incarnation,
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
    /// The database that its folder last heard of, if any.
    pub database: Option<(DatabaseId, RestoreNumber)>,
    /// The highest revision that its folder saw.
    pub highest_revision: Revision,
    /// The highest producer id that its folder saw; 0 (never given out): none.
    pub highest_producer_id: ProducerId,
    /// The leader epochs of its replicas.
    pub leader_epochs: Vec<(PartitionKey, LeaderEpoch)>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may serve.
    Accept {
        /// Its life's number.
        incarnation: Incarnation,
        /// Whether this is another life than the last one that registered: partitions that
        /// it leads then get a new leader epoch.
        new_incarnation: bool,
    },
    /// It may not.
    Refuse {
        /// Why, for machines.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
    },
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
    let Some(spu) = &known.spu else {
        return refuse(ErrorCode::StaleLaunch, "no such SPU was ever started for this cluster");
    };
    if spu.removed {
        return refuse(ErrorCode::SpuRemoved, "this SPU was removed from its cluster for good");
    }
    // The same words whether another launch is the current one, or none is just now.
    let current = known.launch.filter(|launch| launch.launch_id == asked.launch_id);
    let Some(launch) = current else {
        // A database that went back may not know the launch that runs: the SPU must not be
        // ended for it, but wait. The details are not for whom nobody vouches for.
        if went_back(cluster, &known.leader_epochs, asked).is_some() {
            return refuse(
                ErrorCode::DatabaseWentBack,
                "this launch is not known, and the SPU has seen more than the database has",
            );
        }
        return refuse(
            ErrorCode::StaleLaunch,
            format!("launch {} of this SPU is not the current one", asked.launch_id),
        );
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
    if let Some(folder) = spu.folder_id
        && folder != asked.folder_id
    {
        return refuse(
            ErrorCode::FolderMismatch,
            format!("this SPU's data folder is {folder}, not {}", asked.folder_id),
        );
    }
    if let Some(reason) = went_back(cluster, &known.leader_epochs, asked) {
        return refuse(ErrorCode::DatabaseWentBack, reason);
    }
    let same = spu.process_id == Some(asked.process_id) && spu.incarnation > Incarnation(0);
    Decision::Accept {
        incarnation: if same { spu.incarnation } else { spu.incarnation.next() },
        new_incarnation: !same,
    }
}

/// What the SPU has seen that this database has not, if anything.
fn went_back(
    cluster: &KnownCluster,
    leader_epochs: &BTreeMap<PartitionKey, LeaderEpoch>,
    asked: &Asked,
) -> Option<String> {
    let (database_id, restore_number) = asked.database?;
    if database_id != cluster.database_id {
        return Some(format!(
            "the SPU's data belongs to database {database_id}, this control plane's is {}",
            cluster.database_id
        ));
    }
    if restore_number > cluster.restore_number {
        return Some(format!(
            "the SPU has seen restore {restore_number} of the database, this one is {}",
            cluster.restore_number
        ));
    }
    if asked.highest_revision > cluster.revision {
        return Some(format!(
            "the SPU has seen metadata revision {}, the database is at {}",
            asked.highest_revision, cluster.revision
        ));
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, TopicGenerationId};

    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn key() -> PartitionKey {
        PartitionKey { generation: TopicGenerationId(id(90)), partition: PartitionIndex(0) }
    }

    /// A cluster at revision 10 whose SPU registered before, as incarnation 3.
    fn case() -> (Known, Asked) {
        let known = Known {
            cluster: Some(KnownCluster {
                desired: Desired::Running,
                revision: Revision(10),
                database_id: DatabaseId(id(1)),
                restore_number: RestoreNumber(1),
                next_producer_id: ProducerId(2_001),
            }),
            spu: Some(KnownSpu {
                removed: false,
                folder_id: Some(FolderId(id(2))),
                process_id: Some(ProcessId(id(3))),
                incarnation: Incarnation(3),
            }),
            launch: Some(KnownLaunch { launch_id: LaunchId(id(4)), secret_matches: true }),
            leader_epochs: BTreeMap::from([(key(), LeaderEpoch(5))]),
        };
        let asked = Asked {
            protocol_version: PROTOCOL_VERSION,
            launch_id: LaunchId(id(4)),
            folder_id: FolderId(id(2)),
            process_id: ProcessId(id(3)),
            database: Some((DatabaseId(id(1)), RestoreNumber(1))),
            highest_revision: Revision(10),
            highest_producer_id: ProducerId(2_000),
            leader_epochs: vec![(key(), LeaderEpoch(5))],
        };
        (known, asked)
    }

    fn accepted(incarnation: u64, new_incarnation: bool) -> Decision {
        Decision::Accept { incarnation: Incarnation(incarnation), new_incarnation }
    }

    #[test]
    fn a_reconnecting_process_keeps_its_incarnation_and_another_gets_the_next() {
        let (known, mut asked) = case();
        assert_eq!(decide(&known, &asked), accepted(3, false));
        asked.process_id = ProcessId(id(33));
        assert_eq!(decide(&known, &asked), accepted(4, true));
    }

    #[test]
    fn a_first_registration_is_incarnation_one() {
        let (mut known, mut asked) = case();
        known.spu = Some(KnownSpu {
            removed: false,
            folder_id: None,
            process_id: None,
            incarnation: Incarnation(0),
        });
        asked.database = None;
        assert_eq!(decide(&known, &asked), accepted(1, true));
    }

    #[test]
    fn an_older_restore_and_older_numbers_are_fine() {
        let (known, mut asked) = case();
        asked.database = Some((DatabaseId(id(1)), RestoreNumber(0)));
        asked.highest_revision = Revision(2);
        asked.highest_producer_id = ProducerId(0);
        asked.leader_epochs = vec![(key(), LeaderEpoch(1))];
        assert_eq!(decide(&known, &asked), accepted(3, false));
    }

    #[test]
    fn a_restored_backup_does_not_end_an_spu_whose_launch_it_forgot() {
        let (mut known, mut asked) = case();
        known.launch = None;
        asked.highest_revision = Revision(11);
        let Decision::Refuse { code, .. } = decide(&known, &asked) else { panic!("accepted") };
        assert_eq!(code, ErrorCode::DatabaseWentBack);
        assert!(code.retriable(), "the SPU waits, it does not end");
    }

    #[test]
    fn every_reason_to_refuse_has_its_code() {
        type Change = fn(&mut Known, &mut Asked);
        let cases: [(&str, Change, ErrorCode); 15] = [
            ("newer protocol", |_, a| a.protocol_version += 1, ErrorCode::UnsupportedVersion),
            (
                "unknown cluster or another org's",
                |k, _| k.cluster = None,
                ErrorCode::UnknownCluster,
            ),
            ("unknown SPU", |k, _| k.spu = None, ErrorCode::StaleLaunch),
            ("never launched, or ended", |k, _| k.launch = None, ErrorCode::StaleLaunch),
            ("removed", |k, _| k.spu.as_mut().unwrap().removed = true, ErrorCode::SpuRemoved),
            ("stale launch", |_, a| a.launch_id = LaunchId(id(40)), ErrorCode::StaleLaunch),
            (
                "wrong secret",
                |k, _| k.launch.as_mut().unwrap().secret_matches = false,
                ErrorCode::Unauthenticated,
            ),
            (
                "to be shut down",
                |k, _| k.cluster.as_mut().unwrap().desired = Desired::Shutdown,
                ErrorCode::ShuttingDown,
            ),
            (
                "to be deleted",
                |k, _| k.cluster.as_mut().unwrap().desired = Desired::Deleted,
                ErrorCode::UnknownCluster,
            ),
            ("another folder", |_, a| a.folder_id = FolderId(id(20)), ErrorCode::FolderMismatch),
            (
                "another database",
                |_, a| a.database = Some((DatabaseId(id(10)), RestoreNumber(0))),
                ErrorCode::DatabaseWentBack,
            ),
            (
                "a later restore",
                |_, a| a.database = Some((DatabaseId(id(1)), RestoreNumber(2))),
                ErrorCode::DatabaseWentBack,
            ),
            (
                "a later revision",
                |_, a| a.highest_revision = Revision(11),
                ErrorCode::DatabaseWentBack,
            ),
            (
                "a later producer id",
                |_, a| a.highest_producer_id = ProducerId(2_001),
                ErrorCode::DatabaseWentBack,
            ),
            (
                "a later leader epoch",
                |_, a| a.leader_epochs = vec![(key(), LeaderEpoch(6))],
                ErrorCode::DatabaseWentBack,
            ),
        ];
        for (name, change, expected) in cases {
            let (mut known, mut asked) = case();
            change(&mut known, &mut asked);
            let decision = decide(&known, &asked);
            assert!(
                matches!(decision, Decision::Refuse { code, .. } if code == expected),
                "{name}: {decision:?}"
            );
        }
    }

    #[test]
    fn a_stranger_learns_nothing_of_the_cluster_s_state() {
        let (mut known, mut asked) = case();
        known.launch.as_mut().unwrap().secret_matches = false;
        known.cluster.as_mut().unwrap().desired = Desired::Deleted;
        asked.folder_id = FolderId(id(20));
        assert!(matches!(
            decide(&known, &asked),
            Decision::Refuse { code: ErrorCode::Unauthenticated, .. }
        ));
    }
}
