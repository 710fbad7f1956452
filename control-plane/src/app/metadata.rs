//! The map of a cluster for its SPUs: a snapshot, or what changed since a revision. Read in
//! one transaction, so that it is what the database held at exactly that revision.

use std::collections::BTreeSet;

use weir_protocol::{
    ids::{ClusterId, OrgId, Revision, SpuId, TopicGenerationId},
    pb::metadata,
};

use super::{App, AppError};
use crate::store::{
    DbResult, Scoped,
    changes::{self, Change},
    clusters,
    partitions::{self, PartitionRow, ReplicaRow},
    spus::{self, SpuRow},
    topics::{self, TopicRow},
    types::{SpuState, TopicState},
};

/// Everything.
///
/// # Errors
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn metadata_snapshot(
    app: &App,
    org: OrgId,
    cluster: ClusterId,
) -> Result<metadata::MetadataUpdate, AppError> {
    let mut tx = app.store.read().await?;
    let mut scoped = tx.scoped(org);
    let at = at(app, &mut scoped, cluster).await?;
    snapshot(&mut scoped, cluster, at).await
}

/// What changed after `from`: each subject whole, as it is now. A snapshot when `from` is 0
/// or too long ago. Without entries when nothing changed.
///
/// # Errors
/// [`AppError::RevisionAhead`] when the database has not reached `from`: it went back;
/// [`AppError::ClusterNotFound`], and as the store.
pub async fn metadata_since(
    app: &App,
    org: OrgId,
    cluster: ClusterId,
    from: Revision,
) -> Result<metadata::MetadataUpdate, AppError> {
    let mut tx = app.store.read().await?;
    let mut scoped = tx.scoped(org);
    let mut update = at(app, &mut scoped, cluster).await?;
    if from.0 > update.revision {
        return Err(AppError::RevisionAhead { asked: from.0, at: update.revision });
    }
    let changes = match from {
        Revision(0) => None,
        from => changes::since(&mut scoped, cluster, from).await?,
    };
    let Some(changes) = changes else { return snapshot(&mut scoped, cluster, update).await };
    // Each subject once, however often it changed.
    let mut spu_ids: BTreeSet<SpuId> = BTreeSet::new();
    let mut generations: BTreeSet<TopicGenerationId> = BTreeSet::new();
    for (_, change) in changes {
        match change {
            Change::Cluster => {}
            Change::Spu(id) => {
                spu_ids.insert(id);
            }
            Change::Topic(generation) => {
                generations.insert(generation);
            }
            Change::TopicPurged { generation, number, name } => {
                update.topics.push(metadata::TopicGeneration {
                    generation_id: generation.to_wire(),
                    generation_number: number.0,
                    name,
                    state: metadata::GenerationState::Purged.into(),
                    internal: false,
                    partitions: vec![],
                    config: None,
                    min_insync_replicas: 0,
                });
            }
        }
    }
    for id in spu_ids {
        update.spus.extend(spus::get(&mut scoped, cluster, id).await?.as_ref().map(spu));
    }
    for generation in generations {
        // Gone meanwhile: a later change says that it was purged.
        if let Some(row) = topics::by_id(&mut scoped, cluster, generation).await? {
            let partitions = partitions::of_generation(&mut scoped, cluster, generation).await?;
            update.topics.push(topic(&row, &partitions));
        }
    }
    Ok(update)
}

/// An update without entries: where the database is.
async fn at(
    app: &App,
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> Result<metadata::MetadataUpdate, AppError> {
    let row = clusters::by_id(scoped, cluster).await?;
    let row = row.ok_or_else(|| AppError::ClusterNotFound(cluster.to_string()))?;
    let made_at = changes::made_at(scoped, cluster, row.revision).await?;
    Ok(metadata::MetadataUpdate {
        revision: row.revision.0,
        snapshot: false,
        database: Some(app.database_ref(row.restore_number)),
        topics: vec![],
        spus: vec![],
        revised_at_unix_ms: made_at.unwrap_or_default(),
    })
}

async fn snapshot(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    at: metadata::MetadataUpdate,
) -> Result<metadata::MetadataUpdate, AppError> {
    let mut update = metadata::MetadataUpdate { snapshot: true, ..at };
    update.topics = all_topics(scoped, cluster).await?;
    update.spus = spus::list(scoped, cluster).await?.iter().map(spu).collect();
    Ok(update)
}

async fn all_topics(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
) -> DbResult<Vec<metadata::TopicGeneration>> {
    let by_generation = partitions::of_cluster(scoped, cluster).await?;
    let rows = topics::list(scoped, cluster).await?;
    let of = |row: &TopicRow| by_generation.get(&row.generation).map_or(&[][..], Vec::as_slice);
    Ok(rows.iter().map(|row| topic(row, of(row))).collect())
}

fn topic(row: &TopicRow, partitions: &[PartitionRow]) -> metadata::TopicGeneration {
    let state = match row.state {
        TopicState::Active => metadata::GenerationState::Active,
        TopicState::Tombstone => metadata::GenerationState::Tombstone,
        TopicState::Purging => metadata::GenerationState::Purged,
    };
    metadata::TopicGeneration {
        generation_id: row.generation.to_wire(),
        generation_number: row.number.0,
        name: row.name.clone(),
        state: state.into(),
        internal: row.internal,
        partitions: partitions.iter().map(partition).collect(),
        config: Some(row.config.to_wire()),
        min_insync_replicas: row.min_insync_replicas(),
    }
}

fn partition(row: &PartitionRow) -> metadata::Partition {
    let spus = |which: fn(&ReplicaRow) -> bool| {
        row.replicas.iter().filter(|replica| which(replica)).map(|replica| replica.spu.0).collect()
    };
    metadata::Partition {
        index: row.key.partition.0,
        label: row.label.clone(),
        leader_spu_id: row.leader.map(|spu| spu.0),
        leader_incarnation: row.leader_incarnation.0,
        leader_epoch: row.leader_epoch.0,
        partition_epoch: row.partition_epoch.0,
        replica_spu_ids: spus(|_| true),
        isr_spu_ids: spus(|replica| replica.in_isr),
        eligible_spu_ids: spus(|replica| replica.eligible),
        unclean_leader_epoch: row.unclean_leader_epoch.0,
    }
}

fn spu(row: &SpuRow) -> metadata::Spu {
    let state = match row.state {
        SpuState::Online => metadata::SpuState::Online,
        SpuState::Removed => metadata::SpuState::Removed,
        SpuState::Starting | SpuState::Offline | SpuState::Stopped | SpuState::Refused => {
            metadata::SpuState::Offline
        }
    };
    metadata::Spu {
        spu_id: row.id.0,
        state: state.into(),
        endpoint: row.endpoint.clone().unwrap_or_default(),
        incarnation: row.incarnation.0,
        rack: row.rack.clone().unwrap_or_default(),
    }
}
