//! A cluster comes to run another build, one process after the other: the real binary and a copy of
//! it that is one byte longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod support;

use std::{collections::BTreeSet, fs, io::Write as _, process::Command};

use support::{Home, Ran, finish};

fn other_build(home: &Home) -> impl Fn(&[&str]) -> Ran + '_ {
    let path = home.path().join("weir-other");
    fs::copy(env!("CARGO_BIN_EXE_weir"), &path).unwrap();
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"!").unwrap();
    drop(file);
    move |arguments| {
        let like = home.command(arguments);
        let mut command = Command::new(&path);
        command.args(arguments).stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        for (name, value) in like.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        finish(command.spawn().unwrap())
    }
}

/// The programs that the home's servers run, as the system says.
fn programs(home: &Home) -> BTreeSet<String> {
    let of = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    home.servers().into_iter().map(|pid| of(pid).to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_cluster_is_upgraded_one_by_one_and_what_is_done_is_left_alone() {
    let home = Home::for_servers();
    let nothing = home.weir(&["cluster", "upgrade"]);
    nothing.refused(1, "");
    home.weir(&["cluster", "create", "dev", "--spus", "2"]).ok();
    home.weir(&["topic", "create", "orders", "-p", "2"]).ok();
    home.weir_with(&["produce", "orders"], b"a\nb\n").ok();
    let same = home.weir(&["cluster", "upgrade"]).ok().text();
    assert!(same.contains("runs this build already"), "{same}");

    let other = other_build(&home);
    let before = programs(&home);
    let plan = other(&["cluster", "upgrade", "--dry-run", "-o", "json"]).ok().json();
    let spus: Vec<_> = plan["spus"].as_array().unwrap().iter().map(|spu| &spu["spu_id"]).collect();
    assert_eq!((spus[0].as_u64(), spus[1].as_u64(), spus.len()), (Some(1), Some(2), 2));
    assert_eq!(programs(&home), before, "a dry run changes nothing");

    let done = other(&["cluster", "upgrade"]).ok().text();
    assert!(done.contains("the control plane and 2 SPUs started anew"), "{done}");
    let after = programs(&home);
    assert_eq!(after.len(), 1, "{after:?}");
    assert!(after.iter().all(|program| program.ends_with("weir-other")), "{after:?}");
    assert_eq!(home.servers().len(), 3);
    let again = other(&["cluster", "upgrade"]).ok().text();
    assert!(again.contains("already"), "{again}");
    assert_eq!(other(&["consume", "orders", "-B", "-d"]).ok().text().lines().count(), 2);

    home.weir(&["cluster", "shutdown"]).ok();
    let stopped = home.weir(&["cluster", "upgrade"]).refused(1, "nothing of this home runs");
    assert!(stopped.hint().contains("weir cluster resume"), "{stopped:?}");
    home.weir(&["cluster", "delete", "--yes"]).ok();
}
