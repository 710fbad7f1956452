//! All machines that hold what was acknowledged lose their power, and the one that is left lacks
//! some of it. A topic that prefers to wait does so, says so, and has lost nothing once they are
//! back; one that does not is served again, and nothing is lost below the cut that is told.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use madsim::runtime::NodeHandle;
use weir_client::{
    ConsumerConfig,
    admin::{Topic, TopicConfigChange, TopicCreate, TopicPartition},
};
use weir_protocol::ids::SpuId;
use weir_runtime::{clock::Clock, net::cuts};

use super::{
    Least, Scenario,
    replication::{count_elections, in_sync},
    schedule::one_of,
    setup::{acknowledged_more, between, cluster, on_client_node, running, topic_as},
};
use crate::{
    history::{Event, Place},
    workload::{self, Producing},
    world::{CLUSTER, Machine, World},
};

const TOPIC: &str = "orders";
const READER: u32 = 1;
/// A cluster that is to elect somebody has done so by then, however long that takes it.
const DECIDED: Duration = Duration::from_secs(150);
/// The same while nothing is to happen.
const STILL: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "unclean-election",
    story: "all machines in sync are gone and one is left that lacks records: wait, or cut",
    least: Least { acknowledged: 100, faults: 2, recoveries: 0, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            let chosen = between(0, 4);
            // At once, while it waits already, or never.
            let (at_first, later) = (chosen == 0, chosen == 1);
            cluster(&world, 3).await?;
            let left = one_of(3);
            create(&world, left, at_first).await?;
            let reader = workload::consume(&world, &node, READER, ConsumerConfig::new(TOPIC));
            let lost = lose(&world, &node, left).await?;

            // Whoever came to lead instead, the oracle shall see what became of it.
            let waited = if at_first { Ok(()) } else { it_waits(&world, left).await };
            let cut = at_first || later;
            if later {
                let unclean_election = Some(true);
                let change = TopicConfigChange { unclean_election, ..TopicConfigChange::default() };
                let updated = world.admin().topic_update(CLUSTER, TOPIC, &change.into()).await;
                updated.map_err(|error| format!("update: {error}"))?;
            }
            if cut {
                note_cuts(&world, left).await?;
            }
            // One that comes back empty is taken where nobody counts on it.
            if cut && between(0, 2) == 0 {
                lost[0].wipe();
            }
            lost.iter().for_each(Machine::power_on);
            let pace = Duration::from_millis(5);
            let producer =
                workload::produce(&world, &node, Producing { pace, ..Producing::new(2, TOPIC) });
            acknowledged_more(&world, 50, Duration::from_secs(60)).await?;
            running(&world).await?;
            in_sync(&world, TOPIC).await?;
            producer.stop().await;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            reader.stop().await;
            reader_ended_well(&world)?;
            count_elections(&world, TOPIC).await?;
            waited
        })
    },
};

/// A topic that `left` leads nothing of.
async fn create(world: &World, left: u32, unclean: bool) -> Result<(), String> {
    let mut others: Vec<_> = (1..=3).filter(|spu| *spu != left).map(SpuId).collect();
    let mut assignment = Vec::new();
    for _ in 0..between(1, 4) {
        others.reverse();
        assignment.push([&others[..], &[SpuId(left)]].concat());
    }
    let unclean_election = unclean.then_some(true);
    let create = TopicCreate {
        replication: 3,
        min_insync_replicas: Some(u32::try_from(between(1, 3)).unwrap_or(1)),
        config: TopicConfigChange { unclean_election, ..TopicConfigChange::default() },
        assignment: Some(assignment.clone()),
        ..TopicCreate::new(TOPIC, u32::try_from(assignment.len()).unwrap_or(1))
    };
    topic_as(world, &create).await?;
    Ok(())
}

/// Cuts the one that will be left off the others until it is not in sync, lets more be acknowledged,
/// and takes the others' power.
async fn lose(world: &World, node: &NodeHandle, left: u32) -> Result<Vec<Machine>, String> {
    let pace = Duration::from_millis(5);
    let mut producing = Producing { pace, ..Producing::new(1, TOPIC) };
    producing.config.delivery_timeout = Duration::from_secs(5);
    let producer = workload::produce(world, node, producing);
    acknowledged_more(world, 50, Duration::from_secs(30)).await?;
    let machines = world.machines.all();
    let (one, others): (Vec<_>, Vec<_>) = machines.into_iter().partition(|(spu, _)| *spu == left);
    let nodes = |of: &[(u32, Machine)]| of.iter().map(|(_, m)| m.node).collect::<Vec<_>>();
    let (one, apart) = (nodes(&one), nodes(&others));
    cuts::cut_between(&one, &apart);
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    let alone = |p: &TopicPartition| !p.isr_spu_ids.contains(&SpuId(left));
    every(world, "without the one that is cut off", DECIDED, alone).await?;
    acknowledged_more(world, 50, Duration::from_secs(30)).await?;
    let lost: Vec<_> = others.into_iter().map(|(_, machine)| machine).collect();
    lost.iter().for_each(Machine::power_off);
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    cuts::heal_between(&one, &apart);
    producer.stop().await;
    if between(0, 3) == 0 {
        world.control_plane.crash();
        Clock.sleep(Duration::from_millis(between(50, 2_000))).await;
        world.control_plane.restart();
    }
    Ok(lost)
}

/// Nobody leads, for as long as it takes, and people are told why.
async fn it_waits(world: &World, left: u32) -> Result<(), String> {
    let told = |p: &TopicPartition| {
        let own = p.replicas.iter().find(|replica| replica.spu_id == SpuId(left));
        let known = own.is_some_and(|own| own.log_end.is_some_and(|end| end.0 > 0));
        let counted: BTreeSet<_> = p.isr_spu_ids.iter().chain(&p.eligible_spu_ids).collect();
        let waits = p
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.for_spu_ids.iter().collect::<BTreeSet<_>>() == counted);
        waits && known && !counted.contains(&SpuId(left))
    };
    every(world, "waits and says so", STILL, told).await?;
    Clock.sleep(STILL).await;
    every(world, "still waits and says so", DECIDED, told).await
}

/// The one that is left leads, and what that may have cost is told: so it is no bug.
async fn note_cuts(world: &World, left: u32) -> Result<(), String> {
    let cut = |p: &TopicPartition| p.leader_spu_id == Some(SpuId(left)) && p.cuts.len() == 1;
    every(world, "led again, and the cut told", DECIDED, cut).await?;
    let topic = topic(world).await?;
    for partition in topic.partitions {
        for cut in &partition.cuts {
            let place = Place {
                generation: topic.generation_id.to_string(),
                partition: partition.index.0,
                offset: cut.high_watermark.0,
            };
            world.history.add(Event::Cut { place });
        }
    }
    Ok(())
}

async fn topic(world: &World) -> Result<Topic, String> {
    world.admin().topic(CLUSTER, TOPIC).await.map_err(|error| error.to_string())
}

/// Waits until every partition is as it should be.
async fn every(
    world: &World,
    what: &str,
    within: Duration,
    is: impl Fn(&TopicPartition) -> bool,
) -> Result<(), String> {
    let mut last = String::new();
    let wait = async {
        loop {
            match topic(world).await {
                Ok(topic) if topic.partitions.iter().all(&is) => return,
                Ok(topic) => last = format!("{:?}", topic.partitions),
                Err(error) => last = error,
            }
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    let waited = Clock.timeout(within, wait).await;
    waited.map_err(|_| format!("not within {within:?}: {what}; last seen: {last}"))
}

/// A reader that was ahead of the cut is told that, as of any place that is not there.
fn reader_ended_well(world: &World) -> Result<(), String> {
    let odd = world.history.events().into_iter().find_map(|event| match event {
        Event::ConsumerEnded { consumer: READER, code } if code != "OFFSET_OUT_OF_RANGE" => {
            Some(code)
        }
        _ => None,
    });
    odd.map_or(Ok(()), |code| Err(format!("the reader ended with {code}")))
}
