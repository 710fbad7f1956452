//! What is left of clusters that nobody knows: processes of SPUs, and folders with their data.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use weir_client::admin::Cluster;
use weir_runtime::process as process_table;

use super::finding::{Finding, Verdict};
use crate::{
    context::Context,
    home::{Home, profiles::Profiles},
    local::{
        adopt,
        endpoint::{self, Endpoint, State},
    },
    remote::connect,
};

/// How the folder of a cluster's data begins, and that of an SPU's in it.
const CLUSTER: &str = "cl_";
const SPU: &str = "spu-";
/// Folders that are looked at: this bounds a look at a strange one.
const ENTRIES_MAX: usize = 10_000;

/// What was seen of clusters, whoever knows them.
#[derive(Debug, Default)]
struct Seen {
    /// Folders of clusters whose SPUs run.
    running: BTreeSet<PathBuf>,
    /// Folders with the data of a cluster's SPUs.
    data: BTreeSet<PathBuf>,
    /// The home's own folder of clusters: what lies there is nobody else's.
    own: PathBuf,
}

/// Looks for what is left: in the home's folder, in those that its clusters were given, and in one
/// `besides`. Which clusters there are the home's control plane says, if it runs.
pub async fn find(context: &Context, besides: Option<&str>, state: &State) -> Vec<Finding> {
    let home = &context.home;
    // Profiles that cannot be read are told of elsewhere.
    let profiles = Profiles::load(home).unwrap_or_default();
    let own = || profiles.clusters.values().filter(|profile| profile.is_home());
    let data_dirs = own().filter_map(|profile| profile.data_dir.as_deref()).chain(besides);
    let seen = look(home, &data_dirs.map(PathBuf::from).collect());
    match state {
        // One that no file names runs, and knows what belongs to it.
        State::Never | State::Stopped(_) if !adopt::find(home).is_empty() => Vec::new(),
        State::Never | State::Stopped(_) => {
            let folders = own().map(|profile| profile.data_folder(home)).collect();
            let known = own().map(|profile| profile.id.clone()).collect();
            let mut data = seen.unknown(&known);
            data.retain(|finding| finding.verdict != Verdict::Wrong);
            seen.running(&folders).into_iter().chain(data).collect()
        }
        State::Running(at) => match clusters(context, at).await {
            Some(clusters) => {
                seen.unknown(&clusters.iter().map(|cluster| cluster.id.to_string()).collect())
            }
            None => Vec::new(),
        },
        // Who belongs here is known once it runs again.
        State::Died(_) => Vec::new(),
    }
}

/// The clusters that the control plane has; none where it does not say in time.
async fn clusters(context: &Context, at: &Endpoint) -> Option<Vec<Cluster>> {
    let key = endpoint::key(&context.home).ok()?;
    let admin = context.admin_quietly(&at.url(), key, connect::patience(context));
    admin.cluster_list().await.ok()
}

/// Looks at the processes, and at the home's folder and `data_dirs`. To be done before it is
/// asked which clusters there are: one that is made in between is then known.
fn look(home: &Home, data_dirs: &BTreeSet<PathBuf>) -> Seen {
    let own = home.clusters();
    let bases: Vec<&Path> =
        [own.as_path()].into_iter().chain(data_dirs.iter().map(PathBuf::as_path)).collect();
    let running = RefCell::new(BTreeSet::new());
    // Only noted: which of them nobody knows is seen later.
    let _ = process_table::find_by_arguments(|line| {
        if let Some(folder) = cluster_of(line)
            && bases.iter().any(|base| folder.parent() == Some(base))
        {
            running.borrow_mut().insert(folder.to_owned());
        }
        false
    });
    let data = bases.iter().flat_map(|base| clusters_in(base)).collect();
    Seen { running: running.into_inner(), data, own }
}

/// The folder of the cluster whose SPU has this command line.
fn cluster_of<'a>(line: &[&'a str]) -> Option<&'a Path> {
    let spu = line.contains(&"--launch-id").then_some(line)?;
    let at = spu.windows(2).find(|pair| pair[0] == "--data-dir")?;
    Path::new(at[1]).parent()
}

fn clusters_in(base: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let all = fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES_MAX);
        all.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let named = |path: &Path, prefix: &str| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
    };
    let mut found = entries(base);
    found.retain(|folder| named(folder, CLUSTER) && entries(folder).iter().any(|f| named(f, SPU)));
    found
}

impl Seen {
    /// What of it belongs to none of these clusters. Of a folder that others may use too, only
    /// the data of clusters that do not run is told, and the processes are let be.
    fn unknown(&self, ids: &BTreeSet<String>) -> Vec<Finding> {
        let unknown = |folder: &&PathBuf| {
            let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            !ids.contains(id)
        };
        let strays: BTreeSet<_> = self.running.iter().filter(unknown).collect();
        let own = strays.into_iter().filter(|folder| folder.parent() == Some(&self.own));
        let mut findings: Vec<_> = stray(&own.cloned().collect()).into_iter().collect();
        // One that is being deleted may be gone by now.
        let left = self.data.iter().filter(unknown);
        let left = left.filter(|folder| !self.running.contains(*folder) && folder.exists());
        let names: Vec<_> = left.map(|folder| folder.display().to_string()).collect();
        if !names.is_empty() {
            findings.push(Finding::doubtful(
                "data",
                format!("data of clusters that this home does not know: {}", names.join(", ")),
                format!("if nobody needs it, remove it: rm -r {}", names.join(" ")),
            ));
        }
        findings
    }

    /// SPUs that run although no cluster of the home is to run: of its own folder, and of the
    /// folders of clusters that it knows.
    fn running(&self, known: &BTreeSet<PathBuf>) -> Option<Finding> {
        let mine =
            |folder: &&PathBuf| folder.parent() == Some(&self.own) || known.contains(*folder);
        stray(&self.running.iter().filter(mine).cloned().collect())
    }
}

/// SPUs that run with their data in one of these folders of clusters, although nobody knows of
/// them.
fn stray(folders: &BTreeSet<PathBuf>) -> Option<Finding> {
    if folders.is_empty() {
        return None;
    }
    let there = |line: &[&str]| cluster_of(line).is_some_and(|folder| folders.contains(folder));
    let pids = process_table::find_by_arguments(there).ok().filter(|pids| !pids.is_empty())?;
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    Some(Finding::wrong(
        "processes",
        format!("SPUs run that no cluster knows (pid {})", pids.join(", ")),
        format!(
            "an older database was restored, perhaps; end them before their cluster is resumed: \
             kill {}",
            pids.join(" ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};

    #[test]
    fn data_of_an_unknown_cluster_is_told() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().join("home"))).unwrap();
        let shared = base.path().join("shared");
        for folder in [
            home.clusters().join("cl_1/spu-1"),
            home.clusters().join("cl_2/spu-1"),
            home.clusters().join("other/spu-1"),
            home.clusters().join("cl_empty"),
            shared.join("cl_3/spu-7"),
        ] {
            fs::create_dir_all(folder).unwrap();
        }
        let seen = look(&home, &BTreeSet::from([shared]));
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        assert!(seen.unknown(&ids(&["cl_1", "cl_2", "cl_3"])).is_empty());
        let told = seen.unknown(&ids(&["cl_2"]));
        assert_eq!((told.len(), told[0].verdict), (1, Verdict::Doubtful));
        assert!(told[0].found.contains("clusters/cl_1, "), "{told:?}");
        assert!(told[0].found.ends_with("shared/cl_3"), "{told:?}");
        assert!(seen.running(&BTreeSet::new()).is_none());
    }

    #[test]
    fn an_spu_is_known_by_its_command_line() {
        let line = ["weir", "run", "spu", "--launch-id", "x", "--data-dir", "/d/cl_1/spu-2"];
        assert_eq!(cluster_of(&line), Some(Path::new("/d/cl_1")));
        assert_eq!(cluster_of(&["rm", "--data-dir", "/d/cl_1/spu-2"]), None);
    }
}
