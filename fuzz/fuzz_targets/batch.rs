//! The batch decoder on anything: it refuses or gives what was promised, and never panics.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_protocol::batch::{self, DecodeLimits, ProduceLimits};

const LIMITS: DecodeLimits = DecodeLimits { uncompressed_bytes_max: 1 << 20 };

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    let produced = ProduceLimits {
        batch_bytes_max: 1 << 20,
        records_max: 1_000,
        timestamp_min_ms: 0,
        timestamp_max_ms: i64::MAX,
    };
    let taken = batch::verify_produced(&bytes, &produced);
    assert!(taken.is_err() || batch::verify(&bytes).is_ok(), "what is produced is a batch");
    if let Ok(Some((header, body, rest))) = batch::split_first(&bytes) {
        assert_eq!(header.batch_bytes, body.len());
        assert_eq!(body.len() + rest.len(), bytes.len());
    }
    if let Ok(records) = batch::records(&bytes, &LIMITS) {
        let (mut next, mut whole) = (None, true);
        for record in records {
            let Ok(record) = record else {
                whole = false;
                break;
            };
            assert!(next.is_none_or(|next| next == record.offset), "offsets follow on");
            next = record.offset.checked_add(1);
        }
        if let (Ok(header), true) = (batch::verify(&bytes), whole) {
            assert_eq!(next, Some(header.next_offset()), "as many as the header says");
        }
    }
});
