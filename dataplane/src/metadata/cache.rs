//! The current map with its last changes, and who waits for the next.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::watch;
use weir_protocol::{ids::Revision, pb::metadata::MetadataUpdate};

use super::map::{ClusterMap, MapError};
use crate::seen::Database;

/// A map and the changes that led to it, oldest first.
#[derive(Debug, Default)]
pub struct Cached {
    /// The map.
    pub map: ClusterMap,
    /// Changes, each with the revision before it; without gaps up to the map's revision.
    deltas: VecDeque<(Revision, Arc<MetadataUpdate>)>,
}

impl Cached {
    /// What brings a watcher that has seen `at` up to date: the changes since, folded into
    /// one, where they are still known, else a snapshot. Nothing before the first snapshot
    /// arrived.
    ///
    /// One update, and not one after another: whoever was away while a topic was deleted and
    /// created again learns that it was recreated, never that it is merely gone.
    #[must_use]
    pub fn since(&self, at: Option<(Database, Revision)>) -> Option<Arc<MetadataUpdate>> {
        let at = at.filter(|(database, _)| Some(*database) == self.map.database());
        if let Some((_, revision)) = at {
            if revision == self.map.revision() {
                return None;
            }
            // A watcher may stand between two of our revisions: it came from another SPU.
            let first = self.deltas.iter().position(|(before, update)| {
                *before <= revision && revision.get() < update.revision
            });
            if let Some(first) = first {
                return folded(self.deltas.iter().skip(first).map(|(_, update)| update));
            }
            // Ahead of us: we are the ones who lag, and will catch up.
            if revision > self.map.revision() {
                return None;
            }
        }
        self.map.snapshot().map(Arc::new)
    }
}

/// Several changes as one: of every generation and SPU the last word, in the order of ids.
fn folded<'a>(
    changes: impl Iterator<Item = &'a Arc<MetadataUpdate>> + Clone,
) -> Option<Arc<MetadataUpdate>> {
    let last = changes.clone().last()?;
    if changes.clone().count() == 1 {
        return Some(last.clone());
    }
    let (mut topics, mut spus) = (BTreeMap::new(), BTreeMap::new());
    for change in changes {
        topics.extend(change.topics.iter().map(|topic| (&topic.generation_id, topic)));
        spus.extend(change.spus.iter().map(|spu| (spu.spu_id, spu)));
    }
    Some(Arc::new(MetadataUpdate {
        revision: last.revision,
        snapshot: false,
        database: last.database.clone(),
        topics: topics.into_values().cloned().collect(),
        spus: spus.into_values().cloned().collect(),
        revised_at_unix_ms: last.revised_at_unix_ms,
    }))
}

/// Shares the map. Clones see the same.
#[derive(Clone, Debug)]
pub struct Cache {
    current: Arc<watch::Sender<Arc<Cached>>>,
    deltas_kept: usize,
}

impl Cache {
    /// Knows nothing yet; keeps so many changes for watchers that come back.
    #[must_use]
    pub fn new(deltas_kept: usize) -> Self {
        Self { current: Arc::new(watch::channel(Arc::default()).0), deltas_kept }
    }

    /// The current map.
    #[must_use]
    pub fn current(&self) -> Arc<Cached> {
        self.current.borrow().clone()
    }

    /// The current map and every later one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Cached>> {
        self.current.subscribe()
    }

    /// Takes an update; false when it brought nothing new. Only the session calls this, one
    /// update after another.
    ///
    /// # Errors
    /// [`MapError`]; the map is as it was.
    pub fn apply(&self, update: MetadataUpdate) -> Result<bool, MapError> {
        let before = self.current();
        let mut map = before.map.clone();
        if !map.apply(&update)? {
            return Ok(false);
        }
        let here = |map: &ClusterMap| (map.database(), map.revision());
        let mut deltas = before.deltas.clone();
        if !update.snapshot {
            deltas.push_back((before.map.revision(), Arc::new(update)));
            while deltas.len() > self.deltas_kept {
                deltas.pop_front();
            }
        } else if here(&map) != here(&before.map) {
            // It says nothing about what changed on the way: the ring begins anew.
            deltas.clear();
        }
        self.current.send_replace(Arc::new(Cached { map, deltas }));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::pb::metadata::GenerationState;

    use super::*;
    use crate::metadata::map::tests::{topic, update};

    fn revisions(cache: &Cache, from: Option<u64>) -> Vec<(u64, bool)> {
        let cached = cache.current();
        let at = from.map(|from| (cached.map.database().unwrap(), Revision(from)));
        cached.since(at).iter().map(|update| (update.revision, update.snapshot)).collect()
    }

    #[test]
    fn watchers_resume_while_the_changes_are_known() {
        let cache = Cache::new(3);
        assert!(cache.current().since(None).is_none(), "nothing is known yet");
        let one = || vec![topic(1, 1, "t", GenerationState::Active)];
        assert_eq!(cache.apply(update(10, true, one())), Ok(true));
        for revision in [12, 13, 15, 16] {
            assert_eq!(cache.apply(update(revision, false, one())), Ok(true));
        }
        assert_eq!(revisions(&cache, None), [(16, true)]);
        assert_eq!(revisions(&cache, Some(16)), []);
        assert_eq!(revisions(&cache, Some(13)), [(16, false)], "two changes as one");
        assert_eq!(revisions(&cache, Some(14)), [(16, false)], "between two");
        assert_eq!(revisions(&cache, Some(10)), [(16, true)], "no longer known");
        assert_eq!(revisions(&cache, Some(99)), [], "ahead of this SPU");
    }

    #[test]
    fn whoever_was_away_hears_the_last_word_on_everything_at_once() {
        let cache = Cache::new(3);
        cache.apply(update(1, true, vec![topic(1, 1, "t", GenerationState::Active)])).unwrap();
        cache.apply(update(2, false, vec![topic(1, 1, "t", GenerationState::Tombstone)])).unwrap();
        cache.apply(update(3, false, vec![topic(2, 2, "t", GenerationState::Active)])).unwrap();
        let cached = cache.current();
        let update = cached.since(Some((cached.map.database().unwrap(), Revision(1)))).unwrap();
        let states: Vec<_> =
            update.topics.iter().map(|t| (t.generation_number, t.state())).collect();
        assert_eq!(states, [(1, GenerationState::Tombstone), (2, GenerationState::Active)]);
        assert_eq!((update.revision, update.snapshot), (3, false));
    }

    #[test]
    fn another_database_takes_a_snapshot() {
        let cache = Cache::new(3);
        cache.apply(update(10, true, vec![])).unwrap();
        let mut database = cache.current().map.database().unwrap();
        database.restore_number.0 += 1;
        let sent = cache.current().since(Some((database, Revision(10))));
        assert!(sent.unwrap().snapshot);
    }
}
