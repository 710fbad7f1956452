//! What a record looks like on standard output.

use std::io::{self, Write};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use weir_client::ConsumerRecord;

use super::template::{Template, timestamp};

/// What a record looks like on standard output.
#[derive(Clone, Debug)]
pub enum Render {
    /// The value's bytes as they are.
    Raw,
    /// `--format` or `-k`.
    Template(Template),
    /// Columns.
    Table,
    /// A JSON document per line.
    Json,
    /// A YAML document per record.
    Yaml,
}

/// What stands around records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newline {
    /// After each.
    After,
    /// Between two: none after the last.
    Between,
}

/// Bytes that are text where they are UTF-8 and base64 where they are not.
#[derive(Debug, Serialize)]
struct Record<'a> {
    partition: u32,
    offset: u64,
    timestamp_ms: i64,
    key: Option<Text<'a>>,
    value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Option<Text<'a>>)>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Utf8(&'a str),
    Binary { base64: String },
}

impl<'a> Text<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text),
            Err(_) => Self::Binary { base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

impl<'a> Record<'a> {
    fn of(record: &'a ConsumerRecord) -> Self {
        Self {
            partition: record.partition.get(),
            offset: record.offset.get(),
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref().map(Text::of),
            value: record.value.as_deref().map(Text::of),
            headers: record
                .headers
                .iter()
                .map(|header| {
                    (header.key.as_str().to_owned(), header.value.as_deref().map(Text::of))
                })
                .collect(),
        }
    }
}

/// A line for people: what moves the cursor or colours a terminal is shown, not done.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

impl Render {
    /// What stands above the first record.
    pub fn header(&self) -> Option<&'static str> {
        matches!(self, Self::Table)
            .then_some("PARTITION      OFFSET  TIMESTAMP                 KEY  VALUE")
    }

    /// Writes one record, without a newline around it.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, record: &ConsumerRecord, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Raw => out.write_all(record.value.as_deref().unwrap_or_default()),
            Self::Template(template) => template.write(record, out),
            Self::Table => {
                write!(
                    out,
                    "{:<9}  {:>10}  {:<24}  ",
                    record.partition,
                    record.offset,
                    timestamp(record.timestamp_ms)
                )?;
                let cell = |bytes: &Option<bytes::Bytes>| {
                    bytes.as_deref().map_or_else(|| "-".to_owned(), printable)
                };
                write!(out, "{:<3}  {}", cell(&record.key), cell(&record.value))
            }
            Self::Json => serde_json::to_writer(out, &Record::of(record)).map_err(io::Error::from),
            Self::Yaml => {
                out.write_all(b"---\n")?;
                let text =
                    serde_yaml_ng::to_string(&Record::of(record)).map_err(io::Error::other)?;
                out.write_all(text.trim_end().as_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::template::tests::record;

    fn rendered(
        render: &Render,
        key: Option<&'static [u8]>,
        value: Option<&'static [u8]>,
    ) -> String {
        let mut out = Vec::new();
        render.write(&record(key, value), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_keeps_every_byte() {
        let text = rendered(&Render::Json, None, Some(b"a\n\xff"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(value["key"], serde_json::Value::Null);
        assert_eq!(value["value"]["base64"], "YQr/");
        assert_eq!((value["partition"].as_u64(), value["offset"].as_u64()), (Some(2), Some(41)));
        let text = rendered(&Render::Json, Some(b"k"), Some("ä".as_bytes()));
        assert!(text.contains("\"key\":\"k\"") && text.contains("\"value\":\"ä\""));
    }

    #[test]
    fn yaml_documents_are_apart_and_tables_line_up_with_their_header() {
        let text = rendered(&Render::Yaml, Some(b"k"), Some(b"v"));
        assert!(text.starts_with("---\npartition: 2\n") && text.ends_with("value: v"), "{text}");
        let row = rendered(&Render::Table, Some(b"k"), Some(b"v"));
        let header = Render::Table.header().unwrap();
        assert_eq!(header.find("KEY"), row.find('k'), "{header}\n{row}");
        assert_eq!(header.find("VALUE"), row.find('v'), "{header}\n{row}");
        let row = rendered(&Render::Table, None, Some(b"a\x1b[31m\tb\xff"));
        assert!(row.ends_with("-    a\\u{1b}[31m\\tb\u{fffd}"), "{row}");
    }

    #[test]
    fn raw_is_the_value_and_nothing_else() {
        assert_eq!(rendered(&Render::Raw, Some(b"k"), Some(b"v\r")), "v\r");
        assert_eq!(rendered(&Render::Raw, None, None), "");
    }
}
