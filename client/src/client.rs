//! [`Client`]: the handle from which producers and consumers come.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;
use weir_protocol::ids::{ClusterId, PartitionIndex};
use weir_runtime::{clock::Clock, http::HttpTransport};

use crate::{
    Admin, ClientConfig, ClientError, Consumer, ConsumerConfig, Partitions, Producer,
    ProducerConfig,
    core::Core,
    metadata::{ClusterMap, Generation, nearest},
};

/// A handle to one cluster. Clones share connections, token and metadata; its tasks end when
/// the last clone, producer and consumer is gone.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("cluster", &self.core.cluster).finish_non_exhaustive()
    }
}

impl Client {
    /// Gets a token where it has to, and waits for the cluster's metadata from any SPU.
    ///
    /// `transport` is used with [`crate::Credentials::ControlPlane`] only.
    ///
    /// # Errors
    /// [`ClientError`], within the configuration's `connect_timeout`.
    pub async fn connect(
        config: ClientConfig,
        transport: Arc<dyn HttpTransport>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        Ok(Self { core: Core::start(config, transport, clock).await? })
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.core.cluster
    }

    /// Administration, where the client has credentials for the control plane.
    #[must_use]
    pub fn admin(&self) -> Option<&Admin> {
        self.core.admin.as_ref()
    }

    /// The cluster as it is known now, and every later change.
    #[must_use]
    pub fn map(&self) -> watch::Receiver<Arc<ClusterMap>> {
        self.core.metadata.map.clone()
    }

    /// The generation that carries `name`, waiting for it to appear.
    ///
    /// # Errors
    /// [`ClientError::UnknownTopic`] after the configuration's `topic_timeout`, with a name
    /// that is near.
    pub async fn topic(&self, name: &str) -> Result<Arc<Generation>, ClientError> {
        let mut map = self.map();
        let waited = self.core.config.topic_timeout;
        let appeared = async {
            loop {
                if let Some(generation) = map.borrow_and_update().active(name) {
                    return generation.clone();
                }
                if map.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let found = self.core.clock.timeout(waited, appeared).await;
        found.map_err(|_| {
            let map = self.core.metadata.current();
            let names = map.topics().filter(|topic| !topic.internal).map(|topic| &*topic.name);
            let suggestion = nearest(name, names).map(str::to_owned);
            ClientError::UnknownTopic { topic: name.to_owned(), suggestion, waited }
        })
    }

    /// A producer for `topic`, waiting for the topic to appear.
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub async fn producer(
        &self,
        topic: &str,
        config: ProducerConfig,
    ) -> Result<Producer, ClientError> {
        let generation = self.topic(topic).await?;
        Ok(Producer::start(self.core.clone(), &generation, config))
    }

    /// A consumer, waiting for its topic to appear.
    ///
    /// # Errors
    /// As [`Client::topic`], and [`ClientError::UnknownPartition`] where the configuration
    /// lists one that the topic does not have, [`ClientError::Configuration`] for a name that
    /// none can have.
    pub async fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        config.check()?;
        let generation = self.topic(&config.topic).await?;
        let partitions = generation.partition_count();
        if let Partitions::List(list) = &config.partitions {
            let listed: BTreeSet<PartitionIndex> = list.iter().copied().collect();
            if listed.is_empty() {
                let message = "a list of partitions must name at least one";
                return Err(ClientError::Configuration(message.to_owned()));
            }
            if let Some(partition) = listed.into_iter().find(|index| index.0 >= partitions) {
                let topic = config.topic;
                return Err(ClientError::UnknownPartition { topic, partition, partitions });
            }
        }
        Consumer::start(self.core.clone(), &generation, config)
    }
}
