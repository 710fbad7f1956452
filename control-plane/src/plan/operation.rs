//! How far an operation has come, from what is seen of its cluster: its steps, its progress,
//! and whether it is done or has failed.
//!
//! Pure, and it looks at nothing but what is so: after a restart of the control plane an
//! operation goes on where it was. That a newer order supersedes it is written with that
//! order.

use std::collections::BTreeMap;

use weir_protocol::ids::SpuId;

use super::{
    lifecycle::SpuView,
    names::INTERNAL_PREFIX,
    rolling,
    scale::{self, Blocking},
};
use crate::store::{
    operations::{Account, Failure, Step, Target},
    partitions::PartitionRow,
    types::{ClusterState, OperationKind, OperationState, StepState},
};

/// The code of an operation that failed because its cluster cannot come up.
const BLOCKED: &str = "CLUSTER_BLOCKED";
/// The code of a scale that was refused.
pub const SCALE_REFUSED: &str = "SCALE_REFUSED";

/// What is seen of a cluster, as far as its operations need it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Its state, as decided now.
    pub state: ClusterState,
    /// Why it is no better.
    pub reason: Option<&'a str>,
    /// How many SPUs its spec asks for.
    pub wanted: u32,
    /// All SPUs that it ever had.
    pub spus: &'a [SpuView],
    /// Why SPUs cannot listen, by SPU.
    pub conflicts: &'a BTreeMap<SpuId, String>,
    /// What is still to be held by others.
    pub moving: &'a Moving,
    /// What the next restart waits for.
    pub waits_for: Option<&'a str>,
}

/// Partitions that come to be held by others for an operation, and do not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    /// How many.
    pub left: u32,
    /// What one of them waits for.
    pub waits_for: Option<String>,
}

impl Moving {
    /// Counts those of `rows`, which are being reassigned, that move for this target.
    #[must_use]
    pub fn of(
        target: &Target,
        rows: &[PartitionRow],
        waits_for: impl Fn(&PartitionRow) -> Option<String>,
    ) -> Self {
        let moves: Vec<_> = rows.iter().filter(|row| moves_for(target, row)).collect();
        let left = u32::try_from(moves.len()).unwrap_or(u32::MAX);
        Self { left, waits_for: moves.into_iter().find_map(waits_for) }
    }
}

/// Whether a partition is on its way to those that are added, or off those that go.
fn moves_for(target: &Target, row: &PartitionRow) -> bool {
    let Some(goal) = &row.reassignment else { return false };
    let comes = |spu: &SpuId| goal.target.contains(spu) && !goal.original.contains(spu);
    let goes = |spu: &SpuId| !goal.target.contains(spu) && row.is_held_by(*spu);
    target.add.iter().any(comes) || target.remove.iter().any(goes)
}

/// A step while it is being worked out.
struct Work {
    name: &'static str,
    done: u32,
    total: u32,
    /// What it waits for.
    waits_for: Option<String>,
}

fn work(name: &'static str, done: usize, total: usize) -> Work {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Work { name, done: number(done.min(total)), total: number(total), waits_for: None }
}

/// Partitions on their way; none where nothing is to be moved.
fn moves(target: &Target, moving: &Moving) -> Option<Work> {
    let left = moving.left.min(target.moves);
    let work = Work {
        name: "move replicas",
        done: target.moves - left,
        total: target.moves,
        waits_for: moving.waits_for.clone().filter(|_| left > 0),
    };
    (target.moves > 0).then_some(work)
}

fn once(name: &'static str, done: bool) -> Work {
    work(name, usize::from(done), 1)
}

/// How an operation begins, before anything of it was done.
#[must_use]
pub fn begun(kind: OperationKind, target: &Target) -> Account {
    let spus = usize::try_from(target.to).unwrap_or(usize::MAX);
    let before = usize::try_from(target.from).unwrap_or(usize::MAX);
    let to_come = Moving { left: target.moves, waits_for: None };
    let steps = match kind {
        OperationKind::Create => {
            vec![work("rows", 0, spus), work("start SPUs", 0, spus), work("ready", 0, spus)]
        }
        OperationKind::Resume => vec![work("start SPUs", 0, spus), work("ready", 0, spus)],
        OperationKind::Shutdown => vec![work("stop SPUs", 0, before)],
        OperationKind::Delete => {
            let stop = work("stop SPUs", 0, before);
            vec![stop, once("destroy data", false), once("remove rows", false)]
        }
        OperationKind::Scale if target.remove.is_empty() => {
            let added = target.add.len();
            let up =
                [work("add SPUs", 0, added), work("start SPUs", 0, added), work("ready", 0, spus)];
            up.into_iter().chain(moves(target, &to_come)).collect()
        }
        OperationKind::Scale => {
            let go = target.remove.len();
            let down = [
                once("check replicas", false),
                work("mark removed", 0, go),
                work("stop", 0, go),
                work("destroy", 0, go),
            ];
            moves(target, &to_come).into_iter().chain(down).collect()
        }
        OperationKind::Restart => vec![work("restart SPUs", 0, target.restart.len())],
    };
    account(steps, OperationState::Running, None)
}

/// How far a running operation has come.
#[must_use]
pub fn advance(kind: OperationKind, target: &Target, view: &View<'_>) -> Account {
    let count =
        |which: &dyn Fn(&SpuView) -> bool| view.spus.iter().filter(|spu| which(spu)).count();
    let wanted = usize::try_from(view.wanted).unwrap_or(usize::MAX);
    let ready = |spu: &SpuView| spu.in_spec && spu.running && spu.lacks.is_none();
    let ready =
        Work { waits_for: view.reason.map(str::to_owned), ..work("ready", count(&ready), wanted) };
    let up = |steps: Vec<Work>| match failure(kind, target, view) {
        Some(error) => account(steps, OperationState::Failed, Some(error)),
        None if view.state == ClusterState::Running && view.moving.left == 0 => all_done(steps),
        None => account(steps, OperationState::Running, None),
    };
    let stopped = || {
        let there = count(&|spu| !spu.removed || spu.running);
        work("stop SPUs", there - count(&|spu| spu.running), there)
    };
    match kind {
        OperationKind::Create => {
            let rows = work("rows", count(&|spu| spu.in_spec), wanted);
            let start = work("start SPUs", count(&|spu| spu.in_spec && spu.running), wanted);
            up(vec![rows, start, ready])
        }
        OperationKind::Resume => {
            let start = work("start SPUs", count(&|spu| spu.in_spec && spu.running), wanted);
            up(vec![start, ready])
        }
        OperationKind::Shutdown => match view.state {
            ClusterState::Shutdown => all_done(vec![stopped()]),
            _ => account(vec![stopped()], OperationState::Running, None),
        },
        // Its last two steps end in the transaction that removes the rows: see `finished`.
        OperationKind::Delete => {
            let last = [once("destroy data", false), once("remove rows", false)];
            let steps = [stopped()].into_iter().chain(last).collect();
            account(steps, OperationState::Running, None)
        }
        OperationKind::Scale if target.remove.is_empty() => {
            let added = |spu: &SpuView| target.add.contains(&spu.spu_id);
            let total = target.add.len();
            let rows = work("add SPUs", count(&added), total);
            let start = work("start SPUs", count(&|spu| added(spu) && spu.running), total);
            up([rows, start, ready].into_iter().chain(moves(target, view.moving)).collect())
        }
        OperationKind::Scale => {
            let goes = |spu: &SpuView| target.remove.contains(&spu.spu_id);
            let total = target.remove.len();
            let removed = count(&|spu| goes(spu) && spu.removed);
            let stopped = count(&|spu| goes(spu) && spu.removed && !spu.running);
            let destroyed = count(&|spu| goes(spu) && spu.destroyed);
            let down = [
                once("check replicas", removed == total),
                work("mark removed", removed, total),
                work("stop", stopped, total),
                work("destroy", destroyed, total),
            ];
            let steps = moves(target, view.moving).into_iter().chain(down).collect();
            match destroyed == total {
                true => all_done(steps),
                false => account(steps, OperationState::Running, None),
            }
        }
        OperationKind::Restart => {
            let total = target.restart.len();
            let done = target.restart.iter().filter(|spu| rolling::is_done(spu, view.spus)).count();
            let waits_for = view.waits_for.or(view.reason).map(str::to_owned);
            let step = Work { waits_for, ..work("restart SPUs", done, total) };
            match done == total {
                true => all_done(vec![step]),
                false => account(vec![step], OperationState::Running, None),
            }
        }
    }
}

/// The same operation with every step done: for the transaction that ends it.
#[must_use]
pub fn finished(before: &Account) -> Account {
    let steps = before.steps.iter().map(|step| Step {
        state: StepState::Done,
        detail: None,
        name: step.name.clone(),
    });
    Account {
        state: OperationState::Done,
        steps: steps.collect(),
        done: before.total,
        total: before.total,
        error: None,
    }
}

/// A removal of SPUs that found replicas on them in its last check.
#[must_use]
pub fn refused(before: &Account, blocking: &[Blocking]) -> Account {
    let mut steps = before.steps.clone();
    if let Some(step) = steps.iter_mut().find(|step| step.state != StepState::Done) {
        step.state = StepState::Failed;
        step.detail = Some(scale::told(blocking));
    }
    let error = Failure {
        code: SCALE_REFUSED.to_owned(),
        detail: format!(
            "what came to an SPU that was to be removed, or was deleted there, cannot be moved, so \
             it stays: {}",
            scale::told(blocking)
        ),
        hint: scale_hint(blocking),
    };
    let Account { done, total, .. } = *before;
    Account { state: OperationState::Failed, steps, done, total, error: Some(error) }
}

/// What to do about SPUs that hold replicas.
#[must_use]
pub fn scale_hint(blocking: &[Blocking]) -> String {
    let topics = || blocking.iter().flat_map(|spu| &spu.topics);
    let mut ways = vec!["Keep as many SPUs".to_owned()];
    let used = topics().find(|t| !t.deleted && !t.name.starts_with(INTERNAL_PREFIX));
    if let Some(topic) = used {
        let name = &topic.name;
        ways.push(format!(
            "or let the topics have as many replicas as SPUs are left: weir topic update {name} \
             --replication"
        ));
        ways.push("or delete the topics that are not needed and purge them".to_owned());
    }
    if topics().any(|topic| topic.deleted) {
        ways.push("or purge the topics that are deleted already".to_owned());
    }
    format!("{}.", ways.join("; "))
}

/// Why what should run never will, whatever is tried.
fn failure(kind: OperationKind, target: &Target, view: &View<'_>) -> Option<Failure> {
    let detail = match kind {
        OperationKind::Scale => target.add.iter().find_map(|spu| {
            let conflict = view.conflicts.get(spu)?;
            Some(format!("SPU {spu} cannot listen: {conflict}"))
        }),
        _ => (view.state == ClusterState::Failed)
            .then(|| view.reason.unwrap_or("no reason is known").to_owned()),
    };
    Some(Failure {
        code: BLOCKED.to_owned(),
        detail: detail?,
        hint: "Mend what is in the way: it is tried again by itself, and at once by a resume."
            .to_owned(),
    })
}

fn all_done(steps: Vec<Work>) -> Account {
    let steps = steps.into_iter().map(|work| Work { done: work.total, waits_for: None, ..work });
    account(steps.collect(), OperationState::Done, None)
}

/// The steps as they are shown: what is done, the one that is under way, what is to come.
fn account(works: Vec<Work>, state: OperationState, error: Option<Failure>) -> Account {
    let sum = |part: fn(&Work) -> u32| works.iter().map(part).fold(0, u32::saturating_add);
    let (done, total) = (sum(|work| work.done), sum(|work| work.total));
    let mut under_way = match state {
        OperationState::Failed => StepState::Failed,
        _ => StepState::Running,
    };
    let steps = works.into_iter().map(|work| {
        let counted = (work.total > 1).then(|| format!("{} of {}", work.done, work.total));
        let finished = work.done == work.total
            && under_way != StepState::Pending
            && (work.waits_for.is_none() || state == OperationState::Done);
        if finished {
            return Step { name: work.name.to_owned(), state: StepState::Done, detail: counted };
        }
        let step_state = std::mem::replace(&mut under_way, StepState::Pending);
        let waits_for = work.waits_for.filter(|_| step_state != StepState::Pending);
        let detail = match (counted, waits_for) {
            (Some(counted), Some(reason)) => Some(format!("{counted}: {reason}")),
            (counted, reason) => counted.or(reason),
        };
        Step { name: work.name.to_owned(), state: step_state, detail }
    });
    Account { state, steps: steps.collect(), done, total, error }
}

#[cfg(test)]
#[path = "operation_tests.rs"]
mod tests;
