//! Why an administrative request did not succeed.

use std::fmt;

use serde::Deserialize;
use weir_runtime::http::HttpError;

/// The body of an `application/problem+json` answer (RFC 9457), with Weir's own fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short sentence, the same for every problem of this kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// The stable code, `UPPER_SNAKE_CASE`.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What to do next, for people.
    pub hint: Option<String>,
    /// Names the request in the server's log.
    pub request_id: Option<String>,
    /// Which SPUs hold what: there where a scale was refused.
    pub blocking: Vec<super::SpuHolds>,
}

/// Why an administrative request did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The control plane answered with a problem.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No answer came. Whether the request was carried out: [`AdminError::outcome_unknown`].
    #[error("{0}")]
    Transport(#[from] HttpError),
    /// An answer came that this client does not understand.
    #[error("HTTP {status} with a body that is not what the control plane sends: {reason}")]
    UnexpectedAnswer {
        /// The HTTP status.
        status: u16,
        /// What did not fit.
        reason: String,
    },
    /// The request could not be built; nothing was sent.
    #[error("{0}")]
    InvalidRequest(String),
}

impl AdminError {
    /// The stable code: the problem's, or the client's own for what came without one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Problem(problem) => &problem.code,
            Self::Transport(HttpError::Unreachable { .. }) => "UNREACHABLE",
            Self::Transport(HttpError::TimedOut { .. }) => "TIMED_OUT",
            Self::Transport(HttpError::Invalid(_)) | Self::InvalidRequest(_) => "INVALID_REQUEST",
            Self::Transport(_) => "DISCONNECTED",
            Self::UnexpectedAnswer { .. } => "INTERNAL",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.retryable,
            Self::Transport(error) => !matches!(error, HttpError::Invalid(_)),
            Self::UnexpectedAnswer { status, .. } => matches!(status, 429 | 502..=504),
            Self::InvalidRequest(_) => false,
        }
    }

    /// Whether the request may have been carried out although no answer says so.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            // The server itself does not know: its commit had no answer, or its time was over.
            Self::Problem(problem) => {
                matches!(problem.code.as_str(), "OUTCOME_UNKNOWN" | "TIMED_OUT")
            }
            Self::InvalidRequest(_) => false,
            Self::Transport(error) => {
                !matches!(error, HttpError::Unreachable { .. } | HttpError::Invalid(_))
            }
            Self::UnexpectedAnswer { .. } => true,
        }
    }

    /// What to do next, for people.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.hint.as_deref(),
            Self::Transport(HttpError::Unreachable { .. }) => {
                Some("is the control plane running, and is its address right?")
            }
            _ if self.outcome_unknown() => {
                Some("the request may have been carried out: look before you repeat it")
            }
            _ => None,
        }
    }

    /// Names the request in the server's log.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => problem.request_id.as_deref(),
            _ => None,
        }
    }

    /// The HTTP status, where an answer came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::UnexpectedAnswer { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        write!(f, "{}: {text}", self.code)
    }
}
