//! `weir profile add`.

use clap::Args;

use crate::{
    context::Context,
    error::{CliError, Result},
    home::profiles::{Profiles, check_name},
    remote::{connect, key, url},
};

/// Options of `weir profile add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The profile's name
    name: String,
    /// Where the control plane is, such as http://10.0.0.7:9400
    #[arg(long, value_name = "URL")]
    url: String,
    /// Read the key from standard input
    #[arg(long)]
    key_stdin: bool,
}

/// Does it. The cluster is the one of `--cluster`, or the only one.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: AddArgs, context: &Context) -> Result<()> {
    let AddArgs { name, url, key_stdin } = args;
    check_name(&name)?;
    let url = url::parse(&url)?;
    if Profiles::load(&context.home)?.clusters.contains_key(&name) {
        return Err(CliError::new(
            format!("there is a profile {name} already"),
            format!("choose another name, or forget it first: weir profile delete {name}"),
        ));
    }
    let key = key::obtain(key_stdin)?;
    let again = format!("weir profile add {name} --url {url} --cluster");
    let told = context.cluster.as_deref();
    let found = connect::find(context, url, key, told, None, &again).await?;
    let profiles = connect::save(context, &found, &name, false).await?;
    let cluster = &found.cluster.name;
    context.ui.note(&match profiles.current {
        Some(current) if current == name => format!("profile {name} added, for cluster {cluster}"),
        _ => format!(
            "profile {name} added, for cluster {cluster}; use it with --profile {name}, or for \
             good: weir profile switch {name}"
        ),
    });
    Ok(())
}
