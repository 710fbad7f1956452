//! A new cluster: its row, the rows of its SPUs. The reconciler starts them.

use std::path::{Component, Path};

use serde_json::json;
use weir_protocol::ids::ClusterId;

use super::{App, AppError, Principal, act, view};
use crate::{
    plan::names,
    store::{
        changes::{self, Change},
        clusters::{self, ClusterSpec},
        operations::Target,
        spus,
        types::{Desired, KeyScope, OperationKind},
    },
};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New(view::ClusterView),
    /// It was there, running and with this spec, and the caller does not mind.
    Same(view::ClusterView),
}

/// Creates a cluster that should run. With `only_new` a cluster of this name is an error in
/// any state; without, one that is wanted running with the same spec is fine.
///
/// # Errors
/// [`AppError::ClusterExists`], [`AppError::Invalid`], and as the store.
pub async fn cluster_create(
    app: &App,
    principal: &Principal,
    name: &str,
    spec: ClusterSpec,
    only_new: bool,
) -> Result<Created, AppError> {
    principal.require(KeyScope::Admin)?;
    names::cluster_name(name).map_err(|error| AppError::name("cluster", &error))?;
    check(app, &spec, 0)?;
    let now = app.now_unix_ms();
    let id = ClusterId(app.uuid_v7()?);
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    if let Some(found) = clusters::by_name(&mut org, name).await? {
        if only_new || found.desired != Desired::Running || found.spec != spec {
            return Err(AppError::ClusterExists {
                name: found.name,
                desired: found.desired,
                state: found.state.as_str(),
            });
        }
        return Ok(Created::Same(view::cluster(app, &mut org, &found).await?));
    }
    clusters::insert(&mut org, id, name, &spec, now).await?;
    for _ in 0..spec.spus {
        let spu = spus::add(&mut org, id, now).await?;
        changes::record(&mut org, id, &Change::Spu(spu), now).await?;
    }
    act::audit(app, &mut org, principal, "cluster.create", id, name, json!({ "spec": spec }))
        .await?;
    let row = super::lookup::cluster(&mut org, name).await?;
    let target = Target { to: spec.spus, ..Target::default() };
    act::operation(app, &mut org, principal, &row, OperationKind::Create, target).await?;
    let view = view::cluster(app, &mut org, &row).await?;
    tx.commit().await?;
    tracing::info!(cluster = %id, name, spus = spec.spus, "cluster created");
    app.signals.reconcile();
    Ok(Created::New(view))
}

/// Whether a cluster may be so, with no fewer SPUs than `least`.
pub(super) fn check(app: &App, spec: &ClusterSpec, least: u32) -> Result<(), AppError> {
    let most = app.defaults.spus_max;
    if !(least..=most).contains(&spec.spus) {
        return Err(AppError::invalid(
            "spus",
            format!("{} is not possible", spec.spus),
            format!("Ask for {least} to {most} SPUs."),
        ));
    }
    if let Some(first) = spec.port_base {
        let last = u32::from(first) + spec.spus.saturating_sub(1);
        if first == 0 || last > u32::from(u16::MAX) {
            return Err(AppError::invalid(
                "port_base",
                format!("ports {first} to {last} are not all possible"),
                "Leave it out, or choose a lower one, for instance 9500.",
            ));
        }
    }
    if let Some(folder) = &spec.data_dir {
        check_data_dir(app.defaults.data_dir_root.as_deref(), folder)?;
    }
    Ok(())
}

/// What a tenant names here is written to, and removed with the cluster: it must lie where
/// whoever runs the control plane permits it, and nowhere else.
fn check_data_dir(root: Option<&Path>, folder: &str) -> Result<(), AppError> {
    let Some(root) = root else {
        return Err(AppError::invalid(
            "data_dir",
            "this control plane lets no cluster choose its folder",
            "Leave it out, or start the control plane with --data-dir-root.",
        ));
    };
    let path = Path::new(folder);
    let plain = path.is_absolute()
        && !path.components().any(|part| part == Component::ParentDir)
        && !folder.contains(char::is_control);
    if plain && path != root && path.starts_with(root) {
        return Ok(());
    }
    Err(AppError::invalid(
        "data_dir",
        format!("{folder:?} is no absolute path below {}", root.display()),
        format!("Leave it out, or name a folder below {}, without \"..\".", root.display()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_lies_below_the_permitted_root_or_is_refused() {
        let root = Path::new("/srv/weir");
        let allowed = |folder| check_data_dir(Some(root), folder).is_ok();
        assert!(allowed("/srv/weir/a") && allowed("/srv/weir/a/b"));
        for folder in [
            "",
            " ",
            "a",
            "srv/weir/a",
            "/",
            "/etc",
            "/srv",
            "/srv/weir",
            "/srv/weir/",
            "/srv/weir-too/a",
            "/srv/weir/..",
            "/srv/weir/../../etc",
            "/srv/weir/a/../../../etc",
            "/srv/weir/a\0b",
        ] {
            assert!(!allowed(folder), "{folder:?}");
        }
        let refused = check_data_dir(None, "/srv/weir/a").unwrap_err();
        assert!(refused.hint().contains("--data-dir-root"), "{}", refused.hint());
    }
}
