//! What a data-plane token says. Tokens are EdDSA JWTs (RFC 8037), signed by the control
//! plane and verified by SPUs without a call.

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, OrgId, SpuId};

/// The issuer that every token names.
pub const ISSUER: &str = "weir";

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Append records to the cluster's topics.
    Produce,
    /// Read records and metadata of the cluster.
    Consume,
    /// Use internal topics; only the control plane issues it, to itself.
    Internal,
    /// Fetch from other SPUs as a follower; only the control plane issues it, to the SPU that
    /// the subject names: see [`replica_subject`].
    Replicate,
}

/// What [`Claims::sub`] says of a token that an SPU fetches with.
#[must_use]
pub fn replica_subject(spu: SpuId) -> String {
    format!("{SPU_SUBJECT}{spu}")
}

const SPU_SUBJECT: &str = "spu/";

/// The claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// Whom it was given to: an API key's id, or a name of the control plane's own.
    pub sub: String,
    /// The tenant.
    pub org: OrgId,
    /// The one cluster that it is good for.
    pub cluster: ClusterId,
    /// What it permits.
    pub scopes: Vec<Scope>,
    /// Issued at, in seconds since 1970.
    pub iat: i64,
    /// Expires at, in seconds since 1970.
    pub exp: i64,
}

impl Claims {
    /// Whether the token permits `scope`.
    #[must_use]
    pub fn permits(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// The SPU that the token was given to, if it was given to one.
    #[must_use]
    pub fn spu(&self) -> Option<SpuId> {
        self.sub.strip_prefix(SPU_SUBJECT)?.parse().ok().map(SpuId)
    }
}
