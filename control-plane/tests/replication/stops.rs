//! SPUs that say that they stop, and SPUs that come back.

use weir_control_plane::app;
use weir_protocol::{ErrorCode, WireError, ids::LeaderEpoch};

use super::{create, ids, proposal, propose, three, told};

#[tokio::test]
async fn what_it_leads_is_led_by_others_before_it_stops() {
    let c = three().await;
    let mut sessions = c.sessions().await;
    let topic = c.topic(3, 3, 2).await;
    let alone = create(&c.control, "alone", 3, 1, None).await;
    // What was changed together is told together.
    while !told(&mut sessions[0]).await.topics.iter().any(|topic| topic.name == "alone") {}
    let before = c.shown(0).await;
    let (heard, all_stop) = sessions[0].leave().await;
    assert!(!all_stop);
    // All of it came before the farewell, in one piece.
    assert_eq!(heard.len(), 1);
    let partitions = &heard[0].topics[0].partitions;
    assert_eq!(heard[0].topics[0].name, "orders");
    assert_eq!(partitions[0].leader_spu_id, Some(2));
    assert_eq!(partitions[0].leader_epoch, before.leader_epoch + 1);
    assert_eq!(partitions[0].leader_incarnation, 1);
    // Where it follows the leadership is as it was.
    assert_eq!((partitions[1].leader_spu_id, partitions[1].leader_epoch), (Some(2), 1));
    for partition in partitions {
        assert_eq!(ids(&partition.isr_spu_ids), [2, 3]);
        assert!(partition.eligible_spu_ids.is_empty());
    }
    // The last one in sync stays.
    let shown =
        app::topic_get(&c.control.app, &c.control.principal, "demo", "alone").await.unwrap();
    assert_eq!(shown.partitions, alone.partitions);
    // It is not taken back while it is about to stop.
    let now = c.shown(1).await;
    sessions[1].say(propose(vec![proposal(topic.generation_id, &now, &[1, 2, 3])])).await;
    let refused = WireError::from(sessions[1].refused().await.error.unwrap());
    assert_eq!(refused.code, ErrorCode::IneligibleReplica);
    // Nor is it elected: the next one that stops hands over to the third.
    sessions[1].leave().await;
    for n in 0..3 {
        let shown = c.shown(n).await;
        assert_eq!((shown.leader_spu_id, shown.isr_spu_ids), (Some(3), vec![3]), "{n}");
        assert_eq!(shown.eligible_spu_ids, [2]);
    }
    // The third is the last one in sync, and keeps all of it.
    let at = c.revision().await;
    assert!(!sessions[2].leave().await.1);
    assert_eq!(c.revision().await, at);
}

#[tokio::test]
async fn a_cluster_that_stops_as_a_whole_keeps_who_is_in_sync() {
    let c = three().await;
    let mut sessions = c.sessions().await;
    c.topic(3, 3, 2).await;
    let before = [c.shown(0).await, c.shown(1).await, c.shown(2).await];
    app::cluster_shutdown(&c.control.app, &c.control.principal, "demo", None).await.unwrap();
    for session in &mut sessions {
        assert!(session.leave().await.1, "nobody takes over: they end together");
    }
    for (n, before) in before.iter().enumerate() {
        assert_eq!(&c.shown(n).await, before);
    }
}

#[tokio::test]
async fn a_thousand_partitions_change_in_one_transaction() {
    let c = three().await;
    c.topic(1_500, 2, 1).await;
    let mut sessions = c.sessions().await;
    let orders = async || {
        let shown = app::topic_get(&c.control.app, &c.control.principal, "demo", "orders");
        shown.await.unwrap().partitions
    };
    let before = orders().await;
    let held = before.iter().filter(|p| p.replica_spu_ids.contains(&1)).count();
    let led = before.iter().filter(|p| p.leader_spu_id == Some(1)).count();
    assert_eq!((held, led), (1_000, 500));
    let at = c.revision().await;
    let (heard, _) = sessions[0].leave().await;
    assert_eq!(heard.last().unwrap().revision, at + 1, "one change, of one transaction");
    let after = orders().await;
    assert!(after.iter().all(|p| p.leader_spu_id != Some(1) && !p.isr_spu_ids.contains(&1)));
    let changed = before.iter().zip(&after).filter(|(b, a)| b.partition_epoch != a.partition_epoch);
    assert_eq!(changed.count(), 1_000);
}

#[tokio::test]
async fn one_that_returns_is_given_what_a_lost_one_leads() {
    let c = three().await;
    let mut sessions = c.sessions().await;
    c.topic(1, 2, 2).await;
    let before = c.shown(0).await;
    assert_eq!((before.leader_spu_id, &before.replica_spu_ids), (Some(1), &vec![1, 2]));
    // In sync: with the new life it leads, and the lost one is eligible.
    c.set_offline(1).await;
    let reborn = c.identities[1].reborn();
    let mut second = c.session(&reborn).await;
    let now = c.shown(0).await;
    assert_eq!((now.leader_spu_id, now.leader_epoch), (Some(2), before.leader_epoch + 1));
    assert_eq!((&now.isr_spu_ids, &now.eligible_spu_ids), (&vec![2], &vec![1]));
    // The same life again changes nothing.
    let again = c.session(&reborn).await;
    assert_eq!(c.shown(0).await, now);
    assert!(second.end().await.is_none());
    // Not in sync, but eligible: it leads when the last in sync is lost.
    drop((again, sessions.remove(0)));
    c.set_offline(2).await;
    let _first = c.session(&c.identities[0].reborn()).await;
    let last = c.shown(0).await;
    assert_eq!((last.leader_spu_id, &last.isr_spu_ids), (Some(1), &vec![1]));
    assert_eq!(last.eligible_spu_ids, [2]);
    assert!(LeaderEpoch(last.leader_epoch) > LeaderEpoch(now.leader_epoch));
}

#[tokio::test]
async fn one_that_is_neither_in_sync_nor_eligible_is_given_nothing() {
    let c = three().await;
    let sessions = c.sessions().await;
    let topic = c.topic(1, 2, 1).await;
    let now = c.shown(0).await;
    sessions[0].say(propose(vec![proposal(topic.generation_id, &now, &[1])])).await;
    super::support::until("it is dropped", async || c.shown(0).await.isr_spu_ids == [1]).await;
    let now = c.shown(0).await;
    assert_eq!(now.eligible_spu_ids, [0_u32; 0]);
    c.set_offline(1).await;
    let now = c.shown(0).await;
    let _second = c.session(&c.identities[1].reborn()).await;
    assert_eq!(c.shown(0).await, now);
    assert_eq!(now.waiting.unwrap().for_spu_ids, [1]);
}
