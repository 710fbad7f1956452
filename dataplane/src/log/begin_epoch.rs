//! New leader epochs: in the checkpoint file before a batch of theirs is in the log.

use weir_protocol::{
    batch::BatchHeader,
    ids::{LeaderEpoch, Offset},
};

use super::{error::LogError, state::Inner};

pub(super) async fn begin_epoch(inner: &Inner, epoch: LeaderEpoch) -> Result<(), LogError> {
    let _writer = inner.writing.lock().await;
    inner.writable()?;
    let start = inner.state().log_end;
    persist(inner, &[(epoch, start)]).await
}

/// Those that `headers`, about to be appended, begin. `writing` is held.
pub(super) async fn persist_of<'a>(
    inner: &Inner,
    headers: impl Iterator<Item = &'a BatchHeader>,
) -> Result<(), LogError> {
    let mut fresh: Vec<(LeaderEpoch, Offset)> = Vec::new();
    let latest = inner.state().epochs.latest();
    for header in headers {
        let epoch = header.partition_leader_epoch;
        if fresh.last().map(|(last, _)| *last).or(latest).is_none_or(|last| epoch > last) {
            fresh.push((epoch, header.base_offset));
        }
    }
    persist(inner, &fresh).await
}

/// Has new epochs in the checkpoint file before a batch of theirs is in the log, so that
/// recovery knows which epoch each batch must have.
async fn persist(inner: &Inner, fresh: &[(LeaderEpoch, Offset)]) -> Result<(), LogError> {
    let mut epochs = inner.state().epochs.clone();
    let mut changed = false;
    for (epoch, start) in fresh {
        changed |= epochs.begin(*epoch, *start);
    }
    if !changed && !inner.state().checkpoint_unsure {
        return Ok(());
    }
    let in_flight = inner.in_flight("noting a leader epoch");
    let _turn = inner.checkpointing.lock().await;
    let mut content = inner.state().checkpoint();
    content.epochs = epochs;
    let written = inner.replace_checkpoint(&content).await;
    let mut state = inner.state();
    state.checkpoint_unsure = written.is_err();
    match &written {
        Ok(()) => state.epochs = content.epochs,
        Err(LogError::StorageFull(_)) => {}
        Err(_) => {
            drop(state);
            drop(in_flight);
            return written;
        }
    }
    drop(state);
    in_flight.done();
    written
}
