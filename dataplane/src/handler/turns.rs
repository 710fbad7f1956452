//! Whose turn it is on a fetch stream: *ready* to be served, *starved* of credit, or *waiting*
//! for something to happen.
//!
//! What a client subscribes to and leaves again is forgotten in time: the queues hold at most
//! about twice as much as is subscribed, however fast it comes and goes.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Abortable, Aborted},
};
use futures_buffered::FuturesUnordered;

/// Below this many entries nobody tidies up.
const TIDY_ABOVE: usize = 64;

/// Which subscription: its id, and how many came before it, since ids may be used again.
type Ticket = (u64, u64);

type Woken = Pin<Box<dyn Future<Output = Result<Ticket, Aborted>> + Send>>;

/// The turns of one stream's subscriptions.
#[derive(Default)]
pub(super) struct Turns {
    /// The subscriptions that there are: which of its id, and how to end its wait.
    live: BTreeMap<u64, (u64, Option<AbortHandle>)>,
    ready: VecDeque<Ticket>,
    starved: VecDeque<Ticket>,
    waiting: FuturesUnordered<Woken>,
    entered: u64,
}

impl Turns {
    /// A new subscription, ready at once. One of the same id that went before is forgotten.
    pub fn enter(&mut self, id: u64) {
        self.leave(id);
        self.live.insert(id, (self.entered, None));
        self.entered += 1;
        self.again(id);
    }

    /// Forgets a subscription.
    pub fn leave(&mut self, id: u64) {
        let Some((_, wait)) = self.live.remove(&id) else { return };
        if let Some(wait) = wait {
            wait.abort();
        }
        self.tidy();
    }

    /// It may be served again, after the others.
    pub fn again(&mut self, id: u64) {
        self.ready.extend(self.ticket(id));
    }

    /// It can be served once there is credit.
    pub fn starve(&mut self, id: u64) {
        self.starved.extend(self.ticket(id));
    }

    /// It can be served once `news` is there.
    pub fn wait(&mut self, id: u64, news: impl Future<Output = ()> + Send + 'static) {
        let Some((nth, wait)) = self.live.get_mut(&id) else { return };
        let ticket = (id, *nth);
        let (handle, registration) = AbortHandle::new_pair();
        *wait = Some(handle);
        self.waiting.push(Box::pin(Abortable::new(news.map(move |()| ticket), registration)));
    }

    /// There is credit.
    pub fn fed(&mut self) {
        self.ready.append(&mut self.starved);
    }

    /// Whether somebody may be served.
    pub fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whose turn it is; `None` also where that one is gone.
    pub fn next(&mut self) -> Option<u64> {
        let ticket = self.ready.pop_front()?;
        self.lives(ticket).then_some(ticket.0)
    }

    /// Until one of those that wait is ready or gone; for ever, if none waits. Cancel-safe.
    pub async fn news(&mut self) {
        match self.waiting.next().await {
            Some(woken) => self.ready.extend(woken.ok()),
            None => std::future::pending().await,
        }
    }

    fn ticket(&self, id: u64) -> Option<Ticket> {
        self.live.get(&id).map(|(nth, _)| (id, *nth))
    }

    fn lives(&self, (id, nth): Ticket) -> bool {
        self.live.get(&id).is_some_and(|(current, _)| *current == nth)
    }

    /// Lets go of what belongs to nobody, where that is at least half of a queue.
    fn tidy(&mut self) {
        let max = TIDY_ABOVE.max(2 * self.live.len());
        if self.waiting.len() > max {
            // Those that were aborted are ready at once.
            while let Some(Some(woken)) = self.waiting.next().now_or_never() {
                self.ready.extend(woken.ok());
            }
        }
        for queue in [&mut self.ready, &mut self.starved] {
            if queue.len() > max {
                queue.retain(|(id, nth)| self.live.get(id).is_some_and(|(live, _)| live == nth));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    impl Turns {
        fn entries(&self) -> usize {
            self.ready.len() + self.starved.len() + self.waiting.len()
        }
    }

    /// Far more than is subscribed at any time.
    const COMINGS: u64 = 10_000;

    #[test]
    fn who_comes_and_goes_leaves_nothing_behind() {
        type Place = fn(&mut Turns, u64);
        let places: [Place; 3] = [
            |_, _| {},
            |turns, id| {
                while turns.next() != Some(id) {}
                turns.starve(id);
            },
            |turns, id| {
                while turns.next() != Some(id) {}
                turns.wait(id, pending());
            },
        ];
        for place in places {
            let mut turns = Turns::default();
            for id in 1..=3 {
                turns.enter(id);
                while turns.next() != Some(id) {}
                turns.wait(id, pending());
            }
            for n in 0..COMINGS {
                let id = 10 + n % 2;
                turns.enter(id);
                place(&mut turns, id);
                turns.leave(id);
                assert!(turns.entries() <= 3 * TIDY_ABOVE, "{}", turns.entries());
            }
            assert_eq!(turns.live.len(), 3);
        }
    }

    #[test]
    fn an_id_used_again_does_not_get_the_turns_of_the_one_before() {
        let mut turns = Turns::default();
        turns.enter(1);
        turns.leave(1);
        turns.enter(1);
        assert_eq!((turns.next(), turns.next(), turns.next()), (None, Some(1), None));
        turns.starve(1);
        turns.fed();
        assert_eq!(turns.next(), Some(1));
        turns.wait(1, ready(()));
        assert!(!turns.any_ready());
        assert!(turns.news().now_or_never().is_some());
        assert_eq!(turns.next(), Some(1));
        assert!(turns.news().now_or_never().is_none());
    }

    #[test]
    fn tidying_wakes_nobody_in_vain_and_forgets_nobody() {
        let mut turns = Turns::default();
        for id in (0..1000).filter(|id| id % 3 > 0) {
            turns.enter(id);
            assert_eq!(turns.next(), Some(id));
            if id % 3 == 1 {
                turns.starve(id);
            } else {
                turns.wait(id, ready(()));
            }
        }
        for id in (0..1000).step_by(3) {
            turns.enter(id);
        }
        for id in 0..900 {
            turns.leave(id);
        }
        turns.fed();
        while turns.news().now_or_never().is_some() {}
        let mut served: Vec<u64> = Vec::new();
        while turns.any_ready() {
            served.extend(turns.next());
        }
        served.sort_unstable();
        assert_eq!(served, (900..1000).collect::<Vec<_>>());
    }
}
