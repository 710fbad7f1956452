//! `weir topic`.

mod assignment;
mod config;
mod describe;
mod tombstones;
mod update;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_client::{
    Admin,
    admin::{AdminError, Topic, TopicCreate, TopicState},
};

use crate::{
    consume::template::timestamp,
    context::Context,
    error::{self, CliError, Result},
    out::{self, OutputArg},
    suggest,
};
use config::ConfigArgs;
use tombstones::{DeleteArgs, PurgeArgs, UndeleteArgs};

/// What to do with topics.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir topic create orders -p 3
  weir topic list
  weir topic describe orders
  weir topic update orders --retention 30d")]
pub enum TopicCommand {
    /// Create a topic
    #[command(after_help = "\
Examples:
  weir topic create orders
  weir topic create orders --partitions 6 --replication 3
  weir topic create audit --retention none
  weir topic create pinned --replica-assignment pinned.json     such as [[1,2],[2,3]]
  weir topic create clicks --retention 12h --retention-bytes 10GiB --segment-bytes 64MiB
  weir topic create metrics --flush interval --flush-interval 100ms

Records of a new topic are kept for 7 days and fsynced before they are acknowledged, unless told
otherwise; weir topic update changes it later.")]
    Create(Box<CreateArgs>),
    /// List topics
    #[command(after_help = "\
Examples:
  weir topic list
  weir topic list --all -o yaml
  weir topic list --deleted")]
    List(ListArgs),
    /// Show a topic and its partitions
    #[command(after_help = "Examples:\n  weir topic describe orders")]
    Describe(DescribeArgs),
    /// Change how a topic's records are kept, how many copies there are and how many commit, while it
    /// is in use too
    #[command(after_help = "\
Examples:
  weir topic update orders --retention 30d
  weir topic update orders --retention none --retention-bytes 100GiB
  weir topic update orders --flush interval --flush-interval 50ms
  weir topic update orders --flush before-ack
  weir topic update orders --min-insync-replicas 2
  weir topic update orders --replication 3

What is not said stays as it is. A shorter retention removes records that are older, and nothing
brings them back.")]
    Update(Box<update::UpdateArgs>),
    /// Delete topics; their names are free at once, their records are kept until they are purged
    #[command(after_help = "\
Examples:
  weir topic delete orders
  weir topic delete orders payments --yes
  weir topic delete orders --purge       remove its records as well, for good

A deleted topic comes back with: weir topic undelete orders")]
    Delete(DeleteArgs),
    /// Bring a deleted topic back, with its records
    #[command(after_help = "\
Examples:
  weir topic undelete orders
  weir topic undelete tg_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b

Of several deleted topics of one name, the name means the one that was created last.")]
    Undelete(UndeleteArgs),
    /// Remove the records of deleted topics for good
    #[command(after_help = "\
Examples:
  weir topic purge orders
  weir topic purge tg_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b --yes
  weir topic purge --all-deleted --yes")]
    Purge(PurgeArgs),
    /// Add partitions to a topic (they only grow)
    #[command(
        name = "add-partition",
        after_help = "Examples:\n  weir topic add-partition orders\n  weir topic add-partition orders --count 3"
    )]
    AddPartition(AddPartitionArgs),
}

/// Options of `weir topic create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The name: 1 to 249 of letters, digits, ".", "_", "-"
    topic: String,
    /// How many partitions
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// How many copies of each partition, each on an SPU of its own
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    replication: u32,
    /// With fewer copies in sync than this, nothing is committed; by default two, where there are two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    min_insync_replicas: Option<u32>,
    /// Place copies by load alone, whatever racks SPUs stand on
    #[arg(long)]
    ignore_rack: bool,
    /// Take who holds each partition from this file: JSON, a list of SPU ids for each partition, the
    /// first preferred as its leader
    #[arg(long, value_name = "FILE", conflicts_with_all = ["partitions", "replication", "ignore_rack"])]
    replica_assignment: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Options of `weir topic list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Weir's own topics too
    #[arg(long)]
    all: bool,
    /// Deleted topics instead, as long as they are not purged
    #[arg(long, conflicts_with = "all")]
    deleted: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir topic describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The name, or the id of a generation (tg_…)
    topic: String,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir topic add-partition`.
#[derive(Debug, Args)]
pub struct AddPartitionArgs {
    /// The name, or the id of a generation (tg_…)
    topic: String,
    /// How many more
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: TopicCommand, context: &Context) -> Result<()> {
    match &command {
        TopicCommand::Create(args) => {
            check_name(&args.topic)?;
            args.config.check(true)?;
        }
        TopicCommand::Update(args) => args.check()?,
        _ => {}
    }
    let cluster = context.selected()?;
    let admin = context.admin()?;
    match command {
        TopicCommand::Create(args) => create(&args, &admin, &cluster).await,
        TopicCommand::List(args) if args.deleted => {
            tombstones::list(args.output, &admin, &cluster).await
        }
        TopicCommand::List(args) => list(&args, &admin, &cluster).await,
        TopicCommand::Describe(args) => {
            let topic = find(&admin, &cluster, &args.topic).await?;
            out::print(args.output.format, &topic, || describe::describe(&topic))
        }
        TopicCommand::Update(args) => update::run(&args, context, &admin, &cluster).await,
        TopicCommand::Delete(args) => tombstones::delete(&args, context, &admin, &cluster).await,
        TopicCommand::Undelete(args) => tombstones::undelete(&args, &admin, &cluster).await,
        TopicCommand::Purge(args) => tombstones::purge(&args, context, &admin, &cluster).await,
        TopicCommand::AddPartition(args) => {
            let topic = admin.topic_add_partitions(&cluster, &args.topic, args.count).await;
            let topic = match topic {
                Err(error) => return Err(explain(&admin, &cluster, &args.topic, error).await),
                Ok(topic) => topic,
            };
            let count = topic.partitions.len() as u64;
            out::print(args.output.format, &topic, || {
                format!("topic {} has {} now", topic.name, out::count(count, "partition"))
            })
        }
    }
}

async fn create(args: &CreateArgs, admin: &Admin, cluster: &str) -> Result<()> {
    let assignment = args.replica_assignment.as_deref().map(assignment::read).transpose()?;
    let (partitions, replication) = match &assignment {
        Some(of) => assignment::numbers(of)?,
        None => (args.partitions, args.replication),
    };
    let wanted = TopicCreate {
        name: args.topic.clone(),
        partitions,
        replication,
        min_insync_replicas: args.min_insync_replicas,
        config: args.config.change(),
        ignore_rack: args.ignore_rack,
        assignment,
    };
    let topic = match admin.topic_create(cluster, &wanted).await {
        Err(error) => return Err(explain(admin, cluster, &args.topic, error).await),
        Ok(topic) => topic,
    };
    let count = u64::from(partitions);
    out::print(args.output.format, &topic, || {
        let kept = topic.config.as_ref().map(config::kept);
        let kept = kept.map_or_else(String::new, |kept| format!("; its records are kept {kept}"));
        format!("topic {} created with {}{kept}", topic.name, out::count(count, "partition"))
    })
}

async fn list(args: &ListArgs, admin: &Admin, cluster: &str) -> Result<()> {
    let topics = match args.all {
        true => admin.topic_list_internal(cluster).await?,
        false => admin.topic_list(cluster).await?,
    };
    out::print(args.output.format, &topics, || {
        out::table(
            ["NAME", "PARTITIONS", "REPLICATION", "READY", "STATE", "CREATED"],
            topics.iter().map(|topic| {
                [
                    topic.name.clone(),
                    topic.partitions.len().to_string(),
                    topic.replication.to_string(),
                    yes_no(topic.ready),
                    topic.state.to_string(),
                    timestamp(topic.created_at_unix_ms),
                ]
            }),
        )
    })
}

/// A topic, or an error that names what may have been meant.
///
/// # Errors
/// When there is none, or that cannot be told.
pub async fn find(admin: &Admin, cluster: &str, name: &str) -> Result<Topic> {
    match admin.topic(cluster, name).await {
        Ok(topic) => Ok(topic),
        Err(error) => Err(explain(admin, cluster, name, error).await),
    }
}

/// The error with what helps: near names for a topic that is not there.
pub async fn explain(admin: &Admin, cluster: &str, name: &str, error: AdminError) -> CliError {
    match error.code() {
        "UNKNOWN_TOPIC" | "TOPIC_NOT_FOUND" => {
            let topics = admin.topic_list(cluster).await.unwrap_or_default();
            let active = topics.iter().filter(|t| !t.internal && t.state == TopicState::Active);
            let near = suggest::nearest(name, active.map(|t| t.name.as_str()));
            let deleted = admin.topic_list_deleted(cluster).await.unwrap_or_default();
            match deleted.iter().any(|t| t.name == name) {
                true => error::unknown_topic(name, near).hinted(format!(
                    "it was deleted; see: weir topic list --deleted; bring it back with: weir \
                     topic undelete {name}"
                )),
                false => error::unknown_topic(name, near),
            }
        }
        "TOPIC_EXISTS" => CliError::from(error).hinted(format!(
            "look at it with: weir topic describe {name}; or delete it first: weir topic delete \
             {name}"
        )),
        "UNKNOWN_CLUSTER" | "CLUSTER_NOT_FOUND" => {
            CliError::from(error).hinted("see: weir cluster list; choose with --cluster NAME")
        }
        _ => error.into(),
    }
}

/// A topic that records may be written to and read from, by name: Weir's own are not, and the
/// data path knows no ids.
///
/// # Errors
/// When it is none.
pub fn check_open(topic: &Topic, asked: &str) -> Result<()> {
    let name = &topic.name;
    if topic.internal {
        return Err(CliError::usage(
            format!("topic {name} is Weir's own: it is neither written to nor read"),
            "see: weir topic list",
        ));
    }
    if name != asked {
        return Err(CliError::usage(
            format!("{asked} is the id of a generation of topic {name}"),
            format!("records are written and read by the topic's name: {name}"),
        ));
    }
    Ok(())
}

/// Told here at once, in the words of the command line; the control plane checks again.
///
/// # Errors
/// When no topic can have the name.
pub fn check_name(name: &str) -> Result<()> {
    let rule = "a topic's name is 1 to 249 of letters, digits, \".\", \"_\" and \"-\", and does \
                not begin with \"__\"";
    let good = (1..=249).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !matches!(name, "." | "..")
        && !name.starts_with("__");
    if good {
        Ok(())
    } else {
        Err(CliError::usage(format!("{name:?} cannot be a topic's name"), rule))
    }
}

/// `1, 2, 3`, or a dash.
pub fn join(items: &[impl ToString]) -> String {
    let text = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if text.is_empty() { "-".to_owned() } else { text }
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn bad_names_are_usage_errors_that_tell_the_rule() {
        for good in ["a", "orders.eu-1_x", &"x".repeat(249), "_a", "..."] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "__probe", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert_eq!(check_name(bad).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }
}
