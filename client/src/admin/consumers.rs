//! Named consumers of a cluster.

use futures::{Stream, TryStreamExt};

use super::{
    Admin, AdminError, Call, ConsumerDeleted, ConsumerDetail, ConsumerReset, ConsumerResetRequest,
    ConsumerSummary,
};

impl Admin {
    /// What a consumer has committed, partition by partition, as its coordinator says now; if
    /// that cannot be asked, as it reported last. `CONSUMER_NOT_FOUND` where nothing is known.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn consumer(
        &self,
        cluster: &str,
        consumer: &str,
    ) -> Result<ConsumerDetail, AdminError> {
        self.execute_json(Call::get(["v1", "clusters", cluster, "consumers", consumer])).await
    }

    /// A cluster's named consumers, as last reported, page by page as they are asked for.
    pub fn consumers(
        &self,
        cluster: &str,
    ) -> impl Stream<Item = Result<ConsumerSummary, AdminError>> + Send + use<> {
        self.list(Call::get(["v1", "clusters", cluster, "consumers"]))
    }

    /// All of a cluster's named consumers.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn consumer_list(&self, cluster: &str) -> Result<Vec<ConsumerSummary>, AdminError> {
        self.consumers(cluster).try_collect().await
    }

    /// Forgets a consumer: all that it has committed. One that still runs under the name is
    /// fenced.
    ///
    /// After [`AdminError::outcome_unknown`] it is not repeated: by then something new may
    /// have begun under the name.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn consumer_delete(
        &self,
        cluster: &str,
        consumer: &str,
    ) -> Result<ConsumerDeleted, AdminError> {
        let call = Call::delete(["v1", "clusters", cluster, "consumers", consumer], false);
        self.execute_json(call).await
    }

    /// Sets where a consumer goes on. One that runs is fenced, so that what it commits late
    /// cannot undo this; one that has committed nothing yet is made.
    ///
    /// # Errors
    /// [`AdminError`]; `OFFSET_OUT_OF_RANGE` names what can be read.
    pub async fn consumer_reset(
        &self,
        cluster: &str,
        consumer: &str,
        wanted: &ConsumerResetRequest,
    ) -> Result<ConsumerReset, AdminError> {
        let call = Call::post(["v1", "clusters", cluster, "consumers", consumer])?.verb("reset");
        self.execute_json(call.json(wanted)?).await
    }
}
