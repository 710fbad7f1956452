//! What goes wrong, as people see it: one sentence, one hint, one exit code.

use weir_client::{
    ClientError, ConsumeError, SendError,
    admin::{AdminError, Problem},
};
use weir_runtime::http::HttpError;

/// What the process ends with. Documented in `weir --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Ok = 0,
    /// It was not done, or not wholly.
    Failure = 1,
    /// The command line asks for something that cannot be.
    Usage = 2,
    /// Ctrl-C or SIGTERM came before all was done that was asked for.
    Interrupted = 130,
}

/// Why a command did not do what it was asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// To be told: `error: <what>` and `hint: <hint>`.
    #[error("{what}")]
    Told {
        /// One sentence without a full stop.
        what: String,
        /// What to do next.
        hint: String,
        /// The exit code.
        exit: Exit,
    },
    /// Whoever read our output has gone (`| head`): end quietly, as if all was read.
    #[error("the reader of the output has gone")]
    BrokenPipe,
}

/// What a command returns.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// A failure.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Told { what: what.into(), hint: hint.into(), exit: Exit::Failure }
    }

    /// A command line that asks for something that cannot be.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Told { what: what.into(), hint: hint.into(), exit: Exit::Usage }
    }

    /// Ctrl-C came before all was done that was asked for.
    pub fn interrupted(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Told { what: what.into(), hint: hint.into(), exit: Exit::Interrupted }
    }

    /// The same with another hint.
    pub fn hinted(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Told { what, exit, .. } => Self::Told { what, hint: hint.into(), exit },
            Self::BrokenPipe => self,
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Told { exit, .. } => *exit,
            Self::BrokenPipe => Exit::Ok,
        }
    }
}

/// An error of the file system, with the path that it is about.
pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> CliError {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "check the path",
        std::io::ErrorKind::PermissionDenied => "check who owns it and its permissions (ls -l)",
        std::io::ErrorKind::StorageFull => "make room on the disk, then run the command again",
        _ => "check the path and the disk",
    };
    CliError::new(format!("cannot {doing} {}: {}", path.display(), system(error)), hint)
}

/// What the system said, without Rust's `(os error 2)`.
pub fn system(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

impl From<AdminError> for CliError {
    fn from(error: AdminError) -> Self {
        let hint = admin_hint(&error);
        let what = reason(&error);
        // What the server calls invalid was asked for by the command line.
        match error.code() {
            "INVALID_REQUEST" | "INVALID_NAME" | "INVALID_ARGUMENT" => Self::usage(what, hint),
            _ => Self::new(what, hint),
        }
    }
}

/// Why the control plane did not do it, as part of a sentence.
pub fn reason(error: &AdminError) -> String {
    match error {
        AdminError::Problem(problem) => sentence(problem),
        AdminError::Transport(HttpError::Unreachable { authority, reason }) => {
            format!("the control plane at {authority} cannot be reached: {reason}")
        }
        AdminError::Transport(HttpError::TimedOut { authority, limit }) => {
            format!("the control plane at {authority} did not answer within {}", duration(*limit))
        }
        other => other.to_string(),
    }
}

/// The problem's own words, as part of a sentence.
fn sentence(problem: &Problem) -> String {
    let text = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    let text = text.trim().trim_end_matches('.');
    if text.is_empty() {
        format!("the control plane answered {}", problem.code)
    } else {
        text.into()
    }
}

fn admin_hint(error: &AdminError) -> String {
    if let Some(hint) = error.hint().filter(|_| matches!(error, AdminError::Problem(_))) {
        return hint.to_owned();
    }
    match error.code() {
        "UNAUTHENTICATED" | "FORBIDDEN" => {
            "the key does not belong to this control plane: another one may have taken its place \
             there; is WEIR_HOME the right folder?"
        }
        "UNREACHABLE" => {
            "one of this machine is started again by: weir cluster resume; see: weir cluster check"
        }
        "TIMED_OUT" => "see: weir cluster check; or give it longer with --timeout",
        "INVALID_REQUEST" => "check the name",
        _ if error.outcome_unknown() => {
            "it may have been done all the same: look (weir cluster status, weir topic list) \
             before you repeat it"
        }
        _ if error.retryable() => "run the command again",
        _ => "see: weir cluster check, and, where it runs: weir cluster logs --control-plane",
    }
    .to_owned()
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::ControlPlane(error) => error.into(),
            ClientError::UnknownTopic { topic, suggestion, .. } => {
                unknown_topic(&topic, suggestion.as_deref())
            }
            ClientError::UnknownPartition { topic, partition, partitions } => {
                unknown_partition(&topic, partition.get(), partitions)
            }
            ClientError::Unreachable { limit, reason } => Self::new(
                format!("no SPU of the cluster answered within {}: {reason}", duration(limit)),
                "see whether it runs: weir cluster status",
            ),
            other => {
                let hint = other.hint().unwrap_or_else(|| "see: weir cluster status".to_owned());
                Self::new(other.to_string(), hint)
            }
        }
    }
}

/// A topic that is not there, and what may have been meant.
pub fn unknown_topic(topic: &str, suggestion: Option<&str>) -> CliError {
    let hint = match suggestion {
        Some(near) => format!("did you mean {near}? all topics: weir topic list"),
        None if crate::cmd::topic::check_name(topic).is_err() => "see: weir topic list".to_owned(),
        None => format!("see: weir topic list; create it with: weir topic create {topic}"),
    };
    CliError::new(format!("the cluster has no topic {}", topic.escape_debug()), hint)
}

/// A partition that is not there, and which are.
pub fn unknown_partition(topic: &str, partition: u32, partitions: u32) -> CliError {
    let has = match partitions {
        1 => "only partition 0".to_owned(),
        n => format!("partitions 0 to {}", n.saturating_sub(1)),
    };
    CliError::new(
        format!("topic {topic} has no partition {partition}: it has {has}"),
        format!("choose one of these, or grow the topic: weir topic add-partition {topic}"),
    )
}

/// Why a record was not taken, `at` says which (`line 7: `, or nothing).
pub fn not_taken(at: &str, topic: &str, error: &SendError) -> CliError {
    match error {
        SendError::UnknownPartition { partition, partitions, .. } => {
            unknown_partition(topic, partition.get(), *partitions)
        }
        SendError::RecordTooLarge { bytes, limit_bytes } => CliError::new(
            format!("{at}the record needs {bytes} bytes, the largest batch has {limit_bytes}"),
            "split it into smaller records; what was acknowledged before it stands",
        ),
        SendError::TopicDeleted { .. } => CliError::new(
            format!("{at}topic {topic} was deleted while it was written to"),
            format!("create it again with: weir topic create {topic}"),
        ),
        SendError::TopicRecreated { .. } => CliError::new(
            format!("{at}topic {topic} was deleted and created again while it was written to"),
            "run the command again to write to the new one",
        ),
        other => CliError::new(format!("{at}{other}"), "see: weir cluster status"),
    }
}

/// A limit or a wait for people: whole seconds from one second on, else milliseconds.
pub fn duration(duration: std::time::Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let rounded = if ms < 1_000 { ms } else { ms.saturating_add(500) / 1_000 * 1_000 };
    humantime::format_duration(std::time::Duration::from_millis(rounded)).to_string()
}

/// The same text with its seconds (`30.001773325s`) rounded.
pub fn rounded(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let number = word.trim_end_matches([';', ':', ',', ')']);
        let seconds = number.strip_suffix('s').filter(|n| n.contains('.'));
        let seconds = seconds.and_then(|n| n.parse::<f64>().ok());
        match seconds.and_then(|s| std::time::Duration::try_from_secs_f64(s).ok()) {
            Some(time) => duration(time) + &word[number.len()..],
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Why reading stopped.
pub fn not_read(topic: &str, error: &ConsumeError) -> CliError {
    // Some errors name the topic themselves.
    let what = match error {
        ConsumeError::TopicDeleted { .. } => format!("topic {topic} was deleted"),
        ConsumeError::TopicRecreated { .. } => {
            format!("topic {topic} was deleted and created again")
        }
        other => format!("topic {topic}: {}", rounded(&other.to_string())),
    };
    match error {
        ConsumeError::OutOfRange { partition, log_start, high_watermark, .. } => CliError::new(
            what,
            format!(
                "partition {partition} can be read with --start-offset {log_start} to \
                 {high_watermark}, or from its beginning with -B"
            ),
        ),
        ConsumeError::Malformed { partition, next: Some(next), .. } => CliError::new(
            what,
            format!("go on behind it with: -p {partition} --start-offset {next}"),
        ),
        ConsumeError::TopicRecreated { .. } => {
            CliError::new(what, "read the new one with: weir consume -B ".to_owned() + topic)
        }
        ConsumeError::TopicDeleted { .. } => CliError::new(what, "see: weir topic list"),
        _ => CliError::new(what, format!("see: weir topic describe {topic}")),
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::{Offset, PartitionIndex};

    use super::*;

    fn told(error: CliError) -> (String, String, Exit) {
        match error {
            CliError::Told { what, hint, exit } => (what, hint, exit),
            CliError::BrokenPipe => panic!("not told"),
        }
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        assert_eq!((Exit::Ok as u8, Exit::Failure as u8, Exit::Usage as u8), (0, 1, 2));
        assert_eq!(CliError::interrupted("a", "b").exit() as u8, 130);
        assert_eq!(CliError::new("a", "b").exit(), Exit::Failure);
        assert_eq!(CliError::usage("a", "b").exit(), Exit::Usage);
        assert_eq!(CliError::BrokenPipe.exit(), Exit::Ok);
    }

    #[test]
    fn a_problem_is_told_in_its_own_words() {
        let problem = Problem {
            detail: "cluster local exists (state: shutdown).".into(),
            code: "CLUSTER_EXISTS".into(),
            hint: Some("weir cluster resume".into()),
            ..Problem::default()
        };
        let (what, hint, exit) = told(AdminError::Problem(Box::new(problem)).into());
        assert_eq!(what, "cluster local exists (state: shutdown)");
        assert_eq!(hint, "weir cluster resume");
        assert_eq!(exit, Exit::Failure);
    }

    #[test]
    fn an_unknown_partition_says_what_exists() {
        let error = SendError::UnknownPartition {
            topic: "t".into(),
            partition: PartitionIndex(99),
            partitions: 3,
        };
        let (what, hint, _) = told(not_taken("line 1: ", "t", &error));
        assert_eq!(what, "topic t has no partition 99: it has partitions 0 to 2");
        assert!(hint.contains("add-partition t"));
        assert!(told(unknown_partition("t", 1, 1)).0.ends_with("only partition 0"));
    }

    #[test]
    fn an_offset_out_of_range_says_the_range() {
        let error = ConsumeError::OutOfRange {
            partition: PartitionIndex(0),
            requested: Offset(9),
            log_start: Offset(2),
            high_watermark: Offset(5),
        };
        assert!(told(not_read("t", &error)).1.contains("--start-offset 2 to 5"));
    }

    #[test]
    fn times_are_rounded_for_people() {
        let ms = std::time::Duration::from_millis;
        assert_eq!([2_999, 30_001, 70].map(|n| duration(ms(n))), ["3s", "30s", "70ms"]);
        assert_eq!(rounded("unreadable for 30.001773325s: x"), "unreadable for 30s: x");
        assert_eq!(rounded("x.s 1.5.s v1.2s"), "x.s 1.5.s v1.2s");
    }

    #[test]
    fn system_errors_are_told_without_numbers() {
        let error = std::io::Error::from_raw_os_error(2);
        let (what, _, _) = told(io("read", std::path::Path::new("/nope"), &error));
        assert_eq!(what, "cannot read /nope: no such file or directory");
    }
}
