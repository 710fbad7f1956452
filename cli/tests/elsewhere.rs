//! SPUs that people start themselves: the real binary, a process beside those of the control plane.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::{
    net::TcpListener,
    process::{Child, Stdio},
};

use serde_json::{Value, json};
use support::Home;

/// How often something is asked for again.
const TRIES_MAX: u32 = 2_000;

/// A port that nobody has.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts one with the credentials, on data of its own.
fn start(home: &Home, credentials: &str, data: &str) -> Child {
    let listen = format!("127.0.0.1:{}", port());
    let data = home.path().join(data).to_str().unwrap().to_owned();
    let arguments = ["--credentials", credentials, "--data-dir", &data, "--listen", &listen];
    let mut command = home.command(&["run", "spu"]);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// What is listed, once `enough` holds of it.
#[track_caller]
fn listed(home: &Home, enough: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..TRIES_MAX {
        last = home.weir(&["cluster", "spu", "list", "-o", "json"]).ok().json();
        if enough(&last) {
            return last;
        }
    }
    panic!("still {last}")
}

/// The exit code, once it ended by itself.
#[track_caller]
fn ended(home: &Home, child: &mut Child) -> Option<i32> {
    for _ in 0..TRIES_MAX {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        home.weir(&["version"]).ok();
    }
    panic!("it does not end")
}

fn ready(list: &Value) -> Vec<u64> {
    let spus = list["spus"].as_array().unwrap().iter();
    spus.filter(|spu| spu["ready"] == true).map(|spu| spu["spu_id"].as_u64().unwrap()).collect()
}

fn refused(list: &Value, spu: u64, code: &str) -> bool {
    let refused = list["refused"].as_array().unwrap();
    refused.iter().any(|one| one["spu_id"] == spu && one["code"] == code && one["proven"] == true)
}

#[test]
fn an_spu_is_registered_started_doubled_stopped_and_taken_away() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "dev"]).ok();
    let file = home.path().join("spu-2.json").to_str().unwrap().to_owned();
    let added = home.weir(&["cluster", "spu", "register", "--file", &file]).ok();
    assert!(added.text().contains(&format!("weir run spu --credentials {file}")), "{added:?}");
    let again = home.weir(&["cluster", "spu", "register", "--file", &file]);
    again.refused(1, "cannot make");
    let status = || home.weir(&["cluster", "status"]).ok().text();
    assert!(status().contains("SPUs           1 of 2 ready"), "{}", status());
    let tells = || status().contains("waits to be started where it is to run");
    assert!((0..TRIES_MAX).any(|_| tells()), "{}", status());

    let mut own = start(&home, &file, "own");
    let list = listed(&home, |list| ready(list) == [1, 2]);
    assert_eq!(list["refused"], json!([]));
    home.weir(&["topic", "create", "orders", "-p", "4"]).ok();
    home.weir_with(&["produce", "orders"], b"a\nb\nc\n").ok();

    // Whoever has the credentials too waits, and is seen.
    let mut twin = start(&home, &file, "twin");
    let list = listed(&home, |list| refused(list, 2, "NOT_YET_AVAILABLE"));
    assert_eq!(ready(&list), [1, 2]);
    twin.kill().unwrap();
    twin.wait().unwrap();
    let told = home.weir(&["cluster", "spu", "list"]).ok().text();
    assert!(told.contains("Refused:") && told.contains("another process"), "{told}");

    // What runs elsewhere is not for orders that would end and start it.
    home.weir(&["cluster", "restart", "--spu", "2"]).refused(2, "runs elsewhere");
    home.weir(&["cluster", "spu", "unregister", "1"]).refused(2, "run by the control plane");
    home.weir(&["cluster", "spu", "unregister", "7"]).refused(1, "no SPU 7");

    // It ends in order with its cluster, and comes back when it is started again.
    home.weir(&["cluster", "shutdown"]).ok();
    assert_eq!(ended(&home, &mut own), Some(0));
    let mut own = start(&home, &file, "own");
    home.weir(&["cluster", "resume"]).ok();
    assert_eq!(home.weir(&["consume", "orders", "-B", "-d"]).ok().text().lines().count(), 3);

    home.weir(&["cluster", "spu", "unregister", "2"]).ok();
    let list = listed(&home, |list| refused(list, 2, "SPU_REMOVED"));
    assert_eq!(ready(&list), [1]);
    assert_eq!(ended(&home, &mut own), Some(1));
    assert_eq!(home.weir(&["consume", "orders", "-B", "-d"]).ok().text().lines().count(), 3);
    assert!(home.path().join("own/weir-folder.json").exists(), "its data is its owner's");
    home.weir(&["cluster", "delete", "--yes"]).ok();
}

#[test]
fn credentials_that_are_none_are_refused_without_a_word_of_them() {
    let home = Home::new();
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let run = |credentials: &str| {
        home.weir(&[
            "run",
            "spu",
            "--credentials",
            credentials,
            "--data-dir",
            &data,
            "--listen",
            "127.0.0.1:0",
        ])
    };
    let cut = home.file("cut.json", b"{\"launch_secret\": \"5ecre7\"");
    let ran = run(&cut).refused(1, "holds no credentials of an SPU");
    assert!(!ran.stderr.contains("5ecre7"), "{ran:?}");
    run("/nowhere/at/all").refused(1, "cannot read the credentials");
}
