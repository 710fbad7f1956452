//! Who is asking: the token of a call.

use tonic::metadata::MetadataMap;
use weir_protocol::{
    ErrorCode, WireError,
    token::{Claims, Scope},
};

use crate::token::{self, Tokens};

/// The claims of `authorization: Bearer <token>`.
///
/// # Errors
/// `UNAUTHENTICATED`, `TOKEN_EXPIRED`.
pub fn bearer(tokens: &Tokens, metadata: &MetadataMap) -> Result<Claims, WireError> {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| {
        let text = "no token: send authorization: Bearer <token>";
        WireError::new(ErrorCode::Unauthenticated, text)
    })?;
    tokens.verify(token.trim())
}

/// Takes a fresh token on an open stream. One that is refused leaves the old one in force,
/// which ends by itself: keys may be on their way here.
pub fn refresh(tokens: &Tokens, claims: &mut Claims, token: &str, scope: Scope) {
    let fresh = tokens.verify(token).and_then(|fresh| {
        token::require(&fresh, scope)?;
        Ok(fresh)
    });
    match fresh {
        Ok(fresh) => *claims = fresh,
        Err(error) => tracing::debug!(%error, "a fresh token was refused"),
    }
}
