//! Named consumers, with the real binary and real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use serde_json::json;
use support::Home;

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

    // Asked right after the commit.
    let shown = home.weir(&["consumer", "describe", "billing", "-o", "json"]).ok().json();
    assert_eq!((&shown["current"], &shown["lag"]), (&json!(true), &json!(0)));
    let partition = &shown["partitions"][0];
    assert_eq!((&partition["committed"], &partition["end"]), (&json!(15), &json!(15)));

    // Each reset says what the one before has set.
    let reset = |to: &str| {
        let line = format!("consumer reset billing --topic orders {to} --yes -o json");
        let reset = home.weir(&line.split(' ').collect::<Vec<_>>()).ok().json();
        let at = |field: &str| reset["partitions"][0][field].as_u64().unwrap();
        (at("old"), at("new"))
    };
    assert_eq!(reset("--beginning"), (15, 0));
    assert_eq!(reset("--offset 7"), (0, 7));
    assert_eq!(reset("--from-end 3"), (7, 12));
    assert_eq!(consume(), lines(12..15));

    // A partition that came later is read under the name, and counts.
    home.weir(&["topic", "add-partition", "orders"]).ok();
    home.weir_with(&["produce", "orders", "-p", "1"], lines(0..4).as_bytes()).ok();
    let shown = home.weir(&["consumer", "describe", "billing", "-o", "json"]).ok().json();
    assert_eq!((&shown["lag"], &shown["partitions"][1]["lag"]), (&json!(4), &json!(4)));
    assert_eq!(shown["partitions"][1]["committed"], json!(null));
    assert_eq!(consume(), lines(0..4));
    let topic = home.weir(&["topic", "describe", "orders", "-o", "json"]).ok().json();
    assert_eq!(topic["partitions"][1]["high_watermark"], json!(4));

    home.weir(&["consumer", "delete", "billing", "--yes"]).ok();
    home.weir(&["consumer", "describe", "billing"]).refused(1, "no consumer billing");
    let (again, all) = (consume(), [lines(0..15), lines(0..4)].concat());
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&again), sorted(&all), "what was committed is forgotten");
}
