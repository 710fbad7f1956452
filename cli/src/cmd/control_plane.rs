//! `weir control-plane`: what a control plane is told of its own database.

use clap::{Args, Subcommand};
use weir_client::admin::{Admin, AdminError, HeldPartition, Recovery, RecoveryCounters, SpuHeard};

use crate::{
    cmd::cluster,
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg, or_dash},
};

/// What to do with a control plane.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir control-plane recover orders --dry-run
  weir control-plane recover orders

To run one: weir run control-plane --help")]
pub enum ControlPlaneCommand {
    /// Take a cluster up again whose control plane's database went back
    #[command(after_help = "\
Examples:
  weir control-plane recover orders --dry-run            what its SPUs have seen, and what would be done
  weir control-plane recover orders                      once every SPU was heard
  weir control-plane recover orders --without-unheard    when some never come back

A cluster is frozen when its SPUs have seen more than the database holds: after an old backup was
put back, or when two databases are in use. If there is a newer one, do not recover: stop the control
plane, put the newest back, and start it again.

Recovering raises every counter above all that the SPUs have seen, and lets each partition be led by
the SPU with the newest log. What was acknowledged stays. What was decided after the backup is
forgotten: topics of then stay on the disks and are listed, and what was deleted may be there
again.")]
    Recover(RecoverArgs),
}

/// Options of `weir control-plane recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The cluster's name; default: as --cluster
    #[arg(id = "cluster-name", value_name = "CLUSTER")]
    name: Option<String>,
    /// Only say what was heard and what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for SPUs that were not heard. Dangerous: what was acknowledged and only they hold
    /// is lost, and offsets of it are given to other records
    #[arg(long, conflicts_with = "dry_run")]
    without_unheard: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: ControlPlaneCommand, context: &Context) -> Result<()> {
    match command {
        ControlPlaneCommand::Recover(args) => recover(&args, context).await,
    }
}

/// Does it. Safe to repeat.
async fn recover(args: &RecoverArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.as_ref());
    let (name, admin) = (context.selected()?, context.admin()?);
    let preview = told(&admin, &name, admin.cluster_recover_preview(&name).await).await?;
    let silent = unheard(&preview);
    if !args.dry_run && !silent.is_empty() && !args.without_unheard {
        return Err(CliError::new(
            format!(
                "cluster {name} cannot be recovered yet: since it was frozen nothing was heard of \
                 SPU {}",
                silent.join(", ")
            ),
            format!(
                "nothing was changed; see that they run and do it again, or see what was heard: \
                 weir control-plane recover {name} --dry-run. If they never come back: \
                 --without-unheard, and what only they hold is lost"
            ),
        ));
    }
    if args.dry_run {
        return out::print(args.output.format, &preview, || would(&name, &preview));
    }
    let done = admin.cluster_recover(&name, args.without_unheard).await;
    let done = told(&admin, &name, done).await?;
    out::print(args.output.format, &done, || did(&name, &done))
}

async fn told<T>(admin: &Admin, name: &str, answer: Result<T, AdminError>) -> Result<T> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) if error.status() == Some(404) => {
            Err(cluster::unknown_cluster(admin, name).await)
        }
        Err(error) => Err(error.into()),
    }
}

fn unheard(recovery: &Recovery) -> Vec<String> {
    let silent = recovery.spus.iter().filter(|spu| !spu.heard);
    silent.map(|spu| spu.spu_id.to_string()).collect()
}

fn would(name: &str, recovery: &Recovery) -> String {
    let Some(reason) = recovery.reason.as_ref().filter(|_| recovery.frozen) else {
        return idle(name, recovery);
    };
    let mut parts = vec![
        format!("cluster {name} is frozen: {reason}"),
        spus(&recovery.spus),
        counters(recovery.before.as_ref(), recovery.after.as_ref()),
    ];
    parts.extend(more(recovery));
    parts.push(match unheard(recovery).as_slice() {
        [] => format!("every SPU was heard; go on with: weir control-plane recover {name}"),
        silent => format!("not heard yet: SPU {}", silent.join(", ")),
    });
    parts.join("\n\n")
}

fn did(name: &str, recovery: &Recovery) -> String {
    if !recovery.recovered {
        return idle(name, recovery);
    }
    if !recovery.frozen {
        return format!(
            "the partitions of cluster {name} that waited for a log are led without it"
        );
    }
    let mut parts = vec![
        format!(
            "cluster {name} is taken up again; its SPUs come back by themselves: weir cluster status \
             --name {name}"
        ),
        counters(recovery.before.as_ref(), recovery.after.as_ref()),
    ];
    parts.extend(more(recovery));
    parts.join("\n\n")
}

/// Nothing is frozen, and nothing was done.
fn idle(name: &str, recovery: &Recovery) -> String {
    if recovery.waiting.is_empty() {
        return format!("cluster {name} is not frozen, there is nothing to recover");
    }
    format!(
        "cluster {name} was recovered; nobody leads these before their logs were seen:\n{}\n\nif \
         these SPUs never come back: weir control-plane recover {name} --without-unheard",
        partitions(&recovery.waiting)
    )
}

fn spus(spus: &[SpuHeard]) -> String {
    out::table(
        ["SPU", "HEARD", "DATABASE", "RESTORE", "REVISION", "PRODUCER", "EPOCH", "REPLICAS"],
        spus.iter().map(|spu| {
            let heard = match (spu.heard, spu.new) {
                (false, _) => "no",
                (true, false) => "yes",
                (true, true) => "yes, new",
            };
            [
                spu.spu_id.to_string(),
                heard.to_owned(),
                or_dash(spu.database_id.as_ref()),
                or_dash(spu.restore_number),
                spu.revision.to_string(),
                spu.producer_id.to_string(),
                spu.leader_epoch.to_string(),
                spu.replicas.to_string(),
            ]
        }),
    )
}

fn counters(before: Option<&RecoveryCounters>, after: Option<&RecoveryCounters>) -> String {
    let (Some(before), Some(after)) = (before, after) else { return String::new() };
    let row = |what: &str, before: &dyn ToString, after: &dyn ToString| {
        [what.to_owned(), before.to_string(), after.to_string()]
    };
    out::table(
        ["COUNTER", "IN THE DATABASE", "AFTER THE RECOVERY"],
        [
            row("restore number", &before.restore_number, &after.restore_number),
            row("revision", &before.revision, &after.revision),
            row("next producer id", &before.next_producer_id, &after.next_producer_id),
            row("leader epoch", &before.leader_epoch, &after.leader_epoch),
            row("partition epoch", &before.partition_epoch, &after.partition_epoch),
            row("incarnation", &before.incarnation, &after.incarnation),
        ],
    )
}

fn more(recovery: &Recovery) -> Vec<String> {
    let mut parts = Vec::new();
    if !recovery.rejoining.is_empty() {
        let table = partitions(&recovery.rejoining);
        parts.push(format!("held where the database knows of no replica, used again:\n{table}"));
    }
    if !recovery.unknown.is_empty() {
        let table = partitions(&recovery.unknown);
        parts.push(format!("held, unknown to this database, kept and not used:\n{table}"));
    }
    parts
}

fn partitions(held: &[HeldPartition]) -> String {
    out::table(
        ["TOPIC", "GENERATION", "PARTITION", "SPUS"],
        held.iter().map(|held| {
            let spus: Vec<_> = held.spu_ids.iter().map(ToString::to_string).collect();
            [
                or_dash(held.topic.as_ref()),
                held.generation_id.to_string(),
                held.partition.to_string(),
                spus.join(", "),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery() -> Recovery {
        let counters = |restore: u32| {
            serde_json::json!({"restore_number": restore, "revision": 7, "next_producer_id": 1001,
                "leader_epoch": 4, "partition_epoch": 9, "incarnation": 2})
        };
        serde_json::from_value(serde_json::json!({
            "cluster_id": "cl_00000000000000000000000000000007", "frozen": true, "dry_run": true,
            "recovered": false, "reason": "the SPU has seen metadata revision 9",
            "spus": [{"spu_id": 1, "heard": true, "revision": 9, "restore_number": 0},
                {"spu_id": 2, "heard": false}],
            "before": counters(0), "after": counters(1),
            "unknown": [{"topic": null, "partition": 0, "spu_ids": [1],
                "generation_id": "tg_00000000000000000000000000000008"}],
        }))
        .unwrap()
    }

    #[test]
    fn what_was_heard_and_who_is_missing_is_told() {
        let text = would("a", &recovery());
        assert!(text.starts_with("cluster a is frozen: the SPU has seen metadata revision 9"));
        assert!(text.contains("held, unknown to this database"), "{text}");
        assert!(text.ends_with("not heard yet: SPU 2"), "{text}");
        let mut all = recovery();
        all.spus.pop();
        assert!(would("a", &all).ends_with("go on with: weir control-plane recover a"));
    }

    #[test]
    fn what_was_done_and_what_waits_is_told() {
        let done = Recovery { recovered: true, dry_run: false, ..recovery() };
        assert!(did("a", &done).starts_with("cluster a is taken up again"));
        let later = Recovery { frozen: false, recovered: false, ..done.clone() };
        assert!(did("a", &later).contains("nothing to recover"));
        let waiting = Recovery { waiting: done.unknown.clone(), ..later };
        assert!(did("a", &waiting).contains("--without-unheard"));
        let released = Recovery { recovered: true, ..waiting };
        assert!(did("a", &released).contains("are led without it"));
    }
}
