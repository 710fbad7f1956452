//! Data-plane tokens: EdDSA JWTs, verified here without a call to the control plane.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tokio::sync::watch;
use weir_protocol::{
    ErrorCode, WireError,
    ids::{ClusterId, OrgId},
    pb::session::TokenKeys,
    token::{Claims, ISSUER, Scope},
};
use weir_runtime::clock::Clock;

use crate::session::SessionView;

/// Ours have a few hundred bytes; a longer one is refused unread.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// What judges tokens. Clones share the keys.
#[derive(Clone)]
pub struct Tokens {
    org: OrgId,
    cluster: ClusterId,
    clock: Clock,
    leeway: Duration,
    grace: Duration,
    session: watch::Receiver<SessionView>,
    keys: Arc<RwLock<BTreeMap<String, DecodingKey>>>,
}

impl Tokens {
    /// Judges tokens of one cluster. There are no keys yet: every token is refused.
    #[must_use]
    pub fn new(
        (org, cluster): (OrgId, ClusterId),
        clock: Clock,
        (leeway, grace): (Duration, Duration),
        session: watch::Receiver<SessionView>,
    ) -> Self {
        Self { org, cluster, clock, leeway, grace, session, keys: Arc::default() }
    }

    /// Replaces the keys by what the control plane sent. A key that is none is left out.
    pub fn replace_keys(&self, sent: &TokenKeys) {
        let mut keys = BTreeMap::new();
        for key in &sent.keys {
            // The library slices the first 32 bytes out: a shorter key would be a panic.
            if key.public_key.len() == 32 {
                let decoding = DecodingKey::from_ed_der(&key.public_key);
                keys.insert(key.key_id.clone(), decoding);
            } else {
                tracing::warn!(key_id = key.key_id, "a token key has not 32 bytes; left out");
            }
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// What a token says, if it is genuine, for this cluster, and its time is not over.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` or `TOKEN_EXPIRED`.
    pub fn verify(&self, token: &str) -> Result<Claims, WireError> {
        let refuse = |why: &str| WireError::new(ErrorCode::Unauthenticated, why);
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refuse("the token is too long to be one"));
        }
        let malformed = |_| refuse("the token is malformed or its signature is wrong");
        let header = jsonwebtoken::decode_header(token).map_err(malformed)?;
        let kid = header.kid.ok_or_else(|| refuse("the token names no key"))?;
        let claims = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            let key = keys.get(&kid).ok_or_else(|| refuse("the token's key is not known here"))?;
            jsonwebtoken::decode::<Claims>(token, key, &rules()).map_err(malformed)?.claims
        };
        if claims.iss != ISSUER {
            return Err(refuse("the token has another issuer"));
        }
        if (claims.org, claims.cluster) != (self.org, self.cluster) {
            return Err(refuse("the token is for another cluster"));
        }
        self.still_good(&claims)?;
        Ok(claims)
    }

    /// Whether a token that was good still is. While the control plane is away, nobody could
    /// get a fresh one: then an expired one has a grace.
    ///
    /// # Errors
    /// `TOKEN_EXPIRED`.
    pub fn still_good(&self, claims: &Claims) -> Result<(), WireError> {
        let allowance = if self.session.borrow().up { self.leeway } else { self.grace };
        let allowance_ms = i64::try_from(allowance.as_millis()).unwrap_or(i64::MAX);
        let over_ms = claims.exp.saturating_mul(1000).saturating_add(allowance_ms);
        if self.clock.unix_ms() > over_ms {
            return Err(WireError::new(ErrorCode::TokenExpired, "the token has expired"));
        }
        Ok(())
    }
}

/// Whether the token permits `scope`.
///
/// # Errors
/// `FORBIDDEN`.
pub fn require(claims: &Claims, scope: Scope) -> Result<(), WireError> {
    if claims.permits(scope) {
        return Ok(());
    }
    let scope = match scope {
        Scope::Produce => "produce",
        Scope::Consume => "consume",
        Scope::Internal => "internal",
        Scope::Replicate => "replicate",
    };
    Err(WireError::new(ErrorCode::Forbidden, format!("the token lacks the scope {scope:?}")))
}

/// Time is judged by our own clock, not by the library's: it knows neither skew nor grace.
fn rules() -> Validation {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    rules
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use jsonwebtoken::{EncodingKey, Header};
    use uuid::Uuid;
    use weir_protocol::pb::session::TokenKey;

    use super::*;

    /// Wraps a seed as PKCS#8, the form that the signer takes.
    fn signer(seed: [u8; 32]) -> EncodingKey {
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend_from_slice(&seed);
        EncodingKey::from_ed_der(&der)
    }

    fn sign(seed: [u8; 32], kid: Option<&str>, claims: &Claims) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &signer(seed)).unwrap()
    }

    fn now_s() -> i64 {
        Clock.unix_ms() / 1000
    }

    fn claims(exp: i64) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            sub: "key_test".to_owned(),
            org: OrgId(Uuid::from_u128(1)),
            cluster: ClusterId(Uuid::from_u128(2)),
            scopes: vec![Scope::Produce],
            iat: exp - 60,
            exp,
        }
    }

    fn tokens(up: bool) -> Tokens {
        let session = watch::channel(SessionView { up, ..SessionView::default() }).1;
        let ids = (OrgId(Uuid::from_u128(1)), ClusterId(Uuid::from_u128(2)));
        let times = (Duration::from_secs(10), Duration::from_secs(3600));
        let tokens = Tokens::new(ids, Clock, times, session);
        let public = SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes();
        let key = |key_id: &str, bytes: &[u8]| TokenKey {
            key_id: key_id.to_owned(),
            public_key: bytes.to_vec().into(),
        };
        tokens.replace_keys(&TokenKeys { keys: vec![key("a", &public), key("short", b"abc")] });
        tokens
    }

    fn code(result: Result<Claims, WireError>) -> Option<ErrorCode> {
        result.err().map(|error| error.code)
    }

    // On a runtime, which in simulation holds the clock.
    #[tokio::test]
    async fn a_genuine_token_is_read() {
        let good = claims(now_s() + 60);
        assert_eq!(tokens(true).verify(&sign([5; 32], Some("a"), &good)), Ok(good.clone()));
        assert!(require(&good, Scope::Produce).is_ok());
        assert_eq!(require(&good, Scope::Internal).unwrap_err().code, ErrorCode::Forbidden);
    }

    #[tokio::test]
    async fn forged_foreign_and_malformed_ones_are_refused() {
        let tokens = tokens(true);
        let good = claims(now_s() + 60);
        let foreign_org = Claims { org: OrgId(Uuid::from_u128(9)), ..good.clone() };
        let foreign_cluster = Claims { cluster: ClusterId(Uuid::from_u128(9)), ..good.clone() };
        let issuer = Claims { iss: "other".to_owned(), ..good.clone() };
        let unsigned = {
            let token = sign([5; 32], Some("a"), &good);
            token.rsplit_once('.').unwrap().0.to_owned() + "."
        };
        for bad in [
            sign([6; 32], Some("a"), &good),
            sign([5; 32], Some("b"), &good),
            sign([5; 32], Some("short"), &good),
            sign([5; 32], None, &good),
            sign([5; 32], Some("a"), &foreign_org),
            sign([5; 32], Some("a"), &foreign_cluster),
            sign([5; 32], Some("a"), &issuer),
            unsigned,
            String::new(),
            "a.b.c".to_owned(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
        ] {
            assert_eq!(code(tokens.verify(&bad)), Some(ErrorCode::Unauthenticated), "{bad}");
        }
    }

    #[tokio::test]
    async fn an_expired_token_has_grace_only_while_the_control_plane_is_away() {
        let leeway = sign([5; 32], Some("a"), &claims(now_s() - 5));
        let expired = sign([5; 32], Some("a"), &claims(now_s() - 60));
        let long_ago = sign([5; 32], Some("a"), &claims(now_s() - 7200));
        let (up, down) = (tokens(true), tokens(false));
        assert_eq!(code(up.verify(&leeway)), None);
        assert_eq!(code(up.verify(&expired)), Some(ErrorCode::TokenExpired));
        assert_eq!(code(down.verify(&expired)), None);
        assert_eq!(code(down.verify(&long_ago)), Some(ErrorCode::TokenExpired));
    }
}
