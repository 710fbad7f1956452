//! Data-plane tokens, kept with their expiry, so that producing and consuming go on while
//! the control plane is away.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use weir_client::admin::TokenGrant;
use weir_protocol::ids::ClusterId;

use super::{Home, files};
use crate::error::{self, Result};

#[derive(Serialize, Deserialize)]
struct Stored {
    token: String,
    expires_at_unix_ms: i64,
    endpoints: Vec<String>,
}

/// A token that was kept.
#[derive(Debug)]
pub struct KeptToken {
    /// The token.
    pub token: SecretString,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_unix_ms: i64,
    /// Where the cluster's SPUs listened when it was given.
    pub endpoints: Vec<String>,
}

fn path(home: &Home, cluster: ClusterId) -> PathBuf {
    home.tokens().join(cluster.to_string())
}

/// The cluster's token, expired or not. A file that cannot be read or understood is as good
/// as none: a token can be asked for again.
pub fn load(home: &Home, cluster: ClusterId) -> Option<KeptToken> {
    let text = files::read(&path(home, cluster)).ok()??;
    let Stored { token, expires_at_unix_ms, endpoints } = serde_json::from_str(&text).ok()?;
    Some(KeptToken { token: token.into(), expires_at_unix_ms, endpoints })
}

/// Keeps a token, for nobody else to read.
///
/// # Errors
/// When it cannot be written.
pub fn save(home: &Home, grant: &TokenGrant) -> Result<()> {
    let path = path(home, grant.cluster_id);
    home.make(&home.tokens())?;
    let stored = Stored {
        token: grant.token.expose_secret().to_owned(),
        expires_at_unix_ms: grant.expires_at_unix_ms,
        endpoints: grant.endpoints.clone(),
    };
    let text = serde_json::to_vec(&stored).unwrap_or_default();
    files::replace(&path, &text, 0o600).map_err(|e| error::io("write", &path, &e))
}

/// Forgets a cluster's token.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(home: &Home, cluster: ClusterId) -> Result<()> {
    let path = path(home, cluster);
    files::remove(&path).map_err(|e| error::io("remove", &path, &e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_kept_private() {
        let base = tempfile::tempdir().unwrap();
        let home = Home::find(Some(base.path().to_owned())).unwrap();
        let cluster = ClusterId(uuid::Uuid::from_u128(7));
        assert!(load(&home, cluster).is_none());
        let grant = TokenGrant {
            token: "secret".into(),
            expires_at_unix_ms: 100_000,
            cluster_id: cluster,
            endpoints: vec!["127.0.0.1:9500".into()],
        };
        save(&home, &grant).unwrap();
        let kept = load(&home, cluster).unwrap();
        assert_eq!(kept.token.expose_secret(), "secret");
        assert_eq!(kept.endpoints, grant.endpoints);
        assert_eq!(kept.expires_at_unix_ms, 100_000);
        let mode = std::fs::metadata(path(&home, cluster)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(path(&home, cluster), "{").unwrap();
        assert!(load(&home, cluster).is_none());
        forget(&home, cluster).unwrap();
        forget(&home, cluster).unwrap();
    }
}
