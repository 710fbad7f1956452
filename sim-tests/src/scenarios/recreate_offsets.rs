//! A consumer has committed 72 records of a topic; the topic is deleted and created again
//! under its name and holds 2 records, while an instance that reads the old one commits
//! late and the coordinator crashes. The consumer reads both new records; what came late is
//! refused; who asks for offset 72 of the new topic is told what it holds.

use std::time::Duration;

use weir_client::{ConsumerConfig, Start};
use weir_protocol::ids::Offset;
use weir_runtime::{clock::Clock, net::cuts};

use super::{
    Least, Scenario,
    setup::{
        acknowledged_more, between, cluster, drained, on_client_node, running, told, topic, until,
    },
};
use crate::{
    application::{self, Working},
    faults::{Fault, Step},
    history::Event,
    nemesis,
    workload::{self, Producing},
    world::CLUSTER,
};

const NAME: &str = "billing";
const OLD_RECORDS: u32 = 72;
const NEW_RECORDS: u32 = 2;
/// Asks for an offset that only the old topic had.
const ASKER: u32 = 7;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "recreate-offsets",
    story: "a topic is recreated under a consumer that has committed more than the new one holds",
    least: Least { acknowledged: 74, faults: 1, recoveries: 1, told: 1 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            let old = topic(&world, "orders", 1).await?;
            let mut first = Producing { records_max: OLD_RECORDS, ..Producing::new(1, "orders") };
            first.pace = Duration::from_millis(1);
            workload::produce(&world, &node, first).ended().await;
            drained(&world, NAME, "orders", 1).await?;

            // Has read all of the old one under another name, and commits when it hears again.
            let deaf = world.client_node();
            let mut late = Working::new("late", 2, "orders");
            late.pace = Duration::from_millis(200);
            late.commit_every = Some(10);
            late.config.commit = weir_client::Commit::Manual;
            let late = application::work(&world, &deaf, late);
            let reads = |e: &Event| matches!(e, Event::Processed { instance: 2, .. });
            until(&world, Duration::from_secs(20), "the late one reads", reads).await?;
            let spus: Vec<_> = world.machines.all().into_iter().map(|(_, m)| m.node).collect();
            cuts::cut_between(&[deaf.id()], &spus);

            let down_ms = between(100, 2_000);
            let crash =
                Step { at_ms: between(0, 1_500), fault: Fault::CrashSpu { spu: 1, down_ms } };
            let faults = nemesis::run(world.clone(), vec![crash], vec![]);
            let faults = madsim::task::spawn(faults);
            let admin = world.admin();
            admin.topic_delete(CLUSTER, "orders").await.map_err(|e| format!("delete: {e}"))?;
            topic(&world, "orders", 1).await?;
            faults.await.expect("the nemesis does not panic");
            running(&world).await?;
            world.history.add(Event::TopicDeleted { generation: old.generation_id.to_string() });
            let mut fresh = Producing { records_max: NEW_RECORDS, ..Producing::new(2, "orders") };
            fresh.pace = Duration::from_millis(1);
            workload::produce(&world, &node, fresh).ended().await;

            let before = Offset(u64::from(OLD_RECORDS));
            let config = ConsumerConfig::new("orders").start(Start::Absolute(before));
            world.history.add(Event::AskedFrom { consumer: ASKER, offset: before.get() });
            let asker = workload::consume(&world, &node, ASKER, config);
            drained(&world, NAME, "orders", 3).await?;
            // Of the deleted topic too.
            told(&world, NAME).await;
            // More than the old one held, so that its offsets exist in the new one too.
            let mut more = Producing::new(3, "orders");
            more.pace = Duration::from_millis(1);
            let more = workload::produce(&world, &node, more);
            acknowledged_more(&world, 100, Duration::from_secs(20)).await?;
            more.stop().await;

            cuts::heal_all();
            let told = |e: &Event| matches!(e, Event::InstanceEnded { instance: 2, .. });
            until(&world, Duration::from_secs(60), "the late one is told", told).await?;
            late.ended().await;
            let refused = |e: &Event| match e {
                Event::ConsumerEnded { consumer: ASKER, code } => code == "OFFSET_OUT_OF_RANGE",
                _ => false,
            };
            let what = "who asked for an offset of the old topic is told that it is out of range";
            until(&world, Duration::from_secs(20), what, refused).await?;
            asker.stop().await;
            drained(&world, NAME, "orders", 4).await?;
            Clock.sleep(Duration::from_millis(between(0, 500))).await;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await
        })
    },
};
