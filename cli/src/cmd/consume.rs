//! `weir consume`.

use std::io;

use clap::{Args, ValueEnum};
use futures::FutureExt as _;
use weir_client::{ConsumeError, Consumer, ConsumerConfig, Start};
use weir_protocol::ids::{Offset, PartitionIndex};

use crate::{
    connect,
    consume::{
        render::{Newline, Render},
        sink::Sink,
        template::Template,
    },
    context::Context,
    error::{self, CliError, Result},
    out, signal,
};

/// Records between two looks at whether Ctrl-C was pressed.
const INTERRUPT_RECORDS: u64 = 1024;

/// Options of `weir consume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir consume orders                     what comes from now on, until Ctrl-C
  weir consume orders -B -d               all there is, then end
  weir consume orders -B -n 5 --format '{{partition}}/{{offset}} {{key}}: {{value}}'

Values are written as they are, a newline after each. A file that was produced line by line comes
back byte for byte; if its last line had no newline, say --no-final-newline. Records of one
partition come in order; those of several are mixed.")]
pub struct ConsumeArgs {
    /// The topic
    topic: String,
    /// Begin at the oldest record; default: after the newest
    #[arg(short = 'B', long, visible_alias = "from-beginning")]
    beginning: bool,
    /// Begin at this offset of each partition
    #[arg(long, value_name = "OFFSET", conflicts_with = "beginning")]
    start_offset: Option<u64>,
    /// Stop at the end as it is at the start; default: wait for more
    #[arg(short = 'd', long = "disable-continuous")]
    until_end: bool,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
    /// Read this partition only (may be repeated)
    #[arg(short, long, value_name = "N")]
    partition: Vec<u32>,
    /// What is printed of a record: text with {{key}}, {{value}}, {{partition}}, {{offset}} and
    /// {{timestamp}} in it; \n, \t and \\ are a newline, a tab and a backslash
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["show_key", "output"])]
    format: Option<Template>,
    /// Print the key, in square brackets, before the value
    #[arg(short = 'k', long = "key-value", conflicts_with = "output")]
    show_key: bool,
    /// How records are printed: raw, table, json (a document per line, with base64 for what is no
    /// text) or yaml
    #[arg(
        short = 'o',
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "raw",
        hide_possible_values = true
    )]
    output: RecordFormat,
    /// A newline between records only, none after the last
    #[arg(long)]
    no_final_newline: bool,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RecordFormat {
    /// The value's bytes
    Raw,
    /// Columns
    Table,
    /// A JSON document per line
    Json,
    /// A YAML document per record
    Yaml,
}

/// Does it.
///
/// # Errors
/// When the topic cannot be read (any further).
pub async fn run(args: ConsumeArgs, context: &Context) -> Result<()> {
    let client = connect::client(context, &args.topic).await?;
    let mut consumer = client.consumer(config(&args)).await?;
    let newline = if args.no_final_newline { Newline::Between } else { Newline::After };
    let mut sink = Sink::new(io::stdout(), render(&args), newline);
    let begin = context.clock.now();
    let read = copy(&args, context, &mut consumer, &mut sink).await;
    // What was read before an error is printed before the error.
    sink.flush().map_err(|e| out::from_stdout(&e))?;
    read?;
    tracing::debug!(records = sink.records, took = ?context.clock.now().since(begin), "done");
    Ok(())
}

fn config(args: &ConsumeArgs) -> ConsumerConfig {
    let start = match args.start_offset {
        Some(offset) => Start::Absolute(Offset(offset)),
        None if args.beginning => Start::Beginning,
        None => Start::End,
    };
    let mut config = ConsumerConfig::new(&args.topic).start(start);
    config.until_end = args.until_end;
    if args.partition.is_empty() {
        return config;
    }
    let mut partitions: Vec<_> = args.partition.iter().copied().map(PartitionIndex).collect();
    partitions.sort_unstable();
    partitions.dedup();
    config.partitions(partitions)
}

fn render(args: &ConsumeArgs) -> Render {
    if let Some(template) = &args.format {
        return Render::Template(template.clone());
    }
    if args.show_key {
        return Render::Template(Template::with_key());
    }
    match args.output {
        RecordFormat::Raw => Render::Raw,
        RecordFormat::Table => Render::Table,
        RecordFormat::Json => Render::Json,
        RecordFormat::Yaml => Render::Yaml,
    }
}

/// Copies records until the end, the count, Ctrl-C or an error. The output is written from
/// the main task: its blocking holds up nothing but itself, the connections have threads of
/// their own.
async fn copy(
    args: &ConsumeArgs,
    context: &Context,
    consumer: &mut Consumer,
    sink: &mut Sink<impl io::Write>,
) -> Result<()> {
    let told = signal::on_signal_or_ended();
    while args.count.is_none_or(|count| sink.records < count) {
        // While records keep coming there is nothing to wait for, and so nothing to interrupt.
        if sink.records.is_multiple_of(INTERRUPT_RECORDS) && told.is_cancelled() {
            return interrupted(args, sink.records);
        }
        let next = match consumer.next().now_or_never() {
            Some(next) => next,
            // Nothing is there: what was read is shown before more is waited for.
            None => {
                sink.flush().map_err(|e| out::from_stdout(&e))?;
                tokio::select! {
                    biased;
                    () = told.cancelled() => return interrupted(args, sink.records),
                    next = consumer.next() => next,
                }
            }
        };
        match next {
            None => return Ok(()),
            Some(Ok(record)) => sink.write(&record).map_err(|e| out::from_stdout(&e))?,
            Some(Err(error @ ConsumeError::Unavailable { .. })) => {
                let error = error::rounded(&error.to_string());
                context.ui.warn(&format!("topic {}: {error}; still trying", args.topic));
            }
            Some(Err(error)) => return Err(error::not_read(&args.topic, &error)),
        }
    }
    Ok(())
}

/// A tail has no end that one could miss; what was asked for up to an end or a count has.
fn interrupted(args: &ConsumeArgs, records: u64) -> Result<()> {
    if !args.until_end && args.count.is_none() {
        return Ok(());
    }
    let records = out::count(records, "record");
    Err(CliError::interrupted(
        format!("interrupted after {records}, before all that was asked for was read"),
        "run the command again; it begins where it began",
    ))
}
