//! The real binary without a cluster: help, mistakes, what needs no server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::{os::unix::fs::PermissionsExt as _, process::Stdio};

use support::{Home, finish};

const COMMANDS: &[&str] = &[
    "",
    "quickstart",
    "cluster",
    "cluster create",
    "cluster list",
    "cluster status",
    "cluster shutdown",
    "cluster stop",
    "cluster resume",
    "cluster delete",
    "cluster spu",
    "cluster spu list",
    "cluster spu register",
    "cluster spu unregister",
    "cluster scale",
    "cluster restart",
    "cluster upgrade",
    "cluster logs",
    "cluster check",
    "topic",
    "topic create",
    "topic list",
    "topic describe",
    "topic update",
    "topic delete",
    "topic undelete",
    "topic purge",
    "topic add-partition",
    "partition",
    "partition list",
    "partition describe",
    "partition reassign",
    "produce",
    "consume",
    "consumer",
    "consumer list",
    "consumer describe",
    "consumer delete",
    "consumer reset",
    "profile",
    "profile current",
    "profile list",
    "profile switch",
    "profile add",
    "profile rename",
    "profile delete",
    "cloud",
    "cloud connect",
    "cloud status",
    "cloud disconnect",
    "run",
    "run control-plane",
    "run spu",
    "version",
    "completions",
];

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn every_command_helps_with_an_example_on_standard_output() {
    let home = Home::new();
    for command in COMMANDS {
        let mut args = words(command);
        args.push("--help");
        let help = home.weir(&args).ok().text();
        assert!(help.contains("Example") && help.contains("Usage: weir"), "{command}: {help}");
        assert!(!help.contains("Options of `weir"), "{command} shows internal docs: {help}");
    }
    assert!(!home.path().exists(), "help left something behind");
}

#[test]
fn mistakes_are_told_in_one_sentence_with_a_hint() {
    let home = Home::new();
    for (line, code, part) in [
        ("", 2, "no command was given"),
        ("topics", 2, "unrecognized subcommand"),
        ("topic create", 2, "required arguments"),
        ("topic create orders -p 0", 2, "0 is not in 1..=10000"),
        ("topic create orders -p 10001", 2, "10001 is not in"),
        ("topic create orders -p many", 2, "invalid value"),
        ("topic create t --retention 10ms", 2, "it must be from 1 second"),
        ("topic create t --retention soon", 2, "invalid value"),
        ("topic create t --flush interval", 2, "--flush interval needs --flush-interval"),
        ("topic create t --flush-interval 1s", 2, "--flush-interval needs --flush interval"),
        ("topic update t", 2, "it is not said what should be otherwise"),
        ("topic update t --segment-bytes 1KiB", 2, "it must be from 1.0 MiB to 1.0 GiB"),
        ("topic update t --retention 1d", 1, "there is no cluster yet"),
        ("topic create __mine", 2, "cannot be a topic's name"),
        ("topic create a/b", 2, "cannot be a topic's name"),
        ("cluster create --name Big", 2, "cannot be a cluster's name"),
        ("cluster create --spus 101", 2, "101 is not in 0..=100"),
        ("cluster scale --spus 0", 2, "0 is not in 1..=100"),
        ("cluster create a --name b", 2, "cannot be used with"),
        ("consume t --format {{nothing}}", 2, "there is no {{nothing}}"),
        ("consume t -B --start-offset 3", 2, "cannot be used with"),
        ("consume t --head 1 --tail 2", 2, "cannot be used with"),
        ("consume t --since 10m -B", 2, "cannot be used with"),
        ("consume t --since noon", 2, "say a time in UTC"),
        ("consume t --since 10m --until 20m", 2, "--until is not after --since"),
        ("consume t -c a/b", 2, "the name of a consumer is"),
        ("consume t -c mailer --reset-policy never", 2, "invalid value"),
        ("produce t --compression fast", 2, "invalid value"),
        ("produce t --batch-size 1GiB", 2, "cannot be sent"),
        ("produce t -f /nowhere/at/all", 1, "cannot read /nowhere/at/all: no such file"),
        ("produce t -f /", 1, "it is a folder"),
        ("quickstart /nowhere/at/all", 1, "cannot read /nowhere/at/all"),
        ("consumer describe a/b", 2, "cannot be a consumer's name"),
        ("consumer reset c --topic t", 2, "required arguments"),
        ("consumer reset c --beginning", 2, "required arguments"),
        ("consumer reset c --topic t --end --offset 3", 2, "cannot be used with"),
        ("consumer reset c --topic t --end --to-time 1h", 2, "cannot be used with"),
        ("consumer list", 1, "there is no cluster yet"),
        ("topic list", 1, "there is no cluster yet"),
        ("topic list --cluster other", 1, "there is no cluster in"),
        ("produce t", 1, "there is no cluster yet"),
        ("consume t", 1, "there is no cluster yet"),
        ("cluster status", 1, "there is no cluster yet"),
        ("cluster shutdown", 1, "there is no cluster yet"),
        ("cluster resume", 1, "there is no cluster yet"),
        ("cluster resume gone", 1, "there is no cluster in"),
        ("cluster delete gone --yes", 1, "there is no cluster in"),
        ("profile switch other", 1, "there is no profile other"),
        ("profile rename other new", 1, "there is no profile other"),
        ("profile rename other a/b", 2, "cannot be a profile's name"),
        ("profile delete other", 1, "there is no profile other"),
        ("topic list --profile other", 1, "there is no profile other"),
        ("profile add p --url ftp://h", 2, "the scheme is http"),
        ("profile add p --url https://h", 2, "does not speak TLS"),
        ("profile add p --url http://k@h", 2, "does not belong into the URL"),
        ("profile add p --url h:1", 2, "no key for the control plane"),
        ("cloud connect --url h:1 --create", 2, "required"),
        ("cloud disconnect other", 1, "there is no profile other"),
        ("cluster logs --spu 1 --control-plane", 2, "cannot be used with"),
        ("cluster logs", 1, "there is no cluster yet"),
        ("profile current", 1, "there is no cluster yet"),
        ("run spu --spu-id x", 2, "invalid value"),
    ] {
        let ran = home.weir(&words(line)).refused(code, part);
        assert!(ran.stdout.is_empty(), "{line}: {ran:?}");
    }
    assert!(home.servers().is_empty());
}

#[test]
fn what_needs_no_server_works_without_one() {
    let home = Home::new();
    let version = home.weir(&["version", "-o", "json"]).ok().json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(home.weir(&["version"]).ok().text().starts_with("weir 0."));
    assert!(home.weir(&["--version"]).ok().text().starts_with("weir 0."));
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.weir(&["completions", shell]).ok().text().contains("add-partition"));
    }
    assert_eq!(home.weir(&["cluster", "list", "-o", "json"]).ok().json(), serde_json::json!([]));
    assert_eq!(home.weir(&["profile", "list", "-o", "yaml"]).ok().text().trim(), "[]");
    assert!(!home.path().exists(), "looking left something behind");
}

#[test]
fn a_mistyped_option_names_the_command_s_help_and_no_other_way() {
    let home = Home::new();
    for line in ["topic create x -p -1", "topic create x --foo"] {
        let ran = home.weir(&words(line)).refused(2, "unexpected argument");
        assert!(!ran.stderr.contains("tip: to pass"), "{ran:?}");
        assert_eq!(ran.hint(), "see weir topic create --help");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let mut child = home.command(&["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = finish(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn a_home_that_cannot_be_made_or_understood_is_told() {
    let home = Home::new();
    std::fs::create_dir(home.path()).unwrap();
    std::fs::write(home.path().join("profiles.toml"), "current = 7").unwrap();
    home.weir(&["topic", "list"]).refused(1, "profiles.toml cannot be understood");
    std::fs::remove_file(home.path().join("profiles.toml")).unwrap();
    // Root may write anywhere, so a file stands where a folder should be.
    std::fs::write(home.path().join("control-plane"), "").unwrap();
    home.weir(&["cluster", "create"]).refused(1, "cannot");
    let mode = std::fs::metadata(home.path().join("lock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
