//! Launches: what is kept of those that ended.

use uuid::Uuid;
use weir_control_plane::store::{launches, spus, types::LaunchState};
use weir_protocol::ids::{LaunchId, SpuId};

use crate::support::fixture;

const FIRST: SpuId = SpuId(1);
const SECOND: SpuId = SpuId(2);

#[tokio::test]
async fn the_last_ended_ones_the_current_and_the_live_are_kept() {
    let f = fixture().await;
    let cluster = f.cluster("demo", 2).await.id;
    let launch = |number: u8| LaunchId(Uuid::from_u128(number.into()));
    let mut tx = f.app.store.write().await.unwrap();
    let mut org = tx.scoped(f.admin.org);
    for number in 1..=8 {
        let at = i64::from(number);
        launches::insert(&mut org, cluster, launch(number), FIRST, "x", at).await.unwrap();
        // 3 never ended.
        if number != 3 {
            launches::ended(&mut org, cluster, launch(number), "why", at).await.unwrap();
        }
    }
    launches::insert(&mut org, cluster, launch(90), SECOND, "x", 1).await.unwrap();
    launches::ended(&mut org, cluster, launch(90), "why", 1).await.unwrap();
    // A clock that went back: the current one looks old.
    spus::set_launch(&mut org, cluster, FIRST, launch(2), 0, 9).await.unwrap();
    assert_eq!(launches::system_prune(&mut tx, 3).await.unwrap(), 3);
    assert_eq!(launches::system_prune(&mut tx, 3).await.unwrap(), 0);
    let mut org = tx.scoped(f.admin.org);
    let kept = launches::recent(&mut org, cluster, FIRST, 99).await.unwrap();
    assert_eq!(kept.iter().map(|row| row.id).collect::<Vec<_>>(), [8, 7, 6, 3, 2].map(launch));
    assert_ne!(kept[3].state, LaunchState::Ended);
    assert_eq!(launches::recent(&mut org, cluster, SECOND, 99).await.unwrap().len(), 1);
}
