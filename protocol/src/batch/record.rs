//! Records and their headers.

use std::{fmt, ops::Deref};

use bytes::Bytes;

use crate::ids::Offset;

/// Most headers of one record. The format has no limit; a reader that allocates needs one.
pub const HEADERS_MAX: usize = 65_535;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// Unix ms; with append time, when its batch was appended.
    pub timestamp_ms: i64,
    /// Absent is not empty.
    pub key: Option<Bytes>,
    /// Absent is not empty.
    pub value: Option<Bytes>,
    /// In the order they were given; keys may repeat.
    pub headers: Vec<Header>,
}

/// A record to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Unix ms, not negative.
    pub timestamp_ms: i64,
    /// Decides the partition, by the default partitioner.
    pub key: Option<Bytes>,
    /// The data.
    pub value: Option<Bytes>,
    /// At most [`HEADERS_MAX`].
    pub headers: Vec<Header>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub key: HeaderKey,
    /// Absent is not empty.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header with a value.
    pub fn new(key: impl Into<HeaderKey>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }
}

/// UTF-8 text in shared bytes: reading a batch copies no header.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderKey(Bytes);

/// Bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header key must be UTF-8")]
pub struct InvalidHeaderKey;

impl HeaderKey {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every constructor takes a str or checks.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl TryFrom<Bytes> for HeaderKey {
    type Error = InvalidHeaderKey;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidHeaderKey> {
        std::str::from_utf8(&bytes).map_err(|_| InvalidHeaderKey)?;
        Ok(Self(bytes))
    }
}

impl From<&str> for HeaderKey {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for HeaderKey {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Deref for HeaderKey {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for HeaderKey {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for HeaderKey {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
