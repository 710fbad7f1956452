//! Starting the home's control plane: once, detached, with ports that it keeps.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use weir_client::Admin;
use weir_runtime::process as process_table;

use super::{
    adopt,
    endpoint::{self, Endpoint, Process, State},
    identity::{self, Answer},
    logfile::{self, LogFile},
    ports,
};
use crate::{
    context::Context,
    error::{self, CliError, Result, system},
    home::{Home, lock::HomeLock},
    ui::Progress,
};

const POLL: Duration = Duration::from_millis(20);
/// How long it may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// After this long, what is waited for is shown.
const QUIET: Duration = Duration::from_secs(2);
/// Somebody may take a port between our look and the server's: then others are tried.
const PORTS_TRIED_MAX: usize = 3;
/// How much of a log is read for its last words, in bytes.
const LAST_WORDS_BYTES: u64 = 4096;
/// What the control plane reads when it is started, and never again.
const START_VARIABLES: [&str; 5] = [
    "WEIR_METRICS_LISTEN",
    "WEIR_DATABASE_URL",
    "WEIR_LOG_FORMAT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

/// The home's control plane, which runs and serves.
pub struct Local {
    /// Talks to it.
    pub admin: Admin,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// Starts the home's control plane if it does not run.
///
/// # Errors
/// When it cannot be started or does not serve.
pub async fn ensure(context: &Context, lock: &HomeLock) -> Result<Local> {
    // A damaged key is told before a server is started with it; a missing one is made anew.
    if endpoint::key_file(&context.home).exists() {
        endpoint::key(&context.home)?;
    }
    let home = &context.home;
    let state = endpoint::look(home)?;
    if let State::Running(endpoint) = &state {
        unheard(context, endpoint);
        return running(context, endpoint.clone()).await;
    }
    if let Some(local) = adopt::adopt(context, lock).await? {
        unheard(context, &local.endpoint);
        return Ok(local);
    }
    let remembered = match &state {
        State::Running(_) | State::Never => None,
        State::Stopped(endpoint) => Some(endpoint).filter(|endpoint| taken(endpoint).is_none()),
        // SPUs that run on look for it at its old address.
        State::Died(endpoint) => match taken(endpoint) {
            None => Some(endpoint),
            Some(port) => {
                return Err(CliError::new(
                    format!("port {port} of the control plane is in use by another program"),
                    format!(
                        "find it with: ss -ltnp 'sport = :{port}'; end it, then run this again"
                    ),
                ));
            }
        },
    };
    if let Some(endpoint) = remembered {
        // One that died has perhaps left SPUs behind: if this start fails, it has still died.
        let before = matches!(state, State::Died(_)).then_some(endpoint);
        return start(context, lock, endpoint.http.clone(), endpoint.rpc.clone(), before)
            .await
            .map_err(|failure| failure.error);
    }
    let mut from = ports::FIRST;
    let mut tried = 0;
    loop {
        let (http, rpc) = ports::free_pair(from).ok_or_else(|| {
            CliError::new(
                format!("no two free ports from {} upward for the control plane", ports::FIRST),
                "end programs that listen there (ss -ltnp), then run this again",
            )
        })?;
        tried += 1;
        match start(context, lock, ports::loopback(http), ports::loopback(rpc), None).await {
            Ok(local) => return Ok(local),
            Err(failure)
                if failure.ended
                    && tried < PORTS_TRIED_MAX
                    && !(ports::is_free(http) && ports::is_free(rpc)) =>
            {
                from = http.saturating_add(2);
            }
            Err(failure) => return Err(failure.error),
        }
    }
}

/// Warns of what the environment says to a control plane that was started without it.
fn unheard(context: &Context, endpoint: &Endpoint) {
    let pid = endpoint.process.as_ref().map_or(0, |process| process.pid);
    // Where the system does not show it, nothing is known to have been said to it.
    let heard = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let told = START_VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let new: Vec<_> = told
        .filter(|(name, value)| !value.is_empty() && !says(&heard, name, value.as_bytes()))
        .map(|(name, _)| name)
        .collect();
    if let [first, rest @ ..] = new.as_slice() {
        let takes = if rest.is_empty() { "takes" } else { "take" };
        let names = [&[*first], rest].concat().join(" and ");
        context.ui.warn(&format!(
            "the control plane runs already: {names} {takes} effect when it is started next"
        ));
    }
}

/// Whether this environment of a process says so.
fn says(environment: &[u8], name: &str, value: &[u8]) -> bool {
    environment.split(|byte| *byte == 0).any(|entry| {
        let said = entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        said == Some(value)
    })
}

/// The first of its ports that somebody else has.
fn taken(endpoint: &Endpoint) -> Option<u16> {
    [&endpoint.http, &endpoint.rpc]
        .into_iter()
        .filter_map(|address| ports::port_of(address))
        .find(|port| !ports::is_free(*port))
}

async fn running(context: &Context, endpoint: Endpoint) -> Result<Local> {
    let key = endpoint::key(&context.home)?;
    let admin = context.admin_at(&endpoint.url(), key.clone());
    admin.ready().await.map_err(|error| {
        CliError::from(error).hinted(format!(
            "its process {} runs; see what it does in {}",
            endpoint.process.as_ref().map_or(0, |process| process.pid),
            context.home.control_plane_log().display()
        ))
    })?;
    if identity::who(&admin, &key).await == Answer::Stranger {
        return Err(CliError::new(
            format!("what answers at {} does not know the key of this home", endpoint.http),
            format!(
                "is it the key that is wrong? it is in {}",
                endpoint::key_file(&context.home).display()
            ),
        ));
    }
    Ok(Local { admin, endpoint })
}

struct Failure {
    error: CliError,
    /// The process ended by itself.
    ended: bool,
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self { error, ended: false }
    }
}

/// Starts it; `before` is what is remembered again if that fails.
async fn start(
    context: &Context,
    _lock: &HomeLock,
    http: String,
    rpc: String,
    before: Option<&Endpoint>,
) -> Result<Local, Failure> {
    let home = &context.home;
    let spinner = context.ui.spinner("starting the control plane");
    home.make(&home.control_plane())?;
    let mut endpoint = Endpoint::new(http, rpc);
    let mut said = LogFile::new(home.control_plane_log());
    // What earlier ones said is no matter. Unreadable, it is a log without warnings.
    let _ = said.tail(0, None);
    let mut child = spawn(home, &endpoint)?;
    let pid = child.id();
    let started = process_table::view(pid).ok().flatten().map(|seen| seen.started);
    endpoint.process = started.map(|started| Process { pid, started });
    // Before it serves: whatever becomes of this command, the process is found again.
    let outcome = match endpoint.save(home) {
        Ok(()) => wait(context, &mut child, &endpoint, said, &spinner).await,
        Err(error) => Err(error.into()),
    };
    drop(spinner);
    match outcome {
        Ok(admin) => Ok(Local { admin, endpoint }),
        Err(failure) => {
            // Our own child, not yet waited for: its pid is nobody else's.
            let _ = child.kill();
            let _ = child.wait();
            endpoint.process = None;
            // The reason of the failure is worth more than that this was not written.
            let _ = before.unwrap_or(&endpoint).save(home);
            Err(failure)
        }
    }
}

fn spawn(home: &Home, endpoint: &Endpoint) -> Result<Child> {
    let program = std::env::current_exe().map_err(|e| {
        CliError::new(format!("weir cannot find its own program: {}", system(&e)), "reinstall weir")
    })?;
    let path = home.control_plane_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| error::io("open", &path, &e))?;
    let copy = log.try_clone().map_err(|e| error::io("open", &path, &e))?;
    Command::new(&program)
        .args(super::launch::arguments(home, endpoint))
        .env_remove("WEIR_CLUSTER")
        .stdin(Stdio::null())
        .stdout(copy)
        .stderr(log)
        // Its folder must not keep a file system from being unmounted.
        .current_dir(home.root())
        .spawn()
        .map_err(|e| error::io("start", &program, &e))
}

async fn wait(
    context: &Context,
    child: &mut Child,
    endpoint: &Endpoint,
    mut said: LogFile,
    progress: &Progress,
) -> Result<Admin, Failure> {
    let mut trouble = None;
    let home = &context.home;
    let limit = context.timeout.unwrap_or(START_TIMEOUT);
    let log = home.control_plane_log();
    let begin = context.clock.now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            let words = last_words(&log).unwrap_or_else(|| status.to_string());
            let error = CliError::new(
                format!("the control plane ended at its start: {words}"),
                format!("its log is {}", log.display()),
            );
            return Err(Failure { error, ended: true });
        }
        // The key is made by the server at its first start.
        if let Ok(key) = endpoint::key(home) {
            let admin = context.admin_at(&endpoint.url(), key.clone());
            // Another home's control plane may have been faster to take the port: then ours
            // is about to end.
            let who = context.clock.timeout(LOOK_TIMEOUT, identity::who(&admin, &key)).await;
            if who == Ok(Answer::Ours) {
                return Ok(admin);
            }
        }
        for entry in said.added().unwrap_or_default() {
            trouble = logfile::trouble(&entry.text).or(trouble);
        }
        let waited = context.clock.now().since(begin);
        if waited >= QUIET {
            progress.set(|| match &trouble {
                Some(trouble) => format!("the control plane does not serve yet: {trouble}"),
                None => "the control plane does not serve yet".to_owned(),
            });
        }
        if waited >= limit {
            let limit = crate::error::duration(limit);
            let trouble = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            return Err(CliError::new(
                format!("the control plane did not serve within {limit}{trouble}"),
                format!("its log is {}", log.display()),
            )
            .into());
        }
        context.clock.sleep(POLL).await;
    }
}

/// The last line that a server wrote, without what a terminal would colour.
fn last_words(log: &Path) -> Option<String> {
    let mut file = fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let said = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("hint:")
    };
    let line = text.lines().rev().find(said)?.trim();
    Some(line.strip_prefix("error: ").unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_error() {
        let base = tempfile::tempdir().unwrap();
        let log = base.path().join("log");
        assert_eq!(last_words(&log), None);
        fs::write(&log, format!("{}\nerror: no room\nhint: make some\n\n", "x".repeat(9_000)))
            .unwrap();
        assert_eq!(last_words(&log).as_deref(), Some("no room"));
    }

    #[test]
    fn what_a_process_was_told_is_known_by_its_environment() {
        let environment = b"A=1\0WEIR_METRICS_LISTEN=h:1\0B=";
        assert!(says(environment, "WEIR_METRICS_LISTEN", b"h:1"));
        assert!(!says(environment, "WEIR_METRICS_LISTEN", b"h:2"));
        assert!(!says(environment, "WEIR_METRICS", b"h:1") && !says(b"", "A", b"1"));
    }

    #[test]
    fn taken_ports_are_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Endpoint::new(ports::loopback(port), ports::loopback(port));
        assert_eq!(taken(&endpoint), Some(port));
    }
}
