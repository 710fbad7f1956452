//! Producer ids: blocks from the control plane, each id handed out once.
//!
//! One task owns the block. The end of a block is on the disk before its first id is given
//! away, so that neither this process nor a later one, nor a control plane whose database
//! went back, gives an id out twice. What a crash leaves of a block is lost, which is fine.

use std::{future::Future, ops::Range, pin::Pin, sync::Arc, time::Duration};

use secrecy::ExposeSecret as _;
use tokio::sync::{mpsc, oneshot, watch};
use weir_protocol::{
    ErrorCode, WireError,
    ids::ProducerId,
    pb::session::{AllocateProducerIdsRequest, spu_control_client::SpuControlClient},
};
use weir_runtime::{
    clock::Clock,
    rpc::Channel,
    task::{self, CancellationToken, JoinHandle},
};

use crate::{
    seen::Seen,
    session::{Identity, SessionView, backoff::Backoff},
};

/// Requests that may wait for an id.
const WAITING_MAX: usize = 256;
/// A new block is fetched when so few ids are left.
const REFILL_BELOW: u64 = 32;
/// The longest pause between two attempts to get a block.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the control plane may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest number that the record batch format can hold.
const ID_MAX: u64 = i64::MAX as u64;

type Respond = oneshot::Sender<ProducerId>;
type Fetching = Pin<Box<dyn Future<Output = Result<Range<u64>, WireError>> + Send>>;

/// Hands out producer ids. Clones share the block.
#[derive(Clone)]
pub struct ProducerIds {
    requests: mpsc::Sender<Respond>,
    clock: Clock,
    timeout: Duration,
}

/// Where blocks come from.
pub struct Source {
    /// Who asks.
    pub identity: Identity,
    /// The control plane.
    pub channel: Channel,
    /// Whether there is an incarnation to ask with.
    pub session: watch::Receiver<SessionView>,
    /// Where the highest id is kept.
    pub seen: Seen,
}

impl ProducerIds {
    /// Starts the task that owns the block.
    #[must_use]
    pub fn start(
        source: Source,
        clock: Clock,
        timeout: Duration,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, inbox) = mpsc::channel(WAITING_MAX);
        let task = task::spawn(hand_out(Arc::new(source), clock, inbox, stop));
        (Self { requests, clock, timeout }, task)
    }

    /// An id that nobody else ever gets.
    ///
    /// # Errors
    /// `OVERLOADED`; `NOT_YET_AVAILABLE` when no block came from the control plane in time.
    pub async fn next(&self) -> Result<ProducerId, WireError> {
        let (respond, answer) = oneshot::channel();
        self.requests.try_send(respond).map_err(|_| {
            WireError::new(ErrorCode::Overloaded, "too many wait for a producer id")
        })?;
        match self.clock.timeout(self.timeout, answer).await {
            Ok(Ok(id)) => Ok(id),
            Ok(Err(_)) => Err(WireError::new(ErrorCode::ShuttingDown, "the SPU is shutting down")),
            Err(_) => {
                let text = "no producer ids are left, and the control plane gave none in time";
                Err(WireError::new(ErrorCode::NotYetAvailable, text))
            }
        }
    }
}

async fn hand_out(
    source: Arc<Source>,
    clock: Clock,
    mut inbox: mpsc::Receiver<Respond>,
    stop: CancellationToken,
) {
    let mut block = 0..0;
    let mut next_block: Option<Range<u64>> = None;
    let mut fetching: Option<Fetching> = None;
    let mut backoff = Backoff::new(PAUSE_MAX);
    let mut first_in_line: Option<Respond> = None;
    loop {
        if block.is_empty()
            && let Some(next) = next_block.take()
        {
            block = next;
        }
        // An id for a client that has gone is not used up.
        if !block.is_empty()
            && let Some(respond) = first_in_line.take()
            && respond.send(ProducerId(block.start)).is_ok()
        {
            block.start += 1;
        }
        // The first block is fetched before anybody asks: the control plane may be away then.
        let low = block.end - block.start < REFILL_BELOW && next_block.is_none();
        if low && fetching.is_none() {
            fetching = Some(source.clone().fetch(clock, Duration::ZERO));
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            result = ready(&mut fetching) => match result {
                Ok(range) => {
                    backoff.reset();
                    next_block = Some(range);
                }
                Err(error) => {
                    tracing::warn!(%error, "no block of producer ids");
                    fetching = Some(source.clone().fetch(clock, backoff.next_pause()));
                }
            },
            respond = inbox.recv(), if first_in_line.is_none() => {
                let Some(respond) = respond else { return };
                first_in_line = Some(respond);
            }
        }
    }
}

/// Waits for the block that is being fetched; for ever, if none is.
async fn ready(fetching: &mut Option<Fetching>) -> Result<Range<u64>, WireError> {
    let Some(future) = fetching else { return std::future::pending().await };
    let result = future.await;
    *fetching = None;
    result
}

impl Source {
    fn fetch(self: Arc<Self>, clock: Clock, pause: Duration) -> Fetching {
        Box::pin(async move {
            clock.sleep(pause).await;
            self.block(clock).await
        })
    }

    /// A block, with its end on the disk.
    async fn block(&self, clock: Clock) -> Result<Range<u64>, WireError> {
        let mut session = self.session.clone();
        let registered = session.wait_for(|view| view.incarnation.is_some());
        let view = *registered.await.map_err(|_| gone())?;
        let identity = &self.identity;
        let request = AllocateProducerIdsRequest {
            org_id: identity.org_id.to_string(),
            cluster_id: identity.cluster_id.to_string(),
            spu_id: identity.spu_id.get(),
            incarnation: view.incarnation.map_or(0, |incarnation| incarnation.get()),
            launch_id: identity.launch_id.to_string(),
            launch_secret: identity.launch_secret.expose_secret().to_owned(),
        };
        let mut client = SpuControlClient::new(self.channel.clone());
        let call = client.allocate_producer_ids(request);
        let answer = clock.timeout(CALL_TIMEOUT, call).await;
        let answer = answer
            .map_err(|_| WireError::new(ErrorCode::TimedOut, "no answer in time"))?
            .map_err(|status| WireError::new(ErrorCode::Unreachable, status.to_string()))?
            .into_inner();
        let block = check(answer.first, answer.count, self.seen.highest().producer_id)?;
        self.seen.producer_id(ProducerId(block.end - 1)).await.map_err(|_| gone())?;
        Ok(block)
    }
}

/// A block, if it lies beyond everything that was ever given to this folder.
fn check(first: u64, count: u32, seen: Option<ProducerId>) -> Result<Range<u64>, WireError> {
    let end = first.checked_add(count.into()).filter(|end| *end <= ID_MAX && count > 0);
    let end = end.ok_or_else(|| {
        WireError::new(ErrorCode::InvalidRequest, "the block of producer ids is empty or too high")
    })?;
    if seen.is_some_and(|seen| first <= seen.get()) {
        let text = "the control plane gave producer ids that were given out before";
        return Err(WireError::new(ErrorCode::DatabaseWentBack, text));
    }
    Ok(first..end)
}

fn gone() -> WireError {
    WireError::new(ErrorCode::ShuttingDown, "the SPU is shutting down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_must_lie_beyond_all_that_was_given_before() {
        let seen = Some(ProducerId(99));
        assert_eq!(check(100, 50, seen), Ok(100..150));
        assert_eq!(check(0, 1, None), Ok(0..1));
        assert_eq!(check(99, 50, seen).unwrap_err().code, ErrorCode::DatabaseWentBack);
        for (first, count) in [(100, 0), (ID_MAX, 1), (u64::MAX, 9)] {
            assert_eq!(check(first, count, seen).unwrap_err().code, ErrorCode::InvalidRequest);
        }
    }
}
