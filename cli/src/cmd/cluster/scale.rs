//! `weir cluster scale`.

use clap::Args;
use weir_client::admin::{Admin, AdminError, Cluster, OperationState, ScalePreview};
use weir_protocol::ids::SpuId;

use super::{NameArg, refused, status};
use crate::{
    cmd::partition::moving,
    context::Context,
    error::{CliError, Result},
    local::{
        operation,
        wait::{self, Goal},
    },
    out::{self, OutputArg},
};

/// Options of `weir cluster scale`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    #[command(flatten)]
    pub(super) name: NameArg,
    /// How many SPUs it is to have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    #[arg(required_unless_present = "cancel", conflicts_with = "cancel")]
    spus: Option<u32>,
    /// Keep the SPUs that are about to go, and what they still hold
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

/// What came of it.
pub(super) enum Scaled {
    /// What would be done.
    Would(ScalePreview),
    /// It had so many already, and nothing was ordered.
    Had(Cluster),
    /// It is ordered, and goes on: so many are to be there.
    Ordered(Cluster, u32),
    /// It is done, after so many seconds.
    Has(Cluster, f64),
}

/// Does it for a cluster of this home. Safe to repeat: a cluster that has so many SPUs has them.
///
/// # Errors
/// Why it was not done; then nothing is changed.
pub async fn run(args: &ScaleArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    let name = context.selected()?;
    let local = super::at_home(context).await?;
    let scaled = order(args, context, &local.admin, &name).await?;
    if let Some(cluster) = scaled.cluster() {
        super::learn(context, &local.endpoint, cluster, super::Choose::No).await?;
    }
    scaled.print(args, &name, &format!("--name {name}"))
}

/// Orders it of whatever control plane, and waits for it.
///
/// # Errors
/// Why it was not done; then nothing is changed.
pub(super) async fn order(
    args: &ScaleArgs,
    context: &Context,
    admin: &Admin,
    name: &str,
) -> Result<Scaled> {
    let (begin, limit) = (context.clock.now(), context.lifecycle_timeout());
    let spus = match args.spus {
        Some(spus) => spus,
        None => kept(&told(context, admin, name, admin.cluster(name).await).await?)?,
    };
    let preview = admin.cluster_scale_preview(name, spus).await;
    let preview = told(context, admin, name, preview).await?;
    if args.cancel && preview.add > 0 {
        return Err(nobody_goes(name));
    }
    if args.dry_run {
        return Ok(Scaled::Would(preview));
    }
    if preview.add == 0 && preview.remove.is_empty() && preview.keep.is_empty() {
        let cluster = told(context, admin, name, admin.cluster(name).await).await?;
        // One that is under way to so many is waited for, one that failed is begun anew.
        let last = status::operation_of(admin, &cluster).await.map(|last| last.state);
        if !matches!(last, Some(OperationState::Running | OperationState::Failed)) {
            return Ok(Scaled::Had(cluster));
        }
    }
    let ordered = told(context, admin, name, admin.cluster_scale(name, spus).await).await?;
    if args.no_wait {
        return Ok(Scaled::Ordered(ordered, spus));
    }
    if let Some(id) = ordered.operation_id {
        operation::wait_for(context, admin, id, limit).await?;
    }
    let left = limit.saturating_sub(context.clock.now().since(begin));
    let cluster = wait::wait_for(context, admin, name, Goal::Running, left).await?;
    let seconds = context.clock.now().since(begin).as_secs_f64();
    Ok(Scaled::Has(cluster.unwrap_or(ordered), seconds))
}

impl Scaled {
    /// The cluster as it was seen last.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Would(_) => None,
            Self::Had(cluster) | Self::Ordered(cluster, _) | Self::Has(cluster, _) => Some(cluster),
        }
    }

    /// Prints it. The cluster is `called` so, and meant by the options `typed`.
    pub(super) fn print(&self, args: &ScaleArgs, called: &str, typed: &str) -> Result<()> {
        let format = args.output.format;
        match self {
            Self::Would(preview) => out::print(format, preview, || would(called, preview)),
            Self::Had(cluster) => out::print(format, cluster, || has(called, cluster, "already")),
            Self::Ordered(cluster, spus) => out::print(format, cluster, || {
                let spus = out::count(u64::from(*spus), "SPU");
                format!(
                    "cluster {called} is to have {spus}; follow it with: weir cluster status \
                     {typed}"
                )
            }),
            Self::Has(cluster, seconds) => out::print(format, cluster, || {
                format!("{} ({seconds:.1} s)", has(called, cluster, "now"))
            }),
        }
    }
}

/// The answer, or why there is none in the words of the command line.
///
/// # Errors
/// As said.
pub(super) async fn told<T>(
    context: &Context,
    admin: &Admin,
    name: &str,
    answer: Result<T, AdminError>,
) -> Result<T> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) if error.code() == "CLUSTER_NOT_FOUND" => {
            Err(super::unknown_cluster(admin, name).await)
        }
        Err(AdminError::Problem(problem)) if problem.code == "CLUSTER_SHUT_DOWN" => {
            Err(CliError::new(
                format!("cluster {name} is shut down"),
                format!("start it again first: weir cluster resume {}", context.meaning(name)),
            ))
        }
        Err(AdminError::Problem(problem)) if !problem.blocking.is_empty() => {
            Err(refused::told(context, &problem))
        }
        Err(error) => Err(error.into()),
    }
}

fn has(called: &str, cluster: &Cluster, since: &str) -> String {
    let spus = out::count(u64::from(cluster.spec.spus), "SPU");
    let there = cluster.spus.iter().filter(|spu| !spu.leaving);
    let ids: Vec<_> = there.map(|spu| spu.spu_id.to_string()).collect();
    format!("cluster {called} has {spus} {since}: {}", ids.join(", "))
}

fn nobody_goes(name: &str) -> CliError {
    CliError::new(
        format!("no SPU of cluster {name} is about to go"),
        "what was removed does not come back; a scale adds others: weir cluster scale --spus",
    )
}

/// How many there are if nobody goes.
fn kept(cluster: &Cluster) -> Result<u32> {
    if !cluster.spus.iter().any(|spu| spu.leaving) {
        return Err(nobody_goes(&cluster.name));
    }
    Ok(u32::try_from(cluster.spus.len()).unwrap_or(u32::MAX))
}

fn would(name: &str, preview: &ScalePreview) -> String {
    let told = |spus: &[SpuId]| {
        let mut spus = spus.to_vec();
        spus.sort_unstable();
        let noun = if spus.len() == 1 { "SPU" } else { "SPUs" };
        let spus: Vec<_> = spus.iter().map(ToString::to_string).collect();
        format!("{noun} {}", spus.join(", "))
    };
    let mut parts = Vec::new();
    if !preview.keep.is_empty() {
        parts.push(format!("keep {}", told(&preview.keep)));
    }
    if preview.add > 0 {
        parts.push(format!("get {} more", out::count(preview.add.into(), "SPU")));
    }
    if !preview.remove.is_empty() {
        parts.push(format!("lose {}", told(&preview.remove)));
    }
    if parts.is_empty() {
        return format!("cluster {name} has {} already", out::count(preview.to.into(), "SPU"));
    }
    let mut text = format!("cluster {name} would {}", parts.join(" and "));
    if !preview.moves.is_empty() {
        let count = out::count(preview.moves.len() as u64, "partition");
        text.push_str(&format!("; {count} would move:\n{}", moving::table(&preview.moves)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::tests::cluster;

    #[test]
    fn what_would_be_done_is_told() {
        let would = |add, remove: &[u32], keep: &[u32]| {
            let [remove, keep] = [remove, keep].map(|ids| ids.iter().copied().map(SpuId).collect());
            would("a", &ScalePreview { from: 3, to: 1, add, remove, keep, moves: Vec::new() })
        };
        assert_eq!(would(0, &[], &[]), "cluster a has 1 SPU already");
        assert_eq!(would(0, &[3], &[]), "cluster a would lose SPU 3");
        assert_eq!(would(0, &[3, 2], &[]), "cluster a would lose SPUs 2, 3");
        assert_eq!(would(2, &[], &[4]), "cluster a would keep SPU 4 and get 2 SPUs more");
    }

    #[test]
    fn what_would_move_is_shown() {
        let moved = serde_json::json!({"topic": "orders", "partition": 0, "from_spu_ids": [3],
            "to_spu_ids": [1], "generation_id": "tg_00000000000000000000000000000008"});
        let moves = vec![serde_json::from_value(moved).unwrap()];
        let remove = vec![SpuId(3)];
        let preview = ScalePreview { from: 3, to: 2, add: 0, remove, keep: Vec::new(), moves };
        let text = would("a", &preview);
        assert!(
            text.starts_with("cluster a would lose SPU 3; 1 partition would move:\n"),
            "{text}"
        );
        assert!(text.contains("orders"), "{text}");
    }

    #[test]
    fn only_who_is_about_to_go_can_be_kept() {
        let mut cluster = cluster("dev", &["h:1", "h:2"]);
        assert!(kept(&cluster).is_err());
        cluster.spus[1].leaving = true;
        assert_eq!(kept(&cluster).unwrap(), 2);
    }

    #[test]
    fn what_it_has_is_named() {
        let cluster = cluster("dev", &["h:1", "h:2"]);
        assert_eq!(has("dev", &cluster, "now"), "cluster dev has 2 SPUs now: 1, 2");
        let called = "dev at http://far:1";
        let had = has(called, &cluster, "already");
        assert_eq!(had, "cluster dev at http://far:1 has 2 SPUs already: 1, 2");
    }
}
