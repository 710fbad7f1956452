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
    /// The topmost folder that was made for the cluster, that one or one above it. What is empty
    /// from there on goes with the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir_made: Option<String>,
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
            data_dir_made: None,
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
            profile.data_dir_made.clone_from(&known.data_dir_made);
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
#[path = "profiles_tests.rs"]
pub mod tests;
