//! The body of a batch through its codec, bounded.

use std::io::{self, Read, Write};

use super::{BatchError, Compression, xerial};

/// Read by zlib and by every client; the usual trade of time for size.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// The window that RFC 8878 asks every reader to support (8 MiB): it bounds what a frame's
/// header alone makes the reader allocate, while frames of all usual levels stay readable.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const LZ4_INDEPENDENT_BLOCKS: u8 = 1 << 5;

/// Appends `body` to `out`, compressed.
pub(super) fn compress(
    compression: Compression,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let result = match compression {
        Compression::None => {
            out.extend_from_slice(body);
            Ok(())
        }
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(body).and_then(|()| encoder.finish().map(drop))
        }
        Compression::Snappy => xerial::compress(body, out),
        Compression::Lz4 => lz4(body, out),
        Compression::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL)
            .map(|compressed| out.extend_from_slice(&compressed)),
    };
    result.map_err(|error| BatchError::Compress { compression, reason: error.to_string() })
}

/// Java's reader takes independent blocks only.
fn lz4(body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(body)?;
    encoder.finish()?;
    Ok(())
}

/// What `body` holds, at most `max` bytes. Grows as data comes, never by what a header claims.
pub(super) fn decompress(
    compression: Compression,
    body: &[u8],
    max: usize,
) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::with_capacity(body.len().saturating_mul(3).min(max));
    let result = match compression {
        Compression::None => {
            let fits = body.len() <= max;
            out.extend_from_slice(if fits { body } else { &[] });
            Ok(fits)
        }
        Compression::Gzip => read(flate2::bufread::MultiGzDecoder::new(body), max, &mut out),
        Compression::Snappy => xerial::decompress(body, max, &mut out),
        Compression::Lz4 => unlz4(body, max, &mut out),
        Compression::Zstd => {
            zstd::stream::read::Decoder::with_buffer(body).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                read(decoder, max, &mut out)
            })
        }
    };
    match result {
        Ok(true) => Ok(out),
        Ok(false) => Err(BatchError::UncompressedTooLarge { max }),
        Err(error) => Err(BatchError::Decompress { compression, reason: error.to_string() }),
    }
}

/// Reads to the end; `Ok(false)` when there is more than `max`.
fn read(reader: impl Read, max: usize, out: &mut Vec<u8>) -> io::Result<bool> {
    reader.take((max as u64).saturating_add(1)).read_to_end(out)?;
    Ok(out.len() <= max)
}

/// One frame of independent blocks, as Java's reader has it: linked blocks, legacy frames and
/// anything after the frame are refused.
fn unlz4(body: &[u8], max: usize, out: &mut Vec<u8>) -> io::Result<bool> {
    let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
    match body {
        [a, b, c, d, flags, ..] if [*a, *b, *c, *d] == LZ4_MAGIC => {
            if flags & LZ4_INDEPENDENT_BLOCKS == 0 {
                return Err(invalid("blocks that depend on each other"));
            }
        }
        _ => return Err(invalid("not an LZ4 frame")),
    }
    let mut rest = body;
    let fits = read(lz4_flex::frame::FrameDecoder::new(&mut rest), max, out)?;
    if fits && !rest.is_empty() {
        return Err(invalid("bytes after the frame"));
    }
    Ok(fits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const CODECS: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn compressed(codec: Compression, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, body, &mut out).unwrap();
        out
    }

    #[test]
    fn a_bomb_is_an_error_and_never_much_memory() {
        let zeros = vec![0; 64 << 20];
        for codec in CODECS {
            let bomb = compressed(codec, &zeros);
            assert!(bomb.len() < zeros.len() / 18, "{codec}: {}", bomb.len());
            assert_eq!(
                decompress(codec, &bomb, 1 << 20),
                Err(BatchError::UncompressedTooLarge { max: 1 << 20 }),
                "{codec}"
            );
            assert_eq!(decompress(codec, &bomb, zeros.len()).map(|out| out.len()), Ok(64 << 20));
        }
    }

    #[test]
    fn the_limit_is_exact() {
        for codec in CODECS {
            let body = compressed(codec, &[7; 100_000]);
            assert!(decompress(codec, &body, 100_000).is_ok(), "{codec}");
            assert!(decompress(codec, &body, 99_999).is_err(), "{codec}");
        }
    }

    #[test]
    fn a_raw_snappy_block_is_read_and_its_claim_checked() {
        let raw = snap::raw::Encoder::new().compress_vec(b"abcabcabcabc").unwrap();
        let read = |bytes: &[u8]| decompress(Compression::Snappy, bytes, 1 << 30);
        assert_eq!(read(&raw).unwrap(), b"abcabcabcabc");
        // Claims 256 MiB in five bytes.
        let claim = [0x80, 0x80, 0x80, 0x80, 0x01, 0];
        assert!(matches!(read(&claim), Err(BatchError::Decompress { .. })));
    }

    #[test]
    fn an_lz4_frame_stands_alone_and_its_blocks_too() {
        let frame = compressed(Compression::Lz4, b"records");
        let read = |bytes: &[u8]| decompress(Compression::Lz4, bytes, 1 << 20);
        assert_eq!(read(&frame).unwrap(), b"records");
        assert!(read(&[frame.as_slice(), b"x"].concat()).is_err());
        assert!(read(&frame.repeat(2)).is_err());
        let mut linked = frame;
        linked[4] &= !LZ4_INDEPENDENT_BLOCKS;
        assert!(read(&linked).is_err());
        assert!(read(b"").is_err());
    }

    #[test]
    fn a_zstd_window_is_bounded() {
        // A frame that asks for a window of 128 MiB (log 27) and holds one empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3, 1, 0, 0];
        assert!(matches!(
            decompress(Compression::Zstd, &frame, 1 << 20),
            Err(BatchError::Decompress { .. })
        ));
    }

    proptest! {
        #![proptest_config(crate::batch::same_cases())]

        #[test]
        fn round_trip(body in prop::collection::vec(any::<u8>(), 0..200_000)) {
            for codec in Compression::ALL {
                let out = decompress(codec, &compressed(codec, &body), body.len());
                prop_assert_eq!(out.as_ref(), Ok(&body));
            }
        }

        #[test]
        fn no_bytes_panic(
            body in prop::collection::vec(0u8..4, 0..3000),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            for codec in Compression::ALL {
                let _ = decompress(codec, &body, 10_000);
                let mut bytes = compressed(codec, &body);
                for (at, byte) in &changes {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = *byte;
                    }
                }
                if let Ok(out) = decompress(codec, &bytes, 10_000) {
                    prop_assert!(out.len() <= 10_000);
                }
                bytes.truncate(cut.index(bytes.len() + 1));
                let _ = decompress(codec, &bytes, 10_000);
            }
        }
    }
}
