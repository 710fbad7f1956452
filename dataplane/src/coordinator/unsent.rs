//! What the control plane has not heard of yet, in the order of the offsets log. Pure.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{
    ids::{LeaderEpoch, Offset},
    pb::session::StoredOffset,
};

use super::{
    fold::Fold,
    record::{Key, Value},
};

/// Entries of one upload, as the protocol has it.
const UPLOAD_MAX: usize = 1_000;
/// And their bytes, about: far below what a gRPC message may have.
const UPLOAD_BYTES_MAX: usize = 1 << 20;

/// Keys whose newest record was not uploaded. As many as there are keys at most: of each
/// only the newest counts.
#[derive(Debug, Default)]
pub struct Unsent {
    by_position: BTreeMap<Offset, Key>,
    /// What the last upload told of, as it still is.
    told: BTreeSet<Offset>,
}

impl Unsent {
    /// A key changed: its newest record is at `position`, the one before it was at `former`.
    pub fn mark(&mut self, former: Option<Offset>, position: Offset, key: Key) {
        self.unmark(former);
        self.by_position.insert(position, key);
    }

    /// A key as it is since `position` is to be told again: what an upload told before is no
    /// answer to that.
    pub fn doubt(&mut self, position: Offset, key: Key) {
        self.told.remove(&position);
        self.by_position.insert(position, key);
    }

    /// A key was written again as it was.
    pub fn moved(&mut self, former: Option<Offset>, position: Offset, key: Key) {
        if self.unmark(former) {
            self.by_position.insert(position, key);
        }
    }

    /// Whether all was uploaded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_position.is_empty()
    }

    /// How many keys were not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_position.len()
    }

    /// What to upload next, oldest first.
    #[must_use]
    pub fn next_upload(&mut self, fold: &Fold) -> Vec<StoredOffset> {
        let mut bytes = 0;
        let changed = self.by_position.iter().take(UPLOAD_MAX).map(|(position, key)| {
            let entry = fold.get(&key.consumer, key.partition);
            stored(key, *position, entry.map(|entry| &entry.value))
        });
        let fits = changed.take_while(|stored| {
            let first = bytes == 0;
            bytes += stored.consumer.len() + stored.metadata.len();
            first || bytes <= UPLOAD_BYTES_MAX
        });
        let upload: Vec<_> = fits.collect();
        self.told = upload.iter().map(|stored| Offset(stored.position)).collect();
        upload
    }

    /// The last upload arrived; gives the keys whose records it told of, with their positions.
    pub fn sent(&mut self) -> Vec<(Key, Offset)> {
        let told = std::mem::take(&mut self.told);
        let gone = told.into_iter().filter_map(|position| {
            // What was written again meanwhile stands at another position.
            Some((self.by_position.remove(&position)?, position))
        });
        gone.collect()
    }

    fn unmark(&mut self, former: Option<Offset>) -> bool {
        former.is_some_and(|former| self.by_position.remove(&former).is_some())
    }
}

/// One change, for the control plane.
#[must_use]
pub fn stored(key: &Key, position: Offset, value: Option<&Value>) -> StoredOffset {
    let committed = value.and_then(|value| value.committed.as_ref());
    StoredOffset {
        consumer: key.consumer.as_ref().to_owned(),
        partition: Some(key.partition.to_wire()),
        position: position.get(),
        deleted: value.is_none(),
        next_offset: committed.map(|committed| committed.next_offset.get()),
        leader_epoch: committed.and_then(|c| c.leader_epoch).map(LeaderEpoch::get),
        metadata: committed.map(|c| c.metadata.as_ref().to_owned()).unwrap_or_default(),
        committed_at_unix_ms: committed.map_or(0, |committed| committed.at_unix_ms),
    }
}
