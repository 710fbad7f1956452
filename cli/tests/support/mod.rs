//! A home of one's own for the real binary, and an end to everything that was started in it.

#![allow(dead_code, reason = "not every test binary needs all of it")]

pub mod far;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What a run of `weir` came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        assert!(!self.stderr.contains("error:"), "{self:?}");
        self
    }

    /// It failed with this exit code, in one sentence that has `part` in it, and a hint.
    #[track_caller]
    pub fn refused(self, code: i32, part: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        let mut lines = self.stderr.lines().skip_while(|line| !line.starts_with("error: "));
        let error = lines.next().unwrap_or_default();
        assert!(error.contains(part), "no {part:?} in {error:?}: {self:?}");
        assert!(lines.any(|line| line.starts_with("hint: ")), "{self:?}");
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("bug of its own"));
        self
    }

    pub fn hint(&self) -> &str {
        self.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_default()
    }
}

/// A `WEIR_HOME` that ends with everything in it.
pub struct Home {
    folder: tempfile::TempDir,
    alone: Option<fs::File>,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("weir-cli-test-").tempdir().unwrap();
        Self { folder, alone: None }
    }

    /// A home for servers. Such tests run one after the other: a cluster that is shut down
    /// keeps its ports, and those of all homes are chosen from the same range.
    pub fn for_servers() -> Self {
        let path = std::env::temp_dir().join("weir-cli-tests.lock");
        let file = fs::File::options().create(true).append(true).open(path).unwrap();
        file.lock().unwrap();
        let mut home = Self::new();
        home.alone = Some(file);
        home
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A file beside the home.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(args)
            .env("WEIR_HOME", self.path())
            .env_remove("WEIR_CLUSTER")
            .env_remove("WEIR_PROFILE")
            .env_remove("WEIR_API_KEY")
            .env_remove("WEIR_LOG")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub fn weir(&self, args: &[&str]) -> Ran {
        finish(self.spawn(args))
    }

    pub fn weir_with(&self, args: &[&str], input: &[u8]) -> Ran {
        feed(self.command(args), input)
    }

    /// The servers of this home that run: their command lines carry its path.
    pub fn servers(&self) -> Vec<u32> {
        let needle = self.folder.path().to_str().unwrap().as_bytes().to_vec();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if pid != std::process::id()
                && line.windows(needle.len()).any(|window| window == needle)
                && (line.starts_with(env!("CARGO_BIN_EXE_weir").as_bytes())
                    || line.windows(5).any(|window| window == b"\0run\0"))
            {
                found.push(pid);
            }
        }
        found
    }

    /// The control plane's process.
    pub fn control_plane(&self) -> u32 {
        let text = fs::read_to_string(self.path().join("control-plane/endpoint.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        u32::try_from(value["process"]["pid"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The control plane would start SPUs again: as often as it takes.
        for _ in 0..100 {
            let servers = self.servers();
            if servers.is_empty() {
                return;
            }
            for pid in servers {
                end(pid);
            }
        }
    }
}

/// Ends a process by force.
pub fn end(pid: u32) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    // Its command line vanishes when it ends, not when it is told to.
    let gone = || fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty());
    while !gone() {
        std::thread::yield_now();
    }
}

/// Runs a command on this input.
pub fn feed(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that refuses does not read its input: then there is no one to write to.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let ran = finish(child);
    writer.join().unwrap();
    ran
}

pub fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Folders and files below, as far as they are there.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map_or_else(|_| Vec::new(), |all| all.flatten().map(|e| e.path()).collect())
}
