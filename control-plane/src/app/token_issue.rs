//! Data-plane tokens. Nothing is stored: a token is what its signature says.

use std::time::Duration;

use secrecy::SecretString;
use weir_protocol::{
    ids::{ClusterId, OrgId, SpuId},
    token::{Claims, ISSUER, Scope, replica_subject},
};

use super::{App, AppError, Principal, lookup};
use crate::store::{
    spus,
    types::{KeyScope, SpuState},
};

/// How long an SPU fetches from others with one token. Long, so that it goes on for a while when
/// the control plane is away; a fresh one comes with a heartbeat once half of it is over.
pub const REPLICATION_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A token, and where to use it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The JWT.
    pub token: SecretString,
    /// When it ends, milliseconds since 1970.
    pub expires_at_unix_ms: i64,
    /// The cluster that it is good for.
    pub cluster_id: ClusterId,
    /// `host:port` of the SPUs that have registered, those online first.
    pub endpoints: Vec<String>,
}

/// Issues a token for a cluster that should run. No scopes: all that the key permits.
///
/// # Errors
/// [`AppError::Forbidden`] for a scope that the key does not permit, and as the store.
pub async fn token_issue(
    app: &App,
    principal: &Principal,
    cluster: &str,
    scopes: &[Scope],
) -> Result<Issued, AppError> {
    let scopes = permitted(principal, scopes)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::running_cluster(&mut org, cluster).await?;
    let mut spus = spus::list(&mut org, cluster.id).await?;
    drop(tx);
    spus.retain(|spu| !spu.removed);
    // Stable: within each part by id.
    spus.sort_by_key(|spu| spu.state != SpuState::Online);
    let subject = principal.key_id.to_string();
    let (token, expires_at_unix_ms) =
        sign(app, principal.org, cluster.id, subject, scopes, app.defaults.token_ttl)?;
    Ok(Issued {
        token,
        expires_at_unix_ms,
        cluster_id: cluster.id,
        endpoints: spus.into_iter().filter_map(|spu| spu.endpoint).collect(),
    })
}

/// A token for the control plane itself, which may use internal topics.
///
/// # Errors
/// [`AppError::Sign`].
pub fn token_internal(
    app: &App,
    org: OrgId,
    cluster: ClusterId,
    subject: &str,
) -> Result<SecretString, AppError> {
    let scopes = vec![Scope::Produce, Scope::Consume, Scope::Internal];
    Ok(sign(app, org, cluster, subject.to_owned(), scopes, app.defaults.token_ttl)?.0)
}

/// A token for an SPU, with which it fetches from others of its cluster.
///
/// # Errors
/// [`AppError::Sign`].
pub fn token_replicate(
    app: &App,
    org: OrgId,
    cluster: ClusterId,
    spu: SpuId,
) -> Result<SecretString, AppError> {
    let scopes = vec![Scope::Replicate];
    Ok(sign(app, org, cluster, replica_subject(spu), scopes, REPLICATION_TOKEN_TTL)?.0)
}

fn permitted(principal: &Principal, asked: &[Scope]) -> Result<Vec<Scope>, AppError> {
    let needed = [(Scope::Produce, KeyScope::Produce), (Scope::Consume, KeyScope::Consume)];
    if asked.is_empty() {
        let all: Vec<_> = needed
            .into_iter()
            .filter(|(_, key)| principal.require(*key).is_ok())
            .map(|(scope, _)| scope)
            .collect();
        return if all.is_empty() { Err(AppError::Forbidden(KeyScope::Consume)) } else { Ok(all) };
    }
    let mut scopes = Vec::new();
    for scope in asked {
        let (_, key) = needed.iter().find(|(known, _)| known == scope).ok_or_else(|| {
            AppError::invalid(
                "scopes",
                "internal tokens are the control plane's own",
                "Ask for produce, consume, or both.",
            )
        })?;
        principal.require(*key)?;
        if !scopes.contains(scope) {
            scopes.push(*scope);
        }
    }
    Ok(scopes)
}

fn sign(
    app: &App,
    org: OrgId,
    cluster: ClusterId,
    subject: String,
    scopes: Vec<Scope>,
    ttl: Duration,
) -> Result<(SecretString, i64), AppError> {
    let issued = app.now_unix_ms() / 1000;
    let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let expires = issued.saturating_add(ttl);
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: subject,
        org,
        cluster,
        scopes,
        iat: issued,
        exp: expires,
    };
    Ok((app.signer.sign(&claims)?, expires.saturating_mul(1000)))
}
