//! One disk after another comes back empty, or with a flipped bit, alone or when all machines lost
//! their power; and others crash meanwhile. Nothing that was acknowledged is gone, and the
//! replica is filled again.

use std::time::Duration;

use weir_client::{ConsumerConfig, admin::TopicCreate};

use super::{
    Least, Scenario,
    replication::{count_elections, in_sync},
    schedule::one_of,
    setup::{acknowledged_more, between, cluster, on_client_node, running, topic_as},
};
use crate::{
    faults::{Fault, Step},
    nemesis,
    workload::{self, Producing},
};

const TOPIC: &str = "orders";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "replica-refill",
    story: "a disk comes back empty or damaged, and its replicas are filled again from others",
    least: Least { acknowledged: 200, faults: 2, recoveries: 2, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            let spus = between(3, 5);
            cluster(&world, u32::try_from(spus).unwrap_or(3)).await?;
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            topic_as(
                &world,
                &TopicCreate { replication: 3, ..TopicCreate::new(TOPIC, partitions) },
            )
            .await?;
            let pace = Duration::from_millis(between(2, 12));
            let producing = Producing { pace, ..Producing::new(1, TOPIC) };
            let producer = workload::produce(&world, &node, producing);
            let reader = workload::consume(&world, &node, 1, ConsumerConfig::new(TOPIC));
            for _ in 0..between(2, 5) {
                acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
                in_sync(&world, TOPIC).await?;
                in_sync(&world, "__offsets").await?;
                let mut schedule = vec![Step { at_ms: 0, fault: harm(spus) }];
                if between(0, 2) == 0 {
                    let (spu, down_ms) = (one_of(spus), between(50, 2_000));
                    let fault = Fault::CrashSpu { spu, down_ms };
                    schedule.push(Step { at_ms: between(0, 6_000), fault });
                }
                nemesis::run(world.clone(), schedule, vec![node.id()]).await;
            }
            running(&world).await?;
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            in_sync(&world, TOPIC).await?;
            producer.stop().await;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            reader.stop().await;
            count_elections(&world, TOPIC).await
        })
    },
};

fn harm(spus: u64) -> Fault {
    let (spu, down_ms, with_others) = (one_of(spus), between(50, 4_000), between(0, 2) == 0);
    match between(0, 2) {
        0 => Fault::WipeSpu { spu, down_ms, with_others },
        _ => Fault::DamageReplica { spu, down_ms, with_others },
    }
}
