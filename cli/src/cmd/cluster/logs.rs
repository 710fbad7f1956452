//! `weir cluster logs`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::NameArg;
use crate::{
    context::Context,
    error::{self, CliError, Result},
    home::target::Place,
    local::{
        endpoint::{self, State},
        logfile::{Entry, LogFile},
        wait,
    },
    out, signal,
};

/// How often the logs are looked at while they are followed.
const POLL: Duration = Duration::from_millis(200);
/// The log of an SPU, in its data folder.
pub(super) const SPU_LOG: &str = "spu.log";
/// What the data folder of an SPU is called, before its number.
pub(super) const SPU_FOLDER: &str = "spu-";

/// Options of `weir cluster logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    name: NameArg,
    /// Of this SPU only; default: of all, each line with whose it is
    #[arg(long, value_name = "N", conflicts_with = "control_plane")]
    spu: Option<u32>,
    /// Of the control plane, which is one for all clusters of the home
    #[arg(long)]
    control_plane: bool,
    /// Go on with what is added, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many lines of the end of each log
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    lines: u32,
    /// Only what was written since then, such as 10m (of the last --lines unless these are told)
    #[arg(long, value_name = "TIME")]
    since: Option<humantime::Duration>,
}

/// A log and whose it is.
struct Source {
    label: String,
    log: LogFile,
}

/// Does it.
///
/// # Errors
/// When there are no logs on this machine, or they cannot be read.
pub async fn run(args: &LogsArgs, context: &Context) -> Result<()> {
    let mut sources = sources(args, context).await?;
    let labelled = sources.len() > 1;
    let since = args.since.and_then(|ago| std::time::SystemTime::now().checked_sub(ago.into()));
    let lines = usize::try_from(args.lines).unwrap_or(usize::MAX);
    print(&mut sources, labelled, |log| log.tail(lines, since))?;
    if !args.follow {
        return Ok(());
    }
    let interrupted = signal::interrupted();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            biased;
            () = &mut interrupted => return Ok(()),
            () = context.clock.sleep(POLL) => {}
        }
        print(&mut sources, labelled, LogFile::added)?;
    }
}

/// Prints what `read` gives of each log, in the order of time.
fn print(
    sources: &mut [Source],
    labelled: bool,
    mut read: impl FnMut(&mut LogFile) -> std::io::Result<Vec<Entry>>,
) -> Result<()> {
    let mut all = Vec::new();
    for (index, Source { label, log }) in sources.iter_mut().enumerate() {
        let entries = read(log).map_err(|e| {
            CliError::new(
                format!("cannot read the log of {label}: {}", error::system(&e)),
                "check who owns it and its permissions (ls -l)",
            )
        })?;
        all.extend(entries.into_iter().map(|entry| (entry, index)));
    }
    // What has no time stands where it was written: before all that has.
    all.sort_by_key(|(entry, _)| entry.at);
    let lines: Vec<String> = all
        .iter()
        .flat_map(|(entry, index)| {
            let label = &sources[*index].label;
            entry.text.lines().map(move |line| match labelled {
                true => format!("{label} | {line}"),
                false => line.to_owned(),
            })
        })
        .collect();
    if lines.is_empty() { Ok(()) } else { out::line(&lines.join("\n")) }
}

async fn sources(args: &LogsArgs, context: &Context) -> Result<Vec<Source>> {
    let context = &context.at(args.name.told());
    if let Place::Remote(remote) = context.place()? {
        return Err(CliError::new(
            format!(
                "the cluster belongs to the control plane at {}: its logs are not here",
                remote.url
            ),
            "look on its machine: the control plane logs to standard error, an SPU to spu.log in \
             its data folder",
        ));
    }
    let source = |label: String, path: PathBuf| Source { label, log: LogFile::new(path) };
    if args.control_plane {
        let path = context.home.control_plane_log();
        if !path.exists() {
            return Err(context.not_running(&endpoint::look(&context.home)?));
        }
        return Ok(vec![source("control-plane".into(), path)]);
    }
    let (name, folder) = cluster(context).await?;
    let mut spus = spus(&folder);
    if let Some(wanted) = args.spu {
        if !spus.contains(&wanted) {
            let all: Vec<String> = spus.iter().map(ToString::to_string).collect();
            let hint = match all.as_slice() {
                [] => format!("see: weir cluster status {name}; weir cluster logs --control-plane"),
                all => format!("there is {}; see: weir cluster spu list {name}", all.join(", ")),
            };
            let what = format!("cluster {name} has no log of an SPU {wanted}");
            return Err(CliError::new(what, hint));
        }
        spus.retain(|spu| *spu == wanted);
    }
    if spus.is_empty() {
        return Err(CliError::new(
            format!("cluster {name} has no logs: none of its SPUs was started"),
            format!("see: weir cluster status {name}; weir cluster logs --control-plane"),
        ));
    }
    let sources = spus.into_iter().map(|spu| {
        source(format!("spu-{spu}"), folder.join(format!("{SPU_FOLDER}{spu}")).join(SPU_LOG))
    });
    Ok(sources.collect())
}

/// Name and folder: from the profile, else from the control plane if it runs.
async fn cluster(context: &Context) -> Result<(String, PathBuf)> {
    let target = context.target()?;
    if let Some((_, profile)) = target.profile {
        let folder = profile.data_folder(&context.home);
        return Ok((target.cluster, folder));
    }
    match endpoint::look(&context.home)? {
        State::Running(_) => {
            let admin = context.admin()?;
            match wait::look(&admin, &target.cluster).await? {
                Some(cluster) => {
                    let (told, id) = (cluster.spec.data_dir.as_deref(), cluster.id.to_string());
                    Ok((cluster.name, context.home.cluster_data(told, &id)))
                }
                None => Err(super::unknown_cluster(&admin, &target.cluster).await),
            }
        }
        State::Never => Err(context.not_running(&State::Never)),
        _ => Err(super::no_cluster_here(context, &target.cluster)?),
    }
}

/// The SPUs that have a log, in order.
pub(super) fn spus(folder: &std::path::Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let with_log = entries.flatten().filter(|entry| entry.path().join(SPU_LOG).is_file());
    let mut spus: Vec<u32> = with_log
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(SPU_FOLDER)?.parse().ok())
        .collect();
    spus.sort_unstable();
    spus
}
