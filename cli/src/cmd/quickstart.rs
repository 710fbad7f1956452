//! `weir quickstart`: everything at work, on this machine, in one command.

use std::{io, path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use weir_client::{
    Client, ConsumerConfig, ProducerConfig,
    admin::{ClusterSpec, TopicCreate},
};

use super::cluster::{self, ensure::Took};
use crate::{
    connect,
    consume::{
        render::{Newline, Render},
        sink::Sink,
    },
    context::Context,
    error::{self, CliError, Result},
    out::{self, OutputArg},
    produce::{
        feed::{Ended, Feed},
        shape::Shape,
        source,
    },
    quickstart::{compare::Compare, text::Text},
    signal,
};

const CLUSTER: &str = "quickstart";
const TOPIC: &str = "quickstart";
/// Each run writes to a topic of its own, so that it can compare; so many are tried.
const TOPICS_MAX: u32 = 10_000;
const MAX_LINE_BYTES: usize = 1 << 20;

/// Options of `weir quickstart`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir quickstart
  weir quickstart README.md

Starts a cluster named quickstart with one SPU, or uses the one that runs, creates a topic, writes
the file's lines to it, reads them back, and compares. The cluster goes on running afterwards:
weir cluster shutdown stops it, weir cluster delete removes it and its data.")]
pub struct QuickstartArgs {
    /// The file to write; default: a word list of this machine, else weir's license
    file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Report {
    cluster: String,
    cluster_was: &'static str,
    cluster_seconds: f64,
    endpoints: Vec<String>,
    topic: String,
    file: String,
    records: u64,
    bytes: u64,
    produce_seconds: f64,
    consume_seconds: f64,
    identical: bool,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: QuickstartArgs, context: &Context) -> Result<()> {
    let text = Text::choose(args.file);
    // A file that cannot be read is told before anything is started.
    let newline = if text.ends_with_newline()? { Newline::After } else { Newline::Between };

    let name = context.cluster.as_deref().unwrap_or(CLUSTER);
    let begin = context.clock.now();
    let spec = ClusterSpec { spus: 1, ..ClusterSpec::default() };
    let (cluster, took) = cluster::ensure::ensure(context, name, &spec).await?;
    let cluster_seconds = context.clock.now().since(begin).as_secs_f64();

    // It is at home wherever the current profile is.
    let here = Context { cluster: Some(name.to_owned()), profile: None, ..context.clone() };
    let topic = fresh_topic(&here, name).await?;
    let client = connect::client(&here, &topic).await?;
    let (records, produce_seconds) = write(&here, &client, &topic, &text).await?;
    let (bytes, consume_seconds) = read(&here, &client, &topic, &text, newline, records).await?;

    let report = Report {
        cluster: name.to_owned(),
        cluster_was: match took {
            Took::Create => "created",
            Took::Resume => "resumed",
            Took::Nothing => "running",
        },
        cluster_seconds,
        endpoints: cluster.spus.iter().filter_map(|spu| spu.endpoint.clone()).collect(),
        topic,
        file: text.name(),
        records,
        bytes,
        produce_seconds,
        consume_seconds,
        identical: true,
    };
    out::print(args.output.format, &report, || tell(&report, cluster::is_selected(&here, name)))
}

/// Creates `quickstart`, or `quickstart-2` if a former run left that, and so on: no topic of
/// a former run, nor what was written to it since, is touched.
async fn fresh_topic(context: &Context, cluster: &str) -> Result<String> {
    let admin = context.admin()?;
    for number in 1..=TOPICS_MAX {
        let name = if number == 1 { TOPIC.to_owned() } else { format!("{TOPIC}-{number}") };
        let wanted = TopicCreate::new(&name, 1);
        match admin.topic_create(cluster, &wanted).await {
            Ok(_) => return Ok(name),
            Err(error) if error.code() == "TOPIC_EXISTS" => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CliError::new(
        format!("there are {TOPICS_MAX} topics of former runs"),
        format!("begin anew: weir cluster delete --name {cluster}"),
    ))
}

/// Sends every line. Returns how many, and the seconds until the last was acknowledged.
async fn write(context: &Context, client: &Client, topic: &str, text: &Text) -> Result<(u64, f64)> {
    let cluster = context.cluster.as_deref().unwrap_or(CLUSTER);
    let producer = client.producer(topic, ProducerConfig::default()).await?;
    let mut blocks = source::read(text.open()?, text.name(), MAX_LINE_BYTES);
    let progress = context.ui.spinner("");
    let begin = context.clock.now();
    let mut feed = Feed::new(producer, topic, Shape::default(), context.clock, &progress);
    let ended = feed.run(&mut blocks, signal::interrupted()).await;
    let open = feed.finish(ProducerConfig::default().delivery_timeout).await;
    let seconds = context.clock.now().since(begin).as_secs_f64();
    match ended {
        Ended::Input if open == 0 && feed.tally.is_clean() => {
            Ok((feed.tally.acknowledged, seconds))
        }
        Ended::Error(error) => Err(error),
        Ended::Interrupted => {
            Err(CliError::interrupted("interrupted", "run it again, it begins anew"))
        }
        Ended::Input | Ended::Failure => Err(CliError::new(
            format!("not every record was acknowledged: {}", feed.tally.told()),
            format!("see: weir cluster status --name {cluster}"),
        )),
    }
}

fn check(sink: &mut Sink, compare: &mut impl io::Write) -> io::Result<()> {
    sink.chunk().map_or(Ok(()), |chunk| compare.write_all(&chunk.bytes))
}

/// Reads all back and compares. Returns the bytes, and the seconds that it took.
async fn read(
    context: &Context,
    client: &Client,
    topic: &str,
    text: &Text,
    newline: Newline,
    records: u64,
) -> Result<(u64, f64)> {
    let progress = context.ui.spinner("reading back");
    let begin = context.clock.now();
    let mut consumer = client.consumer(ConsumerConfig::new(topic).until_end()).await?;
    let mut compare = Compare::new(text.open()?);
    let mut sink = Sink::new(Render::Raw, newline);
    let unreadable = |e| error::io("read", std::path::Path::new(&text.name()), &e);
    while let Some(next) = consumer.next().await {
        let record = next.map_err(|e| error::not_read(topic, &e))?;
        if sink.take(&record).map_err(unreadable)? {
            check(&mut sink, &mut compare).map_err(unreadable)?;
        }
    }
    check(&mut sink, &mut compare).map_err(unreadable)?;
    let (read, seconds) = (sink.records, context.clock.now().since(begin).as_secs_f64());
    drop(progress);
    if read == records && compare.finish().map_err(unreadable)? {
        return Ok((compare.same, seconds));
    }
    Err(CliError::new(
        format!(
            "what came back is not what was sent: {} sent, {read} read, the same up to byte {}",
            out::count(records, "record"),
            compare.same
        ),
        "if the file did not change meanwhile this is a bug in weir: please report it",
    ))
}

fn tell(report: &Report, selected: bool) -> String {
    let Report { cluster, topic, file, records, bytes, .. } = report;
    let took = |seconds: f64| humantime_seconds(seconds);
    let cluster_text = match report.cluster_was {
        "running" => "was running".to_owned(),
        was => format!("{was}, running after {}", took(report.cluster_seconds)),
    };
    let speed = |seconds| format!("{}, {}", took(seconds), out::rate(*bytes, seconds));
    let again = if topic == TOPIC { "" } else { " (topics of former runs are left alone)" };
    let to = if selected { String::new() } else { format!(" --cluster {cluster}") };
    format!(
        "\
cluster   {cluster}: {cluster_text}, {} at {}
topic     {topic}: created with 1 partition{again}
produced  {} of {file}, {} in {}: each one acknowledged, on disk
consumed  {} in {}
compared  byte for byte the same

The cluster goes on running. Next:
  weir consume {topic} -B -n 3{to}
  echo hello | weir produce {topic}{to}
  weir topic create orders -p 3{to}
  weir cluster status --name {cluster}
  weir cluster shutdown --name {cluster}",
        out::count(report.endpoints.len() as u64, "SPU"),
        report.endpoints.join(", "),
        out::count(*records, "record"),
        out::bytes(*bytes),
        speed(report.produce_seconds),
        out::count(*records, "record"),
        speed(report.consume_seconds),
    )
}

fn humantime_seconds(seconds: f64) -> String {
    let duration = Duration::from_secs_f64(seconds.max(0.0));
    if duration < Duration::from_secs(1) {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_tells_what_was_measured_and_what_comes_next() {
        let mut report = Report {
            cluster: "quickstart".into(),
            cluster_was: "created",
            cluster_seconds: 0.75,
            endpoints: vec!["127.0.0.1:9500".into()],
            topic: "quickstart".into(),
            file: "words".into(),
            records: 1_000,
            bytes: 10_000,
            produce_seconds: 0.01,
            consume_seconds: 1.5,
            identical: true,
        };
        let text = tell(&report, true);
        assert!(text.contains("created, running after 750 ms, 1 SPU at 127.0.0.1:9500"), "{text}");
        assert!(text.contains("1,000 records of words, 10.0 kB in 10 ms, 1.0 MB/s"), "{text}");
        assert!(text.contains("weir consume quickstart -B -n 3\n"));
        report.topic = "quickstart-2".into();
        report.endpoints.push("127.0.0.1:9501".into());
        report.cluster_was = "running";
        let text = tell(&report, false);
        assert!(text.contains("was running, 2 SPUs at 127.0.0.1:9500, 127.0.0.1:9501"), "{text}");
        assert!(text.contains("was running") && text.contains("former runs"), "{text}");
        assert!(text.contains("weir consume quickstart-2 -B -n 3 --cluster quickstart"), "{text}");
    }
}
