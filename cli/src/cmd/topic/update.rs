//! `weir topic update`.

use clap::Args;
use weir_client::{
    Admin,
    admin::{Topic, TopicConfig},
};

use super::{config::ConfigArgs, explain, find};
use crate::{
    cmd::topic::config,
    error::{CliError, Result},
    out::{self, OutputArg},
};

/// Options of `weir topic update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The name, or the id of a generation (tg_…)
    topic: String,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    config: ConfigArgs,
}

impl UpdateArgs {
    /// Told here at once; the control plane checks again.
    ///
    /// # Errors
    /// When nothing is said, or what cannot be.
    pub fn check(&self) -> Result<()> {
        if self.config.change().is_empty() {
            return Err(CliError::usage(
                format!("it is not said what should be otherwise with topic {}", self.topic),
                "say at least one, such as --retention 30d; all: weir topic update --help",
            ));
        }
        self.config.check(false)
    }
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &UpdateArgs, admin: &Admin, cluster: &str) -> Result<()> {
    let before = find(admin, cluster, &args.topic).await?;
    // By its id: what is compared is one generation, also where the name changes hands meanwhile.
    let id = before.generation_id.to_string();
    let after = match admin.topic_update(cluster, &id, &args.config.change()).await {
        Err(error) => return Err(explain(admin, cluster, &args.topic, error).await),
        Ok(topic) => topic,
    };
    out::print(args.output.format, &after, || {
        told(&after, before.config.as_ref(), after.config.as_ref())
    })
}

fn told(topic: &Topic, before: Option<&TopicConfig>, after: Option<&TopicConfig>) -> String {
    let changes = before.zip(after).map(|(before, after)| config::changes(before, after));
    let changes = changes.unwrap_or_default();
    if changes.is_empty() {
        return format!("topic {} is so already: nothing was changed", topic.name);
    }
    format!("topic {} updated\n{}", topic.name, changes.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::error::Exit;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    #[test]
    fn at_least_one_choice_is_demanded() {
        let check = |line: &str| Line::try_parse_from(line.split(' ')).unwrap().args.check();
        assert_eq!(check("x orders").unwrap_err().exit(), Exit::Usage);
        assert_eq!(check("x orders -o json").unwrap_err().exit(), Exit::Usage);
        assert_eq!(check("x orders --retention none"), Ok(()));
        assert_eq!(check("x orders --flush-interval 1s"), Ok(()));
    }

    #[test]
    fn what_changed_is_told_or_that_nothing_did() {
        let topic: Topic = serde_json::from_value(serde_json::json!({
            "generation_id": "tg_00000000000000000000000000000007", "generation_number": 1,
            "name": "orders", "state": "active",
            "config": {"flush": "before_ack", "retention_ms": 86_400_000, "segment_bytes": 1 << 20},
        }))
        .unwrap();
        let after = topic.config.unwrap();
        let before = TopicConfig { retention_ms: Some(604_800_000), ..after };
        assert_eq!(
            told(&topic, Some(&before), Some(&after)),
            "topic orders updated\nretention    7 days → 1 day"
        );
        assert!(told(&topic, Some(&after), Some(&after)).contains("nothing was changed"));
    }
}
