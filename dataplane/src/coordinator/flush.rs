//! When the control plane is told what was committed: one upload after another, one per
//! interval under load and at once after a quiet time, as [`Pace`] has it; with growing pauses
//! while it does not answer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, Offset, PartitionKey, TopicGenerationId},
    pb::session::{StoreOffsetsResponse, StoredOffset},
};
use weir_runtime::{
    clock::{Clock, Monotonic},
    plant,
    task::{self, JoinHandle},
};

use super::{
    fold::Fold,
    pace::Pace,
    record::{Key, Record},
    unsent::{Unsent, stored},
    upload::Uploader,
};
use crate::{config::Limits, session::backoff::Backoff};

/// How long the first change after a quiet time waits for others.
const GATHER: Duration = Duration::from_millis(20);

/// How an upload ended.
pub type Uploaded = Result<StoreOffsetsResponse, WireError>;

/// What a flush waits for.
pub enum Step {
    /// It is time for an upload.
    Due,
    /// One ended.
    Ended(Uploaded),
}

/// An upload under way.
struct Sending {
    /// There was more than one upload takes.
    more: bool,
    call: JoinHandle<Uploaded>,
}

/// The uploads of one leadership of one offsets partition.
pub struct Flush {
    uploader: Arc<Uploader>,
    clock: Clock,
    partition: PartitionKey,
    epoch: LeaderEpoch,
    interval: Duration,
    backoff: Backoff,
    unsent: Unsent,
    sending: Option<Sending>,
    due: Option<Monotonic>,
    pace: Pace,
    /// The control plane knows a newer leadership: nothing of this one is for it any more.
    over: bool,
}

impl Flush {
    /// Everything in `fold` is told at once: nobody knows what the leader before has told.
    #[must_use]
    pub fn new(
        uploader: Arc<Uploader>,
        (partition, epoch): (PartitionKey, LeaderEpoch),
        limits: &Limits,
        fold: &Fold,
    ) -> Self {
        let clock = uploader.clock;
        let mut unsent = Unsent::default();
        let live = fold.live().map(|(key, entry)| (key, entry.position));
        for (key, position) in live.chain(fold.graves().map(|(key, at)| (key.clone(), at))) {
            unsent.mark(None, position, key);
        }
        let due = (!unsent.is_empty()).then(|| clock.now());
        Self {
            uploader,
            clock,
            partition,
            epoch,
            interval: limits.offsets_flush_interval,
            backoff: Backoff::new(limits.reconnect_pause_max),
            unsent,
            sending: None,
            due,
            pace: Pace::new(limits.offsets_flush_interval),
            over: false,
        }
    }

    /// A key changed, below the high watermark.
    pub fn mark(&mut self, former: Option<Offset>, position: Offset, key: Key) {
        self.unsent.mark(former, position, key);
        self.schedule(self.wait());
    }

    /// A key is to be told as it is since `position`, again, by an upload that begins from now on.
    pub fn doubt(&mut self, position: Offset, key: Key) {
        self.unsent.doubt(position, key);
        self.schedule(self.interval);
    }

    /// A key was written again as it was.
    pub fn moved(&mut self, former: Option<Offset>, position: Offset, key: Key) {
        self.unsent.moved(former, position, key);
    }

    /// Waits for the next thing to do; for ever, if there is none. Cancel-safe.
    pub async fn step(&mut self) -> Step {
        if let Some(sending) = &mut self.sending {
            let joined = (&mut sending.call).await;
            let panicked = "the upload's task ended by a panic";
            return Step::Ended(
                joined.unwrap_or_else(|_| Err(WireError::new(ErrorCode::Internal, panicked))),
            );
        }
        match self.due {
            Some(due) => self.clock.sleep(due.since(self.clock.now())).await,
            None => std::future::pending().await,
        }
        Step::Due
    }

    /// Begins the next upload.
    pub fn begin(&mut self, fold: &Fold) {
        self.due = None;
        if self.sending.is_some() || self.over || self.unsent.is_empty() {
            return;
        }
        self.pace.begin(self.clock.now());
        let offsets = self.unsent.next_upload(fold);
        let more = offsets.len() < self.unsent.len();
        self.sending = Some(Sending { more, call: self.call(offsets) });
    }

    /// Takes how the upload ended; gives the generations that the control plane says are gone.
    pub fn ended(&mut self, uploaded: Uploaded, fold: &mut Fold) -> BTreeSet<TopicGenerationId> {
        let Some(Sending { more, .. }) = self.sending.take() else {
            return BTreeSet::new();
        };
        let answer = match uploaded {
            Ok(answer) => answer,
            Err(error) if error.code == ErrorCode::FencedLeaderEpoch => {
                tracing::info!(partition = %self.partition, epoch = %self.epoch, %error, "no more uploads of offsets in this leadership");
                self.over = true;
                return BTreeSet::new();
            }
            Err(error) => {
                let pause = self.backoff.next_pause();
                tracing::debug!(partition = %self.partition, %error, pause_ms = pause.as_millis(), "offsets not uploaded yet");
                self.schedule(pause);
                return BTreeSet::new();
            }
        };
        self.backoff.reset();
        for (key, position) in self.unsent.sent() {
            fold.bury(&key, position);
        }
        if !self.unsent.is_empty() {
            self.schedule(if more { Duration::ZERO } else { self.wait() });
        }
        answer
            .gone_generation_ids
            .iter()
            .filter_map(|id| TopicGenerationId::from_wire(id))
            .collect()
    }

    /// Tells the rest before the end, as far as the control plane takes it at once.
    pub async fn finish(&mut self, fold: &mut Fold) {
        loop {
            self.begin(fold);
            let Some(_) = &self.sending else { return };
            let Step::Ended(uploaded) = self.step().await else { return };
            if uploaded.is_err() {
                return;
            }
            self.ended(uploaded, fold);
        }
    }

    /// The planted bug "flush_above_hw": SQL hears of a commit before the log has it.
    pub fn planted(&self, fold: &Fold, records: &[Record]) {
        if !plant::active("flush_above_hw") {
            return;
        }
        let positions = (fold.end().get()..).map(Offset);
        let offsets = records.iter().zip(positions);
        let offsets = offsets.map(|(record, at)| stored(&record.key, at, record.value.as_ref()));
        self.call(offsets.collect());
    }

    fn call(&self, offsets: Vec<StoredOffset>) -> JoinHandle<Uploaded> {
        let (uploader, partition, epoch) = (self.uploader.clone(), self.partition, self.epoch);
        task::spawn(async move { uploader.store(partition, epoch, offsets).await })
    }

    /// How long what changed now waits.
    fn wait(&self) -> Duration {
        self.pace.wait(self.clock.now()).max(GATHER)
    }

    /// So long from now, unless the next upload has its time, or one runs, whose end decides.
    fn schedule(&mut self, after: Duration) {
        if self.sending.is_none() && self.due.is_none() && !self.over {
            self.due = Some(self.clock.now().plus(after));
        }
    }
}
