//! Clusters: created once, ordered about safely, invisible to others.

use weir_control_plane::{
    app::{self, AppError, Created},
    store::{
        audit, clusters, spus,
        types::{ClusterState, Desired, KeyScope, SpuState},
    },
};

use crate::support::{add_key, fixture, fresh, spec};

#[tokio::test]
async fn a_cluster_has_the_spus_of_its_spec() {
    let f = fixture().await;
    let mut reconcile = f.app.signals.on_reconcile();
    let view = f.cluster("demo", 3).await;
    assert!(reconcile.has_changed().unwrap());
    reconcile.mark_unchanged();
    assert_eq!(view.desired, Desired::Running);
    assert_eq!(view.state, ClusterState::Provisioning);
    assert_eq!(view.spus.iter().map(|spu| spu.spu_id).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(view.spus.iter().all(|spu| spu.state == SpuState::Starting && !spu.ready));
    assert_eq!(view.spus_ready, 0);
    for name in ["demo", &view.id.to_string()] {
        assert_eq!(app::cluster_get(&f.app, &f.admin, name).await.unwrap(), view);
    }
}

#[tokio::test]
async fn a_name_is_taken_in_any_state_and_the_hint_leads_on() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let mut hints = Vec::new();
    for step in 0..3 {
        let error = app::cluster_create(&f.app, &f.admin, "demo", spec(1), true).await.unwrap_err();
        assert!(matches!(error, AppError::ClusterExists { .. }), "{error:?}");
        assert_eq!(error.code(), "CLUSTER_EXISTS");
        hints.push(error.hint());
        if step == 0 {
            app::cluster_shutdown(&f.app, &f.admin, "demo", None).await.unwrap();
        } else {
            app::cluster_delete(&f.app, &f.admin, "demo").await.unwrap();
        }
    }
    assert!(hints[0].contains("weir cluster delete demo"), "{hints:?}");
    assert!(hints[1].contains("weir cluster resume demo"), "{hints:?}");
    assert!(hints[2].contains("being deleted"), "{hints:?}");
    // The reconciler is done: the name is free, and nothing of the old cluster is left.
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    let id = clusters::by_name(&mut org, "demo").await.unwrap().unwrap().id;
    assert!(clusters::remove(&mut org, id).await.unwrap());
    assert!(spus::list(&mut org, id).await.unwrap().is_empty());
    tx.commit().await.unwrap();
    assert_ne!(f.cluster("demo", 1).await.id, id);
}

#[tokio::test]
async fn without_only_new_the_same_spec_is_fine() {
    let f = fixture().await;
    let view = f.cluster("demo", 2).await;
    let again = app::cluster_create(&f.app, &f.admin, "demo", spec(2), false).await.unwrap();
    assert_eq!(again, Created::Same(view));
    let other = app::cluster_create(&f.app, &f.admin, "demo", spec(3), false).await.unwrap_err();
    assert!(matches!(other, AppError::ClusterExists { .. }));
}

#[tokio::test]
async fn orders_are_safe_to_repeat_until_deletion() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    for _ in 0..2 {
        let view = fresh(app::cluster_shutdown(&f.app, &f.admin, "demo", None).await.unwrap());
        assert_eq!((view.desired, view.state), (Desired::Shutdown, ClusterState::Stopping));
    }
    for _ in 0..2 {
        let view = fresh(app::cluster_resume(&f.app, &f.admin, "demo", None).await.unwrap());
        assert_eq!((view.desired, view.state), (Desired::Running, ClusterState::Provisioning));
    }
    for _ in 0..2 {
        let view = fresh(app::cluster_delete(&f.app, &f.admin, "demo").await.unwrap());
        assert_eq!((view.desired, view.state), (Desired::Deleted, ClusterState::Deleting));
    }
    let error = app::cluster_resume(&f.app, &f.admin, "demo", None).await.unwrap_err();
    assert!(matches!(error, AppError::ClusterDeleting(_)));
    // What changed nothing is not in the audit.
    let mut tx = f.app.store.read().await.unwrap();
    let acts = audit::recent(&mut tx.scoped(f.admin.org), 10).await.unwrap();
    let acts: Vec<_> = acts.iter().rev().map(|(action, _)| action.as_str()).collect();
    assert_eq!(acts, ["cluster.create", "cluster.shutdown", "cluster.resume", "cluster.delete"]);
}

#[tokio::test]
async fn a_reconciler_does_not_overwrite_what_the_owner_wants_now() {
    let f = fixture().await;
    let id = f.cluster("demo", 1).await.id;
    fresh(app::cluster_shutdown(&f.app, &f.admin, "demo", None).await.unwrap());
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    let (running, stopping) = (ClusterState::Running, ClusterState::Stopping);
    // Neither an older wish nor an older state stands any more.
    for believed in [(Desired::Running, stopping), (Desired::Shutdown, ClusterState::Failed)] {
        let set = clusters::set_state(&mut org, id, believed, running, None, 9).await.unwrap();
        assert!(!set);
    }
    let row = clusters::by_id(&mut org, id).await.unwrap().unwrap();
    assert_eq!((row.desired, row.state), (Desired::Shutdown, ClusterState::Stopping));
}

#[tokio::test]
async fn specs_that_cannot_be_are_refused() {
    let f = fixture().await;
    for (name, wanted) in [
        ("demo", spec(11)),
        ("Demo", spec(1)),
        ("", spec(1)),
        ("demo", clusters::ClusterSpec { port_base: Some(65_535), ..spec(2) }),
        ("demo", clusters::ClusterSpec { data_dir: Some(" ".to_owned()), ..spec(2) }),
        // Nobody permitted it.
        ("demo", clusters::ClusterSpec { data_dir: Some("/srv/weir".to_owned()), ..spec(2) }),
    ] {
        let error = app::cluster_create(&f.app, &f.admin, name, wanted, true).await.unwrap_err();
        assert!(matches!(error, AppError::Invalid { .. }), "{error:?}");
        assert!(!error.hint().is_empty());
    }
    let (clusters, _) = app::cluster_list(&f.app, &f.admin, "", 10).await.unwrap();
    assert!(clusters.is_empty());
}

#[tokio::test]
async fn another_org_sees_nothing_and_may_use_the_same_name() {
    let f = fixture().await;
    let view = f.cluster("demo", 1).await;
    for name in ["demo", &view.id.to_string()] {
        let missing = |error: &AppError| matches!(error, AppError::ClusterNotFound(_));
        assert!(missing(&app::cluster_get(&f.app, &f.other, name).await.unwrap_err()));
        assert!(missing(&app::cluster_delete(&f.app, &f.other, name).await.unwrap_err()));
        assert!(missing(&app::token_issue(&f.app, &f.other, name, &[]).await.unwrap_err()));
    }
    assert!(app::cluster_list(&f.app, &f.other, "", 10).await.unwrap().0.is_empty());
    let theirs = app::cluster_create(&f.app, &f.other, "demo", spec(1), true).await.unwrap();
    let Created::New(theirs) = theirs else { panic!("{theirs:?}") };
    assert_ne!(theirs.id, view.id);
    assert_eq!(app::cluster_get(&f.app, &f.admin, "demo").await.unwrap().id, view.id);
}

#[tokio::test]
async fn a_key_may_only_what_its_scopes_say() {
    let f = fixture().await;
    f.cluster("demo", 1).await;
    let (reader, _) = add_key(&f.app, f.admin.org, &[KeyScope::Read]).await;
    app::cluster_get(&f.app, &reader, "demo").await.unwrap();
    for error in [
        app::cluster_delete(&f.app, &reader, "demo").await.unwrap_err(),
        app::cluster_create(&f.app, &reader, "more", spec(1), true).await.unwrap_err(),
        app::token_issue(&f.app, &reader, "demo", &[]).await.unwrap_err(),
    ] {
        assert!(matches!(error, AppError::Forbidden(_)), "{error:?}");
    }
}
