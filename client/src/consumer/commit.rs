//! What an application says to its named consumer about commits.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use tokio::sync::{mpsc, oneshot};
use weir_protocol::ids::{Offset, PartitionIndex, PartitionKey, TopicGenerationId};

use super::{
    Begun, CommitError, ConsumeError, Consumer, Place, Processed,
    progress::Mark,
    session::{Command, Named},
};

/// The application's side of a session.
pub(super) struct Committer {
    named: Arc<Named>,
    commands: mpsc::UnboundedSender<Command>,
    processed: Processed,
}

impl Committer {
    pub(super) fn new(
        named: Arc<Named>,
        commands: mpsc::UnboundedSender<Command>,
        processed: Processed,
    ) -> Self {
        Self { named, commands, processed }
    }

    pub(super) fn fenced(&self) -> Option<ConsumeError> {
        let message = self.named.fenced()?.to_owned();
        Some(ConsumeError::Fenced { consumer: self.named.name.clone(), message })
    }

    pub(super) fn asked_next(&self) {
        let mut progress = self.named.progress();
        match self.processed {
            Processed::OnNext => progress.finished(),
            Processed::WhenTold => progress.handed_on(),
        }
    }

    pub(super) fn yields(&self, place: Place) {
        let (key, mark) = behind(place);
        self.named.progress().yields(key, mark);
    }

    pub(super) fn begun(&self, generation: TopicGenerationId, begun: &Begun) {
        let key = PartitionKey { generation, partition: begun.partition };
        self.named.progress().begun(key, begun.offset, begun.resolution);
    }

    pub(super) fn skipped(&self, key: PartitionKey, to: Offset) {
        self.named.progress().skipped(key, to);
    }

    pub(super) fn only(&self, generation: TopicGenerationId) {
        self.named.progress().only(generation);
    }

    /// Has done what the progress says is due.
    fn commit(&self) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let (caller, answer) = oneshot::channel();
        let told = self.commands.send(Command::Commit(caller)).is_ok();
        let named = self.named.clone();
        async move {
            if told && let Ok(answer) = answer.await {
                return answer;
            }
            let fenced = named.fenced().map(|message| CommitError::Fenced {
                consumer: named.name.clone(),
                message: message.to_owned(),
            });
            Err(fenced.unwrap_or(CommitError::Over))
        }
    }
}

/// What is processed when the record at a place is.
fn behind(place: Place) -> (PartitionKey, Mark) {
    let Place { generation, partition, offset, leader_epoch } = place;
    let mark = Mark { next: offset.next(), leader_epoch: Some(leader_epoch) };
    (PartitionKey { generation, partition }, mark)
}

impl Consumer {
    /// Where the partitions of this generation began, of those that have.
    #[must_use]
    pub fn starts(&self) -> &BTreeMap<PartitionIndex, Begun> {
        &self.starts
    }

    /// Says that the record that was yielded last is processed. Asking for the next one says
    /// the same, unless [`Processed::WhenTold`] is configured.
    pub fn processed(&mut self) {
        if let Some(committer) = &self.committer {
            committer.named.progress().finished();
        }
    }

    /// Says that the record at this place, and all before it in its partition, are processed.
    /// Of a generation that is not read any more, it says nothing. What was read before
    /// [`Consumer::skip_to`] must not be said after it.
    pub fn processed_through(&mut self, place: Place) {
        if let Some(committer) = &self.committer {
            let (key, mark) = behind(place);
            committer.named.progress().through(key, mark);
        }
    }

    /// Commits what is processed at this moment. It is under way when this returns, not when
    /// the future is awaited; that returns when the coordinator has committed, durably. If both
    /// the future and the consumer are dropped before, it may not happen.
    ///
    /// The record that was yielded last is not processed unless [`Consumer::processed`] says
    /// so. Dropping a consumer commits nothing.
    ///
    /// # Errors
    /// [`CommitError`], within the configuration's `unavailable_after`.
    pub fn commit(&mut self) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let committing = self.committer.as_ref().map(|committer| {
            committer.named.progress().ask();
            committer.commit()
        });
        async move {
            match committing {
                Some(committing) => committing.await,
                None => Err(CommitError::NotNamed),
            }
        }
    }

    /// Commits these offsets, each the next one to read, of the generation that is read: all
    /// or none, also where that goes back. As [`Consumer::commit`] otherwise.
    ///
    /// # Errors
    /// [`CommitError::NotClaimed`] before anything is sent; [`CommitError`].
    pub fn commit_offsets(
        &mut self,
        offsets: &BTreeMap<PartitionIndex, Offset>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let committing = self.name_offsets(offsets);
        async move { committing?.await }
    }

    fn name_offsets(
        &self,
        offsets: &BTreeMap<PartitionIndex, Offset>,
    ) -> Result<impl Future<Output = Result<(), CommitError>> + Send + use<>, CommitError> {
        let committer = self.committer.as_ref().ok_or(CommitError::NotNamed)?;
        let generation = self.generation;
        let mut named = Vec::with_capacity(offsets.len());
        for (&partition, &offset) in offsets {
            if offset > Offset::MAX {
                return Err(CommitError::OffsetTooLarge { partition, offset });
            }
            named.push((PartitionKey { generation, partition }, offset));
        }
        let claimed = committer.named.progress().name(&named);
        claimed.map_err(|key| CommitError::NotClaimed { partition: key.partition })?;
        Ok(committer.commit())
    }

    /// Commits what is processed, where the consumer has a name, and ends.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn close(mut self) -> Result<(), CommitError> {
        match self.committer {
            Some(_) => self.commit().await,
            None => Ok(()),
        }
    }
}
