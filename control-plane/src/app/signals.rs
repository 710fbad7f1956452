//! Who is woken after a commit. A signal says only *look again*: whoever waits reads the
//! database, so a lost or doubled signal does no harm (and all also look on a period).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use weir_protocol::ids::{ClusterId, Revision};

/// Clones are the same signals.
#[derive(Clone, Debug)]
pub struct Signals {
    reconcile: watch::Sender<u64>,
    metadata: Arc<Mutex<BTreeMap<ClusterId, watch::Sender<Revision>>>>,
}

impl Default for Signals {
    fn default() -> Self {
        Self { reconcile: watch::Sender::new(0), metadata: Arc::default() }
    }
}

impl Signals {
    /// What is wanted, or what is seen, has changed: reconcilers look again.
    pub fn reconcile(&self) {
        self.reconcile.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A receiver that changes whenever a reconciler should look again.
    #[must_use]
    pub fn on_reconcile(&self) -> watch::Receiver<u64> {
        self.reconcile.subscribe()
    }

    /// The cluster's metadata is at `revision` now: sessions tell their SPUs.
    pub fn metadata(&self, cluster: ClusterId, revision: Revision) {
        let mut senders = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(&cluster) {
            if sender.receiver_count() == 0 {
                senders.remove(&cluster);
            } else {
                // Two commits may be announced in either order; the higher one stands.
                sender.send_if_modified(|now| {
                    let higher = revision > *now;
                    *now = revision.max(*now);
                    higher
                });
            }
        }
    }

    /// A receiver of the cluster's newest announced revision; 0 before the first. Subscribe
    /// *before* reading the database, or a change in between is missed until the next.
    #[must_use]
    pub fn on_metadata(&self, cluster: ClusterId) -> watch::Receiver<Revision> {
        self.metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(cluster)
            .or_insert_with(|| watch::Sender::new(Revision(0)))
            .subscribe()
    }
}
