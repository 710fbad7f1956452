//! `weir cluster diagnostics`: what a bug report needs, in one file, without secrets.
//!
//! | Module | Is |
//! |---|---|
//! | [`collect`] | what is gathered |
//! | [`redact`] | what is taken out of it |
//! | [`bundle`] | the file |

mod bundle;
mod collect;
mod redact;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use nix::sys::{
    resource::{Resource, getrlimit},
    utsname::uname,
};
use serde::Serialize;

use self::{
    bundle::{Bundle, Entry},
    redact::Redactor,
};
use super::{NameArg, check};
use crate::{
    context::Context,
    error::Result,
    home::{
        keys,
        target::{Place, Target},
    },
    local::endpoint::{self, State},
    out::{self, OutputArg},
};

/// How long one answer of the control plane may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What is never in it.
const NEVER: &str = "keys, tokens, secrets, and what records hold";

/// Options of `weir cluster diagnostics`.
#[derive(Debug, Args)]
pub struct DiagnosticsArgs {
    #[command(flatten)]
    name: NameArg,
    /// The file; default: weir-diagnostics-CLUSTER-TIME.tar.gz in the current folder
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// How many lines of the end of each log
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: u32,
    #[command(flatten)]
    output: OutputArg,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    file: String,
    bytes: u64,
    entries: Vec<Entry>,
    /// What is not in it, and why.
    left_out: Vec<String>,
    /// How many secrets were taken out of what is in it.
    redacted: usize,
}

/// What is known of program and machine.
#[derive(Debug, Serialize)]
struct About {
    format: u32,
    made_at: String,
    weir: &'static str,
    debug: bool,
    os: &'static str,
    architecture: &'static str,
    kernel: Option<String>,
    open_files_soft: Option<u64>,
    open_files_hard: Option<u64>,
    cpus: Option<usize>,
    cluster: Option<String>,
    /// None: the home's own.
    control_plane: Option<String>,
    /// What is not in it, and why.
    left_out: Vec<String>,
}

/// Does it. What cannot be gathered is left out, and said so.
///
/// # Errors
/// When the file cannot be written, or the profile that is told is not there.
pub async fn run(args: &DiagnosticsArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    // Where no cluster is meant, the home itself is looked at.
    let target = context.target().ok();
    let place = target.as_ref().map_or(Place::Home, |target| target.place.clone());
    let now = SystemTime::now();
    let stamp = stamp(now);
    let cluster = target.as_ref().map(|target| target.cluster.as_str());
    // What was typed need not be a cluster's name.
    let named = cluster.unwrap_or("home").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let folder = format!("weir-diagnostics-{named}-{stamp}");
    let path = args.file.clone().unwrap_or_else(|| format!("{folder}.tar.gz").into());
    let mut bundle = Bundle::new(Redactor::new(collect::secrets(&context.home))?);

    bundle.json("check.json", &check::look(context, false).await);
    ask(&mut bundle, context, &place, cluster).await;
    let control_plane = match &place {
        Place::Home => {
            let lines = usize::try_from(args.lines).unwrap_or(usize::MAX);
            let data = target.as_ref().and_then(|target| data_folder(context, target));
            collect::logs(&mut bundle, &context.home, data.as_deref(), lines);
            collect::metrics(&mut bundle, context, data.as_deref()).await;
            collect::profiles(&mut bundle, &context.home);
            None
        }
        Place::Remote(remote) => {
            bundle.without("logs, metrics", "they are on the machines of the control plane");
            Some(remote.url.clone())
        }
    };
    let limits = getrlimit(Resource::RLIMIT_NOFILE).ok();
    let about = About {
        format: 1,
        made_at: humantime::format_rfc3339_seconds(now).to_string(),
        weir: env!("CARGO_PKG_VERSION"),
        debug: cfg!(debug_assertions),
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        kernel: uname().ok().map(|it| it.release().to_string_lossy().into_owned()),
        open_files_soft: limits.map(|(soft, _)| soft),
        open_files_hard: limits.map(|(_, hard)| hard),
        cpus: std::thread::available_parallelism().ok().map(usize::from),
        cluster: cluster.map(str::to_owned),
        control_plane,
        left_out: bundle.left_out.clone(),
    };
    bundle.json("about.json", &about);
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let bytes = bundle.write(&path, &folder, seconds, args.force)?;
    let written = Written {
        file: path.display().to_string(),
        bytes,
        entries: bundle.entries(),
        left_out: bundle.left_out,
        redacted: bundle.redacted,
    };
    out::print(args.output.format, &written, || written.told())
}

/// The time as a part of a file's name: `20260101T120000Z`.
fn stamp(now: SystemTime) -> String {
    humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "")
}

/// What the control plane says, if there is one to ask.
async fn ask(bundle: &mut Bundle, context: &Context, place: &Place, cluster: Option<&str>) {
    let found = match place {
        Place::Remote(remote) => {
            keys::load(&remote.key_path(&context.home)).map(|key| (remote.url.clone(), key))
        }
        Place::Home => match endpoint::look(&context.home) {
            Ok(State::Running(at)) => endpoint::key(&context.home).map(|key| (at.url(), key)),
            Ok(state) => Err(context.not_running(&state)),
            Err(error) => Err(error),
        },
    };
    match found {
        Ok((url, key)) => {
            let limit = context.timeout.unwrap_or(ANSWER_TIMEOUT);
            collect::api(bundle, &context.admin_quietly(&url, key, limit), cluster).await;
        }
        Err(error) => bundle.without("api", &error.to_string()),
    }
}

/// Where the cluster's data lies, as far as the home knows it.
fn data_folder(context: &Context, target: &Target) -> Option<PathBuf> {
    target.profile.as_ref().map(|(_, profile)| profile.data_folder(&context.home))
}

impl Written {
    /// For people.
    fn told(&self) -> String {
        let mut lines = vec![format!("{} ({}) holds", self.file, out::bytes(self.bytes))];
        let entry = |entry: &Entry| format!("  {:<28} {}", entry.name, out::bytes(entry.bytes));
        lines.extend(self.entries.iter().map(entry));
        let secrets = out::count(self.redacted as u64, "secret");
        lines.push(format!("left out: {NEVER}; {secrets} taken out"));
        lines.extend(self.left_out.iter().map(|what| format!("left out: {what}")));
        lines.push(format!("look through it before you hand it on: tar -xzf {}", self.file));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_fits_a_file_s_name() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        assert_eq!(stamp(at), "20260101T000000Z");
    }
}
