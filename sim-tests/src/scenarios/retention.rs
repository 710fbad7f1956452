//! A topic that keeps its records for twenty seconds, while SPUs crash, and while the clock of
//! one runs ahead by more than that. What is younger is there, what is much older is gone, and
//! who asks for it is told that it is.

use std::time::Duration;

use weir_client::{
    ConsumerConfig,
    admin::{TopicConfigChange, TopicCreate},
    consumer::Start,
};
use weir_protocol::ids::Offset;
use weir_runtime::clock::Clock;

use super::{
    Least, Scenario, schedule,
    setup::{
        acknowledged_more, between, cluster, every_partition_takes, on_client_node, running,
        topic_as, until,
    },
};
use crate::{
    faults::{Fault, Step},
    history::Event,
    nemesis,
    workload::{self, Producing},
    world::World,
};

const KEPT: Duration = Duration::from_secs(20);
const SEGMENT: Duration = Duration::from_secs(2);
/// After how long what is older than [`KEPT`] is surely gone: its segment has to be closed, and
/// all in it has to be too old; clocks may differ a little, and one will stand in the way.
const GONE: Duration = Duration::from_secs(20 + 15);
/// How far ahead one clock jumps, and for how long.
const JUMP: Duration = Duration::from_secs(90);
const JUMPED_FOR: Duration = Duration::from_secs(3);
/// Far shorter than [`KEPT`]: from the jump to the end of the read.
const SETTLED: Duration = Duration::from_secs(5);
const READ: Duration = Duration::from_secs(6);
const READER: u32 = 100;
const LATE: u32 = 200;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "retention",
    story: "a topic keeps 20 s; SPUs crash, a clock jumps ahead; the young stays, the old goes",
    least: Least { acknowledged: 300, faults: 3, recoveries: 1, told: 0 },
    play: |world| {
        on_client_node(world, |world, node| async move {
            cluster(&world, 2).await?;
            topic_as(&world, &kept("orders")).await?;
            let pace = Duration::from_millis(20);
            let producing = Producing { pace, ..Producing::new(1, "orders") };
            let producer = workload::produce(&world, &node, producing);
            acknowledged_more(&world, 50, Duration::from_secs(20)).await?;

            let schedule = schedule::draw_against_one(between(2, 5), 2, 8_000);
            nemesis::run(world.clone(), schedule, vec![node.id()]).await;
            running(&world).await?;
            every_partition_takes(&world, 2, Duration::from_secs(30)).await?;
            let gone_below = events(&world);
            Clock.sleep(GONE).await;

            let kept_from = events(&world);
            acknowledged_more(&world, 20, Duration::from_secs(3)).await?;
            let spu = u32::try_from(between(1, 3)).unwrap_or(1);
            jump(&world, spu, JUMP).await;
            Clock.sleep(JUMPED_FOR).await;
            jump(&world, spu, Duration::ZERO).await;
            Clock.sleep(SETTLED).await;

            let kept_to = events(&world);
            let read = workload::read_whole(&world, &node, READER, "orders", READ).await;
            let (generation, _) = read?;
            let consumer = READER;
            let kept = Event::KeptRead { consumer, generation, kept_from, kept_to, gone_below };
            world.history.add(kept);
            late_reader_is_told(&world, &node).await?;
            producer.stop().await;
            Ok(())
        })
    },
};

fn kept(name: &str) -> TopicCreate {
    let ms = |age: Duration| Some(Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    let (retention_ms, segment_ms) = (ms(KEPT), ms(SEGMENT));
    let config = TopicConfigChange { retention_ms, segment_ms, ..TopicConfigChange::default() };
    TopicCreate { config, ..TopicCreate::new(name, 2) }
}

fn events(world: &World) -> usize {
    world.history.since(0, |_| ()).1
}

async fn jump(world: &World, spu: u32, ahead: Duration) {
    let offset_ms = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
    let fault = Fault::SkewClock { spu, offset_ms, rate_ppm: 0 };
    nemesis::run(world.clone(), vec![Step { at_ms: 0, fault }], Vec::new()).await;
}

/// Who asks for the first record, which is gone, is neither given another one nor left waiting.
async fn late_reader_is_told(
    world: &World,
    node: &madsim::runtime::NodeHandle,
) -> Result<(), String> {
    world.history.add(Event::AskedFrom { consumer: LATE, offset: 0 });
    let start = Start::Absolute(Offset(0));
    let config = ConsumerConfig { start, ..ConsumerConfig::new("orders") };
    let reader = workload::consume(world, node, LATE, config);
    let told = |event: &Event| matches!(event, Event::ConsumerEnded { consumer: LATE, code } if code == "OFFSET_OUT_OF_RANGE");
    until(world, Duration::from_secs(10), "an error for who asks below the log start", told)
        .await?;
    reader.stop().await;
    Ok(())
}
