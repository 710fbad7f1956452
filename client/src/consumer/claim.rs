//! The reader's side of a named consumer's session: partitions are claimed before they are
//! read.

use std::sync::Arc;

use tokio::sync::mpsc;
use weir_protocol::{
    ErrorCode,
    ids::{PartitionIndex, TopicGenerationId},
};

use super::{
    ConsumeError,
    item::Item,
    part::Phase,
    reader::{Over, Reader},
    session::{CLAIM_PARTITIONS_MAX, Claim, Command, News, is_gone},
};

/// The reader's connection to its session.
pub(super) struct Claims {
    pub name: Arc<str>,
    pub commands: mpsc::UnboundedSender<Command>,
    /// Bounded by the requests that the session makes.
    pub news: mpsc::UnboundedReceiver<News>,
}

impl Claims {
    /// The next news; for ever if there is no session (any more).
    pub(super) async fn next(claims: &mut Option<Self>) -> News {
        if let Some(claims) = claims
            && let Some(news) = claims.news.recv().await
        {
            return news;
        }
        std::future::pending().await
    }
}

impl Reader {
    /// What a partition that is new to the reader waits for.
    pub(super) fn first_phase(&self) -> Phase {
        match self.claims {
            Some(_) => Phase::Claiming,
            None => Phase::Waiting { until: self.now(), paused: false },
        }
    }

    pub(super) fn claim(&self, generation: TopicGenerationId, partitions: &[PartitionIndex]) {
        let Some(claims) = &self.claims else { return };
        for some in partitions.chunks(CLAIM_PARTITIONS_MAX) {
            let claim = Claim { generation, partitions: some.to_vec() };
            // A session ends before its reader only with news that say why.
            let _ = claims.commands.send(Command::Claim(claim));
        }
    }

    pub(super) fn news(&mut self, news: News) -> Result<(), Over> {
        let now = self.now();
        match news {
            News::Claimed(claim, committed) if self.reads(claim.generation) => {
                for index in claim.partitions {
                    let Some(part) = self.parts.get_mut(&index) else { continue };
                    if matches!(part.phase, Phase::Claiming) {
                        part.up();
                        part.position.committed(committed.get(&index).copied());
                        part.phase = Phase::Waiting { until: now, paused: false };
                    }
                }
                Ok(())
            }
            News::NotClaimed(claim, error) if self.reads(claim.generation) => {
                for index in claim.partitions {
                    if let Some(part) = self.parts.get_mut(&index) {
                        part.down(error.clone(), now);
                    }
                }
                Ok(())
            }
            News::Refused(_, error) if error.code == ErrorCode::ConsumerFenced => {
                let Some(claims) = &self.claims else { return Ok(()) };
                let consumer = claims.name.clone();
                self.fail(ConsumeError::Fenced { consumer, message: error.message().to_owned() })
            }
            News::Refused(generation, error) if self.reads(generation) => {
                if is_gone(error.code) {
                    // With `follow_name` the map will say what comes next.
                    return if self.config.follow_name { Ok(()) } else { self.gone(&error) };
                }
                let Some(claims) = &self.claims else { return Ok(()) };
                let consumer = claims.name.clone();
                let message = error.message().to_owned();
                self.fail(ConsumeError::SessionRefused { consumer, code: error.code, message })
            }
            // Of a generation that was left.
            News::Claimed(..) | News::NotClaimed(..) | News::Refused(..) => Ok(()),
            News::NotCommitted(error, lasted) => {
                let (code, reason) = (error.code, error.message().to_owned());
                let error = ConsumeError::NotCommitted { code, reason, lasted };
                self.hand_on(Item::Error { error, session: 0 })
            }
        }
    }

    fn reads(&self, generation: TopicGenerationId) -> bool {
        self.generation.as_ref().is_some_and(|now_read| now_read.id == generation)
    }
}
