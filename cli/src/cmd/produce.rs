//! `weir produce`.

use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir_client::{Acks, Compression, ProducerConfig};
use weir_protocol::{ErrorCode, batch::Header, ids::PartitionIndex};

use crate::{
    connect,
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg},
    produce::{
        feed::{Ended, Feed},
        pace::{Pace, Rate},
        shape::{self, Shape},
        source,
        tally::Tally,
    },
    signal,
    ui::Progress,
};

/// How long Ctrl-C waits for the answers to what was sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

const STORAGE_FULL: &str = ErrorCode::StorageFull.as_str();

/// Options of `weir produce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir topic create orders && seq 1000 | weir produce orders
  weir produce orders -f orders.txt --compression zstd
  echo 'user-7:hello' | weir produce orders --key-separator :
  weir produce orders -f picture.png --raw --key picture --header type=image/png
  weir produce orders                     type lines; Ctrl-D ends

A record is what stands between two newlines, whatever bytes that are: also nothing, a carriage
return, or what is no UTF-8. A last line without a newline is a record too. Reading and
sending stop at the first record that is not acknowledged. The error names its line; all before
it were acknowledged. What was on its way behind it may have been written; the summary counts it.")]
pub struct ProduceArgs {
    /// The topic
    topic: String,
    /// Read lines from this file; default: standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Send all records to this partition
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// Lines are KEY, this text, VALUE
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// The key of all records
    #[arg(short, long, value_name = "KEY", conflicts_with = "key_separator")]
    key: Option<String>,
    /// A header of all records; may be repeated
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = shape::header)]
    headers: Vec<Header>,
    /// The whole input is one record, newlines and all
    #[arg(long, conflicts_with_all = ["key_separator", "interactive", "rate"])]
    raw: bool,
    /// Prompt for each line and tell where it went; so by itself on a terminal
    #[arg(long, conflicts_with = "file")]
    interactive: bool,
    /// Send no faster than this, such as 500/s or 30/m
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, default_value = "none", value_name = "KIND")]
    compression: Compression,
    /// Who must have a record before it is acknowledged: all (every in-sync replica, on disk),
    /// leader (lost with it), none (may be lost at a crash)
    #[arg(
        long,
        value_enum,
        value_name = "WHO",
        default_value = "all",
        hide_possible_values = true
    )]
    acks: AcksArg,
    /// How long a batch waits for more records
    #[arg(long, default_value = "0ms", value_name = "TIME")]
    linger: humantime::Duration,
    /// Size at which a batch is sent, before compression
    #[arg(long, default_value = "128KiB", value_name = "BYTES")]
    batch_size: bytesize::ByteSize,
    /// The longest line taken, and with --raw the longest input: at most 1 MiB
    #[arg(long, default_value = "1MiB", value_name = "BYTES")]
    max_line_bytes: bytesize::ByteSize,
    #[command(flatten)]
    output: OutputArg,
}

/// Who must have a record before it is acknowledged.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcksArg {
    /// Every in-sync replica, on disk
    All,
    /// The leader: lost with it
    Leader,
    /// Nobody: appended, may be lost at a crash
    None,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Self {
        match acks {
            AcksArg::All => Self::All,
            AcksArg::Leader => Self::Leader,
            AcksArg::None => Self::None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    topic: &'a str,
    lines_read: u64,
    #[serde(flatten)]
    tally: &'a Tally,
}

/// Does it.
///
/// # Errors
/// When not all that was read was acknowledged, or not all could be read.
pub async fn run(args: ProduceArgs, context: &Context) -> Result<()> {
    let config = producer_config(&args, context)?;
    let max_line_bytes = usize::try_from(args.max_line_bytes.as_u64()).unwrap_or(usize::MAX);
    let fits = ProducerConfig::default().batch_bytes_max;
    if max_line_bytes == 0 || max_line_bytes > fits {
        return Err(CliError::usage(
            format!("a line of {} cannot be sent", args.max_line_bytes),
            format!("--max-line-bytes is 1 to {fits}: no batch is larger"),
        ));
    }
    // A missing file is told before anything is connected to.
    let file = args.file.as_deref();
    let mut blocks = match args.raw {
        true => source::begin_whole(file, max_line_bytes)?,
        false => source::begin(file, max_line_bytes)?,
    };
    let client = connect::client(context, &args.topic).await?;
    let producer = client.producer(&args.topic, config).await?;
    let typed = args.file.is_none() && std::io::stdin().is_terminal();
    let interactive = args.interactive || (typed && !args.raw);
    if interactive {
        context.ui.note("each line is a record; Ctrl-D ends");
    }
    let shape = Shape {
        partition: args.partition.map(PartitionIndex),
        key_separator: args.key_separator.clone().map(String::into_bytes),
        key: args.key.clone().map(Into::into),
        headers: args.headers.clone(),
    };

    let begin = context.clock.now();
    let progress = if interactive { Progress::none() } else { context.ui.spinner("") };
    let mut feed = Feed::new(producer, &args.topic, shape, context.clock, &progress);
    feed.pace = args.rate.map(|rate| Pace::new(rate, begin));
    let ended = match interactive {
        true => feed.talk(&mut blocks, signal::interrupted(), context.ui).await,
        false => feed.run(&mut blocks, signal::interrupted()).await,
    };
    if typed {
        // The prompt's line was left by no newline.
        context.ui.note("");
    }
    let limit = match ended {
        Ended::Interrupted => context.timeout.unwrap_or(FLUSH_TIMEOUT),
        // Every record's own deadline is nearer than this.
        _ => config.delivery_timeout + FLUSH_TIMEOUT,
    };
    let open = feed.finish(limit).await;
    let (mut tally, lines) = (std::mem::take(&mut feed.tally), feed.lines);
    let passed_over = feed.passed_over;
    let producer = feed.producer.take();
    drop(feed);
    drop(progress);
    tally.unknown += open;
    tally.seconds = context.clock.now().since(begin).as_secs_f64();
    if open == 0
        && let Some(producer) = producer
    {
        // All is answered; what is left is to say goodbye, which nobody needs to wait for.
        let _ = context.clock.timeout(Duration::from_secs(1), producer.close()).await;
    }

    let summary = Summary { topic: &args.topic, lines_read: lines, tally: &tally };
    if !context.ui.quiet() || args.output.format != out::Format::Table {
        out::print(args.output.format, &summary, || tally.sentence())?;
    }
    verdict(&args, ended, &tally, lines, open)?;
    match passed_over {
        0 => Ok(()),
        n => Err(CliError::new(
            format!(
                "{} not sent",
                if n == 1 { "1 line was".into() } else { format!("{n} lines were") }
            ),
            "why stands behind each of them; the others were acknowledged",
        )),
    }
}

fn producer_config(args: &ProduceArgs, context: &Context) -> Result<ProducerConfig> {
    let base = ProducerConfig::default();
    let batch_bytes = usize::try_from(args.batch_size.as_u64()).unwrap_or(usize::MAX);
    if batch_bytes == 0 || batch_bytes > base.batch_bytes_max {
        return Err(CliError::usage(
            format!("a batch of {} cannot be sent", args.batch_size),
            format!("--batch-size is 1 to {} bytes", base.batch_bytes_max),
        ));
    }
    Ok(ProducerConfig {
        batch_bytes,
        linger: args.linger.into(),
        compression: args.compression,
        acks: args.acks.into(),
        delivery_timeout: context.timeout.unwrap_or(base.delivery_timeout),
        ..base
    })
}

/// What the process ends with. What is not acknowledged outweighs why reading ended.
fn verdict(args: &ProduceArgs, ended: Ended, tally: &Tally, lines: u64, open: u64) -> Result<()> {
    let from_file = args.file.is_some() || source::stdin_is_file();
    if !tally.is_clean() {
        let mut told = tally.told();
        if open > 0 {
            let records = out::count(open, "record");
            told += if told.is_empty() { "" } else { "; " };
            told += &format!("{records} unanswered when the time was over");
        }
        if let Some(first) = tally.first_lost() {
            told += &format!("; {first}");
        }
        let line = tally.first_not_acknowledged_line.unwrap_or(1);
        let hint = if tally.errors.first().is_some_and(|kind| kind.code == STORAGE_FULL) {
            let look = if tally.unknown > 0 || tally.acknowledged_later() > 0 {
                format!(" (what is there from there on: weir consume {} -B -d)", args.topic)
            } else {
                String::new()
            };
            format!("make room on the SPU's disk; then run the same again from line {line}{look}")
        } else if tally.unknown > 0 {
            format!(
                "look before you send again: unknown records may be in the topic (weir consume {} \
                 -B -d)",
                args.topic
            )
        } else {
            let but = if tally.acknowledged_later() > 0 {
                ", without the later ones that were written"
            } else {
                ""
            };
            format!("see: weir cluster status; then send again from line {line}{but}")
        };
        return Err(CliError::new(format!("not every record was acknowledged: {told}"), hint));
    }
    match ended {
        Ended::Input | Ended::Failure => Ok(()),
        Ended::Error(error) => Err(error),
        // A stream has no end that one could miss; a file has.
        Ended::Interrupted if !from_file => Ok(()),
        Ended::Interrupted => Err(CliError::interrupted(
            format!("interrupted after line {lines}, before the end of the file"),
            "all lines before it were acknowledged",
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::produce::tally::ErrorKind;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ProduceArgs,
    }

    fn told(line: &str, ended: Ended, tally: &Tally, open: u64) -> (String, String, u8) {
        let args = Line::parse_from(line.split(' ')).args;
        match verdict(&args, ended, tally, 7, open) {
            Err(CliError::Told { what, hint, exit }) => (what, hint, exit as u8),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_unanswered_stands_apart_and_the_hint_can_be_run() {
        let mut tally = Tally { unknown: 5, ..Tally::default() };
        let (what, hint, exit) = told("produce orders", Ended::Failure, &tally, 5);
        assert!(what.ends_with("acknowledged: 5 records unanswered when the time was over"));
        assert!(hint.contains("weir consume orders -B -d"), "{hint}");
        assert_eq!(exit, 1);
        tally.errors.push(ErrorKind {
            code: "TIMED_OUT",
            outcome: "unknown",
            records: 1,
            first: "late".into(),
        });
        let (what, ..) = told("produce orders", Ended::Failure, &tally, 5);
        assert!(what.contains("late; 5 records unanswered"), "{what}");
    }

    #[test]
    fn a_file_that_was_not_read_to_its_end_is_no_success() {
        let (what, _, exit) = told("produce t -f x", Ended::Interrupted, &Tally::default(), 0);
        assert!(what.contains("after line 7"), "{what}");
        assert_eq!(exit, 130);
    }
}
