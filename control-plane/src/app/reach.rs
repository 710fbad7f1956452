//! How a cluster's SPUs are called: where they are, and with which token.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use weir_protocol::ids::SpuId;

use super::{App, AppError, Principal, token_internal};
use crate::{
    data_plane::{
        CallError, Spu,
        offsets::{self, Order},
    },
    plan::ask_around::AskAround,
    store::{Scoped, clusters::ClusterRow, spus},
};

/// How long one call may take. A request asks leaders and then a coordinator, and a client
/// waits ten seconds for it.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// How long looking for a coordinator may take.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);

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

    /// One SPU; `None` when nobody knows where it is.
    pub(super) fn spu(&self, id: SpuId) -> Option<Spu<'_>> {
        let endpoint = self.endpoints.get(&id)?;
        Some(Spu { endpoint, token: &self.token, limit: CALL_LIMIT })
    }

    /// Gives an order to the coordinator of a consumer, whichever SPU that is; how many
    /// partitions it was about.
    pub(super) async fn coordinator(
        &self,
        app: &App,
        consumer: &str,
        order: &Order,
    ) -> Result<u32, AppError> {
        let unavailable = |reason: String| {
            Err(AppError::CoordinatorUnavailable { consumer: consumer.to_owned(), reason })
        };
        match app.clock.timeout(SEARCH_LIMIT, Box::pin(self.search(app, order))).await {
            Ok(Ok(partitions)) => Ok(partitions),
            Ok(Err(reason)) => unavailable(reason),
            Err(_) => unavailable("no answer came in time".to_owned()),
        }
    }

    /// Asks around. The error is what the last one said.
    async fn search(&self, app: &App, order: &Order) -> Result<u32, String> {
        let mut around = AskAround::new(self.order.clone());
        let mut reason = "no SPU of the cluster has registered yet".to_owned();
        while let Some(id) = around.choose() {
            let Some(spu) = self.spu(id) else { continue };
            match offsets::order(app.clock, spu, order).await {
                Ok(partitions) => return Ok(partitions),
                Err(error) => {
                    tracing::debug!(spu = %id, %error, "not carried out by this SPU");
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
