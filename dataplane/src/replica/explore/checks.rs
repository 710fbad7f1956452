//! What must hold after every step.

use std::collections::BTreeMap;

use weir_protocol::ids::{Offset, SpuId};

use super::{
    super::Role,
    control_plane::{ControlPlane, MIN_INSYNC},
    world::Node,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// Offset and value of everything that was acknowledged.
    pub acknowledged: BTreeMap<Offset, u64>,
    /// Where each value was acknowledged.
    offsets: BTreeMap<u64, Offset>,
    fresh: Vec<(Offset, u64)>,
    /// The value of each offset below anybody's high watermark, once and for all.
    committed: BTreeMap<Offset, u64>,
    /// How far each said that its log is committed, in its present life.
    high_watermarks: BTreeMap<SpuId, Offset>,
}

impl Checks {
    pub fn acknowledge(&mut self, offset: Offset, value: u64) {
        self.fresh.push((offset, value));
    }

    pub fn forget(&mut self, spu: SpuId) {
        self.high_watermarks.remove(&spu);
    }

    /// # Errors
    /// The promise that is broken.
    pub fn look(&mut self, nodes: &[Node], control: &ControlPlane) -> Result<(), String> {
        for (offset, value) in std::mem::take(&mut self.fresh) {
            let at = offset.get() as usize;
            let holds = |node: &&Node| {
                at < node.durable && node.log.get(at).is_some_and(|(_, held)| *held == value)
            };
            if (nodes.iter().filter(holds).count() as u32) < MIN_INSYNC {
                return Err(format!(
                    "{value} at {offset} was acknowledged before it was durable on {MIN_INSYNC}"
                ));
            }
            if self.acknowledged.insert(offset, value).is_some_and(|before| before != value) {
                return Err(format!("two records were acknowledged at {offset}"));
            }
            if self.offsets.insert(value, offset).is_some_and(|before| before != offset) {
                return Err(format!("{value} was acknowledged at {offset}, and elsewhere before"));
            }
        }
        for node in nodes {
            self.watermark(node)?;
            if let Role::Offline(problem) = node.replica.role() {
                return Err(format!("SPU {} gave up: {problem}", node.spu));
            }
            let leads = matches!(node.replica.role(), Role::Leader { epoch, .. }
                if *epoch == control.leader_epoch && control.leader == node.spu);
            let lacks = self.acknowledged.iter().find(|(offset, value)| {
                node.log.get(offset.get() as usize).is_none_or(|(_, held)| held != *value)
            });
            if let (true, Some((offset, value))) = (leads, lacks) {
                return Err(format!(
                    "SPU {} leads in epoch {} without {value}, acknowledged at {offset}",
                    node.spu, control.leader_epoch
                ));
            }
        }
        let leaders = nodes.iter().filter_map(|node| match node.replica.role() {
            Role::Leader { epoch, .. } => Some((*epoch, node.spu)),
            _ => None,
        });
        let mut by_epoch = BTreeMap::new();
        for (epoch, spu) in leaders {
            if let Some(other) = by_epoch.insert(epoch, spu) {
                return Err(format!("SPUs {other} and {spu} lead in epoch {epoch}"));
            }
        }
        Ok(())
    }

    fn watermark(&mut self, node: &Node) -> Result<(), String> {
        let now = node.replica.readable().high_watermark;
        let before = self.high_watermarks.insert(node.spu, now);
        if before.is_some_and(|before| before > now) {
            return Err(format!("the high watermark of SPU {} went back to {now}", node.spu));
        }
        for (offset, (_, value)) in (0..now.get()).map(Offset).zip(&node.log) {
            let committed = *self.committed.entry(offset).or_insert(*value);
            if committed != *value {
                return Err(format!(
                    "SPU {} says that {value} is committed at {offset}, where {committed} is",
                    node.spu
                ));
            }
        }
        Ok(())
    }
}
