//! What is kept of a cluster of this home once it was seen.

use weir_client::admin::Cluster;

use crate::{
    context::Context,
    error::Result,
    home::profiles::Profiles,
    local::endpoint::{self, Endpoint},
};

/// Whether a cluster that is learned becomes the one that commands mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choose {
    /// What they mean stays as it is.
    No,
    /// If they mean none so far.
    IfNone,
    /// Whatever they mean.
    Yes,
}

/// Takes what the control plane says of a cluster into the profiles. Returns whether commands
/// meant another one before.
///
/// # Errors
/// When the profiles cannot be read or written.
pub(super) async fn learn(
    context: &Context,
    endpoint: &Endpoint,
    cluster: &Cluster,
    choose: Choose,
) -> Result<bool> {
    let mut turned = false;
    let change = |profiles: &mut Profiles| {
        let key_file = key_file(context);
        let mut news = profiles.learn(cluster, &endpoint.url(), &key_file);
        let name = profiles.name_of(&cluster.name, &key_file).cloned();
        let chosen = match choose {
            Choose::No => false,
            Choose::IfNone => profiles.current.is_none(),
            Choose::Yes => true,
        };
        if chosen && name.is_some() && profiles.current != name {
            turned = profiles.current.is_some();
            profiles.current = name;
            news = true;
        }
        news
    };
    Profiles::update(&context.home, context.clock, change).await?;
    Ok(turned)
}

/// The key's file as the profiles name it.
pub(super) fn key_file(context: &Context) -> String {
    let path = endpoint::key_file(&context.home);
    let relative = path.strip_prefix(context.home.root()).unwrap_or(&path);
    relative.to_string_lossy().into_owned()
}
