//! `weir cluster spu`: which there are, which were refused, and those that others run.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use weir_client::{
    Admin,
    admin::{AdminError, Refusal, Spu},
};
use weir_protocol::ids::SpuId;

use super::{NameArg, scale};
use crate::{
    consume::template::timestamp,
    context::Context,
    error::{self, CliError, Result},
    local::operation,
    out::{self, OutputArg, or_dash},
    remote::url,
};

/// What to do with SPUs.
#[derive(Debug, Subcommand)]
pub enum SpuCommand {
    /// List a cluster's SPUs, and who was refused as one of them
    #[command(
        after_help = "Examples:\n  weir cluster spu list\n  weir cluster spu list --name big -o json\n\nRefused is whoever asked to be an SPU of the cluster and may not: a process of an earlier start, one\nthat was removed, a second one with the same id, one of another cluster. They serve nobody and\nare counted nowhere."
    )]
    List(ListArgs),
    /// Add an SPU that you start yourself, on this machine or another
    #[command(after_help = "\
Examples:
  weir cluster spu register --file spu-4.json
  weir run spu --credentials spu-4.json --data-dir /var/lib/weir/spu-4 --listen 10.0.0.4:9500

The cluster counts it from now on, and is degraded until it is there. The file holds its secret: only
whoever has it can be this SPU. It is written once and kept nowhere else.")]
    Register(RegisterArgs),
    /// Take away an SPU that you run yourself, once others hold all that it holds
    #[command(after_help = "\
Examples:
  weir cluster spu unregister 4
  weir cluster spu unregister 4 --name big --no-wait

Its process ends by itself when it is out; its data folder is left to you. Its id is never used
again. SPUs that the control plane runs go by weir cluster scale.")]
    Unregister(UnregisterArgs),
}

/// Options of `weir cluster spu list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir cluster spu register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    #[command(flatten)]
    name: NameArg,
    /// Where the credentials go; nobody else may read them, and an existing file is left alone
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir cluster spu unregister`.
#[derive(Debug, Args)]
pub struct UnregisterArgs {
    /// Which
    #[arg(value_name = "N")]
    spu: u32,
    /// The cluster's name; default: as --cluster
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Return before it is out
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// What a list holds.
#[derive(Serialize)]
struct Listed {
    spus: Vec<Spu>,
    refused: Vec<Refusal>,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: &SpuCommand, context: &Context) -> Result<()> {
    match command {
        SpuCommand::List(args) => list(args, &context.at(args.name.told())).await,
        SpuCommand::Register(args) => register(args, &context.at(args.name.told())).await,
        SpuCommand::Unregister(args) => unregister(args, &context.at(args.name.as_ref())).await,
    }
}

/// An answer about a cluster, or that there is none of this name.
async fn of<T>(admin: &Admin, name: &str, answer: std::result::Result<T, AdminError>) -> Result<T> {
    match answer {
        Ok(told) => Ok(told),
        Err(error) if error.code() == "CLUSTER_NOT_FOUND" => {
            Err(super::unknown_cluster(admin, name).await)
        }
        Err(error) => Err(error.into()),
    }
}

async fn list(args: &ListArgs, context: &Context) -> Result<()> {
    let name = context.selected()?;
    let admin = context.admin()?;
    let spus = of(&admin, &name, admin.spu_list(&name).await).await?;
    let refused = match admin.spu_refusals(&name).await {
        Ok(refused) => refused,
        // An older control plane does not tell.
        Err(error) if error.status() == Some(404) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let listed = Listed { spus, refused };
    out::print(args.output.format, &listed, || match listed.refused.as_slice() {
        [] => table(&listed.spus),
        refused => format!("{}\n\nRefused:\n{}", table(&listed.spus), refusals(refused)),
    })
}

/// SPUs for people.
pub fn table(spus: &[Spu]) -> String {
    out::table(
        ["SPU", "STATE", "READY", "ENDPOINT", "RACK", "INCARNATION", "RESTARTS", "REASON"],
        spus.iter().map(|spu| {
            [
                spu.spu_id.to_string(),
                if spu.leaving { "leaving".to_owned() } else { spu.state.to_string() },
                if spu.ready { "yes" } else { "no" }.to_owned(),
                or_dash(spu.endpoint.as_ref()),
                or_dash(spu.rack.as_ref()),
                or_dash(spu.incarnation),
                if spu.external { "-".to_owned() } else { spu.restarts.to_string() },
                spu.reason.clone().unwrap_or_default(),
            ]
        }),
    )
}

fn refusals(refused: &[Refusal]) -> String {
    out::table(
        ["CLAIMS", "LAUNCH", "TIMES", "LAST", "WHY"],
        refused.iter().map(|refusal| {
            [
                format!("SPU {}", refusal.spu_id),
                refusal.launch_id.to_string(),
                refusal.count.to_string(),
                timestamp(refusal.last_at_unix_ms),
                format!("{}: {}", refusal.code, refusal.reason),
            ]
        }),
    )
}

async fn register(args: &RegisterArgs, context: &Context) -> Result<()> {
    let name = context.selected()?;
    let admin = context.admin()?;
    // Before anything is ordered: what cannot be kept is better not told.
    let mut file = create(&args.file)?;
    let answer = admin.spu_register(&name).await;
    let unknown = answer.as_ref().is_err_and(AdminError::outcome_unknown);
    let registered = match of(&admin, &name, answer).await {
        Ok(registered) => registered,
        Err(error) => {
            // Empty, and made here.
            let _ = fs::remove_file(&args.file);
            return Err(match error {
                CliError::Told { what, .. } if unknown => CliError::new(
                    format!("{what}; perhaps it was registered"),
                    format!(
                        "look for one that never came: weir cluster spu list --name {name}; take it \
                         away: weir cluster spu unregister N --name {name}"
                    ),
                ),
                error => error,
            });
        }
    };
    let spu = registered.spu.spu_id;
    let text = serde_json::to_string_pretty(&registered.credentials).map_err(io::Error::from);
    let written = text.and_then(|text| writeln!(file, "{text}").and_then(|()| file.sync_all()));
    written.map_err(|error| {
        CliError::new(
            format!(
                "the credentials of SPU {spu} cannot be written to {}: {}",
                args.file.display(),
                error::system(&error)
            ),
            format!("take it away again: weir cluster spu unregister {spu} --name {name}"),
        )
    })?;
    let address = registered.credentials["control_plane"].as_str().unwrap_or_default();
    if url::is_loopback(address) {
        context.ui.warn(&format!(
            "the control plane listens for SPUs at {address}: it is reached from this machine only"
        ));
    }
    out::print(args.output.format, &registered.spu, || {
        format!(
            "SPU {spu} of cluster {name} is registered; start it where it is to run:\n\n  weir run spu \
             --credentials {} --data-dir DIR --listen HOST:PORT",
            args.file.display()
        )
    })
}

fn create(path: &Path) -> Result<fs::File> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => "name another file, or remove that one",
            _ => "name a file in a folder that you may write to",
        };
        CliError::new(format!("cannot make {}: {}", path.display(), error::system(&error)), hint)
    })
}

async fn unregister(args: &UnregisterArgs, context: &Context) -> Result<()> {
    let name = context.selected()?;
    let admin = context.admin()?;
    let (begin, spu) = (context.clock.now(), SpuId(args.spu));
    let ordered = admin.spu_unregister(&name, spu).await;
    let cluster = scale::told(context, &admin, &name, ordered).await?;
    if let (Some(id), false) = (cluster.operation_id, args.no_wait) {
        operation::wait_for(context, &admin, id, context.lifecycle_timeout()).await?;
    }
    let seconds = context.clock.now().since(begin).as_secs_f64();
    out::print(args.output.format, &cluster, || match args.no_wait {
        false => format!(
            "SPU {spu} is out of cluster {name} ({seconds:.1} s); its data folder is left to you"
        ),
        true => format!(
            "SPU {spu} is on its way out of cluster {name}; follow it with: weir cluster status \
             --name {name}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::LaunchId;

    use super::*;

    #[test]
    fn who_was_refused_is_told_with_the_reason() {
        let refusal = Refusal {
            spu_id: SpuId(3),
            launch_id: LaunchId(Uuid::from_u128(7)),
            code: "SPU_REMOVED".to_owned(),
            reason: "this SPU was removed from its cluster for good".to_owned(),
            proven: true,
            count: 4,
            last_at_unix_ms: 0,
        };
        let text = refusals(&[refusal]);
        assert!(text.contains("SPU 3") && text.contains("SPU_REMOVED: this SPU was removed"));
    }

    #[test]
    fn credentials_overwrite_nothing_and_are_nobody_else_s() {
        use std::os::unix::fs::PermissionsExt as _;
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("spu-4.json");
        drop(create(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let CliError::Told { hint, .. } = create(&path).unwrap_err() else { panic!() };
        assert!(hint.contains("another file"), "{hint}");
    }
}
