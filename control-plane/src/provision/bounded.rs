//! A provisioner whose every answer is waited for so long and no longer: one that hangs holds up
//! nobody for ever.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use weir_protocol::ids::{ClusterId, SpuId};
use weir_runtime::clock::Clock;

use super::{LaunchHandle, LaunchRecord, LaunchSpec, Observed, ProvisionError, Provisioner};

/// How long a start, or a look, may take.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// How long after the grace a process may take that is killed, and everything around it.
const KILL_MAX: Duration = Duration::from_secs(20);
/// How long it may take to remove a folder before it is asked for again.
const DESTROY_MAX: Duration = Duration::from_secs(120);

/// Bounds another one.
#[derive(Debug)]
pub struct Bounded {
    inner: Arc<dyn Provisioner>,
    clock: Clock,
}

impl Bounded {
    /// Around `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Provisioner>, clock: Clock) -> Self {
        Self { inner, clock }
    }

    async fn within<T>(
        &self,
        what: &'static str,
        limit: Duration,
        asked: impl Future<Output = Result<T, ProvisionError>> + Send,
    ) -> Result<T, ProvisionError> {
        match self.clock.timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(ProvisionError::Silent { what, limit }),
        }
    }
}

#[async_trait]
impl Provisioner for Bounded {
    async fn start(&self, spec: &LaunchSpec) -> Result<LaunchHandle, ProvisionError> {
        self.within("a start", ANSWER_MAX, self.inner.start(spec)).await
    }

    async fn observe(&self, launch: &LaunchRecord) -> Result<Observed, ProvisionError> {
        self.within("a look", ANSWER_MAX, self.inner.observe(launch)).await
    }

    async fn stop(&self, launch: &LaunchRecord, grace: Duration) -> Result<(), ProvisionError> {
        self.within("a stop", grace.saturating_add(KILL_MAX), self.inner.stop(launch, grace)).await
    }

    async fn destroy_spu(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
        spu_id: SpuId,
    ) -> Result<(), ProvisionError> {
        let asked = self.inner.destroy_spu(base_dir, cluster_id, spu_id);
        self.within("the removal of an SPU's data", DESTROY_MAX, asked).await
    }

    async fn destroy_cluster(
        &self,
        base_dir: &str,
        cluster_id: ClusterId,
    ) -> Result<(), ProvisionError> {
        let asked = self.inner.destroy_cluster(base_dir, cluster_id);
        self.within("the removal of a cluster's data", DESTROY_MAX, asked).await
    }

    async fn port_free(&self, address: &str) -> bool {
        // A port of which nothing can be told is none to listen on.
        self.clock.timeout(ANSWER_MAX, self.inner.port_free(address)).await.unwrap_or(false)
    }
}
