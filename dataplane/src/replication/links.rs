//! One link for each SPU that leads what this one follows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;
use weir_protocol::ids::SpuId;
use weir_runtime::{
    clock::Clock,
    rpc::{Channel, ChannelConfig},
    task::{self, CancellationToken},
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
    /// By leader: where it is, and how to end its link.
    open: BTreeMap<SpuId, (String, CancellationToken)>,
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

    /// Keeps the links in line with map and board until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut leaders, mut maps) = (self.board.leaders(), self.cache.watch());
        loop {
            let wanted: BTreeMap<SpuId, String> = {
                let map = maps.borrow_and_update().clone();
                let leaders = leaders.borrow_and_update();
                let at = |leader: &SpuId| Some((*leader, map.map.endpoint(*leader)?.to_owned()));
                leaders.iter().filter_map(at).collect()
            };
            self.open.retain(|leader, (endpoint, over)| {
                let kept = wanted.get(leader) == Some(endpoint);
                if !kept {
                    over.cancel();
                }
                kept
            });
            for (leader, endpoint) in wanted {
                if !self.open.contains_key(&leader) {
                    let over = stop.child_token();
                    self.start(leader, &endpoint, over.clone());
                    self.open.insert(leader, (endpoint, over));
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leaders.changed() => if changed.is_err() { return },
                changed = maps.changed() => if changed.is_err() { return },
            }
        }
    }

    fn start(&self, leader: SpuId, endpoint: &str, stop: CancellationToken) {
        let config = ChannelConfig {
            connect_timeout: SILENCE_MAX,
            keep_alive_interval: SILENCE_MAX / 2,
            keep_alive_timeout: SILENCE_MAX / 2,
            ..ChannelConfig::default()
        };
        let link = Link {
            leader,
            channel: Channel::new(endpoint, config),
            board: self.board.clone(),
            registry: self.registry.clone(),
            limits: self.limits.clone(),
            clock: self.clock,
            token: self.token.clone(),
            stop,
        };
        task::spawn(link.run());
    }
}
