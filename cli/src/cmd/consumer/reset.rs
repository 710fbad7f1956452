//! `weir consumer reset`.

use clap::Args;
use weir_client::{
    Admin,
    admin::{ConsumerReset, ConsumerResetRequest, ResetTo},
};
use weir_protocol::ids::{Offset, PartitionIndex};

use super::explain;
use crate::{
    cmd::topic,
    context::Context,
    error::Result,
    moment::Moment,
    out::{self, OutputArg, or_dash},
    prompt,
};

/// Options of `weir consumer reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// The consumer's name; one that has committed nothing yet is made
    pub(super) consumer: String,
    /// The topic, or the id of a generation (tg_…)
    #[arg(short, long)]
    topic: String,
    /// This partition only (may be repeated); default: all
    #[arg(short, long, value_name = "N")]
    partition: Vec<u32>,
    #[command(flatten)]
    to: ToArgs,
    /// Change nothing: show what would be
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// A place; exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ToArgs {
    /// The oldest record
    #[arg(short = 'B', long)]
    beginning: bool,
    /// After the newest record
    #[arg(long)]
    end: bool,
    /// This offset
    #[arg(long, value_name = "OFFSET")]
    offset: Option<u64>,
    /// So many records behind the oldest
    #[arg(long, value_name = "COUNT")]
    from_beginning: Option<u64>,
    /// So many records before the end
    #[arg(long, value_name = "COUNT")]
    from_end: Option<u64>,
    /// The first record from this time on, such as 2026-01-31T12:00:00Z, or 10m (that long ago)
    #[arg(long, value_name = "TIME")]
    to_time: Option<Moment>,
}

impl ToArgs {
    /// The place, and how it is called in a question.
    fn place(&self, now_unix_ms: i64) -> (ResetTo, String) {
        if let Some(time) = self.to_time {
            let words = format!("the first record from {} on", time.told(now_unix_ms));
            return (ResetTo::Timestamp(time.unix_ms(now_unix_ms)), words);
        }
        if let Some(offset) = self.offset {
            return (ResetTo::Offset(Offset(offset)), format!("offset {offset}"));
        }
        if let Some(count) = self.from_beginning {
            let records = out::count(count, "record");
            return (ResetTo::FromBeginning(count), format!("{records} behind the oldest"));
        }
        if let Some(count) = self.from_end {
            let records = out::count(count, "record");
            return (ResetTo::FromEnd(count), format!("{records} before the end"));
        }
        if self.end {
            return (ResetTo::End, "the end".to_owned());
        }
        (ResetTo::Beginning, "the beginning".to_owned())
    }
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &ResetArgs, context: &Context, admin: &Admin, cluster: &str) -> Result<()> {
    let (to, place) = args.to.place(context.clock.unix_ms());
    let question = format!("Reset consumer {} on topic {} to {place}?", args.consumer, args.topic);
    prompt::confirm(args.yes || args.dry_run, &question)?;
    let partitions = args.partition.iter().copied().map(PartitionIndex).collect();
    let wanted = ConsumerResetRequest {
        topic: args.topic.clone(),
        partitions: Some(partitions).filter(|all: &Vec<_>| !all.is_empty()),
        to,
        dry_run: args.dry_run,
    };
    let reset = match admin.consumer_reset(cluster, &args.consumer, &wanted).await {
        Ok(reset) => reset,
        Err(error) if error.code() == "TOPIC_NOT_FOUND" => {
            return Err(topic::explain(admin, cluster, &args.topic, error).await);
        }
        Err(error) => return Err(explain(admin, cluster, &args.consumer, error).await),
    };
    out::print(args.output.format, &reset, || text(&reset))
}

fn text(reset: &ConsumerReset) -> String {
    let done = if reset.dry_run { "would be reset (nothing was changed)" } else { "reset" };
    let partitions = out::table(
        ["PARTITION", "OLD", "NEW", "START", "END"],
        reset.partitions.iter().map(|partition| {
            [
                partition.partition.to_string(),
                or_dash(partition.old),
                partition.new.to_string(),
                partition.log_start.to_string(),
                partition.end.to_string(),
            ]
        }),
    );
    format!("consumer {} on topic {} {done}\n\n{partitions}", reset.consumer, reset.topic)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ResetArgs,
    }

    fn parse(line: &str) -> Result<ResetArgs, clap::Error> {
        Ok(Line::try_parse_from(format!("x billing --topic orders {line}").split(' '))?.args)
    }

    #[test]
    fn exactly_one_place_is_named() {
        for (line, place, words) in [
            ("--beginning", ResetTo::Beginning, "the beginning"),
            ("-B -p 0 -p 2", ResetTo::Beginning, "the beginning"),
            ("--end", ResetTo::End, "the end"),
            ("--offset 7", ResetTo::Offset(Offset(7)), "offset 7"),
            ("--from-beginning 1", ResetTo::FromBeginning(1), "1 record behind the oldest"),
            ("--from-end 1000", ResetTo::FromEnd(1000), "1,000 records before the end"),
            (
                "--to-time 2026-01-01T00:00:00Z",
                ResetTo::Timestamp(1_767_225_600_000),
                "the first record from 2026-01-01T00:00:00.000Z on",
            ),
            (
                "--to-time 10s",
                ResetTo::Timestamp(50_000),
                "the first record from 1970-01-01T00:00:50.000Z on",
            ),
        ] {
            assert_eq!(parse(line).unwrap().to.place(60_000), (place, words.to_owned()), "{line}");
        }
        for wrong in [
            "--yes",
            "--beginning --end",
            "--end --to-time 10s",
            "--to-time noon",
            "--offset 1 --from-end 1",
            "--offset -1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("-B -p 0 -p 2").unwrap().partition, [0, 2]);
    }

    #[test]
    fn a_dry_run_says_that_it_was_one() {
        let reset = |dry_run| -> ConsumerReset {
            serde_json::from_value(serde_json::json!({
                "consumer": "billing", "topic": "orders", "generation_number": 1,
                "generation_id": "tg_00000000000000000000000000000001", "dry_run": dry_run,
                "partitions": [{"partition": 0, "old": null, "new": 3, "log_start": 0, "end": 9}],
            }))
            .unwrap()
        };
        assert!(text(&reset(true)).contains("nothing was changed"));
        let done = text(&reset(false));
        assert!(done.starts_with("consumer billing on topic orders reset\n"), "{done}");
        let last: Vec<_> = done.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["0", "-", "3", "0", "9"]);
    }
}
