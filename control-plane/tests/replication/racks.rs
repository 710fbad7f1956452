//! SPUs that say where they stand, and topics whose replicas are told where to be.

use weir_control_plane::app::{self, AppError, Place, TopicRequest, view::TopicView};
use weir_protocol::ids::SpuId;

use super::{Three, some, support::spu};

impl Three {
    async fn placed(&self, name: &str, place: Place) -> Result<TopicView, AppError> {
        let wanted = TopicRequest { replication: 2, place, ..TopicRequest::new(name, 6) };
        let (app, principal) = (&self.control.app, &self.control.principal);
        match app::topic_create(app, principal, "demo", &wanted, None).await? {
            app::Answer::Fresh(view) => Ok(view),
            repeated => panic!("{repeated:?}"),
        }
    }
}

#[tokio::test]
async fn replicas_are_on_different_racks_unless_that_is_to_be_ignored() {
    let c = some(4).await;
    let mut sessions = Vec::new();
    for (identity, rack) in c.identities.iter().zip(["a", "a", "b", ""]) {
        let mut register = identity.register();
        register.rack = rack.to_owned();
        sessions.push(spu::open(&c.control.rpc, register).await.unwrap());
    }
    let shown = c.control.cluster(c.cluster).await.unwrap();
    let racks: Vec<_> = shown.spus.iter().map(|spu| spu.rack.as_deref()).collect();
    assert_eq!(racks, [Some("a"), Some("a"), Some("b"), None]);
    let together = |topic: &TopicView| {
        topic.partitions.iter().filter(|p| super::ids(&p.replica_spu_ids) == [1, 2]).count()
    };
    let spread = c.placed("spread", Place::Racks).await.unwrap();
    assert_eq!(together(&spread), 0, "{spread:?}");
    let ignored = c.placed("ignored", Place::IgnoreRacks).await.unwrap();
    assert!(together(&ignored) > 0, "{ignored:?}");
    // Moved where, of those left, another rack is.
    let drain = (&app::Drain::Begin(None), true);
    let (app, principal) = (&c.control.app, &c.control.principal);
    let app::Answer::Fresh(plan) =
        app::cluster_drain(app, principal, "demo", SpuId(3), drain, None).await.unwrap()
    else {
        panic!()
    };
    for moved in plan.moves.iter().filter(|moved| moved.topic == "spread") {
        let mut to = moved.to_spu_ids.clone();
        to.sort_unstable();
        assert_ne!(to, [1, 2], "{moved:?}");
    }
    let mut wrong = c.identities[0].reborn().register();
    wrong.rack = "x".repeat(256);
    let refused = spu::open(&c.control.rpc, wrong).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.code, weir_protocol::ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn replicas_are_where_it_is_said() {
    let c = some(3).await;
    let assigned = |of: &[&[u32]]| {
        let spus = |ids: &&[u32]| ids.iter().copied().map(SpuId).collect();
        Place::Assigned(of.iter().map(spus).collect())
    };
    let all: [&[u32]; 6] = [&[3, 1], &[3, 2], &[3, 1], &[3, 2], &[1, 3], &[2, 3]];
    let topic = c.placed("pinned", assigned(&all)).await.unwrap();
    for (partition, said) in topic.partitions.iter().zip(all) {
        assert_eq!(partition.replica_spu_ids, said);
    }
    for wrong in [&[9, 1][..], &[1, 1], &[1], &[1, 2, 3]] {
        let mut all = all;
        all[4] = wrong;
        let error = c.placed("other", assigned(&all)).await.unwrap_err();
        assert_eq!(error.code(), "INVALID_REQUEST");
        assert!(error.to_string().contains("partition 4"), "{error}");
    }
    let error = c.placed("other", assigned(&all[..5])).await.unwrap_err();
    assert!(error.to_string().contains("5 partitions"), "{error}");
}
