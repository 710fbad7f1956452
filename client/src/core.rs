//! What the producers and consumers of a client share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use weir_protocol::ids::ClusterId;
use weir_runtime::{clock::Clock, task::CancellationToken};

use crate::{
    ClientConfig, ClientError, Credentials,
    admin::{Admin, AdminConfig},
    metadata::{Metadata, WatchConfig},
    pool::Pool,
    token::Tokens,
};

/// The shared parts. Tasks of the client end when the last handle to this drops: none of
/// them holds one.
pub(crate) struct Core {
    pub clock: Clock,
    pub config: ClientConfig,
    pub cluster: ClusterId,
    pub metadata: Metadata,
    pub pool: Arc<Pool>,
    pub admin: Option<Admin>,
    ids: AtomicU64,
    over: CancellationToken,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

impl Core {
    pub(crate) async fn start(
        config: ClientConfig,
        transport: Arc<dyn weir_runtime::http::HttpTransport>,
        clock: Clock,
    ) -> Result<Arc<Self>, ClientError> {
        let config = config.bounded();
        let began = clock.now();
        let over = CancellationToken::new();
        // Whatever ends this function early ends what it spawned.
        let guard = over.clone().drop_guard();
        let (cluster, tokens, admin) = credentials(&config, transport, clock, &over).await?;
        let pool =
            Pool::new(tokens.clone(), clock, config.channel, config.request_timeout, over.clone());
        let pool = Arc::new(pool);
        let watch = WatchConfig {
            cluster,
            bootstrap: config.bootstrap.clone(),
            first_update_timeout: config.request_timeout.min(config.connect_timeout),
            backoff: config.backoff,
        };
        let metadata = Metadata::start(watch, pool.clone(), tokens, clock, over.clone());
        let left = config.connect_timeout.saturating_sub(clock.now().since(began));
        first_map(&metadata, clock, left, config.connect_timeout).await?;
        let over = guard.disarm();
        let ids = AtomicU64::new(1);
        Ok(Arc::new(Self { clock, config, cluster, metadata, pool, admin, ids, over }))
    }

    /// A number that this client has not used yet.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

async fn credentials(
    config: &ClientConfig,
    transport: Arc<dyn weir_runtime::http::HttpTransport>,
    clock: Clock,
    over: &CancellationToken,
) -> Result<(ClusterId, Tokens, Option<Admin>), ClientError> {
    match &config.credentials {
        Credentials::Token(token) => {
            let cluster = config.cluster.parse().map_err(|_| {
                ClientError::Configuration(format!(
                    "with a token the cluster must be given by its id (cl_…), not {:?}",
                    config.cluster
                ))
            })?;
            if config.bootstrap.is_empty() {
                let message = "with a token at least one SPU (host:port) must be given";
                return Err(ClientError::Configuration(message.to_owned()));
            }
            Ok((cluster, Tokens::fixed(token.clone()), None))
        }
        Credentials::ControlPlane { url, api_key } => {
            let mut admin_config = AdminConfig::new(url.clone(), api_key.clone());
            let admin = Admin::new(admin_config.clone(), transport.clone(), clock);
            admin_config.attempt_timeout = config.request_timeout.min(config.connect_timeout);
            admin_config.deadline = config.connect_timeout;
            let for_tokens = Admin::new(admin_config, transport, clock);
            let grant = for_tokens.token(&config.cluster, None).await?;
            let cluster = grant.cluster_id;
            let tokens = Tokens::renewed(grant, for_tokens, clock, over.clone());
            Ok((cluster, tokens, Some(admin)))
        }
    }
}

/// Waits for the first map, or for the reason why none will come.
async fn first_map(
    metadata: &Metadata,
    clock: Clock,
    left: Duration,
    limit: Duration,
) -> Result<(), ClientError> {
    let mut map = metadata.map.clone();
    let mut trouble = metadata.trouble.clone();
    let wait = async {
        loop {
            if map.borrow_and_update().database.is_some() {
                return Ok(());
            }
            if let Some(trouble) = &*trouble.borrow_and_update()
                && trouble.hopeless
            {
                return Err(ClientError::Refused(trouble.error.clone()));
            }
            tokio::select! { biased;
                changed = map.changed() => if changed.is_err() { break },
                changed = trouble.changed() => if changed.is_err() { break },
            }
        }
        std::future::pending().await
    };
    if let Ok(result) = clock.timeout(left, wait).await {
        return result;
    }
    let reason = metadata.trouble.borrow().as_ref().map(|trouble| trouble.error.to_string());
    Err(ClientError::Unreachable {
        limit,
        reason: reason.unwrap_or_else(|| "no answer".to_owned()),
    })
}
