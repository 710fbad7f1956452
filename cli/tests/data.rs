//! Topics, producing and consuming, with the real binary and real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use support::{Home, finish};

fn home_with_cluster() -> Home {
    let home = Home::for_servers();
    home.weir(&["cluster", "create"]).ok();
    home
}

#[test]
fn topics_are_made_grown_described_and_deleted() {
    let home = home_with_cluster();
    assert_eq!(home.weir(&["topic", "list", "-o", "json"]).ok().json(), json!([]));
    let text = home.weir(&["topic", "create", "orders", "-p", "3"]).ok().text();
    assert!(text.contains("topic orders created with 3 partitions"), "{text}");
    let taken = home.weir(&["topic", "create", "orders"]).refused(1, "orders");
    assert!(taken.hint().contains("weir topic"), "{taken:?}");
    home.weir(&["topic", "create", "copies", "-r", "7"]).refused(1, "7 replicas");
    let min = ["topic", "create", "copies", "--min-insync-replicas", "2"];
    home.weir(&min).refused(2, "min_insync_replicas");

    let text = home.weir(&["topic", "add-partition", "orders", "--count", "2"]).ok().text();
    assert!(text.contains("orders has 5 partitions"), "{text}");
    let topic = home.weir(&["topic", "describe", "orders", "-o", "json"]).ok().json();
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 5);
    let rows = home.weir(&["partition", "list", "orders"]).ok().text();
    assert_eq!(rows.lines().count(), 6, "{rows}");
    assert_eq!(
        home.weir(&["partition", "list", "-o", "json"]).ok().json().as_array().unwrap().len(),
        5
    );

    // Weir's own topic is not shown unless it is asked for.
    let names = |args: &[&str]| -> Vec<String> {
        let topics = home.weir(args).ok().json();
        topics.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&["topic", "list", "-o", "json"]), ["orders"]);
    assert!(names(&["topic", "list", "--all", "-o", "json"]).contains(&"__probe".to_owned()));

    for command in ["describe", "add-partition"] {
        let near = home.weir(&["topic", command, "order"]).refused(1, "no topic order");
        assert!(near.hint().contains("did you mean orders?"), "{near:?}");
    }
    home.weir(&["topic", "delete", "orders"]).refused(2, "no terminal to ask on");
    home.weir(&["topic", "delete", "orders", "--yes"]).ok();
    home.weir(&["topic", "delete", "orders", "--yes"]).refused(1, "no topic orders");
    home.weir(&["topic", "create", "orders"]).ok();
    let topic = home.weir(&["topic", "describe", "orders", "-o", "json"]).ok().json();
    assert_eq!(topic["generation_number"], 2);
}

#[test]
fn how_a_topic_is_kept_is_chosen_shown_and_changed() {
    let home = home_with_cluster();
    let made = home.weir(&["topic", "create", "plain"]).ok().text();
    assert!(made.contains("its records are kept for 7 days"), "{made}");
    let line = "topic create orders --retention none --retention-bytes 10GiB --segment-bytes 64MiB \
                --flush interval --flush-interval 100ms";
    let made = home.weir(&line.split_whitespace().collect::<Vec<_>>()).ok().text();
    assert!(made.contains("its records are kept up to 10.0 GiB per partition"), "{made}");
    let shown = home.weir(&["topic", "describe", "orders"]).ok().text();
    for line in [
        "retention    10.0 GiB per partition",
        "flush        within 100 ms after the acknowledgement",
        "segments     at most 64.0 MiB",
    ] {
        assert!(shown.lines().any(|this| this == line), "{shown}");
    }
    let told = home.weir(&["topic", "update", "orders", "--retention", "36h"]).ok().text();
    let change = "10.0 GiB per partition → 36 hours or 10.0 GiB per partition";
    assert!(told.contains(change), "{told}");
    let again = home.weir(&["topic", "update", "orders", "--retention", "36h"]).ok().text();
    assert!(again.contains("nothing was changed"), "{again}");
    let args = ["topic", "update", "orders", "--flush", "before-ack", "-o", "json"];
    let topic = home.weir(&args).ok().json();
    let expected = json!({ "flush": "before_ack", "flush_interval_ms": null,
        "retention_ms": 129_600_000, "retention_bytes": 10_737_418_240_u64,
        "segment_bytes": 67_108_864, "segment_ms": null, "unclean_election": false });
    assert_eq!(topic["config"], expected);
    let list = home.weir(&["topic", "list", "-o", "json"]).ok().json();
    assert_eq!(list[0]["config"], expected);
    let ran = home.weir(&["topic", "update", "orders", "--flush", "interval"]);
    let ran = ran.refused(2, "flush_interval_ms is missing");
    assert!(ran.hint().contains("loss of power"), "{ran:?}");
    let ran = home.weir(&["topic", "update", "order", "--retention", "1d"]);
    let ran = ran.refused(1, "no topic order");
    assert!(ran.hint().contains("did you mean orders?"), "{ran:?}");
    home.weir(&["topic", "update", "__probe", "--retention", "1d"]).refused(1, "Weir's own");
    let offsets = home.weir(&["topic", "describe", "__probe"]).ok().text();
    assert!(offsets.contains("retention    for ever"), "{offsets}");
}

/// Topic `t` with a, c, e in one partition and b, d in the other; and when each was written.
fn written_one_by_one(home: &Home) -> impl Fn(&str) -> String + use<> {
    home.weir(&["topic", "create", "t", "-p", "2"]).ok();
    for (partition, line) in [("0", "a"), ("1", "b"), ("0", "c"), ("1", "d"), ("0", "e")] {
        home.weir_with(&["produce", "t", "-p", partition], line.as_bytes()).ok();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let times = read_sorted(home, &["-B", "-d", "--format", "{{value}} {{timestamp}}"]);
    move |line| {
        let found = times.iter().find_map(|time| time.strip_prefix(line));
        found.unwrap().trim().to_owned()
    }
}

fn read_sorted(home: &Home, more: &[&str]) -> Vec<String> {
    let text = home.weir(&[&["consume", "t"], more].concat()).ok().text();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn records_are_read_up_to_a_time() {
    let home = home_with_cluster();
    let time = written_one_by_one(&home);
    let (a, d) = (time("a"), time("d"));
    assert_eq!(read_sorted(&home, &["-B", "--until", &d]), ["a", "b", "c"]);
    assert_eq!(read_sorted(&home, &["--until", &d, "-p", "0"]), ["a", "c"]);
    assert_eq!(read_sorted(&home, &["-B", "--until", &a]), [""; 0]);
    assert_eq!(read_sorted(&home, &["-B", "--until", "1h"]), [""; 0]);
    assert_eq!(read_sorted(&home, &["-B", "--until", "0s"]), ["a", "b", "c", "d", "e"]);
    // A consumer with a name goes on where it stopped.
    assert_eq!(read_sorted(&home, &["-c", "mailer", "--until", &d]), ["a", "b", "c"]);
    assert_eq!(read_sorted(&home, &["-c", "mailer", "-d"]), ["d", "e"]);
}

#[test]
fn records_are_read_from_a_time_on() {
    let home = home_with_cluster();
    let time = written_one_by_one(&home);
    let (c, d) = (time("c"), time("d"));
    assert_eq!(read_sorted(&home, &["--since", &c, "-d"]), ["c", "d", "e"]);
    assert_eq!(read_sorted(&home, &["--since", "1h", "-d"]), ["a", "b", "c", "d", "e"]);
    assert_eq!(read_sorted(&home, &["--since", "0s", "-d"]), [""; 0]);
    assert_eq!(read_sorted(&home, &["--since", &c, "--until", &d]), ["c"]);
    assert_eq!(read_sorted(&home, &["-c", "mailer", "--since", &d, "-d"]), ["d", "e"]);
    let args = ["consumer", "reset", "mailer", "-t", "t", "--to-time", &c, "--yes"];
    home.weir(&args).ok();
    assert_eq!(read_sorted(&home, &["-c", "mailer", "-d"]), ["c", "d", "e"]);
}

#[test]
fn every_byte_comes_back() {
    let home = home_with_cluster();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let inputs: [&[u8]; 7] = [
        b"plain\ntext\n",
        b"\n\n\nempty lines\n\n",
        b"carriage\r\nreturns\r\n\r\n",
        b"no UTF-8: \xff\xfe\xc3\x28\n\0\n",
        b"no final newline",
        b"\n",
        &all_bytes,
    ];
    for (index, input) in inputs.iter().enumerate() {
        let topic = format!("t{index}");
        home.weir(&["topic", "create", &topic]).ok();
        home.weir_with(&["produce", &topic], input).ok();
        let ends = input.ends_with(b"\n");
        let mut args = vec!["consume", topic.as_str(), "-B", "-d"];
        if !ends {
            args.push("--no-final-newline");
        }
        assert_eq!(home.weir(&args).ok().stdout, *input, "input {index}");
    }

    // From a file, larger than any block or batch, compressed, with lines of all lengths.
    let mut large = Vec::new();
    let mut random = 1_u32;
    for _ in 0..20_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (random >> 8) as usize % if random.is_multiple_of(97) { 70_000 } else { 150 };
        large.extend((0..length).map(|i| b' ' + ((random as usize + i * 7) % 90) as u8));
        large.push(b'\n');
    }
    let file = home.file("large", &large);
    for compression in ["none", "zstd", "lz4", "gzip", "snappy"] {
        home.weir(&["topic", "create", compression]).ok();
        let ran = home.weir(&["produce", compression, "-f", &file, "--compression", compression]);
        assert!(ran.ok().text().starts_with("20,000 records acknowledged"));
        assert!(
            home.weir(&["consume", compression, "-B", "-d"]).ok().stdout == large,
            "{compression}"
        );
    }
    // Nothing is nothing.
    home.weir(&["topic", "create", "empty"]).ok();
    assert!(home.weir_with(&["produce", "empty"], b"").ok().text().starts_with("0 records"));
    assert_eq!(home.weir(&["consume", "empty", "-B", "-d"]).ok().stdout, b"");
}

#[test]
fn partitions_keys_and_formats() {
    let home = home_with_cluster();
    home.weir(&["topic", "create", "chat", "-p", "3"]).ok();
    let ran = home.weir_with(&["produce", "chat", "--partition", "99"], b"x\n");
    let ran = ran.refused(1, "no partition 99: it has partitions 0 to 2");
    assert!(ran.hint().contains("add-partition chat"), "{ran:?}");
    home.weir(&["consume", "chat", "-p", "99", "-B", "-d"]).refused(1, "no partition 99");

    home.weir_with(&["produce", "chat", "-p", "1"], b"one\n").ok();
    assert_eq!(home.weir(&["consume", "chat", "-B", "-d", "-p", "0", "-p", "2"]).ok().text(), "");
    assert_eq!(home.weir(&["consume", "chat", "-B", "-d", "-p", "1"]).ok().text(), "one\n");

    home.weir(&["topic", "create", "keys"]).ok();
    let args = ["produce", "keys", "--key-separator", "=>"];
    home.weir_with(&args, b"a=>1\nb=>2=>3\n=>\n").ok();
    let ran =
        home.weir_with(&args, b"c=>4\nnothing\nd=>5\n").refused(1, "line 2 has no key separator");
    assert!(ran.text().starts_with("1 record acknowledged"), "what came before stands: {ran:?}");
    let consume =
        |more: &[&str]| home.weir(&[&["consume", "keys", "-B", "-d"], more].concat()).ok().text();
    assert_eq!(consume(&["-k"]), "[a] 1\n[b] 2=>3\n[] \n[c] 4\n");
    assert_eq!(
        consume(&["--format", "{{partition}}/{{offset}}\\t{{key}}={{value}}", "-n", "2"]),
        "0/0\ta=1\n0/1\tb=2=>3\n"
    );
    let first: serde_json::Value =
        serde_json::from_str(consume(&["-o", "json"]).lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["key"], &first["value"], &first["offset"]),
        (&json!("a"), &json!("1"), &json!(0))
    );
    assert!(consume(&["-o", "table"]).starts_with("PARTITION"));
    assert!(consume(&["-o", "yaml", "-n", "1"]).starts_with("---\npartition: 0\noffset: 0\n"));

    assert_eq!(home.weir(&["consume", "keys", "--start-offset", "3", "-d"]).ok().text(), "4\n");
    let ran = home.weir(&["consume", "keys", "--start-offset", "99", "-d"]).refused(1, "99");
    assert!(ran.hint().contains("--start-offset 0 to 4"), "{ran:?}");
    for verb in ["produce", "consume"] {
        let ran = home.weir(&[verb, "kesy"]).refused(1, "no topic kesy");
        assert!(ran.hint().contains("did you mean keys?"), "{ran:?}");
    }
}

#[test]
fn a_line_that_is_too_long_is_named_and_what_came_before_stands() {
    let home = home_with_cluster();
    home.weir(&["topic", "create", "t"]).ok();
    let ran = home.weir_with(
        &["produce", "t", "--max-line-bytes", "10", "-o", "json"],
        b"short\n12345678901\nnever\n",
    );
    let ran = ran.refused(1, "line 2 is longer than 10 bytes");
    assert_eq!(ran.json()["acknowledged"], 1);
    // Within the bound for lines, beyond the one for batches.
    let mut input = b"fits\n".to_vec();
    input.extend(vec![b'x'; 1 << 20]);
    let ran = home.weir_with(&["produce", "t"], &input).refused(1, "line 2: the record needs");
    assert!(ran.text().starts_with("1 record acknowledged"), "{ran:?}");
    assert_eq!(home.weir(&["consume", "t", "-B", "-d"]).ok().text(), "short\nfits\n");
}

#[test]
fn a_tail_is_live_and_ctrl_c_ends_in_order() {
    let home = home_with_cluster();
    home.weir(&["topic", "create", "t"]).ok();
    let mut tail = home.spawn(&["consume", "t", "-B"]);
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut producer = home.command(&["produce", "t"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    for line in ["first", "second"] {
        // Each comes through while both go on: neither end of input nor of output is needed.
        writeln!(input, "{line}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), line);
    }
    let interrupt = |pid: u32| kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGINT);
    interrupt(producer.id()).unwrap();
    let ran = finish(producer).ok();
    assert!(ran.text().starts_with("2 records acknowledged"), "{ran:?}");
    interrupt(tail.id()).unwrap();
    finish(tail).ok();

    // More was asked for than there is: then it was not done.
    let mut child = home.spawn(&["consume", "t", "-B", "-n", "3"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!([(); 2].map(|()| lines.next().unwrap().unwrap()), ["first", "second"]);
    interrupt(child.id()).unwrap();
    finish(child).refused(130, "interrupted after 2 records");

    // A file has an end, also as standard input.
    let file = home.file("long", &b"x\n".repeat(8_000_000));
    home.weir(&["topic", "create", "long"]).ok();
    let input = std::fs::File::open(file).unwrap();
    let producer = home.command(&["produce", "long"]).stdin(input).spawn().unwrap();
    // It has begun, and has far to go.
    assert_eq!(home.weir(&["consume", "long", "-B", "-n", "1"]).ok().text(), "x\n");
    interrupt(producer.id()).unwrap();
    finish(producer).refused(130, "before the end of the file");

    // A reader that has enough.
    home.weir_with(&["produce", "t"], &b"more\n".repeat(100_000)).ok();
    let mut child = home.spawn(&["consume", "t", "-B"]);
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let ran = finish(child);
    assert_eq!((first.as_str(), ran.code, ran.stderr.as_str()), ("first\n", 0, ""));
}

/// Until no thread of a process that was told to stop runs any more: on a busy machine they still
/// do for a while.
fn await_stop(pid: u32) {
    let is_stopped = |task: &Path| {
        let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    loop {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        if tasks.flatten().all(|task| is_stopped(&task.path())) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_written_behind_a_record_that_was_not_acknowledged() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create", "--spus", "1"]).ok();
    home.weir(&["topic", "create", "t"]).ok();
    let mut tail = home.spawn(&["consume", "t", "-B"]);
    let mut written = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut producer = home
        .command(&["produce", "t", "--timeout", "1s", "-o", "json"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = producer.stdin.take().unwrap();
    writeln!(input, "1").unwrap();
    assert_eq!(written.next().unwrap().unwrap(), "1");
    tail.kill().unwrap();
    tail.wait().unwrap();

    // The SPU is away for longer than a record may take, and then there again.
    let spus: Vec<_> =
        home.servers().into_iter().filter(|pid| *pid != home.control_plane()).collect();
    let tell = |signal| {
        for pid in &spus {
            kill(Pid::from_raw(i32::try_from(*pid).unwrap()), signal).unwrap();
        }
    };
    assert_eq!(spus.len(), 1);
    tell(Signal::SIGSTOP);
    spus.iter().for_each(|pid| await_stop(*pid));
    // Until nobody reads any more: the producer ends although its input does not.
    let lines = (2..).take_while(|line| writeln!(input, "{line}").is_ok()).count();
    tell(Signal::SIGCONT);
    let ran = finish(producer).refused(1, "line 2 was the first that was not");
    assert!(lines > 0);
    let told = ran.json();
    assert_eq!(
        (&told["acknowledged"], &told["first_not_acknowledged_line"]),
        (&json!(1), &json!(2))
    );
    assert!(told["lines_read"].as_u64() > Some(1));

    // What is there is a beginning of the input: no hole.
    let text = home.weir(&["consume", "t", "-B", "-d"]).ok().text();
    let there: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(there, (1..=there.len()).collect::<Vec<_>>());
}

#[test]
fn lines_typed_by_hand_are_answered_one_by_one() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create"]).ok();
    home.weir(&["topic", "create", "t"]).ok();
    let typed = home.weir_with(&["produce", "t", "--interactive"], b"one\ntwo\n").ok();
    let answers: Vec<&str> = typed.stderr.lines().filter(|line| line.contains("ok ")).collect();
    assert!(answers[0].ends_with("ok 0@0") && answers[1].ends_with("ok 0@1"), "{typed:?}");
    assert!(typed.stderr.contains("> ") && typed.stderr.contains("Ctrl-D ends"), "{typed:?}");

    // A line that can be no record is told and passed over.
    let args = ["produce", "t", "--interactive", "--key-separator", ":"];
    let typed = home.weir_with(&args, b"k:v\nnothing\nk:w\n");
    assert_eq!(typed.code, 1, "{typed:?}");
    assert!(typed.stderr.contains("line 2 has no key separator"), "{typed:?}");
    assert!(typed.stderr.contains("ok 0@3") && typed.stderr.contains("1 line was not sent"));

    // On a terminal it prompts by itself.
    let line = format!("{} produce t", env!("CARGO_BIN_EXE_weir"));
    let script = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("WEIR_HOME", home.path())
        .env_remove("WEIR_CLUSTER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    // Not every machine has it.
    if let Ok(mut script) = script {
        script.stdin.take().unwrap().write_all(b"typed\n\x04").unwrap();
        let ran = finish(script);
        assert!(ran.code == 0 && ran.text().contains("ok 0@4"), "{ran:?}");
    }
}

#[test]
fn a_whole_input_key_headers_and_rate_are_as_told() {
    let home = Home::for_servers();
    home.weir(&["cluster", "create"]).ok();
    home.weir(&["topic", "create", "t"]).ok();
    let raw = ["produce", "t", "--raw", "--key", "k", "--header", "a=b", "--header", "a=c"];
    home.weir_with(&raw, b"one\ntwo\n").ok();
    let read = home.weir(&["consume", "t", "-B", "-d", "--format", "{{key}}={{value}}"]).ok();
    assert_eq!(read.text(), "k=one\ntwo\n\n");
    home.weir_with(&["produce", "t", "--raw", "--max-line-bytes", "3"], b"four")
        .refused(1, "longer than 3 bytes");
    let begin = std::time::Instant::now();
    home.weir_with(&["produce", "t", "--rate", "20/s"], b"1\n2\n3\n4\n5\n").ok();
    assert!(begin.elapsed() >= std::time::Duration::from_millis(190));
    home.weir(&["produce", "t", "--rate", "0/s"]).refused(2, "a rate is a number");
    home.weir(&["produce", "t", "--header", "a"]).refused(2, "a header is KEY=VALUE");
    home.weir(&["produce", "t", "--raw", "--rate", "1/s"]).refused(2, "cannot be used with");
}
