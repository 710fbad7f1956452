//! Tokens from the control plane: renewed on open streams, kept while it is away.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake_spu;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fake_spu::{FakeSpu, cluster};
use secrecy::SecretString;
use weir_client::{Client, ClientConfig, ProducerConfig, ProducerRecord};
use weir_runtime::{
    clock::Clock,
    http::{HttpError, HttpTransport},
};

/// Issues two tokens that are over at once, then goes away.
struct ControlPlane {
    issued: AtomicU64,
    endpoint: String,
}

#[async_trait::async_trait]
impl HttpTransport for ControlPlane {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, HttpError> {
        assert!(request.uri().path().ends_with(":token"), "{}", request.uri());
        let n = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
        if n > 2 {
            return Err(HttpError::Unreachable { authority: "cp".into(), reason: "away".into() });
        }
        let (cluster, endpoint) = (cluster(), &self.endpoint);
        let body = format!(
            r#"{{"token":"token-{n}","expires_at_unix_ms":0,"cluster_id":"{cluster}",
                "endpoints":["{endpoint}"]}}"#
        );
        Ok(http::Response::new(Bytes::from(body)))
    }
}

#[tokio::test]
async fn a_fresh_token_reaches_open_streams_and_the_last_one_stays_in_use() {
    let spu = FakeSpu::start(1).await;
    let control_plane =
        Arc::new(ControlPlane { issued: AtomicU64::new(0), endpoint: spu.endpoint.clone() });
    let key = SecretString::from("weir_local_k".to_owned());
    // By name, and without any bootstrap: both come with the token.
    let config = ClientConfig::with_control_plane("http://cp", key, "demo");
    let client = Client::connect(config, control_plane.clone(), Clock).await.unwrap();
    assert_eq!(client.cluster_id(), cluster());
    let producer = client.producer("orders", ProducerConfig::default()).await.unwrap();
    producer.send(ProducerRecord::value("1")).await.unwrap().await.unwrap();
    spu.until("a fresh token came", |state| state.tokens.len() == 2).await;
    assert_eq!(spu.state().tokens, ["Bearer token-1", "token-2"]);
    while control_plane.issued.load(Ordering::SeqCst) < 3 {
        Clock.sleep(Duration::from_millis(5)).await;
    }
    producer.send(ProducerRecord::value("2")).await.unwrap().await.unwrap();
}
