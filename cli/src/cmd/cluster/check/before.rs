//! What could keep a new cluster from running, looked at before anything is started for it.
//!
//! All of it is looked at in a moment: a cluster is made in less than a second.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};
use weir_client::admin::ClusterSpec;

use super::{
    finding::{Finding, Verdict},
    leftovers, machine,
};
use crate::{
    context::Context,
    error::CliError,
    home::profiles::{Profile, Profiles},
    local::{endpoint::State, ports},
    out,
};

/// Looks at what a cluster with this spec needs.
pub async fn look(context: &Context, spec: &ClusterSpec, state: &State) -> Vec<Finding> {
    let home = &context.home;
    // Profiles that cannot be read are told of by whoever needs them.
    let profiles = Profiles::load(home).unwrap_or_default();
    let folder = spec.data_dir.as_ref().map_or_else(|| home.clusters(), PathBuf::from);
    let mut findings = Vec::new();
    findings.extend(free(spec, &profiles));
    findings.push(writable(&folder));
    findings.push(machine::disk(&folder, "choose a folder on another disk with --data-dir"));
    findings.push(machine::open_files());
    let besides = spec.data_dir.as_deref();
    findings.extend(leftovers::find(context, besides, state).await);
    findings
}

/// Refuses what cannot work, and warns of the rest.
///
/// # Errors
/// When something is wrong.
pub fn refuse(context: &Context, name: &str, findings: &[Finding]) -> Result<(), CliError> {
    if let Some(error) = refusal(name, findings) {
        return Err(error);
    }
    for finding in findings.iter().filter(|finding| finding.verdict == Verdict::Doubtful) {
        let remedy = finding.remedy.as_ref().map_or_else(String::new, |told| format!("; {told}"));
        context.ui.warn(&format!("{}: {}{remedy}", finding.check, finding.found));
    }
    Ok(())
}

/// The error of what is wrong, if anything is.
pub fn refusal(name: &str, findings: &[Finding]) -> Option<CliError> {
    let wrong = || findings.iter().filter(|finding| finding.verdict == Verdict::Wrong);
    wrong().next()?;
    let found: Vec<&str> = wrong().map(|finding| finding.found.as_str()).collect();
    let remedies: Vec<&str> = wrong().filter_map(|finding| finding.remedy.as_deref()).collect();
    let what = format!("cluster {name} was not created: {}", found.join("; "));
    Some(CliError::new(what, remedies.join("; ")))
}

/// The ports that were asked for by number. Others are chosen from free ones.
fn free(spec: &ClusterSpec, profiles: &Profiles) -> Option<Finding> {
    const CHECK: &str = "SPU ports";
    let first = spec.port_base?;
    let wanted = (first..=u16::MAX).zip(0..spec.spus).map(|(port, _)| port);
    let taken: Vec<(u16, io::Error)> =
        wanted.clone().filter_map(|port| Some((port, ports::obstacle(port)?))).collect();
    let owner = |port: u16| {
        let address = ports::loopback(port);
        let known = profiles.clusters.iter().filter(|(_, profile)| profile.is_home());
        let mut owners = known.filter(|(_, profile)| profile.endpoints.contains(&address));
        owners.next().map(|(name, profile)| profile.cluster_name(name).to_owned())
    };
    let Some((port, error)) = taken.first() else {
        let shared = wanted.clone().find_map(|port| Some((port, owner(port)?)));
        return Some(match (shared, wanted.clone().next_back()) {
            (Some((port, owner)), _) => Finding::doubtful(
                CHECK,
                format!("port {port} is that of cluster {owner} too: only one of them can run"),
                "choose another --port-base, or none",
            ),
            (None, Some(last)) if last > first => {
                Finding::good(CHECK, format!("{first} to {last} are free"))
            }
            (None, Some(_)) => Finding::good(CHECK, format!("{first} is free")),
            (None, None) => Finding::good(CHECK, "no SPU needs one yet"),
        });
    };
    let others = match taken.len() {
        1 => String::new(),
        n => format!(" (and {} more)", out::thousands(n as u64 - 1)),
    };
    if error.kind() == io::ErrorKind::AddrInUse {
        const OTHER: &str = "choose another --port-base, or none";
        return Some(match owner(*port) {
            Some(name) => Finding::wrong(
                CHECK,
                format!("port {port} is in use by cluster {name}{others}"),
                OTHER,
            ),
            None => Finding::wrong(
                CHECK,
                format!("port {port} is in use by another program{others}"),
                format!("find it with: ss -ltnp 'sport = :{port}'; end it, or {OTHER}"),
            ),
        });
    }
    Some(Finding::wrong(
        CHECK,
        format!("nobody can listen on port {port}: {}{others}", crate::error::system(error)),
        "choose a --port-base of 1024 or more, or none",
    ))
}

/// Whether the ports of a cluster that is shut down are still there for it.
pub fn kept(name: &str, profile: &Profile) -> Option<Finding> {
    const CHECK: &str = "SPU ports";
    let mut ports = profile.endpoints.iter().filter_map(|endpoint| ports::port_of(endpoint));
    let taken = ports.clone().find(|port| !ports::is_free(*port));
    if let Some(port) = taken {
        return Some(Finding::doubtful(
            CHECK,
            format!(
                "port {port} of cluster {name}, which is shut down, is in use by another program"
            ),
            format!("find it with: ss -ltnp 'sport = :{port}'; end it before weir cluster resume"),
        ));
    }
    ports.next().map(|_| Finding::good(CHECK, format!("those of cluster {name} are free")))
}

/// Whether the folder for the data can be made and written to.
fn writable(folder: &Path) -> Finding {
    const CHECK: &str = "data folder";
    const REMEDY: &str =
        "choose a folder that you may write to with --data-dir (ls -ld shows whose it is)";
    let shown = folder.display();
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
        return Finding::wrong(CHECK, format!("{shown} cannot be made"), REMEDY);
    };
    if !there.is_dir() {
        return Finding::wrong(CHECK, format!("{} is no folder", there.display()), REMEDY);
    }
    match access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) if there == folder => Finding::good(CHECK, format!("{shown} can be written to")),
        Ok(()) => Finding::good(CHECK, format!("{shown} can be made")),
        Err(error) => Finding::wrong(
            CHECK,
            format!("{} cannot be written to: {}", there.display(), error.desc()),
            REMEDY,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::home::profiles::{HOME_KEY, tests::cluster};

    #[test]
    fn a_taken_port_is_told_by_number_and_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let spec = ClusterSpec { spus: 1, port_base: Some(address.port()), data_dir: None };
        let mut profiles = Profiles::default();
        let told = |profiles: &Profiles| free(&spec, profiles).unwrap();
        let port = format!("port {} is in use by another program", address.port());
        assert_eq!((told(&profiles).verdict, told(&profiles).found), (Verdict::Wrong, port));
        let refused = refusal("dev", &[told(&profiles)]).unwrap();
        let CliError::Told { what, hint, .. } = refused else { panic!() };
        assert!(what.contains("cluster dev was not created") && hint.contains("ss -ltnp"));
        profiles.learn(&cluster("big", &[&address.to_string()]), "u", HOME_KEY);
        assert!(told(&profiles).found.ends_with("in use by cluster big"));
        drop(taken);
        assert_eq!(told(&profiles).verdict, Verdict::Doubtful);
        assert!(free(&ClusterSpec::default(), &profiles).is_none(), "free ones are chosen");
        let none = ClusterSpec { port_base: Some(9600), ..ClusterSpec::default() };
        assert_eq!(free(&none, &profiles).unwrap().verdict, Verdict::Good);
    }

    #[test]
    fn a_file_is_no_folder() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(writable(&base.path().join("a/b")).verdict, Verdict::Good);
        assert_eq!(writable(base.path()).verdict, Verdict::Good);
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        for wrong in [file.clone(), file.join("below")] {
            let finding = writable(&wrong);
            assert_eq!(finding.verdict, Verdict::Wrong, "{finding:?}");
        }
    }
}
