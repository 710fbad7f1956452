//! Deleted topics, with the real binary and real servers: back again, or gone from the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Home, entries};

/// The folders of this generation, on all SPUs.
fn on_disk(home: &Home, generation: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in entries(folder).into_iter().filter(|entry| entry.is_dir()) {
            if entry.file_name().is_some_and(|this| this == name) {
                found.push(entry);
            } else {
                walk(&entry, name, found);
            }
        }
    }
    let mut found = Vec::new();
    let name = generation.trim_start_matches("tg_");
    walk(&home.path().join("clusters"), name, &mut found);
    found
}

fn read(home: &Home) -> Vec<String> {
    let text = home.weir(&["consume", "orders", "-B", "-d"]).ok().text();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_deleted_topic_comes_back_whole_or_is_purged_from_the_disk() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "--spus", "2"]).ok();
    let made = home.weir(&["topic", "create", "orders", "-p", "2", "-o", "json"]).ok().json();
    let id = made["generation_id"].as_str().unwrap();
    home.weir_with(&["produce", "orders"], b"a\nb\nc\n").ok();
    let none = home.weir(&["topic", "undelete", "orders"]).refused(1, "is not deleted");
    assert!(none.hint().contains("weir topic delete"), "{none:?}");
    let active = home.weir(&["topic", "purge", "orders", "--yes"]).refused(1, "is not deleted");
    assert!(active.hint().contains("weir topic delete orders --purge"), "{active:?}");

    // Deleted, and its successor too: the way back names generations.
    let told = home.weir(&["topic", "delete", "orders", "--yes"]).ok().text();
    assert!(told.contains(&format!("weir topic undelete {id}")), "{told}");
    home.weir(&["consume", "orders", "-B", "-d"]).refused(1, "no topic orders");
    home.weir(&["topic", "create", "orders"]).ok();
    let taken = home.weir(&["topic", "undelete", id]).refused(1, "is taken");
    assert!(taken.hint().contains(id), "{taken:?}");
    home.weir(&["topic", "delete", "orders", "--yes"]).ok();
    let listed = home.weir(&["topic", "list", "--deleted"]).ok().text();
    let rows: Vec<Vec<_>> = listed.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "GENERATION", "ID", "DELETED-AT", "STATE", "PARTITIONS"]);
    assert_eq!(rows[1][..3], ["orders", "1", id], "{listed}");
    assert_eq!((rows[1].last(), rows.len()), (Some(&"2"), 3), "{listed}");
    assert!(home.weir(&["topic", "list", "-o", "json"]).ok().json().as_array().unwrap().is_empty());

    let back = home.weir(&["topic", "undelete", id]).ok().text();
    assert!(back.contains("topic orders is back"), "{back}");
    assert_eq!(read(&home), ["a", "b", "c"]);
    home.weir_with(&["produce", "orders"], b"d\n").ok();
    assert_eq!(read(&home), ["a", "b", "c", "d"]);

    let near = home.weir(&["topic", "purge", "order", "--yes"]).refused(1, "no deleted topic");
    assert!(near.hint().contains("did you mean orders?"), "{near:?}");
    home.weir(&["topic", "purge", "--all-deleted"]).refused(2, "cannot be undone");
    home.weir(&["topic", "purge", "--all-deleted", "--yes"]).ok();
    assert_eq!(on_disk(&home, id).len(), 2, "what is not deleted stays");

    home.weir(&["topic", "create", "other"]).ok();
    home.weir(&["topic", "delete", "orders", "--purge"]).refused(2, "cannot be undone");
    let line = ["topic", "delete", "nothing", "orders", "other", "--purge", "--yes"];
    home.weir(&line).refused(1, "no topic nothing");
    assert_eq!(read(&home).len(), 4, "without --continue-on-error nothing was done");
    let line = [&line[..], &["--continue-on-error", "-o", "json"]].concat();
    let purged = home.weir(&line).refused(1, "no topic nothing").json();
    let names: Vec<_> = purged.as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, [json!("orders"), json!("other")]);
    while !home.weir(&["topic", "list", "--deleted", "-o", "json"]).ok().json()[0].is_null() {}
    assert!(on_disk(&home, id).is_empty());
    home.weir(&["topic", "undelete", "orders"]).refused(1, "no deleted topic orders");
}
