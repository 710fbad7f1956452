//! `Metadata.WatchMetadata`: relays the control plane's map to clients, which so bootstrap
//! from any SPU.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use weir_protocol::{
    ErrorCode, WireError,
    ids::Revision,
    pb::metadata::{MetadataUpdate, WatchMetadataRequest},
    token::{Claims, Scope},
};
use weir_runtime::{
    task,
    trace::{self, Kind},
};

use super::{Responses, Shared, auth, status};
use crate::{
    metadata::cache::Cached,
    metrics::{Call, OpenStream},
    seen::Database,
};

/// Updates that wait for a slow watcher.
const UPDATES_AHEAD: usize = 4;
/// How often a watcher's token is looked at, at least.
const TOKEN_CHECK_MAX: Duration = Duration::from_secs(60);

pub(super) fn open(
    shared: Arc<Shared>,
    request: &Request<WatchMetadataRequest>,
) -> Result<Response<Responses<MetadataUpdate>>, WireError> {
    let claims = auth::bearer(&shared.tokens, request.metadata())?;
    let asked = request.get_ref();
    if asked.cluster_id != shared.cluster_id.to_string() {
        let text = format!("this SPU serves {}", shared.cluster_id);
        return Err(WireError::new(ErrorCode::UnknownCluster, text));
    }
    let at = Database::from_wire(asked.database.as_ref())
        .filter(|_| asked.from_revision > 0)
        .map(|database| (database, Revision(asked.from_revision)));
    let (out, updates) = mpsc::channel(UPDATES_AHEAD);
    let changes = shared.cache.watch();
    let counted = shared.metrics.stream(Call::WatchMetadata);
    task::spawn(relay(shared, claims, at, changes, out, counted));
    Ok(Response::new(ReceiverStream::new(updates)))
}

/// Sends what is new, until the watcher goes or its token's time is over.
async fn relay(
    shared: Arc<Shared>,
    claims: Claims,
    mut at: Option<(Database, Revision)>,
    mut changes: watch::Receiver<Arc<Cached>>,
    out: mpsc::Sender<Result<MetadataUpdate, Status>>,
    _counted: OpenStream,
) {
    loop {
        if let Err(error) = shared.tokens.still_good(&claims) {
            // The stream is over either way.
            let _ = out.send(Err(status::of(error))).await;
            return;
        }
        let cached = changes.borrow_and_update().clone();
        if let Some(update) = cached.since(at) {
            at = Database::from_wire(update.database.as_ref())
                .map(|database| (database, Revision(update.revision)));
            trace::line(Kind::Rpc, || {
                format!("watch_metadata revision {} snapshot {}", update.revision, update.snapshot)
            });
            if out.send(Ok(visible(&update, &claims))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            () = out.closed() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = shared.clock.sleep(TOKEN_CHECK_MAX) => {}
        }
    }
}

/// An update as the bearer may see it. One that becomes empty is sent all the same: it moves
/// the watcher's revision on.
fn visible(update: &MetadataUpdate, claims: &Claims) -> MetadataUpdate {
    let mut update = update.clone();
    if !claims.permits(Scope::Internal) {
        update.topics.retain(|topic| !topic.internal);
    }
    update
}
