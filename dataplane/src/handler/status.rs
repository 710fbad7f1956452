//! Errors where a message has no room for them: a gRPC status that carries the encoded
//! `weir.data.v1.Error` in its details.

use prost::Message as _;
use tonic::{Code, Status};
use weir_protocol::{ErrorCode, WireError};

/// The status of an error.
#[must_use]
pub fn of(error: WireError) -> Status {
    let code = match error.code {
        ErrorCode::Unauthenticated | ErrorCode::TokenExpired => Code::Unauthenticated,
        ErrorCode::Forbidden => Code::PermissionDenied,
        ErrorCode::InvalidRequest => Code::InvalidArgument,
        ErrorCode::Overloaded => Code::ResourceExhausted,
        ErrorCode::ShuttingDown | ErrorCode::NotYetAvailable => Code::Unavailable,
        ErrorCode::TimedOut => Code::DeadlineExceeded,
        ErrorCode::UnknownCluster => Code::NotFound,
        _ => Code::Unknown,
    };
    Status::with_details(code, error.to_string(), error.wire.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use weir_protocol::pb::data;

    use super::*;

    #[test]
    fn the_details_hold_the_whole_error() {
        let mut error = WireError::new(ErrorCode::TokenExpired, "over");
        error.wire.leader_epoch = Some(3);
        let status = of(error.clone());
        assert_eq!(status.code(), Code::Unauthenticated);
        let decoded = data::Error::decode(status.details()).unwrap();
        assert_eq!(WireError::from(decoded), error);
    }
}
