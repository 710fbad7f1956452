//! Finding a control plane of this home that no file names: the command that started it was
//! ended before it could write down which process it is.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Command, time::Duration};

use weir_runtime::process as process_table;

use super::{
    endpoint::{self, Endpoint, Process},
    identity::{self, Answer},
    launch,
    start::Local,
};
use crate::{
    context::Context,
    error::{CliError, Result},
    home::{Home, lock::HomeLock},
};

const POLL: Duration = Duration::from_millis(20);
/// How long it may take until it serves: it may have been started just now.
const SERVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// The home's control plane, if one runs that its file does not name; from now on it does.
///
/// # Errors
/// When there is one and it does not serve, or the file cannot be written.
pub async fn adopt(context: &Context, _lock: &HomeLock) -> Result<Option<Local>> {
    let home = &context.home;
    for endpoint in find(home) {
        let Some(process) = endpoint.process.clone() else { continue };
        let limit = context.timeout.unwrap_or(SERVE_TIMEOUT);
        let begin = context.clock.now();
        while endpoint::runs(&process)? {
            // The key is made by the server at its first start.
            if let Ok(key) = endpoint::key(home) {
                let admin = context.admin_at(&endpoint.url(), key.clone());
                let who = context.clock.timeout(LOOK_TIMEOUT, identity::who(&admin, &key)).await;
                if who == Ok(Answer::Ours) {
                    endpoint.save(home)?;
                    return Ok(Some(Local { admin, endpoint }));
                }
            }
            if context.clock.now().since(begin) >= limit {
                return Err(CliError::new(
                    format!(
                        "a control plane of this home (pid {}) runs and does not serve",
                        process.pid
                    ),
                    format!("see what it does in {}", home.control_plane_log().display()),
                ));
            }
            context.clock.sleep(POLL).await;
        }
    }
    Ok(None)
}

/// Processes of this user with exactly the arguments of this home's control plane. What
/// cannot be looked at is none: a start says why it fails.
pub fn find(home: &Home) -> Vec<Endpoint> {
    let folder = home.control_plane();
    let pids = process_table::find_by_argument(&folder.to_string_lossy()).unwrap_or_default();
    let found = pids.into_iter().filter_map(|pid| {
        let mut endpoint = recognize(home, &command_line(pid)?)?;
        let seen = process_table::view(pid).ok().flatten().filter(|seen| !seen.zombie)?;
        endpoint.process = Some(Process { pid, started: seen.started });
        Some(endpoint)
    });
    found.collect()
}

/// The command line of a process of this user, its arguments with spaces between them.
/// Another user's is none: the home's key must not be shown to what it names.
fn command_line(pid: u32) -> Option<String> {
    let (me, _) = owner_and_line(std::process::id())?;
    owner_and_line(pid).filter(|(owner, _)| *owner == me).map(|(_, line)| line)
}

fn owner_and_line(pid: u32) -> Option<(u32, String)> {
    if Path::new("/proc/self/cmdline").exists() {
        let folder = format!("/proc/{pid}");
        let owner = fs::metadata(&folder).ok()?.uid();
        let bytes = fs::read(format!("{folder}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        return Some((owner, line.trim_end().to_owned()));
    }
    let pid = pid.to_string();
    let out = Command::new("ps").args(["-ww", "-o", "uid=,command=", "-p", &pid]).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let (owner, line) = text.trim().split_once(' ')?;
    Some((owner.parse().ok()?, line.trim().to_owned()))
}

/// Where it listens, if this is the command line of the home's control plane.
fn recognize(home: &Home, line: &str) -> Option<Endpoint> {
    let value = |option: &str| line.rsplit_once(option)?.1.split(' ').next().map(str::to_owned);
    let endpoint = Endpoint::new(value(" --http-listen ")?, value(" --rpc-listen ")?);
    let arguments = launch::arguments(home, &endpoint);
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    line.ends_with(&format!(" {}", arguments.join(" "))).then_some(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_arguments_are_those_of_the_home() {
        let home = Home::find(Some("/h/a b".into())).unwrap();
        let endpoint = Endpoint::new("127.0.0.1:9402".into(), "127.0.0.1:9403".into());
        let line = |home: &Home| {
            let arguments = launch::arguments(home, &endpoint);
            let words: Vec<_> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
            format!("/bin/weir {}", words.join(" "))
        };
        assert_eq!(recognize(&home, &line(&home)), Some(endpoint.clone()));
        let other = Home::find(Some("/h/a b2".into())).unwrap();
        assert_eq!(recognize(&home, &line(&other)), None);
        assert_eq!(recognize(&home, &format!("{} --more", line(&home))), None);
        assert_eq!(recognize(&home, "/bin/weir run control-plane"), None);
    }

    #[test]
    fn no_process_is_taken_for_it() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        assert!(find(&home).is_empty());
        assert!(command_line(std::process::id()).is_some());
        assert_eq!(command_line(u32::MAX / 2), None);
    }
}
