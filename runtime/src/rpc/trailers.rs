//! Headers that carry a status, as they may come from anybody.

use base64::engine::{
    DecodePaddingMode, Engine as _,
    general_purpose::{GeneralPurpose, GeneralPurposeConfig},
};
use http::HeaderMap;

const DETAILS: &str = "grpc-status-details-bin";

/// With or without padding, as the protocol asks of who reads.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Takes out details that are no base64: tonic would panic on them.
pub(super) fn sanitize(headers: &mut HeaderMap) {
    let bad = |details: &http::HeaderValue| BASE64.decode(details.as_bytes()).is_err();
    if headers.get(DETAILS).is_some_and(bad) {
        headers.remove(DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn details_that_are_none_are_left_out_and_others_stay() {
        for (details, kept) in [("!", 0), ("YQ==", 1), ("YQ", 1), ("Y", 0)] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", "7".parse().unwrap());
            headers.insert(DETAILS, details.parse().unwrap());
            sanitize(&mut headers);
            let status = Status::from_header_map(&headers).unwrap();
            assert_eq!(status.details().len(), kept, "{details}");
        }
    }
}
