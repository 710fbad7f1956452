//! The life of clusters whose control plane is not this home's: ordered and waited for over
//! its HTTP API. Nothing is started or stopped on this machine.

use serde::Serialize;
use weir_client::{
    Admin,
    admin::{AdminError, Cluster, ClusterSpec},
};

use super::{
    ClusterCommand, NameArg,
    create::{
        CreateArgs,
        wish::{Machine, Wish},
    },
    delete::DeleteArgs,
    restart,
    restart::RestartArgs,
    resume::ResumeArgs,
    scale,
    scale::ScaleArgs,
    shutdown::ShutdownArgs,
    status,
    status::StatusArgs,
    unknown_cluster, watch,
};
use crate::{
    context::Context,
    error::{CliError, Result},
    home::{
        profiles::{Profile, Profiles},
        target::{Place, Remote},
        tokens,
    },
    local::wait::{self, Goal},
    out, prompt,
    remote::connect::forget_key,
};

/// A cluster of another control plane that a command means.
struct There {
    context: Context,
    remote: Remote,
    /// As its control plane knows it.
    name: String,
    admin: Admin,
}

/// Does it if the cluster is one of another control plane; else says that it is not.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: &ClusterCommand, context: &Context) -> Result<bool> {
    match command {
        ClusterCommand::Create(args) => {
            // Made on this machine unless a profile says otherwise.
            let place = match &context.profile {
                Some(_) => Context { cluster: None, ..context.clone() }.place()?,
                None => Place::Home,
            };
            let Place::Remote(remote) = place else { return Ok(false) };
            create(args, context, remote).await?;
        }
        ClusterCommand::Status(args) => {
            let Some(there) = there(&args.name, context)? else { return Ok(false) };
            there.status(args).await?;
        }
        ClusterCommand::Shutdown(args) => {
            let Some(there) = there(&args.name, context)? else { return Ok(false) };
            there.shutdown(args).await?;
        }
        ClusterCommand::Resume(args) => {
            let Some(there) = there(&args.name, context)? else { return Ok(false) };
            there.resume(args).await?;
        }
        ClusterCommand::Scale(args) => {
            let Some(there) = there(&args.name, context)? else { return Ok(false) };
            there.scale(args).await?;
        }
        ClusterCommand::Restart(args) => {
            let Some(there) = there(&args.name, context)? else { return Ok(false) };
            there.restart(args).await?;
        }
        ClusterCommand::Delete(args) => {
            let Some(there) = there(&args.name, context)? else { return Ok(false) };
            there.delete(args).await?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn there(name: &NameArg, context: &Context) -> Result<Option<There>> {
    let context = context.at(name.told());
    let target = context.target()?;
    let Place::Remote(remote) = target.place else { return Ok(None) };
    let admin = context.admin()?;
    Ok(Some(There { context, remote, name: target.cluster, admin }))
}

async fn create(args: &CreateArgs, context: &Context, remote: Remote) -> Result<()> {
    let Wish { name, spec } = Wish::of(args, context, Machine::There)?;
    let name = name.as_str();
    let known = Profiles::load(&context.home)?;
    if known.clusters.contains_key(name) && known.name_of(name, &remote.key_file).is_none() {
        return Err(CliError::new(
            format!("there is a profile {name} of a cluster of another control plane"),
            format!("choose another name, or rename the profile: weir profile rename {name} NEW"),
        ));
    }
    let context = Context { cluster: None, ..context.clone() };
    let admin = context.admin()?;
    if args.dry_run {
        return would(args, &admin, &remote, name, &spec).await;
    }
    let begin = context.clock.now();
    let mut cluster = admin.cluster_create(name, &spec).await?;
    Profiles::update(&context.home, context.clock, |profiles| {
        let new = profiles.name_of(name, &remote.key_file).is_none();
        if new {
            let profile = Profile::remote(&cluster, &remote.url, &remote.key_file);
            profiles.clusters.insert(name.to_owned(), profile);
        }
        new
    })
    .await?;
    if !args.no_wait {
        let limit = context.lifecycle_timeout();
        let running = wait::wait_for(&context, &admin, name, Goal::Running, limit).await?;
        cluster = running.unwrap_or(cluster);
    }
    learn(&context, &remote, &cluster).await?;
    let seconds = context.clock.now().since(begin).as_secs_f64();
    out::print(args.output.format, &cluster, || {
        let spus = out::count(u64::from(cluster.spec.spus), "SPU");
        format!(
            "cluster {name} at {} is {} with {spus} ({seconds:.1} s); use it with --cluster {name}",
            remote.url, cluster.state
        )
    })
}

#[derive(Debug, Serialize)]
struct Would<'a> {
    name: &'a str,
    control_plane: &'a str,
    spec: &'a ClusterSpec,
}

/// What would be asked of another control plane. What its machine lacks, only it can see.
async fn would(
    args: &CreateArgs,
    admin: &Admin,
    remote: &Remote,
    name: &str,
    spec: &ClusterSpec,
) -> Result<()> {
    if let Some(found) = wait::look(admin, name).await? {
        return Err(CliError::new(
            format!("there is a cluster {name} at {} (state {})", remote.url, found.state),
            "choose another name; see: weir cluster list",
        ));
    }
    let would = Would { name, control_plane: &remote.url, spec };
    out::print(args.output.format, &would, || {
        let spus = out::count(u64::from(spec.spus), "SPU");
        format!("{} would be asked for a cluster {name} with {spus}", remote.url)
    })
}

async fn learn(context: &Context, remote: &Remote, cluster: &Cluster) -> Result<()> {
    let change = |profiles: &mut Profiles| match profiles.name_of(&cluster.name, &remote.key_file) {
        Some(_) => profiles.learn(cluster, &remote.url, &remote.key_file),
        None => false,
    };
    Profiles::update(&context.home, context.clock, change).await.map(drop)
}

#[derive(Debug, Serialize)]
struct Deleted<'a> {
    name: &'a str,
    id: String,
    state: &'static str,
}

impl There {
    /// The cluster for people: there may be one of its name elsewhere.
    fn called(&self) -> String {
        format!("{} at {}", self.name, self.remote.url)
    }

    /// The error of an order, with near names for a cluster that is not there.
    async fn explain(&self, error: AdminError) -> CliError {
        match error.status() {
            Some(404) => unknown_cluster(&self.admin, &self.name).await,
            _ => error.into(),
        }
    }

    async fn look(&self) -> Result<Cluster> {
        match wait::look(&self.admin, &self.name).await? {
            Some(cluster) => Ok(cluster),
            None => Err(unknown_cluster(&self.admin, &self.name).await),
        }
    }

    async fn wait(&self, goal: Goal) -> Result<Option<Cluster>> {
        let limit = self.context.lifecycle_timeout();
        let cluster = wait::wait_for(&self.context, &self.admin, &self.name, goal, limit).await?;
        if let Some(cluster) = &cluster {
            learn(&self.context, &self.remote, cluster).await?;
        }
        Ok(cluster)
    }

    async fn status(&self, args: &StatusArgs) -> Result<()> {
        if let Some(interval) = args.watch {
            let format = args.output.format;
            return watch::run(&self.context, &self.name, interval.into(), format).await;
        }
        let cluster = self.look().await?;
        learn(&self.context, &self.remote, &cluster).await?;
        let operation = status::operation_of(&self.admin, &cluster).await;
        let url = &self.remote.url;
        let text = || status::describe(&cluster, operation.as_ref(), url);
        out::print(args.output.format, &cluster, text)
    }

    async fn shutdown(&self, args: &ShutdownArgs) -> Result<()> {
        if let Err(error) = self.admin.cluster_shutdown(&self.name).await {
            return Err(self.explain(error).await);
        }
        let cluster = self.wait(Goal::Shutdown).await?;
        let (called, name) = (self.called(), self.context.meaning(&self.name));
        out::print(args.output.format, &cluster, || {
            format!(
                "cluster {called} is shut down, its data is kept; start it again with: weir \
                 cluster resume {name}"
            )
        })
    }

    async fn resume(&self, args: &ResumeArgs) -> Result<()> {
        let begin = self.context.clock.now();
        if let Err(error) = self.admin.cluster_resume(&self.name).await {
            return Err(self.explain(error).await);
        }
        let cluster = self.wait(Goal::Running).await?;
        let seconds = self.context.clock.now().since(begin).as_secs_f64();
        out::print(args.output.format, &cluster, || {
            format!("cluster {} is running ({seconds:.1} s)", self.called())
        })
    }

    async fn scale(&self, args: &ScaleArgs) -> Result<()> {
        let scaled = scale::order(args, &self.context, &self.admin, &self.name).await?;
        if let Some(cluster) = scaled.cluster() {
            learn(&self.context, &self.remote, cluster).await?;
        }
        scaled.print(args, &self.called(), &self.context.meaning(&self.name))
    }

    async fn restart(&self, args: &RestartArgs) -> Result<()> {
        let restarted = restart::order(args, &self.context, &self.admin, &self.name).await?;
        learn(&self.context, &self.remote, &restarted.cluster).await?;
        restarted.print(args, &self.called(), &self.context.meaning(&self.name))
    }

    async fn delete(self, args: &DeleteArgs) -> Result<()> {
        let (name, called) = (&self.name, self.called());
        prompt::confirm(args.yes, &format!("Delete cluster {called} and all its data?"))?;
        let cluster = self.look().await?;
        // By id: what was looked at is what is deleted, whoever recreates the name meanwhile.
        let id = cluster.id.to_string();
        self.admin.cluster_delete(&id).await?;
        let (context, limit) = (&self.context, self.context.lifecycle_timeout());
        wait::wait_for(context, &self.admin, &id, Goal::Gone, limit).await?;
        tokens::forget(&context.home, cluster.id)?;
        let profiles = Profiles::update(&context.home, context.clock, |profiles| {
            let known = profiles.clusters.iter().filter(|(_, profile)| profile.id == id);
            let known: Vec<String> = known.map(|(name, _)| name.clone()).collect();
            known.iter().for_each(|name| profiles.forget(name));
            !known.is_empty()
        })
        .await?;
        forget_key(&context.home, &profiles, &self.remote.key_file)?;
        let deleted = Deleted { name, id, state: "deleted" };
        out::print(args.output.format, &deleted, || {
            format!("cluster {called} and all its data are deleted")
        })
    }
}
