//! A cluster is shut down while it is written to. Whatever an SPU had taken is acknowledged before
//! the SPUs end, for which each goes on to follow the others; of what was not taken the producers
//! hear that it is not written. Nobody is left in doubt, and nothing is lost.

use std::time::Duration;

use weir_client::admin::{ClusterState, TopicCreate};
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario,
    setup::{acknowledged_more, between, cluster, done, on_client_node, running, topic_as},
};
use crate::{
    application::{self, Working},
    history::{Event, ProduceOutcome},
    workload::{self, Producing},
    world::{CLUSTER, World},
};

const TOPIC: &str = "orders";
/// How long an orderly stop may take: nothing is broken, nobody has to be waited for.
const STOP: Duration = Duration::from_secs(2);
/// After how long a producer gives up, once nobody serves it.
const GIVE_UP: Duration = Duration::from_secs(10);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "orderly-stop",
    story: "a cluster is shut down while it is written to: what was taken is acknowledged",
    least: Least { acknowledged: 100, faults: 0, recoveries: 0, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 3).await?;
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            let replication = u32::try_from(between(1, 4)).unwrap_or(3);
            let create = TopicCreate { replication, ..TopicCreate::new(TOPIC, partitions) };
            topic_as(&world, &create).await?;
            for round in 1..=u32::try_from(between(1, 4)).unwrap_or(1) {
                running(&world).await?;
                let producers: Vec<_> = (0..between(1, 4))
                    .map(|nth| {
                        let number = 10 * round + u32::try_from(nth).unwrap_or(0);
                        let pace = Duration::from_millis(between(1, 6));
                        let mut producing = Producing { pace, ..Producing::new(number, TOPIC) };
                        producing.config.delivery_timeout = GIVE_UP;
                        workload::produce(&world, &node, producing)
                    })
                    .collect();
                let working = Working::new("billing", round, TOPIC);
                let application = application::work(&world, &node, working);
                acknowledged_more(&world, 100, Duration::from_secs(30)).await?;
                Clock.sleep(Duration::from_millis(between(0, 500))).await;
                stop(&world).await?;
                for producer in producers {
                    producer.stop().await;
                }
                let admin = world.admin();
                admin.cluster_resume(CLUSTER).await.map_err(|e| format!("resume: {e}"))?;
                application.stop().await;
            }
            running(&world).await?;
            workload::final_read(&world, &node, 100, TOPIC, Duration::from_secs(60)).await?;
            nobody_in_doubt(&world)
        })
    },
};

async fn stop(world: &World) -> Result<(), String> {
    let admin = world.admin();
    let began = Clock.now();
    let ordered = admin.cluster_shutdown(CLUSTER).await.map_err(|e| format!("shutdown: {e}"))?;
    done(world, &ordered).await?;
    let took = Clock.now().since(began);
    let cluster = admin.cluster(CLUSTER).await.map_err(|e| e.to_string())?;
    if cluster.state != ClusterState::Shutdown {
        return Err(format!("shut down, and {}", cluster.state));
    }
    (took <= STOP).then_some(()).ok_or_else(|| format!("the stop took {took:?}"))
}

/// Nothing has failed: so there is nothing that nobody can know.
fn nobody_in_doubt(world: &World) -> Result<(), String> {
    let doubtful = world.history.events().into_iter().find_map(|event| match event {
        Event::Produced { id, outcome: ProduceOutcome::Unknown(code) } => Some((id, code)),
        _ => None,
    });
    doubtful.map_or(Ok(()), |(id, code)| Err(format!("nobody knows what became of {id}: {code}")))
}
