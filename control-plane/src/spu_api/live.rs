//! At most one session per SPU: a newer life, or a reconnect of the same, ends the older one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use weir_protocol::ids::{ClusterId, Incarnation, LaunchId, SpuId};
use weir_runtime::{clock::Monotonic, task::CancellationToken};

use crate::app::status_board::{SessionId, StatusBoard};

type Key = (ClusterId, SpuId);

/// The standing sessions. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Live(Arc<Mutex<BTreeMap<Key, Entry>>>);

struct Entry {
    id: SessionId,
    incarnation: Incarnation,
    replaced: CancellationToken,
}

/// A standing session's place. Leaves the board when it is dropped, however it ends.
pub(super) struct Seat {
    live: Live,
    board: StatusBoard,
    key: Key,
    /// Tells the session apart on the board.
    pub(super) id: SessionId,
    /// Cancelled when a newer session takes the place.
    pub(super) replaced: CancellationToken,
}

impl Live {
    /// Takes the SPU's place; `None` when a later life already has it. (Two registrations
    /// commit in one order and may come here in the other.)
    pub(super) fn enter(
        &self,
        board: &StatusBoard,
        key: Key,
        launch: LaunchId,
        incarnation: Incarnation,
        now: Monotonic,
    ) -> Option<Seat> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.get(&key).is_some_and(|entry| entry.incarnation > incarnation) {
            return None;
        }
        let id = board.session_up(key.0, key.1, launch, incarnation, now);
        let replaced = CancellationToken::new();
        let entry = Entry { id, incarnation, replaced: replaced.clone() };
        if let Some(old) = entries.insert(key, entry) {
            old.replaced.cancel();
        }
        Some(Seat { live: self.clone(), board: board.clone(), key, id, replaced })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut entries = self.live.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.get(&self.key).is_some_and(|entry| entry.id == self.id) {
            entries.remove(&self.key);
        }
        self.board.session_down(self.key.0, self.key.1, self.id);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_runtime::clock::Clock;

    use super::*;

    #[tokio::test]
    async fn a_later_life_replaces_and_an_earlier_one_comes_too_late() {
        let (live, board, now) = (Live::default(), StatusBoard::default(), Clock.now());
        let key = (ClusterId(Uuid::from_u128(1)), SpuId(1));
        let launch = LaunchId(Uuid::from_u128(2));
        let enter = |incarnation| live.enter(&board, key, launch, Incarnation(incarnation), now);
        let second = enter(2).unwrap();
        assert!(enter(1).is_none());
        let again = enter(2).unwrap();
        assert!(second.replaced.is_cancelled());
        drop(second);
        assert!(board.spu(key.0, key.1).standing().is_some());
        assert!(!again.replaced.is_cancelled());
        drop(again);
        assert!(board.spu(key.0, key.1).standing().is_none());
    }
}
