//! Which names clusters, topics and consumers may have, and how many partitions.

/// Longest topic name, in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Longest cluster name, in bytes.
pub const CLUSTER_NAME_BYTES_MAX: usize = 63;
/// Longest name of a consumer, in bytes.
pub const CONSUMER_NAME_BYTES_MAX: usize = 249;
/// Most partitions of a topic.
pub const PARTITIONS_MAX: u32 = 10_000;
/// What the names of Weir's own topics begin with.
pub const INTERNAL_PREFIX: &str = "__";
/// The internal topic that keeps what named consumers have committed.
pub const OFFSETS_TOPIC: &str = "__offsets";

/// Replicas of each of its partitions, where there are as many SPUs.
pub const OFFSETS_REPLICATION: u32 = 3;
/// The name of the internal topic that probes write to: one partition on each SPU, whose data
/// is worth nothing to anybody else.
pub const PROBE_TOPIC: &str = "__probe";

/// What is wrong with a name; for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character at all.
    #[error("the name is empty")]
    Empty,
    /// Too many.
    #[error("the name has {bytes} characters; at most {max} are allowed")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// A character that names may not have.
    #[error("the name has a {character:?}; allowed are {allowed}")]
    Character {
        /// The first such character.
        character: char,
        /// Which are allowed.
        allowed: &'static str,
    },
    /// Begins as options of commands do.
    #[error("the name begins with -, so that commands would take it for an option")]
    Dash,
    /// `.` or `..`.
    #[error("the names . and .. are not allowed")]
    Dots,
    /// Begins as Weir's own topics do.
    #[error("names that begin with __ are Weir's own")]
    Internal,
}

/// Checks a new cluster's name: 1 to 63 of `a-z0-9-`, the first no `-`.
///
/// # Errors
/// [`NameError`].
pub fn cluster_name(name: &str) -> Result<(), NameError> {
    check(name, CLUSTER_NAME_BYTES_MAX, "a-z, 0-9 and -", |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })?;
    no_option(name)
}

/// Checks a new topic's name: 1 to 249 of `A-Za-z0-9._-`, not `.`, `..`, `-…` or `__…`.
///
/// # Errors
/// [`NameError`].
pub fn topic_name(name: &str) -> Result<(), NameError> {
    check(name, TOPIC_NAME_BYTES_MAX, DATA_ALLOWED, data_may)?;
    no_option(name)?;
    no_dots(name)?;
    if name.starts_with(INTERNAL_PREFIX) {
        return Err(NameError::Internal);
    }
    Ok(())
}

/// Checks a consumer's name: 1 to 249 of `A-Za-z0-9._-`, not `.` or `..`.
///
/// # Errors
/// [`NameError`].
pub fn consumer_name(name: &str) -> Result<(), NameError> {
    check(name, CONSUMER_NAME_BYTES_MAX, DATA_ALLOWED, data_may)?;
    no_dots(name)
}

/// Which characters names of the data plane may have, in words.
const DATA_ALLOWED: &str = "A-Z, a-z, 0-9, ., _ and -";

const fn data_may(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

/// URLs take both for another path.
fn no_dots(name: &str) -> Result<(), NameError> {
    if matches!(name, "." | "..") { Err(NameError::Dots) } else { Ok(()) }
}

fn no_option(name: &str) -> Result<(), NameError> {
    if name.starts_with('-') { Err(NameError::Dash) } else { Ok(()) }
}

fn check(
    name: &str,
    max: usize,
    allowed: &'static str,
    may: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(character) = name.chars().find(|c| !may(*c)) {
        return Err(NameError::Character { character, allowed });
    }
    if name.len() > max {
        return Err(NameError::TooLong { bytes: name.len(), max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names() {
        for good in ["a", "orders.v1", "A_b-c", "_one", &"x".repeat(249), "tg_looks-like-an-id"] {
            assert_eq!(topic_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Empty),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            ("__probe", NameError::Internal),
            ("-", NameError::Dash),
            ("--all", NameError::Dash),
            (&"x".repeat(250), NameError::TooLong { bytes: 250, max: 249 }),
        ] {
            assert_eq!(topic_name(bad), Err(why), "{bad}");
        }
        for bad in ["a b", "a/b", "ä", "a:b", "a\n", "a\0"] {
            assert!(matches!(topic_name(bad), Err(NameError::Character { .. })), "{bad:?}");
        }
    }

    #[test]
    fn consumer_names() {
        for good in ["a", "billing.v1", "A_b-c", "...", "-x", "__x", &"x".repeat(249)] {
            assert_eq!(consumer_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a:reset", "a\0", &"x".repeat(250)] {
            assert!(consumer_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cluster_names() {
        for good in ["a", "demo-1", "0", &"x".repeat(63)] {
            assert_eq!(cluster_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-", "-demo", "Demo", "a_b", "a.b", "a:shutdown", "a/b", &"x".repeat(64)] {
            assert!(cluster_name(bad).is_err(), "{bad:?}");
        }
    }
}
