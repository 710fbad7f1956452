//! `weir cluster operation`.

use clap::{Args, Subcommand};
use weir_client::admin::Operation;

use super::NameArg;
use crate::{
    consume::template::timestamp,
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg, or_dash},
};

/// What to do with operations.
#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// List what was ordered of a cluster, the newest first
    #[command(
        after_help = "Examples:\n  weir cluster operation list\n  weir cluster operation list --name big -o json"
    )]
    List(ListArgs),
    /// Show one operation with its steps, also of a cluster that is gone
    #[command(
        after_help = "Example:\n  weir cluster operation describe op_0192f0c17a6e7c0e8a1b5d2f3c4e5a6b"
    )]
    Describe(DescribeArgs),
}

/// Options of `weir cluster operation list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    name: NameArg,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir cluster operation describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The operation's id, as list shows it
    operation: String,
    #[command(flatten)]
    output: OutputArg,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: &OperationCommand, context: &Context) -> Result<()> {
    match command {
        OperationCommand::List(args) => list(args, context).await,
        OperationCommand::Describe(args) => describe(args, context).await,
    }
}

async fn list(args: &ListArgs, context: &Context) -> Result<()> {
    let context = &context.at(args.name.told());
    let name = context.selected()?;
    let admin = context.admin()?;
    let operations = match admin.operation_list(&name).await {
        Ok(operations) => operations,
        Err(error) if error.status() == Some(404) => {
            return Err(super::unknown_cluster(&admin, &name).await);
        }
        Err(error) => return Err(error.into()),
    };
    out::print(args.output.format, &operations, || {
        out::table(
            ["ID", "KIND", "STATE", "PROGRESS", "ORDERED", "ERROR"],
            operations.iter().map(|operation| {
                [
                    operation.id.to_string(),
                    operation.kind.to_string(),
                    operation.state.to_string(),
                    progress(operation),
                    timestamp(operation.created_at_unix_ms),
                    operation.error.as_ref().map(|e| e.detail.clone()).unwrap_or_default(),
                ]
            }),
        )
    })
}

async fn describe(args: &DescribeArgs, context: &Context) -> Result<()> {
    let operation = match context.admin()?.operation(&args.operation).await {
        Ok(operation) => operation,
        Err(error) if error.status() == Some(404) => {
            return Err(CliError::new(
                format!("there is no operation {}", args.operation),
                "see: weir cluster operation list",
            ));
        }
        Err(error) => return Err(error.into()),
    };
    out::print(args.output.format, &operation, || text(&operation))
}

fn progress(operation: &Operation) -> String {
    format!("{}/{}", operation.progress.done, operation.progress.total)
}

fn text(operation: &Operation) -> String {
    let mut lines = vec![
        format!("id        {}", operation.id),
        format!("cluster   {} ({})", operation.cluster_name, operation.cluster_id),
        format!("kind      {}", operation.kind),
        format!("state     {}", operation.state),
        format!("progress  {}", progress(operation)),
        format!("ordered   {} by {}", timestamp(operation.created_at_unix_ms), operation.actor),
        format!("ended     {}", or_dash(operation.ended_at_unix_ms.map(timestamp))),
    ];
    if let Some(error) = &operation.error {
        lines.push(format!("error     {}: {}", error.code, error.detail));
        lines.push(format!("hint      {}", error.hint));
    }
    lines.push(String::new());
    lines.push(out::table(
        ["STEP", "STATE", "DETAIL"],
        operation.steps.iter().map(|step| {
            [step.name.clone(), step.state.to_string(), step.detail.clone().unwrap_or_default()]
        }),
    ));
    lines.join("\n")
}
