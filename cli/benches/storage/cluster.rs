//! A fresh local cluster, in a home of its own, gone when dropped.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;
use weir_client::{Client, ClientConfig};
use weir_runtime::{clock::Clock, http};

use crate::procfs;

pub const TOPIC: &str = "bench";

pub struct Cluster {
    home: TempDir,
    fsync: bool,
    pub spu_pid: u32,
}

impl Cluster {
    /// One SPU, and a topic.
    pub fn start(dir: &Path, fsync: bool) -> Self {
        let mut cluster = Self::of(dir, fsync, 1);
        cluster.weir(&["topic", "create", TOPIC, "--partitions", "1"]);
        cluster.spu_pid = cluster.find_spu().expect("the SPU's process");
        cluster
    }

    /// So many SPUs, and nothing else.
    pub fn of(dir: &Path, fsync: bool, spus: usize) -> Self {
        let home = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(dir).unwrap();
        let cluster = Self { home, fsync, spu_pid: 0 };
        cluster.weir(&["cluster", "create", "--name", "bench", "--spus", &spus.to_string()]);
        cluster
    }

    fn find_spu(&self) -> Option<u32> {
        self.spus().first().copied()
    }

    /// The processes of all SPUs.
    pub fn spus(&self) -> Vec<u32> {
        procfs::find(&["run spu", &self.home.path().to_string_lossy()])
    }

    pub fn kill_spu(&self) {
        let pid = nix::unistd::Pid::from_raw(self.spu_pid.try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    /// Until another process has taken the place of the one that was killed.
    pub fn await_spu(&mut self) {
        loop {
            match self.find_spu() {
                Some(pid) if pid != self.spu_pid => return self.spu_pid = pid,
                _ => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    }

    /// Where clients reach the SPU.
    pub async fn spu_endpoint(&self) -> String {
        let map = self.connect().await.map().borrow().clone();
        map.endpoints().first().expect("one SPU").to_string()
    }

    pub fn weir(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.env("WEIR_HOME", self.home.path()).args(args);
        if !self.fsync {
            // Inherited by the control plane, and from it by the SPU.
            command.env("WEIR_SPU_UNSAFE_NO_FSYNC", "true");
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "weir {args:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub async fn connect(&self) -> Client {
        let folder = self.home.path().join("control-plane");
        let endpoint = fs::read(folder.join("endpoint.json")).unwrap();
        let endpoint: serde_json::Value = serde_json::from_slice(&endpoint).unwrap();
        let url = format!("http://{}", endpoint["http"].as_str().unwrap());
        let key = fs::read_to_string(folder.join("admin-key")).unwrap();
        let config = ClientConfig::with_control_plane(url, key.trim().to_owned().into(), "bench");
        Client::connect(config, http::transport(64 << 20), Clock).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.weir(&["cluster", "delete", "--name", "bench", "--yes"]);
    }
}
