//! `weir cluster status --watch`, with the real binary and real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::io::{BufRead as _, BufReader, Lines, Read};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use support::{Home, end};

/// The next line that is so; waits for it.
fn next(lines: &mut Lines<BufReader<impl Read>>, wanted: impl Fn(&str) -> bool) -> String {
    lines.map(Result::unwrap).find(|line| wanted(line)).expect("the watch ended")
}

#[test]
fn changes_are_told_as_they_come_until_ctrl_c() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "dev"]).ok();
    home.weir(&["cluster", "status", "--watch=10ms"]).refused(2, "too often");
    home.weir(&["cluster", "status", "other", "--watch"]).refused(1, "there is no cluster other");
    let mut child = home.spawn(&["cluster", "status", "--watch=100ms", "-o", "json"]);
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let json = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let first = json(&next(&mut told, |_| true));
    assert_eq!((&first["name"], &first["spus_ready"]), (&json!("dev"), &json!(1)));
    home.weir(&["cluster", "scale", "--spus", "2"]).ok();
    // Each line is one document.
    next(&mut told, |line| json(line)["state"] == "running" && json(line)["spus_ready"] == 2);

    end(home.control_plane());
    next(&mut said, |line| line.contains("is not running") && line.contains("looking again"));
    home.weir(&["cluster", "resume"]).ok();
    next(&mut said, |line| line == "the control plane answers again");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));

    // For people, and to the cluster's end.
    let mut child = home.spawn(&["cluster", "status", "dev", "--watch=100ms"]);
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    next(&mut told, |line| line.ends_with("2 of 2 ready"));
    home.weir(&["cluster", "delete", "--yes"]).ok();
    let ran = support::finish(child).ok();
    assert!(ran.stderr.contains("cluster dev is gone"), "{ran:?}");
}
