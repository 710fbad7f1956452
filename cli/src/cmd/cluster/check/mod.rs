//! `weir cluster check`: what could be wrong, looked at one by one.
//!
//! | Module | Looks at |
//! |---|---|
//! | [`files`] | the home: folders, permissions, the profiles |
//! | [`machine`] | room on the disk, limits, the clock, ports |
//! | [`leftovers`] | processes and data of clusters that nobody knows |
//! | [`servers`] | control plane, key, cluster, SPUs |
//! | [`before`] | what a cluster needs that is not made yet |

pub(super) mod before;
mod files;
mod finding;
mod leftovers;
mod machine;
mod servers;

use std::path::Path;

use clap::Args;

pub(super) use self::finding::{Finding, Verdict};
use super::NameArg;
use crate::{
    context::Context,
    error::{CliError, Result},
    home::target::Place,
    out::{self, OutputArg},
};

/// Options of `weir cluster check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    name: NameArg,
    /// Mend what can be mended without a risk
    #[arg(long)]
    fix: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// When something is wrong.
pub async fn run(args: &CheckArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    let findings = look(context, args.fix).await;
    out::print(args.output.format, &findings, || {
        findings.iter().map(Finding::told).collect::<Vec<_>>().join("\n")
    })?;
    match findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count() {
        0 => Ok(()),
        n => Err(CliError::new(
            format!(
                "{} wrong",
                if n == 1 { "1 thing is".to_owned() } else { format!("{n} things are") }
            ),
            match args.fix {
                true => "do what stands behind each ✗",
                false => {
                    "do what stands behind each ✗; what is safe is done by: weir cluster check --fix"
                }
            },
        )),
    }
}

/// Looks at everything, one thing after the other.
pub(super) async fn look(context: &Context, fix: bool) -> Vec<Finding> {
    let mut findings = files::check(&context.home, fix);
    findings.extend(machine::check(&context.home));
    // Profiles that cannot be read were told of: then it is known that no cluster is meant.
    match context.place() {
        Ok(Place::Remote(remote)) => findings.extend(servers::remote(context, &remote).await),
        Ok(Place::Home) => {
            findings.extend(own_folder(context));
            findings.extend(servers::local(context, fix).await);
        }
        Err(CliError::Told { what, hint, .. }) => {
            findings.push(Finding::wrong("profile", what, hint));
        }
        Err(CliError::BrokenPipe) => {}
    }
    findings
}

/// The room where the cluster that is meant has its data, if that is not the home.
fn own_folder(context: &Context) -> Option<Finding> {
    let (_, profile) = context.target().ok()?.profile?;
    let folder = profile.data_dir?;
    Some(machine::disk(Path::new(&folder), "move what else lies there"))
}
