//! Which SPUs hold a new partition's replicas.
//!
//! They are on as many racks as there are: SPUs of one rack fail together. Then the load is spread.
//! An SPU that does not say where it stands is taken for one that stands alone.

use std::collections::BTreeMap;

use weir_protocol::ids::SpuId;

/// Most replicas that one SPU may hold, those of deleted topics included: an SPU names all of
/// them when it registers, in one message of bounded size.
pub const REPLICAS_PER_SPU_MAX: u32 = 20_000;

/// Most replicas of one partition.
pub const REPLICATION_MAX: u32 = 16;

/// What fails together, told apart by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rack(pub u32);

/// On which rack each SPU stands; who does not say is not named.
pub type Racks = BTreeMap<SpuId, Rack>;

/// How many of `holders` fail together with `spu`.
#[must_use]
pub(super) fn beside(racks: &Racks, holders: &[SpuId], spu: SpuId) -> usize {
    let Some(rack) = racks.get(&spu) else { return 0 };
    holders.iter().filter(|holder| racks.get(holder) == Some(rack)).count()
}

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
    #[error("{}", not_enough(*.replication, *.candidates))]
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

fn not_enough(replication: u32, candidates: usize) -> String {
    match candidates {
        0 => "there is no SPU that could hold a replica".to_owned(),
        _ => format!("{replication} replicas need as many SPUs; there are {candidates}"),
    }
}

/// For each of `partitions` new partitions its replicas in the order of preference: the
/// first leads. Each is spread over the `racks`; then leadership, then replicas are spread evenly.
/// The same input gives the same placement.
///
/// # Errors
/// [`PlacementError`], also for a replication of 0.
pub fn place(
    candidates: &[Candidate],
    racks: &Racks,
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
                    let beside = beside(racks, &chosen, candidate.spu);
                    (beside, leads, candidate.replicas, candidate.spu)
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
    use std::collections::BTreeSet;

    use super::*;

    fn place(
        candidates: &[Candidate],
        partitions: u32,
        replication: u32,
    ) -> Result<Vec<Vec<SpuId>>, PlacementError> {
        super::place(candidates, &Racks::new(), partitions, replication)
    }

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

    fn racks(of: &[(u32, u32)]) -> Racks {
        of.iter().map(|(spu, rack)| (SpuId(*spu), Rack(*rack))).collect()
    }

    #[test]
    fn replicas_are_on_as_many_racks_as_there_are() {
        let racks = racks(&[(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 2)]);
        for (replication, each) in [(1, 1), (2, 1), (3, 1), (4, 2), (6, 3)] {
            for replicas in super::place(&empty(6), &racks, 20, replication).unwrap() {
                let mut on: BTreeMap<Rack, usize> = BTreeMap::new();
                for spu in &replicas {
                    *on.entry(racks[spu]).or_default() += 1;
                }
                assert_eq!(on.len(), 3.min(replication as usize), "{replicas:?}");
                assert!(on.values().all(|count| *count <= each), "{replicas:?}");
            }
        }
        // Leaders are spread all the same.
        let placed = super::place(&empty(6), &racks, 12, 3).unwrap();
        for spu in 1..=6 {
            assert_eq!(placed.iter().filter(|replicas| replicas[0] == SpuId(spu)).count(), 2);
        }
    }

    #[test]
    fn who_does_not_say_stands_alone() {
        let racks = racks(&[(1, 0), (2, 0)]);
        for replicas in super::place(&empty(4), &racks, 9, 3).unwrap() {
            let both = [1, 2].iter().all(|spu| replicas.contains(&SpuId(*spu)));
            assert!(!both, "{replicas:?}");
        }
        assert_eq!(super::place(&empty(2), &racks, 1, 2).unwrap()[0].len(), 2);
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
