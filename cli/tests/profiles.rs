//! Clusters of a control plane that is not the home's, with the real binary and real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use support::{Home, Ran, entries, far::Far, finish};

fn with_key(home: &Home, key: &str, args: &[&str]) -> Ran {
    finish(home.command(args).env("WEIR_API_KEY", key).spawn().unwrap())
}

#[test]
fn a_cluster_of_another_control_plane_is_used_like_one_s_own() {
    let home = Home::for_servers();
    let mut far = Far::start(&home);
    let url = far.url.clone();
    assert!(!home.path().join("profiles.toml").exists(), "a refusal saved something");

    // Mistakes first: nothing is saved by them.
    let connect = ["cloud", "connect", "--url", &url];
    home.weir(&connect).refused(2, "no key for the control plane");
    with_key(&home, "weir_local_0a_b_c", &connect).refused(1, "key");
    with_key(&home, "two words", &connect).refused(2, "there is no key in WEIR_API_KEY");
    let missing = with_key(&home, &far.key, &["cloud", "connect", "--url", &url, "orders"]);
    assert!(missing.refused(1, "has no cluster orders").hint().contains("--create"));
    let nobody = ["cloud", "connect", "--url", "http://127.0.0.1:1", "--timeout", "2s"];
    with_key(&home, &far.key, &nobody).refused(1, "127.0.0.1:1");
    with_key(&home, &far.key, &["cloud", "connect", "--url", "https://h"]).refused(2, "TLS");
    assert!(entries(&home.path().join("keys")).is_empty());

    let made = ["cloud", "connect", "--url", &url, "orders", "--create", "-o", "json"];
    let made = with_key(&home, &far.key, &made).ok();
    assert!(!made.text().contains(&far.key), "the key is printed");
    let made = made.json();
    assert_eq!((&made["profile"], &made["reachable"]), (&json!("orders"), &json!(true)));
    let keys = entries(&home.path().join("keys"));
    assert_eq!(keys.len(), 1);
    assert_eq!(std::fs::metadata(&keys[0]).unwrap().permissions().mode() & 0o777, 0o600);
    let profiles = std::fs::read_to_string(home.path().join("profiles.toml")).unwrap();
    assert!(!profiles.contains(&far.key));

    // Every command means it; by another name as well.
    home.weir(&["topic", "create", "t", "-p", "2"]).ok();
    home.weir_with(&["produce", "t"], b"a\nb\n").ok();
    let add = home.weir_with(
        &["profile", "add", "prod", "--url", &url, "--cluster", "orders", "--key-stdin"],
        far.key.as_bytes(),
    );
    add.ok();
    for line in ["consume t -B -d --profile prod", "consume t -B -d --cluster prod"] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(home.weir(&words).ok().text().lines().count(), 2);
    }
    assert_eq!(home.weir(&["partition", "list", "t", "-o", "json"]).ok().json()[1]["index"], 1);
    assert!(home.weir(&["cluster", "status"]).ok().text().contains(&url));
    assert_eq!(home.weir(&["cluster", "list", "-o", "json"]).ok().json()[0]["name"], "orders");
    home.weir(&["cluster", "logs"]).refused(1, "its logs are not here");
    let check = home.weir(&["cluster", "check"]).ok().text();
    assert!(check.contains("✓ SPUs") && check.contains("✓ key"), "{check}");
    let status = home.weir(&["cloud", "status", "-o", "json"]).ok().json();
    assert_eq!(status["reachable"], true);

    // Beside it a cluster of the home's own, which is current then; names are kept apart.
    home.weir(&["cluster", "create", "orders"]).refused(1, "is a profile of a cluster at");
    home.weir(&["cluster", "create", "own"]).ok();
    home.weir(&["topic", "describe", "t"]).refused(1, "has no topic t");
    home.weir(&["topic", "describe", "t", "--profile", "prod"]).ok();
    home.weir(&["profile", "rename", "own", "mine"]).ok();
    assert_eq!(home.weir(&["profile", "current", "-o", "json"]).ok().json()["cluster"], "own");
    assert!(home.weir(&["cluster", "list"]).ok().text().contains("* "));
    let names = home.weir(&["profile", "list", "-o", "json"]).ok().json();
    let names: Vec<&str> =
        names.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mine", "orders", "prod"]);
    home.weir(&["cluster", "delete", "mine", "--yes"]).ok();
    let list = home.weir(&["profile", "list"]).ok().text();
    assert!(!list.contains("mine") && !list.contains(&far.key), "{list}");

    // Its life, ordered from here.
    home.weir(&["profile", "switch", "prodd"]).refused(1, "there is no profile prodd");
    home.weir(&["profile", "switch", "prod"]).ok();
    home.weir(&["cluster", "shutdown"]).ok();
    home.weir(&["produce", "t"]).refused(1, "is shut down");
    home.weir(&["cluster", "resume"]).ok();
    assert_eq!(home.weir(&["consume", "t", "-B", "-d"]).ok().text().lines().count(), 2);

    // While the control plane is away records go on.
    far.crash();
    let read = home.weir(&["consume", "t", "-B", "-d", "--timeout", "5s"]).ok();
    assert!(read.stderr.contains("cannot be reached"), "{read:?}");
    assert!(read.stderr.contains("going on with what is known"), "{read:?}");
    let check = home.weir(&["cluster", "check", "--timeout", "2s"]).refused(1, "wrong");
    assert!(check.text().contains("cannot be reached"), "{check:?}");

    // Forgetting takes the key along, and touches nothing else.
    home.weir(&["cloud", "disconnect", "orders"]).ok();
    assert_eq!(entries(&home.path().join("keys")).len(), 1);
    let gone = home.weir(&["profile", "delete", "prod"]).ok();
    assert!(gone.stderr.contains("was not touched"), "{gone:?}");
    assert!(entries(&home.path().join("keys")).is_empty());
    assert!(entries(&home.path().join("tokens")).is_empty());
    home.weir(&["profile", "current"]).refused(1, "there is no cluster yet");
}

#[test]
fn a_name_means_one_cluster_for_every_command() {
    let home = Home::for_servers();
    let far = Far::start(&home);
    let url = far.url.clone();
    home.weir(&["cluster", "create", "same"]).ok();
    let add = ["profile", "add", "there", "--url", &url, "--cluster", "same", "--key-stdin"];
    let connect = ["cloud", "connect", "--url", &url, "other", "--create"];
    with_key(&home, &far.key, &connect).ok();
    home.weir(&["cluster", "create", "same", "--profile", "other"]).refused(1, "profile same");
    home.weir(&["profile", "rename", "same", "mine"]).ok();
    home.weir(&["cluster", "create", "same", "--profile", "other"]).ok();
    home.weir(&["profile", "delete", "same"]).ok();
    home.weir(&["profile", "rename", "mine", "same"]).ok();
    home.weir_with(&add, far.key.as_bytes()).ok();
    home.weir(&["profile", "switch", "there"]).ok();

    // The home's own and one of another control plane, told apart by profile.
    let id = |args: &[&str]| {
        let args: Vec<&str> =
            ["cluster", "status", "-o", "json"].iter().chain(args).copied().collect();
        home.weir(&args).ok().json()["id"].as_str().unwrap().to_owned()
    };
    let profile = || {
        let text = std::fs::read_to_string(home.path().join("profiles.toml")).unwrap();
        let profiles: toml::Table = text.parse().unwrap();
        profiles["clusters"]["same"].clone()
    };
    let local = id(&["same"]);
    let before = profile();
    let remote = id(&[]);
    assert_ne!(local, remote);
    assert_eq!(before["id"].as_str(), Some(local.as_str()));
    for words in [&["--name", "same"], &["--cluster", "same"], &["same", "--cluster=there"][..]] {
        assert_eq!(id(words), local, "{words:?}");
    }
    for words in [&["there"][..], &["--profile", "there"], &["same", "--profile", "there"][..]] {
        assert_eq!(id(words), remote, "{words:?}");
    }
    let text = home.weir(&["cluster", "status", "there"]).ok().text();
    assert!(text.contains(&url), "{text}");
    let text = home.weir(&["cluster", "status", "same"]).ok().text();
    assert!(!text.contains(&url), "{text}");

    // Scale acts on the one that is meant, and so does what looks at its operations.
    let scaled = home.weir(&["cluster", "scale", "there", "--spus", "2"]).ok();
    assert!(scaled.text().contains(&format!("cluster same at {url} has 2 SPUs now: 1, 2")));
    let again = home.weir(&["cluster", "scale", "--spus", "2", "--profile", "there"]).ok();
    assert!(again.text().contains("has 2 SPUs already: 1, 2"), "{again:?}");
    assert!(!again.stderr.contains("done"), "{again:?}");
    let had = home.weir(&["cluster", "scale", "same", "--spus", "1"]).ok();
    assert_eq!(had.text().trim(), "cluster same has 1 SPU already: 1");
    let kinds = |name: &str| {
        let list = home.weir(&["cluster", "operation", "list", name, "-o", "json"]).ok().json();
        list.as_array().unwrap().len()
    };
    assert!(kinds("there") > kinds("same"));
    let count = |name: &str| {
        let list = home.weir(&["cluster", "spu", "list", name, "-o", "json"]).ok().json();
        list["spus"].as_array().unwrap().len()
    };
    assert_eq!((count("same"), count("there")), (1, 2));
    assert_eq!(profile(), before, "a look at the other one changed it");

    // And so does what cannot be undone.
    let stopped = home.weir(&["cluster", "shutdown", "there"]).ok().text();
    assert!(stopped.contains(&format!("same at {url}")), "{stopped}");
    assert!(stopped.contains("resume --name there"), "{stopped}");
    home.weir(&["cluster", "resume", "same", "--profile", "there"]).ok();
    let gone = home.weir(&["cluster", "delete", "there", "-y"]).ok().text();
    assert!(gone.contains(&format!("same at {url}")), "{gone}");
    assert_eq!(id(&["same"]), local);
    assert_eq!(profile(), before);
    home.weir(&["profile", "switch", "other"]).ok();
    home.weir(&["cluster", "delete", "same", "-y"]).ok();
    let left = home.weir(&["cluster", "list", "-o", "json"]).ok().json();
    assert_eq!(left[0]["name"], "other");
}

#[test]
fn logs_are_shown_and_what_is_wrong_is_found() {
    let home = Home::for_servers();
    let checked = home.weir(&["cluster", "check", "-o", "json"]).ok().json();
    assert!(checked.as_array().unwrap().iter().all(|finding| finding["verdict"] != "wrong"));
    assert!(!home.path().exists(), "looking left something behind");
    home.weir(&["cluster", "logs"]).refused(1, "there is no cluster yet");

    home.weir(&["cluster", "create", "a", "--spus", "2"]).ok();
    let both = home.weir(&["cluster", "logs"]).ok().text();
    assert!(both.contains("spu-1 | ") && both.contains("spu-2 | "), "{both}");
    let one = home.weir(&["cluster", "logs", "--spu", "2", "--lines", "1"]).ok().text();
    assert!(one.lines().count() >= 1 && !one.contains("spu-2 |"), "{one}");
    assert!(!home.weir(&["cluster", "logs", "--control-plane"]).ok().text().is_empty());
    home.weir(&["cluster", "logs", "--spu", "7"]).refused(1, "no log of an SPU 7");
    home.weir(&["cluster", "logs", "b"]).refused(1, "there is no cluster b");
    assert!(home.weir(&["cluster", "check"]).ok().text().contains("✓ SPUs"));

    // Permissions are found and mended.
    let key = home.path().join("control-plane/admin-key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = home.weir(&["cluster", "check"]).refused(1, "1 thing is wrong");
    assert!(found.hint().contains("--fix") && found.text().contains("✗ permissions"), "{found:?}");
    assert!(home.weir(&["cluster", "check", "--fix"]).ok().text().contains("fixed: "));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    // A control plane that died is told of.
    support::end(home.control_plane());
    let found = home.weir(&["cluster", "check"]).refused(1, "wrong");
    assert!(found.text().contains("✗ control plane  it is not running"), "{found:?}");
    home.weir(&["cluster", "shutdown"]).ok();

    // A damaged file is written anew only when nothing runs.
    std::fs::write(home.path().join("control-plane/endpoint.json"), "{").unwrap();
    home.weir(&["cluster", "check"]).refused(1, "wrong");
    assert!(home.weir(&["cluster", "check", "--fix"]).ok().text().contains("written anew"));
    home.weir(&["cluster", "resume"]).ok();
    home.weir(&["cluster", "delete", "--yes"]).ok();
}
