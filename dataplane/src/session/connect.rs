//! One connection: registers, then listens and reports until it breaks.

use std::{collections::BTreeMap, time::Duration};

use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use weir_protocol::{
    WireError,
    ids::{Incarnation, PartitionKey, SpuId},
    pb::session::{
        ControlMessage, Heartbeat, IsrMember, Leaving, ProposeIsr, ProposedIsr, Register,
        Registered, ReplicaStatus, SpuMessage, control_message::Message as FromControl,
        spu_control_client::SpuControlClient, spu_message::Message as FromSpu,
    },
};
use weir_runtime::{clock::Monotonic, task::CancellationToken};

use super::{Ended, Session};
use crate::{config::SESSION_MESSAGE_BYTES_MAX, error::SpuError, replica::followers::Proposal};

/// What this build speaks.
const PROTOCOL_VERSION: u32 = 1;
/// How long the control plane may take to answer a registration.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a replica's transition waits for others to be reported with.
const TRANSITION_DELAY: Duration = Duration::from_millis(10);
/// Messages of ours that may wait for the connection.
const OUTBOX: usize = 16;
/// How long an answer to a proposal is waited for before it is sent again.
const PROPOSE_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Partitions of one such message.
const PROPOSALS_MAX: usize = 1_000;
/// Bounds of what the control plane may ask for.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(50);
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// What has been reported on this connection.
struct Reported {
    incarnation: Incarnation,
    replicas: BTreeMap<PartitionKey, ReplicaStatus>,
    /// What was asked for, and when: it is asked for again while no answer comes.
    proposals: BTreeMap<PartitionKey, (Proposal, Monotonic)>,
    /// The map came since, so that it is of this life.
    told: bool,
    leaving: bool,
}

impl Session {
    pub(super) async fn connect(&self, stop: &CancellationToken) -> Ended {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        // The channel is empty, so this does not wait.
        if outbox.send(message(FromSpu::Register(self.registration().await))).await.is_err() {
            return lost("the connection closed at once", false);
        }
        let mut client = SpuControlClient::new(self.channel.clone())
            .max_decoding_message_size(SESSION_MESSAGE_BYTES_MAX);
        let opened = async {
            let call = client.session(ReceiverStream::new(messages)).await;
            let mut inbound = call.map_err(|status| status.to_string())?.into_inner();
            let first = inbound.message().await.map_err(|status| status.to_string())?;
            Ok::<_, String>((first.and_then(|first| first.message), inbound))
        };
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Stopped,
            opened = self.clock.timeout(REGISTER_TIMEOUT, opened) => opened,
        };
        match opened {
            Err(_) => lost("no answer to the registration in time", false),
            Ok(Err(reason)) => lost(reason, false),
            Ok(Ok((Some(FromControl::Registered(registered)), inbound))) => {
                self.converse(registered, inbound, outbox, stop).await
            }
            Ok(Ok((Some(FromControl::Refused(error)), _))) => refused(error.into()),
            Ok(Ok((Some(FromControl::End(_)), _))) => {
                tracing::info!("the cluster was shut down meanwhile, and this SPU ends with it");
                self.ordered_to_end.cancel();
                lost("the cluster was shut down", false)
            }
            Ok(Ok(_)) => lost("the control plane did not answer the registration", false),
        }
    }

    async fn registration(&self) -> Register {
        let identity = &self.identity;
        let held = self.registry.held().await;
        let seen = self.seen.highest();
        Register {
            org_id: identity.org_id.to_string(),
            cluster_id: identity.cluster_id.to_string(),
            spu_id: identity.spu_id.get(),
            launch_id: identity.launch_id.to_string(),
            launch_secret: identity.launch_secret.expose_secret().to_owned(),
            folder_id: identity.folder_id.to_string(),
            process_id: identity.process_id.to_string(),
            endpoint: identity.endpoint.clone(),
            protocol_version: PROTOCOL_VERSION,
            highest_revision: seen.revision.get(),
            database: seen.database.map(|database| database.to_wire()),
            replicas: self.registry.statuses().into_values().collect(),
            highest_producer_id: seen.producer_id.map_or(0, |id| id.get()),
            version: identity.build.clone(),
            rack: identity.rack.clone(),
            highest_revision_at_unix_ms: seen.revision_at_unix_ms,
            highest_leader_epoch: seen.leader_epoch.get(),
            highest_partition_epoch: seen.partition_epoch.get(),
            highest_incarnation: seen.incarnation.get(),
            held: held.into_iter().map(PartitionKey::to_wire).collect(),
            boot_id: identity.boot_id.map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    /// Listens and reports until the connection breaks.
    async fn converse(
        &self,
        registered: Registered,
        mut inbound: Streaming<ControlMessage>,
        outbox: mpsc::Sender<SpuMessage>,
        stop: &CancellationToken,
    ) -> Ended {
        let incarnation = Incarnation(registered.incarnation);
        self.register(&registered, incarnation);
        let interval = Duration::from_millis(registered.heartbeat_interval_ms.into())
            .clamp(HEARTBEAT_INTERVAL_MIN, HEARTBEAT_INTERVAL_MAX);
        let lease = Duration::from_millis(registered.lease_ms.into());
        // A control plane that is silent for a whole lease counts us as gone: so do we it.
        let silence_max = lease.max(interval * 3);
        let mut reported = Reported {
            incarnation,
            replicas: BTreeMap::new(),
            proposals: BTreeMap::new(),
            told: false,
            leaving: false,
        };
        let mut transitions = self.registry.transitions();
        let mut heard = self.clock.now();
        let mut next = self.clock.now();
        loop {
            let incoming = tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                // Once in an interval: many orders in a row, each slow, do not cost the lease.
                () = self.until(next) => None,
                incoming = inbound.message() => Some(incoming),
                () = self.leave.wanted.cancelled(), if !reported.leaving => {
                    reported.leaving = true;
                    let leaving = Leaving { incarnation: incarnation.get() };
                    if outbox.send(message(FromSpu::Leaving(leaving))).await.is_err() {
                        return lost("the connection closed", true);
                    }
                    continue;
                }
                _ = transitions.changed() => {
                    // Soon, but many transitions in one heartbeat.
                    next = next.min(self.clock.now().plus(TRANSITION_DELAY));
                    continue;
                }
            };
            let Some(incoming) = incoming else {
                if self.clock.now().since(heard) > silence_max {
                    return lost("the control plane is silent", true);
                }
                next = self.clock.now().plus(interval);
                let (heartbeat, replicas) = self.heartbeat(&reported);
                match outbox.try_send(message(FromSpu::Heartbeat(heartbeat))) {
                    Ok(()) => reported.replicas = replicas,
                    // The connection is slow; what it missed goes with the next one.
                    Err(mpsc::error::TrySendError::Full(_)) => {}
                    Err(mpsc::error::TrySendError::Closed(_)) => {
                        return lost("the connection closed", true);
                    }
                }
                self.propose(&mut reported, &outbox);
                if reported.told {
                    let cached = self.cache.current();
                    self.registry.repair(&cached.map, Some(incarnation)).await;
                }
                continue;
            };
            match incoming {
                Ok(Some(ControlMessage { message: Some(message) })) => {
                    reported.told |= matches!(message, FromControl::Metadata(_));
                    if let Err(ended) = self.obey(message, incarnation, &outbox).await {
                        return ended;
                    }
                }
                Ok(Some(ControlMessage { message: None })) => {
                    tracing::debug!("a message of a newer control plane was left out");
                }
                Ok(None) => return lost("the control plane ended the session", true),
                Err(status) => return lost(status.to_string(), true),
            }
            // Nobody listened while that was obeyed.
            heard = self.clock.now();
        }
    }

    fn register(&self, registered: &Registered, incarnation: Incarnation) {
        let limit = Some(registered.batch_bytes_max).filter(|bytes| *bytes > 0);
        self.view.send_modify(|view| {
            view.up = true;
            view.incarnation = Some(incarnation);
            view.batch_bytes_max = limit;
        });
        self.take_token(&registered.replication_token);
        if let Some(keys) = &registered.token_keys {
            self.tokens.replace_keys(keys);
        }
        // A new incarnation may lead nothing of what the old one led.
        self.registry.reconcile(&self.cache.current().map, Some(incarnation));
        tracing::info!(%incarnation, control_plane = self.channel.endpoint(), "registered");
    }

    /// Only what changed since the last one (everything in the first), and all there is.
    fn heartbeat(&self, reported: &Reported) -> (Heartbeat, BTreeMap<PartitionKey, ReplicaStatus>) {
        let replicas = self.registry.statuses();
        let before = &reported.replicas;
        let changed = replicas.iter().filter(|(key, status)| before.get(key) != Some(status));
        let heartbeat = Heartbeat {
            incarnation: reported.incarnation.get(),
            applied_revision: self.cache.current().map.revision().get(),
            replicas: changed.map(|(_, status)| status.clone()).collect(),
        };
        (heartbeat, replicas)
    }

    /// Asks for the in-sync sets that leaders here want, where that is new or long ago.
    fn propose(&self, reported: &mut Reported, outbox: &mpsc::Sender<SpuMessage>) {
        let (now, proposals) = (self.clock.now(), self.registry.proposals());
        reported.proposals.retain(|key, _| proposals.contains_key(key));
        let asked = &mut reported.proposals;
        let due = |key: &PartitionKey, proposal: &Proposal| {
            asked.get(key).is_none_or(|(before, at)| {
                before != proposal || now.since(*at) >= PROPOSE_AGAIN_AFTER
            })
        };
        let due: Vec<_> =
            proposals.into_iter().filter(|(key, proposal)| due(key, proposal)).collect();
        for chunk in due.chunks(PROPOSALS_MAX) {
            let partitions = chunk.iter().map(|(key, proposal)| proposed(*key, proposal)).collect();
            // A slow connection hears of them with a later heartbeat.
            if outbox.try_send(message(FromSpu::ProposeIsr(ProposeIsr { partitions }))).is_err() {
                return;
            }
            asked.extend(chunk.iter().map(|(key, proposal)| (*key, (proposal.clone(), now))));
        }
    }

    async fn until(&self, point: Monotonic) {
        let left = point.since(self.clock.now());
        // Even a sleep of no time at all may let others go first.
        if !left.is_zero() {
            self.clock.sleep(left).await;
        }
    }

    /// What this folder has seen, for a control plane that went back.
    pub(super) fn note_map(&self) {
        self.seen.map(&self.cache.current().map);
    }
}

fn proposed(key: PartitionKey, proposal: &Proposal) -> ProposedIsr {
    let member = |(spu, incarnation): (&SpuId, &Incarnation)| IsrMember {
        spu_id: spu.get(),
        incarnation: incarnation.get(),
    };
    ProposedIsr {
        partition: Some(key.to_wire()),
        leader_epoch: proposal.leader_epoch.get(),
        partition_epoch: proposal.partition_epoch.get(),
        members: proposal.members.iter().map(member).collect(),
    }
}

pub(super) fn message(message: FromSpu) -> SpuMessage {
    SpuMessage { message: Some(message) }
}

pub(super) fn lost(reason: impl Into<String>, registered: bool) -> Ended {
    Ended::Lost { reason: reason.into(), registered }
}

/// A refusal that may pass is waited for; any other ends the process, with the reason.
pub(super) fn refused(error: WireError) -> Ended {
    let message = error.message().to_owned();
    if error.code.retriable() {
        tracing::error!(code = %error.code, message, "the control plane refuses the registration for now");
        return lost(error.to_string(), false);
    }
    Ended::Refused(SpuError::Refused { code: error.code, message })
}
