//! Changes of the profiles that ask no server.

use clap::Args;

use crate::{
    context::Context,
    error::{CliError, Result},
    home::{
        profiles::{Profile, Profiles, check_name},
        target::no_profile,
        tokens,
    },
    remote::connect::forget_key,
};

/// Options of `weir profile switch`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The profile's name
    name: String,
}

/// Options of `weir profile rename`.
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The profile's name
    name: String,
    /// What it is called from now on
    new_name: String,
}

/// Options of `weir profile delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The profile's name
    name: String,
}

/// Makes it the one that commands mean.
///
/// # Errors
/// Why that was not done.
pub async fn switch(SwitchArgs { name }: SwitchArgs, context: &Context) -> Result<()> {
    let mut found = true;
    let known = Profiles::update(&context.home, context.clock, |profiles| {
        found = profiles.clusters.contains_key(&name);
        let news = found && profiles.current.as_ref() != Some(&name);
        if news {
            profiles.current = Some(name.clone());
        }
        news
    })
    .await?;
    if !found {
        return Err(no_profile(&name, &known));
    }
    context.ui.note(&format!("commands mean {} from now on", told(&name, &known)));
    Ok(())
}

/// Gives it another name.
///
/// # Errors
/// Why that was not done.
pub async fn rename(RenameArgs { name, new_name }: RenameArgs, context: &Context) -> Result<()> {
    check_name(&new_name)?;
    let mut refused = None;
    let known = Profiles::update(&context.home, context.clock, |profiles| {
        refused = rename_in(profiles, &name, &new_name).err();
        refused.is_none()
    })
    .await?;
    if let Some(error) = refused {
        return Err(error);
    }
    context.ui.note(&format!("{} was called {name}", told(&new_name, &known)));
    Ok(())
}

fn rename_in(profiles: &mut Profiles, name: &str, new_name: &str) -> Result<()> {
    if !profiles.clusters.contains_key(name) {
        return Err(no_profile(name, profiles));
    }
    if name != new_name && profiles.clusters.contains_key(new_name) {
        return Err(CliError::new(
            format!("there is a profile {new_name} already"),
            format!("choose another name, or forget it first: weir profile delete {new_name}"),
        ));
    }
    let Some(profile) = profiles.clusters.remove(name) else { return Ok(()) };
    let cluster = Some(profile.cluster_name(name).to_owned());
    profiles.clusters.insert(new_name.to_owned(), Profile { cluster, ..profile });
    if profiles.current.as_deref() == Some(name) {
        profiles.current = Some(new_name.to_owned());
    }
    Ok(())
}

/// Forgets it.
///
/// # Errors
/// Why that was not done.
pub async fn delete(DeleteArgs { name }: DeleteArgs, context: &Context) -> Result<()> {
    remove(context, &name).await
}

/// Forgets a profile, its token, and its key if no other profile needs it. The cluster is not
/// touched.
///
/// # Errors
/// When there is none, or the files cannot be written.
pub async fn remove(context: &Context, name: &str) -> Result<()> {
    let mut removed = None;
    let mut was_current = false;
    let known = Profiles::update(&context.home, context.clock, |profiles| {
        removed = profiles.clusters.get(name).cloned();
        was_current = profiles.current.as_deref() == Some(name);
        profiles.forget(name);
        removed.is_some()
    })
    .await?;
    let Some(removed) = removed else { return Err(no_profile(name, &known)) };
    forget_key(&context.home, &known, &removed.key_file)?;
    if !known.clusters.values().any(|profile| profile.id == removed.id)
        && let Ok(id) = removed.id.parse()
    {
        tokens::forget(&context.home, id)?;
    }
    let cluster = removed.cluster_name(name);
    let mut text = format!("profile {name} is forgotten; cluster {cluster} was not touched");
    if removed.is_home() {
        text += " (weir cluster list makes its profile anew)";
    }
    if was_current {
        text += &match &known.current {
            Some(current) => format!("; commands mean {} now", told(current, &known)),
            None => "; no profile is current now, choose one: weir profile switch NAME".to_owned(),
        };
    }
    context.ui.note(&text);
    Ok(())
}

/// A profile for people.
fn told(name: &str, known: &Profiles) -> String {
    match known.clusters.get(name).map(|profile| (profile, profile.cluster_name(name))) {
        Some((profile, cluster)) if !profile.is_home() => {
            format!("profile {name} (cluster {cluster} at {})", profile.control_plane)
        }
        Some((_, cluster)) if cluster != name => format!("profile {name} (cluster {cluster})"),
        _ => format!("cluster {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::{HOME_KEY, tests::cluster};

    #[test]
    fn a_renamed_profile_keeps_its_cluster_and_stays_current() {
        let mut profiles = Profiles::default();
        profiles.learn(&cluster("a", &[]), "http://x:1", HOME_KEY);
        profiles.learn(&cluster("b", &[]), "http://x:1", HOME_KEY);
        profiles.current = Some("a".into());
        assert!(rename_in(&mut profiles, "a", "b").is_err());
        assert!(rename_in(&mut profiles, "gone", "c").is_err());
        rename_in(&mut profiles, "a", "c").unwrap();
        assert_eq!(profiles.current.as_deref(), Some("c"));
        assert_eq!(told("c", &profiles), "profile c (cluster a)");
        assert_eq!(told("b", &profiles), "cluster b");
    }
}
