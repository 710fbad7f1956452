//! Whose control plane answers at an address: another home's may have taken the port.

use secrecy::{ExposeSecret as _, SecretString};
use weir_client::Admin;

use crate::error;

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The home's own: it knows the home's key by its id.
    Ours,
    /// Another one.
    Stranger,
    /// Nobody, or not now: why.
    Nobody(String),
}

/// Asks who answers.
pub async fn who(admin: &Admin, key: &SecretString) -> Answer {
    match admin.whoami().await {
        // `key_<hex>` is the id, `weir_<env>_<hex>_…` the key.
        Ok(me) if names(key, &me.key_id.0.simple().to_string()) => Answer::Ours,
        Ok(_) => Answer::Stranger,
        Err(error) if matches!(error.status(), Some(401 | 403 | 404)) => Answer::Stranger,
        Err(error) => Answer::Nobody(error::reason(&error)),
    }
}

fn names(key: &SecretString, id: &str) -> bool {
    key.expose_secret().split('_').nth(2) == Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_id_in_its_third_part() {
        let key = SecretString::from("weir_local_0a1b_secret_crc");
        assert!(names(&key, "0a1b"));
        assert!(!names(&key, "secret") && !names(&key, ""));
    }
}
