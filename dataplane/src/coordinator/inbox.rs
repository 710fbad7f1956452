//! Where requests wait for one coordinator, bounded by count and by bytes: what does not fit
//! is refused at once, for whoever asked can wait better.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use weir_protocol::{ErrorCode, WireError};

use super::request::{Answer, Ask, Request};
use crate::config::Limits;

/// The way in. Clones share it.
#[derive(Clone)]
pub struct Inbox {
    asks: mpsc::Sender<Ask>,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

impl Inbox {
    /// An empty one, and the coordinator's end of it.
    #[must_use]
    pub fn new(limits: &Limits) -> (Self, mpsc::Receiver<Ask>) {
        let bytes_max = u32::try_from(limits.consumer_bytes_max).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(bytes_max as usize));
        let (asks, inbox) = mpsc::channel(limits.consumer_requests_max.max(1));
        (Self { asks, room, bytes_max }, inbox)
    }

    /// Whether nobody reads it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.asks.is_closed()
    }

    /// Lets a request in. It takes its room until it is answered.
    ///
    /// # Errors
    /// `OVERLOADED`; `NOT_YET_AVAILABLE` if nobody reads it any more.
    pub fn put(
        &self,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Answer, WireError>>, WireError> {
        // One that is larger than the bound itself waits alone.
        let bytes = u32::try_from(request.bytes()).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| full())?;
        let (respond, answer) = oneshot::channel();
        match self.asks.try_send(Ask { request, respond, room }) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(full()),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                let text = "the replica of the coordinator was closed";
                Err(WireError::new(ErrorCode::NotYetAvailable, text))
            }
        }
    }
}

fn full() -> WireError {
    let text = "as many requests wait for the coordinator as it takes; nothing was done";
    WireError::new(ErrorCode::Overloaded, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::{record::SessionId, request::Verb};

    fn request(name_bytes: usize) -> Request {
        let verb = Verb::OpenSession { session: SessionId([1; 16]), partitions: Vec::new() };
        Request { consumer: "c".repeat(name_bytes).into(), verb }
    }

    #[test]
    fn what_waits_is_bounded_by_bytes_until_it_is_answered() {
        let each = request(10).bytes();
        let limits = Limits { consumer_bytes_max: 2 * each, ..Limits::default() };
        let (way_in, mut inbox) = Inbox::new(&limits);
        let _first = way_in.put(request(10)).unwrap();
        let _second = way_in.put(request(10)).unwrap();
        let refused = way_in.put(request(10)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Overloaded);
        let ask = inbox.try_recv().unwrap();
        assert!(way_in.put(request(10)).is_err(), "it is worked on");
        ask.answer(Ok(Answer::Committed));
        let _third = way_in.put(request(10)).unwrap();
        assert!(way_in.put(request(10)).is_err());
        // One of any size is let in alone.
        while let Ok(ask) = inbox.try_recv() {
            drop(ask);
        }
        let _huge = way_in.put(request(100 * each)).unwrap();
    }

    #[test]
    fn what_waits_is_bounded_by_count() {
        let limits = Limits { consumer_requests_max: 1, ..Limits::default() };
        let (way_in, inbox) = Inbox::new(&limits);
        let _first = way_in.put(request(1)).unwrap();
        assert_eq!(way_in.put(request(1)).unwrap_err().code, ErrorCode::Overloaded);
        drop(inbox);
        assert!(way_in.is_closed());
        assert_eq!(way_in.put(request(1)).unwrap_err().code, ErrorCode::NotYetAvailable);
    }
}
