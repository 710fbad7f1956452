//! API keys: what they permit, and keyed hashes of their secrets. A key has up to two live
//! secrets, so that one can be replaced while the other is still in use.

use weir_protocol::ids::{ApiKeyId, OrgId};

use super::{DbError, DbResult, Scoped, Tx, types::KeyScope};
use crate::params;

/// A key with its live secrets.
#[derive(Clone, Debug)]
pub struct ApiKeyRow {
    /// Whose it is.
    pub org: OrgId,
    /// Its public part.
    pub id: ApiKeyId,
    /// What it permits.
    pub scopes: Vec<KeyScope>,
    /// When it ends, if ever.
    pub expires_at_unix_ms: Option<i64>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// One or two.
    pub secrets: Vec<ApiKeySecret>,
}

/// One secret of a key.
#[derive(Clone, Debug)]
pub struct ApiKeySecret {
    /// Keyed hash, hexadecimal.
    pub hash: String,
    /// When it ends, if ever.
    pub expires_at_unix_ms: Option<i64>,
}

/// The key with this public part, whosever it is: this is how one learns the org.
///
/// # Errors
/// As the database.
pub async fn system_find(tx: &mut Tx, id: ApiKeyId) -> DbResult<Option<ApiKeyRow>> {
    let rows = tx
        .query(
            "SELECT k.org_id, k.scopes, k.expires_at_unix_ms, k.revoked_at_unix_ms,
                    s.secret_hash, s.expires_at_unix_ms AS secret_expires_at_unix_ms
             FROM api_keys k
             JOIN api_key_secrets s ON s.org_id = k.org_id AND s.key_id = k.key_id
             WHERE k.key_id = $1
             ORDER BY s.slot",
            params![id],
        )
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let scopes: String = first.get("scopes")?;
    Ok(Some(ApiKeyRow {
        org: first.get("org_id")?,
        id,
        scopes: serde_json::from_str(&scopes).map_err(|_| DbError::Decode {
            column: "scopes".to_owned(),
            expected: "list of scopes",
        })?,
        expires_at_unix_ms: first.get("expires_at_unix_ms")?,
        revoked: first.get::<Option<i64>>("revoked_at_unix_ms")?.is_some(),
        secrets: rows
            .iter()
            .map(|row| {
                Ok(ApiKeySecret {
                    hash: row.get("secret_hash")?,
                    expires_at_unix_ms: row.get("secret_expires_at_unix_ms")?,
                })
            })
            .collect::<DbResult<_>>()?,
    }))
}

/// Adds a key with its first secret.
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    id: ApiKeyId,
    name: &str,
    scopes: &[KeyScope],
    secret_hash: &str,
    now_unix_ms: i64,
) -> DbResult<()> {
    let scopes = serde_json::json!(scopes).to_string();
    scoped
        .execute(
            "INSERT INTO api_keys (org_id, key_id, name, scopes, created_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5)",
            params![id, name, scopes, now_unix_ms],
        )
        .await?;
    put_secret(scoped, id, 1, secret_hash, now_unix_ms).await
}

/// Puts a secret into slot 1 or 2, in the place of what was there.
///
/// # Errors
/// As the database.
pub async fn put_secret(
    scoped: &mut Scoped<'_>,
    id: ApiKeyId,
    slot: u32,
    secret_hash: &str,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO api_key_secrets (org_id, key_id, slot, secret_hash, created_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (org_id, key_id, slot) DO UPDATE
             SET secret_hash = excluded.secret_hash,
                 created_at_unix_ms = excluded.created_at_unix_ms,
                 expires_at_unix_ms = NULL",
            params![id, slot, secret_hash, now_unix_ms],
        )
        .await?;
    Ok(())
}

/// Ends a key at once.
///
/// # Errors
/// As the database.
pub async fn revoke(scoped: &mut Scoped<'_>, id: ApiKeyId, now_unix_ms: i64) -> DbResult<bool> {
    let rows = scoped
        .execute(
            "UPDATE api_keys SET revoked_at_unix_ms = $3
             WHERE org_id = $1 AND key_id = $2 AND revoked_at_unix_ms IS NULL",
            params![id, now_unix_ms],
        )
        .await?;
    Ok(rows == 1)
}

/// Sets when a key ends; `None`: never.
///
/// # Errors
/// As the database.
pub async fn set_expiry(
    scoped: &mut Scoped<'_>,
    id: ApiKeyId,
    expires_at_unix_ms: Option<i64>,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE api_keys SET expires_at_unix_ms = $3 WHERE org_id = $1 AND key_id = $2",
            params![id, expires_at_unix_ms],
        )
        .await?;
    Ok(())
}
