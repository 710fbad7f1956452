//! The control plane of the model: what `control-plane/src/plan` decides, in its shortest form.
//! (This crate must not import that one.)

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{
    ids::{Incarnation, LeaderEpoch, PartitionEpoch, SpuId},
    topic_config::TopicConfig,
};
use weir_runtime::plant;

use super::super::{Assignment, followers::Proposal};

pub(super) const MIN_INSYNC: u32 = 2;

#[derive(Clone, Debug)]
pub(super) struct ControlPlane {
    pub leader: SpuId,
    pub leader_epoch: LeaderEpoch,
    pub leader_incarnation: Incarnation,
    pub partition_epoch: PartitionEpoch,
    pub isr: BTreeSet<SpuId>,
    /// Left the set while it was too small to commit: they hold all that is committed.
    pub eligible: BTreeSet<SpuId>,
    pub incarnations: BTreeMap<SpuId, Incarnation>,
    pub elections: usize,
}

impl ControlPlane {
    pub fn new(spus: &[SpuId]) -> Self {
        Self {
            leader: spus[0],
            leader_epoch: LeaderEpoch(1),
            leader_incarnation: Incarnation(1),
            partition_epoch: PartitionEpoch(1),
            isr: spus.iter().copied().collect(),
            eligible: BTreeSet::new(),
            incarnations: spus.iter().map(|spu| (*spu, Incarnation(1))).collect(),
            elections: 0,
        }
    }

    /// What it says to an SPU that runs as `incarnation`.
    pub fn word(&self, me: SpuId, incarnation: Incarnation) -> Assignment {
        Assignment {
            me,
            incarnation: Some(incarnation),
            serving: true,
            leader: Some(self.leader),
            leader_incarnation: self.leader_incarnation,
            leader_epoch: self.leader_epoch,
            unclean_epoch: LeaderEpoch(0),
            partition_epoch: self.partition_epoch,
            replicas: self.incarnations.keys().copied().collect(),
            online: self.incarnations.clone(),
            isr: self.isr.clone(),
            min_insync: MIN_INSYNC,
            config: TopicConfig::default(),
        }
    }

    fn set_isr(&mut self, isr: BTreeSet<SpuId>) {
        if isr.len() >= MIN_INSYNC as usize {
            self.eligible.clear();
        } else {
            let left = self.isr.difference(&isr).copied();
            self.eligible.extend(left.collect::<Vec<_>>());
            self.eligible.retain(|spu| !isr.contains(spu));
        }
        self.isr = isr;
    }

    /// A new process of the SPU registers.
    pub fn register(&mut self, spu: SpuId) -> Incarnation {
        let incarnation = Incarnation(self.incarnations[&spu].get() + 1);
        self.incarnations.insert(spu, incarnation);
        if self.leader == spu && !plant::active("incarnation_leads_on") {
            self.lead(spu);
        } else if self.leader == spu {
            self.leader_incarnation = incarnation;
            self.partition_epoch = self.partition_epoch.next();
        }
        incarnation
    }

    fn lead(&mut self, spu: SpuId) {
        self.leader = spu;
        self.leader_incarnation = self.incarnations[&spu];
        self.leader_epoch = self.leader_epoch.next();
        self.partition_epoch = self.partition_epoch.next();
        self.elections += 1;
    }

    /// The SPU's lease is over: it leads no more, and is in sync no more, where others are.
    pub fn depose(&mut self, gone: SpuId) {
        let rest: BTreeSet<_> = self.isr.iter().copied().filter(|spu| *spu != gone).collect();
        let others = self.incarnations.keys().copied().find(|spu| *spu != gone);
        if plant::active("elects_outside_isr") && self.leader == gone {
            let Some(next) = others else { return };
            self.set_isr(BTreeSet::from([next]));
            self.lead(next);
            return;
        }
        if let Some(first) = rest.first().copied() {
            if self.isr.contains(&gone) {
                self.set_isr(rest);
                self.partition_epoch = self.partition_epoch.next();
            }
            if self.leader == gone {
                self.lead(first);
            }
        } else if let Some(next) = self.eligible.iter().copied().find(|spu| *spu != gone) {
            let last = std::mem::replace(&mut self.isr, BTreeSet::from([next]));
            self.eligible.extend(last);
            self.eligible.remove(&next);
            self.lead(next);
        }
    }

    /// Whether the proposal is stored.
    pub fn decide(&mut self, from: SpuId, proposal: &Proposal) -> bool {
        let current = self.leader == from
            && proposal.members.get(&from) == Some(&self.leader_incarnation)
            && proposal.leader_epoch == self.leader_epoch
            && proposal.partition_epoch == self.partition_epoch;
        let added = proposal.members.iter().filter(|(spu, _)| !self.isr.contains(spu));
        let known = added.into_iter().all(|(spu, life)| self.incarnations.get(spu) == Some(life));
        if current && known {
            self.set_isr(proposal.members.keys().copied().collect());
            self.partition_epoch = self.partition_epoch.next();
        }
        current && known
    }
}
