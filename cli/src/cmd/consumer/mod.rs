//! `weir consumer`: what named consumers have committed.

mod delete;
mod describe;
mod list;
mod reset;

use clap::Subcommand;
use weir_client::{Admin, admin::AdminError};

use crate::{
    context::Context,
    error::{CliError, Result},
    out, suggest,
};

/// What to do with named consumers.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  weir consumer list
  weir consumer describe billing
  weir consumer reset billing --topic orders --beginning

A consumer comes to be by reading under a name: weir consume -c billing orders")]
pub enum ConsumerCommand {
    /// List named consumers
    #[command(after_help = "Examples:\n  weir consumer list\n  weir consumer list -o json")]
    List(list::ListArgs),
    /// Show what a consumer has committed, partition by partition
    #[command(
        after_help = "Examples:\n  weir consumer describe billing\n  weir consumer describe billing -o yaml"
    )]
    Describe(describe::DescribeArgs),
    /// Forget a consumer and all that it has committed
    #[command(
        after_help = "Examples:\n  weir consumer delete billing\n  weir consumer delete billing --yes"
    )]
    Delete(delete::DeleteArgs),
    /// Set where a consumer goes on
    #[command(after_help = "\
Examples:
  weir consumer reset billing --topic orders --beginning
  weir consumer reset billing --topic orders -p 0 -p 2 --offset 1000
  weir consumer reset billing --topic orders --from-end 100 --dry-run
  weir consumer reset billing --topic orders --to-time 2026-01-31T12:00:00Z
  weir consumer reset billing --topic orders --to-time 10m

A consumer that runs under the name is stopped by it: start it again to go on from there.")]
    Reset(reset::ResetArgs),
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: ConsumerCommand, context: &Context) -> Result<()> {
    match &command {
        ConsumerCommand::List(_) => {}
        ConsumerCommand::Describe(args) => check_name(&args.consumer)?,
        ConsumerCommand::Delete(args) => check_name(&args.consumer)?,
        ConsumerCommand::Reset(args) => check_name(&args.consumer)?,
    }
    let cluster = context.selected()?;
    let admin = context.admin()?;
    match command {
        ConsumerCommand::List(args) => list::run(&args, context, &admin, &cluster).await,
        ConsumerCommand::Describe(args) => describe::run(&args, context, &admin, &cluster).await,
        ConsumerCommand::Delete(args) => delete::run(&args, &admin, &cluster).await,
        ConsumerCommand::Reset(args) => reset::run(&args, context, &admin, &cluster).await,
    }
}

/// The error with what helps: near names for a consumer that is not there.
async fn explain(admin: &Admin, cluster: &str, name: &str, error: AdminError) -> CliError {
    match error.code() {
        "CONSUMER_NOT_FOUND" => {
            let consumers = admin.consumer_list(cluster).await.unwrap_or_default();
            unknown_consumer(name, consumers.iter().map(|consumer| consumer.name.as_str()))
        }
        "CLUSTER_NOT_FOUND" => {
            CliError::from(error).hinted("see: weir cluster list; choose with --cluster NAME")
        }
        _ => error.into(),
    }
}

/// A consumer that is not there, and what may have been meant.
fn unknown_consumer<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> CliError {
    let hint = match suggest::nearest(name, known) {
        Some(near) => format!("did you mean {near}? all consumers: weir consumer list"),
        None => "see: weir consumer list; one comes to be by reading: weir consume -c NAME TOPIC"
            .to_owned(),
    };
    CliError::new(format!("the cluster has no consumer {name}"), hint)
}

/// Told here at once, in the words of the command line; the control plane checks again.
fn check_name(name: &str) -> Result<()> {
    let good = (1..=249).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !matches!(name, "." | "..");
    if good {
        return Ok(());
    }
    Err(CliError::usage(
        format!("{name:?} cannot be a consumer's name"),
        "a consumer's name is 1 to 249 of letters, digits, \".\", \"_\" and \"-\"",
    ))
}

/// How long ago a commit was, or a dash.
fn age(context: &Context, at_unix_ms: Option<i64>) -> String {
    out::or_dash(at_unix_ms.map(|at| out::age(context.clock.unix_ms(), at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn bad_names_are_usage_errors_that_tell_the_rule() {
        for good in ["a", "billing.eu-1_x", "...", "__x", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", "a:reset", &"x".repeat(250)] {
            assert_eq!(check_name(bad).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_near_one() {
        let hint = |name| match unknown_consumer(name, ["billing", "audit"]) {
            CliError::Told { hint, .. } => hint,
            CliError::BrokenPipe => panic!("not told"),
        };
        assert!(hint("biling").contains("did you mean billing?"));
        assert!(hint("zzz").contains("weir consumer list"));
    }
}
