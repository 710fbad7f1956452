//! How clusters begin: by a file, in a folder of their own, on trial, without SPUs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::{fs, path::Path};

use serde_json::json;
use support::{Home, end, entries};

#[test]
fn what_cannot_be_is_refused_with_file_and_line() {
    let home = Home::new();
    let file = home.file("cluster.yaml", b"name: big\nspu: 3\n");
    let refused = home.weir(&["cluster", "create", "--config", &file]);
    let refused = refused.refused(2, "cluster.yaml, line 2: unknown field `spu`");
    assert!(refused.hint().contains("port_base"), "{refused:?}");
    home.weir(&["cluster", "create", "--config", "missing.yaml"]).refused(1, "missing.yaml");
    let stdin = home.weir_with(&["cluster", "create", "--config", "-"], b"spus: 101");
    stdin.refused(2, "standard input, line 1: 101 is not in 0..=100");
    let named = home.weir_with(&["cluster", "create", "--config", "-"], b"name: Big");
    named.refused(2, "\"Big\" cannot be a cluster's name");
    for (line, part) in [
        ("--wait --no-wait", "cannot be used with"),
        ("--data-dir /", "the data cannot go to /"),
        ("--data-dir missing/../x", "goes up from a folder that is not there"),
        ("--port-base 65535 --spus 2", "there are no 2 ports"),
    ] {
        let words: Vec<_> = ["cluster", "create"].into_iter().chain(line.split(' ')).collect();
        home.weir(&words).refused(2, part);
    }
    let folder = format!("{file}/below");
    let refused = home.weir(&["cluster", "create", "--data-dir", &folder]);
    assert!(refused.refused(1, "is no folder").hint().contains("--data-dir"));
    assert!(entries(&home.path()).iter().all(|path| path.ends_with("lock")), "more was made");
}

#[test]
fn a_trial_does_nothing_and_says_what_would_be() {
    let home = Home::for_servers();
    let would = ["cluster", "create", "dev", "--spus", "2", "--dry-run", "-o", "json"];
    let told = home.weir(&would).ok().json();
    assert_eq!((&told["name"], &told["spus"]), (&json!("dev"), &json!(2)));
    assert_eq!((&told["ports"], &told["refused"]), (&json!(null), &json!(null)));
    assert_eq!(told["control_plane"]["start"], true);
    let checks: Vec<_> = told["findings"].as_array().unwrap().iter().map(|f| &f["check"]).collect();
    assert_eq!(checks, ["data folder", "disk", "open files"]);
    assert!(!home.path().exists(), "something was made");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = ["cluster", "create", "--port-base", &port, "--dry-run"];
    let ran = home.weir(&refused).refused(1, &format!("port {port} is in use"));
    assert!(ran.text().contains("✗ SPU ports"), "{ran:?}");
    assert!(!home.path().exists(), "something was made");

    home.weir(&["cluster", "create", "dev", "--wait"]).ok();
    let ran = home.weir(&["cluster", "create", "dev", "--dry-run"]);
    let ran = ran.refused(1, "cluster dev exists already");
    assert!(ran.text().contains("control plane  runs at http://127.0.0.1:"), "{ran:?}");
    assert_eq!(home.servers().len(), 2);
    home.weir(&["cluster", "delete", "--yes"]).ok();
}

#[test]
fn a_file_says_what_and_the_data_lies_where_it_says() {
    let home = Home::for_servers();
    let beside = home.path().parent().unwrap().to_owned();
    let file = home.file("cluster.yaml", b"name: big\nspus: 7\ndata_dir: some/data\n");
    let create = ["cluster", "create", "--config", &file, "--spus", "2", "-o", "json"];
    let made = home.weir(&create).ok().json();
    let data = beside.join("some/data");
    assert_eq!((&made["name"], &made["spus_ready"]), (&json!("big"), &json!(2)));
    assert_eq!(made["spec"]["data_dir"], json!(data));
    let cluster = data.join(made["id"].as_str().unwrap());
    assert_eq!(entries(&cluster).len(), 2);
    assert!(entries(&home.path().join("clusters")).is_empty());

    home.weir(&["topic", "create", "t"]).ok();
    home.weir_with(&["produce", "t"], b"a\n").ok();
    let checked = home.weir(&["cluster", "check"]).ok().text();
    assert!(checked.contains(&format!("free in {}\n", data.display())), "{checked}");
    // Its logs are found while nobody can be asked.
    home.weir(&["cluster", "shutdown"]).ok();
    let logs = home.weir(&["cluster", "logs", "--spu", "2", "--lines", "5"]).ok().text();
    assert_eq!(logs.lines().count(), 5, "{logs}");
    home.weir(&["cluster", "resume"]).ok();
    assert_eq!(home.weir(&["consume", "t", "-B", "-d"]).ok().text(), "a\n");
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert!(!beside.join("some").exists(), "{:?} is left", entries(&data));
    assert!(home.servers().is_empty());

    // What was there before stays, and so does what is somebody else's.
    fs::create_dir_all(data.join("cl_1/spu-1")).unwrap();
    let path = data.to_str().unwrap();
    let ran = home.weir(&["cluster", "create", "--data-dir", path]).ok();
    let left = format!("data of clusters that this home does not know: {path}/cl_1");
    assert!(ran.stderr.contains(&left), "{ran:?}");
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert_eq!(entries(&data), [data.join("cl_1")]);
    fs::remove_dir_all(data.join("cl_1")).unwrap();
    home.weir(&["cluster", "create", "--data-dir", path]).ok();
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert!(Path::new(path).exists() && entries(&data).is_empty());
}

#[test]
fn an_spu_that_no_cluster_knows_is_told_before_another_is_made() {
    let home = Home::for_servers();
    let made = home.weir(&["cluster", "create", "lost", "-o", "json"]).ok().json();
    // All that knew of it is lost; it runs on.
    end(home.control_plane());
    fs::remove_dir_all(home.path().join("control-plane")).unwrap();
    fs::remove_file(home.path().join("profiles.toml")).unwrap();
    let [spu] = home.servers()[..] else { panic!("{:?}", home.servers()) };
    let stray = format!("SPUs run that no cluster knows (pid {spu})");
    let refused = home.weir(&["cluster", "create", "dev"]).refused(1, &stray);
    assert!(refused.hint().ends_with(&format!("kill {spu}")), "{refused:?}");
    let checked = home.weir(&["cluster", "check"]).refused(1, "1 thing is wrong").text();
    assert!(checked.contains(&stray), "{checked}");
    end(spu);
    let ran = home.weir(&["cluster", "create", "dev"]).ok();
    let left = format!(
        "does not know: {}/clusters/{}",
        home.path().display(),
        made["id"].as_str().unwrap()
    );
    assert!(ran.stderr.contains(&left), "{ran:?}");
    // Also while the control plane can be asked; what it knows is not among it.
    let checked = home.weir(&["cluster", "check"]).ok().text();
    assert!(checked.contains(&left) && checked.matches("/clusters/cl_").count() == 2, "{checked}");
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert_eq!(entries(&home.path().join("clusters")).len(), 1, "what nobody knows is let be");
}

#[test]
fn a_cluster_begins_without_spus_and_gets_three() {
    let home = Home::for_servers();
    let made = home.weir(&["cluster", "create", "dev", "--spus", "0"]).ok().text();
    assert!(made.contains("running without an SPU") && made.contains("scale --name dev"), "{made}");
    assert_eq!(home.servers().len(), 1, "the control plane alone");
    let refused = home.weir(&["topic", "create", "t"]).refused(1, "there is no SPU");
    assert!(refused.hint().contains("weir cluster scale --spus"), "{refused:?}");
    let checked = home.weir(&["cluster", "check"]).ok().text();
    assert!(checked.contains("dev is running, 0 of 0 SPUs ready"), "{checked}");
    let produce = home.weir_with(&["produce", "t"], b"a\n").refused(1, "dev has no SPUs so far");
    assert!(produce.hint().contains("weir cluster scale --name dev"), "{produce:?}");
    home.weir(&["cluster", "shutdown"]).ok();
    home.weir(&["cluster", "resume"]).ok();

    home.weir(&["cluster", "scale", "--spus", "3"]).ok();
    assert_eq!(home.servers().len(), 4);
    home.weir(&["topic", "create", "t", "-r", "3"]).ok();
    home.weir_with(&["produce", "t"], b"a\nb\n").ok();
    let offsets = home.weir(&["topic", "describe", "__offsets", "-o", "json"]).ok().json();
    let copies = (&offsets["replication"], &offsets["min_insync_replicas"]);
    assert_eq!(copies, (&json!(3), &json!(2)));
    let read = ["consume", "t", "-B", "-d", "-c", "c"];
    assert_eq!(home.weir(&read).ok().text(), "a\nb\n");
    home.weir(&["cluster", "scale", "--spus", "0"]).refused(2, "0 is not in 1..=100");
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert!(home.servers().is_empty());
}
