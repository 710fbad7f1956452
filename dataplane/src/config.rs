//! What an SPU is told at its start, and its bounds.

use std::{num::NonZeroU64, time::Duration};

use secrecy::SecretString;
use weir_protocol::ids::{ClusterId, LaunchId, OrgId, SpuId};

use crate::log::LogConfig;

/// Largest record batch that any cluster may take, in bytes: what the gRPC limits are made
/// for. A cluster's own limit (at most this) comes with the registration.
pub const BATCH_BYTES_HARD_MAX: usize = 16 << 20;

/// Largest gRPC message of the data plane, in bytes, in both directions: the largest batch
/// and its envelope. Clients must decode up to this.
pub const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_HARD_MAX + (64 << 10);

/// Largest gRPC message on the session, in bytes: a snapshot of a large cluster.
pub const SESSION_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Largest record batch where the control plane names no limit, in bytes.
pub const BATCH_BYTES_MAX_DEFAULT: usize = 1 << 20;

/// One SPU.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tenant.
    pub org_id: OrgId,
    /// The cluster that it serves.
    pub cluster_id: ClusterId,
    /// Which of its SPUs.
    pub spu_id: SpuId,
    /// Which start of it by the provisioner.
    pub launch_id: LaunchId,
    /// The proof of that start.
    pub launch_secret: SecretString,
    /// The control plane's gRPC endpoint, `host:port`.
    pub control_plane: String,
    /// Where to serve clients, `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// Where clients reach it, `host:port`, if not at `listen`.
    pub advertise: Option<String>,
    /// What fails together with it, if that is known: copies of a partition are spread over racks.
    pub rack: Option<String>,
    /// The build that runs, for the control plane and whoever asks it.
    pub build: String,
    /// Its bounds.
    pub limits: Limits,
    /// How logs are written.
    pub log: LogConfig,
}

/// Bounds of memory, of work under way, and of waits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Batches that wait for one partition's appender, in bytes. A stream that would exceed
    /// it waits. At least one batch of any size is let in.
    pub queue_bytes_max: usize,
    /// The same, in requests.
    pub queue_requests_max: usize,
    /// Batches written by one vectored write, in bytes (and one batch more).
    pub group_bytes_max: usize,
    /// Unanswered requests of one produce stream, in bytes of batches. At the bound the
    /// stream is not read.
    pub stream_bytes_max: usize,
    /// The same, in requests.
    pub stream_requests_max: usize,
    /// Most records in one batch.
    pub batch_records_max: u32,
    /// How far a record's timestamp may lie in the future, so that one from the year 2100
    /// does not pin its segment for ever.
    pub timestamp_ahead_max: Duration,
    /// A produce request's deadline where it names none.
    pub produce_timeout_default: Duration,
    /// The longest deadline that a produce request may have.
    pub produce_timeout_max: Duration,
    /// One fetch response's batches, in bytes, where the subscription names no bound.
    pub fetch_bytes_default: usize,
    /// The most that a subscription may ask for.
    pub fetch_bytes_max: usize,
    /// Responses that wait for a slow reader of a fetch stream.
    pub fetch_responses_ahead: usize,
    /// Subscriptions of one fetch stream.
    pub subscriptions_max: usize,
    /// Metadata changes kept for watchers that come back.
    pub metadata_deltas_kept: usize,
    /// Idempotent producers remembered per partition.
    pub producers_max: usize,
    /// A follower that has not held all that its leader has for so long is taken out of sync.
    pub replica_lag_max: Duration,
    /// What a follower takes of one partition in one answer, in bytes; a larger batch whole.
    pub replica_fetch_bytes: u32,
    /// How fast replicas that are not in sync are fed, all of this SPU's together, in bytes a
    /// second; `None`: as fast as it goes.
    pub catch_up_bytes_per_s: Option<NonZeroU64>,
    /// Answers that wait for a slow follower.
    pub replica_responses_ahead: usize,
    /// How long a follower waits, after an error, before it asks for that partition again.
    pub replica_pause: Duration,
    /// Logs that are opened (recovered) at the same time.
    pub opens_at_once: usize,
    /// Segments that stay open, of all logs together, but for those with bytes that are not
    /// on the disk yet.
    pub open_segments_max: usize,
    /// How far the clocks of the control plane and of this SPU may differ in judging a token.
    pub token_leeway: Duration,
    /// How long an expired token goes on being good while the control plane is away, which
    /// alone could give a fresh one.
    pub token_grace: Duration,
    /// How long a client waits at most for a producer id.
    pub producer_id_timeout: Duration,
    /// Requests of named consumers that wait for one coordinator. Beyond it they are refused.
    pub consumer_requests_max: usize,
    /// The same, in bytes, with those that are worked on. One of any size is let in alone.
    pub consumer_bytes_max: usize,
    /// How long a request of a named consumer waits at most for its answer.
    pub consumer_timeout: Duration,
    /// Pairs of a named consumer and a partition that one coordinator knows.
    pub consumer_keys_max: usize,
    /// Metadata of all commits that one coordinator knows, in bytes.
    pub consumer_metadata_bytes_max: usize,
    /// How long after a commit the control plane is told of it, and of all others since.
    pub offsets_flush_interval: Duration,
    /// How long the control plane may take to answer that, and how long an SPU that ends
    /// tries to tell it the last ones.
    pub offsets_flush_timeout: Duration,
    /// The longest pause between two attempts to reach the control plane.
    pub reconnect_pause_max: Duration,
    /// How long clients' open calls, then the logs, may each take to end at shutdown.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes_max: 32 << 20,
            queue_requests_max: 4096,
            group_bytes_max: 8 << 20,
            stream_bytes_max: 64 << 20,
            stream_requests_max: 1024,
            batch_records_max: 1_000_000,
            timestamp_ahead_max: Duration::from_secs(24 * 60 * 60),
            produce_timeout_default: Duration::from_secs(30),
            produce_timeout_max: Duration::from_secs(300),
            fetch_bytes_default: 1 << 20,
            fetch_bytes_max: 8 << 20,
            fetch_responses_ahead: 2,
            subscriptions_max: 16_384,
            metadata_deltas_kept: 1024,
            producers_max: 10_000,
            replica_lag_max: Duration::from_secs(10),
            replica_fetch_bytes: 1 << 20,
            catch_up_bytes_per_s: None,
            replica_responses_ahead: 4,
            replica_pause: Duration::from_millis(100),
            opens_at_once: 4,
            open_segments_max: 1_000,
            token_leeway: Duration::from_secs(10),
            token_grace: Duration::from_secs(24 * 60 * 60),
            producer_id_timeout: Duration::from_secs(10),
            consumer_requests_max: 1024,
            consumer_bytes_max: 32 << 20,
            consumer_timeout: Duration::from_secs(10),
            consumer_keys_max: 200_000,
            consumer_metadata_bytes_max: 64 << 20,
            offsets_flush_interval: Duration::from_secs(1),
            offsets_flush_timeout: Duration::from_secs(3),
            reconnect_pause_max: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
