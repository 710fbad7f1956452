//! Ctrl-C.

use std::{future::Future, time::Duration};

use weir_runtime::{clock::Clock, task::CancellationToken};

use crate::error::Exit;

/// How long a command may take to end in order once it was told to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Resolves at the first Ctrl-C (or SIGTERM). From this call on the system no longer ends
/// the process by itself.
pub fn interrupted() -> impl Future<Output = ()> {
    let told = on_signal();
    async move { told.cancelled().await }
}

/// As [`on_signal`], for a command that may be stuck in a write to a reader that does not
/// read: it is ended by force when it does not end by itself. What it had to write is then
/// not all written.
pub fn on_signal_or_ended() -> CancellationToken {
    let told = on_signal();
    let watched = told.clone();
    drop(weir_runtime::task::spawn(async move {
        watched.cancelled().await;
        Clock.sleep(PATIENCE).await;
        std::process::exit(Exit::Interrupted as i32);
    }));
    told
}

/// Cancelled by Ctrl-C or SIGTERM. The second one ends the process at once.
pub fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let told = token.clone();
    drop(weir_runtime::task::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            // Without handlers the system ends the process, as it would have anyway.
            return;
        };
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
        // Who tells it again does not want to wait for an end in order.
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(Exit::Interrupted as i32);
    }));
    token
}
