//! What a cluster's next state is, and what must be done for it: from what is wanted, the
//! state so far, and what is seen of its SPUs.
//!
//! Pure and idempotent: asked again before anything changed, it answers the same.

use std::collections::BTreeSet;

use weir_protocol::ids::{LaunchId, SpuId};

use crate::store::types::{ClusterState, Desired};

/// A cluster at one point of time.
#[derive(Clone, Debug)]
pub struct View {
    /// What its owner wants.
    pub desired: Desired,
    /// The state so far.
    pub state: ClusterState,
    /// All that it ever had.
    pub spus: Vec<SpuView>,
    /// Whether the cluster is ready as `plan::readiness` judges it.
    pub all_ready: bool,
    /// Why the cluster cannot come up whatever is tried, such as a port that is taken.
    pub blocked: Option<String>,
    /// Why nothing is decided about it, if so. Its SPUs are started, so that they can be heard;
    /// nothing of them is removed.
    pub frozen: Option<String>,
}

/// One SPU at one point of time.
#[derive(Clone, Debug)]
pub struct SpuView {
    /// Which.
    pub spu_id: SpuId,
    /// Its last start, if there was one.
    pub launch_id: Option<LaunchId>,
    /// Whether the spec asks for it.
    pub in_spec: bool,
    /// Gone for good, which it is only once no replica is left on it. An SPU that the spec
    /// does not ask for any more runs until then.
    pub removed: bool,
    /// Removed, and its data folder is gone too.
    pub destroyed: bool,
    /// Whether its launch runs.
    pub running: bool,
    /// Whether it may be started now, as `plan::restart` says.
    pub start_due: bool,
    /// Why it makes the cluster degraded, as `plan::restart` says.
    pub failing: Option<String>,
    /// What it lacks to be ready, as `plan::readiness` says; `None`: nothing.
    pub lacks: Option<String>,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start an SPU, as a new launch.
    Start(SpuId),
    /// Stop an SPU's launch.
    Stop(SpuId),
    /// Remove a removed SPU's data folder.
    DestroySpu(SpuId),
    /// Remove the cluster's data, then its rows.
    Destroy,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The next state.
    pub state: ClusterState,
    /// Why it is no better, for people.
    pub reason: Option<String>,
    /// What to do, in this order.
    pub actions: Vec<Action>,
}

/// Decides on a cluster.
#[must_use]
pub fn decide(view: &View) -> Plan {
    match view.desired {
        Desired::Running => run(view),
        Desired::Shutdown => {
            halt(view, ClusterState::Stopping, ClusterState::Shutdown, destroys(view).collect())
        }
        Desired::Deleted => {
            halt(view, ClusterState::Deleting, ClusterState::Deleting, vec![Action::Destroy])
        }
    }
}

fn run(view: &View) -> Plan {
    let mut actions: Vec<_> = stops(view, |spu| spu.removed).collect();
    if view.frozen.is_none() {
        actions.extend(destroys(view));
    }
    // A cluster that has served and lacks something now is degraded at once; one that is
    // still coming up only after repeated failure.
    let served = matches!(view.state, ClusterState::Running | ClusterState::Degraded);
    if let (Some(reason), false) = (&view.blocked, served) {
        // Half a cluster is of no use to anybody: nothing is started.
        return Plan { state: ClusterState::Failed, reason: Some(reason.clone()), actions };
    }
    actions.extend(
        view.spus
            .iter()
            .filter(|spu| !spu.removed && !spu.running && spu.start_due)
            .map(|spu| Action::Start(spu.spu_id)),
    );
    if let Some(reason) = &view.frozen {
        let reason = Some(format!("frozen: {reason}; see weir control-plane recover"));
        return Plan { state: ClusterState::Degraded, reason, actions };
    }
    if view.all_ready {
        return Plan { state: ClusterState::Running, reason: None, actions };
    }
    let failing = view.blocked.clone().or_else(|| join(view, |spu| spu.failing.as_deref()));
    let state = if served || failing.is_some() {
        ClusterState::Degraded
    } else {
        ClusterState::Provisioning
    };
    Plan { state, reason: failing.or_else(|| join(view, |spu| spu.lacks.as_deref())), actions }
}

fn halt(view: &View, under_way: ClusterState, done: ClusterState, last: Vec<Action>) -> Plan {
    let actions: Vec<_> = stops(view, |_| true).collect();
    if actions.is_empty() {
        Plan { state: done, reason: None, actions: last }
    } else {
        Plan { state: under_way, reason: None, actions }
    }
}

/// What is left of removed SPUs, once they have stopped.
fn destroys(view: &View) -> impl Iterator<Item = Action> {
    view.spus
        .iter()
        .filter(|spu| spu.removed && !spu.running && !spu.destroyed)
        .map(|spu| Action::DestroySpu(spu.spu_id))
}

fn stops(view: &View, which: impl Fn(&SpuView) -> bool) -> impl Iterator<Item = Action> {
    view.spus
        .iter()
        .filter(move |spu| spu.running && which(spu))
        .map(|spu| Action::Stop(spu.spu_id))
}

/// One sentence of what the SPUs of the spec say, the same reason told once.
fn join<'a>(view: &'a View, what: impl Fn(&'a SpuView) -> Option<&'a str>) -> Option<String> {
    let mut told = BTreeSet::new();
    let parts: Vec<_> = view
        .spus
        .iter()
        .filter(|spu| spu.in_spec)
        .filter_map(|spu| Some((spu.spu_id, what(spu)?)))
        .filter(|(_, text)| told.insert(*text))
        .map(|(spu_id, text)| format!("SPU {spu_id}: {text}"))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spu(id: u32, running: bool) -> SpuView {
        SpuView {
            spu_id: SpuId(id),
            launch_id: None,
            in_spec: true,
            removed: false,
            destroyed: false,
            running,
            start_due: true,
            failing: None,
            lacks: (!running).then(|| "it was not started yet".to_owned()),
        }
    }

    fn view(desired: Desired, state: ClusterState, spus: Vec<SpuView>) -> View {
        View { desired, state, spus, all_ready: false, blocked: None, frozen: None }
    }

    #[test]
    fn a_new_cluster_starts_every_spu_of_the_spec() {
        let plan = decide(&view(
            Desired::Running,
            ClusterState::Provisioning,
            vec![spu(1, false), spu(2, false)],
        ));
        assert_eq!(plan.actions, [Action::Start(SpuId(1)), Action::Start(SpuId(2))]);
        assert_eq!(plan.state, ClusterState::Provisioning);
        // The same sentence is not told twice.
        assert_eq!(plan.reason.as_deref(), Some("SPU 1: it was not started yet"));
    }

    #[test]
    fn running_needs_readiness_not_just_processes() {
        let mut view = view(Desired::Running, ClusterState::Provisioning, vec![spu(1, true)]);
        assert_eq!(decide(&view).state, ClusterState::Provisioning);
        view.all_ready = true;
        assert_eq!(
            decide(&view),
            Plan { state: ClusterState::Running, reason: None, actions: vec![] }
        );
    }

    #[test]
    fn a_cluster_without_spus_runs_and_one_that_gets_some_has_to_wait_for_them() {
        let mut view = view(Desired::Running, ClusterState::Provisioning, vec![]);
        view.all_ready = true;
        let running = Plan { state: ClusterState::Running, reason: None, actions: vec![] };
        assert_eq!(decide(&view), running);
        (view.state, view.spus, view.all_ready) = (running.state, vec![spu(1, false)], false);
        let plan = decide(&view);
        assert_eq!(
            (plan.state, plan.actions),
            (ClusterState::Degraded, vec![Action::Start(SpuId(1))])
        );
        for (desired, done) in [
            (Desired::Shutdown, ClusterState::Shutdown),
            (Desired::Deleted, ClusterState::Deleting),
        ] {
            view = View { desired, spus: vec![], ..view };
            assert_eq!(decide(&view).state, done);
        }
    }

    #[test]
    fn a_dead_spu_degrades_a_cluster_that_served_and_is_started_when_due() {
        let mut view =
            view(Desired::Running, ClusterState::Running, vec![spu(1, true), spu(2, false)]);
        let plan = decide(&view);
        assert_eq!(plan.state, ClusterState::Degraded);
        assert_eq!(plan.actions, [Action::Start(SpuId(2))]);
        view.spus[1].start_due = false;
        assert!(decide(&view).actions.is_empty());
    }

    #[test]
    fn repeated_failure_degrades_a_cluster_that_never_served() {
        let mut failing = spu(1, false);
        failing.failing = Some("it failed 3 times".to_owned());
        let plan = decide(&view(Desired::Running, ClusterState::Provisioning, vec![failing]));
        assert_eq!(plan.state, ClusterState::Degraded);
        assert_eq!(plan.reason.as_deref(), Some("SPU 1: it failed 3 times"));
    }

    #[test]
    fn a_blocked_cluster_fails_with_the_reason_and_starts_nothing() {
        let mut view = view(Desired::Running, ClusterState::Provisioning, vec![spu(1, false)]);
        view.blocked = Some("port 9600 is taken".to_owned());
        let plan = decide(&view);
        assert_eq!(plan.state, ClusterState::Failed);
        assert_eq!(plan.reason.as_deref(), Some("port 9600 is taken"));
        assert!(plan.actions.is_empty());
        // One that has served keeps what it has, and mends what it can.
        view.state = ClusterState::Running;
        let plan = decide(&view);
        assert_eq!(plan.state, ClusterState::Degraded);
        assert_eq!(plan.reason.as_deref(), Some("port 9600 is taken"));
        assert_eq!(plan.actions, [Action::Start(SpuId(1))]);
    }

    #[test]
    fn an_spu_outside_the_spec_runs_until_it_is_removed() {
        let mut extra = spu(3, true);
        extra.in_spec = false;
        let mut view = view(Desired::Running, ClusterState::Running, vec![spu(1, true), extra]);
        assert!(decide(&view).actions.is_empty());
        view.spus[1].running = false;
        assert_eq!(decide(&view).actions, [Action::Start(SpuId(3))]);
        view.spus[1].removed = true;
        view.spus[1].running = true;
        assert_eq!(decide(&view).actions, [Action::Stop(SpuId(3))]);
        // Its data goes last, also where the cluster is to be shut down, and once.
        view.spus[1].running = false;
        assert_eq!(decide(&view).actions, [Action::DestroySpu(SpuId(3))]);
        view.spus[0].running = false;
        let down = View { desired: Desired::Shutdown, ..view.clone() };
        assert_eq!(decide(&down).state, ClusterState::Shutdown);
        assert_eq!(decide(&down).actions, [Action::DestroySpu(SpuId(3))]);
        view.spus[1].destroyed = true;
        assert_eq!(decide(&view).actions, [Action::Start(SpuId(1))]);
    }

    #[test]
    fn a_frozen_cluster_starts_its_spus_says_why_and_removes_nothing() {
        let mut gone = spu(2, false);
        gone.removed = true;
        let mut view = view(Desired::Running, ClusterState::Running, vec![spu(1, false), gone]);
        (view.frozen, view.all_ready) = (Some("it went back".to_owned()), true);
        let plan = decide(&view);
        assert_eq!(
            (plan.state, plan.actions),
            (ClusterState::Degraded, vec![Action::Start(SpuId(1))])
        );
        assert!(plan.reason.is_some_and(|reason| reason.contains("it went back")));
    }

    #[test]
    fn shutdown_and_delete_stop_first_and_finish_then() {
        for (desired, under_way, done, last) in [
            (Desired::Shutdown, ClusterState::Stopping, ClusterState::Shutdown, vec![]),
            (
                Desired::Deleted,
                ClusterState::Deleting,
                ClusterState::Deleting,
                vec![Action::Destroy],
            ),
        ] {
            let plan =
                decide(&view(desired, ClusterState::Running, vec![spu(1, true), spu(2, false)]));
            assert_eq!((plan.state, plan.actions), (under_way, vec![Action::Stop(SpuId(1))]));
            let plan = decide(&view(desired, under_way, vec![spu(1, false), spu(2, false)]));
            assert_eq!((plan.state, plan.actions), (done, last));
        }
    }
}
