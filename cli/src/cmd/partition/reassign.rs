//! `weir partition reassign`: of one partition, or of all that an SPU holds.

use clap::Args;
use weir_client::admin::{Admin, PartitionReassignment, Reassignment, ReassignmentPlan};
use weir_protocol::ids::{PartitionIndex, SpuId};

use super::{explain, moving};
use crate::{
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg},
};

/// Options of `weir partition reassign`.
#[derive(Debug, Args)]
pub struct ReassignArgs {
    /// The topic's name, or the id of a generation (tg_…)
    #[arg(requires = "partition", conflicts_with_all = ["from", "to"])]
    topic: Option<String>,
    /// Which partition
    partition: Option<u32>,
    /// The SPUs that are to hold it, the first preferred as its leader (such as 2,3,1)
    #[arg(long, value_name = "SPU,…", value_delimiter = ',', conflicts_with_all = ["from", "cancel"])]
    replicas: Option<Vec<u32>>,
    /// Move everything off this SPU instead
    #[arg(long, value_name = "SPU")]
    from: Option<u32>,
    /// To these SPUs only; default: all others
    #[arg(
        long,
        value_name = "SPU,…",
        value_delimiter = ',',
        requires = "from",
        conflicts_with = "cancel"
    )]
    to: Option<Vec<u32>>,
    /// End a reassignment that runs: its partition goes back to who held it
    #[arg(long)]
    cancel: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Return before it is done
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// What is meant.
enum Meant<'a> {
    Partition(&'a str, PartitionIndex),
    Spu(SpuId),
}

impl Meant<'_> {
    fn is_about(&self, running: &Reassignment) -> bool {
        match self {
            Self::Partition(topic, partition) => {
                let id = running.generation_id.to_string();
                running.partition == *partition && (running.topic == *topic || id == *topic)
            }
            Self::Spu(spu) => {
                let PartitionReassignment { target_spu_ids: target, cancelled, .. } =
                    &running.reassignment;
                running.replica_spu_ids.contains(spu) && (*cancelled || !target.contains(spu))
            }
        }
    }
}

impl ReassignArgs {
    fn meant(&self) -> Result<Meant<'_>> {
        let meant = match (&self.topic, self.partition, self.from) {
            (Some(topic), Some(partition), None) => {
                Meant::Partition(topic, PartitionIndex(partition))
            }
            (None, None, Some(spu)) => Meant::Spu(SpuId(spu)),
            _ => {
                return Err(CliError::usage(
                    "it is not said what should be reassigned",
                    "name a topic and a partition, or an SPU with --from",
                ));
            }
        };
        if matches!(meant, Meant::Partition(..)) && self.replicas.is_none() && !self.cancel {
            return Err(CliError::usage(
                "it is not said who should hold the partition",
                "say --replicas 2,3,1 (the first is preferred as its leader), or --cancel",
            ));
        }
        Ok(meant)
    }
}

fn ids(spus: Option<&Vec<u32>>) -> Option<Vec<SpuId>> {
    spus.map(|spus| spus.iter().copied().map(SpuId).collect())
}

/// Does it. Safe to repeat.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &ReassignArgs, context: &Context) -> Result<()> {
    let meant = args.meant()?;
    let cluster = context.selected()?;
    let admin = context.admin()?;
    let mut plan = ask(args, &meant, &admin, &cluster).await?;
    if !args.dry_run && !args.no_wait {
        if plan.moves.is_empty() {
            // Asked for before, perhaps, and on its way.
            plan.moves = moving::under_way(&admin, &cluster, |it| meant.is_about(it)).await?;
        }
        moving::wait(context, &admin, &cluster, &plan.moves).await?;
    }
    out::print(args.output.format, &plan, || told(args, &meant, &plan))
}

async fn ask(
    args: &ReassignArgs,
    meant: &Meant<'_>,
    admin: &Admin,
    cluster: &str,
) -> Result<ReassignmentPlan> {
    match meant {
        Meant::Partition(topic, partition) => {
            let replicas = ids(args.replicas.as_ref());
            let partition = (*topic, *partition);
            let asked =
                admin.partition_reassign(cluster, partition, replicas.as_deref(), args.dry_run);
            match asked.await {
                Ok(plan) => Ok(plan),
                Err(error) => Err(explain(admin, cluster, topic, error).await),
            }
        }
        Meant::Spu(spu) if args.cancel => {
            Ok(admin.cluster_drain_cancel(cluster, *spu, args.dry_run).await?)
        }
        Meant::Spu(spu) => {
            let to = ids(args.to.as_ref());
            Ok(admin.cluster_drain(cluster, *spu, to.as_deref(), args.dry_run).await?)
        }
    }
}

fn told(args: &ReassignArgs, meant: &Meant<'_>, plan: &ReassignmentPlan) -> String {
    let count = out::count(plan.moves.len() as u64, "partition");
    let mut text = match (plan.moves.is_empty(), args.dry_run, args.no_wait) {
        (true, ..) if args.cancel => "nothing is being reassigned there".to_owned(),
        (true, ..) => match meant {
            Meant::Spu(spu) if plan.stays.is_empty() => {
                format!("nothing has to be moved off SPU {spu}, or it is on its way already")
            }
            Meant::Spu(spu) => format!("nothing can be moved off SPU {spu}"),
            Meant::Partition(topic, partition) => {
                format!("partition {partition} of {topic} is held by them, or on its way to them")
            }
        },
        (false, true, _) => format!("{count} would move:\n{}", moving::table(&plan.moves)),
        (false, false, true) => {
            let about = match meant {
                Meant::Partition(topic, partition) => format!("describe {topic} {partition}"),
                Meant::Spu(spu) => format!("reassign --from {spu}"),
            };
            format!(
                "{count} will move; follow it with: weir partition {about}\n{}",
                moving::table(&plan.moves)
            )
        }
        (false, false, false) => format!("{count} moved:\n{}", moving::table(&plan.moves)),
    };
    for spu in &plan.stays {
        let topics: Vec<_> = spu.topics.iter().map(|topic| topic.name.as_str()).collect();
        text.push_str(&format!(
            "\nSPU {} keeps its copies of deleted topics, which are not served: {}; bring them back \
             (weir topic undelete) or purge them (weir topic purge)",
            spu.spu_id,
            topics.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::error::Exit;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ReassignArgs,
    }

    fn args(line: &str) -> Result<ReassignArgs, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.args)
    }

    #[test]
    fn one_partition_or_one_spu_is_named() {
        for good in [
            "x orders 0 --replicas 2,3,1",
            "x orders 0 --cancel",
            "x --from 2",
            "x --from 2 --to 1,3 --dry-run",
            "x --from 2 --cancel",
        ] {
            assert!(args(good).unwrap().meant().is_ok(), "{good}");
        }
        for bad in ["x", "x --cancel", "x orders 0", "x --replicas 1"] {
            let error = args(bad).unwrap().meant().err().unwrap();
            assert_eq!(error.exit(), Exit::Usage, "{bad}");
        }
        for bad in
            ["x orders", "x orders 0 --from 2", "x --to 1", "x orders 0 --replicas 1 --cancel"]
        {
            assert!(args(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_moves_and_what_stays_is_told() {
        let plan: ReassignmentPlan = serde_json::from_value(serde_json::json!({
            "dry_run": true,
            "moves": [{"topic": "orders", "partition": 0, "from_spu_ids": [1, 2],
                "generation_id": "tg_00000000000000000000000000000007", "to_spu_ids": [3, 2]}],
            "stays": [{"spu_id": 1, "topics": [{"name": "gone", "deleted": true,
                "generation_id": "tg_00000000000000000000000000000008", "partitions": [0]}]}],
        }))
        .unwrap();
        let args = args("x --from 1 --dry-run").unwrap();
        let text = told(&args, &args.meant().unwrap(), &plan);
        assert!(text.starts_with("1 partition would move:\n"), "{text}");
        assert!(text.contains("SPU 1 keeps its copies of deleted topics"), "{text}");
        let none = ReassignmentPlan { moves: vec![], stays: vec![], ..plan };
        let text = told(&args, &args.meant().unwrap(), &none);
        assert!(text.starts_with("nothing has to be moved off SPU 1"), "{text}");
    }
}
