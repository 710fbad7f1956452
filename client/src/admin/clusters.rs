//! Clusters and their SPUs.

use futures::{Stream, TryStreamExt};
use weir_protocol::{
    ids::{ClusterId, SpuId},
    token::Scope,
};

use super::{
    Admin, AdminError, Call, Cluster, ClusterSpec, Refusal, Spu, SpuRegistered, TokenGrant,
    Version, request::is_id, types::TokenRequest,
};

impl Admin {
    /// Creates a cluster. Fails with `CLUSTER_EXISTS` if the name exists in any state; the
    /// problem's hint names the command that leads on. Returns before the cluster runs.
    ///
    /// After [`AdminError::outcome_unknown`] it is not repeated: look with
    /// [`Admin::cluster`] whether it was created.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_create(
        &self,
        name: &str,
        spec: &ClusterSpec,
    ) -> Result<Cluster, AdminError> {
        self.execute_json(Call::create(["v1", "clusters", name]).json(spec)?).await
    }

    /// One cluster.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster(&self, cluster: &str) -> Result<Cluster, AdminError> {
        self.execute_json(Call::get(["v1", "clusters", cluster])).await
    }

    /// The org's clusters, page by page as they are asked for.
    pub fn clusters(&self) -> impl Stream<Item = Result<Cluster, AdminError>> + Send + use<> {
        self.list(Call::get(["v1", "clusters"]))
    }

    /// All of the org's clusters.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_list(&self) -> Result<Vec<Cluster>, AdminError> {
        self.clusters().try_collect().await
    }

    /// Orders the removal of everything of a cluster.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_delete(&self, cluster: &str) -> Result<(), AdminError> {
        let by_id = is_id(cluster, ClusterId::PREFIX);
        self.execute(Call::delete(["v1", "clusters", cluster], by_id)).await.map(drop)
    }

    /// Orders that a cluster's SPUs stop; data and spec are kept.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_shutdown(&self, cluster: &str) -> Result<Cluster, AdminError> {
        self.execute_json(Call::post(["v1", "clusters", cluster])?.verb("shutdown")).await
    }

    /// Orders that a cluster's SPUs run again, as its spec says.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn cluster_resume(&self, cluster: &str) -> Result<Cluster, AdminError> {
        self.execute_json(Call::post(["v1", "clusters", cluster])?.verb("resume")).await
    }

    /// A cluster's SPUs, page by page as they are asked for.
    pub fn spus(
        &self,
        cluster: &str,
    ) -> impl Stream<Item = Result<Spu, AdminError>> + Send + use<> {
        self.list(Call::get(["v1", "clusters", cluster, "spus"]))
    }

    /// All of a cluster's SPUs.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn spu_list(&self, cluster: &str) -> Result<Vec<Spu>, AdminError> {
        self.spus(cluster).try_collect().await
    }

    /// Who asked to be one of a cluster's SPUs and was refused, the newest first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn spu_refusals(&self, cluster: &str) -> Result<Vec<Refusal>, AdminError> {
        self.list(Call::get(["v1", "clusters", cluster, "refusals"])).try_collect().await
    }

    /// Adds an SPU that is run elsewhere. Not repeated: every call adds one.
    ///
    /// # Errors
    /// [`AdminError`]. After [`AdminError::outcome_unknown`] look whether there is one more.
    pub async fn spu_register(&self, cluster: &str) -> Result<SpuRegistered, AdminError> {
        self.execute_json(Call::post_once(["v1", "clusters", cluster, "spus"])).await
    }

    /// Orders that an SPU that is run elsewhere leaves, once others hold what it holds.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn spu_unregister(&self, cluster: &str, spu: SpuId) -> Result<Cluster, AdminError> {
        let spu = spu.to_string();
        // An id is never used again: the same call again means the same.
        self.execute_json(Call::delete(["v1", "clusters", cluster, "spus", &spu], true)).await
    }

    /// What the control plane runs.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn version(&self) -> Result<Version, AdminError> {
        self.execute_json(Call::get(["v1", "version"])).await
    }

    /// A data-plane token; `scopes` `None` asks for all that the key may have.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn token(
        &self,
        cluster: &str,
        scopes: Option<Vec<Scope>>,
    ) -> Result<TokenGrant, AdminError> {
        let call = Call::post(["v1", "clusters", cluster])?.verb("token");
        self.execute_json(call.json(&TokenRequest { scopes })?).await
    }
}
