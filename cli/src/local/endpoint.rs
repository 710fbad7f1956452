//! `control-plane/endpoint.json`: where the home's control plane listens and which process
//! it is. Kept after it stopped, for the ports.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use weir_runtime::process as process_table;

use crate::{
    error::{self, CliError, Result},
    home::{Home, files, profiles::HOME_KEY},
};

const VERSION: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Of this format.
    version: u32,
    /// `host:port` of the HTTP API.
    pub http: String,
    /// `host:port` of the gRPC server that SPUs call.
    pub rpc: String,
    /// The process; none after it was stopped in order, when no cluster ran any more.
    pub process: Option<Process>,
}

/// A process, so that another one with the same pid is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// When it started, as the system tells; compared, not read.
    pub started: String,
}

/// What has become of the home's control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There never was one.
    Never,
    /// It was stopped when no cluster ran any more.
    Stopped(Endpoint),
    /// Its process runs.
    Running(Endpoint),
    /// It ended although it was not told to. Its clusters' SPUs may run on.
    Died(Endpoint),
}

impl Endpoint {
    /// An endpoint without a process.
    pub fn new(http: String, rpc: String) -> Self {
        Self { version: VERSION, http, rpc, process: None }
    }

    /// The HTTP API's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    fn path(home: &Home) -> PathBuf {
        home.control_plane().join("endpoint.json")
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, home: &Home) -> Result<()> {
        let path = Self::path(home);
        home.make(&home.control_plane())?;
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        files::replace(&path, &text, 0o600).map_err(|e| error::io("write", &path, &e))
    }

    fn load(home: &Home) -> Result<Option<Self>> {
        let path = Self::path(home);
        let Some(text) = files::read(&path).map_err(|e| error::io("read", &path, &e))? else {
            return Ok(None);
        };
        let hint = "end the process `weir run control-plane` of this home if there is one, then \
                    remove the file";
        let endpoint: Self = serde_json::from_str(&text).map_err(|e| {
            CliError::new(format!("{} cannot be understood: {e}", path.display()), hint)
        })?;
        if endpoint.version != VERSION {
            return Err(CliError::new(
                format!("{} is of version {}", path.display(), endpoint.version),
                "use the weir that wrote it",
            ));
        }
        Ok(Some(endpoint))
    }
}

/// Looks at the file and at the process.
///
/// # Errors
/// When either cannot be looked at.
pub fn look(home: &Home) -> Result<State> {
    let Some(endpoint) = Endpoint::load(home)? else { return Ok(State::Never) };
    let Some(process) = &endpoint.process else { return Ok(State::Stopped(endpoint)) };
    if runs(process)? { Ok(State::Running(endpoint)) } else { Ok(State::Died(endpoint)) }
}

/// Whether that very process runs.
///
/// # Errors
/// When the process table cannot be read.
pub fn runs(process: &Process) -> Result<bool> {
    // Pids 0 and 1 and those beyond the signed type mean groups, everybody, or init.
    if process.pid <= 1 || i32::try_from(process.pid).is_err() {
        return Ok(false);
    }
    let seen = process_table::view(process.pid).map_err(|e| {
        CliError::new(
            format!("the process table cannot be read: {}", error::system(&e)),
            "is /proc mounted, and ps installed?",
        )
    })?;
    Ok(seen.is_some_and(|seen| !seen.zombie && seen.started == process.started))
}

/// The file with the home's admin key.
pub fn key_file(home: &Home) -> PathBuf {
    home.root().join(HOME_KEY)
}

/// The home's admin key.
///
/// # Errors
/// When there is none or it cannot be read.
pub fn key(home: &Home) -> Result<SecretString> {
    let path = key_file(home);
    let shown = path.display();
    let broken = |what: String| {
        CliError::new(
            what,
            format!(
                "restore the file from a backup, or let a new key be made: remove the file, end \
                 the control plane ({}), then run weir cluster resume; is WEIR_HOME the right \
                 folder?",
                match Endpoint::load(home).ok().flatten().and_then(|endpoint| endpoint.process) {
                    Some(process) => format!("kill {}", process.pid),
                    None => "if it runs".to_owned(),
                }
            ),
        )
    };
    match files::read(&path) {
        Ok(None) => Err(broken(format!("the key of the control plane is missing: {shown}"))),
        Ok(Some(text)) => match text.trim() {
            "" => Err(broken(format!("the key of the control plane is empty: {shown}"))),
            key if key.chars().all(|c| c.is_ascii_graphic()) => Ok(key.to_owned().into()),
            _ => Err(broken(format!("{shown} holds no key of a control plane: it is damaged"))),
        },
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            Err(broken(format!("{shown} holds no key of a control plane: it is damaged")))
        }
        Err(e) => Err(error::io("read", &path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time_too() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        assert_eq!(look(&home).unwrap(), State::Never);
        let mut endpoint = Endpoint::new("127.0.0.1:9400".into(), "127.0.0.1:9401".into());
        endpoint.save(&home).unwrap();
        assert_eq!(look(&home).unwrap(), State::Stopped(endpoint.clone()));

        let pid = std::process::id();
        let started = process_table::view(pid).unwrap().unwrap().started;
        endpoint.process = Some(Process { pid, started });
        endpoint.save(&home).unwrap();
        assert_eq!(look(&home).unwrap(), State::Running(endpoint.clone()));

        endpoint.process = Some(Process { pid, started: "another time".into() });
        endpoint.save(&home).unwrap();
        assert_eq!(look(&home).unwrap(), State::Died(endpoint));
    }

    #[test]
    fn pids_that_mean_more_than_one_process_never_run() {
        for pid in [0, 1, u32::MAX] {
            assert!(!runs(&Process { pid, started: String::new() }).unwrap());
        }
    }

    #[test]
    fn a_broken_file_and_a_missing_key_are_told() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        assert!(key(&home).unwrap_err().to_string().contains("admin-key"));
        home.make(&home.control_plane()).unwrap();
        for damaged in [&b""[..], b"\xff\xfe\0", b"two words"] {
            std::fs::write(key_file(&home), damaged).unwrap();
            let CliError::Told { what, hint, .. } = key(&home).unwrap_err() else { panic!() };
            assert!(what.contains("admin-key") && !what.contains("UTF-8"), "{what}");
            assert!(hint.contains("restore the file"), "{hint}");
        }
        std::fs::write(Endpoint::path(&home), "{").unwrap();
        assert!(look(&home).unwrap_err().to_string().contains("endpoint.json"));
    }
}
