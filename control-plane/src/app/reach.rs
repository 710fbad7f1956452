//! How a cluster's SPUs are called: where they are, and with which token.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use weir_protocol::ids::SpuId;

use super::{App, AppError, Principal, token_internal};
use crate::{
    data_plane::{CallError, Spu, offsets::Ask},
    plan::ask_around::AskAround,
    store::{Scoped, clusters::ClusterRow, spus},
};

/// How long one call may take. A request asks leaders and then a coordinator, and a client
/// waits ten seconds for it.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(2);
/// How long looking for a coordinator may take.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);
/// And where less than its answer can be shown too, or an order follows.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// A cluster's SPUs, as they can be called.
pub(super) struct Reach {
    endpoints: BTreeMap<SpuId, String>,
    /// Those with a session first.
    order: Vec<SpuId>,
    token: SecretString,
}

impl Reach {
    /// As the database and the board have them now.
    pub(super) async fn load(
        app: &App,
        org: &mut Scoped<'_>,
        principal: &Principal,
        cluster: &ClusterRow,
    ) -> Result<Self, AppError> {
        let seen = app.board.cluster(cluster.id);
        let endpoints: BTreeMap<_, _> = spus::list(org, cluster.id)
            .await?
            .into_iter()
            .filter(|spu| !spu.removed)
            .filter_map(|spu| Some((spu.id, spu.endpoint?)))
            .collect();
        let mut order: Vec<_> = endpoints.keys().copied().collect();
        // Stable: within each part by id.
        order.sort_by_key(|id| seen.get(id).and_then(|spu| spu.standing()).is_none());
        // On behalf of whoever asks, so that an SPU's log says who that was.
        let subject = principal.key_id.to_string();
        let token = token_internal(app, principal.org, cluster.id, &subject)?;
        Ok(Self { endpoints, order, token })
    }

    /// Whether no SPU has registered yet: nobody can have committed anything.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// One SPU; `None` when nobody knows where it is.
    pub(super) fn spu(&self, id: SpuId) -> Option<Spu<'_>> {
        let endpoint = self.endpoints.get(&id)?;
        Some(Spu { endpoint, token: &self.token, limit: CALL_LIMIT })
    }

    /// Gives an order to the coordinator of a consumer, whichever SPU that is.
    pub(super) async fn order<A: Ask>(
        &self,
        app: &App,
        consumer: &str,
        order: &A,
    ) -> Result<A::Answer, AppError> {
        self.coordinator(app, consumer, SEARCH_LIMIT, None, order).await
    }

    /// Asks the coordinator of a consumer, which is said to be `leader`.
    pub(super) async fn look<A: Ask>(
        &self,
        app: &App,
        consumer: &str,
        leader: Option<SpuId>,
        question: &A,
    ) -> Result<A::Answer, AppError> {
        self.coordinator(app, consumer, LOOK_LIMIT, leader, question).await
    }

    async fn coordinator<A: Ask>(
        &self,
        app: &App,
        consumer: &str,
        limit: Duration,
        leader: Option<SpuId>,
        asked: &A,
    ) -> Result<A::Answer, AppError> {
        let search = Box::pin(self.search(app, leader, asked));
        let answer = app.clock.timeout(limit, search).await;
        answer.unwrap_or_else(|_| Err("no answer came in time".to_owned())).map_err(|reason| {
            AppError::CoordinatorUnavailable { consumer: consumer.to_owned(), reason }
        })
    }

    /// Asks around. The error is what the last one said.
    async fn search<A: Ask>(
        &self,
        app: &App,
        leader: Option<SpuId>,
        asked: &A,
    ) -> Result<A::Answer, String> {
        let mut around = AskAround::new(self.order.clone());
        around.told(leader);
        let mut reason = "no SPU of the cluster has registered yet".to_owned();
        while let Some(id) = around.choose() {
            let Some(spu) = self.spu(id) else { continue };
            match asked.ask(app.clock, spu).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::debug!(spu = %id, %error, "not answered by this SPU");
                    reason = format!("SPU {id}: {error}");
                    if let CallError::Refused(refused) = error {
                        around.told(refused.wire.leader_spu_id.map(SpuId));
                    }
                }
            }
        }
        Err(reason)
    }
}
