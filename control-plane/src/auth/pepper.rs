//! Keyed hashes of secrets. Secrets are random and long, so a fast hash is right; the key
//! keeps a stolen table of hashes from being of use without it.

use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::{hex, unhex};

/// What a secret is for. Hashes of one purpose never match another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An API key.
    ApiKey,
    /// The proof of a launch.
    Launch,
    /// That a launch is of a control plane over this database, whether or not it knows it.
    LaunchOrigin,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::ApiKey => b"weir api key v1",
            Self::Launch => b"weir launch v1",
            Self::LaunchOrigin => b"weir launch origin v1",
        }
    }
}

/// The key of the hashes.
#[derive(Clone, Debug)]
pub struct Pepper(SecretString);

impl Pepper {
    /// From the text that the database holds.
    #[must_use]
    pub const fn new(text: SecretString) -> Self {
        Self(text)
    }

    /// The keyed hash of `secret`, bound to what it is for and to whose it is (`id`); 64
    /// hexadecimal digits.
    #[must_use]
    pub fn hash(&self, purpose: Purpose, id: &str, secret: &SecretString) -> String {
        hex(&self.keyed(purpose, id, secret).finalize().into_bytes())
    }

    /// Whether `hash` is the hash of `secret`. Takes as long for a wrong one as for the
    /// right one.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, id: &str, secret: &SecretString, hash: &str) -> bool {
        unhex(hash).is_some_and(|hash| self.keyed(purpose, id, secret).verify_slice(&hash).is_ok())
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn keyed(&self, purpose: Purpose, id: &str, secret: &SecretString) -> Hmac<Sha256> {
        let mut mac =
            <Hmac<Sha256> as hmac::Mac>::new_from_slice(self.0.expose_secret().as_bytes())
                .expect("HMAC takes keys of any length");
        // Neither labels nor ids hold a zero byte, so the parts cannot run into each other.
        for part in [purpose.label(), b"\0", id.as_bytes(), b"\0"] {
            mac.update(part);
        }
        mac.update(secret.expose_secret().as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_one_secret_one_purpose_and_one_owner() {
        let pepper = Pepper::new("pepper".to_owned().into());
        let secret = SecretString::from("secret".to_owned());
        let hash = pepper.hash(Purpose::ApiKey, "key_1", &secret);
        assert!(pepper.verify(Purpose::ApiKey, "key_1", &secret, &hash));
        assert!(!pepper.verify(Purpose::Launch, "key_1", &secret, &hash));
        assert!(!pepper.verify(Purpose::ApiKey, "key_2", &secret, &hash));
        assert!(!pepper.verify(Purpose::ApiKey, "key_1", &"other".to_owned().into(), &hash));
        assert!(!pepper.verify(Purpose::ApiKey, "key_1", &secret, "no hash"));
        let other = Pepper::new("salt".to_owned().into());
        assert!(!other.verify(Purpose::ApiKey, "key_1", &secret, &hash));
    }
}
