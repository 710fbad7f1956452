//! `profiles.toml`: which cluster commands mean, and how each is reached.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use weir_client::admin::Cluster;
use weir_runtime::clock::Clock;

use super::{Home, files, lock::ProfilesLock};
use crate::error::{self, CliError, Result};

const VERSION: u32 = 1;
/// The file with the key of the home's own control plane, relative to the home.
pub const HOME_KEY: &str = "control-plane/admin-key";
/// Longest name of a profile.
const NAME_MAX: usize = 63;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profiles {
    /// Of this format.
    version: u32,
    /// The profile that commands mean when they are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub clusters: BTreeMap<String, Profile>,
}

/// How one cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// `cl_…`.
    pub id: String,
    /// The cluster's name, where it is not the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Its control plane, `http://host:port`.
    pub control_plane: String,
    /// The file with the key for it, relative to the home.
    pub key_file: String,
    /// Where its SPUs were last seen, `host:port`: enough to produce and consume while the
    /// control plane is away.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// The folder that a cluster of this home was given for its data, where it is not the
    /// home's. Kept here for the logs, which are looked at while the control plane is away too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    /// Whether that folder was made for the cluster, and goes with it if nothing else is in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub data_dir_made: bool,
}

impl Profile {
    /// Of a cluster of a control plane that is not this home's.
    pub fn remote(cluster: &Cluster, control_plane: &str, key_file: &str) -> Self {
        Self {
            id: cluster.id.to_string(),
            cluster: Some(cluster.name.clone()),
            control_plane: control_plane.to_owned(),
            key_file: key_file.to_owned(),
            endpoints: endpoints(cluster),
            data_dir: None,
            data_dir_made: false,
        }
    }

    /// Whether the cluster is one of this home's own control plane.
    pub fn is_home(&self) -> bool {
        self.key_file == HOME_KEY
    }

    /// The cluster's name; `name` is the profile's.
    pub fn cluster_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.cluster.as_deref().unwrap_or(name)
    }

    /// Where the data of this cluster of this home lies.
    pub fn data_folder(&self, home: &Home) -> PathBuf {
        home.cluster_data(self.data_dir.as_deref(), &self.id)
    }
}

/// Where the cluster's SPUs are.
fn endpoints(cluster: &Cluster) -> Vec<String> {
    cluster.spus.iter().filter_map(|spu| spu.endpoint.clone()).collect()
}

impl Default for Profiles {
    fn default() -> Self {
        Self { version: VERSION, current: None, clusters: BTreeMap::new() }
    }
}

impl Profiles {
    /// Reads them; none are the default.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn load(home: &Home) -> Result<Self> {
        let path = home.profiles();
        let Some(text) = files::read(&path).map_err(|e| error::io("read", &path, &e))? else {
            return Ok(Self::default());
        };
        let broken = |reason: String| {
            CliError::new(
                format!("{} cannot be understood: {reason}", path.display()),
                "remove the file; weir cluster list writes a new one",
            )
        };
        let profiles: Self =
            toml::from_str(&text).map_err(|e| broken(e.message().replace('\n', " ")))?;
        if profiles.version != VERSION {
            let found = profiles.version;
            return Err(broken(format!("it has version {found}, this weir reads {VERSION}")));
        }
        Ok(profiles)
    }

    /// Reads them, lets `change` change them, and writes them if it says that it did; nobody
    /// else does so in between.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written, or others change it all the time.
    pub async fn update(
        home: &Home,
        clock: Clock,
        change: impl FnOnce(&mut Self) -> bool,
    ) -> Result<Self> {
        let _lock = ProfilesLock::acquire(home, clock).await?;
        let mut profiles = Self::load(home)?;
        if change(&mut profiles) {
            profiles.save(home)?;
        }
        Ok(profiles)
    }

    /// Writes them.
    fn save(&self, home: &Home) -> Result<()> {
        let path = home.profiles();
        let text = toml::to_string(self).map_err(|e| {
            CliError::new(format!("the profiles cannot be written: {e}"), "this is a bug in weir")
        })?;
        home.make(home.root())?;
        files::replace(&path, text.as_bytes(), 0o600).map_err(|e| error::io("write", &path, &e))
    }

    /// The profile of this cluster of the control plane with this key, by the cluster's name.
    pub fn name_of(&self, cluster: &str, key_file: &str) -> Option<&String> {
        let found = self.clusters.iter().find(|(name, profile)| {
            profile.key_file == key_file && profile.cluster_name(name) == cluster
        });
        found.map(|(name, _)| name)
    }

    /// Takes in what the control plane says of a cluster. Returns whether that was news. A
    /// profile of the same name that is of another control plane is left alone.
    pub fn learn(&mut self, cluster: &Cluster, control_plane: &str, key_file: &str) -> bool {
        let name = match self.name_of(&cluster.name, key_file) {
            Some(name) => name.clone(),
            None if self.clusters.contains_key(&cluster.name) => return false,
            None => cluster.name.clone(),
        };
        let mut profile = Profile::remote(cluster, control_plane, key_file);
        profile.cluster = profile.cluster.filter(|cluster| *cluster != name);
        let known = self.clusters.get(&name);
        if profile.is_home() {
            profile.data_dir.clone_from(&cluster.spec.data_dir);
        }
        if let Some(known) = known.filter(|known| known.id == profile.id) {
            if profile.endpoints.is_empty() {
                profile.endpoints.clone_from(&known.endpoints);
            }
            profile.data_dir_made = known.data_dir_made;
        }
        let news = known != Some(&profile);
        self.clusters.insert(name, profile);
        news
    }

    /// Forgets a cluster. If commands meant it, they mean none then: a second `delete` must not
    /// take another one.
    pub fn forget(&mut self, name: &str) {
        self.clusters.remove(name);
        self.current = self.current.take().filter(|current| current != name);
    }
}

/// A profile's name, told here in the words of the command line: it is typed, and printed.
///
/// # Errors
/// When it cannot be one.
pub fn check_name(name: &str) -> Result<()> {
    let good = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name.bytes().any(|b| b.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(CliError::usage(
        format!("{name:?} cannot be a profile's name"),
        "a profile's name is 1 to 63 of letters, digits, \".\", \"_\" and \"-\"",
    ))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn cluster(name: &str, endpoints: &[&str]) -> Cluster {
        let spus: Vec<_> = endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| {
                serde_json::json!({"spu_id": index + 1, "state": "online", "endpoint": endpoint})
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "id": "cl_00000000000000000000000000000007",
            "org_id": "org_00000000000000000000000000000001",
            "name": name, "desired": "running", "state": "running",
            "spec": {"spus": endpoints.len()}, "spus": spus,
        }))
        .unwrap()
    }

    #[test]
    fn they_survive_a_round_trip() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        assert_eq!(Profiles::load(&home).unwrap(), Profiles::default());
        let mut profiles = Profiles { current: Some("a".into()), ..Profiles::default() };
        assert!(profiles.learn(&cluster("a", &["127.0.0.1:9500"]), "http://x:1", "k"));
        profiles.save(&home).unwrap();
        assert_eq!(Profiles::load(&home).unwrap(), profiles);
    }

    #[tokio::test]
    async fn changes_at_once_are_all_kept() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        // Whoever has read them must write them before others read.
        let held = ProfilesLock::acquire(&home, Clock).await.unwrap();
        let change = |name: &'static str| {
            let home = home.clone();
            async move {
                let learn = |profiles: &mut Profiles| profiles.learn(&cluster(name, &[]), "", "");
                Profiles::update(&home, Clock, learn).await.unwrap()
            }
        };
        let mut first = std::pin::pin!(change("a"));
        assert!(futures::FutureExt::now_or_never(first.as_mut()).is_none(), "it did not wait");
        drop(held);
        futures::join!(first, change("b"), change("c"));
        let names: Vec<_> = Profiles::load(&home).unwrap().clusters.into_keys().collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn what_cannot_be_understood_says_what_to_do() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        for bad in ["current = ", "version = 9", "\0"] {
            std::fs::write(home.profiles(), bad).unwrap();
            let error = Profiles::load(&home).unwrap_err();
            assert!(error.to_string().contains("profiles.toml"), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn endpoints_are_kept_while_the_spus_are_away() {
        let mut profiles = Profiles::default();
        profiles.learn(&cluster("a", &["127.0.0.1:9500"]), "http://x:1", "k");
        assert!(!profiles.learn(&cluster("a", &[]), "http://x:1", "k"));
        assert_eq!(profiles.clusters["a"].endpoints, ["127.0.0.1:9500"]);
        let mut recreated = cluster("a", &[]);
        recreated.id = "cl_00000000000000000000000000000008".parse().unwrap();
        assert!(profiles.learn(&recreated, "http://x:1", "k"));
        assert!(profiles.clusters["a"].endpoints.is_empty());
    }

    #[test]
    fn a_folder_of_its_own_is_kept_and_whose_it_is() {
        let home = Home::find(Some("/h".into())).unwrap();
        let mut own = cluster("a", &[]);
        own.spec.data_dir = Some("/srv/weir".into());
        let mut profiles = Profiles::default();
        profiles.learn(&own, "u", HOME_KEY);
        let profile = profiles.clusters.get_mut("a").unwrap();
        assert_eq!(profile.data_folder(&home), PathBuf::from(format!("/srv/weir/{}", own.id)));
        profile.data_dir_made = true;
        assert!(!profiles.learn(&own, "u", HOME_KEY), "it was known");
        assert!(profiles.clusters["a"].data_dir_made);
        profiles.learn(&cluster("b", &[]), "u", HOME_KEY);
        let folder = profiles.clusters["b"].data_folder(&home);
        assert_eq!(folder, PathBuf::from(format!("/h/clusters/{}", own.id)));
        // That of another control plane lies elsewhere.
        profiles.learn(&Cluster { name: "c".into(), ..own }, "u", "keys/far");
        assert_eq!(profiles.clusters["c"].data_dir, None);
    }

    #[test]
    fn a_forgotten_current_one_leaves_none_however_many_are_left() {
        let mut profiles = Profiles::default();
        profiles.learn(&cluster("a", &[]), "", "");
        profiles.learn(&cluster("b", &[]), "", "");
        profiles.current = Some("a".into());
        profiles.forget("a");
        assert_eq!(profiles.current, None);
        profiles.current = Some("b".into());
        profiles.forget("a");
        assert_eq!(profiles.current.as_deref(), Some("b"));
    }

    #[test]
    fn another_control_plane_s_profile_is_left_alone_and_a_renamed_one_is_found() {
        let mut profiles = Profiles::default();
        let remote = Profile::remote(&cluster("a", &[]), "http://far:1", "keys/1");
        profiles.clusters.insert("a".into(), remote.clone());
        assert!(!profiles.learn(&cluster("a", &["h:1"]), "http://x:1", HOME_KEY));
        assert_eq!(profiles.clusters["a"], remote);
        profiles.learn(&cluster("b", &[]), "http://x:1", HOME_KEY);
        let renamed = profiles.clusters.remove("b").unwrap();
        profiles.clusters.insert("c".into(), Profile { cluster: Some("b".into()), ..renamed });
        assert!(profiles.learn(&cluster("b", &["h:1"]), "http://x:1", HOME_KEY));
        assert!(profiles.clusters.keys().eq(["a", "c"]));
        assert_eq!(profiles.clusters["c"].endpoints, ["h:1"]);
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(check_name("prod.eu-1_x"), Ok(()));
        for bad in ["", "..", "a b", "a/b", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
