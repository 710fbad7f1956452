//! Who asks, and what they may.

use weir_protocol::ids::{ApiKeyId, OrgId};

use super::AppError;
use crate::store::types::KeyScope;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Their org. Nothing outside of it exists for them.
    pub org: OrgId,
    /// Their key.
    pub key_id: ApiKeyId,
    /// What it permits.
    pub scopes: Vec<KeyScope>,
}

impl Principal {
    /// Whether they may. `admin` implies everything, and whoever may anything may read.
    ///
    /// # Errors
    /// [`AppError::Forbidden`].
    pub fn require(&self, scope: KeyScope) -> Result<(), AppError> {
        let permits = self.scopes.contains(&KeyScope::Admin)
            || self.scopes.contains(&scope)
            || (scope == KeyScope::Read && !self.scopes.is_empty());
        if permits { Ok(()) } else { Err(AppError::Forbidden(scope)) }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn scopes_imply_reading_and_admin_implies_all() {
        let with = |scopes: &[KeyScope]| Principal {
            org: OrgId(Uuid::nil()),
            key_id: ApiKeyId(Uuid::nil()),
            scopes: scopes.to_vec(),
        };
        for &scope in KeyScope::ALL {
            assert!(with(&[KeyScope::Admin]).require(scope).is_ok());
            assert!(with(&[scope]).require(scope).is_ok());
            assert!(with(&[scope]).require(KeyScope::Read).is_ok());
            assert!(with(&[]).require(scope).is_err());
        }
        assert!(with(&[KeyScope::Produce]).require(KeyScope::Consume).is_err());
        assert!(with(&[KeyScope::Read]).require(KeyScope::Admin).is_err());
    }
}
