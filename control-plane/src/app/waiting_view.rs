//! What people are shown of a partition that nobody leads: why, and for whom it waits.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::SpuId;

use super::{replica_view, view::Seen};
use crate::store::{partitions::PartitionRow, spus::SpuRow};

/// Why nobody leads a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Waiting)]
pub struct WaitingView {
    /// In one sentence.
    #[schema(example = "SPU 1 is offline; no replica that is there holds all that is committed")]
    pub reason: String,
    /// Each of these could lead, once it is back; none: another one is about to.
    pub for_spu_ids: Vec<u32>,
}

/// Shows it; `None` where a leader is there.
pub(super) fn waiting(row: &PartitionRow, spus: &[SpuRow], seen: &Seen) -> Option<WaitingView> {
    let away = |spu: SpuId| {
        let of = seen.get(&spu);
        let standing = of.and_then(|of| of.standing());
        let status = standing.and_then(|session| session.replicas.get(&row.key));
        let holder = spus.iter().find(|holder| holder.id == spu);
        Some(replica_view::away(spu, holder, standing.is_some(), status)?.0)
    };
    if row.replicas.is_empty() || row.leader.is_some_and(|leader| away(leader).is_none()) {
        return None;
    }
    let counted = row.replicas.iter().filter(|replica| replica.in_isr || replica.eligible);
    let counted: Vec<_> = counted.map(|replica| replica.spu).collect();
    if let Some(next) = counted.iter().find(|spu| away(**spu).is_none()) {
        let why = row.leader.and_then(away).unwrap_or_else(|| "nobody leads it".to_owned());
        let reason = format!("{why}; SPU {next} is about to lead");
        return Some(WaitingView { reason, for_spu_ids: Vec::new() });
    }
    let mut reason = counted.iter().filter_map(|spu| away(*spu)).collect::<Vec<_>>().join(", ");
    if !reason.is_empty() {
        reason.push_str("; ");
    }
    reason.push_str("no replica that is there holds all that is committed");
    if row.unclean_election {
        reason.push_str("; with unclean_election one that may lack some of it leads after a while");
    }
    Some(WaitingView { reason, for_spu_ids: counted.iter().map(|spu| spu.0).collect() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;
    use weir_protocol::{
        ids::{ClusterId, Incarnation, LaunchId},
        pb::session::{ReplicaState, ReplicaStatus},
    };
    use weir_runtime::clock::Clock;

    use super::*;
    use crate::{
        app::{StatusBoard, replica_view::tests::holder},
        plan::isr::tests::row,
        store::types::SpuState,
    };

    #[tokio::test]
    async fn a_partition_without_a_leader_says_why_and_for_whom_it_waits() {
        let (board, now) = (StatusBoard::default(), Clock.now());
        let cluster = ClusterId(Uuid::nil());
        let up = |spu: u32| {
            board.session_up(cluster, SpuId(spu), LaunchId(Uuid::nil()), Incarnation(1), now)
        };
        let mut spus: Vec<_> = (1..=3).map(|id| holder(id, SpuState::Online)).collect();
        let row = row(&[1, 2, 3], &[1], &[2], 2);
        assert_eq!(waiting(&row, &[], &BTreeMap::new()).unwrap().for_spu_ids, [1, 2]);
        let one = up(1);
        up(3);
        assert_eq!(waiting(&row, &spus, &board.cluster(cluster)), None, "its leader is there");
        // Its leader's replica is out of service.
        let offline = ReplicaStatus {
            partition: Some(row.key.to_wire()),
            state: ReplicaState::Offline.into(),
            ..ReplicaStatus::default()
        };
        board.heartbeat(cluster, SpuId(1), one, Default::default(), vec![offline], now);
        spus[1].state = SpuState::Offline;
        let shown = waiting(&row, &spus, &board.cluster(cluster)).unwrap();
        assert_eq!(
            shown.reason,
            "the replica on SPU 1 is offline: it did not say why, SPU 2 is offline; \
             no replica that is there holds all that is committed"
        );
        assert_eq!(shown.for_spu_ids, [1, 2]);
        let chosen = PartitionRow { unclean_election: true, ..row.clone() };
        let shown = waiting(&chosen, &spus, &board.cluster(cluster)).unwrap();
        assert!(shown.reason.contains("leads after a while"), "{}", shown.reason);
        spus[0].state = SpuState::Offline;
        spus[1].state = SpuState::Online;
        up(2);
        let shown = waiting(&row, &spus, &board.cluster(cluster)).unwrap();
        assert_eq!(shown.reason, "SPU 1 is offline; SPU 2 is about to lead");
        assert!(shown.for_spu_ids.is_empty());
    }
}
