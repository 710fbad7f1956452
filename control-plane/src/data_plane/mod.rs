//! Calls to SPUs, as any client makes them: with a token, a deadline, and typed errors.
//! What is said to which SPU, and what is done about an error, use cases decide.
//!
//! | Module | Calls |
//! |---|---|
//! | [`list_offsets`] | where readers of partitions would begin |
//! | [`offsets`] | what coordinators of consumers are asked and ordered |

pub mod list_offsets;
pub mod offsets;

use std::{future::Future, time::Duration};

use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
};
use weir_protocol::{WireError, pb::data};
use weir_runtime::{
    clock::{Clock, Elapsed},
    rpc::{Channel, ChannelConfig},
};

/// An SPU to call.
#[derive(Clone, Copy, Debug)]
pub struct Spu<'a> {
    /// `host:port` of its data plane.
    pub endpoint: &'a str,
    /// Permits the call.
    pub token: &'a SecretString,
    /// How long one call may take.
    pub limit: Duration,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The SPU refused.
    #[error("{0}")]
    Refused(#[from] WireError),
    /// The SPU could not be reached, or broke off.
    #[error("{}", .0.message())]
    Lost(Status),
    /// It took too long.
    #[error("no answer came in time")]
    TimedOut(#[from] Elapsed),
    /// The SPU answered something else than asked.
    #[error("the SPU answered {0}")]
    Unexpected(&'static str),
    /// The token cannot travel in a header.
    #[error("the token has characters that no header can carry")]
    Token,
}

impl From<Status> for CallError {
    /// An SPU puts its own error, encoded, into the status's details; a status without is one
    /// of the transport.
    fn from(status: Status) -> Self {
        match data::Error::decode(status.details()) {
            Ok(error) if error.code != 0 => Self::Refused(error.into()),
            _ => Self::Lost(status),
        }
    }
}

/// The token as the header that carries it; `None` when no header can.
#[must_use]
pub fn bearer(token: &SecretString) -> Option<MetadataValue<Ascii>> {
    let mut value = MetadataValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Spu<'_> {
    fn channel(&self) -> Channel {
        let (connect_timeout, call_timeout) = (self.limit, self.limit);
        let config = ChannelConfig { connect_timeout, call_timeout, ..ChannelConfig::default() };
        Channel::new(self.endpoint, config)
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, CallError> {
        let mut request = Request::new(message);
        let value = bearer(self.token).ok_or(CallError::Token)?;
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }

    async fn answer<T>(
        &self,
        clock: Clock,
        call: impl Future<Output = Result<Response<T>, Status>> + Send,
    ) -> Result<T, CallError> {
        Ok(clock.timeout(self.limit, call).await??.into_inner())
    }
}
