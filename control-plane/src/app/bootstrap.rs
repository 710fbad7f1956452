//! The first start: the database's id, its secrets, the default org with an admin key. On
//! later starts only what is missing.

use secrecy::SecretString;
use uuid::Uuid;
use weir_protocol::ids::{ApiKeyId, DatabaseId, OrgId, RestoreNumber};

use super::{AppError, uuid_v4};
use crate::{
    auth::{ApiKey, Pepper, TokenSigner, pepper::Purpose, random_secret},
    store::{
        Store, Tx, api_keys,
        meta::{self, Meta},
        orgs,
        types::KeyScope,
    },
};

/// The org that a fresh control plane has.
pub const DEFAULT_ORG: &str = "default";

/// What a start needs to know.
pub struct Bootstrapped {
    /// Which history this database is.
    pub meta: Meta,
    /// Hashes secrets.
    pub pepper: Pepper,
    /// Signs tokens.
    pub signer: TokenSigner,
    /// The default org.
    pub org: OrgId,
    /// A fresh admin key, when none was given at the first start. This is the only time
    /// that it can be seen.
    pub fresh_admin_key: Option<SecretString>,
}

/// The key that the default org's admin uses.
#[derive(Clone, Debug)]
pub enum AdminKey {
    /// Given by whoever starts the control plane: valid from now on.
    Given(ApiKey),
    /// Drawn just now: valid only if this turns out to be the first start.
    Fresh(ApiKey),
}

impl AdminKey {
    /// The given key, or a fresh one.
    ///
    /// # Errors
    /// [`AppError::KeyMalformed`], [`AppError::Entropy`].
    pub fn new(given: Option<&SecretString>, environment: &str) -> Result<Self, AppError> {
        Ok(match given {
            Some(text) => Self::Given(ApiKey::parse(text)?),
            None => Self::Fresh(ApiKey::generate(environment)?),
        })
    }
}

/// Makes what is missing. Safe to repeat with the same `admin_key`.
///
/// # Errors
/// [`AppError::KeyInvalid`] when a given key is known with another secret, or belongs to
/// another org; and as the store.
pub async fn bootstrap(
    store: &Store,
    now_unix_ms: i64,
    admin_key: &AdminKey,
) -> Result<Bootstrapped, AppError> {
    let mut tx = store.write().await?;
    let found = meta::system_get(&mut tx).await?;
    let first = found.is_none();
    let meta = match found {
        Some(meta) => meta,
        None => create(&mut tx, now_unix_ms).await?,
    };
    let keys = meta::system_signing_keys(&mut tx).await?;
    let keys: Vec<_> = keys.into_iter().map(|key| (key.key_id, key.seed, key.retired)).collect();
    let signer = TokenSigner::new(&keys)?;
    let pepper = Pepper::new(meta.pepper.clone());
    let org = match orgs::system_by_name(&mut tx, DEFAULT_ORG).await? {
        Some(org) => org,
        None => {
            let org = OrgId(uuid_v4()?);
            orgs::system_insert(&mut tx, org, DEFAULT_ORG, now_unix_ms).await?;
            org
        }
    };
    let mut fresh_admin_key = None;
    match admin_key {
        AdminKey::Given(key) => {
            ensure_admin_key(&mut tx, &pepper, org, key, now_unix_ms).await?;
        }
        AdminKey::Fresh(key) => {
            // Known already: a commit whose answer was lost.
            if first || api_keys::system_find(&mut tx, key.id).await?.is_some() {
                ensure_admin_key(&mut tx, &pepper, org, key, now_unix_ms).await?;
                fresh_admin_key = Some(key.to_text());
            }
        }
    }
    tx.commit().await?;
    Ok(Bootstrapped { meta, pepper, signer, org, fresh_admin_key })
}

async fn create(tx: &mut Tx, now_unix_ms: i64) -> Result<Meta, AppError> {
    let meta = Meta {
        database_id: DatabaseId(uuid_v4()?),
        restore_number: RestoreNumber(0),
        pepper: random_secret()?,
    };
    meta::system_insert(tx, &meta, now_unix_ms).await?;
    let key_id = short(uuid_v4()?);
    meta::system_insert_signing_key(tx, &key_id, &random_secret()?, now_unix_ms).await?;
    tracing::info!(database = %meta.database_id, "database created");
    Ok(meta)
}

async fn ensure_admin_key(
    tx: &mut Tx,
    pepper: &Pepper,
    org: OrgId,
    key: &ApiKey,
    now_unix_ms: i64,
) -> Result<(), AppError> {
    let id: ApiKeyId = key.id;
    if let Some(row) = api_keys::system_find(tx, id).await? {
        let known = row.org == org
            && row.secrets.iter().any(|secret| {
                pepper.verify(Purpose::ApiKey, &id.to_string(), &key.secret, &secret.hash)
            });
        return if known { Ok(()) } else { Err(AppError::KeyInvalid("it is known differently")) };
    }
    let hash = pepper.hash(Purpose::ApiKey, &id.to_string(), &key.secret);
    let mut scoped = tx.scoped(org);
    api_keys::insert(&mut scoped, id, "admin", &[KeyScope::Admin], &hash, now_unix_ms).await?;
    tracing::info!(key = %id, "admin key added");
    Ok(())
}

fn short(id: Uuid) -> String {
    id.simple().to_string()[..12].to_owned()
}
