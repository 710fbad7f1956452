//! A cluster whose SPUs a test speaks for.

use secrecy::SecretString;
use tempfile::TempDir;
use uuid::Uuid;
use weir_control_plane::{
    app::{self, TopicRequest},
    auth::pepper::Purpose,
    store::{launches, spus},
};
use weir_protocol::{
    ErrorCode,
    ids::{ClusterId, FolderId, LaunchId, ProcessId, SpuId},
};

use super::{
    ControlPlane,
    spu::{self, Identity},
};

/// Makes a launch the SPU's current one, as the reconciler does before a start.
pub async fn launch(
    control: &ControlPlane,
    cluster: ClusterId,
    spu: SpuId,
    number: u128,
) -> Identity {
    let (app, launch) = (&control.app, LaunchId(Uuid::from_u128(number)));
    let secret = SecretString::from(format!("secret {number}"));
    let hash = app.pepper.hash(Purpose::Launch, &launch.to_string(), &secret);
    let mut tx = app.store.write().await.unwrap();
    let mut scoped = tx.scoped(control.org());
    launches::insert(&mut scoped, cluster, launch, spu, &hash, 1).await.unwrap();
    spus::set_launch(&mut scoped, cluster, spu, launch, 0, 1).await.unwrap();
    tx.commit().await.unwrap();
    Identity {
        org: control.org(),
        cluster,
        spu,
        launch,
        secret,
        folder: FolderId(Uuid::from_u128(500 + u128::from(spu.get()))),
        process: ProcessId(Uuid::from_u128(number * 1000)),
        endpoint: "127.0.0.1:9500".to_owned(),
    }
}

/// A control plane with a cluster of two SPUs, the first of which is launched.
pub struct Case {
    // Dropped last: the database lies in it.
    pub control: ControlPlane,
    pub cluster: ClusterId,
    pub first: Identity,
    _folder: TempDir,
}

pub async fn case() -> Case {
    let folder = TempDir::new().unwrap();
    let control = ControlPlane::start(&folder).await;
    let cluster = control.create("demo", 2).await;
    let first = launch(&control, cluster, SpuId(1), 1).await;
    Case { control, cluster, first, _folder: folder }
}

impl Case {
    /// The connection of the first SPU's process breaks.
    pub fn broken(&self) {
        let board = &self.control.app.board;
        if let Some(session) = board.spu(self.cluster, SpuId(1)).session {
            board.session_down(self.cluster, SpuId(1), session.id);
        }
    }

    pub async fn refused(&self, identity: &Identity) -> ErrorCode {
        match spu::open(&self.control.rpc, identity.register()).await {
            Err(error) => error.code,
            Ok(session) => panic!("accepted as incarnation {}", session.incarnation),
        }
    }

    pub async fn topic(&self, name: &str) {
        let wanted = TopicRequest::new(name, 2);
        let (app, principal) = (&self.control.app, &self.control.principal);
        app::topic_create(app, principal, &self.cluster.to_string(), &wanted, None).await.unwrap();
    }
}
