//! `profiles.toml`: which cluster commands mean, and how each is reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_client::admin::Cluster;
use weir_runtime::clock::Clock;

use super::{Home, files, lock::ProfilesLock};
use crate::error::{self, CliError, Result};

const VERSION: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profiles {
    /// Of this format.
    version: u32,
    /// The cluster that commands mean when they are not told.
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
    /// Its control plane, `http://host:port`.
    pub control_plane: String,
    /// The file with the key for it, relative to the home.
    pub key_file: String,
    /// Where its SPUs were last seen, `host:port`: enough to produce and consume while the
    /// control plane is away.
    #[serde(default)]
    pub endpoints: Vec<String>,
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

    /// Takes in what the control plane says of a cluster. Returns whether that was news.
    pub fn learn(&mut self, cluster: &Cluster, control_plane: &str, key_file: &str) -> bool {
        let mut endpoints: Vec<String> =
            cluster.spus.iter().filter_map(|spu| spu.endpoint.clone()).collect();
        let id = cluster.id.to_string();
        let known = self.clusters.get(&cluster.name);
        if endpoints.is_empty()
            && let Some(known) = known.filter(|known| known.id == id)
        {
            endpoints.clone_from(&known.endpoints);
        }
        let profile = Profile {
            id,
            control_plane: control_plane.to_owned(),
            key_file: key_file.to_owned(),
            endpoints,
        };
        let news = known != Some(&profile);
        self.clusters.insert(cluster.name.clone(), profile);
        news
    }

    /// Forgets a cluster; the current one is then another only if there is just one left.
    pub fn forget(&mut self, name: &str) {
        self.clusters.remove(name);
        if self.current.as_deref() == Some(name) {
            let mut left = self.clusters.keys();
            self.current = match (left.next(), left.next()) {
                (Some(only), None) => Some(only.clone()),
                _ => None,
            };
        }
    }
}

/// Which cluster is meant: told by `--cluster` or `WEIR_CLUSTER`, else the current one.
///
/// # Errors
/// When none is.
pub fn select(told: Option<&str>, profiles: &Profiles) -> Result<String> {
    if let Some(name) = told.or(profiles.current.as_deref()) {
        return Ok(name.to_owned());
    }
    let mut known = profiles.clusters.keys();
    Err(match known.next() {
        None => CliError::new(
            "there is no cluster yet",
            "make one: weir cluster create, or weir quickstart to see everything at work",
        ),
        Some(first) => CliError::new(
            "no cluster is selected",
            format!("say which: --cluster {first}, or for good: weir profile switch {first}"),
        ),
    })
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
    fn the_command_line_wins_then_the_current_one() {
        let mut profiles = Profiles::default();
        assert!(select(None, &profiles).is_err());
        assert_eq!(select(Some("b"), &profiles).unwrap(), "b");
        profiles.learn(&cluster("a", &[]), "", "");
        profiles.learn(&cluster("b", &[]), "", "");
        profiles.current = Some("a".into());
        assert_eq!(select(None, &profiles).unwrap(), "a");
        profiles.forget("a");
        assert_eq!(profiles.current.as_deref(), Some("b"));
    }
}
