//! The Kafka record batch v2 (magic 2): the one format of records on the wire and on disk.
//!
//! The layout is public (Kafka protocol guide, KIP-98, KIP-82), big-endian:
//!
//! | At | Field | Type | Inside the CRC |
//! |---|---|---|---|
//! | 0 | base offset | i64 | no |
//! | 8 | batch length: what follows these 12 bytes | i32 | no |
//! | 12 | partition leader epoch | i32 | no |
//! | 16 | magic, 2 | i8 | no |
//! | 17 | CRC-32C of all that follows | u32 | |
//! | 21 | attributes: codec 0–2, append time 3, transactional 4, control 5, delete horizon 6 | i16 | yes |
//! | 23 | last offset delta | i32 | yes |
//! | 27 | base timestamp, ms | i64 | yes |
//! | 35 | max timestamp, ms | i64 | yes |
//! | 43 | producer id, −1 for none | i64 | yes |
//! | 51 | producer epoch | i16 | yes |
//! | 53 | base sequence | i32 | yes |
//! | 57 | record count | i32 | yes |
//! | 61 | records, compressed together | | yes |
//!
//! **Who checks what.** A server calls [`verify_produced`], then [`assign()`]: it reads the
//! header and the CRC, and never decodes a record, compressed or not. So a batch whose header
//! is sound and whose body is not can be stored; the *client* finds it: [`records`] checks
//! every length, that the i-th record has offset delta i, and that exactly the promised number
//! of records fills the body. Such a batch is a typed error that a consumer can skip.
//!
//! | Module | Holds |
//! |---|---|
//! | [`header`](BatchHeader) | the fixed 61 bytes |
//! | [`verify`](verify()) | one whole batch: length, CRC, counts; and what a producer may send |
//! | [`assign`](assign()) | the offset and the epoch of an append, without copying the body |
//! | [`walk`](split_first) | batch after batch through concatenated ones |
//! | [`record`](Record) | records, headers |
//! | [`encode`](BatchBuilder), [`decode`](records) | records to bytes and back |
//! | [`compression`](Compression), `codec`, `xerial` | the codecs, bounded |
//! | `varint`, [`checksum`](crc32c) | zigzag varints, CRC-32C |

mod assign;
mod checksum;
mod codec;
mod compression;
mod decode;
mod encode;
mod error;
mod header;
mod record;
mod varint;
mod verify;
mod walk;
mod xerial;

pub use assign::assign;
pub use checksum::crc32c;
pub use compression::{Compression, UnknownCompression};
pub use decode::{DecodeLimits, Records, records};
pub use encode::{BatchBuilder, BatchConfig};
pub use error::BatchError;
pub use header::{
    BatchHeader, HEADER_BYTES, NO_LEADER_EPOCH, ProducerStamp, TimestampType, advance_sequence,
};
pub use record::{HEADERS_MAX, Header, HeaderKey, InvalidHeaderKey, NewRecord, Record};
pub use verify::{ProduceLimits, verify, verify_produced};
pub use walk::split_first;

/// Largest batch, bytes, header included, that any cluster can be configured to take. Bounds
/// what is decoded from a stream before it is looked at: a larger one breaks the stream.
pub const BATCH_BYTES_HARD_MAX: usize = 16 << 20;

/// The same cases in every run, unless PROPTEST_RNG_SEED says otherwise.
#[cfg(test)]
fn same_cases() -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let config = Config::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        chosen => chosen,
    };
    Config { rng_seed, failure_persistence: None, ..config }
}
