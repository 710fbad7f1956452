//! Which SPU to ask next for a consumer's coordinator. Pure.

use weir_protocol::{ErrorCode, WireError, ids::SpuId};

use crate::metadata::ClusterMap;

/// Redirections that are followed at once; then a wait comes between.
const REDIRECTS_MAX: u32 = 2;

/// Where the coordinator is believed to be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coordinator {
    /// An SPU said so.
    named: Option<SpuId>,
    /// Otherwise: which of the SPUs is asked.
    turn: usize,
    redirects: u32,
}

impl Coordinator {
    /// Where to ask; none while no SPU is known.
    pub(super) fn endpoint<'a>(&self, map: &'a ClusterMap) -> Option<&'a str> {
        let named = map
            .spus()
            .find(|(id, spu)| Some(*id) == self.named && !spu.endpoint.is_empty())
            .map(|(_, spu)| &*spu.endpoint);
        named.or_else(|| {
            let endpoints = map.endpoints();
            endpoints.get(self.turn % endpoints.len().max(1)).copied()
        })
    }

    /// The one that was asked is the coordinator.
    pub(super) fn found(&mut self) {
        self.redirects = 0;
    }

    /// The one that was asked did not do it. Whether the next may be asked at once.
    pub(super) fn failed(&mut self, error: &WireError) -> bool {
        use ErrorCode as E;
        match error.code {
            E::NotLeader => {
                let said = error.wire.leader_spu_id.map(SpuId);
                let news = said.is_some() && said != self.named;
                self.named = said;
                if !news {
                    self.another();
                }
                self.redirects += 1;
                news && self.redirects <= REDIRECTS_MAX
            }
            // One whose replica is out of service may not have heard yet who leads instead.
            E::Disconnected
            | E::Unreachable
            | E::TimedOut
            | E::ShuttingDown
            | E::LeaderLost
            | E::ReplicaOffline
            | E::ReplicaDamaged => {
                self.another();
                self.redirects = 0;
                false
            }
            _ => {
                self.redirects = 0;
                false
            }
        }
    }

    fn another(&mut self) {
        self.named = None;
        self.turn = self.turn.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::pb::metadata::{MetadataUpdate, Spu, SpuState};

    use super::*;

    fn map() -> ClusterMap {
        let spu = |spu_id| Spu {
            spu_id,
            state: SpuState::Online.into(),
            endpoint: format!("spu{spu_id}"),
            incarnation: 1,
            ..Spu::default()
        };
        let spus = (1..=3).map(spu).collect();
        let update = MetadataUpdate { snapshot: true, spus, ..MetadataUpdate::default() };
        ClusterMap::default().apply(&update).unwrap().unwrap()
    }

    fn not_leader(said: Option<u32>) -> WireError {
        let mut error = WireError::new(ErrorCode::NotLeader, "");
        error.wire.leader_spu_id = said;
        error
    }

    #[test]
    fn a_redirection_is_followed_at_once_and_no_circle_is() {
        let map = map();
        let mut coordinator = Coordinator::default();
        assert_eq!(coordinator.endpoint(&map), Some("spu1"));
        assert!(coordinator.failed(&not_leader(Some(3))));
        assert_eq!(coordinator.endpoint(&map), Some("spu3"));
        assert!(coordinator.failed(&not_leader(Some(1))));
        assert!(!coordinator.failed(&not_leader(Some(3))), "a circle");
        coordinator.found();
        assert_eq!(coordinator.endpoint(&map), Some("spu3"));
        assert!(coordinator.failed(&not_leader(Some(9))));
        assert_eq!(coordinator.endpoint(&map), Some("spu1"), "9 is not known");
    }

    #[test]
    fn one_that_is_gone_or_knows_nothing_is_left() {
        let map = map();
        let mut coordinator = Coordinator::default();
        assert!(coordinator.failed(&not_leader(Some(3))));
        assert!(!coordinator.failed(&WireError::new(ErrorCode::Disconnected, "")));
        assert_eq!(coordinator.endpoint(&map), Some("spu2"));
        assert!(!coordinator.failed(&not_leader(None)));
        assert_eq!(coordinator.endpoint(&map), Some("spu3"));
        assert!(!coordinator.failed(&WireError::new(ErrorCode::NotYetAvailable, "")));
        assert_eq!(coordinator.endpoint(&map), Some("spu3"), "it is the right one");
        for code in [ErrorCode::ReplicaOffline, ErrorCode::ReplicaDamaged] {
            let before = coordinator.endpoint(&map).map(str::to_owned);
            assert!(!coordinator.failed(&WireError::new(code, "")));
            assert_ne!(coordinator.endpoint(&map), before.as_deref(), "another one leads by now");
        }
        assert_eq!(coordinator.endpoint(&ClusterMap::default()), None);
    }
}
