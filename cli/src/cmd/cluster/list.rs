//! `weir cluster list`.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use weir_client::admin::Cluster;

use crate::{
    consume::template::timestamp,
    context::Context,
    error::Result,
    home::{
        profiles::{Profile, Profiles},
        target::{self, Place, Remote},
    },
    local::endpoint::{self, State},
    out::{self, OutputArg, or_dash},
};

/// Options of `weir cluster list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// One line. What only the control plane knows is absent while it does not run.
#[derive(Debug, Serialize)]
pub struct Row {
    name: String,
    current: bool,
    id: String,
    state: String,
    spus: Option<u32>,
    spus_ready: Option<u32>,
    reason: Option<String>,
    created_at_unix_ms: Option<i64>,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &ListArgs, context: &Context) -> Result<()> {
    let rows = match context.place()? {
        Place::Remote(remote) => ask_remote(context, &remote).await?,
        Place::Home => local(context).await?,
    };
    out::print(args.output.format, &rows, || {
        out::table(
            ["", "NAME", "STATE", "SPUS", "READY", "CREATED", "REASON"],
            rows.iter().map(|row| {
                [
                    if row.current { "*" } else { "" }.to_owned(),
                    row.name.clone(),
                    row.state.clone(),
                    or_dash(row.spus),
                    or_dash(row.spus_ready),
                    or_dash(row.created_at_unix_ms.map(timestamp)),
                    row.reason.clone().unwrap_or_default(),
                ]
            }),
        )
    })
}

async fn local(context: &Context) -> Result<Vec<Row>> {
    Ok(match endpoint::look(&context.home)? {
        State::Never => Vec::new(),
        State::Running(_) => ask(context).await?,
        // It is stopped only when nothing runs any more.
        State::Stopped(_) => remember(context, "shutdown")?,
        State::Died(_) => {
            context.ui.warn("the control plane is not running; weir cluster resume starts it");
            remember(context, "unknown")?
        }
    })
}

async fn ask_remote(context: &Context, remote: &Remote) -> Result<Vec<Row>> {
    let clusters = context.admin()?.cluster_list().await?;
    // No profile is made of these: a name that is typed means what it meant before.
    let profiles = Profiles::update(&context.home, context.clock, |profiles| {
        clusters.iter().fold(false, |news, cluster| {
            match profiles.name_of(&cluster.name, &remote.key_file) {
                Some(_) => profiles.learn(cluster, &remote.url, &remote.key_file) || news,
                None => news,
            }
        })
    })
    .await?;
    let current = current(context, &profiles, &Place::Remote(remote.clone()));
    Ok(clusters.into_iter().map(|cluster| Row::seen(cluster, current.as_deref())).collect())
}

/// The cluster that commands mean, by its own name, if it is one of this control plane.
fn current(context: &Context, profiles: &Profiles, place: &Place) -> Option<String> {
    let target = target::resolve(context.profile.as_deref(), context.cluster.as_deref(), profiles);
    target.ok().filter(|target| target.place == *place).map(|target| target.cluster)
}

async fn ask(context: &Context) -> Result<Vec<Row>> {
    let State::Running(endpoint) = endpoint::look(&context.home)? else { return Ok(Vec::new()) };
    // Before the list: what others learn from now on is newer than it.
    let before = Profiles::load(&context.home)?.clusters;
    let clusters = context.admin()?.cluster_list().await?;
    let (url, key_file) = (endpoint.url(), super::key_file(context));
    let profiles = Profiles::update(&context.home, context.clock, |profiles| {
        take_in(profiles, &before, &clusters, &url, &key_file)
    })
    .await?;
    let current = current(context, &profiles, &Place::Home);
    Ok(clusters.into_iter().map(|cluster| Row::seen(cluster, current.as_deref())).collect())
}

/// Learns all clusters and forgets those that were known `before` and are no more. Returns
/// whether there was any news.
fn take_in(
    profiles: &mut Profiles,
    before: &BTreeMap<String, Profile>,
    clusters: &[Cluster],
    url: &str,
    key_file: &str,
) -> bool {
    let mut news = false;
    for cluster in clusters {
        news |= profiles.learn(cluster, url, key_file);
    }
    for (name, known) in before.iter().filter(|(_, known)| known.key_file == key_file) {
        let listed = clusters.iter().any(|cluster| cluster.name == known.cluster_name(name));
        if !listed && profiles.clusters.get(name).is_some_and(|now| now.id == known.id) {
            profiles.forget(name);
            news = true;
        }
    }
    news
}

/// What the profiles know.
pub fn remember(context: &Context, state: &str) -> Result<Vec<Row>> {
    let profiles = Profiles::load(&context.home)?;
    let current = current(context, &profiles, &Place::Home);
    let own = profiles.clusters.into_iter().filter(|(_, profile)| profile.is_home());
    let rows = own.map(|(name, profile)| (profile.cluster_name(&name).to_owned(), profile));
    let rows = rows.map(|(name, profile)| Row {
        current: current.as_ref() == Some(&name),
        name,
        id: profile.id,
        state: state.to_owned(),
        spus: None,
        spus_ready: None,
        reason: None,
        created_at_unix_ms: None,
    });
    Ok(rows.collect())
}

impl Row {
    fn seen(cluster: Cluster, current: Option<&str>) -> Self {
        Self {
            current: current == Some(&cluster.name),
            id: cluster.id.to_string(),
            state: cluster.state.to_string(),
            spus: Some(cluster.spec.spus),
            spus_ready: Some(cluster.spus_ready),
            reason: cluster.reason,
            created_at_unix_ms: Some(cluster.created_at_unix_ms),
            name: cluster.name,
        }
    }

    /// Whose line it is.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::tests::cluster;

    #[test]
    fn what_is_made_while_the_list_comes_is_not_forgotten() {
        let mut profiles = Profiles::default();
        profiles.learn(&cluster("kept", &[]), "u", "k");
        profiles.learn(&cluster("gone", &[]), "u", "k");
        let before = profiles.clusters.clone();
        profiles.learn(&cluster("new", &[]), "u", "k");
        profiles.current = Some("new".into());
        assert!(take_in(&mut profiles, &before, &[cluster("kept", &[])], "u", "k"));
        assert!(profiles.clusters.keys().eq(["kept", "new"]));
        assert_eq!(profiles.current.as_deref(), Some("new"));
        let before = profiles.clusters.clone();
        let all = [cluster("kept", &[]), cluster("new", &[])];
        assert!(!take_in(&mut profiles, &before, &all, "u", "k"));
    }
}
