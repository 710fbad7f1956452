//! New leader epochs: in the checkpoint file before a batch of theirs is in the log.

use weir_protocol::{batch::BatchHeader, ids::LeaderEpoch};

use super::{epochs::Epochs, error::LogError, state::Inner};

pub(super) async fn begin_epoch(inner: &Inner, epoch: LeaderEpoch) -> Result<(), LogError> {
    let _writer = inner.writing.lock().await;
    inner.writable()?;
    let epochs = {
        let state = inner.state();
        let mut epochs = state.epochs.clone();
        epochs.begin(epoch, state.log_end);
        epochs
    };
    persist(inner, epochs).await
}

/// Those that `headers`, about to be appended to `epochs`, begin. `writing` is held.
pub(super) async fn persist_of<'a>(
    inner: &Inner,
    mut epochs: Epochs,
    headers: impl Iterator<Item = &'a BatchHeader>,
) -> Result<(), LogError> {
    for header in headers {
        epochs.begin(header.partition_leader_epoch, header.base_offset);
    }
    persist(inner, epochs).await
}

/// Has new epochs in the checkpoint file before a batch of theirs is in the log, so that
/// recovery knows which epoch each batch must have.
async fn persist(inner: &Inner, epochs: Epochs) -> Result<(), LogError> {
    {
        let state = inner.state();
        if epochs == state.epochs && !state.checkpoint_unsure {
            return Ok(());
        }
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
