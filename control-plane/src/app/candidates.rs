//! Who may hold new replicas, and what each carries once all that was asked for is done.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::{ClusterId, SpuId, TopicGenerationId};

use crate::{
    plan::placement::{Candidate, Rack, Racks},
    store::{
        DbResult, Scoped,
        partitions::{self, PartitionRow, SpuLoad},
        reassignments,
        spus::SpuRow,
        topics::{self, TopicRow},
        types::{SpuState, TopicState},
    },
};

/// Those of `candidates` that nothing is moved off right now, if they are as many as are needed;
/// else all. What is placed on an SPU that is being drained would only have to be moved as well.
///
/// # Errors
/// As the store.
pub(super) async fn settled(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    candidates: Vec<Candidate>,
    needed: u32,
) -> DbResult<Vec<Candidate>> {
    let running = reassignments::page(scoped, cluster, None, u32::MAX).await?;
    let mut emptied: BTreeSet<SpuId> = BTreeSet::new();
    for row in &running {
        let destined = row.destined();
        emptied.extend(row.holders().into_iter().filter(|spu| !destined.contains(spu)));
    }
    let stay = candidates.iter().filter(|candidate| !emptied.contains(&candidate.spu));
    let stay: Vec<_> = stay.copied().collect();
    let enough = u32::try_from(stay.len()).is_ok_and(|count| count >= needed);
    Ok(if enough { stay } else { candidates })
}

/// Whether an SPU can begin to fetch: it is there, or on its way.
pub(super) fn there(spu: &SpuRow) -> bool {
    matches!(spu.state, SpuState::Online | SpuState::Starting)
}

/// The SPUs of a cluster that `may` hold more.
///
/// # Errors
/// As the store.
pub(super) async fn load(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    spus: &[SpuRow],
    may: impl Fn(&SpuRow) -> bool,
) -> DbResult<Vec<Candidate>> {
    let mut load = partitions::load(scoped, cluster).await?;
    let running = reassignments::page(scoped, cluster, None, u32::MAX).await?;
    if !running.is_empty() {
        let topics = by_generation(scoped, cluster).await?;
        for row in &running {
            let counts = topics
                .get(&row.key.generation)
                .is_some_and(|topic| topic.state == TopicState::Active && !topic.internal);
            expect(&mut load, row, counts);
        }
    }
    let candidate = |spu: &SpuRow| {
        let SpuLoad { replicas, held, preferred } = load.get(&spu.id).copied().unwrap_or_default();
        Candidate { spu: spu.id, replicas, held, preferred }
    };
    Ok(spus.iter().filter(|spu| may(spu)).map(candidate).collect())
}

/// On which rack each SPU stands, as it said.
pub(crate) fn racks(spus: &[SpuRow]) -> Racks {
    let names: BTreeSet<_> = spus.iter().filter_map(|spu| spu.rack.as_deref()).collect();
    let numbers: BTreeMap<_, _> = names.into_iter().zip((0..).map(Rack)).collect();
    let rack = |spu: &SpuRow| Some((spu.id, *numbers.get(spu.rack.as_deref()?)?));
    spus.iter().filter_map(rack).collect()
}

/// All generations, by id.
///
/// # Errors
/// As the store.
pub(super) async fn by_generation(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<BTreeMap<TopicGenerationId, TopicRow>> {
    let rows = topics::list(scoped, cluster).await?;
    Ok(rows.into_iter().map(|row| (row.generation, row)).collect())
}

/// Counts a partition's replicas where they are to be, and not where they are. `counts`: among
/// those that people made.
fn expect(load: &mut BTreeMap<SpuId, SpuLoad>, row: &PartitionRow, counts: bool) {
    let (holders, destined) = (row.holders(), row.destined());
    let one = u32::from(counts);
    for spu in holders.iter().filter(|spu| !destined.contains(spu)) {
        let carries = load.entry(*spu).or_default();
        carries.held = carries.held.saturating_sub(1);
        carries.replicas = carries.replicas.saturating_sub(one);
    }
    for spu in destined.iter().filter(|spu| !holders.contains(spu)) {
        let carries = load.entry(*spu).or_default();
        carries.held += 1;
        carries.replicas += one;
    }
    if let Some(spu) = holders.first() {
        let carries = load.entry(*spu).or_default();
        carries.preferred = carries.preferred.saturating_sub(one);
    }
    if let Some(spu) = destined.first() {
        load.entry(*spu).or_default().preferred += one;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::isr::tests::row, store::reassignments::Reassignment};

    #[test]
    fn what_moves_counts_where_it_goes() {
        let mut moving = row(&[1, 2], &[1, 2], &[], 1);
        moving.reassignment = Some(Reassignment {
            target: vec![SpuId(3), SpuId(2)],
            original: vec![SpuId(1), SpuId(2)],
            moving: false,
        });
        let carried = |replicas, held, preferred| SpuLoad { replicas, held, preferred };
        let load = || BTreeMap::from([(SpuId(1), carried(1, 2, 1)), (SpuId(2), carried(1, 1, 0))]);
        let mut expected = load();
        expect(&mut expected, &moving, true);
        let all: Vec<_> = expected.into_values().collect();
        assert_eq!(all, [carried(0, 1, 0), carried(1, 1, 0), carried(1, 1, 1)]);
        let mut expected = load();
        expect(&mut expected, &moving, false);
        let all: Vec<_> = expected.into_values().collect();
        assert_eq!(all, [carried(1, 1, 1), carried(1, 1, 0), carried(0, 1, 0)]);
    }
}
