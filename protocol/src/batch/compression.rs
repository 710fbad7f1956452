//! The codecs by name and number.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How the records of a batch are compressed, all together.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the framing of the Java clients; raw blocks are read too.
    Snappy,
    /// The LZ4 frame format, independent blocks.
    Lz4,
    /// RFC 8878.
    Zstd,
}

/// A text that names no codec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a compression (expected none, gzip, snappy, lz4 or zstd)")]
pub struct UnknownCompression(String);

impl Compression {
    /// Every codec, by number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in bits 0–2 of the attributes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec of a number; `None` from 5 on.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.as_str() == text)
            .ok_or_else(|| UnknownCompression(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for (number, codec) in (0..).zip(Compression::ALL) {
            assert_eq!(codec.number(), number);
            assert_eq!(Compression::from_number(number), Some(codec));
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        assert_eq!(Compression::from_number(5), None);
        assert!("GZIP".parse::<Compression>().is_err());
    }
}
