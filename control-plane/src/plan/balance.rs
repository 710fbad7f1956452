//! Which partitions go back to the replica that is preferred as their leader.
//!
//! After an SPU was away, others lead what it led. Once it is in sync again it could lead as
//! before, and the load was spread that way. A move costs writers a moment, so: only where all
//! replicas are in sync, only after the preferred one has been so for a while, and only a few
//! at a time.

use std::collections::BTreeMap;

use weir_protocol::ids::{Incarnation, PartitionKey, SpuId};

use super::election;
use crate::store::{partition_state::PartitionState, partitions::PartitionRow};

/// How long the preferred replica has to be in sync, in one life, before it leads again, in
/// milliseconds.
pub const SETTLED_MS: u64 = 30_000;
/// Most partitions that are moved at once.
pub const MOVES_MAX: usize = 8;

/// Since when each partition could go back to its preferred leader.
#[derive(Debug, Default)]
pub struct Balance {
    waiting: BTreeMap<PartitionKey, (SpuId, Incarnation, u64)>,
}

impl Balance {
    /// Notes what can be moved now, and answers what is to be. `rows` are those that another one
    /// leads than who is preferred; `now_ms`: by a clock that only goes on. What is not among them
    /// any more is forgotten.
    pub fn moves<'a>(
        &mut self,
        rows: &'a [PartitionRow],
        online: &BTreeMap<SpuId, Incarnation>,
        now_ms: u64,
    ) -> Vec<(&'a PartitionRow, PartitionState)> {
        let could = |row: &PartitionRow| {
            let preferred = row.replicas.first()?.spu;
            let whole = row.replicas.iter().all(|replica| replica.in_isr);
            let elsewhere = row.leader.is_some_and(|leader| leader != preferred);
            let incarnation = online.get(&preferred).copied().filter(|_| whole && elsewhere)?;
            Some((preferred, incarnation))
        };
        let before = std::mem::take(&mut self.waiting);
        let mut moves = Vec::new();
        for row in rows {
            let Some((spu, incarnation)) = could(row) else { continue };
            let since = match before.get(&row.key) {
                Some((same, life, since)) if (*same, *life) == (spu, incarnation) => *since,
                _ => now_ms,
            };
            let due = now_ms.saturating_sub(since) >= SETTLED_MS && moves.len() < MOVES_MAX;
            match due.then(|| election::hand_over(row, spu, incarnation)).flatten() {
                Some(state) => moves.push((row, state)),
                None => {
                    self.waiting.insert(row.key, (spu, incarnation, since));
                }
            }
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::PartitionIndex;

    use super::*;
    use crate::plan::isr::tests::{lives, row};

    fn led_by_another(index: u32) -> PartitionRow {
        let mut row = row(&[1, 2], &[1, 2], &[], 1);
        row.leader = Some(SpuId(2));
        row.key.partition = PartitionIndex(index);
        row
    }

    #[test]
    fn it_goes_back_once_it_is_settled_and_a_few_at_a_time() {
        let (mut balance, begin) = (Balance::default(), 7_u64);
        let rows: Vec<_> = (0..20).map(led_by_another).collect();
        let online = lives(&[1, 2]);
        assert!(balance.moves(&rows, &online, begin).is_empty());
        let later = begin + SETTLED_MS;
        assert!(balance.moves(&rows, &online, begin + SETTLED_MS / 2).is_empty());
        let moves = balance.moves(&rows, &online, later);
        assert_eq!(moves.len(), MOVES_MAX);
        assert!(moves.iter().all(|(_, state)| state.leader == Some(SpuId(1))));
        assert!(moves.iter().all(|(row, state)| state.leader_epoch == row.leader_epoch.next()));
        // The others are due still.
        assert_eq!(balance.moves(&rows[MOVES_MAX..], &online, later).len(), MOVES_MAX);
    }

    #[test]
    fn whatever_is_not_whole_waits_and_begins_anew() {
        let (mut balance, begin) = (Balance::default(), 7_u64);
        let (whole, online, later) = (led_by_another(0), lives(&[1, 2]), begin + SETTLED_MS);
        let one = std::slice::from_ref(&whole);
        let mut shrunk = row(&[1, 2, 3], &[2, 1], &[], 1);
        shrunk.key = whole.key;
        let reborn = BTreeMap::from([(SpuId(1), Incarnation(2))]);
        for (rows, online) in [
            (vec![shrunk], lives(&[1, 2])),
            (vec![whole.clone()], lives(&[2])),
            (vec![whole.clone()], reborn),
            (vec![row(&[1, 2], &[1, 2], &[], 1)], lives(&[1, 2])),
            (vec![], lives(&[1, 2])),
        ] {
            assert!(balance.moves(one, &lives(&[1, 2]), begin).is_empty());
            assert!(balance.moves(&rows, &online, later).is_empty(), "{rows:?}");
            // Since then.
            assert!(balance.moves(one, &lives(&[1, 2]), later).is_empty());
            balance = Balance::default();
        }
        balance.moves(one, &online, begin);
        assert_eq!(balance.moves(one, &online, later).len(), 1);
    }
}
