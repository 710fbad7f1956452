//! Keeps the map current: one `WatchMetadata` stream to any SPU, resumed by revision, moved to
//! another SPU when it ends or is suspected of lagging.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::sync::{Notify, watch};
use tonic::Streaming;
use weir_protocol::{
    ErrorCode, WireError,
    ids::ClusterId,
    pb::metadata::{
        DatabaseRef, MetadataUpdate, WatchMetadataRequest, metadata_client::MetadataClient,
    },
};
use weir_runtime::{
    clock::Clock,
    rng,
    task::{self, CancellationToken},
};

use super::ClusterMap;
use crate::{
    pool::{Link, MESSAGE_BYTES_MAX, Pool},
    retry::{Backoff, BackoffConfig},
    token::Tokens,
};

/// A stream that brought something, or was begun, this lately is not suspected.
const SUSPICION_MIN: Duration = Duration::from_secs(1);

/// What the watch needs.
pub(crate) struct Config {
    pub cluster: ClusterId,
    pub bootstrap: Vec<String>,
    pub first_update_timeout: Duration,
    pub backoff: BackoffConfig,
}

/// The map, and how the watch goes.
#[derive(Clone)]
pub(crate) struct Metadata {
    pub map: watch::Receiver<Arc<ClusterMap>>,
    /// The last failure; cleared by every update.
    pub trouble: watch::Receiver<Option<Trouble>>,
    suspect: Arc<Notify>,
}

/// Why there is no update.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub error: WireError,
    /// Every SPU known said so in turn, and trying again does not help.
    pub hopeless: bool,
}

impl Metadata {
    pub(crate) fn start(
        config: Config,
        pool: Arc<Pool>,
        tokens: Tokens,
        clock: Clock,
        over: CancellationToken,
    ) -> Self {
        let (map_out, map) = watch::channel(Arc::default());
        let (trouble_out, trouble) = watch::channel(None);
        let suspect = Arc::new(Notify::new());
        let watcher = Watcher {
            config,
            pool,
            tokens,
            clock,
            map: map_out,
            trouble: trouble_out,
            refusals: 0,
        };
        let suspected = suspect.clone();
        task::spawn(async move {
            tokio::select! { biased;
                () = over.cancelled() => {}
                () = watcher.run(&suspected) => {}
            }
        });
        Self { map, trouble, suspect }
    }

    pub(crate) fn current(&self) -> Arc<ClusterMap> {
        self.map.borrow().clone()
    }

    /// An SPU contradicts the map: perhaps the one that relays it lags behind.
    pub(crate) fn suspect(&self) {
        self.suspect.notify_one();
    }
}

struct Watcher {
    config: Config,
    pool: Arc<Pool>,
    tokens: Tokens,
    clock: Clock,
    map: watch::Sender<Arc<ClusterMap>>,
    trouble: watch::Sender<Option<Trouble>>,
    /// Answers in a row that trying again does not help.
    refusals: usize,
}

impl Watcher {
    async fn run(mut self, suspected: &Notify) {
        let mut backoff = Backoff::new(self.config.backoff);
        // Any of them, or all clients would ask the same SPU.
        let mut turn = rng::below(u64::from(u32::MAX)) as usize;
        loop {
            let endpoints = self.endpoints();
            if let Some(endpoint) = endpoints.get(turn % endpoints.len().max(1)) {
                let began = self.map.borrow().revision;
                let error = self.follow(endpoint, suspected).await;
                tracing::debug!(endpoint, %error, "metadata watch over");
                if self.map.borrow().revision != began {
                    backoff.reset();
                }
                self.report(error, endpoints.len());
            } else {
                let message = "no endpoint of the cluster is known";
                self.report(WireError::new(ErrorCode::Unreachable, message), 1);
            }
            turn = turn.wrapping_add(1);
            self.clock.sleep(backoff.next_wait()).await;
        }
    }

    /// SPUs that are online first, then the given ones.
    fn endpoints(&self) -> Vec<String> {
        let map = self.map.borrow().clone();
        let mut all: Vec<String> = Vec::new();
        let granted = self.tokens.endpoints();
        let given = self.config.bootstrap.iter().chain(granted.iter()).map(String::as_str);
        for endpoint in map.endpoints().into_iter().chain(given) {
            if !all.iter().any(|known| known == endpoint) {
                all.push(endpoint.to_owned());
            }
        }
        all
    }

    fn report(&mut self, error: WireError, endpoints: usize) {
        self.refusals = if error.code.retriable() { 0 } else { self.refusals + 1 };
        let hopeless = self.refusals >= endpoints;
        self.trouble.send_replace(Some(Trouble { error, hopeless }));
    }

    /// Follows one SPU until something is wrong with it.
    async fn follow(&mut self, endpoint: &str, suspected: &Notify) -> WireError {
        let link = self.pool.link(endpoint);
        let mut updates = match self.open(&link).await {
            Ok(updates) => updates,
            Err(error) => return error,
        };
        let named = |code, message: String| WireError::new(code, format!("{endpoint}: {message}"));
        let mut last = self.clock.now();
        loop {
            let awaited = self.map.borrow().database.is_none();
            let update = tokio::select! { biased;
                update = updates.next() => update,
                () = suspected.notified() => {
                    if self.clock.now().since(last) < SUSPICION_MIN {
                        continue;
                    }
                    return named(ErrorCode::TimedOut, "suspected of lagging behind".into());
                }
                () = self.clock.sleep(self.config.first_update_timeout), if awaited => {
                    return named(ErrorCode::TimedOut, "sent no metadata".into());
                }
            };
            let update = match update {
                Some(Ok(update)) => update,
                Some(Err(status)) => {
                    let error = link.failed(&status);
                    return named(error.code, error.message().to_owned());
                }
                None => return named(ErrorCode::Disconnected, "ended the watch".into()),
            };
            last = self.clock.now();
            let applied = self.map.borrow().apply(&update);
            match applied {
                Ok(Some(map)) => {
                    tracing::debug!(endpoint, revision = map.revision.0, "metadata");
                    self.refusals = 0;
                    self.trouble.send_replace(None);
                    let map = Arc::new(map);
                    // First the map, so that nobody dials a removed SPU by the old one.
                    self.map.send_replace(map.clone());
                    self.pool.retain(&map);
                }
                Ok(None) => {}
                Err(error) => {
                    // Begin anew elsewhere; where it is another database, with a snapshot.
                    return named(ErrorCode::Disconnected, error.to_string());
                }
            }
        }
    }

    async fn open(&self, link: &Link) -> Result<Streaming<MetadataUpdate>, WireError> {
        let map = self.map.borrow().clone();
        let request = link.request(WatchMetadataRequest {
            cluster_id: self.config.cluster.to_string(),
            from_revision: map.revision.0,
            database: map.database.as_ref().map(|database| DatabaseRef {
                database_id: database.id.clone(),
                restore_number: database.restore_number.0,
            }),
        });
        let mut client =
            MetadataClient::new(link.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let call = client.watch_metadata(request);
        match self.clock.timeout(link.request_timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                let error = link.failed(&status);
                Err(WireError::new(error.code, format!("{}: {}", link.endpoint, error.message())))
            }
            Err(_) => {
                let message = format!("{}: no answer to the watch", link.endpoint);
                Err(WireError::new(ErrorCode::TimedOut, message))
            }
        }
    }
}
