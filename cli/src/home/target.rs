//! Which cluster a command means, and whose control plane it is asked of.

use super::{
    Home,
    profiles::{Profile, Profiles},
};
use crate::{
    error::{CliError, Result},
    suggest,
};

/// Whose control plane it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This home's own, which its commands start and stop.
    Home,
    /// Another one, known by a profile: it is only talked to.
    Remote(Remote),
}

/// A control plane that is not this home's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `http://host:port`.
    pub url: String,
    /// The file with the key for it, relative to the home.
    pub key_file: String,
}

/// What a command means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The cluster's name as its control plane knows it.
    pub cluster: String,
    /// Whose control plane it is asked of.
    pub place: Place,
    /// What the home knows of the cluster, and by which name.
    pub profile: Option<(String, Profile)>,
}

impl Place {
    fn of(profile: &Profile) -> Self {
        match profile.is_home() {
            true => Self::Home,
            false => Self::Remote(Remote {
                url: profile.control_plane.clone(),
                key_file: profile.key_file.clone(),
            }),
        }
    }
}

impl Target {
    fn known(name: &str, profile: &Profile) -> Self {
        Self {
            cluster: profile.cluster_name(name).to_owned(),
            place: Place::of(profile),
            profile: Some((name.to_owned(), profile.clone())),
        }
    }
}

/// The cluster that is meant. A name is a profile's, else a cluster's at the control plane of
/// the profile told, else at that of the current one.
///
/// # Errors
/// When none is selected, or there is no such profile.
pub fn resolve(profile: Option<&str>, cluster: Option<&str>, known: &Profiles) -> Result<Target> {
    let base = base(profile, known)?;
    match (cluster, base) {
        (None, Some((name, base))) => Ok(Target::known(name, base)),
        (None, None) => match &known.current {
            // The profile has gone, the name may still be a cluster's.
            Some(name) => Ok(Target { cluster: name.clone(), place: Place::Home, profile: None }),
            None => Err(none_selected(known)),
        },
        (Some(cluster), base) => {
            if profile.is_none()
                && let Some(found) = known.clusters.get(cluster)
            {
                return Ok(Target::known(cluster, found));
            }
            let place = base.map_or(Place::Home, |(_, base)| Place::of(base));
            let found = known.clusters.iter().find(|(name, profile)| {
                Place::of(profile) == place && profile.cluster_name(name) == cluster
            });
            Ok(match found {
                Some((name, found)) => Target::known(name, found),
                None => Target { cluster: cluster.to_owned(), place, profile: None },
            })
        }
    }
}

/// Whose control plane is meant where no cluster is: the told profile's, else the current one's.
///
/// # Errors
/// When there is no such profile.
pub fn place(profile: Option<&str>, known: &Profiles) -> Result<Place> {
    Ok(base(profile, known)?.map_or(Place::Home, |(_, base)| Place::of(base)))
}

fn base<'a>(told: Option<&str>, known: &'a Profiles) -> Result<Option<(&'a String, &'a Profile)>> {
    match told.or(known.current.as_deref()) {
        None => Ok(None),
        Some(name) => match (known.clusters.get_key_value(name), told) {
            (None, Some(_)) => Err(no_profile(name, known)),
            (found, _) => Ok(found),
        },
    }
}

/// A profile that is not there, and what may have been meant.
pub fn no_profile(name: &str, known: &Profiles) -> CliError {
    let near = suggest::nearest(name, known.clusters.keys().map(String::as_str));
    let hint = match near {
        Some(near) => format!("did you mean {near}? all: weir profile list"),
        None if known.clusters.is_empty() => {
            "there is none yet; make a cluster (weir cluster create), or connect to one: weir \
             cloud connect --url URL"
                .to_owned()
        }
        None => "see: weir profile list".to_owned(),
    };
    CliError::new(format!("there is no profile {name}"), hint)
}

fn none_selected(known: &Profiles) -> CliError {
    match known.clusters.keys().next() {
        None => CliError::new(
            "there is no cluster yet",
            "make one: weir cluster create, or weir quickstart to see everything at work; or \
             connect to one: weir cloud connect --url URL",
        ),
        Some(first) => CliError::new(
            "no cluster is selected",
            format!("say which: --cluster {first}, or for good: weir profile switch {first}"),
        ),
    }
}

impl Remote {
    /// The file with its key.
    pub fn key_path(&self, home: &Home) -> std::path::PathBuf {
        home.root().join(&self.key_file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::{HOME_KEY, tests::cluster};

    fn known() -> Profiles {
        let mut known = Profiles::default();
        known.learn(&cluster("local", &[]), "http://127.0.0.1:9400", HOME_KEY);
        let remote = Profile::remote(&cluster("orders", &[]), "http://far:1", "keys/a");
        known.clusters.insert("prod".into(), remote);
        known
    }

    fn meant(profile: Option<&str>, cluster: Option<&str>, known: &Profiles) -> (String, bool) {
        let target = resolve(profile, cluster, known).unwrap();
        (target.cluster, matches!(target.place, Place::Remote(_)))
    }

    #[test]
    fn a_name_is_a_profile_s_then_a_cluster_s() {
        let mut known = known();
        assert!(resolve(None, None, &known).is_err());
        assert_eq!(meant(None, Some("prod"), &known), ("orders".into(), true));
        assert_eq!(meant(None, Some("other"), &known), ("other".into(), false));
        assert_eq!(meant(Some("prod"), Some("other"), &known), ("other".into(), true));
        // Said by the cluster's own name it is the same cluster, with what is known of it.
        let target = resolve(Some("prod"), Some("orders"), &known).unwrap();
        assert_eq!(target.profile.unwrap().0, "prod");
        known.current = Some("prod".into());
        assert_eq!(meant(None, None, &known), ("orders".into(), true));
        assert_eq!(meant(None, Some("local"), &known), ("local".into(), false));
        assert_eq!(meant(None, Some("other"), &known), ("other".into(), true));
        known.current = Some("gone".into());
        assert_eq!(meant(None, None, &known), ("gone".into(), false));
    }

    #[test]
    fn a_mistyped_profile_leads_on() {
        let CliError::Told { hint, .. } = resolve(Some("prdo"), None, &known()).unwrap_err() else {
            panic!()
        };
        assert!(hint.contains("did you mean prod?"), "{hint}");
    }
}
