//! Which ports a cluster's SPUs listen on: the n-th SPU on `ports_from + n`, unless it was
//! given another one because somebody has that.
//!
//! Where the spec names no `port_base`, a block is chosen that no other cluster of this
//! database has, and whose ports are free now. Pure but for the question whether one is free.

use weir_protocol::ids::SpuId;

use crate::store::spus::SpuRow;

/// Where the choice begins.
pub const FIRST: u16 = 9600;
/// Blocks begin at multiples of this, so that a cluster has room to grow.
const BLOCK: u32 = 100;

/// A cluster's ports: `[from, from + count)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first SPU's.
    pub from: u16,
    /// How many, counting room to grow where the block was chosen here.
    pub count: u32,
}

impl Ports {
    /// Whether this is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        self.overlaps(Self { from: port, count: 1 })
    }

    fn overlaps(self, other: Self) -> bool {
        let (a, b) = (u32::from(self.from), u32::from(other.from));
        a < b.saturating_add(other.count) && b < a.saturating_add(self.count)
    }
}

/// The port of an SPU: its own, or the one that follows from its id.
#[must_use]
pub fn port_of(ports_from: u16, spu: &SpuRow) -> Option<u16> {
    spu.port.or_else(|| port_by_id(ports_from, spu.id))
}

/// The port that follows from an SPU's id, ids counted from 1; `None` when it would be past the last port.
#[must_use]
pub fn port_by_id(ports_from: u16, spu_id: SpuId) -> Option<u16> {
    u16::try_from(spu_id.get().checked_sub(1)?).ok()?.checked_add(ports_from)
}

/// How many ports are kept for a cluster of so many SPUs, counting room to grow.
#[must_use]
pub fn block_size(spus: u32) -> u32 {
    spus.max(1).div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Blocks for `spus` SPUs that touch none of `taken`, lowest first.
pub fn candidates(spus: u32, taken: &[Ports]) -> impl Iterator<Item = Ports> + '_ {
    let count = block_size(spus);
    (FIRST..=u16::MAX)
        .step_by(BLOCK as usize)
        .map(move |from| Ports { from, count })
        .take_while(|ports| u32::from(ports.from).saturating_add(ports.count) <= 1 << 16)
        .filter(|ports| taken.iter().all(|other| !ports.overlaps(*other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_block_that_nobody_has() {
        let first = |spus, taken: &[Ports]| candidates(spus, taken).next();
        assert_eq!(first(3, &[]), Some(Ports { from: 9600, count: 100 }));
        let taken = [Ports { from: 9600, count: 100 }, Ports { from: 9795, count: 10 }];
        assert_eq!(first(3, &taken), Some(Ports { from: 9900, count: 100 }));
        assert_eq!(first(150, &taken[..1]), Some(Ports { from: 9700, count: 200 }));
        assert_eq!(first(70_000, &[]), None);
        // A user's own range elsewhere is in nobody's way.
        assert_eq!(first(1, &[Ports { from: 9500, count: 3 }]).map(|p| p.from), Some(9600));
    }

    #[test]
    fn ports_end_at_the_last_one() {
        assert_eq!(port_by_id(9600, SpuId(1)), Some(9600));
        assert_eq!(port_by_id(65_535, SpuId(2)), None);
        assert_eq!(port_by_id(9600, SpuId(0)), None);
        assert_eq!(port_by_id(9600, SpuId(u32::MAX)), None);
    }
}
