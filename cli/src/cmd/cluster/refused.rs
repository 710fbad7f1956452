//! Why a cluster cannot have fewer SPUs, a line for each that is in the way.

use std::collections::BTreeSet;

use weir_client::admin::{Problem, SpuHolds, SpuHoldsTopic};

use crate::{context::Context, error::CliError};

/// Most SPUs that are told of.
const SPUS_MAX: usize = 10;
/// Most topics of an SPU that are named.
const TOPICS_MAX: usize = 20;
/// Most partitions of a topic that are named.
const PARTITIONS_MAX: usize = 4;
/// Most generations that a command to purge names.
const GENERATIONS_MAX: usize = 10;

/// The refusal of a scale, those SPUs first that are emptied with the least loss.
pub(super) fn told(context: &Context, problem: &Problem) -> CliError {
    let mut spus: Vec<&SpuHolds> = problem.blocking.iter().collect();
    spus.sort_by_key(|spu| (in_use(spu), partitions(spu), spu.spu_id));
    // The rest of the detail says the same of every SPU in one line.
    let what = problem.detail.split("; ").next().unwrap_or(&problem.detail);
    let mut lines = vec![what.trim_end_matches('.').to_owned()];
    lines.extend(spus.iter().take(SPUS_MAX).map(|spu| line(spu)));
    if let Some(more @ 1..) = spus.len().checked_sub(SPUS_MAX) {
        lines.push(format!("  and {more} more"));
    }
    let mut hint = problem.hint.clone().unwrap_or_else(|| "keep as many SPUs".to_owned());
    let emptied: Vec<_> = spus.iter().filter(|spu| in_use(spu) == 0).take(SPUS_MAX).collect();
    let generations: BTreeSet<String> = emptied
        .iter()
        .flat_map(|spu| &spu.topics)
        .map(|topic| topic.generation_id.to_string())
        .collect();
    if (1..=GENERATIONS_MAX).contains(&generations.len()) {
        let ids: Vec<_> = emptied.iter().map(|spu| spu.spu_id.to_string()).collect();
        let noun = if ids.len() == 1 { "SPU" } else { "SPUs" };
        let generations: Vec<_> = generations.into_iter().collect();
        hint = format!(
            "{noun} {} only deleted topics; purge them for good: weir topic purge {}{}",
            match ids.as_slice() {
                [one] => format!("{one} holds"),
                several => format!("{} hold", several.join(", ")),
            },
            generations.join(" "),
            options(context)
        );
    }
    CliError::new(lines.join("\n"), hint)
}

/// How many partitions it holds of topics that were not deleted.
fn in_use(spu: &SpuHolds) -> usize {
    spu.topics.iter().filter(|topic| !topic.deleted).map(|topic| topic.partitions.len()).sum()
}

fn partitions(spu: &SpuHolds) -> usize {
    spu.topics.iter().map(|topic| topic.partitions.len()).sum()
}

fn line(spu: &SpuHolds) -> String {
    let mut topics: Vec<_> = spu.topics.iter().take(TOPICS_MAX).map(topic).collect();
    if let Some(more @ 1..) = spu.topics.len().checked_sub(TOPICS_MAX) {
        topics.push(format!("{more} more"));
    }
    format!("  SPU {} holds {}", spu.spu_id, topics.join(", "))
}

fn topic(topic: &SpuHoldsTopic) -> String {
    let deleted = if topic.deleted { " (deleted, not purged)" } else { "" };
    let ids: Vec<_> = topic.partitions.iter().map(ToString::to_string).collect();
    let held = match ids.as_slice() {
        [one] => format!("partition {one}"),
        some if some.len() <= PARTITIONS_MAX => format!("partitions {}", some.join(", ")),
        many => format!("{} partitions", many.len()),
    };
    format!("{}{deleted} ({held})", topic.name)
}

/// What makes another command mean the same cluster.
fn options(context: &Context) -> String {
    let told = [("--cluster", &context.cluster), ("--profile", &context.profile)];
    let told = told.iter().filter_map(|(option, name)| Some((option, name.as_ref()?)));
    told.map(|(option, name)| format!(" {option} {name}")).collect()
}

#[cfg(test)]
mod tests {
    use weir_runtime::clock::Clock;

    use super::*;
    use crate::{home::Home, ui::Ui};

    fn refused(blocking: serde_json::Value) -> (String, String) {
        let base = tempfile::tempdir().unwrap();
        let context = Context {
            home: Home::find(Some(base.path().to_owned())).unwrap(),
            ui: Ui::new(true, true),
            clock: Clock,
            profile: None,
            cluster: Some("dev".into()),
            timeout: None,
        };
        let problem = Problem {
            detail: "cluster dev cannot be scaled to 1: 1 more; SPU 1 holds a; SPU 2 holds b"
                .into(),
            hint: Some("Keep as many SPUs.".into()),
            blocking: serde_json::from_value(blocking).unwrap(),
            ..Problem::default()
        };
        match told(&context, &problem) {
            CliError::Told { what, hint, .. } => (what, hint),
            CliError::BrokenPipe => panic!(),
        }
    }

    fn holds(spu: u32, deleted: bool, partitions: &[u32]) -> serde_json::Value {
        serde_json::json!({ "spu_id": spu, "topics": [{
            "name": "t", "generation_id": format!("tg_{spu:032x}"), "deleted": deleted,
            "partitions": partitions,
        }]})
    }

    #[test]
    fn what_is_least_in_the_way_comes_first_and_is_purged_by_a_command() {
        let held = [holds(1, false, &[0, 1]), holds(2, false, &[3]), holds(3, true, &[1, 2])];
        let (what, hint) = refused(serde_json::json!(held));
        let lines: Vec<_> = what.lines().collect();
        assert_eq!(
            lines,
            [
                "cluster dev cannot be scaled to 1: 1 more",
                "  SPU 3 holds t (deleted, not purged) (partitions 1, 2)",
                "  SPU 2 holds t (partition 3)",
                "  SPU 1 holds t (partitions 0, 1)",
            ]
        );
        let purge = format!(
            "SPU 3 holds only deleted topics; purge them for good: weir topic purge tg_{:032x} --cluster dev",
            3
        );
        assert_eq!(hint, purge);
    }

    #[test]
    fn many_are_not_all_told() {
        let held: Vec<_> = (1..=13).map(|spu| holds(spu, false, &[0, 1, 2, 3, 4])).collect();
        let (what, hint) = refused(serde_json::json!(held));
        assert_eq!(what.lines().count(), 12);
        assert!(what.contains("SPU 1 holds t (5 partitions)") && what.ends_with("and 3 more"));
        assert_eq!(hint, "Keep as many SPUs.");
    }
}
