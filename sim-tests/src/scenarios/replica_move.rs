//! One SPU after another is emptied while its partitions are written and read, and machines,
//! disks and the network fail meanwhile. What was acknowledged or committed is there, and the
//! emptied SPU holds nothing any more, on its disk neither.

use std::time::Duration;

use weir_client::{ConsumerConfig, admin::TopicCreate};
use weir_protocol::ids::SpuId;
use weir_runtime::{clock::Clock, disk::sim::DiskSim};

use super::{
    Least, Scenario,
    replication::{count_elections, in_sync},
    schedule::{self, one_of},
    setup::{
        CONVERGE, acknowledged_more, between, cluster, drained, on_client_node, running, topic_as,
    },
};
use crate::{
    application::{self, Working},
    nemesis,
    workload::{self, Producing},
    world::{CLUSTER, PROBE_TOPIC, World},
};

const SPUS: u64 = 4;
const COPIED: &str = "orders";
const ALONE: &str = "alone";
const NAME: &str = "billing";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "replica-move",
    story: "SPUs are emptied one after another, under load and faults",
    least: Least { acknowledged: 300, faults: 2, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, u32::try_from(SPUS).unwrap_or(4)).await?;
            let partitions = u32::try_from(between(1, 4)).unwrap_or(1);
            let copied = TopicCreate { replication: 3, ..TopicCreate::new(COPIED, partitions) };
            topic_as(&world, &copied).await?;
            topic_as(&world, &TopicCreate::new(ALONE, 2)).await?;
            let pace = Duration::from_millis(between(3, 12));
            let producing = |producer, topic| Producing { pace, ..Producing::new(producer, topic) };
            let first = workload::produce(&world, &node, producing(1, COPIED));
            let second = workload::produce(&world, &node, producing(2, ALONE));
            let reader = workload::consume(&world, &node, 1, ConsumerConfig::new(COPIED));
            let machine = world.client_node();
            // Not waited for: it works until the end.
            let _working = application::work(&world, &machine, Working::new(NAME, 1, COPIED));
            acknowledged_more(&world, 50, Duration::from_secs(30)).await?;

            // The second one may be given again what the first one had to remove.
            let first_emptied = one_of(SPUS);
            for spu in [first_emptied, first_emptied % 4 + 1] {
                let faults = schedule::draw_against_one(between(1, 4), SPUS, 8_000);
                let harm =
                    madsim::task::spawn(nemesis::run(world.clone(), faults, vec![node.id()]));
                empty(&world, SpuId(spu)).await?;
                harm.await.map_err(|error| error.to_string())?;
                running(&world).await?;
                holds_nothing(&world, SpuId(spu)).await?;
                acknowledged_more(&world, 50, Duration::from_secs(30)).await?;
            }
            in_sync(&world, COPIED).await?;
            first.stop().await;
            second.stop().await;
            madsim::runtime::Handle::current().kill(machine.id());
            drained(&world, NAME, COPIED, 2).await?;
            for (number, topic) in [(100, COPIED), (101, ALONE)] {
                let patience = Duration::from_secs(60);
                workload::final_read(&world, &node, number, topic, patience).await?;
            }
            reader.stop().await;
            count_elections(&world, COPIED).await
        })
    },
};

/// Asks for it until it is taken.
async fn empty(world: &World, spu: SpuId) -> Result<(), String> {
    let mut last = String::new();
    let ask = async {
        loop {
            match world.admin().cluster_drain(CLUSTER, spu, None, false).await {
                Ok(_) => return,
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(Duration::from_millis(500)).await;
        }
    };
    let asked = Clock.timeout(CONVERGE, ask).await;
    asked.map_err(|_| format!("SPU {spu} is not to be emptied after {CONVERGE:?}: {last}"))
}

/// Waits until the map names the SPU nowhere, and nothing is left on its disk.
async fn holds_nothing(world: &World, spu: SpuId) -> Result<(), String> {
    let mut last = String::new();
    let wait = async {
        loop {
            match left(world, spu).await {
                Ok(left) if left.is_empty() => return,
                Ok(left) => last = left,
                Err(error) => last = error,
            }
            Clock.sleep(Duration::from_millis(200)).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("SPU {spu} still holds after {CONVERGE:?}: {last}"))
}

async fn left(world: &World, spu: SpuId) -> Result<String, String> {
    let topics = world.admin().topic_list_internal(CLUSTER).await;
    let mut topics = topics.map_err(|error| error.to_string())?;
    topics.retain(|topic| topic.name != PROBE_TOPIC);
    let machine = world.machines.get(spu.get()).ok_or("no such machine")?;
    let files = DiskSim::current().files(machine.node);
    for topic in topics {
        let named = topic.partitions.iter().find(|p| p.replica_spu_ids.contains(&spu));
        if let Some(partition) = named {
            return Ok(format!("{} {partition:?}", topic.name));
        }
        let folder = topic.generation_id.0.simple().to_string();
        if let Some(file) = files.iter().find(|file| file.contains(&folder)) {
            return Ok(format!("{} {file}", topic.name));
        }
    }
    Ok(String::new())
}
