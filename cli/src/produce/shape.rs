//! How lines become records.

use bytes::Bytes;
use weir_client::ProducerRecord;
use weir_protocol::{batch::Header, ids::PartitionIndex};

/// How lines become records.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Where all records go; none: as the producer decides.
    pub partition: Option<PartitionIndex>,
    /// What stands between key and value.
    pub key_separator: Option<Vec<u8>>,
    /// The key of all records, where lines have none of their own.
    pub key: Option<Bytes>,
    /// The headers of all records.
    pub headers: Vec<Header>,
}

/// A line without the separator that every line should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSeparator;

impl Shape {
    /// The record of a line.
    ///
    /// # Errors
    /// When the line lacks the key separator.
    pub fn record(&self, line: Bytes) -> Result<ProducerRecord, NoSeparator> {
        let (key, value) = match &self.key_separator {
            None => (self.key.clone(), line),
            Some(separator) => {
                let at = memchr::memmem::find(&line, separator).ok_or(NoSeparator)?;
                (Some(line.slice(..at)), line.slice(at + separator.len()..))
            }
        };
        Ok(ProducerRecord {
            key,
            value: Some(value),
            headers: self.headers.clone(),
            partition: self.partition,
            ..ProducerRecord::default()
        })
    }
}

/// Reads `KEY=VALUE`.
///
/// # Errors
/// When there is no `=`, or nothing before it.
pub fn header(text: &str) -> Result<Header, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(Header::new(key.to_owned(), value.as_bytes().to_vec()))
        }
        _ => Err("a header is KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(separator: &str) -> Shape {
        Shape { key_separator: Some(separator.into()), ..Shape::default() }
    }

    #[test]
    fn a_line_is_the_value_unless_a_separator_is_given() {
        let line = Bytes::from_static(b"a:b:c\r");
        let record = Shape::default().record(line.clone()).unwrap();
        assert_eq!((record.key, record.value), (None, Some(line.clone())));
        let record = shape(":").record(line.clone()).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"a"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"b:c\r"[..]));
        let record = shape("b:c\r").record(line.clone()).unwrap();
        assert_eq!(record.value.as_deref(), Some(&b""[..]));
        assert_eq!(shape("=>").record(line), Err(NoSeparator));
    }

    #[test]
    fn key_and_headers_are_those_of_all_records() {
        let shape = Shape {
            key: Some("k".into()),
            headers: vec![header("a=b=c").unwrap()],
            ..Shape::default()
        };
        let record = shape.record(Bytes::from_static(b"v")).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.headers[0].value.as_deref(), Some(&b"b=c"[..]));
        assert!(header("a").is_err() && header("=b").is_err());
    }
}
