//! Which history this database is, and the secrets that never leave it.

use secrecy::SecretString;
use weir_protocol::ids::{DatabaseId, RestoreNumber};

use super::{DbResult, Tx};
use crate::params;

/// The one row of `meta`.
pub struct Meta {
    /// Another id is another history: revisions do not compare.
    pub database_id: DatabaseId,
    /// How many times it was restored from a backup.
    pub restore_number: RestoreNumber,
    /// Keys the hashes of API keys and launch secrets; text of 64 hexadecimal digits.
    pub pepper: SecretString,
}

/// A key that tokens are signed with.
pub struct SigningKeyRow {
    /// What a token's header names.
    pub key_id: String,
    /// The Ed25519 seed, 64 hexadecimal digits.
    pub seed: SecretString,
    /// Retired keys still verify what they signed.
    pub retired: bool,
}

/// The row, once bootstrap has written it.
///
/// # Errors
/// As the database.
pub async fn system_get(tx: &mut Tx) -> DbResult<Option<Meta>> {
    let rows = tx.query("SELECT database_id, restore_number, pepper FROM meta", vec![]).await?;
    rows.first()
        .map(|row| {
            Ok(Meta {
                database_id: row.get("database_id")?,
                restore_number: row.get("restore_number")?,
                pepper: row.get("pepper")?,
            })
        })
        .transpose()
}

/// Writes the row; a unique violation if there is one.
///
/// # Errors
/// As the database.
pub async fn system_insert(tx: &mut Tx, meta: &Meta, now_unix_ms: i64) -> DbResult<()> {
    tx.execute(
        "INSERT INTO meta (singleton, database_id, restore_number, pepper, created_at_unix_ms)
         VALUES (1, $1, $2, $3, $4)",
        params![meta.database_id, meta.restore_number, &meta.pepper, now_unix_ms],
    )
    .await?;
    Ok(())
}

/// All signing keys, the newest first.
///
/// # Errors
/// As the database.
pub async fn system_signing_keys(tx: &mut Tx) -> DbResult<Vec<SigningKeyRow>> {
    let rows = tx
        .query(
            "SELECT key_id, seed, retired_at_unix_ms FROM signing_keys
             ORDER BY created_at_unix_ms DESC, key_id",
            vec![],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(SigningKeyRow {
                key_id: row.get("key_id")?,
                seed: row.get("seed")?,
                retired: row.get::<Option<i64>>("retired_at_unix_ms")?.is_some(),
            })
        })
        .collect()
}

/// Adds a signing key.
///
/// # Errors
/// As the database.
pub async fn system_insert_signing_key(
    tx: &mut Tx,
    key_id: &str,
    seed: &SecretString,
    now_unix_ms: i64,
) -> DbResult<()> {
    tx.execute(
        "INSERT INTO signing_keys (key_id, seed, created_at_unix_ms) VALUES ($1, $2, $3)",
        params![key_id, seed, now_unix_ms],
    )
    .await?;
    Ok(())
}
