//! Which SPUs hold a new partition's replicas.

use weir_protocol::ids::SpuId;

/// Most replicas that one SPU may hold, those of deleted topics included: an SPU names all of
/// them when it registers, in one message of bounded size.
pub const REPLICAS_PER_SPU_MAX: u32 = 20_000;

/// An SPU that may hold replicas, and what it carries so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub spu: SpuId,
    /// Replicas that it holds of topics that are there.
    pub replicas: u32,
    /// All replicas that it holds, those of deleted topics and of Weir's own included.
    pub held: u32,
    /// Partitions that prefer it as their leader.
    pub preferred: u32,
}

/// Why the partitions cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// There are not enough SPUs.
    #[error("{replication} replicas need as many SPUs; there are {candidates}")]
    NotEnough {
        /// Replicas wanted per partition.
        replication: u32,
        /// SPUs that may hold one.
        candidates: usize,
    },
    /// There are enough SPUs, but they hold too much already.
    #[error(
        "{partitions} more partitions do not fit: an SPU holds {REPLICAS_PER_SPU_MAX} replicas at most"
    )]
    Full {
        /// Partitions that were to be placed.
        partitions: u32,
    },
}

/// For each of `partitions` new partitions its replicas in the order of preference: the
/// first leads. Leadership first, then replicas are spread evenly; the same input gives the
/// same placement.
///
/// # Errors
/// [`PlacementError`], also for a replication of 0.
pub fn place(
    candidates: &[Candidate],
    partitions: u32,
    replication: u32,
) -> Result<Vec<Vec<SpuId>>, PlacementError> {
    let replicas = usize::try_from(replication).unwrap_or(usize::MAX);
    if replicas == 0 || replicas > candidates.len() {
        return Err(PlacementError::NotEnough { replication, candidates: candidates.len() });
    }
    let mut load = candidates.to_vec();
    load.sort_by_key(|candidate| candidate.spu);
    let mut placed = Vec::new();
    for _ in 0..partitions {
        let mut chosen: Vec<SpuId> = Vec::with_capacity(replicas);
        for position in 0..replicas {
            let best = load
                .iter_mut()
                .filter(|candidate| {
                    candidate.held < REPLICAS_PER_SPU_MAX && !chosen.contains(&candidate.spu)
                })
                .min_by_key(|candidate| {
                    let leads = if position == 0 { candidate.preferred } else { 0 };
                    (leads, candidate.replicas, candidate.spu)
                });
            let Some(best) = best else { return Err(PlacementError::Full { partitions }) };
            best.replicas += 1;
            best.held += 1;
            best.preferred += u32::from(position == 0);
            chosen.push(best.spu);
        }
        placed.push(chosen);
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn empty(count: u32) -> Vec<Candidate> {
        let candidate = |id| Candidate { spu: SpuId(id), replicas: 0, held: 0, preferred: 0 };
        (1..=count).map(candidate).collect()
    }

    #[test]
    fn single_replicas_go_around() {
        let placed = place(&empty(3), 7, 1).unwrap();
        let ids: Vec<_> = placed.iter().map(|replicas| replicas[0].0).collect();
        assert_eq!(ids, [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn what_is_there_counts() {
        let mut candidates = empty(3);
        candidates[0].preferred = 2;
        candidates[0].replicas = 2;
        let ids: Vec<_> = place(&candidates, 4, 1).unwrap().concat();
        assert_eq!(ids, [SpuId(2), SpuId(3), SpuId(2), SpuId(3)]);
    }

    #[test]
    fn leaders_and_replicas_are_balanced_and_never_twice_on_one_spu() {
        for (spus, partitions, replication) in [(3, 12, 3), (4, 12, 2), (5, 7, 3), (5, 100, 4)] {
            let placed = place(&empty(spus), partitions, replication).unwrap();
            let mut leads: BTreeMap<SpuId, u32> = BTreeMap::new();
            let mut holds: BTreeMap<SpuId, u32> = BTreeMap::new();
            for replicas in &placed {
                assert_eq!(replicas.len(), replication as usize);
                assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), replicas.len());
                *leads.entry(replicas[0]).or_default() += 1;
                for spu in replicas {
                    *holds.entry(*spu).or_default() += 1;
                }
            }
            for (spread, slack) in [(leads, 1), (holds, 2)] {
                let (low, high) = (spread.values().min().unwrap(), spread.values().max().unwrap());
                assert!(high - low <= slack, "{spus} {partitions} {replication}: {spread:?}");
            }
        }
    }

    #[test]
    fn an_spu_takes_what_it_can_name_and_no_more() {
        let mut candidates = empty(2);
        candidates[0].held = REPLICAS_PER_SPU_MAX - 1;
        candidates[1].held = REPLICAS_PER_SPU_MAX - 3;
        let ids = place(&candidates, 4, 1).unwrap().concat();
        assert_eq!(ids, [SpuId(1), SpuId(2), SpuId(2), SpuId(2)]);
        assert_eq!(place(&candidates, 5, 1), Err(PlacementError::Full { partitions: 5 }));
        assert!(place(&candidates, 1, 2).is_ok());
        assert_eq!(place(&candidates, 2, 2), Err(PlacementError::Full { partitions: 2 }));
    }

    #[test]
    fn too_few_spus_are_an_error() {
        assert!(place(&empty(2), 1, 3).is_err());
        assert!(place(&[], 1, 1).is_err());
        assert!(place(&empty(2), 1, 0).is_err());
    }
}
