//! SPUs whose machine was started anew, and topics that acknowledge before the fsync.

use uuid::Uuid;
use weir_control_plane::app::{self, Answer, ConfigChange, FlushMode, TopicRequest};
use weir_protocol::{ids::BootId, pb::session::Register};

use super::{
    Three, ids,
    support::spu::{self, Identity, Session},
    three,
};

async fn open(c: &Three, identity: &Identity, boot: u128) -> Session {
    c.broken(identity.spu);
    let boot_id = BootId(Uuid::from_u128(boot)).to_string();
    let register = Register { boot_id, ..identity.register() };
    let mut session = spu::open(&c.control.rpc, register).await.unwrap();
    assert!(session.metadata().await.snapshot);
    session
}

async fn topic(c: &Three, flush: FlushMode) {
    let flush_interval_ms = (flush == FlushMode::Interval).then_some(Some(100));
    let config = ConfigChange { flush: Some(flush), flush_interval_ms, ..ConfigChange::default() };
    let wanted = TopicRequest {
        replication: 3,
        min_insync_replicas: Some(2),
        config,
        ..TopicRequest::new("orders", 3)
    };
    let made = app::topic_create(&c.control.app, &c.control.principal, "demo", &wanted, None).await;
    assert!(matches!(made.unwrap(), Answer::Fresh(_)));
}

/// Of each partition: who leads, who is in sync, who is eligible.
async fn shown(c: &Three) -> Vec<(u32, Vec<u32>, Vec<u32>)> {
    let mut shown = Vec::new();
    for n in 0..3 {
        let now = c.shown(n).await;
        let sets = (ids(&now.isr_spu_ids), ids(&now.eligible_spu_ids));
        shown.push((now.leader_spu_id.unwrap(), sets.0, sets.1));
    }
    shown
}

#[tokio::test]
async fn it_is_not_counted_on_where_others_are_there_that_have_it() {
    let c = three().await;
    let mut sessions = Vec::new();
    for identity in &c.identities {
        sessions.push(open(&c, identity, 1).await);
    }
    topic(&c, FlushMode::Interval).await;
    let all = (1..=3).map(|leader| (leader, vec![1, 2, 3], vec![])).collect::<Vec<_>>();
    assert_eq!(shown(&c).await, all);
    // Another process in the same boot, and the same process again.
    let mut reborn = c.identities[0].reborn();
    for _ in 0..2 {
        sessions.push(open(&c, &reborn, 1).await);
        assert_eq!(shown(&c).await, all);
    }
    // What it led is led by others, and it is in sync with none.
    reborn = reborn.reborn();
    sessions.push(open(&c, &reborn, 2).await);
    let others = |leader| (leader, vec![2, 3], vec![]);
    assert_eq!(shown(&c).await, [others(2), others(2), others(3)]);
    // The second: it is not even eligible, although there are too few now.
    sessions.push(open(&c, &c.identities[1].reborn(), 2).await);
    assert_eq!(shown(&c).await, vec![(3, vec![3], vec![]); 3]);
    // Nobody else has what the last one had.
    sessions.push(open(&c, &c.identities[2].reborn(), 2).await);
    assert_eq!(shown(&c).await, vec![(3, vec![3], vec![]); 3]);
}

#[tokio::test]
async fn of_a_whole_cluster_that_lost_its_power_the_first_that_is_back_goes_on() {
    let c = three().await;
    let mut sessions = Vec::new();
    for identity in &c.identities {
        sessions.push(open(&c, identity, 1).await);
    }
    topic(&c, FlushMode::Interval).await;
    drop(sessions);
    for spu in 1..=3 {
        c.set_offline(spu).await;
    }
    let mut sessions = vec![open(&c, &c.identities[1].reborn(), 2).await];
    assert_eq!(shown(&c).await, vec![(2, vec![2], vec![1, 3]); 3], "it is counted on");
    // Those after it fetch from it.
    sessions.push(open(&c, &c.identities[0].reborn(), 2).await);
    assert_eq!(shown(&c).await, vec![(2, vec![2], vec![3]); 3]);
    sessions.push(open(&c, &c.identities[2].reborn(), 2).await);
    assert_eq!(shown(&c).await, vec![(2, vec![2], vec![]); 3]);
}

#[tokio::test]
async fn where_the_fsync_comes_first_nothing_is_lost() {
    let c = three().await;
    let mut sessions = Vec::new();
    for identity in &c.identities {
        sessions.push(open(&c, identity, 1).await);
    }
    topic(&c, FlushMode::BeforeAck).await;
    let before = shown(&c).await;
    sessions.push(open(&c, &c.identities[0].reborn(), 2).await);
    assert_eq!(shown(&c).await, before);
}
