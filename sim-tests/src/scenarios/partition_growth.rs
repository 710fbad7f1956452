//! A topic grows under a running producer and consumer: within a second the producer uses
//! the new partition and the consumer reads it. A producer of a chosen partition writes
//! there and nowhere else; one that does not exist is refused, with those that do.

use std::time::Duration;

use weir_client::{ConsumerConfig, ProducerConfig, ProducerRecord, SendError};
use weir_protocol::ids::PartitionIndex;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario, schedule,
    setup::{
        acknowledged_more, between, cluster, every_partition_takes, on_client_node, running, topic,
        until,
    },
};
use crate::{
    history::{Event, ProduceOutcome},
    nemesis,
    workload::{self, Producing},
    world::{CLUSTER, World},
};

/// How fast growth reaches clients.
const GROWTH: Duration = Duration::from_secs(1);
/// After how long a healed link carries everything at once again.
const SETTLED: Duration = Duration::from_secs(10);
const CHOSEN: u32 = 1;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "partition-growth",
    story: "partitions are added under a running producer and consumer; produce to a chosen one",
    least: Least { acknowledged: 200, faults: 2, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            topic(&world, "orders", 2).await?;
            let other = world.client_node();
            let all = workload::produce(&world, &node, Producing::new(1, "orders"));
            let chosen = Producing { partition: Some(CHOSEN), ..Producing::new(2, "orders") };
            let chosen = workload::produce(&world, &other, chosen);
            let reader = workload::consume(&world, &other, 1, ConsumerConfig::new("orders"));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            grow(&world, 2).await?;
            no_such_partition(&world).await?;

            let schedule = schedule::draw_against_one(between(3, 6), 3, 8_000);
            nemesis::run(world.clone(), schedule, vec![node.id(), other.id()]).await;
            running(&world).await?;
            every_partition_takes(&world, 3, Duration::from_secs(30)).await?;
            // What was sent into a cut is sent again with a growing pause: only then do the
            // links count as healthy, for which the second is promised.
            Clock.sleep(SETTLED).await;
            grow(&world, 3).await?;

            all.stop().await;
            chosen.stop().await;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await?;
            reader.stop().await;
            stayed_in_its_partition(&world)
        })
    },
};

async fn grow(world: &World, new: u32) -> Result<(), String> {
    let admin = world.admin();
    admin.topic_add_partitions(CLUSTER, "orders", 1).await.map_err(|e| format!("grow: {e}"))?;
    let written = |event: &Event| match event {
        Event::Produced { outcome: ProduceOutcome::Acknowledged(place), .. } => {
            place.partition == new
        }
        _ => false,
    };
    let read = |event: &Event| match event {
        Event::Consumed { consumer: 1, place, .. } => place.partition == new,
        _ => false,
    };
    // Both within the one second.
    let (grown, what) = (Clock.now(), "a record acknowledged in the new partition");
    until(world, GROWTH, what, written).await?;
    let rest = GROWTH.saturating_sub(Clock.now().since(grown));
    until(world, rest, "a record read from the new partition", read).await
}

async fn no_such_partition(world: &World) -> Result<(), String> {
    let client = world.connect().await;
    let producer = client
        .producer("orders", ProducerConfig::default())
        .await
        .map_err(|e| format!("producer: {e}"))?;
    let record = ProducerRecord::value("never").to_partition(PartitionIndex(99));
    match producer.send(record).await {
        Err(error @ SendError::UnknownPartition { .. })
            if error.to_string().contains("it has 0 to 2") =>
        {
            Ok(())
        }
        other => Err(format!("partition 99 of 3: {:?}", other.map(|_| "taken"))),
    }
}

fn stayed_in_its_partition(world: &World) -> Result<(), String> {
    for event in world.history.events() {
        if let Event::Produced { id, outcome: ProduceOutcome::Acknowledged(place) } = event
            && id.producer == 2
            && place.partition != CHOSEN
        {
            return Err(format!("{id} was for partition {CHOSEN} and went to {place}"));
        }
    }
    Ok(())
}
