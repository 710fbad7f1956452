//! An SPU on a machine that the provisioner does not run: the cluster counts it from now on, and
//! whoever starts it gets what it proves itself with.

use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use weir_protocol::ids::{ClusterId, LaunchId, OrgId};

use super::{App, AppError, Principal, act, cluster_create, lookup, uuid_v4, view};
use crate::{
    auth::{launch_secret, pepper::Purpose},
    store::{
        changes::{self, Change},
        clusters::{self, ClusterSpec},
        launches, spus,
        types::KeyScope,
    },
};

/// What an SPU is started with elsewhere.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = SpuCredentials)]
pub struct Credentials {
    /// The org.
    #[schema(value_type = String)]
    pub org_id: OrgId,
    /// The cluster.
    #[schema(value_type = String)]
    pub cluster_id: ClusterId,
    /// Which of its SPUs.
    pub spu_id: u32,
    /// Stays the same for as long as the SPU belongs to the cluster.
    #[schema(value_type = String)]
    pub launch_id: LaunchId,
    /// The proof. Told once, kept nowhere here.
    pub launch_secret: String,
    /// The control plane's gRPC endpoint as it knows it itself, `host:port`.
    pub control_plane: String,
}

/// An SPU that was registered.
#[derive(Clone, Serialize, ToSchema)]
pub struct SpuRegistered {
    /// As it is now.
    pub spu: view::SpuView,
    /// What to start it with.
    pub credentials: Credentials,
}

/// Adds an SPU that somebody else runs. Every call adds one: an answer that was lost is undone by
/// [`super::spu_unregister()`].
///
/// # Errors
/// [`AppError::ClusterShutDown`], [`AppError::ClusterDeleting`], [`AppError::Invalid`] beyond the
/// most SPUs that a cluster may have, and as the store.
pub async fn spu_register(
    app: &App,
    principal: &Principal,
    cluster: &str,
) -> Result<SpuRegistered, AppError> {
    principal.require(KeyScope::Admin)?;
    let now = app.now_unix_ms();
    let launch = LaunchId(uuid_v4()?);
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    let row = lookup::decidable(lookup::running_cluster(&mut org, cluster).await?)?;
    let spec = ClusterSpec { spus: row.spec.spus.saturating_add(1), ..row.spec.clone() };
    cluster_create::check(app, &spec, 1)?;
    let spu = spus::add(&mut org, row.id, now).await?;
    let secret = launch_secret::draw(&app.pepper, row.id, spu, launch)?;
    let hash = app.pepper.hash(Purpose::Launch, &launch.to_string(), &secret);
    launches::insert(&mut org, row.id, launch, spu, &hash, now).await?;
    spus::set_external(&mut org, row.id, spu, launch, now).await?;
    clusters::set_spec(&mut org, row.id, &spec, now).await?;
    changes::record(&mut org, row.id, &Change::Cluster, now).await?;
    let revision = changes::record(&mut org, row.id, &Change::Spu(spu), now).await?;
    let detail = json!({ "spu_id": spu.0 });
    act::audit(app, &mut org, principal, "spu.register", row.id, &row.name, detail).await?;
    let added = spus::get(&mut org, row.id, spu)
        .await?
        .ok_or_else(|| AppError::SpuNotFound { cluster: row.name.clone(), spu })?;
    let spu_view = view::spu(&added, None);
    tx.commit().await?;
    tracing::info!(cluster = %row.id, name = row.name, %spu, "SPU registered that runs elsewhere");
    app.signals.metadata(row.id, revision);
    app.signals.reconcile();
    let credentials = Credentials {
        org_id: principal.org,
        cluster_id: row.id,
        spu_id: spu.0,
        launch_id: launch,
        launch_secret: secret.expose_secret().to_owned(),
        control_plane: app.rpc_address.clone(),
    };
    Ok(SpuRegistered { spu: spu_view, credentials })
}
