//! API keys: `weir_<env>_<id>_<secret>_<crc>`.
//!
//! `env` says where a key belongs (`local`, …), `id` is its public part (32 hexadecimal
//! digits), `secret` 64 more, `crc` the CRC-32 of all before it: a typo is told from a
//! wrong key without asking anybody, and a leaked key is recognised by its shape.

use std::io;

use crc_fast::{CrcAlgorithm, checksum};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use weir_protocol::ids::ApiKeyId;
use weir_runtime::rng;

use super::random_secret;

/// A whole key, secret included. Its `Debug` hides the secret.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Where it belongs, for people.
    pub environment: String,
    /// Its public part.
    pub id: ApiKeyId,
    /// Its secret part.
    pub secret: SecretString,
}

/// Why a text is no API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// It does not look like one at all.
    #[error("an API key looks like weir_<environment>_<id>_<secret>_<check>")]
    Format,
    /// It looks like one, and a character is wrong or missing.
    #[error("the key's last eight characters do not match the rest: it was mistyped or cut off")]
    Check,
}

impl ApiKey {
    /// A fresh key. `environment` is made of lower-case letters and digits.
    ///
    /// # Errors
    /// As [`rng::bytes`].
    pub fn generate(environment: &str) -> io::Result<Self> {
        Ok(Self {
            environment: environment.to_owned(),
            id: ApiKeyId(uuid::Builder::from_random_bytes(rng::bytes()?).into_uuid()),
            secret: random_secret()?,
        })
    }

    /// The whole key as its owner keeps it.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        let body = format!(
            "weir_{}_{}_{}",
            self.environment,
            self.id.0.simple(),
            self.secret.expose_secret()
        );
        let check = check(&body);
        format!("{body}_{check}").into()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`ApiKeyError`]; the check comes first, so that a typo is called a typo.
    pub fn parse(text: &SecretString) -> Result<Self, ApiKeyError> {
        let text = text.expose_secret().trim();
        let body = text.strip_prefix("weir_").ok_or(ApiKeyError::Format)?;
        let parts: Vec<_> = body.split('_').collect();
        let [environment, id, secret, given] = parts[..] else { return Err(ApiKeyError::Format) };
        let (checked, _) = text.rsplit_once('_').ok_or(ApiKeyError::Format)?;
        if check(checked) != given {
            return Err(ApiKeyError::Check);
        }
        let id = (id.len() == 32).then(|| Uuid::try_parse(id).ok()).flatten();
        let id = id.ok_or(ApiKeyError::Format)?;
        if secret.len() < 32 || environment.is_empty() {
            return Err(ApiKeyError::Format);
        }
        Ok(Self {
            environment: environment.to_owned(),
            id: ApiKeyId(id),
            secret: secret.to_owned().into(),
        })
    }
}

fn check(body: &str) -> String {
    format!("{:08x}", checksum(CrcAlgorithm::Crc32IsoHdlc, body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_round_trip_and_hides_its_secret() {
        let key = ApiKey::generate("local").unwrap();
        let text = key.to_text();
        let read = ApiKey::parse(&text).unwrap();
        assert_eq!(read.id, key.id);
        assert_eq!(read.secret.expose_secret(), key.secret.expose_secret());
        assert!(text.expose_secret().starts_with("weir_local_"));
        assert!(!format!("{key:?}").contains(key.secret.expose_secret()));
    }

    #[test]
    fn any_changed_character_is_a_typo_and_other_texts_are_no_keys() {
        let text = ApiKey::generate("local").unwrap().to_text();
        let text = text.expose_secret();
        for position in "weir_local_".len()..text.len() {
            let mut wrong = text.to_owned();
            let now = wrong.as_bytes()[position];
            if now == b'_' {
                continue;
            }
            wrong.replace_range(position..=position, if now == b'a' { "b" } else { "a" });
            assert_eq!(ApiKey::parse(&wrong.into()).unwrap_err(), ApiKeyError::Check);
        }
        for other in ["", "weir_", "sk-1234", "weir_local_1_2", "Bearer x", "weir_a_b_c_d_e"] {
            assert_eq!(ApiKey::parse(&other.to_owned().into()).unwrap_err(), ApiKeyError::Format);
        }
        assert_eq!(
            ApiKey::parse(&text[..text.len() - 1].to_owned().into()).unwrap_err(),
            ApiKeyError::Check
        );
    }
}
