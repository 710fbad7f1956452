//! The accept loop that every server shares: bounded connections, an orderly end.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Listener, Stream};
use crate::{clock::Clock, task::CancellationToken};

/// How long the loop rests after an error such as "too many open files".
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// A connection's place among the bounded number of them; given up when dropped.
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
    /// Cancelled when the drain time is over: the connection must end now.
    pub(crate) force: CancellationToken,
}

/// Hands every connection to `start` with the seat that it holds while it lives, until
/// `shutdown`; then waits at most `drain` for the seats to be given up, and forces the rest.
pub(crate) async fn each(
    listener: Listener,
    connections_max: usize,
    drain: Duration,
    shutdown: &CancellationToken,
    start: impl Fn(Stream, Seat),
) {
    let connections_max = u32::try_from(connections_max).unwrap_or(u32::MAX);
    let force = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(connections_max as usize));
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, _))) => {
                start(stream, Seat { _permit: permit, force: force.clone() });
            }
            // The semaphore is never closed; an accept error passes (a peer that left, a
            // limit of open files), so the loop goes on after a rest.
            (_, accepted) => {
                if let Err(error) = accepted {
                    tracing::warn!(%error, "cannot accept a connection; trying on");
                }
                Clock.sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    if Clock.timeout(drain, permits.acquire_many(connections_max)).await.is_err() {
        tracing::warn!(?drain, "connections still open after the drain time; closing them");
        force.cancel();
    }
}
