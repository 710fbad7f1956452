//! Which replicas lie in the data folder, open or not: what the control plane is told of when
//! this SPU registers, so that one whose database went back can say what it does not know.

use uuid::Uuid;
use weir_protocol::ids::{PartitionIndex, PartitionKey, TopicGenerationId};

use super::Registry;
use crate::data_folder::TOPICS_FOLDER;

impl Registry {
    /// The replicas in the folder, in order. One whose folder cannot be listed is left out: this
    /// serves people, and nothing is removed for its sake.
    pub async fn held(&self) -> Vec<PartitionKey> {
        let disk = self.inner.disk.as_ref();
        let mut held = Vec::new();
        for found in disk.list(TOPICS_FOLDER).await.unwrap_or_default() {
            let Ok(generation) = Uuid::try_parse(&found.name).map(TopicGenerationId) else {
                continue;
            };
            let replicas = disk.list(&format!("{TOPICS_FOLDER}/{}", found.name)).await;
            let folders = replicas.unwrap_or_default().into_iter().filter(|entry| entry.is_dir);
            let indexes = folders.filter_map(|entry| entry.name.parse().ok().map(PartitionIndex));
            held.extend(indexes.map(|partition| PartitionKey { generation, partition }));
        }
        held.sort_unstable();
        held
    }
}
