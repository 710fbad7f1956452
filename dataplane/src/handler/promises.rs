//! What was taken and is not answered yet: an SPU that ends answers it first.

use tokio::sync::watch;
use weir_protocol::{ErrorCode, WireError};
use weir_runtime::task::CancellationToken;

/// Counts calls that have taken something.
#[derive(Debug)]
pub struct Promises {
    /// Set when nothing more is taken.
    over: CancellationToken,
    open: watch::Sender<usize>,
}

impl Promises {
    /// None yet; none is made any more once `over`.
    #[must_use]
    pub fn new(over: CancellationToken) -> Self {
        Self { over, open: watch::Sender::default() }
    }

    /// Set when nothing more is taken.
    #[must_use]
    pub const fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Counts as open until it is dropped.
    ///
    /// # Errors
    /// `SHUTTING_DOWN`.
    pub fn promise(&self) -> Result<Promise, WireError> {
        // Counted before it looks: whoever waits for the last one either sees this one, or is seen.
        let promise = Promise::of(&self.open);
        if self.over.is_cancelled() { Err(shutting_down()) } else { Ok(promise) }
    }

    /// Waits until none is open.
    pub async fn kept(&self) {
        // No error: the sender is here.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// Something that was taken.
#[derive(Debug)]
pub struct Promise(watch::Sender<usize>);

impl Promise {
    fn of(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// Nothing was taken.
pub(super) fn shutting_down() -> WireError {
    WireError::new(ErrorCode::ShuttingDown, "the SPU is shutting down")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn what_was_promised_is_waited_for_and_nothing_is_promised_after_the_end() {
        let promises = Promises::new(CancellationToken::new());
        let (first, second) = (promises.promise().unwrap(), promises.promise().unwrap());
        promises.over().cancel();
        assert_eq!(promises.promise().unwrap_err().code, ErrorCode::ShuttingDown);
        drop(first);
        assert_eq!(promises.kept().now_or_never(), None);
        drop(second);
        assert_eq!(promises.kept().now_or_never(), Some(()));
    }
}
