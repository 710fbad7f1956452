//! Which SPUs hold a topic's partitions once each is to have another number of replicas.
//!
//! Who holds it goes on where it can. Who is dropped is out of sync, where anybody is, and the last
//! in the order of preference; who is added stands on another rack, where it can, and carries
//! least.

use weir_protocol::ids::{PartitionKey, SpuId};

use super::{
    drain::{Move, Removing, Takers},
    placement::{Candidate, PlacementError, Racks},
    reassign::ReassignError,
};
use crate::store::partitions::PartitionRow;

/// Why it cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RereplicateError {
    /// One of its partitions is being reassigned.
    #[error(transparent)]
    Reassign(#[from] ReassignError),
    /// There are not enough SPUs for it.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

/// Decides. What has so many already, or is on the way to it, is not named.
///
/// # Errors
/// [`RereplicateError`], with the partition that it is about; nothing is to be changed then.
pub fn plan(
    rows: &[PartitionRow],
    replication: u32,
    (candidates, racks): (&[Candidate], &Racks),
    removing: &Removing,
) -> Result<Vec<Move>, (PartitionKey, RereplicateError)> {
    let wanted = usize::try_from(replication).unwrap_or(usize::MAX);
    let mut takers = Takers::new(candidates.iter(), racks);
    let mut moves = Vec::new();
    for row in rows {
        if row.destined().len() == wanted {
            continue;
        }
        if let Some(goal) = &row.reassignment {
            let running = ReassignError::Running(goal.target.clone());
            return Err((row.key, running.into()));
        }
        let mut target = kept(row, wanted);
        while target.len() < wanted {
            let holders = row.holders().into_iter().chain(target.iter().copied());
            let holders: Vec<_> = holders.collect();
            let taker = takers.next(&holders, removing.get(&row.key), false);
            let Some(taker) = taker else {
                let candidates = candidates.len();
                let error = PlacementError::NotEnough { replication, candidates };
                return Err((row.key, error.into()));
            };
            target.push(taker);
        }
        moves.push((row.key, target));
    }
    Ok(moves)
}

/// At most so many of those that hold it.
fn kept(row: &PartitionRow, wanted: usize) -> Vec<SpuId> {
    let mut kept = row.replicas.clone();
    while kept.len() > wanted.max(1) {
        let out_of_sync = kept.iter().rposition(|replica| !replica.in_isr);
        kept.remove(out_of_sync.unwrap_or(kept.len() - 1));
    }
    kept.into_iter().map(|replica| replica.spu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::isr::tests::row;

    fn candidates(loads: &[u32]) -> Vec<Candidate> {
        let candidate = |(spu, load): (u32, &u32)| Candidate {
            spu: SpuId(spu),
            replicas: *load,
            held: *load,
            preferred: 0,
        };
        (1..).zip(loads).map(candidate).collect()
    }

    fn decided(
        row: &PartitionRow,
        replication: u32,
        loads: &[u32],
    ) -> Result<Vec<u32>, RereplicateError> {
        let rows = std::slice::from_ref(row);
        let moves = plan(rows, replication, (&candidates(loads), &Racks::new()), &Removing::new());
        let moves = moves.map_err(|(_, error)| error)?;
        Ok(moves.first().map(|(_, to)| to.iter().map(|s| s.0).collect()).unwrap_or_default())
    }

    #[test]
    fn the_least_loaded_are_added_behind_those_that_are_there() {
        let one = row(&[2], &[2], &[], 1);
        assert_eq!(decided(&one, 3, &[5, 1, 0, 9]).unwrap(), [2, 3, 1]);
        assert_eq!(decided(&one, 1, &[5, 1, 0, 9]).unwrap(), [0_u32; 0]);
        let error = decided(&one, 3, &[5, 1]).unwrap_err();
        assert!(matches!(error, RereplicateError::Placement(PlacementError::NotEnough { .. })));
    }

    #[test]
    fn who_is_out_of_sync_is_dropped_first_and_then_the_last() {
        assert_eq!(decided(&row(&[1, 2, 3], &[1, 2, 3], &[], 2), 2, &[]).unwrap(), [1, 2]);
        assert_eq!(decided(&row(&[1, 2, 3], &[1, 2, 3], &[], 2), 1, &[]).unwrap(), [1]);
        assert_eq!(decided(&row(&[1, 2, 3], &[1, 3], &[], 2), 2, &[]).unwrap(), [1, 3]);
        assert_eq!(decided(&row(&[1, 2, 3], &[3], &[], 2), 1, &[]).unwrap(), [3]);
        assert_eq!(decided(&row(&[1, 2, 3], &[3], &[], 2), 2, &[]).unwrap(), [1, 3]);
        assert_eq!(decided(&row(&[1, 2, 3], &[2, 3], &[], 2), 1, &[]).unwrap(), [2]);
    }

    #[test]
    fn one_that_is_on_its_way_is_left_or_refused() {
        let mut moving = row(&[1, 2], &[1, 2], &[], 1);
        moving.reassignment = Some(crate::store::reassignments::Reassignment {
            target: vec![SpuId(1)],
            original: vec![SpuId(1), SpuId(2)],
            moving: true,
        });
        assert_eq!(decided(&moving, 1, &[]).unwrap(), [0_u32; 0]);
        let error = decided(&moving, 2, &[]).unwrap_err();
        assert!(matches!(error, RereplicateError::Reassign(ReassignError::Running(_))));
    }
}
