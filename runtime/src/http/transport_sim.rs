//! Simulation: hyper over the simulated network (reqwest needs the real tokio).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{HttpError, HttpTransport, authority_of};
use crate::{clock::Clock, net, task};

pub(super) struct Transport {
    body_bytes_max: usize,
}

impl Transport {
    pub(super) fn new(body_bytes_max: usize) -> Self {
        Self { body_bytes_max }
    }

    async fn exchange(
        &self,
        request: http::Request<Bytes>,
        authority: &str,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let unreachable =
            |reason: String| HttpError::Unreachable { authority: authority.into(), reason };
        let broken = |reason: String| HttpError::Broken { authority: authority.into(), reason };
        let stream = net::connect(authority).await.map_err(|e| unreachable(e.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(e.to_string()))?;
        // One connection for one request: it ends when the sender is dropped.
        task::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        let (mut head, body) = request.into_parts();
        let host = authority.parse().map_err(|_| HttpError::Invalid(authority.into()))?;
        head.headers.entry(http::header::HOST).or_insert(host);
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        head.uri = path.parse().map_err(|_| HttpError::Invalid(path.into()))?;
        let response = sender
            .send_request(http::Request::from_parts(head, Full::new(body)))
            .await
            .map_err(|e| broken(e.to_string()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.body_bytes_max)
            .collect()
            .await
            .map_err(|e| broken(e.to_string()))?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

#[async_trait]
impl HttpTransport for Transport {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let authority = authority_of(&request)?;
        Clock
            .timeout(limit, self.exchange(request, &authority))
            .await
            .map_err(|_| HttpError::TimedOut { authority: authority.clone(), limit })?
    }
}
