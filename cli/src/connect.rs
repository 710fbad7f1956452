//! From the profile to a connected client.
//!
//! With the control plane there, it is asked for everything, so that mistakes are told at
//! once and precisely. Without it, the endpoints and the token kept in the home must do.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use weir_client::{
    Admin, Client, ClientConfig, ClientError,
    admin::{AdminError, Cluster, ClusterState, DesiredState},
};
use weir_protocol::ids::ClusterId;
use weir_runtime::http;

use crate::{
    cmd::{cluster::unknown_cluster, topic},
    context::Context,
    error::{self, CliError, Result},
    home::{
        keys,
        profiles::Profiles,
        target::{Place, Target},
        tokens,
    },
    local::endpoint::{self, State},
};

/// A token that lives for less is replaced while the control plane is there to do so.
const TOKEN_RENEW_MS: i64 = 5 * 60 * 1000;
/// A control plane that is silent for longer is as good as away: records need not wait for it.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long asking the control plane for the reason may take.
const WHY_MAX: Duration = Duration::from_secs(2);
/// Largest answer of the control plane that the data path asks for, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A client of the selected cluster that knows the topic, or will in a moment.
///
/// # Errors
/// When the cluster or the topic is not there, or not reached; in words that lead on.
pub async fn client(context: &Context, topic: &str) -> Result<Client> {
    let target = context.target()?;
    let mut config = match &target.place {
        Place::Remote(remote) => {
            let key = keys::load(&remote.key_path(&context.home))?;
            reach(context, &target, topic, &remote.url, key).await?
        }
        Place::Home => match endpoint::look(&context.home)? {
            State::Running(endpoint) => {
                let key = endpoint::key(&context.home)?;
                reach(context, &target, topic, &endpoint.url(), key).await?
            }
            state @ State::Died(_) => offline(
                context,
                &target,
                "the control plane is not running (weir cluster resume \
                                           starts it)",
            )
            .map_err(|Nothing| context.not_running(&state))?,
            state => return Err(context.not_running(&state)),
        },
    };
    bound(context, &mut config);
    let transport: Arc<_> = http::transport(ANSWER_BYTES_MAX);
    match Client::connect(config, transport.clone(), context.clock).await {
        // It went away after it was asked: what is kept must do, now and not at the next run.
        Err(ClientError::ControlPlane(error)) if away(&error) => {
            // Read again: the endpoints may have been learned a moment ago.
            let target = context.target()?;
            let why = error::reason(&error);
            let kept = offline(context, &target, &why);
            let mut config = kept.map_err(|Nothing| CliError::from(error))?;
            bound(context, &mut config);
            Ok(Client::connect(config, transport, context.clock).await?)
        }
        connected => Ok(connected?),
    }
}

/// How to go by a control plane that should answer: by itself, or by what is kept.
async fn reach(
    context: &Context,
    target: &Target,
    topic: &str,
    url: &str,
    key: SecretString,
) -> Result<ClientConfig> {
    let patience = context.timeout.unwrap_or(SILENCE_MAX).min(SILENCE_MAX);
    let admin = context.admin_within(url, key.clone(), patience);
    match online(context, &admin, target, topic).await {
        Ok(()) => Ok(ClientConfig::with_control_plane(url, key, target.cluster.clone())),
        // It is there and does not answer: as good as away.
        Err(Refusal::Silent(error)) => {
            offline(context, target, &error.to_string()).map_err(|_| error)
        }
        Err(Refusal::Told(error)) => Err(error),
    }
}

/// What `--timeout` bounds.
fn bound(context: &Context, config: &mut ClientConfig) {
    if let Some(timeout) = context.timeout {
        config.connect_timeout = timeout;
        config.topic_timeout = config.topic_timeout.min(timeout);
    }
}

enum Refusal {
    /// It answered, and this is what is wrong.
    Told(CliError),
    /// No answer came, or none for now.
    Silent(CliError),
}

/// Asks the control plane for what could be wrong, and keeps a token for when it is away.
async fn online(
    context: &Context,
    admin: &Admin,
    target: &Target,
    topic: &str,
) -> Result<(), Refusal> {
    let name = &target.cluster;
    let cluster = match admin.cluster(name).await {
        Ok(cluster) => cluster,
        Err(error) if error.status() == Some(404) => {
            return Err(Refusal::Told(unknown_cluster(admin, name).await));
        }
        Err(error) if away(&error) => return Err(Refusal::Silent(error.into())),
        Err(error) => return Err(Refusal::Told(error.into())),
    };
    serving(&cluster).map_err(Refusal::Told)?;
    let found = match topic::find(admin, name, topic).await {
        Ok(found) => topic::check_open(&found, topic),
        // Nobody has it, whatever the control plane would say.
        Err(error) => topic::check_name(topic).and(Err(error)),
    };
    if let Err(error) = found {
        // It may have gone away in between; its own words are told only while it is there.
        return Err(match admin.cluster(name).await {
            Err(gone) if away(&gone) => Refusal::Silent(error),
            _ => Refusal::Told(error),
        });
    }
    if let Err(error) = keep(context, admin, target, &cluster).await {
        context.ui.warn(&format!("nothing is kept for when the control plane is away: {error}"));
    }
    Ok(())
}

/// Whether the control plane is as good as away: silent, without its database, or behind a proxy
/// that does not reach it. Records need not wait for it.
fn away(error: &AdminError) -> bool {
    error.status().is_none_or(|status| matches!(status, 502..=504)) && error.retryable()
}

/// Why SPUs that answered do not any more, where that can be told: the cluster that was meant is
/// shut down, or is no more.
///
/// # Errors
/// It is no more: there is nothing to wait for.
pub async fn why_gone(context: &Context, target: &Target) -> Result<Option<CliError>> {
    let id = target.profile.as_ref().map(|(_, profile)| profile.id.as_str());
    let gone = |how: &str| {
        Err(CliError::new(format!("cluster {} {how}", target.cluster), "see: weir cluster list"))
    };
    let admin = match &target.place {
        Place::Remote(remote) => keys::load(&remote.key_path(&context.home))
            .map(|key| context.admin_within(&remote.url, key, WHY_MAX)),
        Place::Home => match endpoint::look(&context.home) {
            Ok(State::Running(endpoint)) => endpoint::key(&context.home)
                .map(|key| context.admin_within(&endpoint.url(), key, WHY_MAX)),
            Ok(state) => {
                // Whoever deletes the last cluster ends the control plane and forgets it.
                let now = Profiles::load(&context.home).map(|now| now.clusters);
                return match (id, now) {
                    (Some(id), Ok(now)) if now.values().all(|profile| profile.id != id) => {
                        gone("is no longer known here: it was deleted, or its profile was")
                    }
                    _ => Ok(Some(context.not_running(&state))),
                };
            }
            Err(error) => Err(error),
        },
    };
    let Ok(admin) = admin else { return Ok(None) };
    match admin.cluster(&target.cluster).await {
        Ok(cluster) if id.is_some_and(|id| cluster.id.to_string() != id) => {
            gone("was deleted, and created again")
        }
        Ok(cluster) => Ok(serving(&cluster).err()),
        Err(error) if matches!(error.code(), "CLUSTER_NOT_FOUND" | "UNKNOWN_CLUSTER") => {
            gone("was deleted")
        }
        Err(_) => Ok(None),
    }
}

/// Whether there is any point in connecting to its SPUs.
///
/// # Errors
/// When there is none: why.
pub fn serving(cluster: &Cluster) -> Result<()> {
    let name = &cluster.name;
    match (cluster.desired, cluster.state) {
        (DesiredState::Shutdown, state) | (_, state @ ClusterState::Shutdown) => {
            Err(CliError::new(
                match state {
                    ClusterState::Shutdown => format!("cluster {name} is shut down"),
                    _ => format!("cluster {name} is being shut down"),
                },
                format!("start it again with: weir cluster resume --name {name}"),
            ))
        }
        (DesiredState::Deleted, _) | (_, ClusterState::Deleting) => {
            Err(CliError::new(format!("cluster {name} is being deleted"), "see: weir cluster list"))
        }
        (_, ClusterState::Failed) => Err(CliError::new(
            format!(
                "cluster {name} is not running: {}",
                cluster.reason.as_deref().unwrap_or("it failed")
            ),
            format!("see: weir cluster status --name {name}"),
        )),
        _ if cluster.spec.spus == 0 && cluster.spus.is_empty() => Err(CliError::new(
            format!("cluster {name} has no SPUs so far"),
            format!("give it some with: weir cluster scale --name {name} --spus 3"),
        )),
        _ => Ok(()),
    }
}

/// Keeps the endpoints, and a token unless there is one that lives for a while; of a cluster
/// that no profile knows nothing is kept.
async fn keep(context: &Context, admin: &Admin, target: &Target, cluster: &Cluster) -> Result<()> {
    let home = &context.home;
    let Some((_, known)) = &target.profile else { return Ok(()) };
    let change =
        |profiles: &mut Profiles| profiles.learn(cluster, &known.control_plane, &known.key_file);
    Profiles::update(home, context.clock, change).await?;
    let now = context.clock.unix_ms();
    let lives = tokens::load(home, cluster.id)
        .is_some_and(|kept| kept.expires_at_unix_ms.saturating_sub(now) > TOKEN_RENEW_MS);
    if !lives {
        tokens::save(home, &admin.token(&cluster.name, None).await?)?;
    }
    Ok(())
}

/// There is nothing to go by without the control plane.
struct Nothing;

/// What was kept. Whether a token that expired is still good is for the SPUs to say: they
/// grant time while the control plane, which alone could give a new one, is away.
fn offline(context: &Context, target: &Target, why: &str) -> Result<ClientConfig, Nothing> {
    let (_, profile) = target.profile.as_ref().ok_or(Nothing)?;
    let cluster: ClusterId = profile.id.parse().map_err(|_| Nothing)?;
    let kept = tokens::load(&context.home, cluster).ok_or(Nothing)?;
    let endpoints =
        if profile.endpoints.is_empty() { kept.endpoints } else { profile.endpoints.clone() };
    if endpoints.is_empty() {
        return Err(Nothing);
    }
    context.ui.warn(&format!("{why}; going on with what is known"));
    Ok(ClientConfig::with_token(endpoints, cluster, kept.token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::tests::cluster;

    #[test]
    fn a_cluster_that_cannot_serve_is_told_with_what_leads_on() {
        let mut cluster = cluster("a", &["h:1"]);
        assert_eq!(serving(&cluster), Ok(()));
        cluster.state = ClusterState::Degraded;
        assert_eq!(serving(&cluster), Ok(()));
        let none = Cluster { spec: Default::default(), spus: Vec::new(), ..cluster.clone() };
        let CliError::Told { hint, .. } = serving(&none).unwrap_err() else { panic!() };
        assert!(hint.contains("scale --name a --spus"));
        cluster.desired = DesiredState::Shutdown;
        let CliError::Told { hint, .. } = serving(&cluster).unwrap_err() else { panic!() };
        assert!(hint.contains("resume --name a"));
        cluster.desired = DesiredState::Running;
        cluster.state = ClusterState::Failed;
        cluster.reason = Some("port 9500 is taken".into());
        assert!(serving(&cluster).unwrap_err().to_string().contains("port 9500 is taken"));
    }
}
