//! The life of local clusters, with the real binary and real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use support::{Home, end, entries, finish};

#[test]
fn quickstart_works_and_works_again() {
    let home = Home::for_servers();
    let first = home.weir(&["quickstart"]).ok().text();
    assert!(first.contains("byte for byte the same"), "{first}");
    assert!(first.contains("1 SPU at 127.0.0.1:"), "{first}");
    assert!(first.contains("weir consume quickstart -B -n 3"), "{first}");
    assert_eq!(home.servers().len(), 2, "the cluster goes on running");

    // The commands that it names are true.
    assert_eq!(
        home.weir(&["consume", "quickstart", "-B", "-n", "3"]).ok().text().lines().count(),
        3
    );
    home.weir_with(&["produce", "quickstart"], b"hello\n").ok();

    // A file without a final newline, with what text files do not have, and a running cluster.
    let file = home.file("input", b"one\r\n\n\xff\xfe\n\ntail");
    let second = home.weir(&["quickstart", &file, "-o", "json"]).ok().json();
    assert_eq!(second["topic"], "quickstart-2", "the first one's records are left alone");
    assert_eq!(second["cluster_was"], "running");
    assert_eq!((&second["records"], &second["bytes"]), (&json!(5), &json!(14)));
    assert_eq!(second["identical"], true);

    home.weir(&["cluster", "shutdown"]).ok();
    assert!(home.servers().is_empty(), "the control plane ends with its last running cluster");
    let third = home.weir(&["quickstart", &file, "-o", "json"]).ok().json();
    assert_eq!(
        (&third["cluster_was"], &third["topic"]),
        (&json!("resumed"), &json!("quickstart-3"))
    );
}

#[test]
fn a_cluster_lives_is_shut_down_resumed_and_deleted() {
    let home = Home::for_servers();
    let made = home.weir(&["cluster", "create", "--name", "big", "--spus", "2", "-o", "json"]).ok();
    let made = made.json();
    assert_eq!((&made["state"], &made["spus_ready"]), (&json!("running"), &json!(2)));
    assert_eq!(home.servers().len(), 3);
    for secret in ["control-plane/admin-key", "control-plane/weir.db", "profiles.toml"] {
        let mode = std::fs::metadata(home.path().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret} is open to others");
    }

    let status = home.weir(&["cluster", "status"]).ok().text();
    assert!(
        status.contains("state          running") && status.contains("2 of 2 ready"),
        "{status}"
    );
    assert_eq!(
        home.weir(&["cluster", "spu", "list", "-o", "json"]).ok().json()["spus"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(home.weir(&["cluster", "list", "-o", "json"]).ok().json()[0]["current"], true);
    let current = home.weir(&["profile", "current", "-o", "json"]).ok().json();
    assert_eq!((&current["name"], &current["id"]), (&json!("big"), &made["id"]));
    assert_eq!(home.weir(&["profile", "current"]).ok().text(), "big\n");

    // Refused while it runs, with the state and the way on; nothing is changed by it.
    let refused = home.weir(&["cluster", "create", "big"]).refused(1, "(state running)");
    assert!(refused.hint().contains("weir cluster delete --name big"), "{refused:?}");

    home.weir(&["topic", "create", "kept", "-p", "2"]).ok();
    home.weir_with(&["produce", "kept"], b"a\nb\nc\n").ok();

    home.weir(&["cluster", "stop"]).ok();
    assert!(home.servers().is_empty(), "{:?}", home.servers());
    home.weir(&["cluster", "shutdown", "big"]).ok();
    let list = home.weir(&["cluster", "list", "-o", "json"]).ok().json();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&json!("big"), &json!("shutdown")));
    assert!(home.weir(&["cluster", "status"]).ok().text().contains("shutdown"));
    for line in ["topic list", "produce kept", "consume kept -B -d"] {
        let words: Vec<_> = line.split(' ').collect();
        let ran = home.weir(&words).refused(1, "shut down");
        assert!(ran.hint().contains("weir cluster resume --name big"), "{ran:?}");
    }
    // A refused create starts nothing that stays.
    let refused = home.weir(&["cluster", "create", "--name", "big"]).refused(1, "(state shutdown)");
    assert!(refused.hint().contains("weir cluster resume --name big"), "{refused:?}");
    assert!(home.servers().is_empty());

    home.weir(&["cluster", "resume"]).ok();
    let mut back: Vec<_> = home
        .weir(&["consume", "kept", "-B", "-d"])
        .ok()
        .text()
        .lines()
        .map(str::to_owned)
        .collect();
    back.sort();
    assert_eq!(back, ["a", "b", "c"]);

    home.weir(&["cluster", "delete"]).refused(2, "cannot be undone");
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert!(home.servers().is_empty());
    assert!(entries(&home.path().join("clusters")).is_empty(), "data is left");
    assert!(entries(&home.path().join("tokens")).is_empty(), "a token is left");
    home.weir(&["cluster", "status", "big"]).refused(1, "there is no cluster big");
    assert_eq!(home.weir(&["cluster", "list", "-o", "json"]).ok().json(), json!([]));
}

#[test]
fn two_creates_at_once_share_one_control_plane() {
    let home = Home::for_servers();
    let both = ["one", "two"].map(|name| home.spawn(&["cluster", "create", name]));
    for child in both {
        finish(child).ok();
    }
    assert_eq!(home.servers().len(), 3, "one control plane and an SPU each");
    let list = home.weir(&["cluster", "list", "-o", "json"]).ok().json();
    let states: Vec<_> = list.as_array().unwrap().iter().map(|c| &c["state"]).collect();
    assert_eq!(states, ["running", "running"]);
    // Its end comes with the last running cluster, not before.
    home.weir(&["cluster", "shutdown", "one"]).ok();
    assert_eq!(home.servers().len(), 2);
    home.weir(&["topic", "create", "t", "--cluster", "two"]).ok();
    let near = home.weir(&["topic", "list", "--cluster", "tvo"]).refused(1, "tvo");
    assert!(near.hint().contains("weir cluster list"), "{near:?}");
    home.weir(&["cluster", "delete", "two", "--yes"]).ok();
    assert!(home.servers().is_empty());
}

#[test]
fn records_flow_while_the_control_plane_is_away() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create"]).ok();
    home.weir(&["topic", "create", "t"]).ok();
    home.weir_with(&["produce", "t"], b"before\n").ok();

    end(home.control_plane());
    let ran = home.weir_with(&["produce", "t"], b"while\n").ok();
    assert!(ran.stderr.contains("the control plane is not running"), "{ran:?}");
    assert!(ran.stderr.contains("going on with what is known"), "{ran:?}");
    assert_eq!(home.weir(&["consume", "t", "-B", "-d"]).ok().text(), "before\nwhile\n");
    for line in ["topic list", "cluster status"] {
        let words: Vec<_> = line.split(' ').collect();
        let ran = home.weir(&words).refused(1, "the control plane is not running");
        assert!(ran.hint().contains("weir cluster resume --name local"), "{ran:?}");
    }
    let list = home.weir(&["cluster", "list", "-o", "json"]).ok().json();
    assert_eq!(list[0]["state"], "unknown");

    home.weir(&["cluster", "resume"]).ok();
    assert_eq!(home.servers().len(), 2, "the SPU was adopted, not doubled");
    home.weir_with(&["produce", "t"], b"after\n").ok();
    assert_eq!(home.weir(&["consume", "t", "-B", "-d"]).ok().text(), "before\nwhile\nafter\n");
    home.weir(&["cluster", "shutdown"]).ok();
    assert!(home.servers().is_empty());
}

#[test]
fn a_taken_port_is_named() {
    let home = Home::for_servers();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    // Seen before anything is started for it.
    let ran = home.weir(&["cluster", "create", "--port-base", &port]).refused(1, &port);
    assert!(ran.hint().contains("choose another --port-base"), "{ran:?}");
    assert!(home.servers().is_empty() && !home.path().join("control-plane").exists());
    drop(taken);
    home.weir(&["cluster", "create", "--port-base", &port]).ok();
    home.weir(&["cluster", "shutdown"]).ok();

    // Taken while the cluster is shut down.
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    let checked = home.weir(&["cluster", "check"]).ok().text();
    assert!(
        checked.contains(&format!("! SPU ports      port {port} of cluster local")),
        "{checked}"
    );
    let ran = home.weir(&["cluster", "resume", "--timeout", "20s"]).refused(1, &port);
    let way_on = "weir cluster delete --name local --yes, then create it with another --port-base";
    assert!(ran.hint().contains(way_on), "{ran:?}");
    let again = home.weir(&["cluster", "create"]).refused(1, "exists already");
    assert!(again.hint().contains(way_on), "{again:?}");
    drop(taken);
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert!(home.servers().is_empty());
}

#[test]
fn a_failed_restart_of_the_control_plane_does_not_make_a_cluster_look_shut_down() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create"]).ok();
    home.weir(&["topic", "create", "t"]).ok();
    home.weir_with(&["produce", "t"], b"before\n").ok();
    end(home.control_plane());
    let file = home.path().join("control-plane/endpoint.json");
    let endpoint = std::fs::read_to_string(&file).unwrap();

    // It cannot start: what should be its database is none.
    let (database, aside) = ("control-plane/weir.db", "control-plane/aside");
    std::fs::rename(home.path().join(database), home.path().join(aside)).unwrap();
    std::fs::create_dir(home.path().join(database)).unwrap();
    for line in ["cluster resume", "cluster shutdown"] {
        let words: Vec<_> = line.split(' ').collect();
        home.weir(&words).refused(1, "the control plane ended at its start");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), endpoint);
    }
    home.weir(&["cluster", "status"]).refused(1, "the control plane is not running");
    home.weir_with(&["produce", "t"], b"while\n").ok();

    std::fs::remove_dir(home.path().join(database)).unwrap();
    std::fs::rename(home.path().join(aside), home.path().join(database)).unwrap();
    home.weir(&["cluster", "resume"]).ok();
    assert_eq!(home.weir(&["consume", "t", "-B", "-d"]).ok().text(), "before\nwhile\n");
    home.weir(&["cluster", "shutdown"]).ok();
    assert!(home.servers().is_empty());
}

#[test]
fn a_control_plane_that_no_file_names_is_found_again() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "one"]).ok();
    let pid = home.control_plane();
    let file = home.path().join("control-plane/endpoint.json");
    // As if the command had been ended between starting it and writing this.
    std::fs::remove_file(&file).unwrap();
    let checked = home.weir(&["cluster", "check"]).refused(1, "1 thing is wrong").text();
    assert!(checked.contains("weir cluster resume takes it over"), "{checked}");
    let mut two = home.command(&["cluster", "create", "two"]);
    let two = support::finish(two.env("WEIR_METRICS_LISTEN", "127.0.0.1:0").spawn().unwrap()).ok();
    assert_eq!(home.control_plane(), pid, "another one was started");
    assert!(two.text().trim().ends_with("; commands mean it from now on"), "{two:?}");
    let unheard = "WEIR_METRICS_LISTEN takes effect when it is started next";
    assert!(two.stderr.contains(unheard), "{two:?}");
    // One that is not created is not the one that is meant.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    home.weir(&["cluster", "create", "three", "--port-base", &port]).refused(1, &port);
    assert_eq!(home.weir(&["profile", "current"]).ok().text(), "two\n");
    for name in ["one", "two"] {
        home.weir(&["cluster", "delete", name, "--yes"]).ok();
    }
    assert!(home.servers().is_empty());
}

#[test]
fn every_spu_is_started_anew_while_records_flow() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "dev", "--spus", "3"]).ok();
    home.weir(&["topic", "create", "orders", "-p", "3", "-r", "3"]).ok();
    home.weir_with(&["produce", "orders"], b"before\n").ok();
    let launches = || {
        let status = home.weir(&["cluster", "status", "-o", "json"]).ok().json();
        let spus = status["spus"].as_array().unwrap().clone();
        spus.into_iter().map(|spu| spu["launch_id"].clone()).collect::<Vec<_>>()
    };
    let (before, lines) = (launches(), (0..2_000).map(|n| format!("{n}\n")).collect::<String>());
    let writer = home.command(&["produce", "orders", "--rate", "1000/s"]);
    let writer = std::thread::spawn(move || support::feed(writer, lines.as_bytes()));
    let restarted = home.weir(&["cluster", "restart", "--rolling"]).ok().text();
    assert!(restarted.starts_with("every SPU of cluster dev was started anew ("), "{restarted}");
    writer.join().unwrap().ok();
    assert!(before.iter().all(|launch| !launches().contains(launch)), "{before:?}");
    let read = home.weir(&["consume", "orders", "-B", "-d"]).ok().text();
    let mut read: Vec<_> = read.lines().collect();
    read.sort_unstable();
    read.dedup();
    assert_eq!(read.len(), 2_001);

    let one = home.weir(&["cluster", "restart", "--spu", "2", "-o", "json"]).ok().json();
    assert_eq!(one["spus_ready"], json!(3));
    home.weir(&["cluster", "restart", "--spu", "7"]).refused(1, "SPU 7");
    let operations = home.weir(&["cluster", "operation", "list"]).ok().text();
    assert_eq!(operations.matches("restart").count(), 2, "{operations}");
    home.weir(&["cluster", "stop"]).ok();
    home.weir(&["cluster", "restart"]).refused(1, "no cluster is running");
    home.weir(&["cluster", "delete", "--yes"]).ok();
}

#[test]
fn a_cluster_of_three_is_resumed_and_scaled_and_never_counts_wrong() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "dev", "--spus", "3"]).ok();
    home.weir(&["cluster", "shutdown"]).ok();
    let refused = home.weir(&["cluster", "scale", "--spus", "1"]).refused(1, "shut down");
    assert!(refused.hint().contains("weir cluster resume --name dev"), "{refused:?}");
    home.weir(&["cluster", "resume"]).ok();
    assert_eq!(home.servers().len(), 4);

    // Three copies on three SPUs: none can go, and nothing is changed.
    home.weir(&["topic", "create", "spread", "-r", "3"]).ok();
    for dry in [&[][..], &["--dry-run"][..]] {
        let args = [&["cluster", "scale", "--spus", "1"], dry].concat();
        let refused = home.weir(&args).refused(1, "cluster dev cannot be scaled to 1");
        assert!(refused.stderr.contains("\n  SPU 2 holds spread (partition 0)"), "{refused:?}");
        let way = "weir topic update spread --replication";
        assert!(refused.hint().contains(way), "{refused:?}");
    }
    home.weir(&["cluster", "scale", "--cancel"]).refused(1, "no SPU");
    let status = home.weir(&["cluster", "status"]).ok().text();
    assert!(status.contains("3 of 3 ready"), "{status}");
    home.weir(&["cluster", "delete", "--yes"]).ok();

    // A partition lives on each: what those hold that go is moved.
    home.weir(&["cluster", "create", "dev", "--spus", "3"]).ok();
    home.weir(&["topic", "create", "kept", "-p", "3"]).ok();
    home.weir_with(&["produce", "kept", "--partition", "0"], b"a\nb\n").ok();
    home.weir_with(&["produce", "kept", "--partition", "2"], b"c\n").ok();
    let would = home.weir(&["cluster", "scale", "--spus", "1", "--dry-run"]).ok().text();
    let head = "cluster dev would lose SPUs 2, 3; 2 partitions would move:\n";
    assert!(would.starts_with(head), "{would}");
    let scaled = home.weir(&["cluster", "scale", "--spus", "1"]).ok();
    assert!(scaled.text().starts_with("cluster dev has 1 SPU now: 1 ("), "{scaled:?}");
    for step in ["move replicas", "mark removed"] {
        assert!(scaled.stderr.contains(&format!("scale: {step} done")), "{scaled:?}");
    }
    assert_eq!(home.servers().len(), 2, "{:?}", home.servers());
    let status = home.weir(&["cluster", "status", "-o", "json"]).ok().json();
    assert_eq!((&status["state"], &status["spus_ready"]), (&json!("running"), &json!(1)));
    let folders = entries(&home.path().join("clusters"));
    assert_eq!(folders.iter().flat_map(|folder| entries(folder)).count(), 1, "{folders:?}");

    home.weir(&["cluster", "shutdown"]).ok();
    home.weir(&["cluster", "resume"]).ok();
    assert_eq!(home.servers().len(), 2);
    let read = || {
        let text = home.weir(&["consume", "kept", "-B", "-d"]).ok().text();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(read(), ["a", "b", "c"]);
    let grown = home.weir(&["cluster", "scale", "--spus", "2", "-o", "json"]).ok().json();
    let ids: Vec<_> = grown["spus"].as_array().unwrap().iter().map(|s| &s["spu_id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(4)]);
    // The new one took its share.
    let topic = home.weir(&["topic", "describe", "kept", "-o", "json"]).ok().json();
    let partitions = topic["partitions"].as_array().unwrap();
    let taken = partitions.iter().filter(|p| p["replica_spu_ids"] == json!([4])).count();
    assert_eq!((taken, read()), (1, ["a", "b", "c"].map(str::to_owned).to_vec()), "{topic}");
    let list = home.weir(&["cluster", "operation", "list", "-o", "json"]).ok().json();
    let kinds: Vec<_> = list.as_array().unwrap().iter().map(|o| &o["kind"]).collect();
    assert_eq!(kinds, ["scale", "resume", "shutdown", "scale", "create"]);
    let id = list[0]["id"].as_str().unwrap();
    let shown = home.weir(&["cluster", "operation", "describe", id]).ok().text();
    assert!(shown.contains("state     done") && shown.contains("add SPUs"), "{shown}");
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert!(home.servers().is_empty());
}
