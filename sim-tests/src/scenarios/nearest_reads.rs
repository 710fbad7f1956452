//! A reader on the rack of one SPU reads from it, whoever leads: also while it reaches no other.
//! It reads what is committed, once and in order, while followers crash, lag and come to lead.

use std::time::Duration;

use weir_client::{ConsumerConfig, admin::TopicCreate};
use weir_runtime::{clock::Clock, net::cuts};

use super::{
    Least, Scenario,
    replication::{count_elections, in_sync},
    schedule::{self, one_of},
    setup::{acknowledged_more, between, cluster, on_client_node, running, topic_as},
};
use crate::{
    history::Event,
    nemesis,
    workload::{self, Producing},
    world::World,
};

const SPUS: u64 = 3;
const TOPIC: &str = "orders";
const NEARBY: u32 = 1;
/// How long the reader may take for so many records.
const MORE: usize = 30;
const MORE_WITHIN: Duration = Duration::from_secs(30);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "nearest-reads",
    story: "a reader on an SPU's rack reads from it, also where it reaches no other",
    least: Least { acknowledged: 200, faults: 2, recoveries: 0, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, u32::try_from(SPUS).unwrap_or(3)).await?;
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            let create = TopicCreate { replication: 3, ..TopicCreate::new(TOPIC, partitions) };
            topic_as(&world, &create).await?;
            let pace = Duration::from_millis(between(3, 12));
            let producing = Producing { pace, ..Producing::new(1, TOPIC) };
            let producer = workload::produce(&world, &node, producing);
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            in_sync(&world, TOPIC).await?;

            let near = one_of(SPUS);
            let machine = world.client_node();
            let config = ConsumerConfig::new(TOPIC).rack(format!("rack-{near}"));
            let reader = workload::consume(&world, &machine, NEARBY, config);
            reads_more(&world).await?;
            let others: Vec<_> = (1..=u32::try_from(SPUS).unwrap_or(3))
                .filter(|spu| *spu != near)
                .filter_map(|spu| Some(world.machines.get(spu)?.node))
                .collect();
            cuts::cut_between(&[machine.id()], &others);
            // What was on its way is there by then.
            Clock.sleep(Duration::from_millis(200)).await;
            let read = reads_more(&world).await;
            cuts::heal_between(&[machine.id()], &others);
            read?;

            let faults = schedule::draw_against_one(between(2, 6), SPUS, 15_000);
            nemesis::run(world.clone(), faults, vec![node.id(), machine.id()]).await;
            running(&world).await?;
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            in_sync(&world, TOPIC).await?;
            reads_more(&world).await?;
            producer.stop().await;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            reader.stop().await;
            count_elections(&world, TOPIC).await
        })
    },
};

/// Waits until the reader has read more than now.
async fn reads_more(world: &World) -> Result<(), String> {
    let (_, mut looked_at) = world.history.since(0, |_| ());
    let mut more = 0;
    let wait = async {
        while more < MORE {
            Clock.sleep(Duration::from_millis(20)).await;
            let (read, events) = world.history.since(looked_at, |events| {
                let by_it = |event: &&Event| matches!(event, Event::Consumed { consumer, .. } if *consumer == NEARBY);
                events.iter().filter(by_it).count()
            });
            (more, looked_at) = (more + read, events);
        }
    };
    let waited = Clock.timeout(MORE_WITHIN, wait).await;
    waited.map_err(|_| format!("the reader has not read {MORE} more within {MORE_WITHIN:?}"))
}
