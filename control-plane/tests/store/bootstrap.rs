//! The first start and later ones.

use secrecy::ExposeSecret as _;
use weir_control_plane::{
    app::{self, AppError, bootstrap::AdminKey},
    auth::ApiKey,
    store::{Store, api_keys, types::KeyScope},
};

use crate::support::{add_key, database::open, fixture};

#[tokio::test]
async fn a_second_start_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    database.migrate().await.unwrap();
    let store = Store::new(database);
    let key = AdminKey::new(None, "local").unwrap();
    let first = app::bootstrap(&store, 1, &key).await.unwrap();
    let shown = first.fresh_admin_key.unwrap();
    assert!(shown.expose_secret().starts_with("weir_local_"));
    // As after a commit whose answer was lost: the same attempt again.
    let again = app::bootstrap(&store, 2, &key).await.unwrap();
    assert_eq!(again.fresh_admin_key.unwrap().expose_secret(), shown.expose_secret());
    let later = app::bootstrap(&store, 3, &AdminKey::new(None, "local").unwrap()).await.unwrap();
    assert!(later.fresh_admin_key.is_none());
    assert_eq!(later.meta.database_id, first.meta.database_id);
    assert_eq!(later.org, first.org);
    assert_eq!(later.signer.token_keys(), first.signer.token_keys());
}

#[tokio::test]
async fn a_given_key_is_made_valid_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).await;
    database.migrate().await.unwrap();
    let store = Store::new(database);
    let key = ApiKey::generate("local").unwrap();
    for _ in 0..2 {
        let given = AdminKey::new(Some(&key.to_text()), "local").unwrap();
        let ready = app::bootstrap(&store, 1, &given).await.unwrap();
        assert!(ready.fresh_admin_key.is_none());
    }
    // A lost key is replaced by starting with another one.
    let other = ApiKey::generate("local").unwrap();
    app::bootstrap(&store, 1, &AdminKey::Given(other)).await.unwrap();
    // The same id with another secret is not.
    let forged = ApiKey { secret: "f".repeat(64).into(), ..key };
    let error = app::bootstrap(&store, 1, &AdminKey::Given(forged)).await.err().unwrap();
    assert!(matches!(error, AppError::KeyInvalid(_)), "{error:?}");
    let typo = "weir_local_1_2_3".to_owned().into();
    assert!(matches!(AdminKey::new(Some(&typo), "local"), Err(AppError::KeyMalformed(_))));
}

#[tokio::test]
async fn keys_end_when_they_are_revoked_or_expire() {
    let f = fixture().await;
    for how in 0..2 {
        let (principal, key) = add_key(&f.app, f.admin.org, &[KeyScope::Read]).await;
        assert_eq!(principal.scopes, [KeyScope::Read]);
        let mut tx = f.app.store.write().await.unwrap();
        let mut scoped = tx.scoped(f.admin.org);
        if how == 0 {
            assert!(api_keys::revoke(&mut scoped, principal.key_id, 5).await.unwrap());
        } else {
            let past = Some(f.app.now_unix_ms() - 1);
            api_keys::set_expiry(&mut scoped, principal.key_id, past).await.unwrap();
        }
        tx.commit().await.unwrap();
        let error = app::authenticate(&f.app, &key).await.unwrap_err();
        assert!(matches!(error, AppError::KeyInvalid(_)), "{error:?}");
    }
}

#[tokio::test]
async fn two_secrets_of_a_key_live_side_by_side() {
    let f = fixture().await;
    let (principal, old) = add_key(&f.app, f.admin.org, &[KeyScope::Admin]).await;
    let fresh = ApiKey { id: principal.key_id, ..ApiKey::generate("test").unwrap() };
    let hash = f.app.pepper.hash(
        weir_control_plane::auth::pepper::Purpose::ApiKey,
        &fresh.id.to_string(),
        &fresh.secret,
    );
    assert!(app::authenticate(&f.app, &fresh.to_text()).await.is_err());
    for (slot, old_lives) in [(2, true), (1, false)] {
        let mut tx = f.app.store.write().await.unwrap();
        let mut scoped = tx.scoped(f.admin.org);
        api_keys::put_secret(&mut scoped, fresh.id, slot, &hash, 1).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(app::authenticate(&f.app, &fresh.to_text()).await.unwrap(), principal);
        assert_eq!(app::authenticate(&f.app, &old).await.is_ok(), old_lives);
    }
}
