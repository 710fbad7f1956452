//! An [`App`] over a fresh database, with two orgs that must not see each other.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use uuid::Uuid;
use weir_control_plane::{
    ClusterDefaults, Metrics,
    app::{
        self, Answer, App, Principal, Signals, StatusBoard,
        bootstrap::{AdminKey, Bootstrapped},
        view::ClusterView,
    },
    auth::{ApiKey, pepper::Purpose},
    store::{Store, api_keys, clusters::ClusterSpec, orgs, types::KeyScope},
};
use weir_protocol::ids::OrgId;
use weir_runtime::clock::Clock;

#[path = "../support_database/mod.rs"]
pub mod database;

pub struct Fixture {
    pub app: Arc<App>,
    pub admin: Principal,
    pub admin_key: SecretString,
    pub other: Principal,
    pub other_key: SecretString,
    pub folder: tempfile::TempDir,
}

pub async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let database = database::open(&folder).await;
    assert!(database.migrate().await.unwrap() > 0);
    let store = Store::new(database);
    let key = AdminKey::new(None, "test").unwrap();
    let Bootstrapped { meta, pepper, signer, org, fresh_admin_key } =
        app::bootstrap(&store, Clock.unix_ms(), &key).await.unwrap();
    let admin_key = fresh_admin_key.unwrap();
    let app = Arc::new(App {
        store,
        clock: Clock,
        ids: app::UuidSource::default(),
        board: StatusBoard::default(),
        metrics: Metrics::default(),
        signals: Signals::default(),
        pepper,
        signer,
        database_id: meta.database_id,
        restore_number: meta.restore_number,
        defaults: ClusterDefaults { spus_max: 10, ..ClusterDefaults::default() },
        rpc_address: "127.0.0.1:1".to_owned(),
        build: "0.1.0".to_owned(),
    });
    let admin = app::authenticate(&app, &admin_key).await.unwrap();
    assert_eq!(admin.org, org);
    let other_org = OrgId(Uuid::from_u128(77));
    let mut tx = app.store.write().await.unwrap();
    orgs::system_insert(&mut tx, other_org, "other", 1).await.unwrap();
    tx.commit().await.unwrap();
    let (other, other_key) = add_key(&app, other_org, &[KeyScope::Admin]).await;
    Fixture { app, admin, admin_key, other, other_key, folder }
}

/// A fresh key of an org.
pub async fn add_key(app: &App, org: OrgId, scopes: &[KeyScope]) -> (Principal, SecretString) {
    let key = ApiKey::generate("test").unwrap();
    let hash = app.pepper.hash(Purpose::ApiKey, &key.id.to_string(), &key.secret);
    let mut tx = app.store.write().await.unwrap();
    let mut scoped = tx.scoped(org);
    api_keys::insert(&mut scoped, key.id, "test", scopes, &hash, 1).await.unwrap();
    tx.commit().await.unwrap();
    let text = key.to_text();
    (app::authenticate(app, &text).await.unwrap(), text)
}

pub fn spec(spus: u32) -> ClusterSpec {
    ClusterSpec { spus, port_base: None, data_dir: None }
}

impl Fixture {
    pub async fn cluster(&self, name: &str, spus: u32) -> ClusterView {
        match app::cluster_create(&self.app, &self.admin, name, spec(spus), true).await.unwrap() {
            app::Created::New(view) => view,
            app::Created::Same(_) => panic!("it was there"),
        }
    }

    pub fn router(&self) -> axum::Router {
        weir_control_plane::http::router(Arc::clone(&self.app), Duration::from_secs(30))
    }
}

pub fn fresh<T: std::fmt::Debug>(answer: Answer<T>) -> T {
    match answer {
        Answer::Fresh(view) => view,
        repeated => panic!("{repeated:?}"),
    }
}
