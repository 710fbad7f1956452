//! How a [`crate::Client`] finds and treats its cluster.

use std::time::Duration;

use secrecy::SecretString;
use weir_protocol::ids::ClusterId;
use weir_runtime::rpc::ChannelConfig;

use crate::retry::BackoffConfig;

/// How the client proves to SPUs what it may do.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A data-plane token, used as it is until it expires. No control plane is needed.
    Token(SecretString),
    /// Tokens and SPU endpoints come from the control plane, and tokens are renewed before
    /// they expire. While the control plane is away the last token stays in use.
    ControlPlane {
        /// `http://host:port` of the control plane.
        url: String,
        /// `weir_…`.
        api_key: SecretString,
    },
}

/// As good as for ever, and still far from where adding up durations overflows.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a [`crate::Client`] finds and treats its cluster.
///
/// Waits are at most a year: what is longer counts as a year.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// SPUs to begin with, `host:port`. May be empty with [`Credentials::ControlPlane`].
    pub bootstrap: Vec<String>,
    /// The cluster: its id (`cl_…`), or, with [`Credentials::ControlPlane`], its name.
    pub cluster: String,
    /// How the client proves what it may do.
    pub credentials: Credentials,
    /// How long [`crate::Client::connect`] may take: token and first metadata together.
    pub connect_timeout: Duration,
    /// How long to wait for a topic to appear before it counts as unknown.
    pub topic_timeout: Duration,
    /// How long an SPU may take to answer one call, or to begin a stream.
    pub request_timeout: Duration,
    /// Waits between attempts to reach an SPU.
    pub backoff: BackoffConfig,
    /// Dialling and keep-alive of the connections to SPUs.
    pub channel: ChannelConfig,
}

/// A machine that vanishes says nothing, and whoever waits for it is the last to learn who leads
/// instead. It is noticed within 2.5 seconds, and dialled again for 1.5 at most.
const CHANNEL: ChannelConfig = ChannelConfig {
    connect_timeout: Duration::from_millis(1_500),
    keep_alive_interval: Duration::from_secs(1),
    keep_alive_timeout: Duration::from_millis(1_500),
    call_timeout: Duration::from_secs(10),
};

impl ClientConfig {
    /// With a token in hand and at least one SPU known.
    #[must_use]
    pub fn with_token(
        bootstrap: impl IntoIterator<Item = impl Into<String>>,
        cluster: ClusterId,
        token: SecretString,
    ) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            ..Self::base(cluster.to_string(), Credentials::Token(token))
        }
    }

    /// With a control plane to get tokens and endpoints from. `cluster` is a name or an id.
    #[must_use]
    pub fn with_control_plane(
        url: impl Into<String>,
        api_key: SecretString,
        cluster: impl Into<String>,
    ) -> Self {
        Self::base(cluster.into(), Credentials::ControlPlane { url: url.into(), api_key })
    }

    /// The same with every wait in its bounds.
    pub(crate) fn bounded(mut self) -> Self {
        self.connect_timeout = self.connect_timeout.min(DURATION_MAX);
        self.topic_timeout = self.topic_timeout.min(DURATION_MAX);
        self.request_timeout = self.request_timeout.min(DURATION_MAX);
        self.backoff.first = self.backoff.first.min(DURATION_MAX);
        self.backoff.max = self.backoff.max.min(DURATION_MAX);
        self
    }

    fn base(cluster: String, credentials: Credentials) -> Self {
        Self {
            bootstrap: Vec::new(),
            cluster,
            credentials,
            connect_timeout: Duration::from_secs(10),
            topic_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            backoff: BackoffConfig::default(),
            channel: CHANNEL,
        }
    }
}
