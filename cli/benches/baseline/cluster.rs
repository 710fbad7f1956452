//! A fresh local cluster of one SPU, in a home of its own, gone when dropped.

use std::{path::Path, process::Command};

use secrecy::SecretString;
use tempfile::TempDir;
use weir_client::{Client, ClientConfig};
use weir_protocol::ids::ClusterId;
use weir_runtime::{clock::Clock, http};

use crate::procfs;

pub const TOPIC: &str = "bench";

pub struct Cluster {
    home: TempDir,
    fsync: bool,
    pub spu_pid: u32,
}

impl Cluster {
    pub fn start(dir: &Path, fsync: bool) -> Self {
        let home = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(dir).unwrap();
        let mut cluster = Self { home, fsync, spu_pid: 0 };
        cluster.weir(&["cluster", "create", "--name", "bench", "--spus", "1"]);
        cluster.weir(&["topic", "create", TOPIC, "--partitions", "1"]);
        let home = cluster.home.path().to_string_lossy().into_owned();
        cluster.spu_pid = procfs::find(&["run spu", &home]).expect("the SPU's process");
        cluster
    }

    fn weir(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.env("WEIR_HOME", self.home.path()).args(args);
        if !self.fsync {
            // Inherited by the control plane, and from it by the SPU.
            command.env("WEIR_SPU_FLUSH_INTERVAL", "1h");
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "weir {args:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub async fn connect(&self) -> Client {
        let grant = self.weir(&["cluster", "token", "--name", "bench", "-o", "json"]);
        let grant: serde_json::Value = serde_json::from_str(&grant).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let endpoints = grant["endpoints"].as_array().unwrap().iter().map(text);
        let cluster: ClusterId = text(&grant["cluster_id"]).parse().unwrap();
        let token = SecretString::from(text(&grant["token"]));
        let config = ClientConfig::with_token(endpoints, cluster, token);
        Client::connect(config, http::transport(1 << 20), Clock).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.weir(&["cluster", "delete", "--name", "bench", "--yes"]);
    }
}
