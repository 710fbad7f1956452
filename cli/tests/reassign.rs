//! Partitions that come to be held by other SPUs: the real binary and real SPUs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use serde_json::json;
use support::Home;

#[test]
fn what_is_kept_moves_to_other_spus_and_nothing_is_lost() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "dev", "--spus", "4"]).ok();
    home.weir(&["topic", "create", "orders", "-p", "4", "-r", "2"]).ok();
    home.weir_with(&["produce", "orders", "--partition", "0"], b"a\nb\n").ok();
    let shown = || home.weir(&["partition", "describe", "orders", "0", "-o", "json"]).ok().json();
    let before = shown();
    assert_eq!(before["replica_spu_ids"], json!([1, 2]));
    assert_eq!(before["replicas"][1]["lag"], json!(0), "{before}");

    let reassign = |args: &str| {
        let words = ["partition", "reassign"].into_iter().chain(args.split(' '));
        home.weir(&words.collect::<Vec<_>>())
    };
    reassign("orders 0 --replicas 1").refused(2, "2 replicas");
    reassign("orders 7 --replicas 1,2").refused(1, "no partition 7");
    reassign("ordres 0 --replicas 1,2").refused(1, "ordres");
    reassign("orders 0 --replicas 4,9").refused(1, "SPU 9");
    let would = reassign("orders 0 --replicas 4,3 --dry-run").ok().text();
    assert!(would.starts_with("1 partition would move:\n"), "{would}");
    assert_eq!(shown()["partition_epoch"], before["partition_epoch"]);
    let moved = reassign("orders 0 --replicas 4,3").ok();
    assert!(moved.stderr.contains("orders 0: on SPUs 4, 3"), "{moved:?}");
    let after = shown();
    assert_eq!((&after["leader_spu_id"], &after["isr_spu_ids"]), (&json!(4), &json!([4, 3])));
    assert_eq!(after["replicas"][0]["log_end"], json!(2), "{after}");
    assert_eq!(home.weir(&["consume", "orders", "-B", "-d"]).ok().text(), "a\nb\n");

    // An SPU that holds something, the offsets of consumers too, is emptied and goes.
    home.weir(&["consume", "orders", "-d", "-c", "billing", "-B"]).ok();
    let scale = home.weir(&["cluster", "scale", "--spus", "3", "--dry-run"]).ok().text();
    assert!(scale.starts_with("cluster dev would lose SPU 4; "), "{scale}");
    let would = reassign("--from 4 --dry-run -o json").ok().json();
    let done = reassign("--from 4 -o json").ok().json();
    assert_eq!(would["moves"], done["moves"]);
    assert!(done["moves"].as_array().unwrap().iter().any(|m| m["topic"] == "__offsets"));
    let none = reassign("--from 4").ok().text();
    assert!(none.contains("nothing has to be moved off SPU 4"), "{none}");
    let scaled = home.weir(&["cluster", "scale", "--spus", "3"]).ok().text();
    assert!(scaled.contains("has 3 SPUs now: 1, 2, 3"), "{scaled}");
    home.weir_with(&["produce", "orders", "--partition", "0"], b"c\n").ok();
    assert_eq!(home.weir(&["consume", "orders", "-d", "-c", "billing"]).ok().text(), "c\n");

    // More copies, and fewer.
    home.weir(&["topic", "update", "orders", "-r", "4"]).refused(1, "there are 3");
    let more = home.weir(&["topic", "update", "orders", "-r", "3"]).ok().text();
    assert!(more.contains("replication  2 → 3"), "{more}");
    assert_eq!(shown()["isr_spu_ids"].as_array().unwrap().len(), 3);
    home.weir(&["topic", "update", "orders", "-r", "1", "--min-insync-replicas", "2"])
        .refused(2, "min_insync_replicas");
    home.weir(&["topic", "update", "orders", "-r", "1"]).ok();
    assert_eq!(shown()["replica_spu_ids"].as_array().unwrap().len(), 1);
    assert_eq!(home.weir(&["consume", "orders", "-B", "-d"]).ok().text(), "a\nb\nc\n");
    home.weir(&["cluster", "delete", "--yes"]).ok();
    assert!(home.servers().is_empty());
}
