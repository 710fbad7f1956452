//! Snappy as the Java clients frame it: a 16-byte header, then blocks of at most 32 KiB, each
//! behind its length. Other producers send one raw block; the header's first bytes tell.

use std::io;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// Version 1, readable by version 1.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK_BYTES: usize = 32 * 1024;
/// A three-byte copy element yields at most 64 bytes: nothing expands by more than 64/3.
const EXPANSION_MAX: usize = 22;

/// Appends `body` to `out`, framed.
pub(super) fn compress(body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in body.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let from = length_at + 4;
        out.resize(from + snap::raw::max_compress_len(block.len()), 0);
        let bytes = encoder.compress(block, &mut out[from..])?;
        out.truncate(from + bytes);
        // A block is at most 32 KiB, so its compressed form fits by far.
        out[length_at..from].copy_from_slice(&(bytes as u32).to_be_bytes());
    }
    Ok(())
}

/// Appends what `body`, framed or raw, holds to `out`; `Ok(false)` when it is more than `max`.
pub(super) fn decompress(body: &[u8], max: usize, out: &mut Vec<u8>) -> io::Result<bool> {
    let mut decoder = snap::raw::Decoder::new();
    let Some(framed) = body.strip_prefix(&MAGIC) else {
        return block(&mut decoder, body, max, out);
    };
    // The versions have been 1 and 1 since there have been any; readers skip them.
    let mut rest = framed.get(VERSIONS.len()..).ok_or_else(cut_short)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (compressed, after) = after.split_at_checked(length).ok_or_else(cut_short)?;
        if !block(&mut decoder, compressed, max, out)? {
            return Ok(false);
        }
        rest = after;
    }
    Ok(true)
}

fn block(
    decoder: &mut snap::raw::Decoder,
    compressed: &[u8],
    max: usize,
    out: &mut Vec<u8>,
) -> io::Result<bool> {
    // What the block says of itself, held against both limits before anything is allocated.
    let bytes = snap::raw::decompress_len(compressed)?;
    if bytes > max.saturating_sub(out.len()) {
        return Ok(false);
    }
    if bytes > compressed.len().saturating_mul(EXPANSION_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a block claims too much"));
    }
    let from = out.len();
    out.resize(from + bytes, 0);
    let written = decoder.decompress(compressed, &mut out[from..])?;
    out.truncate(from + written);
    Ok(true)
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a block is cut short")
}
