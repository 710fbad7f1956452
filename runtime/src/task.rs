//! Spawning: tokio's, with shims for what madsim-tokio lacks.

use std::{future::Future, io};

pub use tokio::task::JoinHandle;
pub use tokio_util::sync::{CancellationToken, DropGuard};

/// Spawns a task on this node.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// A place between two steps where in life a crash or another task may fall, although the code
/// awaits nothing there. In simulation tasks change only at an await: this is one. In
/// production it is nothing.
pub async fn fault_point() {
    #[cfg(madsim)]
    tokio::task::yield_now().await;
}

/// Runs blocking work: on tokio's blocking pool in production, inline in simulation, where
/// no other thread may run.
///
/// # Errors
/// What the work returns; [`io::ErrorKind::Other`] when it panicked or the runtime is
/// shutting down.
pub async fn blocking<T, W>(work: W) -> io::Result<T>
where
    T: Send + 'static,
    W: FnOnce() -> io::Result<T> + Send + 'static,
{
    #[cfg(not(madsim))]
    {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
    #[cfg(madsim)]
    {
        work()
    }
}
