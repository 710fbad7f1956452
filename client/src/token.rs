//! The data-plane token in use, and the task that renews it.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};
use tonic::metadata::{Ascii, MetadataValue};
use weir_runtime::{
    clock::Clock,
    task::{self, CancellationToken},
};

use crate::{
    admin::{Admin, TokenGrant},
    retry::{Backoff, BackoffConfig},
};

/// A renewal is asked for at most this often.
const RENEW_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// A token is renewed at least this often, however long it lives: a revoked key shows.
const RENEW_INTERVAL_MAX: Duration = Duration::from_secs(3600);
const BACKOFF: BackoffConfig =
    BackoffConfig { first: Duration::from_secs(1), max: Duration::from_secs(15) };

/// The token in use. Clones see the same.
#[derive(Clone)]
pub(crate) struct Tokens {
    current: watch::Receiver<Arc<SecretString>>,
    /// Where the control plane says the SPUs listen.
    endpoints: watch::Receiver<Arc<Vec<String>>>,
    /// None: this token is all there is.
    wanted: Option<Arc<Notify>>,
}

impl Tokens {
    /// One token, for ever.
    pub(crate) fn fixed(token: SecretString) -> Self {
        let (_, current) = watch::channel(Arc::new(token));
        let (_, endpoints) = watch::channel(Arc::default());
        Self { current, endpoints, wanted: None }
    }

    /// Begins with `grant` and renews it until `over`.
    pub(crate) fn renewed(
        grant: TokenGrant,
        admin: Admin,
        clock: Clock,
        over: CancellationToken,
    ) -> Self {
        let cluster = grant.cluster_id.to_string();
        let mut wait = until_renewal(grant.expires_at_unix_ms, clock.unix_ms());
        let (token_out, current) = watch::channel(Arc::new(grant.token));
        let (endpoints_out, endpoints) = watch::channel(Arc::new(grant.endpoints));
        let wanted = Arc::new(Notify::new());
        let asked = wanted.clone();
        task::spawn(async move {
            let mut backoff = Backoff::new(BACKOFF);
            loop {
                tokio::select! { biased;
                    () = over.cancelled() => return,
                    () = clock.sleep(wait) => {}
                    () = asked.notified() => {
                        // Paced, also when every stream asks at once.
                        tokio::select! { biased;
                            () = over.cancelled() => return,
                            () = clock.sleep(RENEW_INTERVAL_MIN.min(wait)) => {}
                        }
                    }
                }
                let renewal = tokio::select! { biased;
                    () = over.cancelled() => return,
                    renewal = admin.token(&cluster, None) => renewal,
                };
                match renewal {
                    Ok(grant) => {
                        backoff.reset();
                        wait = until_renewal(grant.expires_at_unix_ms, clock.unix_ms());
                        tracing::debug!(%cluster, ?wait, "token renewed");
                        token_out.send_replace(Arc::new(grant.token));
                        endpoints_out.send_replace(Arc::new(grant.endpoints));
                    }
                    Err(error) => {
                        wait = backoff.next_wait();
                        tracing::warn!(%cluster, code = error.code(), %error, ?wait,
                            "token not renewed; the old one stays in use");
                    }
                }
            }
        });
        Self { current, endpoints, wanted: Some(wanted) }
    }

    /// An SPU did not take the token: a fresh one is wanted soon. False if none can come.
    pub(crate) fn renew(&self) -> bool {
        self.wanted.as_ref().map(|wanted| wanted.notify_one()).is_some()
    }

    /// Where the control plane says the SPUs listen.
    pub(crate) fn endpoints(&self) -> Arc<Vec<String>> {
        self.endpoints.borrow().clone()
    }

    /// The token for an `Authenticate` message.
    pub(crate) fn plain(&self) -> String {
        self.current.borrow().expose_secret().to_owned()
    }

    /// The value of an `authorization` header; none if the token is no plain text.
    pub(crate) fn header(&self) -> Option<MetadataValue<Ascii>> {
        let text = format!("Bearer {}", self.current.borrow().expose_secret());
        let mut value = MetadataValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Sees later tokens as changes.
    pub(crate) fn changes(&self) -> TokenChanges {
        TokenChanges { current: self.current.clone(), over: false }
    }
}

/// Waits for fresh tokens.
pub(crate) struct TokenChanges {
    current: watch::Receiver<Arc<SecretString>>,
    over: bool,
}

impl TokenChanges {
    /// Waits for the next token; for ever if none will come.
    pub(crate) async fn next(&mut self) {
        if !self.over && self.current.changed().await.is_ok() {
            return;
        }
        self.over = true;
        std::future::pending().await
    }
}

/// Two thirds of what is left, with a little jitter, so that neither a slow renewal nor a
/// thousand clients that began together are a problem.
fn until_renewal(expires_at_unix_ms: i64, now_unix_ms: i64) -> Duration {
    let left_ms = u64::try_from(expires_at_unix_ms.saturating_sub(now_unix_ms)).unwrap_or(0);
    let jitter_ms = weir_runtime::rng::below(left_ms / 20 + 1);
    Duration::from_millis(left_ms / 3 * 2 - jitter_ms.min(left_ms / 3))
        .clamp(RENEW_INTERVAL_MIN, RENEW_INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_well_before_the_end_and_never_in_a_hurry() {
        let hour_ms = 3_600_000;
        let wait = until_renewal(hour_ms, 0);
        assert!(wait <= Duration::from_secs(2400) && wait >= Duration::from_secs(2200), "{wait:?}");
        assert_eq!(until_renewal(0, hour_ms), RENEW_INTERVAL_MIN);
        assert_eq!(until_renewal(i64::MAX, i64::MIN), RENEW_INTERVAL_MAX);
    }
}
