//! A topic is deleted and created again while clients of the old generation are at work,
//! one of them cut off from an SPU, so that it may hear of it late. The new topic holds
//! exactly its own records; whoever read the old one is told.

use std::time::Duration;

use weir_client::ConsumerConfig;
use weir_protocol::ids::GenerationNumber;
use weir_runtime::{clock::Clock, net::cuts};

use super::{
    Least, Scenario,
    setup::{acknowledged_more, between, cluster, on_client_node, running, topic, until},
};
use crate::{
    faults::{Fault, Step},
    history::Event,
    nemesis,
    workload::{self, Producing},
    world::CLUSTER,
};

/// Longer than a connection's keep-alive.
const DEAF: Duration = Duration::from_secs(10);
const READER: u32 = 1;
const LATE_READER: u32 = 2;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "topic-recreate",
    story: "a topic is deleted and created again under clients of the old generation",
    least: Least { acknowledged: 74, faults: 1, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            let old = topic(&world, "orders", 3).await?;
            let (half_deaf, deaf) = (world.client_node(), world.client_node());
            // Without sequence numbers, so that nothing but the generation protects the new
            // topic from it.
            let mut old_producer = Producing::new(1, "orders");
            old_producer.pace = Duration::from_millis(2);
            old_producer.config.idempotent = false;
            let writer = workload::produce(&world, &half_deaf, old_producer);
            let reader =
                workload::consume(&world, &half_deaf, READER, ConsumerConfig::new("orders"));
            let late = workload::consume(&world, &deaf, LATE_READER, ConsumerConfig::new("orders"));
            acknowledged_more(&world, 72, Duration::from_secs(20)).await?;
            for reading in [READER, LATE_READER] {
                let read = |e: &Event| matches!(e, Event::Consumed { consumer, .. } if *consumer == reading);
                until(&world, Duration::from_secs(20), "both consumers read", read).await?;
            }

            // One client hears nothing of one SPU (perhaps the one that it watches), the
            // other nothing of any.
            let spus: Vec<_> = world.machines.all().into_iter().map(|(_, m)| m.node).collect();
            let one = spus[usize::try_from(between(0, spus.len() as u64)).unwrap_or(0)];
            cuts::cut_between(&[half_deaf.id()], &[one]);
            cuts::cut_between(&[deaf.id()], &spus);
            let crash = Fault::CrashSpu {
                spu: u32::try_from(between(1, 4)).unwrap_or(1),
                down_ms: between(100, 2_000),
            };
            let at_ms = between(0, 1_500);
            let faults = nemesis::run(world.clone(), vec![Step { at_ms, fault: crash }], vec![]);
            let faults = madsim::task::spawn(faults);

            Clock.sleep(Duration::from_millis(between(0, 500))).await;
            let admin = world.admin();
            admin.topic_delete(CLUSTER, "orders").await.map_err(|e| format!("delete: {e}"))?;
            let new = topic(&world, "orders", 3).await?;
            // Each SPU holds a partition of the ready new one, so each has heard of the end
            // of the old one, which came first.
            world.history.add(Event::TopicDeleted { generation: old.generation_id.to_string() });
            if new.generation_id == old.generation_id
                || new.generation_number != GenerationNumber(2)
            {
                return Err(format!("the recreated topic is {new:?}"));
            }
            // Two, or more than the old one held: then the old offsets exist in the new one.
            let records = if between(0, 2) == 0 { 2 } else { 400 };
            let mut fresh = Producing { records_max: records, ..Producing::new(2, "orders") };
            fresh.pace = Duration::from_millis(1);
            workload::produce(&world, &node, fresh).ended().await;
            Clock.sleep(Duration::from_millis(between(500, 3_000))).await;
            cuts::heal_between(&[half_deaf.id()], &[one]);
            // Until its watch has surely broken: it then hears of both orders at once.
            Clock.sleep(DEAF).await;
            cuts::heal_all();
            faults.await.expect("the nemesis does not panic");

            // Whoever watched the deletion as it happened may be told of that.
            let both: &[&str] = &["TOPIC_RECREATED", "TOPIC_DELETED"];
            for (reading, codes) in [(READER, both), (LATE_READER, &["TOPIC_RECREATED"])] {
                let told = |e: &Event| match e {
                    Event::ConsumerEnded { consumer, code } if *consumer == reading => {
                        codes.contains(&code.as_str())
                    }
                    _ => false,
                };
                let what = format!("consumer {reading} of the old generation is told {codes:?}");
                until(&world, Duration::from_secs(30), &what, told).await?;
            }
            writer.stop().await;
            reader.ended().await;
            late.ended().await;

            running(&world).await?;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await?;
            let found = world
                .history
                .events()
                .into_iter()
                .filter(|e| matches!(e, Event::Consumed { consumer: 100, .. }));
            let found = found.count();
            if found == records as usize {
                Ok(())
            } else {
                Err(format!("the new topic holds {found} records, {records} were written to it"))
            }
        })
    },
};
