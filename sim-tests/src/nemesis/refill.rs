//! Faults after which a replica has to be filled again from others.
//!
//! What was acknowledged survives them only where others hold it, so they strike only where
//! every partition has another replica in sync, and one at a time.

use std::{sync::atomic::Ordering, time::Duration};

use weir_client::admin::Topic;
use weir_dataplane::log::{
    checkpoint::{CHECKPOINT_FILE, Checkpoint},
    segment,
};
use weir_runtime::{
    clock::Clock,
    disk::sim::{DiskSim, Flip},
    rng,
};

use crate::world::{CLUSTER, Machine, PROBE_TOPIC, World};

/// How long the next such fault waits for what this one took.
const REFILL: Duration = Duration::from_secs(60);
/// What an SPU that has lost its power may still have asked for is done by then, or never.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Takes the power of an SPU's machine, or of all of them, does `harm` to its disk, and gives the power back.
pub(super) async fn strike(
    world: &World,
    spu: u32,
    with_others: bool,
    down: Duration,
    harm: impl Fn(&Machine, &[Topic]),
) {
    let Ok(_turn) = world.refilling.try_lock() else { return };
    let Some(machine) = world.machines.get(spu) else { return };
    if !all(world, whole).await || machine.running().is_none() {
        return;
    }
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    let others: Vec<_> = match with_others {
        true => world.machines.all().into_iter().map(|(_, machine)| machine).collect(),
        false => Vec::new(),
    };
    let others: Vec<_> = others.into_iter().filter(|other| other.running().is_some()).collect();
    machine.power_off();
    others.iter().for_each(Machine::power_off);
    Clock.sleep(down.max(LAST_WORDS)).await;
    if let Some(topics) = topics(world).await
        && topics.iter().all(|topic| held_without(topic, spu))
    {
        harm(&machine, &topics);
    }
    machine.power_on();
    others.iter().for_each(Machine::power_on);
    let refilled = async {
        while !all(world, whole).await {
            Clock.sleep(LAST_WORDS).await;
        }
    };
    // The scenario says whether it ever is.
    let _ = Clock.timeout(REFILL, refilled).await;
}

/// Empties the disk.
pub(super) fn wipe(machine: &Machine, _: &[Topic]) {
    machine.wipe();
}

/// Flips a bit in the checkpoint of one replica: found as soon as the log is opened.
pub(super) fn damage(machine: &Machine, topics: &[Topic]) {
    if let Some(path) = one_of(&checkpoints(machine, topics)) {
        DiskSim::current().flip_bit(machine.node, path);
    }
}

/// Flips a bit of one replica's segment below its recovery point: found when it is read.
pub(super) fn rot(machine: &Machine, topics: &[Topic]) {
    let disk = DiskSim::current();
    let mut marks = Vec::new();
    for path in checkpoints(machine, topics) {
        let content = disk.peek(machine.node, &path);
        let checkpoint = content.and_then(|bytes| Checkpoint::decode(&bytes).ok());
        let Some(folder) = path.strip_suffix(CHECKPOINT_FILE) else { continue };
        for mark in checkpoint.and_then(|content| content.segments).unwrap_or_default() {
            marks.push((format!("{folder}{}", segment::log_name(mark.base)), mark.bytes));
        }
    }
    if let Some((path, bytes)) = one_of(&marks) {
        let bit = u8::try_from(rng::below(8)).unwrap_or(0);
        let flip = Flip { offset: rng::below(*bytes), bit };
        disk.flip_bit_at(machine.node, path, flip);
    }
}

fn checkpoints(machine: &Machine, topics: &[Topic]) -> Vec<String> {
    let folders: Vec<_> =
        topics.iter().map(|topic| topic.generation_id.0.simple().to_string()).collect();
    let mut checkpoints = DiskSim::current().files(machine.node);
    checkpoints.retain(|path| {
        path.ends_with(&format!("/{CHECKPOINT_FILE}"))
            && folders.iter().any(|folder| path.contains(folder))
    });
    checkpoints
}

fn one_of<T>(all: &[T]) -> Option<&T> {
    let count = u64::try_from(all.len()).unwrap_or(0);
    all.get(usize::try_from(rng::below(count.max(1))).unwrap_or(0))
}

/// But for the probe topic: it has one replica on each SPU, and nothing that is worth anything.
async fn topics(world: &World) -> Option<Vec<Topic>> {
    let mut topics = world.admin().topic_list_internal(CLUSTER).await.ok()?;
    topics.retain(|topic| topic.name != PROBE_TOPIC);
    Some(topics)
}

async fn all(world: &World, holds: impl Fn(&Topic) -> bool) -> bool {
    topics(world).await.is_some_and(|topics| topics.iter().all(holds))
}

fn whole(topic: &Topic) -> bool {
    topic.partitions.iter().all(|p| p.isr_spu_ids.len() == p.replica_spu_ids.len())
}

fn held_without(topic: &Topic, spu: u32) -> bool {
    topic.partitions.iter().all(|p| p.isr_spu_ids.iter().any(|id| id.get() != spu))
}
