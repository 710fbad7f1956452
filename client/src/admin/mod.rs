//! Administration over the control plane's HTTP API.
//!
//! [`Admin`] sends one request per method, with a deadline on each attempt and on the
//! whole, and repeats it with back-off where that is safe: reads always, POSTs and PATCHes because
//! each carries an `Idempotency-Key`, and anything that is known not to have been carried out.

mod clusters;
mod consumer_types;
mod consumers;
mod error;
mod operations;
mod reassignments;
mod recovery;
mod replica;
mod request;
mod topic_config;
mod topics;
mod types;

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use weir_runtime::{clock::Clock, http::HttpTransport};

pub(crate) use self::request::Call;
pub use self::{
    consumer_types::{
        ConsumerDeleted, ConsumerDetail, ConsumerPartition, ConsumerReset, ConsumerResetRequest,
        ConsumerSummary, ConsumerTopic, PartitionReset, ResetTo,
    },
    error::{AdminError, Problem},
    operations::{
        Operation, OperationFailure, OperationProgress, OperationStep, OperationTarget,
        ScalePreview, SpuHolds, SpuHoldsTopic,
    },
    reassignments::{PartitionReassignment, Reassignment, ReassignmentMove, ReassignmentPlan},
    recovery::{Frozen, HeldPartition, Recovery, RecoveryCounters, SpuHeard},
    replica::{Cut, GivenUp, TopicReplica, Waiting},
    topic_config::{TopicConfig, TopicConfigChange, TopicUpdate},
    types::{
        Cluster, ClusterSpec, ClusterState, DesiredState, FlushMode, OperationKind, OperationState,
        Page, Refusal, Spu, SpuRegistered, SpuState, StepState, TokenGrant, Topic, TopicCreate,
        TopicPartition, TopicState, Version, WhoAmI,
    },
};
use crate::retry::BackoffConfig;

/// Entries that one list request asks for.
const PAGE_ITEMS: u32 = 100;
/// Pages that a listing follows: bounds what a server with a circular cursor can do to us.
const PAGES_MAX: usize = 100_000;

/// Where the control plane is and how patient to be with it.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// `http://host:port`, or `https://…` in production; without a path.
    pub url: String,
    /// `weir_…`.
    pub api_key: SecretString,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// How long a method may take, all attempts and waits together.
    pub deadline: Duration,
    /// Waits between attempts.
    pub backoff: BackoffConfig,
    /// Is told why an attempt failed, before the next one. Default none.
    pub notice: Option<Notice>,
}

/// Is told why an attempt failed.
#[derive(Clone)]
pub struct Notice(pub Arc<dyn Fn(&AdminError) + Send + Sync>);

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notice")
    }
}

impl AdminConfig {
    /// The usual patience: 10 s per attempt, 30 s in all.
    #[must_use]
    pub fn new(url: impl Into<String>, api_key: SecretString) -> Self {
        Self {
            url: url.into(),
            api_key,
            attempt_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            backoff: BackoffConfig {
                first: Duration::from_millis(100),
                max: Duration::from_secs(3),
            },
            notice: None,
        }
    }
}

/// A handle to the control plane's HTTP API. Clones share the transport.
///
/// `{cluster}` and `{topic}` arguments take a name or an id; consumers have names only.
#[derive(Clone)]
pub struct Admin {
    config: Arc<AdminConfig>,
    transport: Arc<dyn HttpTransport>,
    clock: Clock,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("url", &self.config.url).finish_non_exhaustive()
    }
}

impl Admin {
    /// A handle. Nothing is sent yet.
    #[must_use]
    pub fn new(config: AdminConfig, transport: Arc<dyn HttpTransport>, clock: Clock) -> Self {
        Self { config: Arc::new(config), transport, clock }
    }

    /// Whether the control plane's process answers at all.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn live(&self) -> Result<(), AdminError> {
        self.execute(Call::get(["live"])).await.map(drop)
    }

    /// Whether the control plane can serve (its database included).
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn ready(&self) -> Result<(), AdminError> {
        self.execute(Call::get(["ready"])).await.map(drop)
    }

    /// The API's own description.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn openapi(&self) -> Result<serde_json::Value, AdminError> {
        self.execute_json(Call::get(["v1", "openapi.json"])).await
    }

    /// Who the API key belongs to.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn whoami(&self) -> Result<WhoAmI, AdminError> {
        self.execute_json(Call::get(["v1", "whoami"])).await
    }

    /// Follows a list's cursor, page after page, as entries are asked for. Ends after the
    /// first error.
    fn list<T: DeserializeOwned + Send + 'static>(
        &self,
        call: Call,
    ) -> impl Stream<Item = Result<T, AdminError>> + Send + use<T> {
        struct At {
            admin: Admin,
            call: Call,
            cursor: Option<String>,
            pages: usize,
            over: bool,
        }
        let at = At { admin: self.clone(), call, cursor: None, pages: 0, over: false };
        futures::stream::unfold(at, |mut at| async move {
            if at.over {
                return None;
            }
            let mut call = at.call.clone().query("limit", PAGE_ITEMS.to_string());
            if let Some(cursor) = &at.cursor {
                call = call.query("cursor", cursor.clone());
            }
            at.pages += 1;
            let items: Vec<Result<T, AdminError>> =
                match at.admin.execute_json::<Page<T>>(call).await {
                    Ok(page) => {
                        at.over = page.next_cursor.is_none() || at.pages >= PAGES_MAX;
                        at.cursor = page.next_cursor;
                        page.items.into_iter().map(Ok).collect()
                    }
                    Err(error) => {
                        at.over = true;
                        vec![Err(error)]
                    }
                };
            Some((futures::stream::iter(items), at))
        })
        .flatten()
    }
}
