//! The import rules of ARCHITECTURE.md, checked over manifests and sources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A crate may not depend directly on these (development dependencies aside).
const CRATES: [(&str, &[&str]); 5] = [
    (
        "protocol",
        &[
            "tokio",
            "weir-runtime",
            "weir-control-plane",
            "weir-dataplane",
            "weir-client",
            "weir-cli",
        ],
    ),
    (
        "runtime",
        &["weir-protocol", "weir-control-plane", "weir-dataplane", "weir-client", "weir-cli"],
    ),
    ("dataplane", &["weir-control-plane", "weir-client", "weir-cli", "rusqlite", "sqlx"]),
    ("control-plane", &["weir-dataplane", "weir-client", "weir-cli"]),
    ("client", &["weir-control-plane", "weir-dataplane", "weir-cli", "rusqlite", "sqlx"]),
];

/// Files below a folder may not contain these texts. `except` are files that may.
struct Rule {
    below: &'static str,
    forbidden: &'static [&'static str],
    except: &'static [&'static str],
    why: &'static str,
}

const SOURCES: [Rule; 10] = [
    Rule {
        below: "control-plane/src/http",
        forbidden: &["crate::store::", "rusqlite", "sqlx", "SELECT ", "INSERT INTO"],
        except: &[],
        why: "edges call use cases, never SQL",
    },
    Rule {
        below: "control-plane/src/plan",
        forbidden: &[
            "crate::app",
            "crate::http",
            "crate::spu_api",
            "crate::reconcile",
            "tokio::",
            "async fn",
        ],
        except: &[],
        why: "decisions are pure: snapshots in, decisions out",
    },
    Rule {
        below: "control-plane/src",
        forbidden: &["SELECT ", "INSERT INTO", "DELETE FROM", "UPDATE SET"],
        except: &["control-plane/src/store/"],
        why: "store/ holds the only SQL",
    },
    Rule {
        below: "dataplane/src/replica",
        forbidden: &[
            "tokio",
            "async fn",
            "crate::log",
            "crate::handler",
            "crate::session",
            "crate::partition",
            "weir_runtime::disk",
            "weir_runtime::net",
            "weir_runtime::rpc",
            "weir_runtime::clock",
        ],
        except: &[],
        why: "the replica is a pure state machine",
    },
    Rule {
        below: "dataplane/src/log",
        forbidden: &[
            "weir_runtime::net",
            "weir_runtime::rpc",
            "weir_runtime::http",
            "tonic",
            "crate::handler",
            "crate::session",
            "crate::replica",
        ],
        except: &[],
        why: "the log knows disks, not networks",
    },
    Rule {
        below: "sim-tests/src/oracle",
        forbidden: &["weir_dataplane", "weir_control_plane", "weir_client", "weir_protocol"],
        except: &[],
        why: "the oracle would inherit the bugs that it judges",
    },
    Rule {
        below: "sim-tests/src/scenarios",
        forbidden: &["weir_dataplane", "weir_control_plane", "rusqlite"],
        except: &[],
        why: "scenarios act only through the client and the HTTP API",
    },
    Rule {
        below: "cli/src",
        forbidden: &["weir_control_plane", "weir_dataplane"],
        except: &["cli/src/cmd/run", "cli/src/cmd/debug/", "cli/src/main.rs", "cli/src/args.rs"],
        why: "the CLI talks to servers only through the client; `run` is the servers, and `debug` \
              reads with the log's own code what they left on a disk",
    },
    Rule {
        below: "protocol/src",
        forbidden: &["tokio", "std::fs", "std::net", "async fn"],
        except: &[],
        why: "the vocabulary does no I/O",
    },
    Rule {
        below: "",
        forbidden: &["rand::thread_rng", "tokio::fs", "std::thread::spawn"],
        except: &[
            "sim-tests/",
            "runtime/",
            "cli/",
            "dataplane/tests/",
            "client/tests/",
            "control-plane/tests/",
        ],
        why: "time, randomness, disk, network and spawning go through the seam",
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(below) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What of `text` a rule forbids. Comments may name anything.
fn breaks(rule: &Rule, text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| {
            rule.forbidden.iter().filter(|f| line.contains(**f)).map(|f| (*f).to_owned())
        })
        .collect()
}

/// Forbidden direct dependencies of a manifest.
fn broken_dependencies(manifest: &str, forbidden: &[&str]) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut tables = vec![&manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    tables
        .iter()
        .flat_map(|table| ["dependencies", "build-dependencies"].map(|kind| table.get(kind)))
        .flatten()
        .filter_map(toml::Value::as_table)
        .flat_map(toml::Table::keys)
        .filter(|name| forbidden.contains(&name.as_str()))
        .cloned()
        .collect()
}

#[test]
fn no_crate_depends_on_what_it_must_not_know() {
    for (krate, forbidden) in CRATES {
        let manifest = fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
        let broken = broken_dependencies(&manifest, forbidden);
        assert!(broken.is_empty(), "{krate} must not depend on {broken:?}");
    }
}

#[test]
fn no_source_imports_what_it_must_not_know() {
    let root = root();
    let this =
        root.join(file!().trim_start_matches("sim-tests/").replace("tests/", "sim-tests/tests/"));
    for rule in SOURCES {
        let mut files = Vec::new();
        sources(&root.join(rule.below), &mut files);
        assert!(!files.is_empty(), "nothing below {:?}: the rule guards nothing", rule.below);
        for file in files.iter().filter(|file| **file != this) {
            let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            if rule.except.iter().any(|except| name.starts_with(except)) {
                continue;
            }
            let broken = breaks(&rule, &fs::read_to_string(file).unwrap());
            assert!(broken.is_empty(), "{name} contains {broken:?}: {}", rule.why);
        }
    }
}

/// Lines that switch worlds without a comment, on them or right above, that says why.
fn unexplained_switches(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let switch = |line: &str| line.contains("cfg") && line.contains("madsim");
    let explains = |line: &str| line.trim_start().starts_with("//");
    let unexplained = |at: &usize| {
        let above = at.checked_sub(1).and_then(|above| lines.get(above));
        let line = lines[*at];
        switch(line) && !line.contains("//") && !above.is_some_and(|above| explains(above))
    };
    (0..lines.len()).filter(unexplained).map(|at| lines[at].to_owned()).collect()
}

#[test]
fn the_worlds_differ_in_the_runtime_alone() {
    for krate in ["protocol", "dataplane", "control-plane", "client", "cli"] {
        let mut files = Vec::new();
        sources(&root().join(krate).join("src"), &mut files);
        assert!(!files.is_empty(), "nothing in {krate}");
        for file in files {
            let found = unexplained_switches(&fs::read_to_string(&file).unwrap());
            assert!(found.is_empty(), "{} switches worlds: {found:?}", file.display());
        }
    }
    assert_eq!(unexplained_switches("x\n#[cfg(madsim)]").len(), 1);
    assert_eq!(unexplained_switches("// Why.\n#[cfg(madsim)]").len(), 0);
}

#[test]
fn a_broken_rule_is_found() {
    let rule = &SOURCES[3];
    assert_eq!(breaks(rule, "use tokio::sync::mpsc;"), ["tokio"]);
    assert_eq!(breaks(rule, "// tokio may be named here"), Vec::<String>::new());
    let manifest = "[dependencies]\nweir-client.workspace = true\n[dev-dependencies]\nsqlx = \"1\"";
    assert_eq!(broken_dependencies(manifest, CRATES[2].1), ["weir-client"]);
    let manifest = "[target.'cfg(unix)'.dependencies]\nsqlx = \"1\"";
    assert_eq!(broken_dependencies(manifest, CRATES[2].1), ["sqlx"]);
}
