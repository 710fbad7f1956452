//! What people are shown of a partition's replicas, and why one is not in sync.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::{
    ids::SpuId,
    pb::session::{ReplicaState, ReplicaStatus},
};

use super::{status_board::SpuSeen, view::Seen};
use crate::store::{
    partitions::{PartitionRow, ReplicaRow},
    spus::SpuRow,
    types::SpuState,
};

/// A replica, as its SPU reported it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Replica)]
pub struct ReplicaView {
    /// Who holds it.
    pub spu_id: u32,
    /// Whether it is in sync.
    pub in_sync: bool,
    /// Whether it may lead without being in sync.
    pub eligible: bool,
    /// Whether it is served; `null`: its SPU is away, or has not said so yet.
    pub online: Option<bool>,
    /// Next offset that it lacks; of one whose SPU is away, as it reported last, where that is
    /// known.
    pub log_end: Option<u64>,
    /// The leader epoch in which its last record was appended first, likewise; `null`: not known,
    /// or it holds no record.
    #[serde(default)]
    pub last_epoch: Option<u32>,
    /// How many records behind the leader that is, as both reported last.
    pub lag: Option<u64>,
    /// First offset that is not committed, as far as it knows, likewise.
    pub high_watermark: Option<u64>,
    /// Why it is not served.
    pub problem: Option<String>,
    /// Why it is not in sync, in one sentence.
    #[schema(example = "SPU 2 is offline")]
    pub missing: Option<String>,
    /// Since when its SPU is as it is, where that is the reason, in milliseconds since 1970.
    pub missing_since_unix_ms: Option<i64>,
}

/// Shows them, in the order of preference.
pub(super) fn replicas(row: &PartitionRow, spus: &[SpuRow], seen: &Seen) -> Vec<ReplicaView> {
    let status = |spu| seen.get(&spu)?.standing()?.replicas.get(&row.key);
    let last = |spu| seen.get(&spu)?.session.as_ref()?.replicas.get(&row.key);
    let leader_end = row.leader.and_then(status).map(|status| status.log_end);
    row.replicas
        .iter()
        .map(|replica| {
            let (status, last) = (status(replica.spu), last(replica.spu));
            let holder = spus.iter().find(|spu| spu.id == replica.spu);
            let standing = seen.get(&replica.spu).is_some_and(|s: &SpuSeen| s.standing().is_some());
            let missing = (!replica.in_isr)
                .then(|| missing(row, replica, holder, standing, status, leader_end));
            let (missing, missing_since_unix_ms) = missing.unzip();
            ReplicaView {
                spu_id: replica.spu.0,
                in_sync: replica.in_isr,
                eligible: replica.eligible,
                online: status.map(|status| status.state() == ReplicaState::Online),
                log_end: last.map(|status| status.log_end),
                last_epoch: last.and_then(|status| status.last_epoch),
                lag: status.zip(leader_end).map(|(s, end)| end.saturating_sub(s.log_end)),
                high_watermark: last.map(|status| status.high_watermark),
                problem: status.and_then(problem),
                missing,
                missing_since_unix_ms: missing_since_unix_ms.flatten(),
            }
        })
        .collect()
}

fn problem(status: &ReplicaStatus) -> Option<String> {
    status.problem.as_ref().map(|problem| problem.message.clone())
}

/// Why a replica is not in sync, and since when where that is known.
fn missing(
    row: &PartitionRow,
    replica: &ReplicaRow,
    holder: Option<&SpuRow>,
    standing: bool,
    status: Option<&ReplicaStatus>,
    leader_end: Option<u64>,
) -> (String, Option<i64>) {
    let spu = replica.spu;
    if let Some(away) = away(spu, holder, standing, status) {
        return away;
    }
    let why = match status {
        None => format!("SPU {spu} has not reported its replica yet"),
        Some(status) if status.leader_epoch < row.leader_epoch.0 => {
            format!("SPU {spu} does not follow the newest leader yet")
        }
        Some(status) => match leader_end.and_then(|end| end.checked_sub(status.log_end)) {
            Some(behind @ 1..) => {
                let noun = if behind == 1 { "record" } else { "records" };
                format!("SPU {spu} is behind by {behind} {noun}")
            }
            _ => format!("SPU {spu} has caught up, and is not counted yet"),
        },
    };
    (why, None)
}

/// Why a replica cannot be served, and since when where that is known; `None`: it can.
pub(super) fn away(
    spu: SpuId,
    holder: Option<&SpuRow>,
    standing: bool,
    status: Option<&ReplicaStatus>,
) -> Option<(String, Option<i64>)> {
    let Some(holder) = holder.filter(|holder| !holder.removed) else {
        return Some((format!("SPU {spu} was removed from the cluster"), None));
    };
    if holder.state != SpuState::Online {
        let reason = holder.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let why = format!("SPU {spu} is {}{reason}", holder.state);
        return Some((why, Some(holder.updated_at_unix_ms)));
    }
    if !standing {
        return Some((format!("SPU {spu} has no session"), None));
    }
    let offline = status.filter(|status| status.state() == ReplicaState::Offline)?;
    let why = problem(offline).unwrap_or_else(|| "it did not say why".to_owned());
    Some((format!("the replica on SPU {spu} is offline: {why}"), None))
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;
    use weir_protocol::{
        ids::{ClusterId, Incarnation, LaunchId, Revision, SpuId},
        pb::data,
    };
    use weir_runtime::clock::Clock;

    use super::*;
    use crate::{app::StatusBoard, plan::isr::tests::row};

    pub(in crate::app) fn holder(id: u32, state: SpuState) -> SpuRow {
        SpuRow {
            id: SpuId(id),
            state,
            reason: None,
            leaving: false,
            removed: false,
            destroyed: false,
            external: false,
            port: None,
            endpoint: None,
            rack: None,
            folder_id: None,
            incarnation: Incarnation(1),
            process_id: None,
            boot_id: None,
            launch_id: None,
            restarts: 0,
            updated_at_unix_ms: 77,
        }
    }

    #[tokio::test]
    async fn each_missing_replica_says_why() {
        let (board, now) = (StatusBoard::default(), Clock.now());
        let cluster = ClusterId(Uuid::nil());
        let row = row(&[1, 2, 3, 4, 5, 6, 7, 8], &[1], &[2], 2);
        let report = |spu: u32, change: &dyn Fn(&mut ReplicaStatus)| {
            let launch = LaunchId(Uuid::nil());
            let id = board.session_up(cluster, SpuId(spu), launch, Incarnation(1), now);
            let mut status = ReplicaStatus {
                partition: Some(row.key.to_wire()),
                leader_epoch: row.leader_epoch.0,
                log_end: 10,
                state: ReplicaState::Online.into(),
                ..ReplicaStatus::default()
            };
            change(&mut status);
            board.heartbeat(cluster, SpuId(spu), id, Revision(1), vec![status], now);
        };
        report(1, &|_| {});
        report(4, &|status| status.log_end = 7);
        report(5, &|status| {
            status.state = ReplicaState::Offline.into();
            status.problem = Some(data::Error {
                message: "its log is damaged".to_owned(),
                ..Default::default()
            });
        });
        report(6, &|status| status.leader_epoch -= 1);
        report(7, &|_| {});
        let mut spus: Vec<_> = (1..=7).map(|id| holder(id, SpuState::Online)).collect();
        spus[1].state = SpuState::Offline;
        let shown = replicas(&row, &spus, &board.cluster(cluster));
        let reasons: Vec<_> = shown.iter().map(|replica| replica.missing.as_deref()).collect();
        assert_eq!(
            reasons,
            [
                None,
                Some("SPU 2 is offline"),
                Some("SPU 3 has no session"),
                Some("SPU 4 is behind by 3 records"),
                Some("the replica on SPU 5 is offline: its log is damaged"),
                Some("SPU 6 does not follow the newest leader yet"),
                Some("SPU 7 has caught up, and is not counted yet"),
                Some("SPU 8 was removed from the cluster"),
            ]
        );
        assert_eq!((shown[1].missing_since_unix_ms, shown[1].eligible), (Some(77), true));
        assert_eq!((shown[3].log_end, shown[3].online), (Some(7), Some(true)));
        assert_eq!((shown[0].lag, shown[3].lag, shown[1].lag), (Some(0), Some(3), None));
        assert_eq!((shown[4].online, shown[2].online), (Some(false), None));
        assert!(shown[0].in_sync);
    }
}
