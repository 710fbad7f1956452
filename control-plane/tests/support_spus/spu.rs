//! An SPU's side of a session.

use futures::FutureExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use uuid::Uuid;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{ClusterId, FolderId, LaunchId, OrgId, ProcessId, SpuId},
    pb::{
        metadata::MetadataUpdate,
        session::{
            ControlMessage, Heartbeat, IsrRefused, Leaving, Register, Registered, RemoveReplica,
            ReplicaRemoved, SpuMessage, control_message, spu_control_client::SpuControlClient,
            spu_message,
        },
    },
};
use weir_runtime::{
    clock::Clock,
    rpc::{Channel, ChannelConfig},
};

use super::PATIENCE;

/// What an SPU says of itself.
#[derive(Clone)]
pub struct Identity {
    pub org: OrgId,
    pub cluster: ClusterId,
    pub spu: SpuId,
    pub launch: LaunchId,
    pub secret: SecretString,
    pub folder: FolderId,
    pub process: ProcessId,
    pub endpoint: String,
}

impl Identity {
    pub fn register(&self) -> Register {
        Register {
            org_id: self.org.to_string(),
            cluster_id: self.cluster.to_string(),
            spu_id: self.spu.get(),
            launch_id: self.launch.to_string(),
            launch_secret: self.secret.expose_secret().to_owned(),
            folder_id: self.folder.to_string(),
            process_id: self.process.to_string(),
            endpoint: self.endpoint.clone(),
            protocol_version: weir_control_plane::plan::registration::PROTOCOL_VERSION,
            version: "test".to_owned(),
            ..Register::default()
        }
    }

    /// The same SPU in another process.
    pub fn reborn(&self) -> Self {
        Self { process: ProcessId(Uuid::from_u128(self.process.0.as_u128() + 1)), ..self.clone() }
    }
}

/// A session as the SPU has it.
pub struct Session {
    pub incarnation: u64,
    pub registered: Registered,
    outgoing: mpsc::Sender<SpuMessage>,
    incoming: Streaming<ControlMessage>,
}

/// Registers, and waits for the answer.
pub async fn open(rpc: &str, register: Register) -> Result<Session, WireError> {
    let mut client = SpuControlClient::new(Channel::new(rpc, ChannelConfig::default()));
    let (outgoing, receiver) = mpsc::channel(4);
    outgoing
        .send(SpuMessage { message: Some(spu_message::Message::Register(register)) })
        .await
        .unwrap();
    let lost = |what: &str| WireError::new(ErrorCode::Disconnected, what);
    let response = client.session(ReceiverStream::new(receiver)).await;
    let mut incoming = response.map_err(|status| lost(status.message()))?.into_inner();
    match next(&mut incoming).await.ok_or_else(|| lost("no answer"))? {
        control_message::Message::Registered(registered) => {
            Ok(Session { incarnation: registered.incarnation, registered, outgoing, incoming })
        }
        control_message::Message::Refused(error) => Err(error.into()),
        other => panic!("not an answer to a registration: {other:?}"),
    }
}

/// `None` when the stream ended.
async fn next(incoming: &mut Streaming<ControlMessage>) -> Option<control_message::Message> {
    let message = Clock.timeout(PATIENCE, incoming.message()).await.expect("a message in time");
    message.ok().flatten().map(|message| message.message.expect("a message"))
}

impl Session {
    /// The next metadata update; heartbeats' answers are passed over.
    pub async fn metadata(&mut self) -> MetadataUpdate {
        loop {
            match next(&mut self.incoming).await.expect("metadata before the end") {
                control_message::Message::Metadata(update) => return update,
                control_message::Message::HeartbeatAck(_) => {}
                other => panic!("not metadata: {other:?}"),
            }
        }
    }

    /// The next order to remove a replica; everything else is passed over.
    pub async fn order(&mut self) -> RemoveReplica {
        loop {
            let message = next(&mut self.incoming).await.expect("an order before the end");
            if let control_message::Message::RemoveReplica(order) = message {
                return order;
            }
        }
    }

    /// Passes over all that has come by now: who takes nothing for long is disconnected.
    pub fn pass_over(&mut self) {
        while let Some(Ok(Some(_))) = self.incoming.message().now_or_never() {}
    }

    /// Says something.
    pub async fn say(&self, message: spu_message::Message) {
        self.outgoing.send(SpuMessage { message: Some(message) }).await.unwrap();
    }

    /// The next refusal of in-sync replicas; everything else is passed over.
    pub async fn refused(&mut self) -> IsrRefused {
        loop {
            let message = next(&mut self.incoming).await.expect("a refusal before the end");
            if let control_message::Message::IsrRefused(refused) = message {
                return refused;
            }
        }
    }

    /// Says that it stops, and answers what it is told before it may, and whether all stop.
    pub async fn leave(&mut self) -> (Vec<MetadataUpdate>, bool) {
        self.say(spu_message::Message::Leaving(Leaving { incarnation: self.incarnation })).await;
        let mut told = Vec::new();
        loop {
            match next(&mut self.incoming).await.expect("leave before the end") {
                control_message::Message::Left(left) => return (told, left.cluster_stops),
                control_message::Message::Metadata(update) => told.push(update),
                _ => {}
            }
        }
    }

    /// Confirms an order.
    pub async fn removed(&mut self, order: &RemoveReplica) {
        let RemoveReplica { partition, partition_epoch, .. } = order.clone();
        let removed = ReplicaRemoved { partition, partition_epoch };
        let message = spu_message::Message::ReplicaRemoved(removed);
        self.outgoing.send(SpuMessage { message: Some(message) }).await.unwrap();
    }

    /// Reads until the session ends; why, if it was said.
    pub async fn end(&mut self) -> Option<WireError> {
        loop {
            match next(&mut self.incoming).await {
                Some(control_message::Message::Refused(error)) => return Some(error.into()),
                Some(_) => {}
                None => return None,
            }
        }
    }

    pub async fn heartbeat(&mut self, incarnation: u64) -> bool {
        let beat = Heartbeat { incarnation, applied_revision: 0, replicas: vec![] };
        let message = SpuMessage { message: Some(spu_message::Message::Heartbeat(beat)) };
        self.outgoing.send(message).await.is_ok()
    }

    /// Sends heartbeats until the stream ends.
    pub async fn keep(mut self) {
        let pause =
            std::time::Duration::from_millis(u64::from(self.registered.heartbeat_interval_ms));
        loop {
            tokio::select! {
                biased;
                message = self.incoming.message() => match message {
                    Ok(Some(ControlMessage {
                        message: Some(control_message::Message::Refused(_)),
                    }))
                    | Ok(None)
                    | Err(_) => return,
                    Ok(Some(_)) => {}
                },
                () = Clock.sleep(pause) => {
                    if !self.heartbeat(self.incarnation).await {
                        return;
                    }
                }
            }
        }
    }
}
