//! Draws what goes wrong, and when.

use super::setup::between;
use crate::faults::{Fault, Schedule, Step};

/// A schedule of `count` faults over `over_ms`; the first is a crash of one of `spus` SPUs, so
/// that every run has one, the others are drawn by `fault`.
#[must_use]
pub fn draw(count: u64, spus: u64, over_ms: u64, fault: impl Fn() -> Fault) -> Schedule {
    let mut steps: Vec<Step> = (0..count)
        .map(|number| Step {
            at_ms: between(0, over_ms),
            fault: if number == 0 { crash(spus) } else { fault() },
        })
        .collect();
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// The same, of faults that each concern one SPU or the database.
#[must_use]
pub fn draw_against_one(count: u64, spus: u64, over_ms: u64) -> Schedule {
    draw(count, spus, over_ms, || against_one(spus))
}

/// One of SPUs 1 to `spus`.
#[must_use]
pub fn one_of(spus: u64) -> u32 {
    u32::try_from(between(1, spus + 1)).unwrap_or(1)
}

fn crash(spus: u64) -> Fault {
    Fault::CrashSpu { spu: one_of(spus), down_ms: between(50, 4_000) }
}

/// A fault against one of `spus` SPUs, or against what the control plane stores.
#[must_use]
pub fn against_one(spus: u64) -> Fault {
    let (spu, for_ms) = (one_of(spus), between(200, 8_000));
    match between(0, 11) {
        0..=2 => crash(spus),
        3 => Fault::IsolateSpu { spu, for_ms },
        4 => Fault::MuteSpuToClients { spu, for_ms },
        5 => Fault::PauseSpu { spu, for_ms: between(100, 4_000) },
        6 => Fault::SlowDisk { spu, for_ms },
        7 => Fault::DiskFull { spu, for_ms: between(200, 4_000) },
        8 => Fault::FailedFsync {
            spu,
            crash_after_ms: between(10, 2_000),
            down_ms: between(50, 2_000),
        },
        9 => Fault::SqlTrouble { busy_per_million: 50_000, unknown_per_million: 100_000, for_ms },
        _ => Fault::SkewClock {
            spu,
            offset_ms: i64::try_from(between(0, 4_000)).unwrap_or(0) - 2_000,
            rate_ppm: i32::try_from(between(0, 2_000)).unwrap_or(0) - 1_000,
        },
    }
}
