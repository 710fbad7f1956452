//! How every operation passes: latency, errors, cancellation, the trace.

use std::{
    fmt::Display,
    io,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use madsim::{
    rand::{GlobalRng, Rng},
    time::TimeHandle,
};

use super::{
    faults::Class,
    node::{NodeDisk, Verdict, io_error, lock},
};
use crate::{disk::error::at_path, trace};

/// How much later than its caller's end cancelled work may happen.
const LATE_MAX: Duration = Duration::from_millis(20);

/// One process' way to its node's disk: it ends with the process.
#[derive(Clone)]
pub(super) struct Port {
    pub node: Arc<Mutex<NodeDisk>>,
    pub epoch: u64,
    pub rng: GlobalRng,
    pub time: TimeHandle,
}

/// What names an operation in errors and traces.
pub(super) struct Op<'a> {
    pub class: Class,
    pub name: &'static str,
    pub path: &'a str,
    /// Further detail, for the trace.
    pub detail: String,
    /// Whether its effect may come after its caller has gone.
    pub outlives: bool,
}

impl Port {
    /// Passes one operation. `effect` happens at one instant, drawn between now and the
    /// operation's end, also when the caller has gone meanwhile, or not at all then.
    pub(super) async fn pass<T, F>(&self, op: Op<'_>, effect: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut NodeDisk, &mut GlobalRng, Verdict) -> io::Result<T> + Send + 'static,
    {
        let failed = |error| at_path(op.name, op.path, error);
        let (before, after) = self.draw_latency(op.class).map_err(failed)?;
        let text = format!("{} {}{}", op.name, op.path, op.detail);
        let mut pending = Pending {
            port: self,
            class: op.class,
            outlives: op.outlives,
            text,
            effect: Some(effect),
        };
        if !before.is_zero() {
            self.wait(before).await;
        }
        let result = pending.fire();
        trace::line(trace::Kind::Disk, || format!("{} -> {}", pending.text, Outcome(&result)));
        if !after.is_zero() {
            self.wait(after).await;
        }
        result.and_then(|value| self.alive().map(|()| value)).map_err(failed)
    }

    /// madsim rounds a sleep up to 1 ms, far more than a disk takes; a deadline that is set
    /// afterwards it takes as it is.
    async fn wait(&self, duration: Duration) {
        let mut sleep = pin!(self.time.sleep(duration));
        sleep.as_mut().reset(self.time.now_instant() + duration);
        sleep.await;
    }

    /// How long an operation takes before and after its instant.
    fn draw_latency(&self, class: Class) -> io::Result<(Duration, Duration)> {
        self.alive()?;
        let (mut rng, mut node) = (self.rng.clone(), lock(&self.node));
        let range = node.faults.class(class).latency.clone();
        let mut whole = if range.is_empty() { range.start } else { rng.gen_range(range) };
        if node.faults.stall > 0.0 && rng.gen_bool(node.faults.stall.min(1.0)) {
            let range = node.faults.stall_time.clone();
            whole += if range.is_empty() { range.start } else { rng.gen_range(range) };
            node.stats.stalls += 1;
        }
        // At the very start as often as at the very end: what lies between hides the races
        // that matter.
        let before = match rng.gen_range(0..3) {
            0 => Duration::ZERO,
            1 => whole,
            _ => rng.gen_range(Duration::ZERO..=whole),
        };
        Ok((before, whole - before))
    }

    /// Fails once the process has died.
    pub(super) fn alive(&self) -> io::Result<()> {
        if lock(&self.node).epoch == self.epoch { Ok(()) } else { Err(io_error()) }
    }
}

/// An operation whose effect has not happened. Dropped in that state, it may still happen.
struct Pending<'a, T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut NodeDisk, &mut GlobalRng, Verdict) -> io::Result<T> + Send + 'static,
{
    port: &'a Port,
    class: Class,
    outlives: bool,
    text: String,
    effect: Option<F>,
}

impl<T, F> Pending<'_, T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut NodeDisk, &mut GlobalRng, Verdict) -> io::Result<T> + Send + 'static,
{
    fn fire(&mut self) -> io::Result<T> {
        let (mut rng, mut node) = (self.port.rng.clone(), lock(&self.port.node));
        if node.epoch != self.port.epoch {
            self.effect = None;
            return Err(io_error());
        }
        node.catch_up(self.port.time.elapsed(), &mut rng);
        let verdict = node.verdict(self.class, &mut rng);
        match self.effect.take() {
            Some(effect) => effect(&mut node, &mut rng, verdict),
            None => Err(io_error()),
        }
    }
}

impl<T, F> Drop for Pending<'_, T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut NodeDisk, &mut GlobalRng, Verdict) -> io::Result<T> + Send + 'static,
{
    fn drop(&mut self) {
        let Some(effect) = self.effect.take() else { return };
        let (mut rng, mut node) = (self.port.rng.clone(), lock(&self.port.node));
        // At a kill futures are dropped after the epoch has moved on: nothing happens then.
        if !self.outlives || node.epoch != self.port.epoch {
            return;
        }
        let late = match rng.gen_range(0..3) {
            0 => return,
            1 => Duration::ZERO,
            _ => rng.gen_range(Duration::ZERO..LATE_MAX),
        };
        let (class, due) = (self.class, self.port.time.elapsed() + late);
        node.leave_behind(due, std::mem::take(&mut self.text), move |node, rng| {
            let verdict = node.verdict(class, rng);
            // Nobody is left to tell.
            let _ = effect(node, rng, verdict);
        });
    }
}

/// An operation's end, as the trace says it.
struct Outcome<'a, T>(&'a io::Result<T>);

impl<T> Display for Outcome<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Ok(_) => f.write_str("ok"),
            Err(error) => write!(f, "{:?}", error.kind()),
        }
    }
}
