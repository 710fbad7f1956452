//! Secrets: API keys, launch secrets, and the tokens of the data plane.
//!
//! | Module | Holds |
//! |---|---|
//! | [`api_key`] | `weir_<env>_<id>_<secret>_<crc>`: format, check, generate |
//! | [`launch_secret`] | the proof of a launch, and of where it comes from |
//! | [`pepper`] | keyed hashes of secrets, compared in constant time |
//! | [`token`] | EdDSA JWTs: signing, and the public keys that SPUs verify with |

pub mod api_key;
pub mod launch_secret;
pub mod pepper;
pub mod token;

pub use api_key::{ApiKey, ApiKeyError};
pub use pepper::Pepper;
pub use token::{SignError, TokenSigner};

use std::io;

use secrecy::SecretString;

/// A fresh secret of 256 bits, 64 hexadecimal digits.
///
/// # Errors
/// As [`weir_runtime::rng::bytes`].
pub fn random_secret() -> io::Result<SecretString> {
    Ok(SecretString::from(hex(&weir_runtime::rng::bytes::<32>()?)))
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits; `None` when it is something else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()))
        .collect()
}
