//! Which SPU is asked next for the one that leads.

use std::collections::BTreeSet;

use weir_protocol::ids::SpuId;

/// SPUs that are asked before it is given up.
const ASKED_MAX: usize = 5;

/// Goes from SPU to SPU, each at most once: where a refusal leads, else in the given order.
#[derive(Clone, Debug)]
pub struct AskAround {
    order: Vec<SpuId>,
    asked: BTreeSet<SpuId>,
    told: Option<SpuId>,
}

impl AskAround {
    /// The most promising first.
    #[must_use]
    pub const fn new(order: Vec<SpuId>) -> Self {
        Self { order, asked: BTreeSet::new(), told: None }
    }

    /// The one that was asked last says that this one leads.
    pub const fn told(&mut self, leader: Option<SpuId>) {
        self.told = leader;
    }

    /// Whom to ask now; none: give up.
    pub fn choose(&mut self) -> Option<SpuId> {
        if self.asked.len() >= ASKED_MAX {
            return None;
        }
        let fresh = |spu: &SpuId| !self.asked.contains(spu) && self.order.contains(spu);
        let next =
            self.told.take().filter(fresh).or_else(|| self.order.iter().copied().find(fresh))?;
        self.asked.insert(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(ids: &[u32]) -> AskAround {
        AskAround::new(ids.iter().copied().map(SpuId).collect())
    }

    #[test]
    fn refusals_lead_the_way_and_nobody_is_asked_twice() {
        let mut around = around(&[1, 2, 3, 4]);
        assert_eq!(around.choose(), Some(SpuId(1)));
        around.told(Some(SpuId(3)));
        assert_eq!(around.choose(), Some(SpuId(3)));
        // Two that name each other, and one that nobody knows.
        around.told(Some(SpuId(1)));
        assert_eq!(around.choose(), Some(SpuId(2)));
        around.told(Some(SpuId(99)));
        assert_eq!(around.choose(), Some(SpuId(4)));
        around.told(None);
        assert_eq!(around.choose(), None);
    }

    #[test]
    fn a_few_are_asked_and_then_it_is_given_up() {
        let mut around = around(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(std::iter::from_fn(|| around.choose()).count(), ASKED_MAX);
        assert_eq!(self::around(&[]).choose(), None);
    }
}
