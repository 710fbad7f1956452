//! Room kept for letting go.
//!
//! On a disk without a free byte retention could free none: the checkpoint that moves a log's
//! start is written beside the old one, which needs room first. So each data folder keeps some
//! in a file, and gives it up for that moment.

use std::sync::Arc;

use tokio::sync::Mutex;
use weir_runtime::disk::{Disk, OpenMode};

/// The file, in the data folder.
pub const RESERVE_FILE: &str = "reserve";
/// Enough for the checkpoint of any log, many times over for that of most.
const RESERVE_BYTES: u64 = 1 << 20;

/// The room of one data folder.
pub struct Reserve {
    disk: Arc<dyn Disk>,
    /// Whether it is there. Held while the file is made or removed, so that two replicas do not
    /// undo what the other does: each is one step on the disk.
    held: Mutex<bool>,
}

impl Reserve {
    /// None yet: see [`Reserve::fill`].
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Arc<Self> {
        Arc::new(Self { disk, held: Mutex::new(false) })
    }

    /// Sets the room aside, if there is any. One that cannot be had is tried for again the next
    /// time; a file system that cannot set room aside has none to give up.
    pub async fn fill(&self) {
        let mut held = self.held.lock().await;
        if *held {
            return;
        }
        let set_aside = async {
            let file = self.disk.open(RESERVE_FILE, OpenMode::CreateOrOpen).await?;
            file.preallocate(RESERVE_BYTES).await
        };
        match set_aside.await {
            Ok(()) => *held = true,
            Err(error) => {
                tracing::warn!(%error, "no room to set aside for a full disk; will try again");
            }
        }
    }

    /// Gives the room up; whether there is more now than before.
    pub async fn give_up(&self) -> bool {
        let mut held = self.held.lock().await;
        if !std::mem::take(&mut *held) {
            return false;
        }
        let removed = self.disk.remove_file(RESERVE_FILE).await;
        if let Err(error) = &removed {
            tracing::warn!(%error, "the room set aside for a full disk cannot be given up");
        }
        removed.is_ok()
    }
}
