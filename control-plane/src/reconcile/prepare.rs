//! What must be there before SPUs are started: their rows, their ports, the internal
//! topics.
//! Each step does nothing when there is nothing to do.

use weir_protocol::{
    ids::{PartitionIndex, Revision, TopicGenerationId},
    topic_config::TopicConfig,
};

use super::{
    Context, offsets_topic,
    ports::{self, Ports},
    probe::PROBE_TOPIC,
    snapshot::Snapshot,
    spu_ports,
};
use crate::store::{
    DbError, DbResult,
    changes::{self, Change},
    launch_handles::{self, ClusterPorts},
    partitions::{self, NewPartition},
    spus::{self, SpuRow},
    topics::{self, NewTopic},
};

/// Blocks that are tried before the choice of ports is given up until the next pass.
const BLOCKS_MAX: usize = 64;

/// Does what is missing; `true` when the snapshot is out of date now.
pub(super) async fn prepare(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    Ok(add_spus(context, snapshot).await?
        || choose_ports(context, snapshot).await?
        || spu_ports::choose(context, snapshot).await?
        || extend_probe_topic(context, snapshot).await?
        || offsets_topic::ensure(context, snapshot).await?)
}

/// As many SPU rows as the spec says.
async fn add_spus(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let wanted = snapshot.cluster.spec.spus;
    if count(&snapshot.spus) >= wanted {
        return Ok(false);
    }
    let (app, id, now) = (&context.app, snapshot.cluster.id, context.app.now_unix_ms());
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    let mut revision = Revision(0);
    // Counted again: another replica of the control plane may have been here.
    for _ in count(&spus::list(&mut scoped, id).await?)..wanted {
        let spu = spus::add(&mut scoped, id, now).await?;
        revision = changes::record(&mut scoped, id, &Change::Spu(spu), now).await?;
    }
    tx.commit().await?;
    app.signals.metadata(id, revision);
    Ok(true)
}

fn count(spus: &[SpuRow]) -> u32 {
    u32::try_from(spus.iter().filter(|spu| spu.stays()).count()).unwrap_or(u32::MAX)
}

/// A block of ports, where the spec leaves the choice to us. It is kept while anything runs
/// on it, and until somebody else took one of its ports while nothing did.
async fn choose_ports(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let (app, id) = (&context.app, snapshot.cluster.id);
    let spus = snapshot.cluster.spec.spus;
    if snapshot.cluster.spec.port_base.is_some() {
        return Ok(false);
    }
    if let Some(from) = snapshot.ports_from {
        let mine = snapshot.in_spec_here().filter_map(|spu| ports::port_of(from, spu));
        if !snapshot.launches.is_empty() || all_free(context, mine).await {
            return Ok(false);
        }
        tracing::info!(cluster = %id, from, "another program has one of its ports; choosing others");
    }
    let taken = {
        let mut tx = app.store.read().await?;
        taken(&launch_handles::system_ports(&mut tx).await?)
    };
    for block in ports::candidates(spus, &taken).take(BLOCKS_MAX) {
        if !all_free(context, (block.from..=u16::MAX).take(spus as usize)).await {
            continue;
        }
        let mut tx = app.store.write().await?;
        // Another cluster may have chosen meanwhile.
        let taken = self::taken(&launch_handles::system_ports(&mut tx).await?);
        if !ports::candidates(spus, &taken).any(|free| free == block) {
            return Ok(true);
        }
        let mut scoped = tx.scoped(snapshot.cluster.org);
        if !launch_handles::live(&mut scoped, id).await?.is_empty() {
            return Ok(true);
        }
        launch_handles::set_ports_from(&mut scoped, id, block.from).await?;
        tx.commit().await?;
        tracing::info!(cluster = %id, from = block.from, "ports chosen");
        return Ok(true);
    }
    tracing::warn!(cluster = %id, "no free block of ports was found");
    Ok(false)
}

pub(super) fn taken(clusters: &[ClusterPorts]) -> Vec<Ports> {
    clusters
        .iter()
        .filter_map(|cluster| {
            let from = cluster.port_base.or(cluster.ports_from)?;
            // What was chosen here has room to grow; what a user chose has just what it has.
            let count = match cluster.port_base {
                Some(_) => cluster.spus,
                None => ports::block_size(cluster.spus),
            };
            Some(Ports { from, count })
        })
        .collect()
}

async fn all_free(context: &Context, ports: impl Iterator<Item = u16>) -> bool {
    for port in ports {
        let address = format!("{}:{port}", context.config.spu_listen_host);
        if !context.provisioner.port_free(&address).await {
            return false;
        }
    }
    true
}

/// A partition of the probe topic on every SPU.
async fn extend_probe_topic(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let lacks = |spu: &SpuRow| {
        let held = snapshot.probe_topic.as_ref().is_some_and(|(_, partitions)| {
            partitions.iter().any(|p| p.replicas.iter().any(|r| r.spu == spu.id))
        });
        !held
    };
    if !snapshot.in_spec().any(lacks) {
        return Ok(false);
    }
    let (app, id, now) = (&context.app, snapshot.cluster.id, context.app.now_unix_ms());
    let fresh = app.uuid_v7().map_err(|error| DbError::Io { reason: error.to_string() })?;
    let mut tx = app.store.write().await?;
    let mut scoped = tx.scoped(snapshot.cluster.org);
    let (generation, existing) = match topics::by_name(&mut scoped, id, PROBE_TOPIC).await? {
        Some(topic) => {
            let rows = partitions::of_generation(&mut scoped, id, topic.generation).await?;
            (topic.generation, rows)
        }
        None => {
            let new = NewTopic {
                generation: TopicGenerationId(fresh),
                name: PROBE_TOPIC.to_owned(),
                internal: true,
                replication: 1,
                min_insync: None,
                config: TopicConfig::default(),
            };
            topics::insert(&mut scoped, id, &new, now).await?;
            (new.generation, Vec::new())
        }
    };
    // As they are now: one that registered meanwhile leads from the start.
    let spus = spus::list(&mut scoped, id).await?;
    let missing = spus.iter().filter(|spu| {
        spu.stays() && !existing.iter().any(|p| p.replicas.iter().any(|r| r.spu == spu.id))
    });
    let first = u32::try_from(existing.len()).unwrap_or(u32::MAX);
    for (index, spu) in (first..).zip(missing) {
        let new = NewPartition {
            index: PartitionIndex(index),
            label: String::new(),
            replicas: vec![spu.id],
            leader: (spu.incarnation.get() > 0).then_some((spu.id, spu.incarnation)),
        };
        partitions::insert(&mut scoped, id, generation, &new).await?;
    }
    let revision = changes::record(&mut scoped, id, &Change::Topic(generation), now).await?;
    tx.commit().await?;
    app.signals.metadata(id, revision);
    Ok(true)
}
