//! `weir topic update`.

use clap::Args;
use weir_client::{
    Admin,
    admin::{ReassignmentMove, Topic, TopicUpdate},
};

use super::{config::ConfigArgs, explain, find};
use crate::{
    cmd::{partition::moving, topic::config},
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg},
};

/// Options of `weir topic update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The name, or the id of a generation (tg_…)
    topic: String,
    /// With fewer copies in sync than this, nothing is committed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    min_insync_replicas: Option<u32>,
    /// How many copies of each partition there should be, each on an SPU of its own
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    replication: Option<u32>,
    /// Return before copies that come or go have done so
    #[arg(long, requires = "replication")]
    no_wait: bool,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    config: ConfigArgs,
}

impl UpdateArgs {
    /// Told here at once; the control plane checks again.
    ///
    /// # Errors
    /// When nothing is said, or what cannot be.
    pub fn check(&self) -> Result<()> {
        if self.change().is_empty() {
            return Err(CliError::usage(
                format!("it is not said what should be otherwise with topic {}", self.topic),
                "say at least one, such as --retention 30d; all: weir topic update --help",
            ));
        }
        self.config.check(false)
    }

    fn change(&self) -> TopicUpdate {
        let min_insync_replicas = self.min_insync_replicas.map(Some);
        let replication = self.replication;
        TopicUpdate { config: self.config.change(), min_insync_replicas, replication }
    }
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &UpdateArgs, context: &Context, admin: &Admin, cluster: &str) -> Result<()> {
    let before = find(admin, cluster, &args.topic).await?;
    // By its id: what is compared is one generation, also where the name changes hands meanwhile.
    let id = before.generation_id.to_string();
    let mut after = match admin.topic_update(cluster, &id, &args.change()).await {
        Err(error) => return Err(explain(admin, cluster, &args.topic, error).await),
        Ok(topic) => topic,
    };
    let moves = moves(&after);
    if !moves.is_empty() && args.replication.is_some() && !args.no_wait {
        moving::wait(context, admin, cluster, &moves).await?;
        after = find(admin, cluster, &id).await?;
    }
    out::print(args.output.format, &after, || told(&before, &after))
}

/// Partitions whose copies come or go.
fn moves(topic: &Topic) -> Vec<ReassignmentMove> {
    let moved = topic.partitions.iter().filter_map(|partition| {
        let goal = partition.reassignment.as_ref()?;
        Some(ReassignmentMove {
            topic: topic.name.clone(),
            generation_id: topic.generation_id,
            partition: partition.index,
            from_spu_ids: partition.replica_spu_ids.clone(),
            to_spu_ids: goal.target_spu_ids.clone(),
        })
    });
    moved.collect()
}

fn told(before: &Topic, after: &Topic) -> String {
    let configs = before.config.as_ref().zip(after.config.as_ref());
    let mut changes = configs.map(|(was, is)| config::changes(was, is)).unwrap_or_default();
    let (was, is) = (before.min_insync_replicas, after.min_insync_replicas);
    if was != is {
        changes.push(format!("min in sync  {was} → {is}"));
    }
    if before.replication != after.replication {
        changes.push(format!("replication  {} → {}", before.replication, after.replication));
    }
    let under_way = moves(after).len() as u64;
    if under_way > 0 {
        let count = out::count(under_way, "partition");
        changes.push(format!(
            "copies of {count} come or go; follow it with: weir partition describe {}",
            after.name
        ));
    }
    if changes.is_empty() {
        return format!("topic {} is so already: nothing was changed", after.name);
    }
    format!("topic {} updated\n{}", after.name, changes.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::error::Exit;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    #[test]
    fn at_least_one_choice_is_demanded() {
        let check = |line: &str| Line::try_parse_from(line.split(' ')).unwrap().args.check();
        assert_eq!(check("x orders").unwrap_err().exit(), Exit::Usage);
        assert_eq!(check("x orders -o json").unwrap_err().exit(), Exit::Usage);
        assert_eq!(check("x orders --retention none"), Ok(()));
        assert_eq!(check("x orders --flush-interval 1s"), Ok(()));
        assert_eq!(check("x orders --min-insync-replicas 2"), Ok(()));
        assert_eq!(check("x orders --replication 3 --no-wait"), Ok(()));
    }

    #[test]
    fn what_changed_is_told_or_that_nothing_did() {
        let after: Topic = serde_json::from_value(serde_json::json!({
            "generation_id": "tg_00000000000000000000000000000007", "generation_number": 1,
            "name": "orders", "state": "active", "min_insync_replicas": 1,
            "config": {"flush": "before_ack", "retention_ms": 86_400_000, "segment_bytes": 1 << 20},
        }))
        .unwrap();
        let mut before = after.clone();
        before.config.as_mut().unwrap().retention_ms = Some(604_800_000);
        before.min_insync_replicas = 2;
        assert_eq!(
            told(&before, &after),
            "topic orders updated\nretention    7 days → 1 day\nmin in sync  2 → 1"
        );
        assert!(told(&after, &after).contains("nothing was changed"));
    }
}
