//! What `verify` and `verify_produced` refuse, each by its own error and code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use support::{BASE_MS, PRODUCER, decode, encode, patched, resealed, sample};
use weir_protocol::{
    ErrorCode,
    batch::{
        BatchBuilder, BatchConfig, BatchError, BatchHeader, Compression, HEADER_BYTES, NewRecord,
        ProduceLimits, ProducerStamp, TimestampType, split_first, verify, verify_produced,
    },
    ids::{Offset, ProducerEpoch, ProducerId},
};

fn batch() -> Bytes {
    encode(Compression::None, &sample(), Some(PRODUCER))
}

fn refused(bytes: &[u8]) -> BatchError {
    verify_produced(bytes, &ProduceLimits::default()).expect_err("it should be refused")
}

#[track_caller]
fn assert_refused(bytes: &[u8], error: &BatchError, code: ErrorCode) {
    assert_eq!(&refused(bytes), error);
    assert_eq!(error.code(), code);
}

#[test]
fn a_sound_batch_of_every_codec_is_taken() {
    for compression in Compression::ALL {
        for producer in [None, Some(PRODUCER)] {
            let bytes = encode(compression, &sample(), producer);
            let header = verify_produced(&bytes, &ProduceLimits::default()).unwrap();
            assert_eq!(header.batch_bytes, bytes.len());
            assert_eq!(header.producer, producer);
            assert_eq!(Ok(header), BatchHeader::parse(&bytes[..HEADER_BYTES]));
        }
    }
}

#[test]
fn not_exactly_one_batch() {
    let one = batch();
    let (needed, code) = (one.len(), ErrorCode::InvalidBatch);
    let two = [one.clone(), one.clone()].concat();
    assert_refused(&two, &BatchError::TrailingBytes { extra: needed }, code);
    for available in 0..needed {
        let needed = if available < HEADER_BYTES { HEADER_BYTES } else { needed };
        let error = BatchError::Truncated { needed, available };
        assert_refused(&one[..available], &error, code);
    }
    for length in [-1, i32::MIN, 0, 48] {
        let mut bytes = one.to_vec();
        bytes[8..12].copy_from_slice(&i32::to_be_bytes(length));
        let error = BatchError::Field { field: "batch length", value: i64::from(length) };
        assert_refused(&bytes, &error, code);
    }
}

#[test]
fn another_magic() {
    for magic in [0, 1, 3, 0xff] {
        let bytes = patched(&batch(), 16, &[magic]);
        let error = BatchError::Magic { magic: magic.cast_signed() };
        assert_refused(&bytes, &error, ErrorCode::InvalidBatch);
    }
}

#[test]
fn damage_is_corrupt_whatever_it_looks_like() {
    // Among them the codec, the counts, the producer: a retry may cure it.
    for at in 17..batch().len() {
        let mut bytes = batch().to_vec();
        bytes[at] ^= 0x55;
        assert_eq!(refused(&bytes).code(), ErrorCode::CorruptBatch, "byte {at}");
    }
}

#[test]
fn counts_that_do_not_agree() {
    let code = ErrorCode::InvalidBatch;
    let count = |n: i32| patched(&batch(), 57, &n.to_be_bytes());
    let delta = |n: i32| patched(&batch(), 23, &n.to_be_bytes());
    assert_refused(&count(0), &BatchError::Empty, code);
    let error = |record_count, last_offset_delta| BatchError::RecordCount {
        record_count,
        last_offset_delta,
    };
    assert_refused(&count(25), &error(25, 23), code);
    assert_refused(&delta(24), &error(24, 24), code);
    assert_refused(&delta(i32::MAX), &error(24, i32::MAX as u32), code);
    let error = |field| BatchError::Field { field, value: -1 };
    assert_refused(&count(-1), &error("record count"), code);
    assert_refused(&delta(-1), &error("last offset delta"), code);
}

#[test]
fn unknown_codecs_and_bits_that_are_not_the_producers() {
    let attributes = |bits: u16| patched(&batch(), 21, &bits.to_be_bytes());
    for codec in 5..8 {
        let error = BatchError::UnknownCodec(codec);
        assert_refused(&attributes(u16::from(codec)), &error, ErrorCode::InvalidBatch);
    }
    for bit in 3..16 {
        let error = refused(&attributes(1 << bit));
        assert!(matches!(error, BatchError::Forbidden(_)), "bit {bit}: {error}");
        assert_eq!(error.code(), ErrorCode::InvalidBatch);
        // The format knows them; only producers may not use them.
        assert!(verify(&attributes(1 << bit)).is_ok(), "bit {bit}");
    }
    let header = verify(&attributes(0b11_1000)).unwrap();
    assert!(header.is_control() && header.is_transactional());
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
}

#[test]
fn base_offsets() {
    let base = |offset: i64| patched(&batch(), 0, &offset.to_be_bytes());
    assert!(matches!(refused(&base(1)), BatchError::Forbidden(_)));
    assert_eq!(verify(&base(1)).unwrap().last_offset(), Offset(24));
    let last = i64::MAX - 24;
    assert_eq!(verify(&base(last)).unwrap().next_offset(), Offset::MAX);
    for value in [-1, i64::MIN, last + 1] {
        let error = BatchError::Field { field: "base offset", value };
        assert_refused(&base(value), &error, ErrorCode::InvalidBatch);
    }
}

#[test]
fn timestamps() {
    let window = ProduceLimits {
        timestamp_min_ms: BASE_MS - 10,
        timestamp_max_ms: BASE_MS + 100,
        ..Default::default()
    };
    let batch = |base, max| {
        let at = |delta| NewRecord { timestamp_ms: BASE_MS + delta, ..Default::default() };
        encode(Compression::None, &[at(base), at(max)], None)
    };
    for (base, max, which) in
        [(-10, 100, None), (0, 0, None), (-11, 0, Some("base")), (0, 101, Some("max"))]
    {
        let result = verify_produced(&batch(base, max), &window);
        let refused = match result {
            Ok(_) => None,
            Err(BatchError::Timestamp { which, .. }) => Some(which),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(refused, which, "{base} {max}");
    }
    let both = |base: i64, max: i64| {
        let times = [base.to_be_bytes(), max.to_be_bytes()].concat();
        verify(&patched(&batch(0, 0), 27, &times)).map_err(|error| match error {
            BatchError::Timestamp { which, .. } => which,
            error => panic!("{error}"),
        })
    };
    assert!(both(5, 5).is_ok());
    assert_eq!(both(5, 4).err(), Some("max"));
    assert_eq!(both(-1, 4).err(), Some("base"));
    assert_eq!(both(i64::MIN, i64::MAX).err(), Some("base"));
}

#[test]
fn producers_that_are_not_whole() {
    for (id, epoch, sequence) in
        [(7i64, -1i16, 0i32), (7, 0, -1), (-1, 0, 0), (-1, -1, 0), (-1, 0, -1), (-2, -1, -1)]
    {
        let stamp = [&id.to_be_bytes()[..], &epoch.to_be_bytes(), &sequence.to_be_bytes()].concat();
        let error = BatchError::Producer { id, epoch, sequence };
        assert_refused(&patched(&batch(), 43, &stamp), &error, ErrorCode::InvalidBatch);
    }
}

#[test]
fn more_than_the_limits() {
    let limits = ProduceLimits { batch_bytes_max: batch().len(), ..Default::default() };
    assert!(verify_produced(&batch(), &limits).is_ok());
    let limits = ProduceLimits { batch_bytes_max: batch().len() - 1, ..limits };
    let error = verify_produced(&batch(), &limits).unwrap_err();
    assert!(matches!(error, BatchError::TooLarge { .. }));
    assert_eq!(error.code(), ErrorCode::BatchTooLarge);
    let limits = ProduceLimits { records_max: 23, ..Default::default() };
    let error = verify_produced(&batch(), &limits).unwrap_err();
    assert_eq!(error, BatchError::TooManyRecords { count: 24, max: 23 });
    assert_eq!(error.code(), ErrorCode::BatchTooLarge);
}

/// The server takes these: it does not decode. The reader finds them.
#[test]
fn unsound_bodies_are_the_readers_to_find() {
    let one = NewRecord { timestamp_ms: BASE_MS, ..Default::default() };
    let two = encode(Compression::None, &[one.clone(), one], None);
    // length 6, attributes, timestamp delta, offset delta, key −1, value −1, no headers; twice
    assert_eq!(two[HEADER_BYTES..], [12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 2, 1, 1, 0]);
    let body = |at: usize, byte: u8| patched(&two, HEADER_BYTES + at, &[byte]);
    let trailing = resealed([&two[..], &[0]].concat());
    let missing = resealed(two[..two.len() - 7].to_vec());
    let damaged = [
        (body(0, 14), 0, "a length into the next record"),
        (body(0, 11), 0, "a negative length"),
        (body(7, 14), 1, "a length past the end"),
        (body(3, 2), 0, "an offset delta that is not its place"),
        (body(10, 0), 1, "an offset delta again"),
        (body(4, 3), 0, "a length below −1"),
        (body(5, 40), 0, "a value past the record"),
        (body(6, 2), 0, "a header that is not there"),
        (trailing, 2, "bytes after the last record"),
        (missing, 1, "a record that is not there"),
    ];
    for (bytes, index, what) in damaged {
        assert!(verify_produced(&bytes, &ProduceLimits::default()).is_ok(), "{what}");
        let error = decode(&bytes).expect_err(what);
        assert_eq!(error.code(), ErrorCode::InvalidBatch);
        match error {
            BatchError::Record { index: found, .. } => assert_eq!(found, index, "{what}"),
            error => panic!("{what}: {error}"),
        }
    }
    let not_zstd = patched(&two, 21, &4u16.to_be_bytes());
    assert!(verify_produced(&not_zstd, &ProduceLimits::default()).is_ok());
    assert!(matches!(decode(&not_zstd), Err(BatchError::Decompress { .. })));
}

#[test]
fn walking_stops_at_a_batch_that_is_cut_short() {
    let one = batch();
    let bytes = Bytes::from([&one[..], &one[..100]].concat());
    let (header, first, rest) = split_first(&bytes).unwrap().unwrap();
    assert_eq!((header.record_count, &first), (24, &one));
    let error = BatchError::Truncated { needed: one.len(), available: 100 };
    assert_eq!(split_first(&rest), Err(error));
    assert_eq!(split_first(&Bytes::new()), Ok(None));
}

#[test]
fn what_the_builder_refuses() {
    let mut builder = BatchBuilder::new(BatchConfig::default());
    let before = builder.estimated_bytes();
    let old = NewRecord { timestamp_ms: -1, ..Default::default() };
    assert!(matches!(builder.push(old), Err(BatchError::Timestamp { .. })));
    let headers = vec![support::sample()[4].headers[0].clone(); 65_536];
    let record = NewRecord { headers, ..Default::default() };
    assert!(matches!(builder.push(record), Err(BatchError::Record { .. })));
    assert!(builder.is_empty());
    assert_eq!(builder.estimated_bytes(), before);
    assert_eq!(builder.finish(None), Err(BatchError::Empty));

    for stamp in [
        ProducerStamp { id: ProducerId(u64::MAX), ..PRODUCER },
        ProducerStamp { epoch: ProducerEpoch(u16::MAX), ..PRODUCER },
        ProducerStamp { base_sequence: 1 << 31, ..PRODUCER },
    ] {
        let mut builder = BatchBuilder::new(BatchConfig::default());
        builder.push(NewRecord::default()).unwrap();
        assert!(matches!(builder.finish(Some(stamp)), Err(BatchError::Producer { .. })));
    }
}
