//! From a URL and a key to a cluster that answers.

use std::time::Duration;

use secrecy::SecretString;
use weir_client::{
    Admin, Client, ClientConfig,
    admin::{AdminError, Cluster, ClusterSpec, WhoAmI},
};
use weir_runtime::http;

use super::url;
use crate::{
    connect::serving,
    context::Context,
    error::{CliError, Result},
    home::{
        Home, keys,
        profiles::{Profile, Profiles},
        tokens,
    },
    local::wait::{self, Goal},
    prompt, suggest,
};

/// How long the control plane, and then the SPUs, may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer taken, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A cluster that was found.
pub struct Found {
    /// `http://host:port` of its control plane.
    pub url: String,
    /// The key for it.
    pub key: SecretString,
    /// Whose key that is.
    pub me: WhoAmI,
    /// The cluster.
    pub cluster: Cluster,
    /// It was made just now.
    pub made: bool,
    /// Talks to the control plane.
    pub admin: Admin,
}

/// Asks who the key belongs to and finds the cluster: the one told, or the only one, or the
/// one chosen on a terminal. One that is told and not there is made if it is said of how many
/// SPUs. `again` is the command line that a cluster's name is to be added to.
///
/// # Errors
/// When nobody answers, the key is not known, or it cannot be told which cluster is meant.
pub async fn find(
    context: &Context,
    url: String,
    key: SecretString,
    name: Option<&str>,
    create_spus: Option<u32>,
    again: &str,
) -> Result<Found> {
    let spinner = context.ui.spinner(format!("asking {url}"));
    let admin = context.admin_within(&url, key.clone(), patience(context));
    let me = admin.whoami().await.map_err(|error| explain(&url, error))?;
    drop(spinner);
    let name = match name {
        Some(name) => name.to_owned(),
        None => choose(&url, &admin.cluster_list().await?, again)?,
    };
    let (cluster, made) = match (wait::look(&admin, &name).await?, create_spus) {
        (Some(cluster), _) => (cluster, false),
        (None, Some(spus)) => (create(context, &url, key.clone(), &name, spus).await?, true),
        (None, None) => {
            let known = admin.cluster_list().await.unwrap_or_default();
            return Err(missing(&url, &name, &known));
        }
    };
    if !url::is_loopback(&url) {
        context.ui.warn(&format!(
            "{url} is not encrypted: whoever is on the way reads the key and the records"
        ));
    }
    Ok(Found { url, key, me, cluster, made, admin })
}

async fn create(
    context: &Context,
    url: &str,
    key: SecretString,
    name: &str,
    spus: u32,
) -> Result<Cluster> {
    let admin = context.admin_at(url, key);
    let spec = ClusterSpec { spus, ..ClusterSpec::default() };
    let made = admin.cluster_create(name, &spec).await?;
    let limit = context.lifecycle_timeout();
    let running = wait::wait_for(context, &admin, name, Goal::Running, limit).await?;
    Ok(running.unwrap_or(made))
}

fn missing(url: &str, name: &str, known: &[Cluster]) -> CliError {
    let names: Vec<&str> = known.iter().map(|cluster| cluster.name.as_str()).collect();
    let hint = match (suggest::nearest(name, names.iter().copied()), names.as_slice()) {
        (Some(near), _) => format!("did you mean {near}? there is {}", names.join(", ")),
        (None, []) => format!("make it: weir cloud connect --url {url} {name} --create"),
        (None, names) => format!("there is {}; a new one is made by --create", names.join(", ")),
    };
    CliError::new(format!("the control plane at {url} has no cluster {name}"), hint)
}

fn explain(url: &str, error: AdminError) -> CliError {
    match error.status() {
        Some(401 | 403) => CliError::from(error).hinted(format!(
            "look whether the whole key was copied, and whether it is one of the control plane at \
             {url}"
        )),
        Some(404) => CliError::new(
            format!("what answers at {url} is no control plane of Weir"),
            "check host and port: it is the HTTP port (weir run control-plane --http-listen)",
        ),
        None => CliError::from(error).hinted(
            "check the URL, that the control plane runs, and that it listens on an address that \
             is reached from here (--http-listen)",
        ),
        _ => error.into(),
    }
}

/// The only cluster, or the one that is chosen on a terminal.
fn choose(url: &str, clusters: &[Cluster], again: &str) -> Result<String> {
    match clusters {
        [] => Err(CliError::new(
            format!("the control plane at {url} has no cluster"),
            format!("make one: weir cloud connect --url {url} NAME --create"),
        )),
        [only] => Ok(only.name.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|cluster| cluster.name.as_str()).collect();
            prompt::choose("Which cluster?", &names).ok_or_else(|| {
                CliError::usage(
                    format!("the control plane has several clusters: {}", names.join(", ")),
                    format!("say which: {again} {}", names[0]),
                )
            })
        }
    }
}

/// Whether the cluster's SPUs answer from here. One that is shut down cannot; that is told
/// and no failure.
///
/// # Errors
/// When they should and do not.
pub async fn probe(context: &Context, found: &Found) -> Result<Option<CliError>> {
    if let Err(why) = serving(&found.cluster) {
        return Ok(Some(why));
    }
    answers(context, &found.url, found.key.clone(), &found.cluster).await.map(|()| None)
}

/// Whether an SPU of the cluster answers from here.
///
/// # Errors
/// When none does.
pub async fn answers(
    context: &Context,
    url: &str,
    key: SecretString,
    cluster: &Cluster,
) -> Result<()> {
    let spinner = context.ui.spinner(format!("cluster {}: asking its SPUs", cluster.name));
    let mut config = ClientConfig::with_control_plane(url, key, cluster.id.to_string());
    config.connect_timeout = patience(context);
    let answered = Client::connect(config, http::transport(ANSWER_BYTES_MAX), context.clock).await;
    drop(spinner);
    answered.map(drop).map_err(|error| {
        CliError::from(error).hinted(format!(
            "the control plane answers, the SPUs ({}) do not: can these addresses be reached \
             from here? (weir run control-plane --spu-host)",
            listed(cluster)
        ))
    })
}

/// Where the cluster's SPUs are.
pub fn listed(cluster: &Cluster) -> String {
    let endpoints = cluster.spus.iter().filter_map(|spu| spu.endpoint.as_deref());
    endpoints.collect::<Vec<_>>().join(", ")
}

/// How long one server may take to answer.
pub fn patience(context: &Context) -> Duration {
    context.timeout.unwrap_or(PATIENCE)
}

/// Keeps the cluster as a profile with its key, and a token for when the control plane is
/// away. A profile of the same cluster is replaced; another one is not.
///
/// # Errors
/// When the name is another cluster's, or the files cannot be written.
pub async fn save(context: &Context, found: &Found, name: &str, current: bool) -> Result<Profiles> {
    let home = &context.home;
    let id = found.cluster.id.to_string();
    let mut taken = None;
    let mut old_key = None;
    let key_file = keys::save(home, &found.key)?;
    let saved = Profiles::update(home, context.clock, |profiles| {
        if let Some(known) = profiles.clusters.get(name) {
            if known.is_home() || known.id != id {
                taken = Some(known.control_plane.clone());
                return false;
            }
            old_key = Some(known.key_file.clone());
        }
        let profile = Profile::remote(&found.cluster, &found.url, &key_file);
        profiles.clusters.insert(name.to_owned(), profile);
        if current {
            profiles.current = Some(name.to_owned());
        }
        true
    })
    .await;
    if saved.is_err() || taken.is_some() {
        keys::forget(home, &key_file)?;
    }
    let profiles = saved?;
    if let Some(control_plane) = taken {
        return Err(CliError::new(
            format!("there is a profile {name} of another cluster (at {control_plane})"),
            "choose another name: --profile NAME",
        ));
    }
    if let Some(old) = old_key {
        forget_key(home, &profiles, &old)?;
    }
    match found.admin.token(&id, None).await {
        Ok(grant) => tokens::save(home, &grant)?,
        Err(error) => context.ui.warn(&format!(
            "no token is kept for when the control plane is away: {}",
            CliError::from(error)
        )),
    }
    Ok(profiles)
}

/// Removes a key's file unless a profile still needs it.
///
/// # Errors
/// When it cannot be removed.
pub fn forget_key(home: &Home, profiles: &Profiles, file: &str) -> Result<()> {
    match profiles.clusters.values().any(|profile| profile.key_file == file) {
        true => Ok(()),
        false => keys::forget(home, file),
    }
}
