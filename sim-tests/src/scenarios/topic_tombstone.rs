//! A topic is deleted while one of its SPUs has no power. Then it is undeleted, or created
//! again under its name and undeleted once that is deleted too, or purged; the SPU comes back
//! before that or after it. What is undeleted has every acknowledged record still. What is
//! purged is on no disk once the control plane says that it is gone, and until the dark SPU
//! was back it did not say so.

use std::{sync::atomic::Ordering, time::Duration};

use madsim::runtime::NodeHandle;
use weir_client::admin::{AdminError, Topic, TopicCreate, TopicState};
use weir_runtime::{clock::Clock, disk::sim::DiskSim};

use super::{
    Least, Scenario,
    setup::{CONVERGE, between, cluster, on_client_node, running, topic, topic_ready},
};
use crate::{
    history::Event,
    workload::{self, Producing},
    world::{CLUSTER, World},
};

const NAME: &str = "orders";
const RECORDS: u32 = 72;
const LATER_RECORDS: u32 = 20;
const FINAL_READER: u32 = 100;

/// What becomes of the deleted topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Undeleted,
    /// The name is another generation's for a while.
    UndeletedAfterAnother,
    Purged,
    /// Deleted and purged in one order, and then created again.
    PurgedAtOnce,
}

pub(super) const SCENARIO: Scenario = Scenario {
    name: "topic-tombstone",
    story: "a topic is deleted with an SPU down, then undeleted or purged",
    least: Least { acknowledged: 72, faults: 1, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            let old = topic(&world, NAME, 3).await?;
            produce(&world, &node, 1, None, RECORDS).await;
            let endings = [
                Ending::Undeleted,
                Ending::UndeletedAfterAnother,
                Ending::Purged,
                Ending::PurgedAtOnce,
            ];
            let ending = endings[usize::try_from(between(0, 4)).unwrap_or(0)];

            let dark = u32::try_from(between(1, 4)).unwrap_or(1);
            let machine = world.machines.get(dark).ok_or("the machine was never started")?;
            machine.power_off();
            world.counters.faults.fetch_add(1, Ordering::Relaxed);
            pause(0, 3_000).await;
            let admin = world.admin();
            let deleted = match ending {
                Ending::PurgedAtOnce => admin.topic_delete_and_purge(CLUSTER, NAME).await,
                _ => admin.topic_delete(CLUSTER, NAME).await,
            };
            deleted.map_err(|e| format!("delete: {e}"))?;
            pause(0, 3_000).await;
            let early = between(0, 2) == 0;
            if early {
                machine.power_on();
                pause(0, 5_000).await;
            }
            match ending {
                Ending::Undeleted => undelete(&world, &old).await?,
                Ending::UndeletedAfterAnother => another(&world, &node, &old, dark).await?,
                Ending::Purged | Ending::PurgedAtOnce => purge(&world, &old, ending).await?,
            }
            if matches!(ending, Ending::Purged | Ending::PurgedAtOnce) {
                if !early {
                    pause(0, 8_000).await;
                    still_purging(&world, &old).await?;
                }
                disturb(&world, dark).await;
            }
            pause(0, 2_000).await;
            machine.power_on();
            running(&world).await?;
            if matches!(ending, Ending::Purged | Ending::PurgedAtOnce) {
                gone(&world, &old).await?;
                let new = topic(&world, NAME, 3).await?;
                produce(&world, &node, 4, None, 2).await;
                if let Some((spu, left)) = on_disk(&world, &old).first() {
                    return Err(format!("SPU {spu} still has {left} of the purged topic"));
                }
                return whole(&world, &node, &new, 2).await;
            }
            topic_ready(&world, NAME).await?;
            produce(&world, &node, 4, None, LATER_RECORDS).await;
            whole(&world, &node, &old, (RECORDS + LATER_RECORDS) as usize).await
        })
    },
};

async fn pause(from_ms: u64, to_ms: u64) {
    Clock.sleep(Duration::from_millis(between(from_ms, to_ms))).await;
}

async fn produce(
    world: &World,
    node: &NodeHandle,
    producer: u32,
    partition: Option<u32>,
    records: u32,
) {
    let what = Producing { records_max: records, partition, ..Producing::new(producer, NAME) };
    workload::produce(world, node, what).ended().await;
}

async fn undelete(world: &World, old: &Topic) -> Result<(), String> {
    // By name, or by the id of its generation.
    let id = old.generation_id.to_string();
    let which = if between(0, 2) == 0 { NAME } else { &id };
    let back = world.admin().topic_undelete(CLUSTER, which).await;
    let back = back.map_err(|e| format!("undelete: {e}"))?;
    if (back.generation_id, back.state) == (old.generation_id, TopicState::Active) {
        Ok(())
    } else {
        Err(format!("the undeleted topic is {back:?}"))
    }
}

/// Another generation takes the name, takes records, and goes again; only then the old one
/// can come back.
async fn another(world: &World, node: &NodeHandle, old: &Topic, dark: u32) -> Result<(), String> {
    let admin = world.admin();
    let create = TopicCreate::new(NAME, 3);
    let new = admin.topic_create(CLUSTER, &create).await.map_err(|e| format!("topic: {e}"))?;
    let generation = new.generation_id.to_string();
    world.history.add(Event::TopicCreated { name: NAME.into(), generation: generation.clone() });
    let lit =
        |leader: Option<_>| leader.is_some_and(|spu: weir_protocol::ids::SpuId| spu.0 != dark);
    let led = new.partitions.iter().find(|p| lit(p.leader_spu_id));
    let led = led.ok_or("no partition of the new topic is led by an SPU with power")?;
    produce(world, node, 2, Some(led.index.0), 2).await;
    let refused = admin.topic_undelete(CLUSTER, &old.generation_id.to_string()).await;
    expect(refused, "TOPIC_EXISTS", "undelete while the name is taken")?;
    let refused = admin.topic_purge(CLUSTER, &generation).await;
    expect(refused, "TOPIC_NOT_DELETED", "purge of a topic that is there")?;
    admin.topic_delete(CLUSTER, &generation).await.map_err(|e| format!("delete: {e}"))?;
    let back = admin.topic_undelete(CLUSTER, &old.generation_id.to_string()).await;
    back.map(drop).map_err(|e| format!("undelete: {e}"))
}

async fn purge(world: &World, old: &Topic, ending: Ending) -> Result<(), String> {
    let admin = world.admin();
    if ending == Ending::Purged {
        // Its data is kept until somebody says otherwise.
        let holders = on_disk(world, old).len();
        if holders != old.partitions.len() {
            return Err(format!("{holders} SPUs hold a part of the deleted topic"));
        }
        admin.topic_purge(CLUSTER, NAME).await.map_err(|e| format!("purge: {e}"))?;
    }
    let refused = admin.topic_undelete(CLUSTER, &old.generation_id.to_string()).await;
    match refused.as_ref().map_err(AdminError::code) {
        // All SPUs had power, and were quick.
        Err("TOPIC_PURGED" | "TOPIC_NOT_FOUND") => Ok(()),
        _ => Err(format!("undelete of a purged topic: {refused:?}")),
    }
}

fn expect(result: Result<Topic, AdminError>, code: &str, what: &str) -> Result<(), String> {
    match result {
        Err(error) if error.code() == code => Ok(()),
        other => Err(format!("{what}: {other:?}")),
    }
}

/// While a holder is away, nobody may say that the data is gone.
async fn still_purging(world: &World, old: &Topic) -> Result<(), String> {
    let listed = world.admin().topic_list_deleted(CLUSTER).await.map_err(|e| e.to_string())?;
    match listed.iter().find(|topic| topic.generation_id == old.generation_id) {
        Some(topic) if topic.state == TopicState::Purging => Ok(()),
        other => Err(format!("with a holder away, the purged topic is listed as {other:?}")),
    }
}

/// In some runs the control plane or another SPU goes down while replicas are removed.
async fn disturb(world: &World, dark: u32) {
    pause(0, 50).await;
    match between(0, 3) {
        0 => {
            world.counters.faults.fetch_add(1, Ordering::Relaxed);
            world.control_plane.crash();
            pause(100, 2_000).await;
            world.control_plane.restart();
        }
        1 => {
            let machine = world.machines.get(dark % 3 + 1);
            let Some(machine) = machine.filter(|machine| machine.running().is_some()) else {
                return;
            };
            world.counters.faults.fetch_add(1, Ordering::Relaxed);
            machine.power_off();
            pause(100, 2_000).await;
            machine.power_on();
        }
        _ => {}
    }
}

/// Waits until the control plane says that nothing is left of the generation.
async fn gone(world: &World, old: &Topic) -> Result<(), String> {
    let admin = world.admin();
    let id = old.generation_id.to_string();
    let wait = async {
        loop {
            match admin.topic(CLUSTER, &id).await {
                Err(error) if error.code() == "TOPIC_NOT_FOUND" => return,
                _ => Clock.sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("the purge did not end within {CONVERGE:?}"))
}

/// SPUs on whose disks something of the generation is, each with one of the files.
fn on_disk(world: &World, topic: &Topic) -> Vec<(u32, String)> {
    let folder = topic.generation_id.0.simple().to_string();
    let file = |node| DiskSim::current().files(node).into_iter().find(|f| f.contains(&folder));
    let machines = world.machines.all().into_iter();
    machines.filter_map(|(spu, machine)| Some((spu, file(machine.node)?))).collect()
}

/// The topic is read whole, and holds as many records as were written to it.
async fn whole(
    world: &World,
    node: &NodeHandle,
    topic: &Topic,
    records: usize,
) -> Result<(), String> {
    workload::final_read(world, node, FINAL_READER, NAME, CONVERGE).await?;
    let generation = topic.generation_id.to_string();
    let of_it = |event: &Event| match event {
        Event::Consumed { consumer: FINAL_READER, place, .. } => place.generation == generation,
        _ => false,
    };
    let found = world.history.events().iter().filter(|event| of_it(event)).count();
    if found == records {
        Ok(())
    } else {
        Err(format!("the topic holds {found} records, {records} were written to it"))
    }
}
