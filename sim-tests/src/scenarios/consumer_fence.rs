//! Two instances of one consumer read the same partitions. The later one takes them: from
//! then on nothing of the earlier one is committed, cut off or not, and it is told. At last an
//! order resets the offsets under the one that runs, which holds against what it commits late.

use std::time::Duration;

use weir_runtime::{clock::Clock, net::cuts};

use super::{
    Least, Scenario,
    setup::{
        acknowledged_more, between, cluster, drained, on_client_node, reset_to_beginning, told,
        topic, until,
    },
};
use crate::{
    application::{self, Working},
    faults::{Fault, Step},
    history::Event,
    nemesis,
    workload::{self, Producing},
};

const NAME: &str = "billing";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "consumer-fence",
    story: "two instances of one consumer: the later takes the partitions",
    least: Least { acknowledged: 100, faults: 1, recoveries: 1, told: 1 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 2).await?;
            topic(&world, "orders", 2).await?;
            let writer = workload::produce(&world, &node, Producing::new(1, "orders"));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            let rivals = u32::try_from(between(2, 5)).unwrap_or(2);
            let mut running = Vec::new();
            for instance in 1..=rivals {
                let rival = world.client_node();
                let mut working = Working::new(NAME, instance, "orders");
                working.commit_every = Some(u32::try_from(between(1, 8)).unwrap_or(1));
                let handle = application::work(&world, &rival, working);
                let works = |e: &Event| matches!(e, Event::Processed { instance: of, .. } if *of == instance);
                until(&world, Duration::from_secs(30), "the next instance works", works).await?;
                // Some hear late that they were replaced.
                if instance < rivals && between(0, 2) == 0 {
                    let spus = world.machines.all().into_iter().map(|(_, m)| m.node);
                    let spus: Vec<_> = spus.collect();
                    cuts::cut_between(&[rival.id()], &spus);
                }
                Clock.sleep(Duration::from_millis(between(0, 1_500))).await;
                running.push((instance, handle));
            }
            let crash = Fault::CrashSpu { spu: 1, down_ms: between(50, 2_000) };
            nemesis::run(world.clone(), vec![Step { at_ms: 0, fault: crash }], vec![]).await;
            cuts::heal_all();

            told(&world, NAME).await;
            reset_to_beginning(&world, NAME, "orders").await?;
            told(&world, NAME).await;
            for (instance, handle) in running {
                let fenced = |e: &Event| match e {
                    Event::InstanceEnded { instance: of, code, .. } if *of == instance => {
                        code == "CONSUMER_FENCED"
                    }
                    _ => false,
                };
                let what = format!("instance {instance} is told that it is fenced");
                until(&world, Duration::from_secs(60), &what, fenced).await?;
                handle.ended().await;
            }
            writer.stop().await;
            drained(&world, NAME, "orders", rivals + 1).await?;
            told(&world, NAME).await;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await
        })
    },
};
