//! What leaders propose as in-sync replicas.

use weir_control_plane::app;
use weir_protocol::{ErrorCode, WireError, token};

use super::{proposal, propose, three, told};

#[tokio::test]
async fn what_a_leader_proposes_comes_back_with_the_map() {
    let c = three().await;
    let mut sessions = c.sessions().await;
    let topic = c.topic(1, 3, 2).await;
    let [leader, other, _] = &mut sessions[..] else { panic!() };
    let all = told(leader).await.topics[0].clone();
    told(other).await;
    assert_eq!((all.min_insync_replicas, &all.partitions[0].isr_spu_ids), (2, &vec![1, 2, 3]));
    let before = c.shown(0).await;
    assert_eq!((before.leader_spu_id, before.partition_epoch), (Some(1), 1));
    let at = c.revision().await;
    leader.say(propose(vec![proposal(topic.generation_id, &before, &[1, 2])])).await;
    // Whoever follows hears of it too.
    for session in [leader, other] {
        let update = told(session).await;
        let partition = &update.topics[0].partitions[0];
        assert_eq!(update.revision, at + 1);
        assert_eq!((partition.partition_epoch, partition.leader_epoch), (2, before.leader_epoch));
        assert_eq!((&partition.isr_spu_ids, &partition.eligible_spu_ids), (&vec![1, 2], &vec![]));
    }
    // Below the minimum, who is dropped may lead.
    let leader = &mut sessions[0];
    let before = c.shown(0).await;
    leader.say(propose(vec![proposal(topic.generation_id, &before, &[1])])).await;
    let partition = told(leader).await.topics[0].partitions[0].clone();
    assert_eq!((partition.isr_spu_ids, partition.eligible_spu_ids), (vec![1], vec![2]));
    // And enough again: nobody is eligible.
    let before = c.shown(0).await;
    leader.say(propose(vec![proposal(topic.generation_id, &before, &[1, 3])])).await;
    let partition = told(leader).await.topics[0].partitions[0].clone();
    assert_eq!((partition.isr_spu_ids, partition.eligible_spu_ids), (vec![1, 3], vec![]));
    // As it is: stored under the next epoch.
    let before = c.shown(0).await;
    leader.say(propose(vec![proposal(topic.generation_id, &before, &[1, 3])])).await;
    let partition = told(leader).await.topics[0].partitions[0].clone();
    assert_eq!(partition.partition_epoch, before.partition_epoch + 1);
    assert_eq!(partition.isr_spu_ids, [1, 3]);
}

#[tokio::test]
async fn what_is_stale_or_not_the_leader_s_is_refused_and_changes_nothing() {
    let c = three().await;
    let mut sessions = c.sessions().await;
    let topic = c.topic(2, 3, 2).await;
    let first = c.shown(0).await;
    let second = c.shown(1).await;
    assert_eq!((first.leader_spu_id, second.leader_spu_id), (Some(1), Some(2)));
    let id = topic.generation_id;
    let mut older = proposal(id, &first, &[1, 2]);
    older.partition_epoch -= 1;
    let mut deposed = proposal(id, &first, &[1, 2]);
    deposed.leader_epoch -= 1;
    let mut stranger = proposal(id, &first, &[1, 2]);
    stranger.members[1].spu_id = 9;
    let mut unknown = proposal(id, &first, &[1, 2]);
    unknown.partition.as_mut().unwrap().partition = 7;
    let cases = [
        (older, ErrorCode::FencedPartitionEpoch),
        (deposed, ErrorCode::FencedLeaderEpoch),
        (proposal(id, &second, &[1, 2]), ErrorCode::NotLeader),
        (stranger, ErrorCode::InvalidRequest),
        (unknown, ErrorCode::UnknownPartition),
    ];
    let at = c.revision().await;
    let all = cases.iter().map(|(asked, _)| asked.clone()).collect();
    sessions[0].say(propose(all)).await;
    for (asked, code) in cases {
        let refused = sessions[0].refused().await;
        assert_eq!(
            (refused.partition, refused.partition_epoch),
            (asked.partition, asked.partition_epoch)
        );
        assert_eq!(WireError::from(refused.error.unwrap()).code, code);
    }
    assert_eq!(c.revision().await, at);
    // One of many is taken, the others are not.
    let (good, bad) = (proposal(id, &first, &[1, 2]), proposal(id, &second, &[1, 2]));
    sessions[0].say(propose(vec![bad.clone(), good.clone()])).await;
    assert_eq!(sessions[0].refused().await.partition, bad.partition);
    assert_eq!(c.shown(0).await.isr_spu_ids, [1, 2]);
    // Sent again, because no answer came: it is so, and no refusal.
    let at = c.revision().await;
    sessions[0].say(propose(vec![good, bad.clone()])).await;
    assert_eq!(sessions[0].refused().await.partition, bad.partition);
    assert_eq!(c.revision().await, at);
}

#[tokio::test]
async fn who_joins_is_online_in_the_life_that_was_heard() {
    let c = three().await;
    let mut sessions = c.sessions().await;
    let topic = c.topic(1, 3, 2).await;
    let id = topic.generation_id;
    let now = c.shown(0).await;
    sessions[0].say(propose(vec![proposal(id, &now, &[1, 2])])).await;
    // The snapshot of the topic, then the change.
    while told(&mut sessions[0]).await.topics[0].partitions[0].isr_spu_ids != [1, 2] {}
    // Another life of it came meanwhile.
    let reborn = c.session(&c.identities[2].reborn()).await;
    let now = c.shown(0).await;
    sessions[0].say(propose(vec![proposal(id, &now, &[1, 2, 3])])).await;
    let refused = WireError::from(sessions[0].refused().await.error.unwrap());
    assert_eq!(refused.code, ErrorCode::IneligibleReplica);
    assert!(refused.code.retriable() && refused.message().contains("incarnation 2"));
    // Its session is gone.
    drop(reborn);
    super::support::until("its session has ended", async || {
        c.control.app.board.spu(c.cluster, super::SpuId(3)).standing().is_none()
    })
    .await;
    let mut asked = proposal(id, &now, &[1, 2, 3]);
    asked.members[2].incarnation = 2;
    sessions[0].say(propose(vec![asked.clone()])).await;
    let refused = WireError::from(sessions[0].refused().await.error.unwrap());
    assert_eq!(refused.code, ErrorCode::IneligibleReplica);
    // It is back.
    let _back = c.session(&c.identities[2].reborn()).await;
    sessions[0].say(propose(vec![asked])).await;
    super::support::until("it is in sync", async || c.shown(0).await.isr_spu_ids == [1, 2, 3])
        .await;
}

#[tokio::test]
async fn too_much_at_once_ends_the_session() {
    let c = three().await;
    let mut sessions = c.sessions().await;
    let topic = c.topic(1, 3, 2).await;
    let one = proposal(topic.generation_id, &c.shown(0).await, &[1, 2]);
    sessions[0].say(propose(vec![one; 1_001])).await;
    assert_eq!(sessions[0].end().await.unwrap().code, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn an_spu_is_given_a_token_to_fetch_from_others_with() {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    let c = three().await;
    let session = c.session(&c.identities[1]).await;
    let body = session.registered.replication_token.split('.').nth(1).unwrap();
    let body = BASE64_URL_SAFE_NO_PAD.decode(body).unwrap();
    let claims: token::Claims = serde_json::from_slice(&body).unwrap();
    assert_eq!(claims.spu(), Some(super::SpuId(2)));
    assert_eq!(claims.scopes, [token::Scope::Replicate]);
    assert_eq!((claims.org, claims.cluster), (c.control.org(), c.cluster));
    let life = u64::try_from(claims.exp - claims.iat).unwrap();
    assert_eq!(life, app::REPLICATION_TOKEN_TTL.as_secs());
}
