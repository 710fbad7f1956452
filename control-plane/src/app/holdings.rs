//! What the SPUs of a cluster hold that may keep them from going.

use crate::{
    plan::{
        names::{OFFSETS_TOPIC, PROBE_TOPIC},
        scale::Holdings,
    },
    store::{
        DbResult, Scoped,
        partitions::{self, Held},
        reassignments, topics,
    },
};
use weir_protocol::ids::ClusterId;

/// As the transaction sees it.
///
/// # Errors
/// As the store.
pub(crate) async fn load(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Holdings> {
    let mut held = partitions::held(scoped, cluster, PROBE_TOPIC).await?;
    // What waits for its turn to be moved there is as good as there.
    for (spu, comes) in reassignments::destined(scoped, cluster).await? {
        let held = held.entry(spu).or_default();
        held.extend(comes);
        held.sort_by(|a, b| {
            let key = |held: &Held| (held.generation, held.partition);
            a.topic.cmp(&b.topic).then(key(a).cmp(&key(b)))
        });
        held.dedup();
    }
    let offsets = match topics::by_name(scoped, cluster, OFFSETS_TOPIC).await? {
        Some(topic) => partitions::of_generation(scoped, cluster, topic.generation).await?,
        None => Vec::new(),
    };
    Ok(Holdings { held, offsets })
}
