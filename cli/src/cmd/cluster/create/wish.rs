//! What a new cluster is to be: the options of the command line before the file, and the file
//! before what is usual.

use std::path::Path;

use weir_client::admin::ClusterSpec;

use super::{CreateArgs, config};
use crate::{
    context::Context,
    error::{CliError, Result},
    local::data_dir,
};

/// The name of a cluster that is given none by `--name`, the file, `--cluster` or
/// `WEIR_CLUSTER`.
const DEFAULT_NAME: &str = "local";

/// On whose machine the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// On this one: folders are made absolute here.
    Here,
    /// On that of another control plane: nothing is known of its folders.
    There,
}

/// What a new cluster is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Its SPUs, ports and folder.
    pub spec: ClusterSpec,
}

impl Wish {
    /// Takes together what is said.
    ///
    /// # Errors
    /// When the file cannot be read, or what is said cannot be.
    pub fn of(args: &CreateArgs, context: &Context, machine: Machine) -> Result<Self> {
        let file = args.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
        // What the environment says is no option of the command line: the file is nearer.
        let environment = std::env::var("WEIR_CLUSTER").ok();
        let cluster = context.cluster.as_ref();
        let option = cluster.filter(|cluster| Some(*cluster) != environment.as_ref());
        let name = args.name.told().or(option).or(file.name.as_ref()).or(cluster);
        let name = name.map_or(DEFAULT_NAME, String::as_str);
        super::super::check_name(name)?;
        let data_dir = match (&args.data_dir, &file.data_dir) {
            (Some(told), _) => Some(folder(told, None, machine)?),
            (None, Some(told)) => Some(folder(told, args.config.as_deref(), machine)?),
            (None, None) => None,
        };
        let spus = args.spus.or(file.spus).unwrap_or(1);
        let port_base = args.port_base.or(file.port_base);
        if let Some(first) = port_base
            && u32::from(first) + spus > u32::from(u16::MAX) + 1
        {
            return Err(CliError::usage(
                format!("from port {first} on there are no {spus} ports"),
                "choose a lower --port-base, for instance 9600",
            ));
        }
        let spec = ClusterSpec { spus, port_base, data_dir };
        Ok(Self { name: name.to_owned(), spec })
    }
}

/// A folder for data, as the control plane is told of it.
fn folder(told: &Path, file: Option<&Path>, machine: Machine) -> Result<String> {
    if machine == Machine::There {
        return match told.to_str().filter(|_| told.is_absolute()) {
            Some(folder) => Ok(folder.to_owned()),
            None => Err(CliError::usage(
                format!("{} is no absolute path of the control plane's machine", told.display()),
                "name one that begins with / and lies below its --data-dir-root",
            )),
        };
    }
    let from = file.filter(|file| *file != Path::new("-")).and_then(Path::parent);
    data_dir::absolute(told, from)
}
