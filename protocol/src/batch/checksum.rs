//! The one checksum of Weir.

/// CRC-32C (Castagnoli, as in iSCSI) of `bytes`; with the CPU's instructions where it has them.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    /// The definition, bit by bit: the fast one takes other paths at other lengths and CPUs.
    fn by_definition(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
        })
    }

    #[test]
    fn every_length_and_alignment_is_by_the_definition() {
        let mut state = 1u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(70_000)
        .collect();
        for length in (0..1_100).chain([4_095, 4_096, 4_097, 65_535, 65_999]) {
            let slice = &bytes[length % 67..][..length];
            assert_eq!(crc32c(slice), by_definition(slice), "{length} bytes");
        }
    }
}
