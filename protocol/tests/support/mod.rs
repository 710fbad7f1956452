//! What several of these tests need.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(clippy::disallowed_methods, reason = "fixtures are files of this repository")]

use std::{env, fs, path::PathBuf};

use bytes::Bytes;
use proptest::test_runner::{Config, RngSeed};
use weir_protocol::{
    batch::{
        BatchBuilder, BatchConfig, BatchError, Compression, DecodeLimits, Header, NewRecord,
        ProducerStamp, Record, crc32c, records,
    },
    ids::{ProducerEpoch, ProducerId},
};

/// Timestamp of the sample's first record, Unix ms.
pub const BASE_MS: i64 = 1_700_000_000_000;

/// The sample's producer: its sequence wraps within the batch.
pub const PRODUCER: ProducerStamp = ProducerStamp {
    id: ProducerId(4_000),
    epoch: ProducerEpoch(3),
    base_sequence: i32::MAX as u32 - 7,
};

/// 24 records with every shape of field; `golden/foreign.py` writes the same ones.
pub fn sample() -> Vec<NewRecord> {
    let some = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let record = |delta_ms, key, value, headers| NewRecord {
        timestamp_ms: BASE_MS + delta_ms,
        key,
        value,
        headers,
    };
    let headers = vec![
        Header::new("trace", "abc"),
        Header::new("empty", ""),
        Header { key: "absent".into(), value: None },
        Header::new("trace", "again"),
        Header::new("Größe", vec![0u8, 255]),
        Header::new("", "no name"),
    ];
    let mut all = vec![
        record(0, some("order-1"), some("created"), vec![]),
        record(1, None, some("no key"), vec![]),
        record(2, some("order-1"), None, vec![]),
        record(-5, some(""), some(""), vec![]),
        record(70_000_000_000, None, None, headers),
        record(10, some("long"), Some(Bytes::from(vec![b'x'; 300])), vec![]),
    ];
    all.extend((0..18).map(|n| {
        let value = format!("{{\"order\":{n},\"state\":\"shipped\",\"note\":\"as before\"}}");
        record(20 + n, None, Some(value.into()), vec![])
    }));
    all
}

/// The batch of `records`.
pub fn encode(
    compression: Compression,
    records: &[NewRecord],
    producer: Option<ProducerStamp>,
) -> Bytes {
    let mut builder = BatchBuilder::new(BatchConfig { compression, ..Default::default() });
    for record in records {
        builder.push(record.clone()).expect("a sound record");
    }
    builder.finish(producer).expect("a batch")
}

/// All records of `batch`.
pub fn decode(batch: &Bytes) -> Result<Vec<Record>, BatchError> {
    records(batch, &DecodeLimits::default())?.collect()
}

/// Whether what was read is what was written, at offsets from `base`.
pub fn assert_same(read: &[Record], written: &[NewRecord], base: u64) {
    assert_eq!(read.len(), written.len());
    for ((offset, read), written) in (base..).zip(read).zip(written) {
        assert_eq!(read.offset.get(), offset);
        assert_eq!(read.timestamp_ms, written.timestamp_ms, "record at {offset}");
        assert_eq!(read.key, written.key, "record at {offset}");
        assert_eq!(read.value, written.value, "record at {offset}");
        assert_eq!(read.headers, written.headers, "record at {offset}");
    }
}

/// `batch` with `bytes` at `at`, and its length and CRC made right again.
pub fn patched(batch: &[u8], at: usize, bytes: &[u8]) -> Bytes {
    let mut patched = batch.to_vec();
    patched[at..at + bytes.len()].copy_from_slice(bytes);
    resealed(patched)
}

/// `batch` with its length and CRC made right.
pub fn resealed(mut batch: Vec<u8>) -> Bytes {
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

/// The committed file `golden/NAME`. With UPDATE_GOLDEN=1 in the environment it is written
/// first: for a new fixture only; an old one is a promise to everything already stored.
pub fn golden(name: &str, now: impl FnOnce() -> String) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        fs::write(&path, now()).expect("writing the fixture");
    }
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lower-case hex, 32 bytes a line.
pub fn to_hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|chunk| line(chunk) + "\n").collect()
}

/// The bytes of hex digits, white space aside.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| {
        u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two hex digits")
    };
    assert_eq!(digits.len() % 2, 0, "an odd number of hex digits");
    digits.chunks(2).map(byte).collect()
}

/// The same cases in every run, unless PROPTEST_RNG_SEED says otherwise.
pub fn same_cases() -> Config {
    let config = Config::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        chosen => chosen,
    };
    Config { rng_seed, failure_persistence: None, ..config }
}
