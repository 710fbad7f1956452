//! How many bytes an SPU may still send on one fetch stream. Pure.
//!
//! The stream has one balance, its subscriptions belong to consumers that take records at
//! different speeds. Each consumer has a budget on the stream; what it holds, up to its
//! budget, is missing from the balance. What it holds beyond is not, or a slow consumer would
//! starve the others: it is told to pause instead.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Account {
    budget: u64,
    subscriptions: u32,
    held: u64,
}

/// The balance of one fetch stream, and who holds what of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What the SPU may still send, as it counts; below zero after a large batch.
    balance: i64,
    accounts: BTreeMap<u64, Account>,
}

impl Ledger {
    /// A consumer reads one partition more.
    pub(crate) fn subscribe(&mut self, consumer: u64, budget: u64) {
        let account = self.accounts.entry(consumer).or_default();
        account.budget = budget;
        account.subscriptions += 1;
    }

    /// A consumer reads one partition less.
    pub(crate) fn unsubscribe(&mut self, consumer: u64) {
        if let Some(account) = self.accounts.get_mut(&consumer) {
            account.subscriptions = account.subscriptions.saturating_sub(1);
            if account.subscriptions == 0 {
                account.budget = 0;
            }
        }
        self.forget(consumer);
    }

    /// Bytes came and a consumer holds them. True: it holds so much more than its budget, and
    /// others share the stream, that it should pause.
    pub(crate) fn received(&mut self, consumer: u64, bytes: u64, slack: u64) -> bool {
        self.discarded(bytes);
        let others = self.accounts.iter().any(|(id, a)| *id != consumer && a.budget > 0);
        let account = self.accounts.entry(consumer).or_default();
        account.held += bytes;
        others && account.held > account.budget.saturating_add(slack)
    }

    /// Bytes came that nobody wants any more.
    pub(crate) fn discarded(&mut self, bytes: u64) {
        self.balance = self.balance.saturating_sub_unsigned(bytes);
    }

    /// A consumer is done with bytes.
    pub(crate) fn released(&mut self, consumer: u64, bytes: u64) {
        if let Some(account) = self.accounts.get_mut(&consumer) {
            account.held = account.held.saturating_sub(bytes);
        }
        self.forget(consumer);
    }

    fn forget(&mut self, consumer: u64) {
        if self.accounts.get(&consumer).is_some_and(|a| a.subscriptions == 0 && a.held == 0) {
            self.accounts.remove(&consumer);
        }
    }

    /// The credit to give now, if it is worth a message: an eighth of the whole, or any at all
    /// when the SPU may send nothing.
    pub(crate) fn take_due(&mut self) -> Option<u64> {
        let whole: u64 = self.accounts.values().map(|a| a.budget).sum();
        let held: u64 = self.accounts.values().map(|a| a.held.min(a.budget)).sum();
        let wanted = i64::try_from(whole - held).unwrap_or(i64::MAX);
        let due = u64::try_from(wanted.saturating_sub(self.balance)).ok().filter(|due| *due > 0)?;
        if due < whole / 8 && self.balance > 0 {
            return None;
        }
        self.balance = wanted;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_budget_once_and_again_what_was_released() {
        let mut ledger = Ledger::default();
        ledger.subscribe(1, 1000);
        ledger.subscribe(1, 1000);
        assert_eq!(ledger.take_due(), Some(1000));
        assert_eq!(ledger.take_due(), None);
        assert!(!ledger.received(1, 600, 0));
        assert_eq!(ledger.take_due(), None);
        ledger.released(1, 100);
        assert_eq!(ledger.take_due(), None, "not worth a message");
        ledger.released(1, 500);
        assert_eq!(ledger.take_due(), Some(600));
    }

    #[test]
    fn a_batch_larger_than_the_balance_is_made_up_for() {
        let mut ledger = Ledger::default();
        ledger.subscribe(1, 1000);
        assert_eq!(ledger.take_due(), Some(1000));
        assert!(!ledger.received(1, 5000, 0), "nobody else is kept waiting");
        // The SPU counts −4,000 and the consumer holds its budget: up to zero, no further.
        assert_eq!(ledger.take_due(), Some(4000));
        ledger.released(1, 5000);
        assert_eq!(ledger.take_due(), Some(1000));
    }

    #[test]
    fn a_slow_consumer_pauses_and_does_not_starve_the_other() {
        let mut ledger = Ledger::default();
        ledger.subscribe(1, 1000);
        ledger.subscribe(2, 1000);
        assert_eq!(ledger.take_due(), Some(2000));
        assert!(!ledger.received(1, 1000, 100));
        assert!(ledger.received(1, 900, 100), "told to pause");
        ledger.unsubscribe(1);
        // The balance is 100 and consumer 2 has its whole budget to come.
        assert_eq!(ledger.take_due(), Some(900));
        ledger.discarded(50);
        assert!(!ledger.received(2, 950, 100));
        ledger.released(2, 950);
        assert_eq!(ledger.take_due(), Some(1000));
    }

    #[test]
    fn what_is_given_and_held_never_exceeds_the_budgets_by_more_than_what_was_over_sent() {
        let mut ledger = Ledger::default();
        let (mut given, mut received, mut held) = (0u64, 0u64, 0u64);
        ledger.subscribe(7, 10_000);
        for step in 0..1000u64 {
            given += ledger.take_due().unwrap_or(0);
            assert!(given - received + held <= 10_000, "step {step}");
            let bytes = (step * 37 % 900).min(given - received);
            ledger.received(7, bytes, 0);
            received += bytes;
            held += bytes;
            let released = (step * 53 % 1100).min(held);
            ledger.released(7, released);
            held -= released;
        }
        assert!(received > 100_000, "it flows: {received}");
    }
}
