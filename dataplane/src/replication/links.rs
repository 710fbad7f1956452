//! One link for each SPU that leads what this one follows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;
use weir_protocol::ids::SpuId;
use weir_runtime::{
    clock::Clock,
    rpc::{Channel, ChannelConfig},
    task::{self, CancellationToken, JoinHandle},
};

use super::{board::Board, link::Link};
use crate::{config::Limits, metadata::Cache, partition::Registry};

/// A leader that is silent for longer is dialled again.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Keeps them.
pub struct Links {
    board: Arc<Board>,
    registry: Registry,
    cache: Cache,
    limits: Limits,
    clock: Clock,
    token: watch::Receiver<String>,
    open: BTreeMap<SpuId, Open>,
}

/// The link to a leader.
struct Open {
    endpoint: String,
    /// Ends it.
    over: CancellationToken,
    task: JoinHandle<()>,
}

/// How links end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// Each as soon as its leader has ended the stream: no acknowledgement waits for this follower.
    pub with_leaders: CancellationToken,
    /// All of them now.
    pub now: CancellationToken,
}

impl Links {
    /// None yet. `token` is the one to fetch with, as the session last got it; empty: none yet.
    #[must_use]
    pub fn new(
        registry: Registry,
        cache: Cache,
        limits: Limits,
        clock: Clock,
        token: watch::Receiver<String>,
    ) -> Self {
        let (board, open) = (registry.board(), BTreeMap::new());
        Self { board, registry, cache, limits, clock, token, open }
    }

    /// Keeps the links in line with map and board until they are to end.
    pub async fn run(mut self, ending: Ending) {
        let (mut leaders, mut maps) = (self.board.leaders(), self.cache.watch());
        loop {
            let wanted: BTreeMap<SpuId, String> = {
                let map = maps.borrow_and_update().clone();
                let leaders = leaders.borrow_and_update();
                let at = |leader: &SpuId| Some((*leader, map.map.endpoint(*leader)?.to_owned()));
                leaders.iter().filter_map(at).collect()
            };
            self.open.retain(|leader, link| {
                let kept = wanted.get(leader) == Some(&link.endpoint);
                if !kept {
                    link.over.cancel();
                }
                kept
            });
            for (leader, endpoint) in wanted {
                if !self.open.contains_key(&leader) {
                    let link = self.start(leader, endpoint, &ending);
                    self.open.insert(leader, link);
                }
            }
            tokio::select! {
                biased;
                () = ending.now.cancelled() => return,
                () = ending.with_leaders.cancelled() => break,
                changed = leaders.changed() => if changed.is_err() { return },
                changed = maps.changed() => if changed.is_err() { return },
            }
        }
        for (leader, link) in self.open {
            if link.task.await.is_err() {
                tracing::error!(%leader, "the task that follows a leader has panicked");
            }
        }
    }

    fn start(&self, leader: SpuId, endpoint: String, ending: &Ending) -> Open {
        let config = ChannelConfig {
            connect_timeout: SILENCE_MAX,
            keep_alive_interval: SILENCE_MAX / 2,
            keep_alive_timeout: SILENCE_MAX / 2,
            ..ChannelConfig::default()
        };
        let over = ending.now.child_token();
        let link = Link {
            leader,
            channel: Channel::new(&endpoint, config),
            board: self.board.clone(),
            registry: self.registry.clone(),
            limits: self.limits.clone(),
            clock: self.clock,
            token: self.token.clone(),
            stop: over.clone(),
            ends_with_leader: ending.with_leaders.clone(),
        };
        Open { endpoint, over, task: task::spawn(link.run()) }
    }
}
