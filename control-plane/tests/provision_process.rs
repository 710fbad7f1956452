//! The process provisioner with real, tiny children.

// Real processes need the real world: in simulation nodes are started instead.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use secrecy::SecretString;
use tempfile::TempDir;
use uuid::Uuid;
use weir_control_plane::provision::{
    LaunchHandle, LaunchRecord, LaunchSpec, Observed, Provisioner as _,
    process::{ProcessProvisioner, Program},
    spu_folder,
};
use weir_protocol::ids::{ClusterId, LaunchId, OrgId, SpuId};
use weir_runtime::clock::Clock;

const GRACE: Duration = Duration::from_secs(10);

/// A child that runs `script` and gets the launch's arguments after it.
fn provisioner(script: &str) -> ProcessProvisioner {
    let program = Program {
        path: "/bin/sh".to_owned(),
        leading_args: vec!["-c".to_owned(), script.to_owned(), "spu".to_owned()],
    };
    ProcessProvisioner::new(program, Clock)
}

/// Ends at once when told to, and otherwise never.
const OBEDIENT: &str = "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done";
/// Does not listen.
const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 0.02; done";

fn spec(dir: &TempDir, launch: u128) -> LaunchSpec {
    let cluster_id = ClusterId(Uuid::from_u128(1));
    LaunchSpec {
        org_id: OrgId(Uuid::from_u128(2)),
        cluster_id,
        cluster_name: "test".to_owned(),
        spu_id: SpuId(1),
        // Other tests of this machine run at the same time and are searched too.
        launch_id: LaunchId(Uuid::from_u128((u128::from(std::process::id()) << 64) | launch)),
        launch_secret: SecretString::from("s3cret-of-the-launch".to_owned()),
        data_dir: spu_folder(dir.path().to_str().unwrap(), cluster_id, SpuId(1)),
        listen: "127.0.0.1:1".to_owned(),
        control_plane_rpc: "127.0.0.1:2".to_owned(),
    }
}

fn record(spec: &LaunchSpec, handle: Option<LaunchHandle>) -> LaunchRecord {
    LaunchRecord {
        cluster_id: spec.cluster_id,
        spu_id: spec.spu_id,
        launch_id: spec.launch_id,
        handle,
    }
}

fn is_running(seen: &Observed) -> bool {
    matches!(seen, Observed::Running { .. })
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let clock = Clock;
    let begin = clock.now();
    while !condition().await {
        assert!(clock.now().since(begin) < Duration::from_secs(20), "never: {what}");
        clock.sleep(Duration::from_millis(10)).await;
    }
}

/// Until the child has set its traps: a signal before that ends any shell.
async fn until_up(spec: &LaunchSpec) {
    let log = format!("{}/spu.log", spec.data_dir);
    until("the child writes", async || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("up"))
    })
    .await;
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn starts_with_the_contract_s_arguments_and_keeps_secrets_off_them() {
    let dir = TempDir::new().unwrap();
    let spec = spec(&dir, 10);
    let provisioner = provisioner(
        "echo args \"$@\"; echo secret \"$WEIR_LAUNCH_SECRET\"; echo home \"$CARGO_MANIFEST_DIR\"; echo up",
    );
    provisioner.start(&spec).await.unwrap();
    until_up(&spec).await;
    let log = fs::read_to_string(format!("{}/spu.log", spec.data_dir)).unwrap();
    let expected = format!(
        "args --control-plane 127.0.0.1:2 --org {} --cluster {} --spu-id 1 --launch-id {} --data-dir {} --listen 127.0.0.1:1\n\
         secret s3cret-of-the-launch\nhome \nup\n",
        spec.org_id, spec.cluster_id, spec.launch_id, spec.data_dir
    );
    assert_eq!(log, expected);
    assert_eq!(mode(&spec.data_dir), 0o700);
    assert_eq!(mode(format!("{}/spu.log", spec.data_dir)), 0o600);
}

#[tokio::test]
async fn a_running_child_is_seen_and_stops_when_told() {
    let dir = TempDir::new().unwrap();
    let spec = spec(&dir, 20);
    let provisioner = provisioner(OBEDIENT);
    let launch = record(&spec, Some(provisioner.start(&spec).await.unwrap()));
    until_up(&spec).await;
    assert!(is_running(&provisioner.observe(&launch).await.unwrap()));
    provisioner.stop(&launch, GRACE).await.unwrap();
    let Observed::Gone { reason } = provisioner.observe(&launch).await.unwrap() else {
        panic!("still there")
    };
    assert!(reason.contains("exited with code 0"), "{reason}");
    // Safe to repeat.
    provisioner.stop(&launch, GRACE).await.unwrap();
}

#[tokio::test]
async fn a_child_that_does_not_listen_is_killed_after_the_grace() {
    let dir = TempDir::new().unwrap();
    let spec = spec(&dir, 30);
    let provisioner = provisioner(STUBBORN);
    let launch = record(&spec, Some(provisioner.start(&spec).await.unwrap()));
    until_up(&spec).await;
    provisioner.stop(&launch, Duration::from_millis(100)).await.unwrap();
    let Observed::Gone { reason } = provisioner.observe(&launch).await.unwrap() else {
        panic!("still there")
    };
    assert!(reason.contains("signal 9"), "{reason}");
}

#[tokio::test]
async fn a_dead_child_is_gone_and_no_zombie_counts_as_running() {
    let dir = TempDir::new().unwrap();
    let spec = spec(&dir, 40);
    let provisioner = provisioner("exit 7");
    let launch = record(&spec, Some(provisioner.start(&spec).await.unwrap()));
    until("the child is gone", async || !is_running(&provisioner.observe(&launch).await.unwrap()))
        .await;
    let Observed::Gone { reason } = provisioner.observe(&launch).await.unwrap() else {
        panic!("back again")
    };
    assert!(reason.contains("code 7"), "{reason}");

    // Another provisioner of the same process never started it, and sees it gone as well,
    // also while its parent has not fetched its end.
    let again = LaunchSpec { launch_id: LaunchId(Uuid::from_u128(41)), ..spec.clone() };
    let zombie = provisioner.start(&again).await.unwrap();
    let launch = record(&spec, Some(zombie));
    let other = self::provisioner(OBEDIENT);
    until("the zombie counts as gone", async || {
        !is_running(&other.observe(&launch).await.unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_new_control_plane_adopts_by_the_stored_handle() {
    let dir = TempDir::new().unwrap();
    let spec = spec(&dir, 50);
    let handle = provisioner(OBEDIENT).start(&spec).await.unwrap();
    until_up(&spec).await;
    // The handle went through the database as text.
    let text = serde_json::to_string(&handle).unwrap();
    let adopted = provisioner(OBEDIENT);
    let launch = record(&spec, Some(serde_json::from_str(&text).unwrap()));
    assert_eq!(adopted.observe(&launch).await.unwrap(), Observed::Running { handle });
    adopted.stop(&launch, GRACE).await.unwrap();
    assert!(!is_running(&adopted.observe(&launch).await.unwrap()));
}

#[tokio::test]
async fn a_launch_whose_handle_was_never_stored_is_found_by_its_launch_id() {
    let dir = TempDir::new().unwrap();
    let spec = spec(&dir, 60);
    let handle = provisioner(OBEDIENT).start(&spec).await.unwrap();
    until_up(&spec).await;
    let adopted = provisioner(OBEDIENT);
    let launch = record(&spec, None);
    assert_eq!(adopted.observe(&launch).await.unwrap(), Observed::Running { handle });
    adopted.stop(&launch, GRACE).await.unwrap();
    assert!(!is_running(&adopted.observe(&launch).await.unwrap()));
}

#[tokio::test]
async fn a_process_that_only_names_the_launch_is_neither_adopted_nor_signalled() {
    let dir = TempDir::new().unwrap();
    let spec = spec(&dir, 65);
    let id = spec.launch_id.to_string();
    let script = "while :; do sleep 0.02; done";
    let lines = [
        vec!["-c", script, "reader", id.as_str()],
        vec!["-c", script, "reader", "--launch-id", id.as_str()],
        vec!["-c", script, "spu", id.as_str()],
    ];
    let mut decoys: Vec<_> = lines
        .iter()
        .map(|line| std::process::Command::new("/bin/sh").args(line).spawn().unwrap())
        .collect();
    // It starts another program than the shell that the decoys are.
    let program = Program { path: "/nonexistent/weir-spu".to_owned(), leading_args: vec![] };
    let provisioner = ProcessProvisioner::new(program, Clock);
    let launch = record(&spec, None);
    let seen = provisioner.observe(&launch).await.unwrap();
    provisioner.stop(&launch, Duration::from_millis(50)).await.unwrap();
    let ends: Vec<_> = decoys.iter_mut().map(|decoy| decoy.try_wait().unwrap()).collect();
    for decoy in &mut decoys {
        decoy.kill().unwrap();
        decoy.wait().unwrap();
    }
    assert!(!is_running(&seen), "{seen:?}");
    assert!(ends.iter().all(Option::is_none), "signalled: {ends:?}");
}

#[tokio::test]
async fn a_pid_that_belongs_to_another_process_is_never_signalled() {
    let dir = TempDir::new().unwrap();
    let bystander_spec = spec(&dir, 70);
    let provisioner = provisioner(OBEDIENT);
    let handle = provisioner.start(&bystander_spec).await.unwrap();
    until_up(&bystander_spec).await;
    let bystander = record(&bystander_spec, Some(handle.clone()));

    // The same pid with another start time: the pid was used again.
    let mut other_start = handle.clone();
    other_start.0["started"] = "another boot:1".into();
    // The same process by all accounts, but it carries another launch.
    let mut other_launch = record(&bystander_spec, Some(handle));
    other_launch.launch_id = LaunchId(Uuid::from_u128(71));
    // Handles that would reach a group, init, or everybody.
    let odd = [
        serde_json::json!({"pid": 0, "started": "x"}),
        serde_json::json!({"pid": 1, "started": "x"}),
        serde_json::json!({"pid": -1, "started": "x"}),
        serde_json::json!({"pid": u32::MAX, "started": "x"}),
        serde_json::json!("nonsense"),
    ];
    let planted = [record(&bystander_spec, Some(other_start)), other_launch]
        .into_iter()
        .chain(odd.into_iter().map(|odd| record(&bystander_spec, Some(LaunchHandle(odd)))));
    for launch in planted {
        assert!(!is_running(&provisioner.observe(&launch).await.unwrap()), "{launch:?}");
        provisioner.stop(&launch, Duration::from_millis(50)).await.unwrap();
        assert!(is_running(&provisioner.observe(&bystander).await.unwrap()), "hit by {launch:?}");
    }
    provisioner.stop(&bystander, GRACE).await.unwrap();
}

#[tokio::test]
async fn destroy_removes_the_folder_of_the_spu_and_nothing_beside_it() {
    let dir = TempDir::new().unwrap();
    let base = dir.path().to_str().unwrap();
    let (ours, other) = (ClusterId(Uuid::from_u128(1)), ClusterId(Uuid::from_u128(9)));
    for (cluster, spu) in [(ours, 1), (ours, 2), (other, 1)] {
        let folder = spu_folder(base, cluster, SpuId(spu));
        fs::create_dir_all(&folder).unwrap();
        fs::write(format!("{folder}/data"), "x").unwrap();
    }
    let provisioner = provisioner("");
    for _ in 0..2 {
        provisioner.destroy_spu(base, ours, SpuId(1)).await.unwrap();
    }
    assert!(!fs::exists(spu_folder(base, ours, SpuId(1))).unwrap());
    assert!(fs::exists(spu_folder(base, ours, SpuId(2))).unwrap());
    for _ in 0..2 {
        provisioner.destroy_cluster(base, ours).await.unwrap();
    }
    assert!(!fs::exists(spu_folder(base, ours, SpuId(2))).unwrap());
    assert!(fs::exists(spu_folder(base, other, SpuId(1))).unwrap());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_typed_error() {
    let dir = TempDir::new().unwrap();
    let missing = Program { path: "/nonexistent/weir".to_owned(), leading_args: vec![] };
    let error = ProcessProvisioner::new(missing, Clock).start(&spec(&dir, 80)).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/weir"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_not_free() {
    let provisioner = provisioner("");
    let taken = weir_runtime::net::Listener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(!provisioner.port_free(&address).await);
    drop(taken);
    until("the port is free again", async || provisioner.port_free(&address).await).await;
}
