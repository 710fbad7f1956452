//! Two producers and a consumer, while SPUs crash and come back, are cut off, muted, paused
//! and slowed, and their clocks run off. What was acknowledged is there, once, in order.

use std::time::Duration;

use weir_client::ConsumerConfig;

use super::{
    Least, Scenario, schedule,
    setup::{
        acknowledged_more, between, cluster, every_partition_takes, on_client_node, running, topic,
    },
};
use crate::{
    nemesis,
    workload::{self, Producing},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "spu-crash",
    story: "produce and consume while SPUs crash, restart, are cut off, paused and slowed",
    least: Least { acknowledged: 300, faults: 3, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            topic(&world, "orders", 3).await?;
            let other = world.client_node();
            let first = workload::produce(&world, &node, Producing::new(1, "orders"));
            let second = workload::produce(&world, &other, Producing::new(2, "orders"));
            let reader = workload::consume(&world, &other, 1, ConsumerConfig::new("orders"));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            let schedule = schedule::draw_against_one(between(4, 8), 3, 15_000);
            nemesis::run(world.clone(), schedule, vec![node.id(), other.id()]).await;

            running(&world).await?;
            every_partition_takes(&world, 3, Duration::from_secs(30)).await?;
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            first.stop().await;
            second.stop().await;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await?;
            reader.stop().await;
            Ok(())
        })
    },
};
