//! Topics of a cluster.

use futures::{Stream, TryStreamExt};
use weir_protocol::ids::TopicGenerationId;

use super::{
    Admin, AdminError, Call, Topic, TopicCreate, request::is_id, topic_config::TopicUpdate,
    types::AddPartitions,
};

impl Admin {
    /// Creates a topic: a new generation of its name. `TOPIC_EXISTS` while the name is taken.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_create(
        &self,
        cluster: &str,
        topic: &TopicCreate,
    ) -> Result<Topic, AdminError> {
        let call = Call::post(["v1", "clusters", cluster, "topics"])?;
        self.execute_json(call.json(topic)?).await
    }

    /// One topic.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic(&self, cluster: &str, topic: &str) -> Result<Topic, AdminError> {
        self.execute_json(Call::get(["v1", "clusters", cluster, "topics", topic])).await
    }

    /// A cluster's topics, page by page as they are asked for.
    pub fn topics(
        &self,
        cluster: &str,
    ) -> impl Stream<Item = Result<Topic, AdminError>> + Send + use<> {
        self.list(Call::get(["v1", "clusters", cluster, "topics"]))
    }

    /// All of a cluster's topics.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_list(&self, cluster: &str) -> Result<Vec<Topic>, AdminError> {
        self.topics(cluster).try_collect().await
    }

    /// All of a cluster's topics, Weir's own included.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_list_internal(&self, cluster: &str) -> Result<Vec<Topic>, AdminError> {
        let call = Call::get(["v1", "clusters", cluster, "topics"]);
        self.list(call.query("internal", "true".to_owned())).try_collect().await
    }

    /// Changes how a topic's records are kept and how many copies commit, while it is in use too.
    /// What is not said stays as it is.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_update(
        &self,
        cluster: &str,
        topic: &str,
        change: &TopicUpdate,
    ) -> Result<Topic, AdminError> {
        let call = Call::patch(["v1", "clusters", cluster, "topics", topic])?;
        self.execute_json(call.json(change)?).await
    }

    /// Deletes a topic. Its name is free at once; the answer is the tombstone, which
    /// [`Admin::topic_undelete`] brings back and [`Admin::topic_purge`] removes for good.
    ///
    /// After [`AdminError::outcome_unknown`] it is repeated only where `topic` is a
    /// generation id: the name may belong to a newer generation by then.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_delete(&self, cluster: &str, topic: &str) -> Result<Topic, AdminError> {
        let by_id = is_id(topic, TopicGenerationId::PREFIX);
        let call = Call::delete(["v1", "clusters", cluster, "topics", topic], by_id);
        self.execute_json(call).await
    }

    /// Deletes a topic and removes its data for good, at once. The answer shows it as it is
    /// then; what [`Admin::topic_delete`] says of repetitions holds here too.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_delete_and_purge(
        &self,
        cluster: &str,
        topic: &str,
    ) -> Result<Topic, AdminError> {
        let by_id = is_id(topic, TopicGenerationId::PREFIX);
        let call = Call::delete(["v1", "clusters", cluster, "topics", topic], by_id);
        self.execute_json(call.query("purge", "true".to_owned())).await
    }

    /// Deleted topics that are not purged yet, by name and generation number.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_list_deleted(&self, cluster: &str) -> Result<Vec<Topic>, AdminError> {
        let call = Call::get(["v1", "clusters", cluster, "topics"]);
        self.list(call.query("deleted", "true".to_owned())).try_collect().await
    }

    /// Brings a deleted topic back, with its records and offsets: the generation of an id, or
    /// the newest tombstone of a name. `TOPIC_EXISTS` while the name is taken.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_undelete(&self, cluster: &str, topic: &str) -> Result<Topic, AdminError> {
        let call = Call::post(["v1", "clusters", cluster, "topics", topic])?.verb("undelete");
        self.execute_json(call).await
    }

    /// Removes the data of a deleted topic for good: the generation of an id, or the newest
    /// tombstone of a name. It is listed as deleted until all of it is removed.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_purge(&self, cluster: &str, topic: &str) -> Result<Topic, AdminError> {
        let call = Call::post(["v1", "clusters", cluster, "topics", topic])?.verb("purge");
        self.execute_json(call).await
    }

    /// Adds `add` partitions to a topic.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn topic_add_partitions(
        &self,
        cluster: &str,
        topic: &str,
        add: u32,
    ) -> Result<Topic, AdminError> {
        let call = Call::post(["v1", "clusters", cluster, "topics", topic])?.verb("add-partitions");
        self.execute_json(call.json(&AddPartitions { add })?).await
    }
}
