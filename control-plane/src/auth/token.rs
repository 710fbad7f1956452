//! Data-plane tokens: EdDSA JWTs that SPUs verify without a call. Times come from the
//! caller's clock, never from the JWT library's own.

use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use weir_protocol::{pb::session, token::Claims};

use super::unhex;

/// A PKCS#8 v1 document of an Ed25519 key (RFC 8410) is this, then the 32 bytes of the seed.
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why a token could not be signed, or a key not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The stored seed is not 64 hexadecimal digits.
    #[error("signing key {key_id} in the database is damaged")]
    Seed {
        /// Which key.
        key_id: String,
    },
    /// There is no key that is not retired.
    #[error("the database holds no live signing key")]
    NoKey,
    /// The library refused.
    #[error("the token could not be signed: {0}")]
    Library(String),
}

/// Signs tokens with the newest live key and knows the public halves of all.
#[derive(Clone)]
pub struct TokenSigner {
    header: Header,
    key: EncodingKey,
    public: Vec<(String, [u8; 32])>,
}

impl TokenSigner {
    /// From `(key id, seed as 64 hexadecimal digits, retired)`, the newest first.
    ///
    /// # Errors
    /// [`SignError::Seed`], [`SignError::NoKey`].
    pub fn new(keys: &[(String, SecretString, bool)]) -> Result<Self, SignError> {
        let mut public = Vec::with_capacity(keys.len());
        let mut signing = None;
        for (key_id, seed, retired) in keys {
            let seed: [u8; 32] = unhex(seed.expose_secret())
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| SignError::Seed { key_id: key_id.clone() })?;
            public.push((key_id.clone(), SigningKey::from_bytes(&seed).verifying_key().to_bytes()));
            if !retired && signing.is_none() {
                let mut header = Header::new(Algorithm::EdDSA);
                header.kid = Some(key_id.clone());
                let document = [&PKCS8_HEAD[..], &seed].concat();
                signing = Some((header, EncodingKey::from_ed_der(&document)));
            }
        }
        let (header, key) = signing.ok_or(SignError::NoKey)?;
        Ok(Self { header, key, public })
    }

    /// The token that says `claims`.
    ///
    /// # Errors
    /// [`SignError::Library`].
    pub fn sign(&self, claims: &Claims) -> Result<SecretString, SignError> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
            .map(SecretString::from)
            .map_err(|error| SignError::Library(error.to_string()))
    }

    /// The public keys, as SPUs are told them.
    #[must_use]
    pub fn token_keys(&self) -> session::TokenKeys {
        session::TokenKeys {
            keys: self
                .public
                .iter()
                .map(|(key_id, public_key)| session::TokenKey {
                    key_id: key_id.clone(),
                    public_key: bytes::Bytes::copy_from_slice(public_key),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
    use uuid::Uuid;
    use weir_protocol::{
        ids::{ClusterId, OrgId},
        token::{ISSUER, Scope},
    };

    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            sub: "key_1".to_owned(),
            org: OrgId(Uuid::from_u128(1)),
            cluster: ClusterId(Uuid::from_u128(2)),
            scopes: vec![Scope::Produce],
            iat: 1_000,
            exp: 1_900,
        }
    }

    fn key(id: &str, digit: &str, retired: bool) -> (String, SecretString, bool) {
        (id.to_owned(), digit.repeat(64).into(), retired)
    }

    #[test]
    fn a_token_verifies_with_the_public_key_that_its_header_names() {
        let signer =
            TokenSigner::new(&[key("k3", "c", true), key("k2", "b", false), key("k1", "a", false)])
                .unwrap();
        let token = signer.sign(&claims()).unwrap();
        let (signed, signature) = token.expose_secret().rsplit_once('.').unwrap();
        let (header, body) = signed.split_once('.').unwrap();
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&decode(header)).unwrap();
        assert_eq!(header["kid"], "k2");
        assert_eq!(header["alg"], "EdDSA");
        assert_eq!(serde_json::from_slice::<Claims>(&decode(body)).unwrap(), claims());
        let keys = signer.token_keys().keys;
        assert_eq!(keys.len(), 3);
        let public = keys.iter().find(|key| key.key_id == "k2").unwrap();
        let public = VerifyingKey::from_bytes(&public.public_key[..].try_into().unwrap()).unwrap();
        let signature = Signature::from_slice(&decode(signature)).unwrap();
        public.verify(signed.as_bytes(), &signature).unwrap();
        let wrong = VerifyingKey::from_bytes(&keys[2].public_key[..].try_into().unwrap()).unwrap();
        assert!(wrong.verify(signed.as_bytes(), &signature).is_err());
    }

    #[test]
    fn damaged_and_missing_keys_are_told_apart() {
        assert_eq!(TokenSigner::new(&[]).err(), Some(SignError::NoKey));
        assert_eq!(TokenSigner::new(&[key("k", "a", true)]).err(), Some(SignError::NoKey));
        assert_eq!(
            TokenSigner::new(&[("k".to_owned(), "zz".to_owned().into(), false)]).err(),
            Some(SignError::Seed { key_id: "k".to_owned() })
        );
    }
}
