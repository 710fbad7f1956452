//! At most one session per SPU: a newer life, or a reconnect of the same, ends the older one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
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
    successor: Arc<OnceLock<Incarnation>>,
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
    incarnation: Incarnation,
    /// Who took the place, known before anything else shows that it is taken.
    successor: Arc<OnceLock<Incarnation>>,
}

impl Seat {
    /// Whether the same life of the SPU took the place: its process reconnected.
    pub(super) fn same_life_came(&self) -> bool {
        self.successor.get() == Some(&self.incarnation)
    }
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
        if let Some(old) = entries.get(&key) {
            // Set once at most: an entry is replaced once.
            let _ = old.successor.set(incarnation);
        }
        let id = board.session_up(key.0, key.1, launch, incarnation, now);
        let (replaced, successor) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        let entry =
            Entry { id, incarnation, replaced: replaced.clone(), successor: successor.clone() };
        if let Some(old) = entries.insert(key, entry) {
            old.replaced.cancel();
        }
        let (live, board) = (self.clone(), board.clone());
        Some(Seat { live, board, key, id, replaced, incarnation, successor })
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
        let first = enter(1).unwrap();
        let second = enter(2).unwrap();
        assert!(first.replaced.is_cancelled() && !first.same_life_came());
        assert!(enter(1).is_none());
        let again = enter(2).unwrap();
        assert!(second.replaced.is_cancelled() && second.same_life_came());
        drop(second);
        assert!(board.spu(key.0, key.1).standing().is_some());
        assert!(!again.replaced.is_cancelled());
        drop(again);
        assert!(board.spu(key.0, key.1).standing().is_none());
    }
}
