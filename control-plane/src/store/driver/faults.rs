//! Faults that a simulation asks the driver for. A production build passes none.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use weir_runtime::{clock::Clock, rng};

use super::{DbError, DbResult};

/// How often which fault fires. All zero: none, and no randomness is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Every statement waits up to so long. SQLite takes no simulated time by itself.
    pub delay_max: Duration,
    /// Of a million statements, how many are answered [`DbError::Busy`].
    pub busy_per_million: u32,
    /// Of a million commits, how many are answered [`DbError::CommitUnknown`]; half of
    /// those happened.
    pub commit_unknown_per_million: u32,
}

/// Shared by the driver and whoever sets the rates. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct SqlFaults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rates: Mutex<FaultRates>,
    fired: AtomicU64,
    standstill: Mutex<Standstill>,
}

/// Whether and when everything stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standstill {
    #[default]
    Never,
    /// At the step after so many more.
    After(u64),
    Now,
}

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitFault {
    /// Nothing unusual.
    None,
    /// It happens, and the answer is lost.
    LostAfter,
    /// It does not happen, and the answer does not say so.
    LostBefore,
}

impl SqlFaults {
    /// Changes the rates from now on.
    pub fn set(&self, rates: FaultRates) {
        *self.inner.rates.lock().unwrap_or_else(PoisonError::into_inner) = rates;
    }

    /// How many faults (not delays) have fired.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.inner.fired.load(Ordering::Relaxed)
    }

    /// Lets the process stand still at the step after `steps` more, so that it can be killed just
    /// there: before a commit or after it, and wherever else [`SqlFaults::step`] is called.
    pub fn stand_still_after(&self, steps: u64) {
        *self.standstill() = Standstill::After(steps);
    }

    /// Nothing stands still any more; says whether anything did.
    pub fn go_on(&self) -> bool {
        std::mem::take(&mut *self.standstill()) == Standstill::Now
    }

    /// Whether it stands still.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        *self.standstill() == Standstill::Now
    }

    fn standstill(&self) -> MutexGuard<'_, Standstill> {
        self.inner.standstill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step. From the one on at which everything stands still, none ends.
    pub async fn step(&self) {
        let stands = {
            let mut standstill = self.standstill();
            *standstill = match *standstill {
                Standstill::After(0) | Standstill::Now => Standstill::Now,
                Standstill::After(more) => Standstill::After(more - 1),
                Standstill::Never => Standstill::Never,
            };
            *standstill == Standstill::Now
        };
        if stands {
            std::future::pending::<()>().await;
        }
    }

    fn rates(&self) -> FaultRates {
        *self.inner.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fires(&self, per_million: u32) -> bool {
        let fires = per_million > 0 && rng::below(1_000_000) < u64::from(per_million);
        if fires {
            self.inner.fired.fetch_add(1, Ordering::Relaxed);
        }
        fires
    }

    async fn delay(&self, clock: Clock) {
        let micros = u64::try_from(self.rates().delay_max.as_micros()).unwrap_or(u64::MAX);
        if micros > 0 {
            clock.sleep(Duration::from_micros(rng::below(micros))).await;
        }
    }

    /// Before a begin or a statement.
    pub(super) async fn before_statement(&self, clock: Clock) -> DbResult<()> {
        self.delay(clock).await;
        if self.fires(self.rates().busy_per_million) { Err(DbError::Busy) } else { Ok(()) }
    }

    /// Before a commit.
    pub(super) async fn before_commit(&self, clock: Clock) -> CommitFault {
        self.step().await;
        self.delay(clock).await;
        if !self.fires(self.rates().commit_unknown_per_million) {
            CommitFault::None
        } else if rng::below(2) == 0 {
            CommitFault::LostAfter
        } else {
            CommitFault::LostBefore
        }
    }
}
