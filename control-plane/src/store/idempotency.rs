//! Answers that were given before, so that a repeated request gets the same one.

use weir_protocol::ids::ApiKeyId;

use super::{DbResult, Scoped, Tx};
use crate::params;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Method and path.
    pub route: String,
    /// SHA-256 of the body, hexadecimal.
    pub request_hash: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// The answer given to this key before.
///
/// # Errors
/// As the database.
pub async fn find(
    scoped: &mut Scoped<'_>,
    api_key: ApiKeyId,
    idempotency_key: &str,
) -> DbResult<Option<Answered>> {
    let row = scoped
        .query_optional(
            "SELECT route, request_hash, status, body FROM idempotency
             WHERE org_id = $1 AND key_id = $2 AND idempotency_key = $3",
            params![api_key, idempotency_key],
        )
        .await?;
    row.map(|row| {
        Ok(Answered {
            route: row.get("route")?,
            request_hash: row.get("request_hash")?,
            status: row.get("status")?,
            body: row.get("body")?,
        })
    })
    .transpose()
}

/// Remembers an answer.
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    api_key: ApiKeyId,
    idempotency_key: &str,
    answered: &Answered,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO idempotency (org_id, key_id, idempotency_key, route, request_hash, status,
                body, created_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            params![
                api_key,
                idempotency_key,
                &answered.route,
                &answered.request_hash,
                u32::from(answered.status),
                &answered.body,
                now_unix_ms
            ],
        )
        .await?;
    Ok(())
}

/// Forgets answers from before `before_unix_ms`; says how many.
///
/// # Errors
/// As the database.
pub async fn system_prune(tx: &mut Tx, before_unix_ms: i64) -> DbResult<u64> {
    tx.execute("DELETE FROM idempotency WHERE created_at_unix_ms < $1", params![before_unix_ms])
        .await
}
