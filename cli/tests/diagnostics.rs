//! What a bug report needs, and nothing that is secret.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
};

use serde_json::{Value, json};
use support::{Home, end, far::Far};

/// The files in a bundle, by what follows the folder that all of them lie in.
fn read(path: &str) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        assert!(name.starts_with("weir-diagnostics-"), "{name}");
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name.split_once('/').unwrap().1.to_owned(), text)
    });
    entries.collect()
}

#[test]
fn no_secret_is_in_it_and_it_needs_no_control_plane() {
    let home = Home::for_servers();
    let made = home.weir(&["cluster", "create", "dev", "-o", "json"]).ok().json();
    home.weir(&["topic", "create", "orders"]).ok();
    home.weir_with(&["produce", "orders"], b"what-a-record-holds\n").ok();
    home.weir(&["consume", "orders", "-B", "-d", "-c", "billing"]).ok();

    // Secrets of this home and of others get into a log.
    let own = fs::read_to_string(home.path().join("control-plane/admin-key")).unwrap();
    let hex = "0123456789abcdef".repeat(4);
    let other = format!("weir_prod_{}_{hex}_0011aabb", &hex[..32]);
    let folder = home.path().join("clusters").join(made["id"].as_str().unwrap());
    let log = folder.join("spu-1/spu.log");
    let planted = format!(
        "the key is {own}\nand {other};\nAuthorization: Bearer tok-en.123456\n\
         url=postgres://weir:pass-word@db/weir WEIR_LAUNCH_SECRET={hex}{hex}\nthis stays\n"
    );
    OpenOptions::new().append(true).open(&log).unwrap().write_all(planted.as_bytes()).unwrap();

    let path = home.file("b.tar.gz", b"");
    fs::remove_file(&path).unwrap();
    let write = ["cluster", "diagnostics", "--file", &path];
    let told = home.weir(&write).ok().text();
    assert!(told.contains("logs/spu-1.log") && told.contains("left out: keys, tokens"), "{told}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let files = read(&path);
    for name in [
        "about.json",
        "check.json",
        "api/cluster.json",
        "api/topics.json",
        "api/consumers.json",
        "api/operations.json",
        "api/spus.json",
        "logs/control-plane.log",
        "profiles.toml",
    ] {
        assert!(files.contains_key(name), "no {name} in {:?}", files.keys());
    }
    assert!(files["api/topics.json"].contains("orders"));
    assert!(files["api/consumers.json"].contains("billing"));
    assert!(files["logs/spu-1.log"].contains("\nthis stays\n"));
    let about: Value = serde_json::from_str(&files["about.json"]).unwrap();
    assert_eq!(about["cluster"], json!("dev"));
    let token = fs::read_to_string(home.path().join("tokens").join(made["id"].as_str().unwrap()));
    let token: Value = serde_json::from_str(&token.unwrap()).unwrap();
    let secret = own.trim().rsplit('_').nth(1).unwrap().to_owned();
    for secret in [
        own.trim(),
        &secret,
        &other,
        &hex,
        "tok-en",
        "pass-word",
        "what-a-record-holds",
        token["token"].as_str().unwrap(),
    ] {
        for (name, text) in &files {
            assert!(!text.contains(secret), "{secret} is in {name}");
        }
    }

    // Never over another one unless that is said; and without anybody to ask.
    home.weir(&write).refused(1, "is there already");
    end(home.control_plane());
    let args = [&write[..], &["--force", "--lines", "3", "-o", "json"]].concat();
    let told = home.weir(&args).ok().json();
    assert!(told["redacted"].as_u64().unwrap() >= 1, "{told}");
    let left = told["left_out"].as_array().unwrap();
    assert!(
        left.iter().any(|l| l.as_str().unwrap().starts_with("api: the control plane")),
        "{told}"
    );
    let files = read(&path);
    assert_eq!(files["logs/control-plane.log"].lines().count(), 3);
    assert!(files["check.json"].contains("control plane") && !files.contains_key("api/spus.json"));
}

#[test]
fn of_another_control_plane_only_what_it_says_is_in_it() {
    let home = Home::for_servers();
    let far = Far::start(&home);
    let mut connect = home.command(&["cloud", "connect", "--url", &far.url, "orders", "--create"]);
    support::finish(connect.env("WEIR_API_KEY", &far.key).spawn().unwrap()).ok();
    let path = format!("{}/b.tar.gz", home.path().parent().unwrap().display());
    home.weir(&["cluster", "diagnostics", "--file", &path]).ok();
    let files = read(&path);
    assert!(files["api/cluster.json"].contains("orders"));
    assert!(files["about.json"].contains(&far.url));
    let local = |name: &String| name.starts_with("logs/") || name == "profiles.toml";
    assert!(!files.keys().any(local), "{:?}", files.keys());
    assert!(files.values().all(|text| !text.contains(&far.key)));
}
