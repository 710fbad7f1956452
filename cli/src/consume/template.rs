//! The `--format` template: text with `{{key}}`, `{{value}}`, `{{partition}}`, `{{offset}}`
//! and `{{timestamp}}` in it.

use std::io::{self, Write};

use weir_client::ConsumerRecord;

/// What a template may name, for messages.
pub const FIELDS: &str = "{{key}}, {{value}}, {{partition}}, {{offset}}, {{timestamp}}";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Key,
    Value,
    Partition,
    Offset,
    Timestamp,
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl std::str::FromStr for Template {
    type Err = String;

    /// `\n`, `\t` and `\\` are a newline, a tab and a backslash; other backslashes stay.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find("{{") {
            push_text(&mut parts, &rest[..begin]);
            let inner = &rest[begin + 2..];
            let end = inner.find("}}").ok_or_else(|| {
                format!("\"{{{{\" without \"}}}}\"; a template may name {FIELDS}")
            })?;
            parts.push(match inner[..end].trim() {
                "key" => Part::Key,
                "value" => Part::Value,
                "partition" => Part::Partition,
                "offset" => Part::Offset,
                "timestamp" | "time" => Part::Timestamp,
                other => return Err(format!("there is no {{{{{other}}}}}, only {FIELDS}")),
            });
            rest = &inner[end + 2..];
        }
        push_text(&mut parts, rest);
        Ok(Self(parts))
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let escaped = match (char, chars.peek()) {
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('\\')) => Some('\\'),
            _ => None,
        };
        out.push(escaped.unwrap_or(char));
        if escaped.is_some() {
            chars.next();
        }
    }
    if !out.is_empty() {
        parts.push(Part::Text(out));
    }
}

impl Template {
    /// `[key] value`: what `-k` prints.
    pub fn with_key() -> Self {
        Self(vec![Part::Text("[".into()), Part::Key, Part::Text("] ".into()), Part::Value])
    }

    /// Writes one record. Keys and values are written as they are; an absent key or value
    /// is `null`.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, record: &ConsumerRecord, out: &mut impl Write) -> io::Result<()> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.write_all(text.as_bytes())?,
                Part::Key => out.write_all(record.key.as_deref().unwrap_or(b"null"))?,
                Part::Value => out.write_all(record.value.as_deref().unwrap_or(b"null"))?,
                Part::Partition => write!(out, "{}", record.partition)?,
                Part::Offset => write!(out, "{}", record.offset)?,
                Part::Timestamp => write!(out, "{}", timestamp(record.timestamp_ms))?,
            }
        }
        Ok(())
    }
}

/// A record's time as RFC 3339 in UTC; the bare number where no calendar reaches.
pub fn timestamp(unix_ms: i64) -> String {
    // The last second of the year 9999, the end of what RFC 3339 can say.
    const MAX_MS: u64 = 253_402_300_799_999;
    match u64::try_from(unix_ms) {
        Ok(ms) if ms <= MAX_MS => {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
            humantime::format_rfc3339_millis(time).to_string()
        }
        _ => unix_ms.to_string(),
    }
}

#[cfg(test)]
pub mod tests {
    use weir_protocol::ids::{Offset, PartitionIndex, TopicGenerationId};

    use super::*;

    pub fn record(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> ConsumerRecord {
        ConsumerRecord {
            generation: TopicGenerationId(uuid::Uuid::from_u128(1)),
            partition: PartitionIndex(2),
            leader_epoch: weir_protocol::ids::LeaderEpoch(1),
            offset: Offset(41),
            timestamp_ms: 1_000,
            key: key.map(bytes::Bytes::from_static),
            value: value.map(bytes::Bytes::from_static),
            headers: Vec::new(),
        }
    }

    fn apply(template: &str, record: &ConsumerRecord) -> Vec<u8> {
        let mut out = Vec::new();
        template.parse::<Template>().unwrap().write(record, &mut out).unwrap();
        out
    }

    #[test]
    fn every_field_is_filled_in() {
        let record = record(Some(b"k"), Some(b"v\xff"));
        let text = apply("{{partition}}:{{ offset }} {{timestamp}}\\t{{key}}={{value}}}", &record);
        assert_eq!(text, b"2:41 1970-01-01T00:00:01.000Z\tk=v\xff}");
    }

    #[test]
    fn what_is_absent_is_null_and_what_is_empty_is_empty() {
        assert_eq!(apply("{{key}}|{{value}}", &record(None, Some(b""))), b"null|");
        assert_eq!(apply("", &record(None, None)), b"");
        let mut out = Vec::new();
        Template::with_key().write(&record(None, Some(b"x")), &mut out).unwrap();
        assert_eq!(out, b"[null] x");
    }

    #[test]
    fn escapes_are_few_and_others_stay() {
        assert_eq!(apply(r"a\nb\\n\q{x}", &record(None, None)), b"a\nb\\n\\q{x}");
    }

    #[test]
    fn mistakes_name_what_there_is() {
        for bad in ["{{headers}}", "{{key", "a {{"] {
            let error = bad.parse::<Template>().unwrap_err();
            assert!(error.contains("{{offset}}"), "{error}");
        }
    }

    #[test]
    fn times_beyond_the_calendar_are_numbers() {
        assert_eq!(timestamp(-5), "-5");
        assert_eq!(timestamp(i64::MAX), i64::MAX.to_string());
        assert_eq!(timestamp(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
    }
}
