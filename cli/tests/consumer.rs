//! Named consumers, with the real binary and real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Home, Ran};

#[test]
fn what_a_reset_would_do_is_shown_and_mistakes_lead_on() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create"]).ok();
    assert_eq!(home.weir(&["consumer", "list", "-o", "json"]).ok().json(), json!([]));
    home.weir(&["consumer", "describe", "billing"]).refused(1, "no consumer billing");
    home.weir(&["consumer", "delete", "billing"]).refused(2, "cannot be undone");

    home.weir(&["topic", "create", "orders", "-p", "2"]).ok();
    home.weir_with(&["produce", "orders", "-p", "1"], b"a\nb\nc\n").ok();
    let reset = |line: &str| {
        let line = format!("consumer reset billing {line}");
        home.weir(&line.split(' ').collect::<Vec<_>>())
    };
    reset("--topic orders --end").refused(2, "cannot be undone");
    let shown = reset("--topic orders --end --dry-run -o json").ok().json();
    assert_eq!((&shown["dry_run"], &shown["generation_number"]), (&json!(true), &json!(1)));
    let partitions = json!([
        {"partition": 0, "old": null, "new": 0, "log_start": 0, "end": 0},
        {"partition": 1, "old": null, "new": 3, "log_start": 0, "end": 3},
    ]);
    assert_eq!(shown["partitions"], partitions);
    let text = reset("--topic orders -p 1 --from-end 1 --dry-run").ok().text();
    let last: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["1", "-", "2", "0", "3"], "{text}");
    // Nothing came to be.
    assert_eq!(home.weir(&["consumer", "list", "-o", "json"]).ok().json(), json!([]));

    let beyond = reset("--topic orders -p 1 --offset 4 --dry-run").refused(1, "from offset 0 to 3");
    assert!(beyond.hint().contains("from 0 to 3"), "{beyond:?}");
    reset("--topic orders -p 7 --end --dry-run").refused(2, "no partition 7");
    let near = reset("--topic order --end --dry-run").refused(1, "no topic order");
    assert!(near.hint().contains("did you mean orders?"), "{near:?}");
    reset("--topic __offsets --end --dry-run").refused(1, "Weir's own");
}

#[test]
fn a_consumer_goes_on_is_reset_and_is_deleted() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create"]).ok();
    home.weir(&["topic", "create", "orders"]).ok();
    let lines =
        |range: std::ops::Range<u32>| -> String { range.map(|n| format!("order {n}\n")).collect() };
    let produce = |range| home.weir_with(&["produce", "orders"], lines(range).as_bytes()).ok();
    let consume = || home.weir(&["consume", "orders", "-c", "billing", "-d"]).ok().text();

    produce(0..10);
    assert_eq!(consume(), lines(0..10));
    produce(10..15);
    assert_eq!(consume(), lines(10..15));
    assert_eq!(consume(), "");

    // The control plane hears of it a little later.
    let begin = Instant::now();
    loop {
        let ran = home.weir(&["consumer", "describe", "billing", "-o", "json"]);
        let read = |ran: &Ran| {
            let consumer = ran.json();
            consumer["lag"] == json!(0) && consumer["partitions"][0]["committed"] == json!(15)
        };
        if ran.code == 0 && read(&ran) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{ran:?}");
    }

    let to = ["--topic", "orders", "--from-end", "3", "--yes"];
    home.weir(&[&["consumer", "reset", "billing"], &to[..]].concat()).ok();
    assert_eq!(consume(), lines(12..15));

    home.weir(&["consumer", "delete", "billing", "--yes"]).ok();
    assert_eq!(consume(), lines(0..15), "what was committed is forgotten");
}
