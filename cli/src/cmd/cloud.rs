//! `weir cloud`: clusters of any control plane.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    cmd::profile::remove,
    context::Context,
    error::{CliError, Result},
    home::{
        keys,
        profiles::{Profiles, check_name},
        target::{Place, Target},
    },
    out::{self, OutputArg},
    remote::{connect, key, url},
};

/// What to do with clusters of other control planes.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  WEIR_API_KEY=weir_… weir cloud connect --url http://10.0.0.7:9400
  weir cloud status
  weir cloud disconnect")]
pub enum CloudCommand {
    /// Make a cluster of any control plane the one that commands mean
    #[command(after_help = "\
Examples:
  weir cloud connect --url http://10.0.0.7:9400
  weir cloud connect --url http://10.0.0.7:9400 orders --profile prod
  weir cloud connect --url http://10.0.0.7:9400 --key-stdin < key
  weir cloud connect --url http://10.0.0.7:9400 orders --create --spus 3

The key is taken from WEIR_API_KEY, from standard input with --key-stdin, or asked for on a
terminal; never from the command line, which others see. It is kept in a file of WEIR_HOME that
only you can read. Nothing is saved before the cluster has answered.")]
    Connect(ConnectArgs),
    /// Tell whether the profile's control plane and key are good
    #[command(after_help = "\
Examples:
  weir cloud status
  weir cloud status --profile prod -o json")]
    Status(StatusArgs),
    /// Forget a cluster and its key; the cluster itself is not touched
    #[command(after_help = "\
Examples:
  weir cloud disconnect
  weir cloud disconnect prod")]
    Disconnect(DisconnectArgs),
}

/// Options of `weir cloud connect`.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// The cluster's name; default: the only one there is
    #[arg(value_name = "CLUSTER")]
    name: Option<String>,
    /// Where the control plane is, such as http://10.0.0.7:9400
    #[arg(long, value_name = "URL")]
    url: String,
    /// Read the key from standard input
    #[arg(long)]
    key_stdin: bool,
    /// Make the cluster if there is none of this name
    #[arg(long, requires = "name")]
    create: bool,
    /// How many SPUs a cluster that is made gets
    #[arg(long, default_value_t = 1, value_name = "N", requires = "create", value_parser = clap::value_parser!(u32).range(1..=100))]
    spus: u32,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir cloud status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir cloud disconnect`.
#[derive(Debug, Args)]
pub struct DisconnectArgs {
    /// The profile; default: the current one
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Connected<'a> {
    profile: &'a str,
    cluster: &'a str,
    id: String,
    state: String,
    control_plane: &'a str,
    org_id: String,
    key_id: String,
    reachable: bool,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: CloudCommand, context: &Context) -> Result<()> {
    match command {
        CloudCommand::Connect(args) => connect(&args, context).await,
        CloudCommand::Status(args) => status(&args, context).await,
        CloudCommand::Disconnect(args) => disconnect(args, context).await,
    }
}

async fn connect(args: &ConnectArgs, context: &Context) -> Result<()> {
    let url = url::parse(&args.url)?;
    if let Some(name) = &context.profile {
        check_name(name)?;
    }
    let key = key::obtain(args.key_stdin)?;
    let told = args.name.as_deref().or(context.cluster.as_deref());
    let again = format!("weir cloud connect --url {url}");
    let spus = args.create.then_some(args.spus);
    let found = connect::find(context, url, key, told, spus, &again).await?;
    let (cluster, has) = (&found.cluster.name, found.cluster.spec.spus);
    if let Some(wanted) = spus.filter(|wanted| !found.made && *wanted != has) {
        context.ui.warn(&format!(
            "cluster {cluster} was there already, with {}, not {wanted}: change that with weir \
             cluster scale",
            out::count(u64::from(has), "SPU")
        ));
    }
    let down = connect::probe(context, &found).await?;
    let name = context.profile.as_deref().unwrap_or(&found.cluster.name);
    connect::save(context, &found, name, true).await?;
    if let Some(why) = &down {
        context.ui.warn(&why.to_string());
    }
    let connected = Connected {
        profile: name,
        cluster: &found.cluster.name,
        id: found.cluster.id.to_string(),
        state: found.cluster.state.to_string(),
        control_plane: &found.url,
        org_id: found.me.org_id.to_string(),
        key_id: found.me.key_id.to_string(),
        reachable: down.is_none(),
    };
    out::print(args.output.format, &connected, || {
        let next = match down {
            None => "weir topic list, weir produce TOPIC, weir consume TOPIC -B",
            Some(_) => "weir cluster resume",
        };
        format!(
            "{}connected to cluster {} at {}; commands mean it from now on (profile {name})\n\
             try: {next}",
            if found.made { "cluster created; " } else { "" },
            found.cluster.name,
            found.url
        )
    })
}

async fn status(args: &StatusArgs, context: &Context) -> Result<()> {
    let target = context.target()?;
    let Target { place: Place::Remote(remote), profile: Some((name, _)), cluster } = &target else {
        return Err(CliError::new(
            format!("cluster {} is one of this home's own", target.cluster),
            "see: weir cluster status; to connect to another: weir cloud connect --url URL",
        ));
    };
    let key = keys::load(&remote.key_path(&context.home))?;
    let found = connect::find(context, remote.url.clone(), key, Some(cluster), None, "").await?;
    let down = connect::probe(context, &found).await?;
    let connected = Connected {
        profile: name,
        cluster,
        id: found.cluster.id.to_string(),
        state: found.cluster.state.to_string(),
        control_plane: &found.url,
        org_id: found.me.org_id.to_string(),
        key_id: found.me.key_id.to_string(),
        reachable: down.is_none(),
    };
    out::print(args.output.format, &connected, || {
        [
            format!("profile        {name}"),
            format!("cluster        {cluster} ({})", connected.id),
            format!("state          {}", connected.state),
            format!("control plane  {}", connected.control_plane),
            format!("org            {}", connected.org_id),
            format!("key            {}", connected.key_id),
            format!("SPUs answer    {}", if connected.reachable { "yes" } else { "no" }),
        ]
        .join("\n")
    })
}

async fn disconnect(args: DisconnectArgs, context: &Context) -> Result<()> {
    let name = match args.name.or_else(|| context.profile.clone()) {
        Some(name) => name,
        None => match context.target()?.profile {
            Some((name, _)) => name,
            None => context.selected()?,
        },
    };
    let known = Profiles::load(&context.home)?;
    if known.clusters.get(&name).is_some_and(|profile| profile.is_home()) {
        return Err(CliError::new(
            format!("cluster {name} is one of this home's own: there is no connection to end"),
            "choose another cluster with weir profile switch; to end it: weir cluster shutdown",
        ));
    }
    remove(context, &name).await
}
