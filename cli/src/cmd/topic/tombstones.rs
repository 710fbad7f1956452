//! `weir topic delete`, `undelete`, `purge`, and `list --deleted`.

use clap::Args;
use weir_client::{
    Admin,
    admin::{AdminError, Topic, TopicState},
};

use super::find;
use crate::{
    consume::template::timestamp,
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg},
    prompt, suggest,
};

/// Options of `weir topic delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Names, or ids of generations (tg_…)
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Remove the records as well, for good
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// After a topic that cannot be deleted, go on with the next
    #[arg(long)]
    continue_on_error: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir topic undelete`.
#[derive(Debug, Args)]
pub struct UndeleteArgs {
    /// The name, or the id of a generation (tg_…; see: weir topic list --deleted)
    topic: String,
    #[command(flatten)]
    output: OutputArg,
}

/// Options of `weir topic purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// Names, or ids of generations (tg_…; see: weir topic list --deleted)
    #[arg(required_unless_present = "all_deleted", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Everything that was deleted
    #[arg(long, conflicts_with = "topics")]
    all_deleted: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// Lists what was deleted and not purged yet.
pub async fn list(output: OutputArg, admin: &Admin, cluster: &str) -> Result<()> {
    let topics = admin.topic_list_deleted(cluster).await?;
    out::print(output.format, &topics, || {
        out::table(
            ["NAME", "GENERATION", "ID", "DELETED-AT", "STATE", "PARTITIONS"],
            topics.iter().map(|topic| {
                [
                    topic.name.clone(),
                    topic.generation_number.to_string(),
                    topic.generation_id.to_string(),
                    out::or_dash(topic.deleted_at_unix_ms.map(timestamp)),
                    topic.state.to_string(),
                    topic.partitions.len().to_string(),
                ]
            }),
        )
    })
}

/// Deletes topics, one after another.
pub async fn delete(
    args: &DeleteArgs,
    context: &Context,
    admin: &Admin,
    cluster: &str,
) -> Result<()> {
    // By generation, so that what was looked at is what is deleted, whoever recreates a name
    // in between.
    let (mut found, mut failed) = (Vec::<Topic>::new(), None);
    for name in &args.topics {
        match find(admin, cluster, name).await {
            Ok(topic) if found.contains(&topic) => {}
            Ok(topic) => found.push(topic),
            Err(error) => keep_on(args, context, &mut failed, error)?,
        }
    }
    if !found.is_empty() {
        let names = names(&found);
        if args.purge {
            let question = format!("Delete {names} with all records, for good?");
            prompt::confirm(args.yes, &question)?;
        } else {
            prompt::agree(args.yes, &format!("Delete {names}?"))?;
        }
    }
    let mut deleted = Vec::new();
    for topic in found {
        let id = topic.generation_id.to_string();
        let answer = match args.purge {
            true => admin.topic_delete_and_purge(cluster, &id).await,
            false => admin.topic_delete(cluster, &id).await,
        };
        match answer {
            Ok(topic) => deleted.push(topic),
            Err(error) => keep_on(args, context, &mut failed, error.into())?,
        }
    }
    print_all(args.output, args.topics.len(), &deleted, |topic| match topic.state {
        TopicState::Purging => {
            format!("topic {} deleted; its records are being removed", topic.name)
        }
        _ => format!(
            "topic {} deleted; it comes back with: weir topic undelete {}",
            topic.name, topic.generation_id
        ),
    })?;
    failed.map_or(Ok(()), Err)
}

/// With `--continue-on-error` remembers the error and tells of the one before.
fn keep_on(
    args: &DeleteArgs,
    context: &Context,
    failed: &mut Option<CliError>,
    error: CliError,
) -> Result<()> {
    if !args.continue_on_error {
        return Err(error);
    }
    if let Some(before) = failed.replace(error) {
        context.ui.error(&before);
    }
    Ok(())
}

/// Brings a topic back.
pub async fn undelete(args: &UndeleteArgs, admin: &Admin, cluster: &str) -> Result<()> {
    let topic = match admin.topic_undelete(cluster, &args.topic).await {
        Err(error) => return Err(explain(admin, cluster, &args.topic, error).await),
        Ok(topic) => topic,
    };
    out::print(args.output.format, &topic, || {
        format!(
            "topic {} is back, with its records (generation {})",
            topic.name, topic.generation_id
        )
    })
}

/// Purges deleted topics.
pub async fn purge(
    args: &PurgeArgs,
    context: &Context,
    admin: &Admin,
    cluster: &str,
) -> Result<()> {
    let deleted = admin.topic_list_deleted(cluster).await?;
    let mut meant: Vec<Topic> = Vec::new();
    if args.all_deleted {
        meant = deleted.into_iter().filter(|topic| topic.state == TopicState::Tombstone).collect();
        if meant.is_empty() {
            context.ui.note("nothing is deleted that is not purged yet");
        }
    } else {
        for name in &args.topics {
            let topic = match newest(&deleted, name) {
                Some(topic) => topic.clone(),
                None => return Err(not_deleted(admin, cluster, name, &deleted).await),
            };
            if !meant.contains(&topic) {
                meant.push(topic);
            }
        }
    }
    if !meant.is_empty() {
        prompt::confirm(args.yes, &format!("Remove all records of {}, for good?", names(&meant)))?;
    }
    let mut purged = Vec::new();
    for topic in meant {
        purged.push(admin.topic_purge(cluster, &topic.generation_id.to_string()).await?);
    }
    let asked = if args.all_deleted { 0 } else { args.topics.len() };
    print_all(args.output, asked, &purged, |topic| {
        format!(
            "the records of topic {} (generation {}) are being removed",
            topic.name, topic.generation_id
        )
    })
}

/// The generation of an id, or the newest of a name; what is being purged comes last.
fn newest<'t>(deleted: &'t [Topic], name: &str) -> Option<&'t Topic> {
    let of_name = deleted.iter().filter(|topic| topic.name == name);
    let by_id = || deleted.iter().find(|topic| topic.generation_id.to_string() == name);
    of_name
        .max_by_key(|topic| (topic.state == TopicState::Tombstone, topic.generation_number))
        .or_else(by_id)
}

/// Why what was to be purged cannot be.
async fn not_deleted(admin: &Admin, cluster: &str, name: &str, deleted: &[Topic]) -> CliError {
    if let Ok(topic) = admin.topic(cluster, name).await
        && topic.state == TopicState::Active
    {
        return CliError::new(
            format!("topic {name} is not deleted"),
            format!("delete and purge it at once with: weir topic delete {name} --purge"),
        );
    }
    missing(name, deleted)
}

/// The error with what helps: near names for a topic that was not deleted.
async fn explain(admin: &Admin, cluster: &str, name: &str, error: AdminError) -> CliError {
    match error.code() {
        "TOPIC_NOT_FOUND" => {
            missing(name, &admin.topic_list_deleted(cluster).await.unwrap_or_default())
        }
        _ => error.into(),
    }
}

fn missing(name: &str, deleted: &[Topic]) -> CliError {
    let hint = match suggest::nearest(name, deleted.iter().map(|topic| topic.name.as_str())) {
        Some(near) => format!("did you mean {near}? see: weir topic list --deleted"),
        None => "see: weir topic list --deleted".to_owned(),
    };
    CliError::new(format!("there is no deleted topic {name}"), hint)
}

/// One topic as itself, several as a list.
fn print_all(
    output: OutputArg,
    asked: usize,
    topics: &[Topic],
    told: impl Fn(&Topic) -> String,
) -> Result<()> {
    match topics {
        [] if output.format == out::Format::Table => Ok(()),
        [one] if asked == 1 => out::print(output.format, one, || told(one)),
        all => {
            out::print(output.format, all, || all.iter().map(&told).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// `topic a (tg_1)`, `topics a (tg_1) and 3 others`.
/// Most topics that a question names.
const NAMED_MAX: usize = 20;

fn names(topics: &[Topic]) -> String {
    let one = |topic: &Topic| format!("{} ({})", topic.name, topic.generation_id);
    match topics {
        [] => String::new(),
        [only] => format!("topic {}", one(only)),
        several => {
            let named: Vec<_> = several.iter().take(NAMED_MAX).map(one).collect();
            match several.len().checked_sub(NAMED_MAX) {
                Some(more @ 1..) => format!("topics {} and {more} more", named.join(", ")),
                _ => format!("topics {}", named.join(", ")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u32, state: &str) -> Topic {
        serde_json::from_value(serde_json::json!({
            "generation_id": format!("tg_{number:032x}"),
            "generation_number": number, "name": "orders", "state": state,
        }))
        .unwrap()
    }

    #[test]
    fn a_name_means_its_newest_tombstone() {
        let deleted = [topic(1, "tombstone"), topic(2, "tombstone"), topic(3, "purging")];
        assert_eq!(newest(&deleted, "orders"), Some(&deleted[1]));
        assert_eq!(newest(&deleted, &deleted[0].generation_id.to_string()), Some(&deleted[0]));
        assert_eq!(newest(&deleted[2..], "orders"), Some(&deleted[2]));
        assert_eq!(newest(&deleted, "order"), None);
    }

    #[test]
    fn what_is_asked_about_is_named() {
        let deleted = [topic(1, "tombstone"), topic(2, "tombstone")];
        assert!(names(&deleted[..1]).starts_with("topic orders (tg_"));
        let both = names(&deleted);
        assert!(deleted.iter().all(|t| both.contains(&t.generation_id.to_string())), "{both}");
        let many: Vec<_> = (1..=NAMED_MAX as u32 + 2).map(|n| topic(n, "tombstone")).collect();
        assert!(names(&many).ends_with(" and 2 more"));
    }
}
