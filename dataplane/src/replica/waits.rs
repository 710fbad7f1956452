//! Which acknowledgement waits for which offset.

use std::collections::BTreeMap;

use weir_protocol::ids::Offset;

use super::event::{Ack, RequestId};

/// Requests in the log whose acknowledgement waits until an offset has passed their end.
/// As long as the in-flight bounds of the streams that they came from allow.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    by_last_offset: BTreeMap<(Offset, RequestId), Ack>,
}

impl Waits {
    /// Adds a request that ends at `last_offset`.
    pub fn add(&mut self, last_offset: Offset, request: RequestId, ack: Ack) {
        self.by_last_offset.insert((last_offset, request), ack);
    }

    /// Takes the requests that end below `end`, in order of their offsets.
    pub fn take_below(&mut self, end: Offset) -> impl Iterator<Item = (RequestId, Ack)> + use<> {
        let rest = self.by_last_offset.split_off(&(end, RequestId(0)));
        let done = std::mem::replace(&mut self.by_last_offset, rest);
        done.into_iter().map(|((_, request), ack)| (request, ack))
    }

    /// Takes the requests that end at or above `end`.
    pub fn take_from(&mut self, end: Offset) -> impl Iterator<Item = RequestId> + use<> {
        let cut = self.by_last_offset.split_off(&(end, RequestId(0)));
        cut.into_keys().map(|(_, request)| request)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_last_offset.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_last_offset.is_empty()
    }
}
