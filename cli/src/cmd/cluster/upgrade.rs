//! `weir cluster upgrade`: the control plane of the home, then the SPUs of one cluster, come to run
//! this build.

use std::cmp::Ordering;

use clap::Args;
use semver::Version;
use serde::Serialize;
use weir_client::admin::{Cluster, DesiredState, Spu};
use weir_protocol::ids::SpuId;
use weir_runtime::process;

use super::{NameArg, scale};
use crate::{
    cmd::run::database_version,
    context::Context,
    error::{CliError, Result},
    home::{lock::HomeLock, target::Place},
    local::{
        endpoint::{self, State},
        operation, start, stop, wait,
    },
    out::{self, OutputArg},
};

/// Options of `weir cluster upgrade`.
#[derive(Debug, Args)]
pub struct UpgradeArgs {
    #[command(flatten)]
    name: NameArg,
    /// Only say what runs another build and would be started anew
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Plan {
    /// The build that everything comes to run.
    to: String,
    /// What the control plane runs, if that is another one.
    control_plane: Option<String>,
    /// The SPUs that run another one, and which.
    spus: Vec<Runs>,
    /// Those of them that are run elsewhere, and are their owners' to start anew.
    elsewhere: Vec<Runs>,
}

/// An SPU and the build that it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Runs {
    spu_id: SpuId,
    /// Nothing where it is not there to say.
    version: Option<String>,
}

/// Does it. Safe to repeat, and to interrupt: what runs this build already is left alone.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &UpgradeArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    if let Place::Remote(remote) = context.place()? {
        return Err(CliError::new(
            format!("the cluster belongs to the control plane at {}", remote.url),
            "put the new build on its machine and start the control plane anew; then: weir cluster \
             restart --rolling",
        ));
    }
    let name = context.selected()?;
    let begin = context.clock.now();
    let lock = HomeLock::acquire(&context.home, context.clock, context.lifecycle_timeout()).await?;
    if let State::Stopped(_) = endpoint::look(&context.home)? {
        return Err(CliError::new(
            "nothing of this home runs",
            format!("whatever is started next runs this build: weir cluster resume --name {name}"),
        ));
    }
    if let state @ State::Never = endpoint::look(&context.home)? {
        return Err(context.not_running(&state));
    }
    let mut local = start::ensure(context, &lock).await?;
    let Some(cluster) = wait::look(&local.admin, &name).await? else {
        return Err(super::unknown_cluster(&local.admin, &name).await);
    };
    let runs = match local.admin.version().await {
        Ok(runs) => Some(runs),
        // One that does not know the question is older than it.
        Err(error) if error.status() == Some(404) => None,
        Err(error) => return Err(error.into()),
    };
    // Those of a cluster that is shut down are started with this build by themselves.
    let wanted = cluster.desired == DesiredState::Running;
    let spus = if wanted { &cluster.spus[..] } else { &[] };
    let known = runs.as_ref().map(|runs| (runs.version.as_str(), runs.database_version));
    let own = (process::build(), database_version());
    let plan = plan((&own.0, own.1), known, spus).map_err(|why| {
        CliError::new(
            format!("{why}: an older build may not understand what a newer one has written"),
            "use the newer build, or one that is newer still",
        )
    })?;
    if args.dry_run {
        return out::print(args.output.format, &plan, || told(&plan, &name));
    }
    if plan.control_plane.is_some() {
        context.ui.note("starting the control plane anew with this build");
        stop::stop(context, &lock, local.endpoint.clone()).await?;
        local = start::ensure(context, &lock).await?;
    }
    drop(lock);
    let mut cluster = cluster;
    if !plan.spus.is_empty() {
        cluster = restarted(context, &local.admin, &name, &plan).await?;
    }
    super::learn(context, &local.endpoint, &cluster, super::Choose::No).await?;
    let seconds = context.clock.now().since(begin).as_secs_f64();
    for spu in &plan.elsewhere {
        let spu = spu.spu_id;
        context.ui.warn(&format!("SPU {spu} runs elsewhere: start it anew there with this build"));
    }
    let nothing = plan.control_plane.is_none() && plan.spus.is_empty();
    out::print(args.output.format, &cluster, || match nothing {
        true => format!("cluster {name} runs this build already ({})", release(&plan.to)),
        false => format!(
            "cluster {name} runs this build now ({}): {} ({seconds:.1} s)",
            release(&plan.to),
            done(&plan)
        ),
    })
}

async fn restarted(
    context: &Context,
    admin: &weir_client::Admin,
    name: &str,
    plan: &Plan,
) -> Result<Cluster> {
    let which: Vec<_> = plan.spus.iter().map(|runs| runs.spu_id).collect();
    let ordered = admin.cluster_restart(name, Some(&which)).await;
    let ordered = scale::told(context, admin, name, ordered).await?;
    // It waits by itself for whoever is not there: whether the cluster lacked something before, and
    // lacks it still, is not what this is about.
    if let Some(id) = ordered.operation_id {
        operation::wait_for(context, admin, id, context.lifecycle_timeout()).await?;
    }
    Ok(wait::look(admin, name).await?.unwrap_or(ordered))
}

/// What is to be started anew: whatever runs another build than this one. The error names what runs
/// a newer one.
fn plan(
    own: (&str, i64),
    control_plane: Option<(&str, i64)>,
    spus: &[Spu],
) -> std::result::Result<Plan, String> {
    let (build, database) = own;
    let newer = |other: &str| match (Version::parse(other), Version::parse(build)) {
        (Ok(other), Ok(own)) => other.cmp_precedence(&own) == Ordering::Greater,
        // What is no version is no release of ours, and nothing is known of it.
        _ => false,
    };
    let mut plan = Plan { to: build.to_owned(), ..Plan::default() };
    match control_plane {
        Some((runs, _)) if newer(runs) => {
            return Err(format!(
                "the control plane runs {}, and this is {}",
                release(runs),
                release(build)
            ));
        }
        Some((_, version)) if version > database => {
            return Err(format!(
                "the database is at version {version}, and this build knows it up to {database}"
            ));
        }
        Some((runs, _)) if runs == build => {}
        Some((runs, _)) => plan.control_plane = Some(runs.to_owned()),
        None => plan.control_plane = Some("an older build".to_owned()),
    }
    for spu in spus {
        let runs = spu.version.as_deref();
        if let Some(version) = runs.filter(|version| newer(version)) {
            return Err(format!(
                "SPU {} runs {}, and this is {}",
                spu.spu_id,
                release(version),
                release(build)
            ));
        }
        if runs != Some(build) {
            let runs = Runs { spu_id: spu.spu_id, version: spu.version.clone() };
            if spu.external { plan.elsewhere.push(runs) } else { plan.spus.push(runs) }
        }
    }
    Ok(plan)
}

/// A build without what tells it from another of the same release.
fn release(build: &str) -> &str {
    build.split('+').next().unwrap_or(build)
}

fn done(plan: &Plan) -> String {
    let spus = match plan.spus.len() {
        0 => None,
        some => Some(out::count(some as u64, "SPU")),
    };
    let control_plane = plan.control_plane.as_ref().map(|_| "the control plane".to_owned());
    let all: Vec<_> = [control_plane, spus].into_iter().flatten().collect();
    format!("{} started anew", all.join(" and "))
}

fn told(plan: &Plan, name: &str) -> String {
    let mut lines = Vec::new();
    if let Some(runs) = &plan.control_plane {
        lines.push(format!("control plane  {runs}"));
    }
    for (runs, note) in plan
        .spus
        .iter()
        .map(|runs| (runs, ""))
        .chain(plan.elsewhere.iter().map(|runs| (runs, " (runs elsewhere: not started here)")))
    {
        let version = runs.version.as_deref().unwrap_or("unknown, it is not there");
        lines.push(format!("SPU {:<10} {version}{note}", runs.spu_id.to_string()));
    }
    match lines.is_empty() {
        true => format!("cluster {name} runs this build already ({})", release(&plan.to)),
        false => {
            format!("would be started anew with build {}:\n{}", plan.to, lines.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::tests::cluster;

    fn spus(versions: &[Option<&str>]) -> Vec<Spu> {
        let endpoints = vec!["127.0.0.1:9500"; versions.len()];
        let mut spus = cluster("a", &endpoints).spus;
        for (spu, version) in spus.iter_mut().zip(versions) {
            spu.version = version.map(str::to_owned);
        }
        spus
    }

    #[test]
    fn what_runs_another_build_is_started_anew() {
        let own = ("0.2.0+1.a", 10);
        let there = spus(&[Some("0.2.0+1.a"), Some("0.2.0+1.b"), Some("0.1.0"), None]);
        let plan = plan(own, Some(("0.1.0", 9)), &there).unwrap();
        assert_eq!(plan.control_plane.as_deref(), Some("0.1.0"));
        let which: Vec<_> = plan.spus.iter().map(|runs| runs.spu_id.0).collect();
        assert_eq!(which, [2, 3, 4]);
        assert_eq!(done(&plan), "the control plane and 3 SPUs started anew");
        assert!(told(&plan, "a").contains("SPU 2          0.2.0+1.b"), "{}", told(&plan, "a"));
    }

    #[test]
    fn what_runs_this_build_is_left_alone_and_what_runs_elsewhere_is_only_named() {
        let own = ("0.2.0+1.a", 10);
        let mut there = spus(&[Some("0.2.0+1.a"), Some("0.1.0")]);
        there[1].external = true;
        let plan = plan(own, Some(("0.2.0+1.a", 10)), &there).unwrap();
        assert_eq!((plan.control_plane.as_ref(), plan.spus.len()), (None, 0));
        assert_eq!(plan.elsewhere.len(), 1);
        let all = self::plan(own, Some(own), &there[..1]).unwrap();
        assert!(told(&all, "a").contains("already (0.2.0)"));
    }

    #[test]
    fn an_older_build_is_refused() {
        let refused = |own: (&str, i64), there: (&str, i64), spu: &str| {
            plan(own, Some(there), &spus(&[Some(spu)])).unwrap_err()
        };
        let own = ("0.2.0+1.a", 10);
        let control_plane = refused(own, ("0.3.0+9.f", 10), "0.2.0");
        assert_eq!(control_plane, "the control plane runs 0.3.0, and this is 0.2.0");
        assert!(refused(own, ("0.2.0", 11), "0.2.0").contains("knows it up to 10"));
        assert_eq!(refused(own, ("0.2.0", 10), "0.2.1"), "SPU 1 runs 0.2.1, and this is 0.2.0");
        // What comes after the plus says nothing about older or newer.
        assert!(plan(own, Some(("0.2.0+2.z", 10)), &spus(&[])).is_ok());
    }
}
