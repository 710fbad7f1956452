//! Committed batches: our own, so that the format never drifts, and batches that kafka-python
//! wrote, so that it is not only ours (`golden/foreign.py` also had it read ours).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use support::{BASE_MS, PRODUCER, assert_same, decode, encode, from_hex, golden, sample, to_hex};
use weir_protocol::{
    batch::{BatchHeader, Compression, NO_LEADER_EPOCH, TimestampType, verify},
    ids::{LeaderEpoch, Offset},
};

fn fixture(name: &str) -> Bytes {
    from_hex(&golden(name, || panic!("{name} comes from foreign.py"))).into()
}

fn check_header(header: &BatchHeader, compression: Compression, epoch: LeaderEpoch) {
    assert_eq!(header.compression(), compression);
    assert_eq!(header.attributes(), u16::from(compression.number()));
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert!(!header.is_transactional() && !header.is_control());
    assert_eq!(header.base_offset, Offset::ZERO);
    assert_eq!(header.partition_leader_epoch, epoch);
    assert_eq!(header.record_count, 24);
    assert_eq!(header.last_offset(), Offset(23));
    assert_eq!(header.next_offset(), Offset(24));
    assert_eq!(header.base_timestamp_ms, BASE_MS);
    assert_eq!(header.max_timestamp_ms, BASE_MS + 70_000_000_000);
    assert_eq!(header.producer, Some(PRODUCER));
    assert_eq!(header.last_sequence(), Some(15), "wrapped");
}

#[test]
fn our_fixtures_are_read_and_written_as_ever() {
    for compression in Compression::ALL {
        let now = encode(compression, &sample(), Some(PRODUCER));
        let text = golden(&format!("weir_{compression}.hex"), || to_hex(&now));
        let batch = Bytes::from(from_hex(&text));

        let header = verify(&batch).unwrap();
        check_header(&header, compression, NO_LEADER_EPOCH);
        assert_same(&decode(&batch).unwrap(), &sample(), 0);

        // A codec's next release may compress otherwise; the format itself may not change.
        check_header(&verify(&now).unwrap(), compression, NO_LEADER_EPOCH);
        if compression == Compression::None {
            assert_eq!(now, batch);
        }
    }
}

#[test]
fn foreign_fixtures_are_read() {
    let names = Compression::ALL.map(|codec| (codec, format!("foreign_{codec}.hex")));
    let raw = (Compression::Snappy, "foreign_snappy_raw.hex".to_owned());
    for (compression, name) in names.into_iter().chain([raw]) {
        let batch = fixture(&name);
        let header = verify(&batch).unwrap_or_else(|error| panic!("{name}: {error}"));
        // kafka-python writes epoch 0 where Java and we write −1; the server overwrites it.
        check_header(&header, compression, LeaderEpoch(0));
        assert_same(&decode(&batch).unwrap(), &sample(), 0);
    }
}

#[test]
fn two_implementations_write_the_same_bytes() {
    let (foreign, ours) =
        (fixture("foreign_none.hex"), encode(Compression::None, &sample(), Some(PRODUCER)));
    assert_eq!(foreign[..12], ours[..12]);
    assert_eq!(foreign[16..], ours[16..]);
}
