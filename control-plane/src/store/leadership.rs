//! Which replica of the control plane reconciles. With SQLite there is one, which always
//! gets it; the term goes up with every change of hands all the same.

use weir_protocol::ids::ControllerTerm;

use super::{DbResult, Tx};
use crate::params;

/// Takes or keeps the lead for `purpose`. `None` while another holder's lease runs.
///
/// # Errors
/// As the database.
pub async fn system_claim(
    tx: &mut Tx,
    purpose: &str,
    holder: &str,
    now_unix_ms: i64,
    expires_at_unix_ms: i64,
) -> DbResult<Option<ControllerTerm>> {
    let rows = tx
        .query(
            "INSERT INTO leadership (purpose, holder, term, expires_at_unix_ms)
             VALUES ($1, $2, 1, $4)
             ON CONFLICT (purpose) DO UPDATE
             SET term = CASE WHEN leadership.holder = excluded.holder
                             THEN leadership.term ELSE leadership.term + 1 END,
                 holder = excluded.holder,
                 expires_at_unix_ms = excluded.expires_at_unix_ms
             WHERE leadership.holder = excluded.holder OR leadership.expires_at_unix_ms <= $3
             RETURNING term",
            params![purpose, holder, now_unix_ms, expires_at_unix_ms],
        )
        .await?;
    rows.first().map(|row| row.get("term")).transpose()
}
