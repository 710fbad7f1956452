//! What the offsets log says: the newest record of each key. Pure.
//!
//! A deleted key leaves a *grave* until SQL has heard of it, so that shortening the log does
//! not lose the word that it is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weir_protocol::ids::{Offset, PartitionKey, TopicGenerationId};

use super::record::{Key, Record, Value};

/// What holds for a key, and where the log says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What holds.
    pub value: Value,
    /// Offset of the record that says so.
    pub position: Offset,
}

/// The state of one offsets partition up to [`Fold::end`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    consumers: BTreeMap<Arc<str>, BTreeMap<PartitionKey, Entry>>,
    graves: BTreeMap<Key, Offset>,
    /// How many keys each generation has.
    generations: BTreeMap<TopicGenerationId, usize>,
    keys: usize,
    metadata_bytes: usize,
    end: Offset,
}

impl Fold {
    /// Nothing, up to `start`.
    #[must_use]
    pub fn beginning_at(start: Offset) -> Self {
        Self { end: start, ..Self::default() }
    }

    /// The next offset that was not folded.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// How many keys hold something.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.keys
    }

    /// Deleted keys that SQL has not heard of, and where the log says so.
    pub fn graves(&self) -> impl ExactSizeIterator<Item = (&Key, Offset)> {
        self.graves.iter().map(|(key, position)| (key, *position))
    }

    /// Bytes of all keys' metadata.
    #[must_use]
    pub const fn metadata_bytes(&self) -> usize {
        self.metadata_bytes
    }

    /// What holds for a key.
    #[must_use]
    pub fn get(&self, consumer: &str, partition: PartitionKey) -> Option<&Entry> {
        self.consumers.get(consumer)?.get(&partition)
    }

    /// The partitions of a consumer.
    pub fn of_consumer(&self, consumer: &str) -> impl Iterator<Item = PartitionKey> {
        self.consumers.get(consumer).into_iter().flat_map(|of| of.keys().copied())
    }

    /// Every key that holds something.
    pub fn live(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.consumers.iter().flat_map(|(consumer, of)| {
            of.iter().map(|(partition, entry)| {
                (Key { consumer: consumer.clone(), partition: *partition }, entry)
            })
        })
    }

    /// The keys of some generations.
    #[must_use]
    pub fn of_generations(&self, wanted: &BTreeSet<TopicGenerationId>) -> Vec<(Key, Offset)> {
        if !wanted.iter().any(|id| self.generations.contains_key(id)) {
            return Vec::new();
        }
        let of = self.live().filter(|(key, _)| wanted.contains(&key.partition.generation));
        of.map(|(key, entry)| (key, entry.position)).collect()
    }

    /// The generations that have keys.
    pub fn generations(&self) -> impl Iterator<Item = TopicGenerationId> {
        self.generations.keys().copied()
    }

    /// All that the log must say: what holds, and what SQL has yet to forget.
    #[must_use]
    pub fn to_records(&self) -> Vec<Record> {
        let live = self.live().map(|(key, entry)| Record { key, value: Some(entry.value.clone()) });
        let graves = self.graves.keys().map(|key| Record { key: key.clone(), value: None });
        live.chain(graves).collect()
    }

    /// Takes the record at `position`, which is not below [`Fold::end`]. Gives the position
    /// that the key had before.
    pub fn apply(&mut self, position: Offset, record: Record) -> Option<Offset> {
        debug_assert!(position >= self.end, "records are folded in order, once");
        self.end = position.next();
        let Record { key, value } = record;
        let before = self.remove(&key);
        match value {
            Some(value) => {
                self.keys += 1;
                self.metadata_bytes += value.metadata_bytes();
                *self.generations.entry(key.partition.generation).or_default() += 1;
                let of = self.consumers.entry(key.consumer).or_default();
                of.insert(key.partition, Entry { value, position });
            }
            None => {
                self.graves.insert(key, position);
            }
        }
        before
    }

    /// SQL has heard that the key was deleted at `position`.
    pub fn bury(&mut self, key: &Key, position: Offset) {
        if self.graves.get(key) == Some(&position) {
            self.graves.remove(key);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Offset> {
        if let Some(position) = self.graves.remove(key) {
            return Some(position);
        }
        let of = self.consumers.get_mut(&key.consumer)?;
        let gone = of.remove(&key.partition)?;
        if of.is_empty() {
            self.consumers.remove(&key.consumer);
        }
        self.keys -= 1;
        self.metadata_bytes -= gone.value.metadata_bytes();
        if let Some(count) = self.generations.get_mut(&key.partition.generation) {
            *count -= 1;
            if *count == 0 {
                self.generations.remove(&key.partition.generation);
            }
        }
        Some(gone.position)
    }
}
