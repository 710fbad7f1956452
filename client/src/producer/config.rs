//! How a producer batches, sends and waits.

use std::time::Duration;

use weir_protocol::{
    batch::{BATCH_BYTES_HARD_MAX, Compression},
    pb::data,
};

use crate::config::DURATION_MAX;

/// Which replicas must have a batch before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Every in-sync replica, durably as the topic's flush policy says. An acknowledged
    /// record survives the loss of all but one of them.
    #[default]
    All,
    /// The leader only. Lost with the leader.
    Leader,
    /// The leader's page cache only. May be lost at a crash.
    None,
}

impl Acks {
    pub(crate) const fn to_wire(self) -> data::Acks {
        match self {
            Self::All => data::Acks::All,
            Self::Leader => data::Acks::Leader,
            Self::None => data::Acks::None,
        }
    }
}

/// Which partition a record goes to when it does not say so itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioning {
    /// Records with a key by the key's murmur2 hash over all partitions, as Kafka does; those
    /// without as [`Partitioning::RoundRobin`].
    #[default]
    ByKey,
    /// A batch at a time over the partitions that have a live leader, each to the one that was
    /// given the fewest bytes.
    RoundRobin,
}

/// How a producer batches, sends and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Size at which a batch is sealed, in bytes before compression. Default 128 KiB.
    pub batch_bytes: usize,
    /// Largest batch that the cluster takes, in bytes: also bounds a single record.
    /// Default 1 MiB, at most 16 MiB.
    pub batch_bytes_max: usize,
    /// How long a batch may wait for more records. Default zero: a batch goes as soon as its
    /// partition may send. Behind two that are in flight it collects for a millisecond all the
    /// same, unless it is full or they are answered sooner. At most a year.
    pub linger: Duration,
    /// Default none.
    pub compression: Compression,
    /// Default [`Acks::All`].
    pub acks: Acks,
    /// From the first record of a batch to its outcome, retries included. Default 30 s, at most a
    /// year.
    pub delivery_timeout: Duration,
    /// Bytes of unacknowledged records, about; [`crate::Producer::send`] waits beyond.
    /// Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Batches of one partition under way at once, 1 to 16 (what an SPU remembers of a
    /// producer). Default 16: enough to hide an fsync behind.
    pub in_flight_per_partition_max: usize,
    /// Default [`Partitioning::ByKey`].
    pub partitioning: Partitioning,
    /// Default true: a producer id and sequence numbers make retries free of duplicates.
    ///
    /// Without, a batch is sent again only when it is known not to have been appended, one at
    /// a time per partition; an unknown outcome is reported at once.
    pub idempotent: bool,
    /// Default false: when the topic is deleted and created again, sends fail with
    /// `TOPIC_RECREATED`. True: they go to the new generation. What was queued for the old one
    /// fails either way.
    pub follow_name: bool,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            batch_bytes: 128 << 10,
            batch_bytes_max: 1 << 20,
            linger: Duration::ZERO,
            compression: Compression::None,
            acks: Acks::All,
            delivery_timeout: Duration::from_secs(30),
            queue_bytes_max: 64 << 20,
            in_flight_per_partition_max: IN_FLIGHT_MAX,
            partitioning: Partitioning::ByKey,
            idempotent: true,
            follow_name: false,
        }
    }
}

/// The SPU remembers this many batches of a producer: more in flight and a retry could not be
/// told from a gap.
const IN_FLIGHT_MAX: usize = 16;

impl ProducerConfig {
    /// The same with every value in its bounds.
    pub(crate) fn bounded(mut self) -> Self {
        // One larger would break the stream that all producers share.
        self.batch_bytes_max = self.batch_bytes_max.clamp(256, BATCH_BYTES_HARD_MAX);
        self.batch_bytes = self.batch_bytes.clamp(1, self.batch_bytes_max);
        self.linger = self.linger.min(DURATION_MAX);
        self.delivery_timeout = self.delivery_timeout.min(DURATION_MAX);
        self.queue_bytes_max = self.queue_bytes_max.clamp(1, QUEUE_BYTES_LIMIT);
        let in_flight_max = if self.idempotent { IN_FLIGHT_MAX } else { 1 };
        self.in_flight_per_partition_max = self.in_flight_per_partition_max.clamp(1, in_flight_max);
        self
    }
}

/// The queue is counted in permits of a semaphore, taken by a `u32`.
const QUEUE_BYTES_LIMIT: usize = (u32::MAX >> 4) as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_batch_is_larger_than_what_an_spu_decodes() {
        let config = ProducerConfig {
            batch_bytes: usize::MAX,
            batch_bytes_max: usize::MAX,
            ..Default::default()
        };
        let bounded = config.bounded();
        assert_eq!(bounded.batch_bytes_max, BATCH_BYTES_HARD_MAX);
        assert_eq!(bounded.batch_bytes, BATCH_BYTES_HARD_MAX);
    }

    #[test]
    fn durations_are_bounded() {
        let config = ProducerConfig {
            linger: Duration::MAX,
            delivery_timeout: Duration::MAX,
            ..Default::default()
        };
        let bounded = config.bounded();
        assert_eq!((bounded.linger, bounded.delivery_timeout), (DURATION_MAX, DURATION_MAX));
    }
}
