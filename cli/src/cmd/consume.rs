//! `weir consume`.

use std::{io, time::Duration};

use clap::{Args, ValueEnum};
use weir_client::{ClientError, Commit, ConsumerConfig, Isolation, Processed, ResetPolicy, Start};
use weir_protocol::ids::{Offset, PartitionIndex};

use crate::{
    connect,
    consume::{
        copy::{Copy, Wanted},
        render::{Newline, Render},
        sink::Sink,
        template::Template,
        writer::Writer,
    },
    context::Context,
    error::{CliError, Result},
    moment::Moment,
    out,
};

/// How long records, or an answer to a commit, may not come before that is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of `weir consume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir consume orders                     what comes from now on, until Ctrl-C
  weir consume orders -B -d               all there is, then end
  weir consume orders -c mailer           as consumer mailer: from where it had come to
  weir consume orders -T 10 -d            the last 10 of each partition
  weir consume orders --since 10m         from the first record of the last ten minutes on
  weir consume orders --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z
  weir consume orders --isolation read-uncommitted    as soon as the leader has them
  weir consume orders --rack zone-a       from copies of that zone, where they are in sync
  weir consume orders -B -n 5 --format '{{partition}}/{{offset}} {{key}}: {{value}}'

Values are written as they are, a newline after each. A file that was produced line by line comes
back byte for byte; if its last line had no newline, say --no-final-newline. Records of one
partition come in order; those of several are mixed.

A consumer with a name (-c) goes on behind the last record that it had written. The first time,
and only then, it begins where -B, -T, -H, --start-offset or --since say, by default at the oldest
record. A record counts as processed when it was written to standard output; that is committed every
second and at the end. What was written and not committed comes again. One consumer of a name reads
a partition at a time: the newest takes it, and the older one ends.

The times of --since and --until are compared with those that producers gave their records. In a
partition with records that are out of order, --until stops at the first that is late enough.")]
pub struct ConsumeArgs {
    /// The topic
    topic: String,
    /// Read as this consumer: go on where it had come to, and commit what was written
    #[arg(short, long, value_name = "NAME")]
    consumer: Option<String>,
    /// Begin at the oldest record; default: after the newest, with --consumer or --until at the
    /// oldest
    #[arg(short = 'B', long, visible_alias = "from-beginning", group = "start")]
    beginning: bool,
    /// Begin so many records behind the oldest of each partition
    #[arg(short = 'H', long, value_name = "COUNT", group = "start")]
    head: Option<u64>,
    /// Begin so many records before the end of each partition
    #[arg(short = 'T', long, value_name = "COUNT", visible_alias = "from-end", group = "start")]
    tail: Option<u64>,
    /// Begin at this offset of each partition
    #[arg(long, value_name = "OFFSET", group = "start")]
    start_offset: Option<u64>,
    /// Begin at the first record from this time on, such as 2026-01-31T12:00:00Z, or 10m (that
    /// long ago)
    #[arg(long, value_name = "TIME", group = "start")]
    since: Option<Moment>,
    /// Stop each partition at its first record from this time on, such as 2026-01-31T12:00:00Z or
    /// 10m (that long ago), or at its end as it is at the start
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// What to do where the offset to begin at is not there: error, or begin at the earliest, the
    /// latest or the nearest that is; default: error, with --consumer nearest
    #[arg(long, value_enum, value_name = "POLICY", hide_possible_values = true)]
    reset_policy: Option<Reset>,
    /// Stop at the end as it is at the start; default: wait for more
    #[arg(short = 'd', long = "disable-continuous")]
    until_end: bool,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
    /// Read this partition only (may be repeated)
    #[arg(short, long, value_name = "N")]
    partition: Vec<u32>,
    /// Whether records are read that are not committed yet, and may be lost: read-committed or
    /// read-uncommitted
    #[arg(
        long,
        value_enum,
        value_name = "LEVEL",
        default_value = "read-committed",
        hide_possible_values = true
    )]
    isolation: IsolationArg,
    /// Read from SPUs on this rack wherever one holds a copy that is in sync
    #[arg(long, value_name = "NAME", env = "WEIR_RACK")]
    rack: Option<String>,
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

impl ConsumeArgs {
    /// Whether it is said where to begin.
    fn begins(&self) -> bool {
        let counts = [self.head, self.tail, self.start_offset];
        self.beginning || self.since.is_some() || counts.iter().any(Option::is_some)
    }

    /// Whether there is an end to what is asked for, but for a count.
    const fn ends(&self) -> bool {
        self.until_end || self.until.is_some()
    }
}

/// What to do where the offset to begin at is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reset {
    /// Refuse
    Error,
    /// The oldest
    Earliest,
    /// Behind the newest
    Latest,
    /// Whichever is nearer
    Nearest,
}

/// Which records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IsolationArg {
    /// Those that all copies in sync hold
    #[value(alias = "read_committed")]
    ReadCommitted,
    /// All that the leader has
    #[value(alias = "read_uncommitted")]
    ReadUncommitted,
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
    let now = context.clock.unix_ms();
    let until = args.until.map(|until| until.unix_ms(now));
    if args.since.zip(until).is_some_and(|(since, until)| since.unix_ms(now) >= until) {
        return Err(CliError::usage(
            "--until is not after --since",
            "say a later --until, or leave it out to wait for more",
        ));
    }
    let mut config = config(&args, now);
    config.unavailable_after = context.timeout.unwrap_or(PATIENCE);
    config.check().map_err(|error| match error {
        ClientError::Configuration(what) => {
            CliError::usage(what, "choose another name, such as -c mailer")
        }
        other => other.into(),
    })?;
    let target = context.target()?;
    let client = connect::client(context, &args.topic).await?;
    let consumer = client.consumer(config).await?;
    let newline = if args.no_final_newline { Newline::Between } else { Newline::After };
    let writer = Writer::new(io::stdout()).map_err(|e| out::from_stdout(&e))?;
    let ConsumeArgs { topic, consumer: name, count, .. } = &args;
    let until_end = args.ends();
    let begin = args.begins();
    let name = name.as_deref();
    let wanted = Wanted { target, topic, name, begin, until_end, until, count: *count };
    let sink = Sink::new(render(&args), newline);
    Copy::new(wanted, context, consumer, sink, writer).run().await
}

fn config(args: &ConsumeArgs, now_unix_ms: i64) -> ConsumerConfig {
    let since = args.since.map(|since| since.unix_ms(now_unix_ms));
    let start = match (args.start_offset, args.head, args.tail, since) {
        (Some(offset), ..) => Start::Absolute(Offset(offset)),
        (_, Some(count), ..) => Start::FromBeginning(count),
        (_, _, Some(count), _) => Start::FromEnd(count),
        (.., Some(ms)) => Start::Timestamp(ms),
        // Without a name nothing remembers what was not read; with one nothing may be skipped.
        // What is read up to a time lies before it.
        _ if args.beginning || args.consumer.is_some() || args.until.is_some() => Start::Beginning,
        _ => Start::End,
    };
    let mut config = ConsumerConfig::new(&args.topic).start(start).commit(Commit::Manual);
    config.processed = Processed::WhenTold;
    config.name.clone_from(&args.consumer);
    config.until_end = args.ends();
    config.rack.clone_from(&args.rack);
    config.isolation = match args.isolation {
        IsolationArg::ReadCommitted => Isolation::Committed,
        IsolationArg::ReadUncommitted => Isolation::Uncommitted,
    };
    config.reset = args.reset_policy.map(|reset| match reset {
        Reset::Error => ResetPolicy::Error,
        Reset::Earliest => ResetPolicy::Earliest,
        Reset::Latest => ResetPolicy::Latest,
        Reset::Nearest => ResetPolicy::Nearest,
    });
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ConsumeArgs,
    }

    fn parse(line: &str) -> Result<ConsumeArgs, clap::Error> {
        Ok(Line::try_parse_from(format!("x orders {line}").split_whitespace())?.args)
    }

    #[test]
    fn a_start_is_one_place_and_a_time_may_be_an_age() {
        let now = 1_767_268_800_000;
        for (line, start) in [
            ("", Start::End),
            ("-c mailer", Start::Beginning),
            ("--until 10m", Start::Beginning),
            ("-B", Start::Beginning),
            ("-H 2", Start::FromBeginning(2)),
            ("-T 3", Start::FromEnd(3)),
            ("--start-offset 4", Start::Absolute(Offset(4))),
            ("--since 10m", Start::Timestamp(now - 600_000)),
            ("-c mailer --since 2026-01-01T00:00:00Z", Start::Timestamp(1_767_225_600_000)),
        ] {
            let args = parse(line).unwrap();
            assert_eq!(config(&args, now).start, start, "{line}");
            assert_eq!(args.begins(), !matches!(line, "" | "-c mailer" | "--until 10m"), "{line}");
        }
        for wrong in ["--since 10m -B", "--since 10m --tail 1", "--since noon", "--until"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_read_up_to_a_time_has_an_end() {
        for (line, ends) in
            [("-B", false), ("-B -n 1", false), ("-B -d", true), ("--until 0s", true)]
        {
            let args = parse(line).unwrap();
            assert_eq!((args.ends(), config(&args, 0).until_end), (ends, ends), "{line}");
        }
    }
}
