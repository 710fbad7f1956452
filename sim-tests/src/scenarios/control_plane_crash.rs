//! The control plane dies, more than once, while data flows: data goes on without it, and
//! after it came back on its database as it was, everything can be administered again.

use std::{sync::atomic::Ordering, time::Duration};

use weir_client::ConsumerConfig;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{
        acknowledged_more, between, cluster, every_partition_takes, on_client_node, running, topic,
    },
};
use crate::{
    faults::{Fault, Step},
    nemesis,
    workload::{self, Producing},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "control-plane-crash",
    story: "the control plane crashes and restarts while data flows",
    least: Least { acknowledged: 300, faults: 3, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            topic(&world, "orders", 3).await?;
            let other = world.client_node();
            let writer = workload::produce(&world, &node, Producing::new(1, "orders"));
            let reader = workload::consume(&world, &other, 1, ConsumerConfig::new("orders"));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            for _ in 0..between(2, 4) {
                data_goes_on_without_it(&world).await?;
                Clock.sleep(Duration::from_millis(between(0, 3_000))).await;
            }
            // A crash of an SPU while the control plane is away: it comes back after it.
            let together = vec![
                Step {
                    at_ms: 0,
                    fault: Fault::CrashControlPlane { down_ms: between(1_000, 5_000) },
                },
                Step {
                    at_ms: between(0, 2_000),
                    fault: Fault::CrashSpu {
                        spu: u32::try_from(between(1, 4)).unwrap_or(1),
                        down_ms: between(50, 2_000),
                    },
                },
            ];
            nemesis::run(world.clone(), together, vec![]).await;

            running(&world).await?;
            topic(&world, "later", 2).await?;
            every_partition_takes(&world, 3, Duration::from_secs(30)).await?;
            writer.stop().await;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await?;
            reader.stop().await;
            Ok(())
        })
    },
};

async fn data_goes_on_without_it(world: &World) -> Result<(), String> {
    world.counters.faults.fetch_add(1, Ordering::Relaxed);
    world.control_plane.crash();
    // What was under way when it died does not count.
    Clock.sleep(Duration::from_millis(500)).await;
    acknowledged_more(world, 100, Duration::from_secs(10))
        .await
        .map_err(|e| format!("while the control plane is away: {e}"))?;
    Clock.sleep(Duration::from_millis(between(0, 10_000))).await;
    world.control_plane.restart();
    Ok(())
}
