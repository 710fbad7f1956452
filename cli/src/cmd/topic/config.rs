//! How a topic's records are kept: the options that say it, and how it is shown.

use std::{str::FromStr, time::Duration};

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use weir_client::admin::{FlushMode, TopicConfig, TopicConfigChange};
use weir_protocol::topic_config::{
    AGE_MS_MAX, AGE_MS_MIN, FLUSH_INTERVAL_MS_MAX, FLUSH_INTERVAL_MS_MIN, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
};

use crate::{
    error::{CliError, Result},
    out,
};

/// What says that there is no bound.
const NONE: &str = "none";

/// How records are kept.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "How records are kept")]
pub struct ConfigArgs {
    /// How long records are kept, such as 7d or 12h; none: for ever. By default 7d for a new topic
    #[arg(long, value_name = "TIME|none", value_parser = age)]
    retention: Option<Limit<u64>>,
    /// How much of each partition is kept, such as 10GiB: its oldest segments go while the rest
    /// holds that much; none: all. By default none for a new topic
    #[arg(long, value_name = "BYTES|none", value_parser = kept_bytes)]
    retention_bytes: Option<Limit<u64>>,
    /// When a record is acknowledged: before-ack (once it is fsynced), or interval (at once, an
    /// fsync follows: a loss of power can take what was acknowledged within --flush-interval). By
    /// default before-ack for a new topic
    #[arg(long, value_enum, value_name = "WHEN", hide_possible_values = true)]
    flush: Option<FlushArg>,
    /// With --flush interval: how long after the first write the fsync follows, such as 100ms
    #[arg(long, value_name = "TIME", value_parser = flush_interval)]
    flush_interval: Option<u32>,
    /// How large a segment file becomes before the next is begun, such as 64MiB; what is removed is
    /// removed by whole segments. By default 1GiB for a new topic
    #[arg(long, value_name = "BYTES", value_parser = segment_bytes)]
    segment_bytes: Option<u64>,
    /// How old a segment file becomes before the next is begun, such as 1d; none: as old as it
    /// takes to fill it. By default none for a new topic
    #[arg(long, value_name = "TIME|none", value_parser = age)]
    segment_age: Option<Limit<u64>>,
    /// Where no copy is left that holds all that is committed, let one lead that may lack some of it
    /// (on): the partition is served again after a while, and what that copy lacks is lost; weir
    /// partition describe says from where on. Else (off) it waits for such a copy. By default off
    /// for a new topic
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on",
        hide_possible_values = true)]
    unclean_election: Option<Switch>,
}

/// Whether something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// It may
    On,
    /// It may not
    Off,
}

/// When a record is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FlushArg {
    /// Once it is fsynced
    BeforeAck,
    /// At once
    Interval,
}

/// A bound, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit<T> {
    /// There is none.
    None,
    /// This one.
    At(T),
}

impl<T> From<Limit<T>> for Option<T> {
    fn from(limit: Limit<T>) -> Self {
        match limit {
            Limit::None => None,
            Limit::At(at) => Some(at),
        }
    }
}

impl ConfigArgs {
    /// What should be otherwise.
    pub fn change(&self) -> TopicConfigChange {
        TopicConfigChange {
            flush: self.flush.map(|flush| match flush {
                FlushArg::BeforeAck => FlushMode::BeforeAck,
                FlushArg::Interval => FlushMode::Interval,
            }),
            flush_interval_ms: self.flush_interval,
            retention_ms: self.retention.map(Option::from),
            retention_bytes: self.retention_bytes.map(Option::from),
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_age.map(Option::from),
            unclean_election: self.unclean_election.map(|switch| switch == Switch::On),
        }
    }

    /// Told here at once, in the words of the command line; the control plane checks again.
    ///
    /// # Errors
    /// When --flush and --flush-interval do not go together. Only a new topic has nothing that
    /// one of them alone could go with.
    pub fn check(&self, new: bool) -> Result<()> {
        match (self.flush, self.flush_interval) {
            (Some(FlushArg::Interval), None) if new => Err(CliError::usage(
                "--flush interval needs --flush-interval",
                "such as --flush-interval 100ms: so much can be lost with the power",
            )),
            (flush, Some(_)) if flush == Some(FlushArg::BeforeAck) || (new && flush.is_none()) => {
                Err(CliError::usage(
                    "--flush-interval needs --flush interval",
                    "say --flush interval as well: a loss of power can then take what was \
                     acknowledged within the interval",
                ))
            }
            _ => Ok(()),
        }
    }
}

fn age(text: &str) -> Result<Limit<u64>, String> {
    if text == NONE {
        return Ok(Limit::None);
    }
    let ms = millis(text).map_err(|error| format!("{error}; or say {NONE}"))?;
    within(ms, AGE_MS_MIN, AGE_MS_MAX, time).map(Limit::At)
}

fn flush_interval(text: &str) -> Result<u32, String> {
    let (min, max) = (FLUSH_INTERVAL_MS_MIN.into(), FLUSH_INTERVAL_MS_MAX.into());
    let ms = within(millis(text)?, min, max, time)?;
    u32::try_from(ms).map_err(|error| error.to_string())
}

fn kept_bytes(text: &str) -> Result<Limit<u64>, String> {
    if text == NONE {
        return Ok(Limit::None);
    }
    let bytes = ByteSize::from_str(text).map_err(|error| format!("{error}; or say {NONE}"))?;
    within(bytes.0, 1, i64::MAX as u64, size).map(Limit::At)
}

fn segment_bytes(text: &str) -> Result<u64, String> {
    within(ByteSize::from_str(text)?.0, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX, size)
}

/// A part of a millisecond is none.
fn millis(text: &str) -> Result<u64, String> {
    let time: Duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn within(value: u64, min: u64, max: u64, show: fn(u64) -> String) -> Result<u64, String> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(format!("it must be from {} to {}", show(min), show(max)))
}

/// A time in milliseconds in the largest unit that says it exactly: `7 days`, `36 hours`.
fn time(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let exact = UNITS.iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    exact.map_or_else(
        || format!("{} ms", out::thousands(ms)),
        |(unit, noun)| out::count(ms / unit, noun),
    )
}

/// Bytes in a unit that says them exactly: `10.0 GiB`, `1.5 GB`.
fn size(bytes: u64) -> String {
    let size = ByteSize(bytes);
    let texts = [size.display().iec().to_string(), size.display().si().to_string()];
    let exact = texts.into_iter().find(|text| text.parse() == Ok(size));
    exact.unwrap_or_else(|| out::count(bytes, "byte"))
}

/// How long records are kept, behind the word "kept".
pub fn kept(config: &TopicConfig) -> String {
    let age = config.retention_ms.map(|ms| format!("for {}", time(ms)));
    let bytes = config.retention_bytes.map(|bytes| format!("up to {} per partition", size(bytes)));
    either(age, bytes)
}

fn retention(config: &TopicConfig) -> String {
    let bytes = config.retention_bytes.map(|bytes| format!("{} per partition", size(bytes)));
    either(config.retention_ms.map(time), bytes)
}

/// The bound that is reached first counts.
fn either(age: Option<String>, bytes: Option<String>) -> String {
    match (age, bytes) {
        (None, None) => "for ever".to_owned(),
        (Some(bound), None) | (None, Some(bound)) => bound,
        (Some(age), Some(bytes)) => format!("{age} or {bytes}, whichever comes first"),
    }
}

/// Each choice with its name.
pub fn lines(config: &TopicConfig) -> [(&'static str, String); 4] {
    let flush = match (config.flush, config.flush_interval_ms) {
        (FlushMode::BeforeAck, _) => "before the acknowledgement".to_owned(),
        (FlushMode::Interval, Some(ms)) => {
            format!("within {} after the acknowledgement", time(ms.into()))
        }
        (flush, _) => flush.to_string(),
    };
    let age = config.segment_ms.map_or_else(String::new, |ms| format!(", {}", time(ms)));
    let segments = format!("at most {}{age}", size(config.segment_bytes));
    let unclean = if config.unclean_election {
        "on: where no copy is left that holds all that is committed, another may lead"
    } else {
        "off"
    };
    let unclean = ("unclean", unclean.to_owned());
    [("retention", retention(config)), ("flush", flush), ("segments", segments), unclean]
}

/// What is otherwise by now, a line each.
pub fn changes(before: &TopicConfig, after: &TopicConfig) -> Vec<String> {
    let pairs = lines(before).into_iter().zip(lines(after));
    let other = pairs.filter(|((_, old), (_, new))| old != new);
    other.map(|((name, old), (_, new))| format!("{name:<11}  {old} → {new}")).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::error::Exit;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ConfigArgs,
    }

    fn parse(line: &str) -> Result<ConfigArgs, clap::Error> {
        let words = line.split_whitespace();
        Ok(Line::try_parse_from(std::iter::once("x").chain(words))?.args)
    }

    const DAY: u64 = 86_400_000;

    const KEPT: TopicConfig = TopicConfig {
        flush: FlushMode::BeforeAck,
        flush_interval_ms: None,
        retention_ms: Some(7 * DAY),
        retention_bytes: None,
        segment_bytes: 1 << 30,
        segment_ms: None,
        unclean_election: false,
    };

    #[test]
    fn options_say_what_should_be_otherwise() {
        assert!(parse("").unwrap().change().is_empty());
        let all = "--retention 7d --retention-bytes 10GiB --flush interval --flush-interval 100ms \
                   --segment-bytes 64MiB --segment-age 1d --unclean-election on";
        let expected = TopicConfigChange {
            flush: Some(FlushMode::Interval),
            flush_interval_ms: Some(100),
            retention_ms: Some(Some(7 * DAY)),
            retention_bytes: Some(Some(10 << 30)),
            segment_bytes: Some(64 << 20),
            segment_ms: Some(Some(DAY)),
            unclean_election: Some(true),
        };
        assert_eq!(parse(all).unwrap().change(), expected);
        let none = "--retention none --retention-bytes none --segment-age none --flush before-ack";
        let expected = TopicConfigChange {
            flush: Some(FlushMode::BeforeAck),
            retention_ms: Some(None),
            retention_bytes: Some(None),
            segment_ms: Some(None),
            ..TopicConfigChange::default()
        };
        assert_eq!(parse(none).unwrap().change(), expected);
        for (line, unclean) in
            [("--unclean-election", true), ("--unclean-election off --retention 7d", false)]
        {
            assert_eq!(parse(line).unwrap().change().unclean_election, Some(unclean), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_its_bounds() {
        for (wrong, part) in [
            ("--retention 999ms", "from 1 second to 36,500 days"),
            ("--retention 200years", "from 1 second to 36,500 days"),
            ("--retention never", "or say none"),
            ("--retention-bytes 0", "from 1 B to"),
            ("--retention-bytes many", "or say none"),
            ("--segment-bytes 1023KiB", "from 1.0 MiB to 1.0 GiB"),
            ("--segment-bytes 2GiB", "from 1.0 MiB to 1.0 GiB"),
            ("--segment-bytes none", "parse"),
            ("--segment-age 0s", "from 1 second"),
            ("--flush-interval 500us", "from 1 ms to 1 minute"),
            ("--flush-interval 61s", "from 1 ms to 1 minute"),
            ("--flush never", "invalid value"),
            ("--unclean-election maybe", "invalid value"),
        ] {
            let error = parse(wrong).err().unwrap().to_string();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_flush_and_its_interval_go_together() {
        for (line, new, known) in [
            ("", true, true),
            ("--flush before-ack", true, true),
            ("--flush interval --flush-interval 1s", true, true),
            ("--flush interval", true, false),
            ("--flush interval", false, true),
            ("--flush-interval 1s", true, false),
            ("--flush-interval 1s", false, true),
            ("--flush before-ack --flush-interval 1s", false, false),
        ] {
            let checked = parse(line).unwrap().check(new);
            assert_eq!(checked.is_ok(), known, "{line} {new}");
            assert!(checked.err().is_none_or(|error| error.exit() == Exit::Usage));
        }
    }

    #[test]
    fn what_is_kept_reads_well() {
        let of =
            |retention_ms, retention_bytes| TopicConfig { retention_ms, retention_bytes, ..KEPT };
        for (config, told) in [
            (KEPT, "for 7 days"),
            (of(None, None), "for ever"),
            (of(None, Some(10 << 30)), "up to 10.0 GiB per partition"),
            (
                of(Some(36 * DAY / 24), Some(1_500_000_000)),
                "for 36 hours or up to 1.5 GB per partition, whichever comes first",
            ),
        ] {
            assert_eq!(kept(&config), told);
        }
        for (ms, told) in [(1, "1 ms"), (1_500, "1,500 ms"), (90_000, "90 seconds"), (DAY, "1 day")]
        {
            assert_eq!(time(ms), told);
        }
        for (bytes, told) in [(1, "1 B"), (1 << 20, "1.0 MiB"), ((1 << 20) + 1, "1,048,577 bytes")]
        {
            assert_eq!(size(bytes), told);
        }
    }

    #[test]
    fn changes_are_told_old_and_new() {
        assert_eq!(changes(&KEPT, &KEPT), Vec::<String>::new());
        let after = TopicConfig {
            flush: FlushMode::Interval,
            flush_interval_ms: Some(100),
            retention_ms: None,
            segment_bytes: 64 << 20,
            segment_ms: Some(DAY),
            unclean_election: true,
            ..KEPT
        };
        let expected = [
            "retention    7 days → for ever",
            "flush        before the acknowledgement → within 100 ms after the acknowledgement",
            "segments     at most 1.0 GiB → at most 64.0 MiB, 1 day",
            "unclean      off → on: where no copy is left that holds all that is committed, another \
             may lead",
        ];
        assert_eq!(changes(&KEPT, &after), expected);
    }
}
