//! Room kept for letting go.
//!
//! On a disk without a free byte retention could free none: the checkpoint that moves a log's
//! start is written beside the old one, which needs room first. So each data folder keeps some
//! in a file. In need that file becomes the one that the checkpoint is written to: its room
//! changes hands by a rename, and no append can come between.

use std::{future::Future, io, sync::Arc};

use bytes::Bytes;
use tokio::sync::Mutex;
use weir_runtime::disk::{Disk, OpenMode};

use crate::log::LogError;

/// The file, in the data folder.
pub const RESERVE_FILE: &str = "reserve";
/// Enough for the checkpoint of any log, many times over for that of most.
const RESERVE_BYTES: usize = 1 << 20;

/// The room of one data folder.
pub struct Reserve {
    disk: Arc<dyn Disk>,
    /// Whether it is there. Held across I/O: what one replica frees by it, or fills it again
    /// with, must not be taken by the next one half-way. Each step is an operation of the disk.
    held: Mutex<bool>,
}

impl Reserve {
    /// None yet: see [`Reserve::fill`].
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Arc<Self> {
        Arc::new(Self { disk, held: Mutex::new(false) })
    }

    /// Sets the room aside, if there is any. What cannot be had is tried for again the next time.
    pub async fn fill(&self) {
        self.fill_held(&mut *self.held.lock().await).await;
    }

    /// Does what found the disk full once more, and then with the room, as the file `path`.
    ///
    /// # Errors
    /// What the last attempt said.
    pub async fn with_room<T, F>(&self, path: &str, again: impl Fn() -> F) -> Result<T, LogError>
    where
        F: Future<Output = Result<T, LogError>>,
    {
        let mut held = self.held.lock().await;
        // Who had his turn before may have freed enough.
        let mut done = again().await;
        if matches!(done, Err(LogError::StorageFull(_))) && std::mem::take(&mut *held) {
            match self.disk.rename(RESERVE_FILE, path).await {
                Ok(()) => done = again().await,
                Err(error) => tracing::warn!(%error, "the room for a full disk is not usable"),
            }
        }
        self.fill_held(&mut held).await;
        done
    }

    async fn fill_held(&self, held: &mut bool) {
        if *held {
            return;
        }
        match self.write().await {
            Ok(()) => *held = true,
            Err(error) => {
                tracing::warn!(%error, "no room to set aside for a full disk; will try again");
                // A part of it is of no use, but to others. Nothing to do if that fails too.
                let _ = self.disk.remove_file(RESERVE_FILE).await;
            }
        }
    }

    /// Written, not only reserved: not every file system can do that.
    async fn write(&self) -> io::Result<()> {
        let file = self.disk.open(RESERVE_FILE, OpenMode::CreateOrOpen).await?;
        if file.len().await? < RESERVE_BYTES as u64 {
            file.write_at(0, vec![Bytes::from(vec![0; RESERVE_BYTES])]).await?;
            file.sync_data().await?;
        }
        Ok(())
    }
}
