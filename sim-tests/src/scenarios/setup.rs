//! What most stories begin and end with.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use madsim::runtime::NodeHandle;
use weir_client::admin::{
    Cluster, ClusterSpec, ClusterState, ConsumerPartition, ConsumerResetRequest, Operation,
    OperationState, ResetTo, Spu, Topic, TopicCreate,
};
use weir_protocol::ids::{LaunchId, OperationId};
use weir_runtime::{clock::Clock, rng};

use super::Played;
use crate::{
    application::{self, Working},
    history::{Event, Place, ProduceOutcome},
    world::{CLUSTER, World},
};

/// How long a healthy cluster may take to become what it should be.
pub const CONVERGE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Plays a story on a client node of its own, so that its HTTP requests have an address.
pub fn on_client_node<F>(world: World, story: impl FnOnce(World, NodeHandle) -> F) -> Played
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let node = world.client_node();
    let story = node.spawn(story(world, node.clone()));
    Box::pin(async move { story.await.expect("a story does not panic") })
}

/// Creates the cluster with `spus` SPUs and waits until it runs.
///
/// # Errors
/// When it cannot be created or does not come up in time.
pub async fn cluster(world: &World, spus: u32) -> Result<Cluster, String> {
    let admin = world.admin();
    let wait = async {
        while admin.ready().await.is_err() {
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    Clock.timeout(CONVERGE, wait).await.map_err(|_| "the control plane never got ready")?;
    let spec = ClusterSpec { spus, ..ClusterSpec::default() };
    admin.cluster_create(CLUSTER, &spec).await.map_err(|e| format!("create: {e}"))?;
    running(world).await
}

/// Waits until the cluster runs.
///
/// # Errors
/// When it does not in time, with the state that it is in.
pub async fn running(world: &World) -> Result<Cluster, String> {
    let admin = world.admin();
    let mut last = String::new();
    let wait = async {
        loop {
            match admin.cluster(CLUSTER).await {
                Ok(cluster) if cluster.state == ClusterState::Running => return cluster,
                Ok(cluster) => last = format!("{}: {:?}", cluster.state, cluster.reason),
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("the cluster does not run after {CONVERGE:?}; last seen: {last}"))
}

/// Notes what the cluster says and what is so.
pub fn observe(world: &World, cluster: &Cluster) {
    if cluster.state != ClusterState::Running {
        return;
    }
    let launch = |id: Option<LaunchId>| id.map_or("none".into(), |l| l.to_string());
    let counted = cluster.spus.iter().filter(|spu| spu.ready);
    let ready = counted.map(|spu| (spu.spu_id.0, launch(spu.launch_id))).collect::<Vec<_>>();
    // The number counts as a claim too, whatever the list beside it says.
    let mut ready = if (ready.len() as u64) < u64::from(cluster.spus_ready) || ready.is_empty() {
        cluster.spus.iter().map(|spu| (spu.spu_id.0, launch(spu.launch_id))).collect()
    } else {
        ready
    };
    // That it runs is a claim about every SPU. One that has died may not be noticed yet; one that is
    // up and has never done a thing cannot have been taken for one that serves.
    let idle = |spu: &&Spu| {
        let machine = world.machines.get(spu.spu_id.0);
        machine.is_some_and(|m| m.working().is_none() && m.running() == spu.launch_id)
            && spu.launch_id.is_some()
    };
    let idles = cluster.spus.iter().filter(idle);
    ready.extend(idles.map(|spu| (spu.spu_id.0, launch(spu.launch_id))));
    world.history.add(Event::ReportedRunning { ready });
    let up = world.machines.all().into_iter();
    let up = up.filter_map(|(id, m)| m.working().map(|launch| (id, launch.to_string()))).collect();
    world.history.add(Event::ReallyUp { up });
}

/// Creates a topic, notes its generation, and waits until it is ready.
///
/// # Errors
/// When it cannot be created or does not get ready in time.
pub async fn topic(world: &World, name: &str, partitions: u32) -> Result<Topic, String> {
    topic_as(world, &TopicCreate::new(name, partitions)).await
}

/// As [`topic`], as it is asked for.
///
/// # Errors
/// As [`topic`].
pub async fn topic_as(world: &World, create: &TopicCreate) -> Result<Topic, String> {
    let admin = world.admin();
    let topic = admin.topic_create(CLUSTER, create).await.map_err(|e| format!("topic: {e}"))?;
    let (name, generation) = (create.name.clone(), topic.generation_id.to_string());
    world.history.add(Event::TopicCreated { name, generation });
    topic_ready(world, &create.name).await?;
    Ok(topic)
}

/// Waits until every partition of a topic is served.
///
/// # Errors
/// When that takes too long.
pub async fn topic_ready(world: &World, name: &str) -> Result<(), String> {
    let admin = world.admin();
    let wait = async {
        while !admin.topic(CLUSTER, name).await.is_ok_and(|topic| topic.ready) {
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    Clock.timeout(CONVERGE, wait).await.map_err(|_| format!("topic {name} never got ready"))
}

/// Waits until `is_it` is true of some event of the history.
///
/// # Errors
/// `what` did not happen within `limit`.
pub async fn until(
    world: &World,
    limit: Duration,
    what: &str,
    is_it: impl Fn(&Event) -> bool,
) -> Result<(), String> {
    let wait = async {
        let mut looked_at = 0;
        loop {
            let (found, events) =
                world.history.since(looked_at, |events| events.iter().any(&is_it));
            if found {
                return;
            }
            looked_at = events;
            Clock.sleep(Duration::from_millis(20)).await;
        }
    };
    Clock.timeout(limit, wait).await.map_err(|_| format!("not within {limit:?}: {what}"))
}

/// Waits until `count` more records than now were acknowledged.
///
/// # Errors
/// When they were not within `limit`.
pub async fn acknowledged_more(world: &World, count: usize, limit: Duration) -> Result<(), String> {
    let target = world.history.acknowledged() + count;
    let wait = async {
        while world.history.acknowledged() < target {
            Clock.sleep(Duration::from_millis(20)).await;
        }
    };
    Clock.timeout(limit, wait).await.map_err(|_| {
        format!("not within {limit:?}: {target} acknowledged, {} are", world.history.acknowledged())
    })
}

/// Waits until a record was acknowledged in each of a topic's partitions, from now on.
///
/// # Errors
/// The partitions that took none within `limit`.
pub async fn every_partition_takes(
    world: &World,
    partitions: u32,
    limit: Duration,
) -> Result<(), String> {
    let mut missing: BTreeSet<u32> = (0..partitions).collect();
    let (_, mut looked_at) = world.history.since(0, |_| ());
    let wait = async {
        while !missing.is_empty() {
            Clock.sleep(Duration::from_millis(20)).await;
            let (taken, events) = world.history.since(looked_at, |events| {
                let place = |event: &Event| match event {
                    Event::Produced { outcome: ProduceOutcome::Acknowledged(place), .. } => {
                        Some(place.partition)
                    }
                    _ => None,
                };
                events.iter().filter_map(place).collect::<BTreeSet<_>>()
            });
            looked_at = events;
            missing.retain(|partition| !taken.contains(partition));
        }
    };
    let waited = Clock.timeout(limit, wait).await;
    waited.map_err(|_| format!("partitions that take no record within {limit:?}: {missing:?}"))
}

/// Reads a topic to its end as the named consumer, by a fresh instance on a node of its own.
///
/// # Errors
/// When it does not get there in time.
pub async fn drained(world: &World, name: &str, topic: &str, instance: u32) -> Result<(), String> {
    let (_, from) = world.history.since(0, |_| ());
    let node = world.client_node();
    let wait = async {
        loop {
            let working = Working::new(name, instance, topic).until_end();
            application::work(world, &node, working).ended().await;
            let drained = |e: &Event| matches!(e, Event::Drained { name: of, .. } if of == name);
            if world.history.since(from, |events| events.iter().any(drained)).0 {
                return;
            }
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("consumer {name} did not read {topic} to its end in {CONVERGE:?}"))
}

/// Asks the HTTP API what a consumer has committed, and writes it down. Silence, while the
/// control plane is away, is no answer.
pub async fn reported(world: &World, name: &str) {
    let Ok(told) = world.admin().consumer(CLUSTER, name).await else { return };
    for partition in told.partitions {
        let Some(committed) = partition.committed else { continue };
        let place = Place {
            generation: partition.generation_id.to_string(),
            partition: partition.partition.0,
            offset: committed.0,
        };
        world.history.add(Event::Reported { name: name.into(), place });
    }
}

/// Asks the HTTP API about a consumer, and writes down what it says, if it does.
pub async fn told(world: &World, name: &str) {
    let (_, asked_at) = world.history.since(0, |_| ());
    let told = match world.admin().consumer(CLUSTER, name).await {
        Ok(told) => Some(told),
        // Only a coordinator that answers can say so.
        Err(error) if error.code() == "CONSUMER_NOT_FOUND" => None,
        Err(_) => return,
    };
    let place = |partition: ConsumerPartition| {
        Some(Place {
            generation: partition.generation_id.to_string(),
            partition: partition.partition.0,
            offset: partition.committed?.0,
        })
    };
    let (name, current) = (name.into(), told.as_ref().is_none_or(|told| told.current));
    let partitions = told.map(|told| told.partitions).unwrap_or_default();
    let offsets = partitions.into_iter().filter_map(place).collect();
    world.history.add(Event::Told { name, asked_at, current, offsets });
}

/// Asks again and again, from now on.
pub fn tell_on(world: &World, node: &NodeHandle, name: &'static str) {
    let world = world.clone();
    node.spawn(async move {
        loop {
            told(&world, name).await;
            Clock.sleep(Duration::from_millis(between(10, 500))).await;
        }
    });
}

/// Orders a consumer to begin a topic anew, and writes down where it stands then.
///
/// # Errors
/// When the order is not taken in time.
pub async fn reset_to_beginning(world: &World, name: &str, topic: &str) -> Result<(), String> {
    let wanted = ConsumerResetRequest {
        topic: topic.into(),
        partitions: None,
        to: ResetTo::Beginning,
        dry_run: false,
    };
    let mut last = String::new();
    let wait = async {
        loop {
            match world.admin().consumer_reset(CLUSTER, name, &wanted).await {
                Ok(done) => return done,
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    let done = waited.map_err(|_| format!("no reset of {name} in {CONVERGE:?}: {last}"))?;
    for partition in done.partitions {
        let place = Place {
            generation: done.generation_id.to_string(),
            partition: partition.partition.0,
            offset: partition.new.0,
        };
        world.history.add(Event::OffsetReset { name: name.into(), place });
    }
    Ok(())
}

/// Waits until the HTTP API tells the newest commits of a consumer, and no lag; in the list
/// too, which is of what was uploaded.
///
/// # Errors
/// What it told last.
pub async fn sql_catches_up(world: &World, name: &str) -> Result<(), String> {
    let newest = newest_commits(world, name);
    let mut last = String::new();
    let wait = async {
        loop {
            match world.admin().consumer(CLUSTER, name).await {
                Ok(told) => {
                    let there = newest.iter().all(|((generation, partition), offset)| {
                        told.partitions.iter().any(|p| {
                            p.generation_id.to_string() == *generation
                                && p.partition.0 == *partition
                                && p.committed.is_some_and(|at| at.0 == *offset)
                        })
                    });
                    let listed = world.admin().consumer_list(CLUSTER).await.unwrap_or_default();
                    let uploaded = listed.iter().any(|of| of.name == name && of.lag == Some(0));
                    if there && told.lag == Some(0) && uploaded {
                        return;
                    }
                    last = format!("{told:?}, listed {listed:?}");
                }
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("SQL lacks {newest:?} of {name} after {CONVERGE:?}; told: {last}"))
}

/// Shuts the cluster down and waits until SQL, which is all that is left then, has exactly the
/// newest commits of a consumer: neither less nor more.
///
/// # Errors
/// What it told last.
pub async fn sql_is_exact(world: &World, name: &str) -> Result<(), String> {
    let newest = newest_commits(world, name);
    let mut last = String::new();
    let wait = async {
        loop {
            // An order may get no answer; the next one finds it done.
            let ordered = world.admin().cluster_shutdown(CLUSTER).await;
            match world.admin().consumer(CLUSTER, name).await {
                Ok(told) if ordered.is_ok() && !told.current => {
                    let has = |p: &ConsumerPartition| {
                        let key = (p.generation_id.to_string(), p.partition.0);
                        Some((key, p.committed?.0))
                    };
                    if told.partitions.iter().filter_map(has).collect::<BTreeMap<_, _>>() == newest
                    {
                        return;
                    }
                    last = format!("{told:?}");
                }
                Ok(told) => last = format!("{told:?}, ordered {ordered:?}"),
                Err(error) => last = error.to_string(),
            }
            Clock.sleep(LOOK_AGAIN).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("SQL has not {newest:?} of {name} after {CONVERGE:?}; told: {last}"))
}

/// The newest commit of a consumer that was acknowledged, by generation and partition.
fn newest_commits(world: &World, name: &str) -> BTreeMap<(String, u32), u64> {
    let mut newest = BTreeMap::new();
    for event in world.history.events() {
        if let Event::Committed { name: of, place, .. } = event
            && of == name
        {
            newest.insert((place.generation, place.partition), place.offset);
        }
    }
    newest
}

/// Waits until what was ordered is done.
pub async fn done(world: &World, ordered: &Cluster) -> Result<(), String> {
    let operation = ordered.operation_id.ok_or("an order without an operation")?;
    let operation = ended(world, operation).await?;
    match operation.state {
        OperationState::Done => Ok(()),
        _ => Err(format!("what was ordered did not get done: {operation:?}")),
    }
}

/// The operation, once it ended.
async fn ended(world: &World, id: OperationId) -> Result<Operation, String> {
    let admin = world.admin();
    let mut last = None;
    let wait = async {
        loop {
            match admin.operation(&id.to_string()).await {
                Ok(operation) if operation.state != OperationState::Running => return operation,
                Ok(operation) => last = Some(format!("{:?}", operation.steps)),
                Err(error) => last = Some(error.to_string()),
            }
            Clock.sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = Clock.timeout(CONVERGE, wait).await;
    waited.map_err(|_| format!("the operation has not ended after {CONVERGE:?}: {last:?}"))
}

/// A number from `low` to below `high`, from the seed.
#[must_use]
pub fn between(low: u64, high: u64) -> u64 {
    low + rng::below(high - low)
}
