//! `weir cluster status`.

use clap::Args;
use weir_client::{
    Admin,
    admin::{Cluster, Operation, OperationState},
};

use super::{NameArg, list, spu, watch};
use crate::{
    consume::template::timestamp,
    context::Context,
    error::Result,
    local::{
        endpoint::{self, State},
        operation, wait,
    },
    out::{self, OutputArg},
};

/// Options of `weir cluster status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub(super) name: NameArg,
    /// Go on showing it, looking so often [default: 1s]
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "1s")]
    pub(super) watch: Option<humantime::Duration>,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

/// Does it. What is told is what was seen: any state is an answer, not a failure.
///
/// # Errors
/// When there is no such cluster, or nobody to ask.
pub async fn run(args: &StatusArgs, context: &Context) -> Result<()> {
    let (asked, context) = (context, &context.at(args.name.told()));
    let name = context.selected()?;
    if let Some(interval) = args.watch {
        return watch::run(context, &name, interval.into(), args.output.format).await;
    }
    let endpoint = match endpoint::look(&context.home)? {
        State::Running(endpoint) => endpoint,
        State::Stopped(_) => {
            let rows = list::remember(asked, "shutdown")?;
            let Some(row) = rows.iter().find(|row| row.name() == name) else {
                return Err(super::no_cluster_here(context, &name)?);
            };
            return out::print(args.output.format, row, || {
                format!(
                    "name   {name}\nstate  shutdown\n\nstart it again with: weir cluster resume \
                     --name {name}"
                )
            });
        }
        state => return Err(context.not_running(&state)),
    };
    let admin = context.admin()?;
    let Some(cluster) = wait::look(&admin, &name).await? else {
        return Err(super::unknown_cluster(&admin, &name).await);
    };
    super::learn(context, &endpoint, &cluster, super::Choose::No).await?;
    let operation = operation_of(&admin, &cluster).await;
    let url = endpoint.url();
    out::print(args.output.format, &cluster, || describe(&cluster, operation.as_ref(), &url))
}

/// What was ordered last. It is beside the point: without it the rest is told.
pub(super) async fn operation_of(admin: &Admin, cluster: &Cluster) -> Option<Operation> {
    admin.operation(&cluster.operation_id?.to_string()).await.ok()
}

/// A cluster for people.
pub(super) fn describe(cluster: &Cluster, operation: Option<&Operation>, url: &str) -> String {
    let mut lines = vec![
        format!("name           {}", cluster.name),
        format!("id             {}", cluster.id),
        format!("state          {}", cluster.state),
    ];
    if cluster.desired.to_string() != cluster.state.to_string() {
        lines.push(format!("wanted         {}", cluster.desired));
    }
    if let Some(reason) = &cluster.reason {
        lines.push(format!("reason         {reason}"));
    }
    if let Some(frozen) = &cluster.frozen {
        lines.push(format!(
            "frozen         since {}: its database went back; see weir control-plane recover {}",
            timestamp(frozen.since_unix_ms),
            cluster.name
        ));
    }
    match operation {
        Some(operation) if operation.state == OperationState::Running => {
            let step = operation::step(operation);
            lines.push(format!("operation      {}: {step}", operation.kind));
        }
        Some(Operation { kind, error: Some(error), .. }) => {
            lines.push(format!("operation      {kind} failed: {}", error.detail));
        }
        _ => {}
    }
    lines.push(format!("SPUs           {} of {} ready", cluster.spus_ready, cluster.spec.spus));
    lines.push(format!("control plane  {url}"));
    lines.push(format!("created        {}", timestamp(cluster.created_at_unix_ms)));
    lines.push(String::new());
    lines.push(spu::table(&cluster.spus));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::profiles::tests::cluster;

    #[test]
    fn a_degraded_cluster_says_why() {
        let mut cluster = cluster("a", &["127.0.0.1:9500"]);
        assert!(!describe(&cluster, None, "u").contains("wanted"));
        cluster.state = weir_client::admin::ClusterState::Degraded;
        cluster.reason = Some("SPU 1: exited".into());
        let text = describe(&cluster, None, "http://127.0.0.1:9400");
        assert!(text.contains(
            "state          degraded\nwanted         running\nreason         SPU 1: exited"
        ));
        assert!(text.contains("127.0.0.1:9500") && text.contains("http://127.0.0.1:9400"));
    }
}
