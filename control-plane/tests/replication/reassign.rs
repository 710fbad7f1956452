//! Partitions that come to be held by other SPUs, driven by the reconciler. What SPUs do about
//! it, a test says over their sessions.

use std::collections::{BTreeMap, BTreeSet};

use weir_control_plane::app::{
    self, Answer, AppError, Drain, ReassignmentPlan, RunningReassignment, Scaled, TopicChange,
    Wanted,
    view::{PartitionView, TopicView},
};
use weir_protocol::{
    ids::{PartitionEpoch, PartitionIndex, PartitionKey, SpuId},
    pb::session::ProposedIsr,
};

use super::{
    Three, create, ids, proposal, propose, some,
    support::{provisioner::InMemory, spu::Session, until},
    three,
};

/// Sessions of all, and a reconciler that takes them for what runs.
async fn reconciled(c: &Three) -> Vec<Session> {
    let provisioner = InMemory::default();
    for identity in &c.identities {
        provisioner.adopt(identity.launch, identity.spu);
    }
    let sessions = c.sessions().await;
    c.control.reconcile(&provisioner);
    sessions
}

fn spus(ids: &[u32]) -> Vec<SpuId> {
    ids.iter().copied().map(SpuId).collect()
}

impl Three {
    async fn ask(&self, wanted: Wanted) -> Result<ReassignmentPlan, AppError> {
        let (app, principal) = (&self.control.app, &self.control.principal);
        let partition = ("orders", PartitionIndex(0));
        let wanted = (&wanted, false);
        let asked = app::partition_reassign(app, principal, "demo", partition, wanted, None);
        asked.await.map(fresh)
    }

    async fn drain(
        &self,
        spu: u32,
        wanted: Drain,
        dry_run: bool,
    ) -> Result<ReassignmentPlan, AppError> {
        let (app, principal) = (&self.control.app, &self.control.principal);
        let wanted = (&wanted, dry_run);
        let asked = app::cluster_drain(app, principal, "demo", SpuId(spu), wanted, None);
        asked.await.map(fresh)
    }

    async fn running(&self) -> Vec<RunningReassignment> {
        let (app, principal) = (&self.control.app, &self.control.principal);
        app::reassignment_list(app, principal, "demo", None, 1_000).await.unwrap().0
    }

    async fn named(&self, topic: &str) -> TopicView {
        app::topic_get(&self.control.app, &self.control.principal, "demo", topic).await.unwrap()
    }

    async fn until_shown(&self, what: &str, is: impl Fn(&PartitionView) -> bool) -> PartitionView {
        until(what, async || is(&self.shown(0).await)).await;
        self.shown(0).await
    }

    /// Each leader finds that all replicas of what it leads have caught up, until nothing is on
    /// its way any more. It says so once for each partition epoch, as an SPU does.
    async fn catch_up(&self, sessions: &mut [Session]) {
        let mut said = BTreeSet::new();
        until("all is where it goes", async || {
            sessions.iter_mut().for_each(Session::pass_over);
            let running = self.running().await;
            let lacks = |moved: &&RunningReassignment| {
                let lacking = moved.replica_spu_ids.len() > moved.isr_spu_ids.len();
                moved.reassignment.moving && lacking
            };
            let lacking: BTreeSet<_> = running.iter().filter(lacks).map(|m| &m.topic).collect();
            let mut asked: BTreeMap<u32, Vec<ProposedIsr>> = BTreeMap::new();
            for topic in lacking {
                let topic = self.named(topic).await;
                for now in topic.partitions.iter().filter(|p| p.reassignment.is_some()) {
                    let moves = now.reassignment.as_ref().is_some_and(|goal| goal.moving);
                    let at = (topic.generation_id, now.index, now.partition_epoch);
                    if moves && said.insert(at) {
                        let all = proposal(topic.generation_id, now, &now.replica_spu_ids);
                        asked.entry(now.leader_spu_id.unwrap()).or_default().push(all);
                    }
                }
            }
            for (leader, asked) in asked {
                sessions[usize::try_from(leader).unwrap() - 1].say(propose(asked)).await;
            }
            running.is_empty()
        })
        .await;
    }
}

fn fresh<T: std::fmt::Debug>(answer: Answer<T>) -> T {
    match answer {
        Answer::Fresh(view) => view,
        repeated => panic!("{repeated:?}"),
    }
}

#[tokio::test]
async fn a_new_replica_joins_leads_and_the_old_one_is_removed() {
    let c = three().await;
    let mut sessions = reconciled(&c).await;
    let topic = c.topic(1, 2, 2).await;
    let before = c.shown(0).await;
    assert_eq!((before.leader_spu_id, &before.replica_spu_ids), (Some(1), &vec![1, 2]));
    let plan = c.ask(Wanted::Replicas(spus(&[3, 2]))).await.unwrap();
    assert_eq!(
        (&plan.moves[0].from_spu_ids, &plan.moves[0].to_spu_ids),
        (&vec![1, 2], &vec![3, 2])
    );
    // It is among the replicas, and nothing else has changed.
    let joined = c.until_shown("it joins", |p| p.replica_spu_ids == [3, 2, 1]).await;
    assert_eq!((joined.leader_spu_id, ids(&joined.isr_spu_ids)), (Some(1), vec![1, 2]));
    assert_eq!(joined.leader_epoch, before.leader_epoch);
    assert_eq!(joined.partition_epoch, before.partition_epoch + 1);
    assert!(!joined.under_replicated, "what is being added is not missing");
    let shown = joined.reassignment.clone().unwrap();
    assert_eq!((shown.adding_spu_ids, shown.removing_spu_ids), (vec![3], vec![1]));
    assert_eq!(c.running().await[0].waits_for.as_deref(), Some("SPU 3 is not in sync yet"));
    // Asked for again it is so; something else is not asked for meanwhile.
    assert_eq!(c.ask(Wanted::Replicas(spus(&[3, 2]))).await.unwrap().moves, []);
    let error = c.ask(Wanted::Replicas(spus(&[2, 3]))).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("REASSIGNMENT_RUNNING", false));
    // It has caught up: it leads, and the first holds it no more.
    sessions[0].say(propose(vec![proposal(topic.generation_id, &joined, &[1, 2, 3])])).await;
    let done = c.until_shown("it is done", |p| p.reassignment.is_none()).await;
    assert_eq!((done.leader_spu_id, &done.replica_spu_ids), (Some(3), &vec![3, 2]));
    assert_eq!((ids(&done.isr_spu_ids), done.leader_epoch), (vec![2, 3], before.leader_epoch + 2));
    assert!(done.eligible_spu_ids.is_empty());
    // In sync with three, led by another, without the first.
    assert_eq!(done.partition_epoch, joined.partition_epoch + 3);
    let order = sessions[0].order().await;
    let key = PartitionKey { generation: topic.generation_id, partition: PartitionIndex(0) };
    assert_eq!(order.partition.as_ref().and_then(PartitionKey::from_wire), Some(key));
    assert_eq!(PartitionEpoch(order.partition_epoch), PartitionEpoch(done.partition_epoch));
    // It is not given it again before it has removed it.
    let error = c.ask(Wanted::Replicas(spus(&[1, 2]))).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("REPLICA_BEING_REMOVED", true));
    // A confirmation from before counts for nothing.
    let mut late = order.clone();
    late.partition_epoch = done.partition_epoch - 1;
    sessions[0].removed(&late).await;
    sessions[0].removed(&order).await;
    until("it may hold it again", async || {
        c.ask(Wanted::Replicas(spus(&[1, 2]))).await.is_ok_and(|plan| !plan.moves.is_empty())
    })
    .await;
    c.catch_up(&mut sessions).await;
    assert_eq!(c.shown(0).await.replica_spu_ids, [1, 2]);
    assert_eq!(c.named("orders").await.replication, 2);
}

#[tokio::test]
async fn it_goes_on_after_a_restart_of_the_control_plane() {
    let mut c = three().await;
    let sessions = reconciled(&c).await;
    c.topic(1, 1, 1).await;
    c.ask(Wanted::Replicas(spus(&[2]))).await.unwrap();
    c.until_shown("it joins", |p| p.replica_spu_ids == [2, 1]).await;
    drop(sessions);
    c.control = c.control.restart(&c.folder).await;
    let mut sessions = reconciled(&c).await;
    c.catch_up(&mut sessions).await;
    let done = c.shown(0).await;
    assert_eq!((done.leader_spu_id, &done.replica_spu_ids), (Some(2), &vec![2]));
    // What is to be removed is known to the next one too.
    drop(sessions);
    c.control = c.control.restart(&c.folder).await;
    let mut sessions = reconciled(&c).await;
    let order = sessions[0].order().await;
    assert!(order.partition_epoch >= done.partition_epoch);
}

#[tokio::test]
async fn a_cancelled_one_goes_back_and_leaves_nothing_behind() {
    let c = three().await;
    let mut sessions = reconciled(&c).await;
    c.topic(1, 2, 2).await;
    assert_eq!(c.ask(Wanted::Cancel).await.unwrap().moves, [], "there is nothing to cancel");
    c.ask(Wanted::Replicas(spus(&[3, 2]))).await.unwrap();
    c.until_shown("it joins", |p| p.replica_spu_ids.len() == 3).await;
    let plan = c.ask(Wanted::Cancel).await.unwrap();
    assert_eq!(plan.moves[0].to_spu_ids, [1, 2]);
    let back = c.until_shown("it is back", |p| p.reassignment.is_none()).await;
    assert_eq!((back.leader_spu_id, back.replica_spu_ids), (Some(1), vec![1, 2]));
    assert_eq!(ids(&back.isr_spu_ids), [1, 2]);
    let order = sessions[2].order().await;
    sessions[2].removed(&order).await;
    until("it may be asked for again", async || {
        c.ask(Wanted::Replicas(spus(&[3, 2]))).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_drained_spu_holds_nothing_and_may_go() {
    let c = some(4).await;
    let mut sessions = reconciled(&c).await;
    until("the offsets topic is there", async || {
        let (app, principal) = (&c.control.app, &c.control.principal);
        app::topic_get(app, principal, "demo", "__offsets").await.is_ok()
    })
    .await;
    create(&c.control, "orders", 6, 2, None).await;
    create(&c.control, "alone", 3, 1, None).await;
    create(&c.control, "gone", 4, 1, None).await;
    app::topic_delete(&c.control.app, &c.control.principal, "demo", "gone").await.unwrap();
    let would = c.drain(2, Drain::Begin(None), true).await.unwrap();
    assert!(would.dry_run && c.running().await.is_empty());
    let done = c.drain(2, Drain::Begin(None), false).await.unwrap();
    assert_eq!(would.moves, done.moves);
    assert_eq!(would.stays, done.stays);
    assert_eq!(done.stays[0].topics[0].name, "gone");
    for topic in ["orders", "alone", "__offsets"] {
        assert!(done.moves.iter().any(|moved| moved.topic == topic), "{topic}");
    }
    assert!(done.moves.iter().all(|moved| moved.topic != "__probe" && moved.topic != "gone"));
    // Asked for again, it is on its way.
    assert_eq!(c.drain(2, Drain::Begin(None), false).await.unwrap().moves, []);
    // What is made meanwhile is not placed there.
    let young = create(&c.control, "young", 6, 1, None).await;
    assert!(young.partitions.iter().all(|p| p.replica_spu_ids != [2]));
    c.catch_up(&mut sessions).await;
    for moved in &done.moves {
        let topic = c.named(&moved.topic).await;
        let now = &topic.partitions[usize::try_from(moved.partition).unwrap()];
        assert_eq!(now.replica_spu_ids, moved.to_spu_ids, "{moved:?}");
        assert_eq!(ids(&now.isr_spu_ids), ids(&moved.to_spu_ids));
    }
    // Balanced: of the partitions that three SPUs lead now nobody leads far more.
    let orders = c.named("orders").await;
    for spu in [1, 3, 4] {
        let preferred = orders.partitions.iter().filter(|p| p.replica_spu_ids[0] == spu).count();
        assert!((1..=3).contains(&preferred), "SPU {spu} is preferred by {preferred}");
    }
    // Only the deleted topic keeps it.
    let scale = async || {
        let (app, principal) = (&c.control.app, &c.control.principal);
        app::cluster_scale(app, principal, "demo", 3, true, None).await
    };
    let error = scale().await.unwrap_err();
    assert!(error.to_string().contains("SPU 2 holds gone (deleted"), "{error}");
    let gone = would.stays[0].topics[0].generation_id.to_string();
    app::topic_purge(&c.control.app, &c.control.principal, "demo", &gone, None).await.unwrap();
    let Scaled::Preview(preview) = scale().await.unwrap() else { panic!() };
    assert_eq!(preview.remove, [SpuId(2)]);
}

#[tokio::test]
async fn a_drain_is_refused_where_nobody_can_take_it_and_is_cancelled_as_a_whole() {
    let c = three().await;
    let sessions = reconciled(&c).await;
    create(&c.control, "orders", 2, 3, None).await;
    let error = c.drain(1, Drain::Begin(None), false).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("NOT_ENOUGH_SPUS", false));
    assert!(c.running().await.is_empty(), "nothing was stored");
    let error = c.drain(9, Drain::Begin(None), false).await.unwrap_err();
    assert_eq!(error.code(), "SPU_NOT_FOUND");
    app::topic_delete_and_purge(&c.control.app, &c.control.principal, "demo", "orders")
        .await
        .unwrap();
    create(&c.control, "pairs", 3, 2, None).await;
    let error = c.drain(1, Drain::Begin(Some(spus(&[1, 2]))), false).await.unwrap_err();
    assert_eq!(error.code(), "INVALID_REQUEST");
    // The offsets topic is on all three, so only this one is asked for.
    let (app, principal) = (&c.control.app, &c.control.principal);
    for partition in 0..3 {
        let pairs = c.named("pairs").await;
        let now = &pairs.partitions[usize::try_from(partition).unwrap()];
        if now.replica_spu_ids.contains(&1) {
            let other = 5 - now.replica_spu_ids.iter().find(|spu| **spu != 1).unwrap();
            let target = now.replica_spu_ids.iter().map(|s| if *s == 1 { other } else { *s });
            let wanted = Wanted::Replicas(spus(&target.collect::<Vec<_>>()));
            let partition = ("pairs", PartitionIndex(partition));
            app::partition_reassign(app, principal, "demo", partition, (&wanted, false), None)
                .await
                .unwrap();
        }
    }
    let cancelled = c.drain(1, Drain::Cancel, false).await.unwrap();
    assert_eq!(cancelled.moves.len(), 2);
    until("all is back", async || c.running().await.is_empty()).await;
    drop(sessions);
}

#[tokio::test]
async fn of_a_deleted_topic_nothing_moves_until_it_is_back() {
    let c = three().await;
    let mut sessions = reconciled(&c).await;
    let topic = c.topic(1, 1, 1).await;
    c.ask(Wanted::Replicas(spus(&[2]))).await.unwrap();
    let joined = c.until_shown("it joins", |p| p.replica_spu_ids == [2, 1]).await;
    let (app, principal) = (&c.control.app, &c.control.principal);
    let id = topic.generation_id.to_string();
    app::topic_delete(app, principal, "demo", "orders").await.unwrap();
    let now = proposal(topic.generation_id, &joined, &[1, 2]);
    sessions[0].say(propose(vec![now])).await;
    until("it is in sync", async || {
        let shown = app::topic_get(app, principal, "demo", &id).await.unwrap();
        ids(&shown.partitions[0].isr_spu_ids) == [1, 2]
    })
    .await;
    assert_eq!(c.running().await[0].waits_for.as_deref(), Some("its topic is deleted"));
    let wanted = (&Wanted::Cancel, false);
    let partition = (id.as_str(), PartitionIndex(0));
    let asked = app::partition_reassign(app, principal, "demo", partition, wanted, None);
    assert_eq!(asked.await.unwrap_err().code(), "TOPIC_DELETED");
    app::topic_undelete(app, principal, "demo", "orders", None).await.unwrap();
    let done = c.until_shown("it goes on", |p| p.reassignment.is_none()).await;
    assert_eq!((done.leader_spu_id, done.replica_spu_ids), (Some(2), vec![2]));
    // It is purged once whoever had it before has removed it too.
    app::topic_delete_and_purge(app, principal, "demo", "orders").await.unwrap();
    let order = sessions[1].order().await;
    sessions[1].removed(&order).await;
    until("its holder has removed it", async || {
        let shown = app::topic_get(app, principal, "demo", &id).await.unwrap();
        shown.partitions[0].replica_spu_ids.is_empty()
    })
    .await;
    let order = sessions[0].order().await;
    sessions[0].removed(&order).await;
    until("nothing is left", async || app::topic_get(app, principal, "demo", &id).await.is_err())
        .await;
}

#[tokio::test]
async fn a_topic_is_given_more_replicas_and_fewer() {
    let c = three().await;
    let mut sessions = reconciled(&c).await;
    create(&c.control, "orders", 3, 1, None).await;
    let (app, principal) = (&c.control.app, &c.control.principal);
    let update = async |replication, min_insync_replicas| {
        let change = TopicChange {
            replication: Some(replication),
            min_insync_replicas,
            ..TopicChange::default()
        };
        app::topic_update(app, principal, "demo", "orders", &change, None).await.map(fresh)
    };
    let error = update(2, Some(Some(3))).await.unwrap_err();
    assert_eq!(error.code(), "INVALID_REQUEST");
    let error = update(4, None).await.unwrap_err();
    assert_eq!(error.code(), "NOT_ENOUGH_SPUS");
    let begun = update(3, None).await.unwrap();
    // Not before they are there: with one in sync nothing would be committed.
    assert_eq!((begun.replication, begun.min_insync_replicas), (1, 1));
    assert!(begun.partitions.iter().all(|p| p.reassignment.is_some()));
    let grown = app::topic_add_partitions(app, principal, "demo", "orders", 1, None).await;
    assert_eq!(fresh(grown.unwrap()).partitions[3].replica_spu_ids.len(), 3);
    c.catch_up(&mut sessions).await;
    let done = c.named("orders").await;
    assert_eq!((done.replication, done.min_insync_replicas), (3, 2));
    for (now, before) in done.partitions.iter().zip(&begun.partitions) {
        assert_eq!(ids(&now.isr_spu_ids), [1, 2, 3]);
        assert_eq!(now.leader_spu_id, before.leader_spu_id);
        assert_eq!(now.replica_spu_ids[0], before.replica_spu_ids[0]);
    }
    // So again: nothing to do.
    assert_eq!(update(3, None).await.unwrap(), done);
    let fewer = update(1, None).await.unwrap();
    assert_eq!((fewer.replication, fewer.min_insync_replicas), (1, 1));
    c.catch_up(&mut sessions).await;
    let done = c.named("orders").await;
    for (now, before) in done.partitions.iter().zip(&fewer.partitions) {
        assert_eq!(now.replica_spu_ids, before.replica_spu_ids[..1]);
        assert_eq!(now.isr_spu_ids, now.replica_spu_ids);
    }
    assert_eq!(done.replication, 1);
}
