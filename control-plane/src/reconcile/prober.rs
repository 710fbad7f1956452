//! Probes every session once: a task per session tries until its SPU served a probe, or the
//! session is over.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use weir_protocol::ids::{ClusterId, OrgId, SpuId};
use weir_runtime::task::{self, CancellationToken};

use super::{
    Context,
    probe::{self, PROBE_TOPIC, Target},
};
use crate::{
    app::{
        self, AppError,
        status_board::{SessionId, SessionSeen},
    },
    store::{partitions, spus, topics},
};

/// The pause grows to so many times the configured one.
const PAUSE_FACTOR_MAX: u32 = 10;

/// The probes of one cluster. Its tasks end with it.
pub(super) struct Prober {
    context: Arc<Context>,
    org: OrgId,
    cluster: ClusterId,
    begun: BTreeMap<SpuId, SessionId>,
    problems: Problems,
    stop: CancellationToken,
}

type Problems = Arc<Mutex<BTreeMap<SpuId, (SessionId, String)>>>;

impl Prober {
    pub(super) fn new(context: Arc<Context>, org: OrgId, cluster: ClusterId) -> Self {
        let stop = context.shutdown.child_token();
        Self { context, org, cluster, begun: BTreeMap::new(), problems: Problems::default(), stop }
    }

    /// Sees to it that this session is probed.
    pub(super) fn ensure(&mut self, spu: SpuId, session: &SessionSeen) {
        if session.probe_passed || self.begun.get(&spu) == Some(&session.id) {
            return;
        }
        self.begun.insert(spu, session.id);
        let attempt = Attempt {
            context: Arc::clone(&self.context),
            org: self.org,
            cluster: self.cluster,
            spu,
            session: session.clone(),
            problems: Arc::clone(&self.problems),
        };
        let stop = self.stop.clone();
        task::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = attempt.until_passed() => {}
            }
        });
    }

    /// Why the last probe of the SPU's present session did not pass.
    pub(super) fn problem(&self, spu: SpuId, session: SessionId) -> Option<String> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.get(&spu).filter(|(of, _)| *of == session).map(|(_, problem)| problem.clone())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Attempt {
    context: Arc<Context>,
    org: OrgId,
    cluster: ClusterId,
    spu: SpuId,
    session: SessionSeen,
    problems: Problems,
}

impl Attempt {
    async fn until_passed(self) {
        let app = &self.context.app;
        let mut factor = 1;
        while self.stands() {
            match self.once().await {
                Ok(()) => {
                    if app.board.probe_passed(self.cluster, self.spu, self.session.id) {
                        tracing::info!(cluster = %self.cluster, spu = %self.spu, "SPU serves");
                    }
                    app.signals.reconcile();
                    return;
                }
                Err(problem) => {
                    tracing::debug!(cluster = %self.cluster, spu = %self.spu, problem, "probe did not pass");
                    let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
                    problems.insert(self.spu, (self.session.id, problem));
                }
            }
            app.clock.sleep(self.context.config.probe_pause * factor).await;
            factor = (factor * 2).min(PAUSE_FACTOR_MAX);
        }
    }

    fn stands(&self) -> bool {
        let seen = self.context.app.board.spu(self.cluster, self.spu);
        seen.standing().is_some_and(|session| session.id == self.session.id)
    }

    async fn once(&self) -> Result<(), String> {
        let app = &self.context.app;
        let target = match self.target().await {
            Ok(Some(target)) => target,
            Ok(None) => return Err("its partition of the probe topic has no leader".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let token = app::token_internal(app, self.org, self.cluster, "prober")
            .map_err(|error| error.to_string())?;
        // Unlike any other probe's.
        let nonce = app::uuid_v4().map_err(|error| error.to_string())?;
        let payload = Bytes::from(format!(
            "probe of SPU {} incarnation {} {nonce}",
            self.spu, self.session.incarnation
        ));
        let limit = self.context.config.probe_timeout;
        let passed = probe::probe(app.clock, &target, &token, payload, limit).await;
        passed.map(drop).map_err(|error| error.to_string())
    }

    /// Read afresh each time: endpoint and epoch may have changed.
    async fn target(&self) -> Result<Option<Target>, AppError> {
        let mut tx = self.context.app.store.read().await?;
        let mut scoped = tx.scoped(self.org);
        let Some(row) = spus::get(&mut scoped, self.cluster, self.spu).await? else {
            return Ok(None);
        };
        let Some(topic) = topics::by_name(&mut scoped, self.cluster, PROBE_TOPIC).await? else {
            return Ok(None);
        };
        let partitions =
            partitions::of_generation(&mut scoped, self.cluster, topic.generation).await?;
        Ok(row.endpoint.and_then(|endpoint| {
            let own = partitions.into_iter().find(|p| {
                p.leader == Some(self.spu) && p.leader_incarnation == self.session.incarnation
            })?;
            Some(Target { endpoint, partition: own.key, leader_epoch: own.leader_epoch })
        }))
    }
}
