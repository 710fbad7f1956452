//! The state as it will be once a group of changes is committed: the fold, and what was
//! decided since, one request after another. Pure.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::PartitionKey;

use super::{
    fold::Fold,
    record::{Key, Record, Value},
};

/// A fold with changes on top that are not in the log yet.
#[derive(Debug)]
pub struct Staged<'a> {
    fold: &'a Fold,
    changes: BTreeMap<Key, Option<Value>>,
    records: Vec<Record>,
    keys: usize,
    metadata_bytes: usize,
    bytes: usize,
}

impl<'a> Staged<'a> {
    /// Nothing on top yet.
    #[must_use]
    pub fn on(fold: &'a Fold) -> Self {
        Self {
            fold,
            changes: BTreeMap::new(),
            records: Vec::new(),
            keys: fold.keys(),
            metadata_bytes: fold.metadata_bytes(),
            bytes: 0,
        }
    }

    /// What will hold for a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Value> {
        match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.fold.get(&key.consumer, key.partition).map(|entry| &entry.value),
        }
    }

    /// The partitions that a consumer will have.
    #[must_use]
    pub fn of_consumer(&self, consumer: &str) -> BTreeSet<PartitionKey> {
        let mut partitions: BTreeSet<_> = self.fold.of_consumer(consumer).collect();
        for (key, value) in &self.changes {
            if *key.consumer == *consumer {
                match value {
                    Some(_) => partitions.insert(key.partition),
                    None => partitions.remove(&key.partition),
                };
            }
        }
        partitions
    }

    /// How many keys there will be, with those that SQL has yet to forget.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys + self.fold.graves().len()
    }

    /// Bytes of all keys' metadata.
    #[must_use]
    pub const fn metadata_bytes(&self) -> usize {
        self.metadata_bytes
    }

    /// How many bytes of records there are to write, at most.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a change on top.
    pub fn put(&mut self, record: Record) {
        let weigh = |value: Option<&Value>| value.map_or(0, Value::metadata_bytes);
        let before = self.get(&record.key);
        let (had, had_bytes) = (usize::from(before.is_some()), weigh(before));
        self.keys = self.keys + usize::from(record.value.is_some()) - had;
        self.metadata_bytes = self.metadata_bytes + weigh(record.value.as_ref()) - had_bytes;
        self.bytes += record.bytes_max();
        self.changes.insert(record.key.clone(), record.value.clone());
        self.records.push(record);
    }

    /// What is to be written, in order.
    #[must_use]
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}
