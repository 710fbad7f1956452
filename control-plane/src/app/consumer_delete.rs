//! Forgetting a named consumer: first its coordinator, which fences what still runs under
//! the name, then what is stored here.

use serde_json::json;
use weir_protocol::pb::offsets::DeleteRequest;

use super::{
    App, AppError, Principal, act, consumer_get, consumer_view::ConsumerDeleted, lookup,
    reach::Reach,
};
use crate::store::{consumer_offsets, types::KeyScope};

/// Forgets a consumer. A repetition finds nothing, or what began anew under the name.
///
/// # Errors
/// [`AppError::ConsumerNotFound`], [`AppError::CoordinatorUnavailable`], and as the store.
pub async fn consumer_delete(
    app: &App,
    principal: &Principal,
    cluster: &str,
    consumer: &str,
) -> Result<ConsumerDeleted, AppError> {
    principal.require(KeyScope::Admin)?;
    consumer_get::check_name(consumer)?;
    let mut tx = app.store.read().await?;
    let mut org = tx.scoped(principal.org);
    let cluster = lookup::running_cluster(&mut org, cluster).await?;
    let reach = Reach::load(app, &mut org, principal, &cluster).await?;
    drop(tx);
    act::order(app, principal, "consumer.delete", cluster.id, consumer, json!({})).await?;
    let ordered = app.now_unix_ms();
    let order = DeleteRequest { consumer: consumer.to_owned(), partitions: Vec::new() };
    let told = reach.order(app, consumer, &order).await?;
    let mut tx = app.store.write().await?;
    let mut org = tx.scoped(principal.org);
    let now = app.now_unix_ms();
    // What came since belongs to one that began anew under the name.
    let stored = consumer_offsets::forget(&mut org, cluster.id, consumer, ordered, now).await?;
    tx.commit().await?;
    // Either may know of partitions that the other does not: what was committed just now, or
    // what the coordinator lost with its log.
    let partitions = told.max(u32::try_from(stored).unwrap_or(u32::MAX));
    if partitions == 0 {
        return Err(AppError::ConsumerNotFound(consumer.to_owned()));
    }
    tracing::info!(cluster = %cluster.id, consumer, partitions, "consumer deleted");
    Ok(ConsumerDeleted { name: consumer.to_owned(), partitions })
}
