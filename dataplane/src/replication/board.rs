//! Which partitions of this SPU follow whom, with what each asks, and of which of them the
//! leader has not heard yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};
use weir_protocol::ids::{PartitionKey, SpuId};

use crate::replica::follower::Following;

/// Shared by the replicas, which write, and the links, which read.
pub struct Board {
    state: Mutex<State>,
    /// Changes with the set of leaders.
    leaders: watch::Sender<BTreeSet<SpuId>>,
}

#[derive(Default)]
struct State {
    leader_of: BTreeMap<PartitionKey, SpuId>,
    leaders: BTreeMap<SpuId, Led>,
}

/// What is followed of one leader.
#[derive(Default)]
struct Led {
    partitions: BTreeMap<PartitionKey, Following>,
    /// With whether batches are to be asked for even if they were before.
    news: BTreeMap<PartitionKey, bool>,
    notify: Arc<Notify>,
}

impl Default for Board {
    fn default() -> Self {
        Self { state: Mutex::default(), leaders: watch::channel(BTreeSet::new()).0 }
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a partition asks its leader with from now on; `None`: it follows nobody.
    pub fn set(&self, key: PartitionKey, following: Option<Following>) {
        let mut state = self.state();
        let before = state.leader_of.get(&key).copied();
        if let Some(before) = before.filter(|before| following.map(|f| f.leader) != Some(*before)) {
            state.leader_of.remove(&key);
            if let Some(led) = state.leaders.get_mut(&before) {
                led.partitions.remove(&key);
                led.news.remove(&key);
                if led.partitions.is_empty() {
                    state.leaders.remove(&before);
                }
            }
        }
        if let Some(following) = following {
            state.leader_of.insert(key, following.leader);
            let led = state.leaders.entry(following.leader).or_default();
            led.partitions.insert(key, following);
            led.news.entry(key).or_default();
            led.notify.notify_one();
        }
        self.leaders.send_if_modified(|known| {
            let changed = !known.iter().eq(state.leaders.keys());
            if changed {
                *known = state.leaders.keys().copied().collect();
            }
            changed
        });
    }

    /// The leaders, and every change of who they are.
    #[must_use]
    pub fn leaders(&self) -> watch::Receiver<BTreeSet<SpuId>> {
        self.leaders.subscribe()
    }

    /// Woken when there is news for this leader; one waiter.
    #[must_use]
    pub fn notify(&self, leader: SpuId) -> Option<Arc<Notify>> {
        self.state().leaders.get(&leader).map(|led| led.notify.clone())
    }

    /// A new stream to the leader begins: everything is news.
    pub fn all_news(&self, leader: SpuId) {
        if let Some(led) = self.state().leaders.get_mut(&leader) {
            led.news = led.partitions.keys().map(|key| (*key, true)).collect();
            led.notify.notify_one();
        }
    }

    /// The leader is to be asked again for this partition's next batches.
    pub fn again(&self, leader: SpuId, key: PartitionKey) {
        self.tell(leader, key, true);
    }

    /// The leader is to hear what this partition holds.
    pub fn report(&self, leader: SpuId, key: PartitionKey) {
        self.tell(leader, key, false);
    }

    fn tell(&self, leader: SpuId, key: PartitionKey, again: bool) {
        if let Some(led) = self.state().leaders.get_mut(&leader)
            && led.partitions.contains_key(&key)
        {
            *led.news.entry(key).or_default() |= again;
            led.notify.notify_one();
        }
    }

    /// Takes what the leader has not heard of; with each whether batches are to be asked for even
    /// if they were before.
    #[must_use]
    pub fn take(&self, leader: SpuId) -> Vec<(PartitionKey, Following, bool)> {
        let mut state = self.state();
        let Some(led) = state.leaders.get_mut(&leader) else { return Vec::new() };
        let news = std::mem::take(&mut led.news);
        let known = |(key, again)| Some((key, *led.partitions.get(&key)?, again));
        news.into_iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{Incarnation, LeaderEpoch, Offset, PartitionIndex, TopicGenerationId};

    use super::*;

    fn key(index: u32) -> PartitionKey {
        let generation = TopicGenerationId(Uuid::from_u128(1));
        PartitionKey { generation, partition: PartitionIndex(index) }
    }

    fn following(leader: u32, log_end: u64) -> Option<Following> {
        Some(Following {
            leader: SpuId(leader),
            leader_epoch: LeaderEpoch(1),
            incarnation: Incarnation(1),
            log_end: Offset(log_end),
            last_epoch: None,
            held_end: Offset(0),
        })
    }

    fn news(board: &Board, leader: u32) -> Vec<(u32, u64)> {
        let taken = board.take(SpuId(leader));
        taken.iter().map(|(key, now, _)| (key.partition.get(), now.log_end.get())).collect()
    }

    #[test]
    fn of_each_partition_the_newest_word_is_told_once() {
        let board = Board::default();
        board.set(key(0), following(7, 1));
        board.set(key(0), following(7, 2));
        board.set(key(1), following(7, 5));
        assert_eq!(news(&board, 7), [(0, 2), (1, 5)]);
        assert_eq!(news(&board, 7), []);
        board.again(SpuId(7), key(1));
        board.again(SpuId(8), key(1));
        board.report(SpuId(7), key(1));
        let taken = board.take(SpuId(7));
        assert!(matches!(taken[..], [(asked, _, true)] if asked == key(1)), "{taken:?}");
        board.all_news(SpuId(7));
        assert_eq!(news(&board, 7), [(0, 2), (1, 5)]);
    }

    #[test]
    fn a_partition_follows_one_leader_and_a_leader_without_any_is_none() {
        let board = Board::default();
        let leaders = board.leaders();
        board.set(key(0), following(7, 1));
        board.set(key(0), following(8, 1));
        assert_eq!(news(&board, 7), []);
        assert_eq!(*leaders.borrow(), BTreeSet::from([SpuId(8)]));
        assert_eq!(news(&board, 8), [(0, 1)]);
        board.set(key(0), None);
        assert!(leaders.borrow().is_empty());
        assert!(board.notify(SpuId(8)).is_none());
    }
}
