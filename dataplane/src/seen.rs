//! The highest that this folder ever saw of the control plane's counters, kept in the folder,
//! so that a control plane whose database went back can notice (and no producer id is handed
//! out twice).
//!
//! One task writes; what comes while it writes is written together afterwards.

use std::{io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weir_protocol::{
    ids::{
        DatabaseId, Incarnation, LeaderEpoch, PartitionEpoch, ProducerId, RestoreNumber, Revision,
    },
    pb::metadata::DatabaseRef,
};
use weir_runtime::{
    clock::Clock,
    disk::{self, Disk},
    task::{self, CancellationToken, JoinHandle},
};

use crate::metadata::{ClusterMap, Fences};

const FILE: &str = "seen";
const FILE_BYTES_MAX: usize = 4096;
/// Pause before a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Which history the revisions belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// The control plane's database.
    pub id: DatabaseId,
    /// How often it was restored from a backup.
    pub restore_number: RestoreNumber,
}

impl Database {
    /// From the wire; `None` when it is no such thing.
    #[must_use]
    pub fn from_wire(wire: Option<&DatabaseRef>) -> Option<Self> {
        let wire = wire?;
        let id = wire.database_id.parse().ok()?;
        Some(Self { id, restore_number: RestoreNumber(wire.restore_number) })
    }

    /// For the wire.
    #[must_use]
    pub fn to_wire(self) -> DatabaseRef {
        DatabaseRef { database_id: self.id.to_string(), restore_number: self.restore_number.get() }
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Highest {
    /// The database last heard of.
    pub database: Option<Database>,
    /// Its highest revision.
    pub revision: Revision,
    /// When that was made, as the database says; 0: it did not say.
    #[serde(default)]
    pub revision_at_unix_ms: i64,
    /// The highest producer id of any block given to this SPU.
    pub producer_id: Option<ProducerId>,
    /// The highest leader epoch of any partition in any map, of whatever database.
    #[serde(default)]
    pub leader_epoch: LeaderEpoch,
    /// Likewise.
    #[serde(default)]
    pub partition_epoch: PartitionEpoch,
    /// The highest incarnation of any SPU of the cluster, likewise.
    #[serde(default)]
    pub incarnation: Incarnation,
}

/// Shares what was seen; clones see the same.
#[derive(Clone)]
pub struct Seen {
    wanted: Arc<watch::Sender<Highest>>,
    stored: watch::Receiver<Highest>,
}

impl Seen {
    /// Reads the file and starts its writer, which ends after `stop` with all written.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged: without it the control plane could not
    /// notice that its database went back.
    pub async fn open(
        disk: Arc<dyn Disk>,
        clock: Clock,
        stop: CancellationToken,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let found = match disk::read_all(disk.as_ref(), FILE, FILE_BYTES_MAX).await {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Highest::default(),
            Err(error) => return Err(error),
        };
        let (wanted, changes) = watch::channel(found);
        let (stored_sender, stored) = watch::channel(found);
        let writer = task::spawn(write(disk, clock, changes, stored_sender, stop));
        Ok((Self { wanted: Arc::new(wanted), stored }, writer))
    }

    /// The highest so far, written or not.
    #[must_use]
    pub fn highest(&self) -> Highest {
        *self.wanted.borrow()
    }

    /// Notes what a map says. Another database begins its own count of revisions; epochs and
    /// incarnations fence whatever the database, so they only rise.
    pub fn map(&self, map: &ClusterMap) {
        let Fences { leader_epoch, partition_epoch, incarnation } = map.fences();
        self.wanted.send_if_modified(|highest| {
            let before = *highest;
            if highest.database != map.database() || map.revision() > highest.revision {
                highest.database = map.database();
                highest.revision = map.revision();
                highest.revision_at_unix_ms = map.revised_at_unix_ms();
            }
            highest.leader_epoch = highest.leader_epoch.max(leader_epoch);
            highest.partition_epoch = highest.partition_epoch.max(partition_epoch);
            highest.incarnation = highest.incarnation.max(incarnation);
            *highest != before
        });
    }

    /// Notes a producer id, and waits until that is on the disk.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn producer_id(&self, id: ProducerId) -> io::Result<()> {
        self.wanted.send_if_modified(|highest| {
            let higher = highest.producer_id < Some(id);
            if higher {
                highest.producer_id = Some(id);
            }
            higher
        });
        let mut stored = self.stored.clone();
        let there = stored.wait_for(|stored| stored.producer_id >= Some(id)).await;
        there.map(drop).map_err(|_| io::Error::other("the SPU is shutting down"))
    }
}

async fn write(
    disk: Arc<dyn Disk>,
    clock: Clock,
    mut changes: watch::Receiver<Highest>,
    stored: watch::Sender<Highest>,
    stop: CancellationToken,
) {
    loop {
        let wanted = *changes.borrow_and_update();
        if wanted != *stored.borrow() {
            let written = match serde_json::to_vec(&wanted) {
                Ok(content) => disk::replace(disk.as_ref(), FILE, content.into()).await,
                Err(error) => Err(error.into()),
            };
            match written {
                Ok(()) => drop(stored.send_replace(wanted)),
                Err(error) if stop.is_cancelled() => {
                    tracing::warn!(%error, "the file of seen revisions is not up to date");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot write the file of seen revisions; trying again");
                    clock.sleep(RETRY_PAUSE).await;
                }
            }
            continue;
        }
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
