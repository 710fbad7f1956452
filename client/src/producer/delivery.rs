//! The outcome of a batch, shared by the records in it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use weir_protocol::ids::{Offset, PartitionKey};

use super::{ProduceError, RecordMetadata};

/// Where an acknowledged batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub base_offset: Offset,
    pub duplicate: bool,
}

/// What becomes of one batch. Resolved exactly once.
#[derive(Debug)]
pub(crate) struct BatchState {
    /// Unique within the producer, in the order in which batches were begun.
    pub id: u64,
    pub key: PartitionKey,
    outcome: OnceLock<Result<Acked, ProduceError>>,
    wakers: Mutex<Vec<Waker>>,
}

impl BatchState {
    pub(crate) fn new(id: u64, key: PartitionKey) -> Arc<Self> {
        Arc::new(Self { id, key, outcome: OnceLock::new(), wakers: Mutex::default() })
    }

    /// Resolves the batch and wakes who waits. False if it was resolved before: the first
    /// outcome stays.
    pub(crate) fn resolve(&self, outcome: Result<Acked, ProduceError>) -> bool {
        let first = self.outcome.set(outcome).is_ok();
        // Set before the lock: whoever registered in between is in the list, whoever comes
        // later sees the outcome.
        let wakers = std::mem::take(&mut *self.wakers());
        wakers.into_iter().for_each(Waker::wake);
        first
    }

    pub(crate) fn outcome(&self) -> Option<&Result<Acked, ProduceError>> {
        self.outcome.get()
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(
        &self,
        slot: &mut Option<usize>,
        cx: &mut Context<'_>,
    ) -> Poll<&Result<Acked, ProduceError>> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut wakers = self.wakers();
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        match slot.and_then(|slot| wakers.get_mut(slot)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *slot = Some(wakers.len());
                wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// Waits for a batch as such.
pub(crate) struct Settled {
    state: Arc<BatchState>,
    slot: Option<usize>,
}

impl Settled {
    pub(crate) fn new(state: Arc<BatchState>) -> Self {
        Self { state, slot: None }
    }
}

impl Future for Settled {
    type Output = Result<Acked, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, slot } = &mut *self;
        state.poll(slot, cx).map(Clone::clone)
    }
}

/// What becomes of one record: a future that resolves exactly once, within the producer's
/// delivery timeout. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "the record is sent either way, but only this says whether it arrived"]
pub struct Delivery {
    state: Arc<BatchState>,
    index: u32,
    timestamp_ms: i64,
    slot: Option<usize>,
}

impl Delivery {
    pub(crate) fn new(state: Arc<BatchState>, index: u32, timestamp_ms: i64) -> Self {
        Self { state, index, timestamp_ms, slot: None }
    }

    /// The generation and partition that the record goes to.
    #[must_use]
    pub fn partition(&self) -> PartitionKey {
        self.state.key
    }

    /// The outcome, if it is known by now.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<RecordMetadata, ProduceError>> {
        self.state.outcome().map(|outcome| self.read(outcome))
    }

    fn read(&self, outcome: &Result<Acked, ProduceError>) -> Result<RecordMetadata, ProduceError> {
        let acked = outcome.as_ref().map_err(Clone::clone)?;
        Ok(RecordMetadata {
            generation: self.state.key.generation,
            partition: self.state.key.partition,
            offset: Offset(acked.base_offset.0.saturating_add(u64::from(self.index))),
            timestamp_ms: self.timestamp_ms,
            duplicate: acked.duplicate,
        })
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let state = this.state.clone();
        state.poll(&mut this.slot, cx).map(|outcome| this.read(outcome))
    }
}
