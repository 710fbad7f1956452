//! SPU sessions over loopback, with the generated client.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support_spus/mod.rs"]
mod support;

use secrecy::SecretString;
use support::{
    case::{case, launch},
    spu::{self, Identity},
};
use uuid::Uuid;
use weir_control_plane::{
    app::{self, Answer, TopicRequest},
    store::{launches, spus, types::SpuState},
};
use weir_protocol::{
    ErrorCode,
    ids::{FolderId, LaunchId, PartitionKey, SpuId},
    pb::{
        metadata::{DatabaseRef, GenerationState},
        session::{AllocateProducerIdsRequest, spu_control_client::SpuControlClient},
    },
};
use weir_runtime::rpc::{Channel, ChannelConfig};

#[tokio::test]
async fn a_registration_is_answered_with_a_snapshot_and_then_every_change() {
    let case = case().await;
    case.topic("before").await;
    let mut session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    assert_eq!(session.incarnation, 1);
    assert_eq!(session.registered.token_keys.as_ref().unwrap().keys.len(), 1);
    let database = session.registered.database.clone().unwrap();
    assert_eq!(database.database_id, case.control.app.database_id.to_string());

    let snapshot = session.metadata().await;
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.topics[0].name, "before");
    assert_eq!(snapshot.spus[0].endpoint, "127.0.0.1:9500");
    // What it leads, it leads in this life.
    let led: Vec<_> =
        snapshot.topics[0].partitions.iter().filter(|p| p.leader_spu_id == Some(1)).collect();
    assert!(!led.is_empty() && led.iter().all(|p| p.leader_incarnation == 1));

    case.topic("after").await;
    let delta = session.metadata().await;
    assert!(!delta.snapshot && delta.revision > snapshot.revision);
    assert_eq!(delta.topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["after"]);

    let (app, principal) = (&case.control.app, &case.control.principal);
    app::topic_delete(app, principal, "demo", "after").await.unwrap();
    let delta = session.metadata().await;
    assert_eq!(delta.topics[0].state(), GenerationState::Tombstone);
}

#[tokio::test]
async fn a_new_life_leads_in_new_epochs_and_a_reconnect_in_the_same() {
    let case = case().await;
    case.topic("t").await;
    let mut epochs = Vec::new();
    let reborn = case.first.reborn();
    for identity in [&case.first, &case.first, &reborn, &reborn] {
        case.broken();
        let mut session = spu::open(&case.control.rpc, identity.register()).await.unwrap();
        let snapshot = session.metadata().await;
        let led =
            snapshot.topics[0].partitions.iter().find(|p| p.leader_spu_id == Some(1)).unwrap();
        epochs.push((session.incarnation, led.leader_incarnation, led.leader_epoch));
    }
    let first = epochs[0].2;
    assert_eq!(epochs, [(1, 1, first), (1, 1, first), (2, 2, first + 1), (2, 2, first + 1)]);
}

#[tokio::test]
async fn a_newer_session_takes_the_place_of_an_older_one() {
    let case = case().await;
    let mut old = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    // Whoever comes second waits until it is known that the first is gone.
    assert_eq!(case.refused(&case.first.reborn()).await, ErrorCode::NotYetAvailable);
    case.broken();
    let mut new = spu::open(&case.control.rpc, case.first.reborn().register()).await.unwrap();
    assert_eq!(old.end().await.unwrap().code, ErrorCode::StaleLaunch);
    assert!(new.metadata().await.snapshot);
    let seen = case.control.app.board.spu(case.cluster, SpuId(1));
    assert_eq!(seen.standing().unwrap().incarnation.get(), 2);
    assert_eq!(seen.registrations, 3);
}

#[tokio::test]
async fn a_process_that_reconnects_is_not_told_that_it_is_stale() {
    let case = case().await;
    let mut old = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    let mut new = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    assert_eq!(new.incarnation, old.incarnation);
    assert_eq!(old.end().await, None, "its stream just ends");
    assert!(new.metadata().await.snapshot);
}

#[tokio::test]
async fn an_ended_launch_does_not_come_back() {
    let case = case().await;
    let session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    let ask = AllocateProducerIdsRequest {
        org_id: case.control.org().to_string(),
        cluster_id: case.cluster.to_string(),
        spu_id: 1,
        incarnation: session.incarnation,
        launch_id: case.first.launch.to_string(),
        launch_secret: "secret 1".to_owned(),
    };
    let mut client =
        SpuControlClient::new(Channel::new(&case.control.rpc, ChannelConfig::default()));
    client.allocate_producer_ids(ask.clone()).await.unwrap();
    drop(session);
    let mut tx = case.control.app.store.write().await.unwrap();
    let mut scoped = tx.scoped(case.control.org());
    launches::ended(&mut scoped, case.cluster, case.first.launch, "it ended", 2).await.unwrap();
    tx.commit().await.unwrap();
    // Neither the process that is thought gone, nor another one with its secret.
    for identity in [&case.first, &case.first.reborn()] {
        assert_eq!(case.refused(identity).await, ErrorCode::StaleLaunch);
    }
    // It proved who it is, so people may see that it asked.
    assert!(case.control.app.board.spu(case.cluster, SpuId(1)).refused.is_some());
    assert!(client.allocate_producer_ids(ask).await.is_err());
}

#[tokio::test]
async fn a_stale_launch_is_refused_and_ends_where_it_stands() {
    let case = case().await;
    let mut old = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    let second = launch(&case.control, case.cluster, SpuId(1), 2).await;
    assert_eq!(case.refused(&case.first).await, ErrorCode::StaleLaunch);
    let seen = case.control.app.board.spu(case.cluster, SpuId(1));
    assert!(seen.refused.is_some());
    assert_eq!(seen.registrations, 2, "a refused registration is on the board too");
    let new = spu::open(&case.control.rpc, second.register()).await.unwrap();
    assert_eq!(new.incarnation, 2);
    assert_eq!(old.end().await.unwrap().code, ErrorCode::StaleLaunch);
}

#[tokio::test]
async fn strangers_are_refused_and_leave_no_trace() {
    let case = case().await;
    let other_org = weir_protocol::ids::OrgId(Uuid::from_u128(77));
    let foreign = Identity { org: other_org, ..case.first.clone() };
    assert_eq!(case.refused(&foreign).await, ErrorCode::UnknownCluster);
    let nobody = Identity { spu: SpuId(40), ..case.first.clone() };
    assert_eq!(case.refused(&nobody).await, ErrorCode::StaleLaunch);
    let guess = Identity { secret: SecretString::from("guess".to_owned()), ..case.first.clone() };
    assert_eq!(case.refused(&guess).await, ErrorCode::Unauthenticated);
    let seen = case.control.app.board.cluster(case.cluster);
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [SpuId(1)], "only what exists");
    assert!(seen[&SpuId(1)].session.is_none());
    // Counted, and nothing more: whoever knows ids alone has no say in what is shown.
    assert_eq!((seen[&SpuId(1)].registrations, &seen[&SpuId(1)].refused), (1, &None));
    let unknown = Identity { launch: LaunchId(Uuid::from_u128(99)), ..case.first.clone() };
    assert_eq!(case.refused(&unknown).await, ErrorCode::StaleLaunch);
    let elsewhere = launch(&case.control, case.cluster, SpuId(2), 20).await;
    let other_spu = Identity { spu: SpuId(1), ..elsewhere };
    assert_eq!(case.refused(&other_spu).await, ErrorCode::StaleLaunch);
    assert_eq!(case.control.app.board.spu(case.cluster, SpuId(1)).refused, None);

    let mut malformed = case.first.register();
    malformed.folder_id = "not a uuid".to_owned();
    let error = spu::open(&case.control.rpc, malformed).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    let mut newer = case.first.register();
    newer.protocol_version += 1;
    let error = spu::open(&case.control.rpc, newer).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::UnsupportedVersion);
}

#[tokio::test]
async fn another_folder_a_removed_spu_and_a_higher_history_are_refused() {
    let case = case().await;
    drop(spu::open(&case.control.rpc, case.first.register()).await.unwrap());
    case.broken();
    let other = Identity { folder: FolderId(Uuid::from_u128(9)), ..case.first.reborn() };
    let mut used = other.register();
    used.database = Some(case.control.app.database_ref(Default::default()));
    let error = spu::open(&case.control.rpc, used).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::FolderMismatch);
    // An empty one will do, as long as nothing was only in the old one.
    case.topic("orders").await;
    let error = spu::open(&case.control.rpc, other.register()).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::FolderMismatch);
    assert!(error.message().contains("SPU 1 holds orders (partition 0)"), "{error}");
    let view = case
        .control
        .until("the refusal shows", case.cluster, |c| c.spus[0].state == SpuState::Refused)
        .await;
    assert!(view.spus[0].reason.as_ref().unwrap().contains("data folder"));

    let mut ahead = case.first.reborn().register();
    ahead.highest_revision = 1_000_000;
    ahead.database = Some(case.control.app.database_ref(Default::default()));
    let error = spu::open(&case.control.rpc, ahead).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::DatabaseWentBack);
    let mut elsewhere = case.first.reborn().register();
    elsewhere.database =
        Some(DatabaseRef { database_id: Uuid::from_u128(1).to_string(), restore_number: 0 });
    let error = spu::open(&case.control.rpc, elsewhere).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::DatabaseWentBack);

    let mut tx = case.control.app.store.write().await.unwrap();
    spus::remove(&mut tx.scoped(case.control.org()), case.cluster, SpuId(1), 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(case.refused(&case.first.reborn()).await, ErrorCode::SpuRemoved);
}

#[tokio::test]
async fn a_cluster_that_is_to_stand_still_takes_no_registrations() {
    let case = case().await;
    let (app, principal) = (&case.control.app, &case.control.principal);
    app::cluster_shutdown(app, principal, "demo", None).await.unwrap();
    assert_eq!(case.refused(&case.first).await, ErrorCode::ShuttingDown);
}

#[tokio::test]
async fn silence_ends_a_session_and_heartbeats_keep_it() {
    let case = case().await;
    let session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    let silent = launch(&case.control, case.cluster, SpuId(2), 20).await;
    let mut silent = spu::open(&case.control.rpc, silent.register()).await.unwrap();
    weir_runtime::task::spawn(session.keep());
    // No word from it for a lease.
    assert_eq!(silent.end().await, None);
    let board = &case.control.app.board;
    assert!(board.spu(case.cluster, SpuId(2)).standing().is_none());
    assert!(board.spu(case.cluster, SpuId(1)).standing().is_some());
}

#[tokio::test]
async fn a_heartbeat_of_another_incarnation_ends_the_session() {
    let case = case().await;
    let mut session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    assert!(session.heartbeat(7).await);
    assert_eq!(session.end().await.unwrap().code, ErrorCode::StaleLaunch);
}

#[tokio::test]
async fn the_control_plane_s_end_ends_sessions_with_a_reason_worth_a_retry() {
    let case = case().await;
    let mut session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    case.control.down.cancel();
    let reason = session.end().await;
    assert!(reason.is_none_or(|error| error.code.retriable()));
}

#[tokio::test]
async fn producer_ids_are_never_given_out_twice() {
    let case = case().await;
    let session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    let mut client =
        SpuControlClient::new(Channel::new(&case.control.rpc, ChannelConfig::default()));
    let good = AllocateProducerIdsRequest {
        org_id: case.control.org().to_string(),
        cluster_id: case.cluster.to_string(),
        spu_id: 1,
        incarnation: session.incarnation,
        launch_id: case.first.launch.to_string(),
        launch_secret: "secret 1".to_owned(),
    };
    let mut ends = Vec::new();
    for _ in 0..3 {
        let block = client.allocate_producer_ids(good.clone()).await.unwrap().into_inner();
        assert!(block.first > 0 && block.count == 1000);
        assert!(ends.iter().all(|end| block.first >= *end));
        ends.push(block.first + u64::from(block.count));
    }
    let wrong = [
        AllocateProducerIdsRequest { launch_secret: "guess".to_owned(), ..good.clone() },
        AllocateProducerIdsRequest { launch_id: Uuid::from_u128(3).to_string(), ..good.clone() },
        AllocateProducerIdsRequest { incarnation: 0, ..good.clone() },
        AllocateProducerIdsRequest { spu_id: 2, ..good.clone() },
        AllocateProducerIdsRequest { cluster_id: "x".to_owned(), ..good.clone() },
    ];
    for request in wrong {
        assert!(client.allocate_producer_ids(request.clone()).await.is_err(), "{request:?}");
    }
    case.broken();
    // And a folder that saw more ids than were given out knows of a later history.
    let mut register = case.first.reborn().register();
    register.database = Some(case.control.app.database_ref(Default::default()));
    register.highest_producer_id = *ends.last().unwrap();
    let error = spu::open(&case.control.rpc, register.clone()).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::DatabaseWentBack);
    // So nothing is given out any more, and nothing decided, until that was told to go on.
    assert!(client.allocate_producer_ids(good.clone()).await.is_err());
    let (app, principal) = (&case.control.app, &case.control.principal);
    let wanted = TopicRequest::new("orders", 1);
    let refused = app::topic_create(app, principal, "demo", &wanted, None).await.unwrap_err();
    assert_eq!((refused.code(), refused.retryable()), ("CLUSTER_FROZEN", false));
    let recover =
        |dry_run, without| app::cluster_recover(app, principal, "demo", (dry_run, without), None);
    let Answer::Fresh(would) = recover(true, false).await.unwrap() else { panic!("repeated") };
    let heard: Vec<_> = would.spus.iter().map(|spu| (spu.spu_id, spu.heard)).collect();
    assert_eq!(heard, [(1, true), (2, false)]);
    assert!(!would.recovered && would.after.unwrap().restore_number == 1);
    assert_eq!(recover(false, false).await.unwrap_err().code(), "SPUS_UNHEARD");
    let Answer::Fresh(done) = recover(false, true).await.unwrap() else { panic!("repeated") };
    assert!(done.frozen && done.recovered);
    let Answer::Fresh(again) = recover(false, true).await.unwrap() else { panic!("repeated") };
    assert!(!again.frozen && !again.recovered, "there is nothing left to do");

    let session = spu::open(&case.control.rpc, register.clone()).await.unwrap();
    let after = AllocateProducerIdsRequest { incarnation: session.incarnation, ..good };
    let block = client.allocate_producer_ids(after).await.unwrap().into_inner();
    assert!(block.first > register.highest_producer_id);
}

#[tokio::test]
async fn a_purged_topic_is_removed_by_order_until_it_is_confirmed() {
    let case = case().await;
    let (app, principal) = (&case.control.app, &case.control.principal);
    case.topic("kept").await;
    case.topic("gone").await;
    let mut session = spu::open(&case.control.rpc, case.first.register()).await.unwrap();
    session.metadata().await;
    app::topic_delete(app, principal, "demo", "kept").await.unwrap();
    session.metadata().await;
    let purged = app::topic_delete_and_purge(app, principal, "demo", "gone").await.unwrap();
    // The map first: it says that nobody holds the replica against the order.
    let delta = session.metadata().await;
    assert_eq!(delta.topics[0].state(), GenerationState::Purged);
    assert_eq!(delta.topics[0].partitions.len(), 2);
    let order = session.order().await;
    let key = PartitionKey::from_wire(order.partition.as_ref().unwrap()).unwrap();
    assert_eq!(key.generation, purged.generation_id, "and none for what is only deleted");
    assert_eq!(order.database, Some(app.database_ref(Default::default())));
    let partition = &delta.topics[0].partitions[usize::try_from(key.partition.0).unwrap()];
    assert_eq!(order.partition_epoch, partition.partition_epoch);

    // Not confirmed: with the next registration it comes again, with the epoch of then.
    case.broken();
    let mut session = spu::open(&case.control.rpc, case.first.reborn().register()).await.unwrap();
    assert!(session.metadata().await.topics.iter().any(|t| t.state() == GenerationState::Purged));
    let order = session.order().await;
    session.removed(&order).await;

    // The other SPU was away all the time. With its confirmation nothing is left.
    let second = launch(&case.control, case.cluster, SpuId(2), 20).await;
    let mut second = spu::open(&case.control.rpc, second.register()).await.unwrap();
    let order = second.order().await;
    second.removed(&order).await;
    let delta = session.metadata().await;
    let last = delta.topics.iter().find(|t| t.name == "gone");
    let last = match last {
        Some(last) if last.partitions.is_empty() => last.clone(),
        // The second SPU's registration came in between.
        _ => session.metadata().await.topics[0].clone(),
    };
    assert_eq!((last.state(), last.partitions.len()), (GenerationState::Purged, 0));
    let id = purged.generation_id.to_string();
    assert!(app::topic_get(app, principal, "demo", &id).await.is_err());
    // A late repetition harms nobody, not even where it names what is there.
    second.removed(&order).await;
    let kept = app::topic_undelete(app, principal, "demo", "kept", None).await.unwrap();
    let app::Answer::Fresh(kept) = kept else { panic!("it was not asked before") };
    let mut forged = order.clone();
    forged.partition.as_mut().unwrap().generation_id = kept.generation_id.to_wire();
    second.removed(&forged).await;
    assert!(second.heartbeat(second.incarnation).await);
    case.topic("after").await;
    while !second.metadata().await.topics.iter().any(|t| t.name == "after") {}
    let still = app::topic_get(app, principal, "demo", "kept").await.unwrap();
    assert!(still.partitions.iter().all(|p| p.replica_spu_ids.len() == 1));
}
