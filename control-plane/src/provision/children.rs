//! The processes that this life of the control plane started itself. Their ends must be
//! fetched (reaped), or they stay in the process table as zombies for ever.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
};

use weir_runtime::process as process_table;

/// How many ends are remembered for the sake of a good reason.
const ENDED_MAX: usize = 256;

/// Children by pid: those that run, and how the last of the others ended.
#[derive(Debug, Default)]
pub(super) struct Children(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<u32, (String, Child)>,
    ended: BTreeMap<u32, (String, ExitStatus)>,
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The maps are whole whatever panicked while they were held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a child; its pid and what tells it from others with the same pid. Blocks.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<(u32, String)> {
        // Held across the spawn: a reaping in between would miss this one.
        let mut state = self.lock();
        let mut child = command.spawn()?;
        let pid = child.id();
        match process_table::view(pid) {
            Ok(Some(seen)) => {
                state.ended.remove(&pid);
                state.running.insert(pid, (seen.started.clone(), child));
                Ok((pid, seen.started))
            }
            // A child that nobody could recognise later must not stay.
            other => {
                let _ = child.kill();
                let _ = child.wait();
                Err(other.err().unwrap_or_else(|| {
                    io::Error::other("the new process is not in the process table")
                }))
            }
        }
    }

    /// Fetches the ends of all children that have ended.
    pub(super) fn reap(&self) {
        let mut state = self.lock();
        let State { running, ended } = &mut *state;
        running.retain(|&pid, (started, child)| match child.try_wait() {
            Ok(Some(status)) => {
                tracing::info!(pid, %status, "SPU process ended");
                ended.insert(pid, (started.clone(), status));
                false
            }
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(pid, %error, "could not ask for the end of a child");
                true
            }
        });
        while ended.len() > ENDED_MAX {
            ended.pop_first();
        }
    }

    /// How the child of this pid and start ended, for people; `None` when it did not, or
    /// was none of ours.
    pub(super) fn ended(&self, pid: u32, started: &str) -> Option<String> {
        let state = self.lock();
        let (ended_start, status) = state.ended.get(&pid)?;
        (ended_start == started).then(|| describe(*status))
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with code {code}; see spu.log in its data folder"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}
