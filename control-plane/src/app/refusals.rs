//! Who asked to be an SPU of a cluster and was refused. In memory and bounded: it is what was seen,
//! for people who look for a process that does not come up, and decides nothing.

use std::collections::{BTreeMap, VecDeque};

use weir_protocol::{
    ErrorCode,
    ids::{ClusterId, LaunchId, SpuId},
};

/// How many are kept of a cluster.
const KEPT_MAX: usize = 32;
/// How many clusters have some.
const CLUSTERS_MAX: usize = 1_000;

/// One that was refused, perhaps again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The SPU that it said it is.
    pub spu: SpuId,
    /// The launch that it said it is of.
    pub launch: LaunchId,
    /// Why, for machines.
    pub code: ErrorCode,
    /// Why, for people.
    pub reason: String,
    /// Whether it proved to be a launch of that SPU, be it an earlier or an ended one.
    pub proven: bool,
    /// How often.
    pub count: u64,
    /// When last, milliseconds since 1970.
    pub at_unix_ms: i64,
}

impl Refusal {
    fn is_of(&self, other: &Self) -> bool {
        (self.spu, self.launch, self.code) == (other.spu, other.launch, other.code)
    }
}

/// Those of all clusters.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<ClusterId, VecDeque<Refusal>>);

impl Refusals {
    /// Notes one. The same again counts. Where there are too many, the oldest goes that proved
    /// nothing: strangers push out nobody who is somebody.
    pub(super) fn note(&mut self, cluster: ClusterId, refusal: Refusal) {
        if !self.0.contains_key(&cluster) && self.0.len() >= CLUSTERS_MAX {
            return;
        }
        let kept = self.0.entry(cluster).or_default();
        let mut refusal = refusal;
        if let Some(at) = kept.iter().position(|before| before.is_of(&refusal))
            && let Some(before) = kept.remove(at)
        {
            refusal.count = refusal.count.saturating_add(before.count);
        }
        if kept.len() >= KEPT_MAX {
            let stranger = kept.iter().position(|before| !before.proven);
            match (stranger, refusal.proven) {
                (Some(at), _) => drop(kept.remove(at)),
                (None, true) => drop(kept.pop_front()),
                (None, false) => return,
            }
        }
        kept.push_back(refusal);
    }

    /// A launch was taken: what it was refused for is over.
    pub(super) fn taken(&mut self, cluster: ClusterId, spu: SpuId, launch: LaunchId) {
        if let Some(kept) = self.0.get_mut(&cluster) {
            kept.retain(|refusal| (refusal.spu, refusal.launch) != (spu, launch));
        }
    }

    /// Those of a cluster, the newest first.
    pub(super) fn of(&self, cluster: ClusterId) -> Vec<Refusal> {
        self.0.get(&cluster).into_iter().flatten().rev().cloned().collect()
    }

    /// Forgets a cluster that is gone.
    pub(super) fn forget(&mut self, cluster: ClusterId) {
        self.0.remove(&cluster);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const CLUSTER: ClusterId = ClusterId(Uuid::nil());

    fn refusal(launch: u128, proven: bool) -> Refusal {
        Refusal {
            spu: SpuId(1),
            launch: LaunchId(Uuid::from_u128(launch)),
            code: ErrorCode::StaleLaunch,
            reason: "old".to_owned(),
            proven,
            count: 1,
            at_unix_ms: 1,
        }
    }

    #[test]
    fn the_same_again_counts_and_comes_first() {
        let mut refusals = Refusals::default();
        for launch in [1, 2, 1] {
            refusals.note(CLUSTER, refusal(launch, true));
        }
        let kept = refusals.of(CLUSTER);
        assert_eq!((kept.len(), kept[0].count, kept[1].count), (2, 2, 1));
        assert_eq!(kept[0].launch, LaunchId(Uuid::from_u128(1)));
        refusals.taken(CLUSTER, SpuId(1), LaunchId(Uuid::from_u128(1)));
        assert_eq!(refusals.of(CLUSTER).len(), 1);
        refusals.forget(CLUSTER);
        assert!(refusals.of(CLUSTER).is_empty());
    }

    #[test]
    fn strangers_push_out_strangers_only() {
        let mut refusals = Refusals::default();
        refusals.note(CLUSTER, refusal(0, true));
        for stranger in 1..=100 {
            refusals.note(CLUSTER, refusal(stranger, false));
        }
        let kept = refusals.of(CLUSTER);
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept[0].launch, LaunchId(Uuid::from_u128(100)), "the newest is there");
        assert!(kept.last().unwrap().proven, "and so is the one that is somebody");
        for somebody in 200..300 {
            refusals.note(CLUSTER, refusal(somebody, true));
        }
        refusals.note(CLUSTER, refusal(7, false));
        assert!(refusals.of(CLUSTER).iter().all(|kept| kept.proven));
    }
}
