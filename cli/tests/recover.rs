//! A control plane whose database went back: the real binary and real SPUs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use support::{Home, end};

/// How often something is asked for again.
const TRIES_MAX: u32 = 600;

fn database(home: &Home) -> Vec<PathBuf> {
    let files = ["weir.db", "weir.db-wal", "weir.db-shm"];
    files.iter().map(|file| home.path().join("control-plane").join(file)).collect()
}

/// What was heard, once `enough` holds of it.
#[track_caller]
fn heard(home: &Home, enough: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..TRIES_MAX {
        let ran = home.weir(&["control-plane", "recover", "dev", "--dry-run", "-o", "json"]);
        if ran.code == 0 {
            last = ran.json();
        }
        if enough(&last) {
            return last;
        }
    }
    panic!("still {last}")
}

fn who(recovery: &Value, heard: bool) -> Vec<u64> {
    let spus = recovery["spus"].as_array().map(Vec::as_slice).unwrap_or_default();
    let those = spus.iter().filter(|spu| spu["heard"] == heard);
    those.map(|spu| spu["spu_id"].as_u64().unwrap()).collect()
}

#[test]
fn a_cluster_is_taken_up_without_an_spu_that_never_comes_back() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "dev", "--spus", "3"]).ok();
    home.weir(&["topic", "create", "orders", "-r", "3"]).ok();
    home.weir_with(&["produce", "orders"], b"before\n").ok();
    home.weir(&["control-plane", "recover", "nobody"]).refused(1, "nobody");
    let idle = home.weir(&["control-plane", "recover"]).ok().text();
    assert_eq!(idle, "cluster dev is not frozen, there is nothing to recover\n");

    end(home.control_plane());
    let backup: Vec<_> = database(&home).iter().map(|file| fs::read(file).ok()).collect();
    home.weir(&["cluster", "resume"]).ok();
    home.weir(&["topic", "create", "later", "-r", "3"]).ok();
    home.weir_with(&["produce", "orders"], b"between\n").ok();

    end(home.control_plane());
    for (file, content) in database(&home).iter().zip(backup) {
        match content {
            Some(content) => fs::write(file, content).unwrap(),
            None => drop(fs::remove_file(file)),
        }
    }
    // SPU 3 ends, and its folder is of no use any more: nothing is ever heard of it again.
    let third = home.servers().into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("--spu-id\x003\0")
    });
    end(third.unwrap());
    let folders = home.path().join("clusters");
    let cluster = support::entries(&folders).pop().unwrap();
    fs::write(cluster.join("spu-3/weir-folder.json"), b"no longer").unwrap();

    // Whether it says that the cluster serves is not what this is about.
    let _ = home.weir(&["cluster", "resume"]);
    let recovery = heard(&home, |now| now["frozen"] == true && who(now, true) == [1, 2]);
    assert_eq!(who(&recovery, false), [3]);
    let epoch = |when: &str| recovery[when]["leader_epoch"].as_u64();
    assert!(epoch("after") > epoch("before"), "{recovery}");
    let frozen = home.weir(&["topic", "create", "more"]).refused(1, "frozen");
    assert!(frozen.hint().contains("weir control-plane recover"), "{frozen:?}");
    let waits = home.weir(&["control-plane", "recover", "dev"]).refused(1, "nothing was heard");
    assert!(waits.hint().contains("--without-unheard"), "{waits:?}");
    let frozen = heard(&home, |now| now["frozen"] == true);
    assert_eq!(frozen["before"]["restore_number"], json!(0), "a refusal changes nothing");

    let arguments = ["control-plane", "recover", "dev", "--without-unheard", "-o", "json"];
    let done = home.weir(&arguments).ok().json();
    assert_eq!((&done["recovered"], &done["unknown"][0]["partition"]), (&json!(true), &json!(0)));
    home.weir_with(&["produce", "orders"], b"after\n").ok();
    let all = home.weir(&["consume", "orders", "-B", "-d"]).ok().text();
    assert_eq!(all, "before\nbetween\nafter\n");
    home.weir(&["cluster", "delete", "--yes"]).ok();
}
