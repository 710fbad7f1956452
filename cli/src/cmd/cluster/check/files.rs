//! The home: whose it is, who may read it, and whether its files can be understood.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::finding::Finding;
use crate::{
    error::CliError,
    home::{Home, keys, profiles::Profiles},
    local::endpoint,
};

/// Files with a secret, or that name who has one, are few. This bounds a look at a strange
/// folder.
const ENTRIES_MAX: usize = 10_000;

/// Looks at the home, and takes permissions away from others if that is asked for.
pub fn check(home: &Home, fix: bool) -> Vec<Finding> {
    let root = home.root();
    if !root.exists() {
        return vec![Finding::good("home", format!("{} is not made yet", root.display()))];
    }
    let mut findings = vec![owner(root)];
    findings.push(permissions(home, fix));
    match Profiles::load(home) {
        Ok(profiles) => {
            let known = crate::out::count(profiles.clusters.len() as u64, "profile");
            findings.push(Finding::good("profiles", known));
        }
        Err(CliError::Told { what, hint, .. }) => {
            findings.push(Finding::wrong("profiles", what, hint));
        }
        Err(CliError::BrokenPipe) => {}
    }
    findings
}

fn owner(root: &Path) -> Finding {
    let me = nix::unistd::geteuid().as_raw();
    match fs::metadata(root) {
        Ok(about) if about.uid() == me => Finding::good("home", root.display().to_string()),
        Ok(about) => Finding::wrong(
            "home",
            format!("{} belongs to user {}, not to you ({me})", root.display(), about.uid()),
            "run weir as its owner, or set WEIR_HOME to a folder of yours",
        ),
        Err(error) => Finding::wrong(
            "home",
            format!("{}: {}", root.display(), crate::error::system(&error)),
            "check who owns it and its permissions (ls -ld)",
        ),
    }
}

fn permissions(home: &Home, fix: bool) -> Finding {
    const CHECK: &str = "permissions";
    let open: Vec<PathBuf> = private(home).into_iter().filter(|path| is_open(path)).collect();
    if open.is_empty() {
        return Finding::good(CHECK, "only you can read what is secret");
    }
    let names: Vec<String> = open.iter().map(|path| path.display().to_string()).collect();
    let found = format!("others may read or change {}", names.join(", "));
    if !fix {
        return Finding::wrong(CHECK, found, format!("chmod go-rwx {}", names.join(" ")));
    }
    match open.iter().try_for_each(|path| close(path)) {
        Ok(()) => Finding::fixed(CHECK, found, "taken away from others"),
        Err(error) => {
            let why = crate::error::system(&error);
            Finding::wrong(CHECK, format!("{found}; {why}"), "run it as the owner of the home")
        }
    }
}

/// What nobody else may read, as far as it is there.
fn private(home: &Home) -> Vec<PathBuf> {
    let control_plane = home.control_plane();
    let mut paths = vec![
        home.root().to_owned(),
        home.profiles(),
        control_plane.clone(),
        endpoint::key_file(home),
        control_plane.join("weir.db"),
        control_plane.join("endpoint.json"),
    ];
    for folder in [home.root().join(keys::FOLDER), home.tokens()] {
        if let Ok(entries) = fs::read_dir(&folder) {
            paths.extend(entries.flatten().map(|entry| entry.path()).take(ENTRIES_MAX));
        }
        paths.push(folder);
    }
    paths
}

/// Links are left alone: what they lead to is not this home's.
fn is_open(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|about| !about.is_symlink() && about.permissions().mode() & 0o077 != 0)
}

fn close(path: &Path) -> std::io::Result<()> {
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o077))
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};

    #[test]
    fn what_is_open_to_others_is_told_and_closed() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().join("home"))).unwrap();
        assert_eq!(check(&home, false).len(), 1);
        let key = keys::save(&home, &"weir_x".into()).unwrap();
        assert!(check(&home, false).iter().all(|finding| finding.verdict == Verdict::Good));
        let path = home.root().join(key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let told = permissions(&home, false);
        assert_eq!(told.verdict, Verdict::Wrong);
        assert!(told.found.contains(path.to_str().unwrap()), "{told:?}");
        assert!(permissions(&home, true).fixed.is_some());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(permissions(&home, false).verdict, Verdict::Good);
    }
}
