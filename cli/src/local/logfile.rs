//! What servers wrote to their logs: the end of a file, and what is added to it. Read only.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    time::SystemTime,
};

/// How much of a file's end is looked at, in bytes, at most.
const TAIL_BYTES_MAX: u64 = 64 << 20;
/// How much is looked at first.
const TAIL_BYTES: u64 = 256 << 10;
/// How much of what was added is read at once: the rest comes at the next look.
const ADDED_BYTES_MAX: u64 = 4 << 20;

/// One thing that a server said: a line with its time, and those behind it without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When; none where the line does not tell.
    pub at: Option<SystemTime>,
    /// Without the last newline.
    pub text: String,
}

/// A log that is read.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// Up to where it was read.
    position: u64,
    /// A begun line.
    rest: Vec<u8>,
}

impl LogFile {
    /// A log that need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, position: 0, rest: Vec::new() }
    }

    /// The last `lines` lines, or all from `since` on. What was added since is read by
    /// [`LogFile::added`].
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn tail(&mut self, lines: usize, since: Option<SystemTime>) -> io::Result<Vec<Entry>> {
        let Some((mut file, length)) = self.open()? else { return Ok(Vec::new()) };
        let mut span = TAIL_BYTES;
        let bytes = loop {
            let begin = length.saturating_sub(span);
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(begin))?;
            (&mut file).take(length - begin).read_to_end(&mut bytes)?;
            if begin > 0 {
                // The line that was cut is not shown.
                let whole = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |at| at + 1);
                bytes.drain(..whole);
            }
            let enough = since.is_none() && memchr::memchr_iter(b'\n', &bytes).count() >= lines;
            if begin == 0 || enough || span >= TAIL_BYTES_MAX {
                break bytes;
            }
            span = span.saturating_mul(8).min(TAIL_BYTES_MAX);
        };
        self.position = length;
        let (entries, begun) = cut(&bytes);
        self.rest = begun;
        Ok(select(entries, lines, since))
    }

    /// What was added since the last look. A file that is shorter now is a new one.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn added(&mut self) -> io::Result<Vec<Entry>> {
        let Some((mut file, length)) = self.open()? else { return Ok(Vec::new()) };
        if length < self.position {
            self.position = 0;
            self.rest.clear();
        }
        file.seek(SeekFrom::Start(self.position))?;
        let read = (&mut file).take(ADDED_BYTES_MAX).read_to_end(&mut self.rest)?;
        self.position += read as u64;
        let (entries, begun) = cut(&self.rest);
        self.rest = begun;
        Ok(entries)
    }

    fn open(&self) -> io::Result<Option<(File, u64)>> {
        match File::open(&self.path) {
            Ok(file) => {
                let length = file.metadata()?.len();
                Ok(Some((file, length)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whole lines as entries, and the line that was begun.
fn cut(bytes: &[u8]) -> (Vec<Entry>, Vec<u8>) {
    let whole = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
    let mut entries: Vec<Entry> = Vec::new();
    for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
        let at = time_of(line);
        match entries.last_mut() {
            Some(last) if at.is_none() && last.at.is_some() => {
                last.text.push('\n');
                last.text.push_str(line);
            }
            _ => entries.push(Entry { at, text: line.to_owned() }),
        }
    }
    (entries, bytes[whole..].to_vec())
}

/// The time that a line begins with, or that it has as JSON.
fn time_of(line: &str) -> Option<SystemTime> {
    let text = match line.strip_prefix('{') {
        Some(json) => json.split_once("\"timestamp\":\"")?.1.split('"').next()?,
        None => line.split(' ').next()?,
    };
    humantime::parse_rfc3339(text).ok()
}

/// What a line that warns or tells an error says, without its time.
pub fn trouble(line: &str) -> Option<String> {
    if line.starts_with('{') {
        let json: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str);
        text("level").filter(|level| matches!(*level, "WARN" | "ERROR"))?;
        let why = text("reason").or_else(|| text("error"));
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        return Some(format!("{}{why}", text("message")?));
    }
    let (_, rest) = line.split_once(' ')?;
    let (level, said) = rest.trim_start().split_once(' ')?;
    matches!(level, "WARN" | "ERROR").then(|| {
        let line = said.lines().next().unwrap_or_default();
        // Which module says it is of no use to who reads it.
        line.split_once(": ").map_or(line, |(_, said)| said).to_owned()
    })
}

fn select(entries: Vec<Entry>, lines: usize, since: Option<SystemTime>) -> Vec<Entry> {
    let wanted = |entry: &Entry| match (since, entry.at) {
        (Some(since), Some(at)) => at >= since,
        (Some(_), None) => false,
        (None, _) => true,
    };
    let mut left = lines;
    let mut kept: Vec<Entry> = entries
        .into_iter()
        .rev()
        .filter(wanted)
        .take_while(|entry| {
            let before = left;
            left = left.saturating_sub(entry.text.lines().count().max(1));
            before > 0
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn trouble_is_what_warns() {
        let line = "2026-01-01T00:00:00.000000Z  WARN weir::connect: waiting reason=\"refused\"";
        assert_eq!(trouble(line).as_deref(), Some("waiting reason=\"refused\""));
        let line = "2026-01-01T00:00:00.000000Z ERROR weir: no room";
        assert_eq!(trouble(line).as_deref(), Some("no room"));
        let json = r#"{"timestamp":"x","level":"WARN","message":"waiting","reason":"refused"}"#;
        assert_eq!(trouble(json).as_deref(), Some("waiting (refused)"));
        for fine in ["", "x", "2026-01-01T00:00:00Z  INFO weir: serving", r#"{"level":"INFO"}"#] {
            assert_eq!(trouble(fine), None, "{fine}");
        }
    }

    fn texts(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.text.as_str()).collect()
    }

    #[test]
    fn the_end_is_shown_and_then_what_is_added() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("log");
        let mut log = LogFile::new(path.clone());
        assert!(log.tail(10, None).unwrap().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"2026-01-01T00:00:01Z a\n  more\n2026-01-01T00:00:02Z b\nbegu").unwrap();
        assert_eq!(texts(&log.tail(1, None).unwrap()), ["2026-01-01T00:00:02Z b"]);
        file.write_all(b"n\nnext\n").unwrap();
        assert_eq!(texts(&log.added().unwrap()), ["begun", "next"]);
        assert!(log.added().unwrap().is_empty());
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(texts(&log.added().unwrap()), ["new"]);
    }

    #[test]
    fn a_time_says_from_where_on() {
        let text = "no time\n2026-01-01T00:00:01Z a\n  more\n\
                    {\"timestamp\":\"2026-01-01T00:00:02.5Z\",\"m\":1}\n";
        let (entries, _) = cut(text.as_bytes());
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].text, "2026-01-01T00:00:01Z a\n  more");
        let since = humantime::parse_rfc3339("2026-01-01T00:00:02Z").unwrap();
        let kept = select(entries, 100, Some(since));
        assert!(kept.len() == 1 && kept[0].text.starts_with('{'));
    }

    #[test]
    fn only_the_end_of_a_long_file_is_read() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("log");
        let line = format!("{}\n", "x".repeat(99));
        std::fs::write(&path, line.repeat(10_000)).unwrap();
        let mut log = LogFile::new(path);
        assert_eq!(log.tail(5_000, None).unwrap().len(), 5_000);
        assert_eq!(log.tail(20_000, None).unwrap().len(), 10_000);
    }
}
