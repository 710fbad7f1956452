//! One cluster's worker: load, observe, decide, act, wait; again until the cluster is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use weir_protocol::ids::{ClusterId, OperationId, OrgId, SpuId};
use weir_runtime::{clock::Monotonic, plant};

use super::{
    Context, balance::Balancer, damage, launch, lose, outcome, prepare, prober::Prober, reassign,
    recover, remove, rolling, snapshot::Snapshot, unclean, watch,
};
use crate::{
    app::status_board::SpuSeen,
    plan::{
        lifecycle::{self, Action, SpuView, View},
        readiness::{self, Readiness, SeenSpu, WantedSpu},
        restart::Restarts,
        rolling::Next,
    },
    store::{
        DbResult,
        types::{ClusterState, Desired, SpuState},
    },
};

/// Rounds of preparation in one pass; a pass that needs more goes on in the next.
const PREPARE_ROUNDS_MAX: usize = 4;

/// What an SPU lacks that was not started here and does not run there.
const ELSEWHERE: &str = "it was registered, and waits to be started where it is to run";

/// What one lacks that did run there.
const ELSEWHERE_GONE: &str = "it runs elsewhere, and has no session right now";

/// What a worker remembers between passes. All of it may be lost.
struct Worker {
    context: Arc<Context>,
    org: OrgId,
    id: ClusterId,
    began: Monotonic,
    restarts: BTreeMap<SpuId, Restarts>,
    absences: lose::Absences,
    unready: rolling::Unready,
    stuck: unclean::Stuck,
    balancer: Balancer,
    stops: launch::Stops,
    /// Ports that were found taken, by the SPU that needs them.
    port_conflicts: BTreeMap<SpuId, String>,
    /// What the last pass decided. A row that says otherwise was changed by an order.
    decided: Option<ClusterState>,
    /// The operation that ran when it began; only a planted bug looks at it.
    found: Option<Option<OperationId>>,
    prober: Prober,
}

/// What a pass came to.
enum Pass {
    /// The cluster is gone.
    Gone,
    /// Something was done: look again at once.
    Acted,
    /// There is nothing to do until something happens or this much time is over.
    Wait(Duration),
}

/// Keeps a cluster as its owner wants it until it is gone.
pub(super) async fn keep(context: Arc<Context>, org: OrgId, id: ClusterId) {
    let mut signal = context.app.signals.on_reconcile();
    let mut worker = Worker {
        began: context.app.clock.now(),
        prober: Prober::new(Arc::clone(&context), org, id),
        context: Arc::clone(&context),
        org,
        id,
        restarts: BTreeMap::new(),
        absences: lose::Absences::default(),
        unready: rolling::Unready::default(),
        stuck: unclean::Stuck::default(),
        balancer: Balancer::default(),
        stops: launch::Stops::default(),
        port_conflicts: BTreeMap::new(),
        decided: None,
        found: None,
    };
    loop {
        // What is signalled from here on asks for another pass.
        signal.borrow_and_update();
        let began = context.app.clock.now();
        let passed = Box::pin(worker.pass()).await;
        context.app.metrics.pass(passed.is_ok(), context.app.clock.now().since(began));
        let wait = match passed {
            Ok(Pass::Gone) => return,
            Ok(Pass::Acted) => Duration::ZERO,
            Ok(Pass::Wait(wait)) => wait,
            Err(error) => {
                tracing::warn!(cluster = %id, %error, "a pass over a cluster failed; trying again");
                context.config.period
            }
        };
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            _ = signal.changed() => {}
            () = context.app.clock.sleep(wait) => {}
        }
    }
}

impl Worker {
    async fn pass(&mut self) -> DbResult<Pass> {
        let context = Arc::clone(&self.context);
        let Some(mut snapshot) = Snapshot::load(&context.app, self.org, self.id).await? else {
            return Ok(Pass::Gone);
        };
        // While it is frozen, or the first SPUs are heard after a start, nothing is decided.
        let (app, id) = (&context.app, self.id);
        let undecided = |snapshot: &Snapshot| {
            snapshot.cluster.frozen.is_some() || app.board.calls(id, app.clock.now())
        };
        if !undecided(&snapshot)
            && !self.forgot(&snapshot)
            && remove::remove_leaving(&context, &snapshot).await?
        {
            return Ok(Pass::Acted);
        }
        let mut settled = false;
        for _ in 0..PREPARE_ROUNDS_MAX {
            settled = snapshot.cluster.desired != Desired::Running
                || snapshot.cluster.frozen.is_some()
                || !prepare::prepare(&context, &snapshot).await?;
            if settled {
                break;
            }
            let Some(fresh) = Snapshot::load(&context.app, self.org, self.id).await? else {
                return Ok(Pass::Gone);
            };
            snapshot = fresh;
        }
        let ordered = self.ordered_anew(&snapshot);
        let ended = watch::observe(&context, &snapshot, &self.stops).await?;
        for ended in &ended {
            if !watch::store_ended(&context, &snapshot, ended).await? {
                // It was stopped on order since the snapshot, which is out of date therefore.
                return Ok(Pass::Acted);
            }
            self.note_end(&snapshot, ended);
        }
        let gone: BTreeSet<_> = ended.iter().map(|ended| ended.launch).collect();
        snapshot.launches.retain(|launch| !gone.contains(&launch.id));
        if !settled {
            // What is half prepared would look as if it could never run.
            return Ok(Pass::Acted);
        }

        let seen = context.app.board.cluster(self.id);
        watch::store_presence(&context, &snapshot, &seen, self.began).await?;
        self.absences.note(&snapshot, context.app.clock.now());
        let mut moved = false;
        if !undecided(&snapshot) {
            lose::sweep(&context, &snapshot, &self.absences).await?;
            damage::sweep(&context, &snapshot).await?;
            // Last: where one who holds all can lead, it does by now.
            let lost = self.absences.lost(context.app.clock.now(), context.app.defaults.lease);
            unclean::sweep(&context, &snapshot, &lost, &mut self.stuck).await?;
            self.balancer.pass(&context, &snapshot, self.began).await?;
            recover::pass(&context, &snapshot).await?;
            moved = reassign::pass(&context, &snapshot).await?;
        }
        let readiness = judge(&snapshot, &seen, &self.stops);
        self.check_ports(&snapshot).await;
        let view = self.view(&snapshot, &seen, &readiness, ordered);
        if undecided(&snapshot) {
            self.unready.clear();
        } else {
            self.unready.note(&view, context.app.clock.now());
        }
        let plan = lifecycle::decide(&view);
        self.decided = Some(plan.state);
        let rolling = match undecided(&snapshot) {
            true => None,
            false => rolling::next(&context, &snapshot, &view, &self.unready).await?,
        };
        let waits_for = match &rolling {
            Some(Next::Wait(why)) => Some(why.as_str()),
            _ => None,
        };
        let told = (&self.port_conflicts, waits_for);
        outcome::store(&context, &snapshot, &view, &plan, told).await?;
        if snapshot.cluster.desired == Desired::Running {
            self.probe(&snapshot, &seen);
        }
        let mut acted = moved || !ended.is_empty();
        let mut stops = Vec::new();
        let external = |spu: SpuId| snapshot.spus.iter().any(|row| row.id == spu && row.external);
        if let Some(Next::Stop(spu)) = rolling {
            stops.push(spu);
        }
        for action in plan.actions {
            acted |= !matches!(action, Action::Stop(_));
            match action {
                // Its session tells it to end, and its end is heard of.
                Action::Stop(spu) if external(spu) => {}
                Action::Start(spu) => self.start(&snapshot, spu).await?,
                Action::Stop(spu) => stops.push(spu),
                Action::DestroySpu(spu) => {
                    // Not at once again, as below.
                    acted &= remove::destroy(&context, &snapshot, spu).await?;
                }
                Action::Destroy => {
                    if launch::destroy(&context, &snapshot).await? {
                        return Ok(Pass::Gone);
                    }
                    // Not at once again: whatever is in the way needs time.
                    acted = false;
                }
            }
        }
        // Its end is signalled: it is not waited for here.
        self.stops.begin(&context, &snapshot, &stops);
        for spu in stops {
            self.restarts.remove(&spu);
        }
        Ok(if acted { Pass::Acted } else { Pass::Wait(self.next_due()) })
    }

    /// The planted bug: an order that was given before this control plane began is only seen where
    /// a step of it was kept in memory.
    fn forgot(&mut self, snapshot: &Snapshot) -> bool {
        let running = snapshot.operation.as_ref().map(|operation| operation.id);
        let found = *self.found.get_or_insert(running);
        plant::active("order_forgets_step") && running.is_some() && running == found
    }

    fn now_ms(&self) -> u64 {
        let since = self.context.app.clock.now().since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether an order put the cluster back to its beginning since the last pass. Then
    /// everything is tried at once, and what failed before is forgotten.
    fn ordered_anew(&mut self, snapshot: &Snapshot) -> bool {
        let row = &snapshot.cluster;
        let anew = row.desired == Desired::Running
            && row.state == ClusterState::Provisioning
            && self.decided.is_some_and(|decided| decided != ClusterState::Provisioning);
        if anew {
            self.port_conflicts.clear();
            self.restarts = std::mem::take(&mut self.restarts)
                .into_iter()
                .map(|(spu, account)| (spu, account.ordered()))
                .collect();
        }
        anew
    }

    /// Changes an SPU's account of restarts.
    fn account(&mut self, spu: SpuId, change: impl FnOnce(Restarts) -> Restarts) {
        let before = self.restarts.remove(&spu).unwrap_or_default();
        self.restarts.insert(spu, change(before));
    }

    fn note_end(&mut self, snapshot: &Snapshot, ended: &watch::Ended) {
        let policy = self.context.config.restart;
        let now = self.now_ms();
        tracing::info!(cluster = %self.id, spu = %ended.spu, launch = %ended.launch, reason = ended.reason, "SPU ended");
        if snapshot.cluster.desired == Desired::Running
            && snapshot.is_current(ended.spu, ended.launch)
            && !snapshot.spus.iter().any(|row| row.id == ended.spu && row.removed)
        {
            let reason = ended.reason.clone();
            self.account(ended.spu, |account| account.failed(&policy, now, reason));
        }
    }

    /// Whether the ports of SPUs that are to be started are free. Asked only of those that
    /// do not run, and not more often than they may be started.
    async fn check_ports(&mut self, snapshot: &Snapshot) {
        let policy = self.context.config.restart;
        let now = self.now_ms();
        let waiting: Vec<_> = snapshot
            .spus
            .iter()
            .filter(|row| !row.removed && !row.external)
            .filter(|_| snapshot.cluster.desired == Desired::Running)
            .filter(|row| !runs(snapshot, row.id))
            .collect();
        self.port_conflicts.retain(|spu, _| waiting.iter().any(|row| row.id == *spu));
        for row in waiting {
            let spu = row.id;
            if !self.restarts.get(&spu).is_none_or(|account| account.due(now)) {
                continue;
            }
            let Some(address) = launch::listen(&self.context, snapshot, row) else { continue };
            if self.context.provisioner.port_free(&address).await {
                self.port_conflicts.remove(&spu);
            } else {
                let reason = format!("{address} is in use by another program");
                self.account(spu, |account| account.failed(&policy, now, reason.clone()));
                self.port_conflicts.insert(spu, reason);
            }
        }
    }

    fn view(
        &mut self,
        snapshot: &Snapshot,
        seen: &BTreeMap<SpuId, SpuSeen>,
        readiness: &Readiness,
        ordered: bool,
    ) -> View {
        let policy = self.context.config.restart;
        let now = self.now_ms();
        let in_spec: BTreeSet<_> = snapshot.in_spec().map(|row| row.id).collect();
        let mut spus = Vec::new();
        for row in &snapshot.spus {
            let session = seen.get(&row.id).and_then(SpuSeen::standing);
            let running = match row.external {
                // Nothing here has started it, and its data is not for this to remove.
                true => !row.removed && session.is_some(),
                false => runs(snapshot, row.id),
            };
            if running {
                let ready = readiness.ready.contains(&row.id);
                self.account(row.id, |account| account.settle(&policy, now, ready));
            }
            let account = self.restarts.get(&row.id);
            // A launch from before an order says nothing of the one that it asks for.
            let refused = row.state == SpuState::Refused && (running || !ordered);
            let refused = refused.then(|| row.reason.clone()).flatten();
            let problem = session.and_then(|session| self.prober.problem(row.id, session.id));
            let lacks = readiness.missing.get(&row.id).map(|lacks| match problem {
                Some(problem) => format!("{lacks} ({problem})"),
                None if row.external && row.incarnation.get() == 0 => ELSEWHERE.to_owned(),
                None if row.external && session.is_none() => ELSEWHERE_GONE.to_owned(),
                None => lacks.clone(),
            });
            spus.push(SpuView {
                spu_id: row.id,
                launch_id: row.launch_id,
                in_spec: in_spec.contains(&row.id),
                removed: row.removed,
                destroyed: row.destroyed,
                running,
                start_due: !row.external
                    && snapshot.ports_from.is_some()
                    && !self.port_conflicts.contains_key(&row.id)
                    && account.is_none_or(|account| account.due(now)),
                failing: refused.or_else(|| account.and_then(|account| account.degraded(&policy))),
                lacks,
            });
        }
        View {
            desired: snapshot.cluster.desired,
            state: snapshot.cluster.state,
            spus,
            all_ready: readiness.all_ready,
            blocked: self.blocked(snapshot),
            frozen: snapshot.cluster.frozen.as_ref().map(|frozen| frozen.reason.clone()),
        }
    }

    fn blocked(&self, snapshot: &Snapshot) -> Option<String> {
        if let Some((spu, conflict)) = self.port_conflicts.first_key_value() {
            return Some(format!("SPU {spu} cannot listen: {conflict}"));
        }
        let none = snapshot.cluster.desired == Desired::Running && snapshot.ports_from.is_none();
        none.then(|| "no free block of ports was found for its SPUs".to_owned())
    }

    fn probe(&mut self, snapshot: &Snapshot, seen: &BTreeMap<SpuId, SpuSeen>) {
        for row in snapshot.in_spec() {
            if let Some(session) = seen.get(&row.id).and_then(SpuSeen::standing)
                && Some(session.launch) == row.launch_id
            {
                self.prober.ensure(row.id, session);
            }
        }
    }

    async fn start(&mut self, snapshot: &Snapshot, spu: SpuId) -> DbResult<()> {
        let Some(row) = snapshot.spus.iter().find(|row| row.id == spu) else { return Ok(()) };
        let policy = self.context.config.restart;
        match launch::start(&self.context, snapshot, row).await {
            Ok(()) => Ok(()),
            Err(launch::StartError::Database(error)) => Err(error),
            Err(error) => {
                tracing::warn!(cluster = %self.id, %spu, %error, "SPU could not be started");
                let (now, reason) = (self.now_ms(), error.to_string());
                self.account(spu, |account| account.failed(&policy, now, reason));
                Ok(())
            }
        }
    }

    /// Until the next restart is due, at most the period.
    fn next_due(&self) -> Duration {
        let now = self.now_ms();
        let due = self.restarts.values().filter(|account| !account.due(now));
        let soonest = due.map(|account| Duration::from_millis(account.not_before_ms - now)).min();
        soonest
            .map_or(self.context.config.period, |soonest| soonest.min(self.context.config.period))
    }
}

fn runs(snapshot: &Snapshot, spu: SpuId) -> bool {
    snapshot.launches.iter().any(|launch| launch.spu == spu)
}

fn judge(snapshot: &Snapshot, seen: &BTreeMap<SpuId, SpuSeen>, stops: &launch::Stops) -> Readiness {
    let wanted: Vec<_> = snapshot
        .in_spec()
        .map(|row| WantedSpu {
            spu_id: row.id,
            launch_id: row.launch_id,
            incarnation: row.incarnation,
        })
        .collect();
    let sessions = seen
        .iter()
        .filter_map(|(spu, seen)| {
            let session = seen.session.as_ref()?;
            let seen = SeenSpu {
                launch_id: session.launch,
                incarnation: session.incarnation,
                // A dead process's connection may take a moment to break, and one that was told to
                // end keeps it to the last.
                session_up: session.up
                    && snapshot.may_live(*spu, session.launch)
                    && !stops.is_of(session.launch),
                probe_passed: session.probe_passed,
            };
            Some((*spu, seen))
        })
        .collect();
    if plant::active("readiness_by_process") {
        let up = |spu: &WantedSpu| runs(snapshot, spu.spu_id);
        let all_ready = !wanted.is_empty() && wanted.iter().all(up);
        let ready = wanted.iter().filter(|spu| up(spu)).map(|spu| spu.spu_id).collect();
        return Readiness { ready, all_ready, missing: BTreeMap::new() };
    }
    let registrations = seen.values().map(|seen| seen.registrations).sum::<u64>();
    let registrations = usize::try_from(registrations).unwrap_or(usize::MAX);
    let mut verdict = readiness::judge(&wanted, &sessions, registrations);
    // Rows that are still to come are wanted too.
    if wanted.len() < usize::try_from(snapshot.cluster.spec.spus).unwrap_or(usize::MAX) {
        verdict.all_ready = false;
    }
    verdict
}
