//! Randomness: the kernel's in production, the seed's in simulation (madsim intercepts
//! `getrandom` 0.3, so one code serves both).

/// Fills an array with random bytes.
///
/// # Errors
/// When the operating system has no entropy to give, as before its pool is ready.
pub fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(std::io::Error::from)?;
    Ok(out)
}

/// A random number below `bound`, for jitter and choices that need no secrecy; 0 when
/// `bound` is 0 or the operating system has no entropy.
#[must_use]
pub fn below(bound: u64) -> u64 {
    match (bytes::<8>(), bound) {
        (_, 0) | (Err(_), _) => 0,
        (Ok(raw), bound) => {
            ((u128::from(u64::from_le_bytes(raw)) * u128::from(bound)) >> 64) as u64
        }
    }
}
