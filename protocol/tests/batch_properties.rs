//! What holds for all batches, and for all bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use proptest::{prelude::*, sample::Index};
use support::{assert_same, decode, encode, resealed, same_cases};
use weir_protocol::{
    batch::{
        BatchBuilder, BatchConfig, BatchHeader, Compression, DecodeLimits, Header, NewRecord,
        ProduceLimits, ProducerStamp, assign, records, split_first, verify, verify_produced,
    },
    ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId},
};

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    // Few different bytes, so that codecs have something to do.
    prop::collection::vec(prop_oneof![0u8..3, any::<u8>()], 0..most).prop_map(Bytes::from)
}

fn header() -> impl Strategy<Value = Header> {
    ("\\PC{0,8}", prop::option::of(bytes(20)))
        .prop_map(|(key, value)| Header { key: key.into(), value })
}

fn record() -> impl Strategy<Value = NewRecord> {
    (
        prop_oneof![0i64..1 << 41, Just(0), Just(i64::MAX)],
        prop::option::of(bytes(40)),
        prop::option::of(bytes(300)),
        prop::collection::vec(header(), 0..4),
    )
        .prop_map(|(timestamp_ms, key, value, headers)| NewRecord {
            timestamp_ms,
            key,
            value,
            headers,
        })
}

fn all_records() -> impl Strategy<Value = Vec<NewRecord>> {
    prop::collection::vec(record(), 1..80)
}

fn compression() -> impl Strategy<Value = Compression> {
    prop::sample::select(Compression::ALL.to_vec())
}

fn producer() -> impl Strategy<Value = Option<ProducerStamp>> {
    let stamp = (0..=i64::MAX as u64, 0..=i16::MAX as u16, 0..=i32::MAX as u32);
    prop::option::of(stamp.prop_map(|(id, epoch, base_sequence)| ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence,
    }))
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    prop::collection::vec((any::<Index>(), 1..=u8::MAX), 1..8)
}

/// Runs every reader over the bytes; whatever it says, it must not panic or run away.
fn read_all(bytes: &Bytes) {
    let _ = BatchHeader::parse(bytes);
    let _ = verify(bytes);
    let _ = verify_produced(bytes, &ProduceLimits::default());
    let _ = assign(bytes, Offset(7), LeaderEpoch(1));
    let mut rest = bytes.clone();
    while let Ok(Some((_, batch, after))) = split_first(&rest) {
        assert!(after.len() < rest.len());
        if let Ok(all) = records(&batch, &DecodeLimits { uncompressed_bytes_max: 1 << 20 }) {
            let most = all.header().record_count as usize + 1;
            assert!(all.count() <= most);
        }
        rest = after;
    }
}

proptest! {
    #![proptest_config(same_cases())]

    #[test]
    fn round_trip(all in all_records(), producer in producer(), base in 0u64..1 << 62) {
        for compression in Compression::ALL {
            let mut builder =
                BatchBuilder::new(BatchConfig { compression, ..Default::default() });
            for record in &all {
                let expected = builder.estimated_bytes_with(record);
                builder.push(record.clone()).unwrap();
                prop_assert_eq!(builder.estimated_bytes(), expected);
            }
            prop_assert_eq!(builder.record_count() as usize, all.len());
            let estimated = builder.estimated_bytes();
            let batch = builder.finish(producer).unwrap();
            prop_assert!(batch.len() <= estimated);
            if compression == Compression::None {
                prop_assert_eq!(batch.len(), estimated);
            }
            let header = verify_produced(&batch, &ProduceLimits::default()).unwrap();
            prop_assert_eq!(header.producer, producer);
            prop_assert_eq!(header.base_timestamp_ms, all[0].timestamp_ms);
            let max = all.iter().map(|r| r.timestamp_ms).max();
            prop_assert_eq!(Some(header.max_timestamp_ms), max);
            assert_same(&decode(&batch).unwrap(), &all, 0);

            let stored = assign(&batch, Offset(base), LeaderEpoch(5)).concat();
            assert_same(&decode(&stored.into()).unwrap(), &all, base);
        }
    }

    #[test]
    fn keys_and_values_of_a_plain_batch_are_its_own_bytes(all in all_records()) {
        let batch = encode(Compression::None, &all, None);
        let range = batch.as_ptr_range();
        for record in decode(&batch).unwrap() {
            for field in [record.key, record.value].into_iter().flatten() {
                if !field.is_empty() {
                    prop_assert!(range.contains(&field.as_ptr()));
                }
            }
        }
    }

    #[test]
    fn an_assigned_batch_is_sound_and_its_body_shared(
        all in all_records(),
        compression in compression(),
        base in 0..=i64::MAX as u64 - 100,
        epoch: u32,
    ) {
        let batch = encode(compression, &all, None);
        let parts = assign(&batch, Offset(base), LeaderEpoch(epoch));
        prop_assert_eq!(parts[1].as_ptr(), batch[parts[0].len()..].as_ptr());
        let stored = parts.concat();
        let header = verify(&stored).unwrap();
        prop_assert_eq!(header.base_offset, Offset(base));
        prop_assert_eq!(header.partition_leader_epoch, LeaderEpoch(epoch));
        prop_assert_eq!(header.next_offset(), Offset(base + all.len() as u64));
        prop_assert_eq!(&stored[16..], &batch[16..]);
        prop_assert_eq!(Ok(header), BatchHeader::parse(&parts[0]));
    }

    #[test]
    fn concatenated_batches_are_walked(
        batches in prop::collection::vec((all_records(), compression()), 0..5),
    ) {
        let batches: Vec<_> = batches.iter().map(|(all, codec)| encode(*codec, all, None)).collect();
        let mut rest = Bytes::from(batches.concat());
        for batch in batches {
            let (header, first, after) = split_first(&rest).unwrap().unwrap();
            prop_assert_eq!(Ok(header), verify(&first));
            prop_assert_eq!(first, batch);
            rest = after;
        }
        prop_assert_eq!(split_first(&rest), Ok(None));
    }

    #[test]
    fn a_changed_batch_is_never_verified_as_another(
        all in all_records(),
        compression in compression(),
        changes in changes(),
    ) {
        let batch = encode(compression, &all, None);
        let mut changed = batch.to_vec();
        for (at, bits) in changes {
            changed[at.index(batch.len())] ^= bits;
        }
        if let Ok(header) = verify(&changed) {
            // Only base offset and leader epoch lie outside of length, magic and CRC.
            prop_assert_eq!(&changed[8..12], &batch[8..12]);
            prop_assert_eq!(&changed[16..], &batch[16..]);
            prop_assert_eq!(header.crc, verify(&batch).unwrap().crc);
        }
        read_all(&changed.into());
    }

    #[test]
    fn no_changed_and_resealed_batch_panics(
        all in all_records(),
        compression in compression(),
        changes in changes(),
        cut in any::<Index>(),
    ) {
        let mut changed = encode(compression, &all, None).to_vec();
        for (at, bits) in changes {
            let at = at.index(changed.len());
            changed[at] ^= bits;
        }
        changed[16] = 2;
        read_all(&resealed(changed.clone()));
        changed.truncate(61 + cut.index(changed.len() - 60));
        read_all(&resealed(changed));
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), codec in 0u8..8) {
        read_all(&bytes.clone().into());
        // Past the checks that random bytes fail: a header whose only fault is its body.
        if bytes.len() > 61 {
            let count = (bytes.len() as u32 - 61) / 7;
            bytes[..8].fill(0);
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&[0, codec]);
            bytes[23..27].copy_from_slice(&count.saturating_sub(1).to_be_bytes());
            bytes[43..57].fill(0xff);
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            read_all(&resealed(bytes));
        }
    }
}
