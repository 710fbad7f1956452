//! From a bearer key to who asks. Looked up each time: a revoked key ends at once.

use secrecy::SecretString;

use super::{App, AppError, Principal};
use crate::{
    auth::{ApiKey, pepper::Purpose},
    store::api_keys,
};

/// Who holds this key.
///
/// # Errors
/// [`AppError::KeyMalformed`] before the database is asked; [`AppError::KeyInvalid`].
pub async fn authenticate(app: &App, key: &SecretString) -> Result<Principal, AppError> {
    let key = ApiKey::parse(key)?;
    let mut tx = app.store.read().await?;
    let row = api_keys::system_find(&mut tx, key.id).await?;
    drop(tx);
    let row = row.ok_or(AppError::KeyInvalid("it is not known here"))?;
    let now = app.now_unix_ms();
    let over = |expiry: Option<i64>| expiry.is_some_and(|expiry| expiry <= now);
    let id = key.id.to_string();
    // The secret before the rest, so that a stranger learns nothing about the key.
    let mut matching = row
        .secrets
        .iter()
        .filter(|secret| app.pepper.verify(Purpose::ApiKey, &id, &key.secret, &secret.hash))
        .peekable();
    if matching.peek().is_none() {
        return Err(AppError::KeyInvalid("it is not known here"));
    }
    if row.revoked {
        return Err(AppError::KeyInvalid("it was revoked"));
    }
    if over(row.expires_at_unix_ms) || matching.all(|secret| over(secret.expires_at_unix_ms)) {
        return Err(AppError::KeyInvalid("it has expired"));
    }
    Ok(Principal { org: row.org, key_id: key.id, scopes: row.scopes })
}
