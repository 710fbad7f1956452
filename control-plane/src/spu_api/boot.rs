//! An SPU whose machine was started anew since it registered last: what it acknowledged before the
//! fsync may be gone, by `plan::damage::booted_anew`.

use std::collections::BTreeMap;

use weir_protocol::ids::{ClusterId, Incarnation, SpuId};

use crate::store::{partitions::PartitionRow, spus::SpuRow};

/// Of each SPU, its last life.
pub(super) fn lives(spus: &[SpuRow]) -> BTreeMap<SpuId, Incarnation> {
    spus.iter().map(|row| (row.id, row.incarnation)).collect()
}

/// The machine was started anew: what becomes of what it acknowledged before the fsync.
pub(super) fn tell(
    cluster: ClusterId,
    spu: SpuId,
    held: &[PartitionRow],
    refetched: impl Fn(&PartitionRow) -> bool,
) {
    let counted = |row: &&PartitionRow| row.isr().contains(&spu) || row.eligible().contains(&spu);
    let at_risk = held.iter().filter(|row| row.flush_interval).filter(counted);
    let (elsewhere, alone): (Vec<_>, Vec<_>) = at_risk.partition(|row| refetched(row));
    if !elsewhere.is_empty() {
        tracing::warn!(%cluster, %spu, partitions = elsewhere.len(), "its machine was started anew, and topics with flush=interval may have lost records on it: it is not counted on before it has fetched them again");
    }
    if !alone.is_empty() {
        let partitions: Vec<_> = alone.iter().map(|row| row.key.to_string()).collect();
        tracing::warn!(%cluster, %spu, ?partitions, "its machine was started anew, and nobody else who is there has what these partitions of topics with flush=interval held: what was acknowledged within the interval may be lost");
    }
}
