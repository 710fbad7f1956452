//! What can happen to a replica, and what it asks of its surroundings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weir_protocol::{
    ErrorCode, WireError,
    ids::{Incarnation, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, ProducerId, SpuId},
    topic_config::TopicConfig,
};

use super::{
    follower::{Cut, FromLeader, Taken},
    followers::{FollowerFetch, Verdict},
};

/// Names one request between its event and its answer. Unique within a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// The leader's page cache. A crash may lose the batch.
    None,
    /// The leader's disk. Losing the leader may lose the batch. (With `flush=interval`: its
    /// page cache.)
    Leader,
    /// The disk of every in-sync replica, at least `min_insync` of them. (With
    /// `flush=interval`: their page caches.)
    All,
}

/// What the control plane says of the partition, with what this process knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// This SPU.
    pub me: SpuId,
    /// This process's incarnation; `None` before the first registration.
    pub incarnation: Option<Incarnation>,
    /// Whether the generation is active: a tombstone is kept, not served.
    pub serving: bool,
    /// Who leads, if anybody does.
    pub leader: Option<SpuId>,
    /// The incarnation that `leader_epoch` was given to.
    pub leader_incarnation: Incarnation,
    /// Version of the leadership.
    pub leader_epoch: LeaderEpoch,
    /// The newest leader epoch that was given to a replica which may lack what was committed
    /// before; 0: none ever was.
    pub unclean_epoch: LeaderEpoch,
    /// Version of leader, in-sync set and replicas together.
    pub partition_epoch: PartitionEpoch,
    /// Every replica.
    pub replicas: BTreeSet<SpuId>,
    /// Those of them that the control plane knows to be there, each in its present life.
    pub online: BTreeMap<SpuId, Incarnation>,
    /// The replicas that an `acks=all` waits for.
    pub isr: BTreeSet<SpuId>,
    /// The high watermark stands still while the in-sync set is smaller than this.
    pub min_insync: u32,
    /// How the records are kept.
    pub config: TopicConfig,
}

/// Which batches of a producer a batch is: what the duplicate check compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The producer.
    pub id: ProducerId,
    /// Which instance of it.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record, `0 ..= i32::MAX`.
    pub first_sequence: u32,
    /// Sequence of the last record; smaller than the first where it wrapped.
    pub last_sequence: u32,
}

/// A verified batch that wants to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produce {
    /// To answer it by.
    pub request: RequestId,
    /// The leader epoch that the client believes in.
    pub leader_epoch: LeaderEpoch,
    /// What the client wants to wait for.
    pub acks: Acks,
    /// How many offsets the batch takes, at least 1.
    pub record_count: u32,
    /// Its place in an idempotent producer's sequence.
    pub stamp: Option<Stamp>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The control plane's latest word.
    Assign(Assignment),
    /// A batch arrived.
    Produce(Produce),
    /// Everything asked for by [`Action::Append`] since the last such event is in the log.
    Appended,
    /// None of it is, and the log is as it was: this is why.
    AppendRefused(Refusal),
    /// Nobody knows how much of it is.
    AppendFailed(Problem),
    /// The log is on the disk up to here.
    Synced {
        /// First offset that is not known to be durable.
        durable_end: Offset,
    },
    /// What lay below is forgotten.
    StartMoved {
        /// Oldest kept offset, not above the high watermark.
        log_start: Offset,
    },
    /// The log is damaged, or an fsync failed: not to be trusted any more.
    Broken(Problem),
    /// A follower says what it holds, and wants what comes then.
    Fetch(FollowerFetch),
    /// The leader that this replica follows said something.
    FromLeader(FromLeader),
    /// What [`Action::Take`] asked for is in the log. (After [`Event::AppendRefused`] none of it
    /// is, as with [`Action::Append`].)
    Taken(Taken),
    /// What [`Action::Cut`] asked for is done. (If the disk had no room for that, nothing was, and
    /// nothing is said: the leader is asked again.)
    WasCut {
        /// That.
        cut: Cut,
        /// Where the log ends now.
        log_end: Offset,
    },
    /// The control plane refused the in-sync set that was proposed on this partition epoch.
    IsrRefused(PartitionEpoch),
    /// Somebody must know whether this process still leads, and all that is committed: answered
    /// like a produced batch, once every replica in sync has been heard at this epoch.
    Confirm(RequestId),
    /// Time has passed.
    Tick {
        /// On this process's own clock, ms.
        now_ms: u64,
    },
}

/// What the replica asks for. To be performed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the request's batch at the log's end.
    Append {
        /// Whose batch.
        request: RequestId,
        /// Offset of its first record.
        base_offset: Offset,
        /// Epoch to write into its header.
        epoch: LeaderEpoch,
    },
    /// Write what the leader sent at the log's end, as it is.
    Take(Taken),
    /// Take something away from the log's end, or all of it.
    Cut(Cut),
    /// Tell the follower. Each fetch is answered exactly once.
    Feed {
        /// Which fetch.
        request: RequestId,
        /// What to do for it.
        verdict: Result<Verdict, Refusal>,
    },
    /// Tell the client. Each request is answered exactly once.
    Respond {
        /// Which request.
        request: RequestId,
        /// What to say.
        answer: Answer,
    },
}

/// The end of a request.
pub type Answer = Result<Ack, Refusal>;

/// The batch is where the request's `acks` wanted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// It had been appended by an earlier request.
    pub duplicate: bool,
}

/// Why a replica is out of service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Problem {
    /// What it is.
    pub code: ErrorCode,
    /// A sentence for people.
    pub reason: Arc<str>,
}

impl Problem {
    /// A problem with its sentence.
    pub fn new(code: ErrorCode, reason: impl Into<Arc<str>>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// Why a batch was not acknowledged. [`Refusal::code`] says whether it may be in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Somebody else leads, or nobody.
    #[error("this SPU does not lead the partition")]
    NotLeader {
        /// Who does, as far as this SPU knows.
        leader: Option<SpuId>,
        /// At which epoch.
        epoch: LeaderEpoch,
    },
    /// The client is behind.
    #[error("the leader epoch of the request is older than the partition's, {current}")]
    FencedEpoch {
        /// This leader's epoch.
        current: LeaderEpoch,
    },
    /// The client is ahead: this SPU has yet to hear of the epoch.
    #[error("the leader epoch of the request is newer than the partition's here, {current}")]
    UnknownEpoch {
        /// This leader's epoch.
        current: LeaderEpoch,
    },
    /// The replica is out of service.
    #[error("the replica is offline: {0}")]
    Offline(Problem),
    /// A batch that is to be on so many replicas would wait for them.
    #[error("{in_sync} of at least {min_insync} replicas are in sync; nothing was appended")]
    NotEnoughReplicas {
        /// How many are.
        in_sync: u32,
        /// How many the topic asks for.
        min_insync: u32,
    },
    /// Somebody fetches who is no replica here, or not any more in that life.
    #[error("SPU {spu} is no replica of the partition, as far as is known here")]
    NoFollower {
        /// Who.
        spu: SpuId,
    },
    /// A gap or a stray batch in the producer's sequence.
    #[error("sequence {got} does not follow; expected {expected}")]
    OutOfOrderSequence {
        /// The one that follows.
        expected: u32,
        /// The one that came.
        got: u32,
    },
    /// A newer instance of the producer has written.
    #[error("producer epoch is older than {current}")]
    ProducerFenced {
        /// The newest one seen.
        current: ProducerEpoch,
    },
    /// The partition has used up the offsets of the format.
    #[error("the partition has no offsets left")]
    OffsetsExhausted,
    /// No room; nothing was written.
    #[error("the disk is full")]
    StorageFull,
    /// The disk could not take it just now; nothing was written.
    #[error("the disk did not take the batch, nothing was written: {0}")]
    StorageBusy(Arc<str>),
    /// The write or its fsync failed; the batch may or may not be in the log.
    #[error("storage failed: {0}")]
    StorageFailed(Problem),
    /// Leadership ended before the batch was committed; it may yet be.
    #[error("leadership ended before the batch was committed")]
    LeaderLost {
        /// Who leads now, as far as this SPU knows.
        leader: Option<SpuId>,
        /// At which epoch.
        epoch: LeaderEpoch,
    },
}

impl Refusal {
    /// The code of the wire.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { .. } => ErrorCode::NotLeader,
            Self::FencedEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            Self::Offline(_) => ErrorCode::ReplicaOffline,
            Self::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            Self::NoFollower { .. } => ErrorCode::NotYetAvailable,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequence,
            Self::ProducerFenced { .. } => ErrorCode::ProducerFenced,
            Self::OffsetsExhausted => ErrorCode::InvalidBatch,
            Self::StorageFull => ErrorCode::StorageFull,
            Self::StorageBusy(_) => ErrorCode::Overloaded,
            Self::StorageFailed(_) => ErrorCode::StorageFailed,
            Self::LeaderLost { .. } => ErrorCode::LeaderLost,
        }
    }
}

impl From<Refusal> for WireError {
    fn from(refusal: Refusal) -> Self {
        let mut error = Self::new(refusal.code(), refusal.to_string());
        match refusal {
            Refusal::NotLeader { leader, epoch } | Refusal::LeaderLost { leader, epoch } => {
                error.wire.leader_spu_id = leader.map(SpuId::get);
                error.wire.leader_epoch = Some(epoch.get());
            }
            Refusal::FencedEpoch { current } | Refusal::UnknownEpoch { current } => {
                error.wire.leader_epoch = Some(current.get());
            }
            _ => {}
        }
        error
    }
}
