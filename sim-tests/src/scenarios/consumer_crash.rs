//! An application works through a topic by a named consumer and dies again and again,
//! between processing a record and committing it, while SPUs crash too. Nothing is skipped,
//! and nothing that was processed and committed is processed again. All the while somebody
//! asks the control plane about the consumer.

use std::time::Duration;

use super::{
    Least, Scenario, schedule,
    setup::{
        acknowledged_more, between, cluster, drained, on_client_node, running, tell_on, told, topic,
    },
};
use crate::{
    application::{self, Working},
    nemesis,
    workload::{self, Producing},
};

const NAME: &str = "billing";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "consumer-crash",
    story: "an application dies between processing and commit, again and again",
    least: Least { acknowledged: 200, faults: 2, recoveries: 1, told: 1 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            topic(&world, "orders", 3).await?;
            let writer = workload::produce(&world, &node, Producing::new(1, "orders"));
            acknowledged_more(&world, 20, Duration::from_secs(20)).await?;

            tell_on(&world, &node, NAME);
            let schedule = schedule::draw_against_one(between(2, 4), 3, 12_000);
            let faults = nemesis::run(world.clone(), schedule, vec![node.id()]);
            let faults = madsim::task::spawn(faults);
            let lives = u32::try_from(between(3, 7)).unwrap_or(3);
            for instance in 1..=lives {
                let mut life = Working::new(NAME, instance, "orders");
                life.pace = Duration::from_millis(between(1, 20));
                life.dies_at = u32::try_from(between(1, 60)).ok();
                let every = u32::try_from(between(1, 10)).unwrap_or(1);
                life.commit_every = (between(0, 2) == 0).then_some(every);
                application::work(&world, &world.client_node(), life).ended().await;
            }
            faults.await.expect("the nemesis does not panic");

            running(&world).await?;
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            writer.stop().await;
            drained(&world, NAME, "orders", lives + 1).await?;
            told(&world, NAME).await;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await
        })
    },
};
