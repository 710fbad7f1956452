//! The coordinator of a consumer loses power between a commit and its way into SQL, alone or with
//! its follower, with a slow disk and with the control plane away. What was acknowledged holds, what SQL tells
//! survives, and in the end SQL tells what the coordinator knows.

use std::{sync::atomic::Ordering, time::Duration};

use madsim::runtime::Handle;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{
        acknowledged_more, between, cluster, drained, on_client_node, reported, running,
        sql_catches_up, sql_is_exact, told, topic,
    },
};
use crate::{
    application::{self, Working},
    faults::{Fault, Step},
    nemesis,
    workload::{self, Producing},
};

const NAME: &str = "billing";
/// Leads all partitions of the offsets topic.
const COORDINATOR: u32 = 1;
/// Follows them.
const OTHER: u32 = 2;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "coordinator-crash",
    story: "the coordinator loses power between a commit and SQL, the control plane being away",
    least: Least { acknowledged: 100, faults: 2, recoveries: 2, told: 1 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 2).await?;
            topic(&world, "orders", 2).await?;
            let writer = workload::produce(&world, &node, Producing::new(1, "orders"));
            acknowledged_more(&world, 30, Duration::from_secs(20)).await?;

            let rounds = u32::try_from(between(3, 6)).unwrap_or(3);
            for instance in 1..=rounds {
                let mut working = Working::new(NAME, instance, "orders");
                working.commit_every = Some(1);
                working.config.commit = weir_client::Commit::Manual;
                let machine = world.client_node();
                // Not waited for: it dies.
                let _working = application::work(&world, &machine, working);
                Clock.sleep(Duration::from_millis(between(500, 2_500))).await;
                let away = between(0, 3) == 0;
                if away {
                    world.counters.faults.fetch_add(1, Ordering::Relaxed);
                    world.control_plane.crash();
                    Clock.sleep(Duration::from_millis(between(0, 2_000))).await;
                }
                // A commit takes a while to reach the disk, and meanwhile the power goes, the
                // application's too: nobody is left to commit once more what was lost.
                let at_ms = between(500, 4_000);
                let down_ms = between(50, 2_000);
                let for_ms = at_ms + down_ms;
                let slow = |spu| Step { at_ms: 0, fault: Fault::SlowDisk { spu, for_ms } };
                // Or both do, for the other one may have it in its log already.
                let spus =
                    [&[COORDINATOR][..], &[COORDINATOR, OTHER]][usize::from(between(0, 2) == 0)];
                let mut steps: Vec<_> = spus.iter().copied().map(slow).collect();
                steps
                    .push(Step { at_ms, fault: Fault::CrashSpus { spus: spus.to_vec(), down_ms } });
                let faults = madsim::task::spawn(nemesis::run(world.clone(), steps, vec![]));
                Clock.sleep(Duration::from_millis(at_ms)).await;
                Handle::current().kill(machine.id());
                // What people are told has to hold afterwards.
                if !away {
                    reported(&world, NAME).await;
                }
                faults.await.expect("the nemesis does not panic");
                if away {
                    world.control_plane.restart();
                }
                running(&world).await?;
                told(&world, NAME).await;
            }
            writer.stop().await;
            drained(&world, NAME, "orders", rounds + 1).await?;
            sql_catches_up(&world, NAME).await?;
            workload::final_read(&world, &node, 100, "orders", Duration::from_secs(60)).await?;
            sql_is_exact(&world, NAME).await
        })
    },
};
