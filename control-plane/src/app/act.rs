//! What every act leaves behind in its transaction.

use weir_protocol::ids::ClusterId;

use super::{App, AppError, Principal};
use crate::store::{Scoped, audit};

/// Writes who did what.
pub(super) async fn audit(
    app: &App,
    scoped: &mut Scoped<'_>,
    principal: &Principal,
    action: &str,
    cluster: ClusterId,
    subject: &str,
    detail: serde_json::Value,
) -> Result<(), AppError> {
    let entry = audit::Entry {
        id: app.uuid_v7()?,
        actor: &principal.key_id.to_string(),
        action,
        cluster: Some(cluster),
        subject,
        detail,
    };
    audit::record(scoped, &entry, app.now_unix_ms()).await?;
    Ok(())
}
