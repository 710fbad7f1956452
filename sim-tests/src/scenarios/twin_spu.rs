//! A second process proves that it is an SPU that is there already: the same launch, the same secret,
//! on another machine. The one that was there stays who it is; the other one waits, is counted
//! nowhere and served by nobody, and is told of.

use std::{sync::atomic::Ordering, time::Duration};

use weir_client::{ConsumerConfig, admin::TopicCreate};
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{
        acknowledged_more, between, cluster, every_partition_takes, observe, on_client_node,
        running, topic_as,
    },
};
use crate::{
    workload::{self, Producing},
    world::{CLUSTER, World},
};

const TOPIC: &str = "orders";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "twin-spu",
    story: "a second process proves to be an SPU that is there already",
    least: Least { acknowledged: 150, faults: 2, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            // Whatever the twin could take the place of, others have too.
            let copies = TopicCreate { replication: 3, ..TopicCreate::new(TOPIC, 3) };
            topic_as(&world, &copies).await?;
            let other = world.client_node();
            let writer = workload::produce(&world, &node, Producing::new(1, TOPIC));
            let reader = workload::consume(&world, &other, 1, ConsumerConfig::new(TOPIC));
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            let id = u32::try_from(between(1, 4)).unwrap_or(1);
            let own = world.machines.get(id).ok_or("it was never started")?;
            let twin = world.machines.stranger("twin");
            twin.start(own.last_spec().ok_or("it was never started")?)?;
            world.counters.faults.fetch_add(1, Ordering::Relaxed);
            let before = incarnation(&world, id).await?;
            let watched = Duration::from_millis(between(3_000, 12_000));
            let began = Clock.now();
            while Clock.now().since(began) < watched {
                let cluster = world.admin().cluster(CLUSTER).await.map_err(|e| e.to_string())?;
                observe(&world, &cluster);
                let address = twin.ip().to_string();
                let mut spus = cluster.spus.iter();
                if spus.any(|spu| spu.endpoint.iter().any(|e| e.starts_with(&address))) {
                    return Err(format!("clients are sent to the twin: {:?}", cluster.spus));
                }
                Clock.sleep(Duration::from_millis(between(50, 400))).await;
            }
            if incarnation(&world, id).await? != before {
                return Err("the twin ended the life of the one that was there".into());
            }
            told_of(&world, id).await?;
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            // Without it, the one that was there dies and comes back as ever.
            twin.power_off();
            world.counters.faults.fetch_add(1, Ordering::Relaxed);
            own.kill();
            observe(&world, &running(&world).await?);
            every_partition_takes(&world, 3, Duration::from_secs(30)).await?;
            writer.stop().await;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            reader.stop().await;
            Ok(())
        })
    },
};

async fn incarnation(world: &World, id: u32) -> Result<u64, String> {
    let spus = world.admin().spu_list(CLUSTER).await.map_err(|e| e.to_string())?;
    let spu = spus.into_iter().find(|spu| spu.spu_id.0 == id);
    let incarnation = spu.and_then(|spu| spu.incarnation);
    incarnation.map(|i| i.get()).ok_or_else(|| format!("SPU {id} is not there"))
}

/// People who look for the twin find it.
async fn told_of(world: &World, id: u32) -> Result<(), String> {
    let refused = world.admin().spu_refusals(CLUSTER).await.map_err(|e| e.to_string())?;
    let told = refused.iter().any(|refusal| {
        refusal.spu_id.0 == id && refusal.proven && refusal.code == "NOT_YET_AVAILABLE"
    });
    match told {
        true => Ok(()),
        false => Err(format!("nobody is told of the twin of SPU {id}: {refused:?}")),
    }
}
