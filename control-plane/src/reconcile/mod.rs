//! Makes things so: every cluster comes to what its owner wants of it.
//!
//! A worker per cluster looks at what is wanted, what the database holds and what is seen,
//! asks `plan::lifecycle`, and acts. It takes no input, runs on a signal and on a period,
//! and may be interrupted anywhere: what it does is written down before it is done, so that
//! the next pass, perhaps of another process, goes on from there.
//!
//! | Module | Holds |
//! |---|---|
//! | `cluster` | one cluster's worker: load, observe, decide, act, wait |
//! | `snapshot` | what the database holds of a cluster, in one read |
//! | `prepare`, `offsets_topic` | SPU rows, ports, internal topics: what must be there before a start |
//! | `watch` | launches that ended, SPUs that stayed away |
//! | `lose` | who leads instead of SPUs that are gone |
//! | `unclean` | who leads where nobody is left who holds all, if the owner wants that |
//! | `damage` | who leads instead of replicas that are out of service on SPUs that are there |
//! | `balance` | leaderships go back to who is preferred |
//! | `recover` | who leads after a recovery |
//! | `reassign` | partitions come to be held by other SPUs |
//! | `spu_ports` | another port for an SPU whose own is taken |
//! | `launch` | start, stop, destroy |
//! | `remove` | SPUs that leave: the last check, the removal, their data |
//! | `outcome` | the cluster's state and its operation's progress, written together |
//! | `prober`, [`probe`] | does an SPU serve? |
//! | [`ports`] | which ports a cluster listens on |

mod balance;
mod cluster;
mod damage;
mod launch;
mod lose;
mod offsets_topic;
mod outcome;
pub mod ports;
mod prepare;
pub mod probe;
mod prober;
mod reassign;
mod recover;
mod remove;
mod rolling;
mod snapshot;
mod spu_ports;
mod unclean;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weir_protocol::ids::ClusterId;
use weir_runtime::task::{self, CancellationToken, JoinHandle};

use crate::{
    app::App,
    plan::restart::RestartPolicy,
    provision::{Bounded, Provisioner},
    store::{DbResult, Scoped, clusters, types::Desired},
};

/// How long workers may take to end once the control plane goes down.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// How clusters are kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// Without a signal, every cluster is looked at so often.
    pub period: Duration,
    /// Folder that holds the data of clusters whose spec names none.
    pub data_root: String,
    /// The address, without port, that SPUs listen on.
    pub spu_listen_host: String,
    /// When dead SPUs are started again.
    pub restart: RestartPolicy,
    /// How long an SPU may take to end before it is killed.
    pub stop_grace: Duration,
    /// How long a partition waits for a replica that holds all that is committed, once every such
    /// one has been gone for as long as its lease, before another leads that may lack some of it:
    /// where its topic's owner chose that.
    pub unclean_wait: Duration,
    /// How long a probe may take.
    pub probe_timeout: Duration,
    /// Pause after a probe that did not pass; doubles up to ten times this.
    pub probe_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            data_root: "weir-data".to_owned(),
            spu_listen_host: "127.0.0.1".to_owned(),
            restart: RestartPolicy::default(),
            stop_grace: Duration::from_secs(20),
            // Most machines have started again by then.
            unclean_wait: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(5),
            probe_pause: Duration::from_millis(100),
        }
    }
}

/// Shared by the workers.
pub(crate) struct Context {
    pub(crate) app: Arc<App>,
    pub(crate) provisioner: Arc<dyn Provisioner>,
    pub(crate) config: Config,
    pub(crate) shutdown: CancellationToken,
}

/// Keeps every cluster until `shutdown`. SPUs go on running then; the next control plane
/// adopts them.
pub async fn run(
    app: Arc<App>,
    provisioner: Arc<dyn Provisioner>,
    config: Config,
    shutdown: CancellationToken,
) {
    let provisioner: Arc<dyn Provisioner> = Arc::new(Bounded::new(provisioner, app.clock));
    let context = Arc::new(Context { app, provisioner, config, shutdown });
    let mut signal = context.app.signals.on_reconcile();
    let mut workers: BTreeMap<ClusterId, JoinHandle<()>> = BTreeMap::new();
    loop {
        workers.retain(|_, worker| !worker.is_finished());
        match list(&context).await {
            Ok(found) => {
                context.app.metrics.clusters(&found);
                for row in found {
                    workers.entry(row.id).or_insert_with(|| {
                        task::spawn(cluster::keep(Arc::clone(&context), row.org, row.id))
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "clusters could not be listed"),
        }
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => break,
            _ = signal.changed() => {}
            () = context.app.clock.sleep(context.config.period) => {}
        }
    }
    let clock = context.app.clock;
    let begin = clock.now();
    for (_, mut worker) in workers {
        // A worker ends at its next wait, which may be long when it stops SPUs. Whatever is
        // cut off is taken up again by the next control plane.
        let left = END_TIMEOUT.saturating_sub(clock.now().since(begin));
        if clock.timeout(left, &mut worker).await.is_err() {
            worker.abort();
        }
    }
}

/// Whether anything may be decided about a cluster, in the transaction that would store it: it is
/// to run, its database did not go back as far as is known, and all SPUs were heard since a start.
async fn decides(app: &App, scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<bool> {
    let row = clusters::by_id(scoped, cluster).await?;
    let runs = row.is_some_and(|row| row.desired == Desired::Running && row.frozen.is_none());
    Ok(runs && !app.board.calls(cluster, app.clock.now()))
}

async fn list(context: &Context) -> DbResult<Vec<clusters::ClusterRow>> {
    let mut tx = context.app.store.read().await?;
    clusters::system_list(&mut tx).await
}
