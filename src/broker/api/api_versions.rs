//! `ApiVersions`: what this broker serves.

use kafka_wire::api_versions_response::ApiVersion;
use kafka_wire::{ApiVersionsRequest, ApiVersionsResponse};

use super::super::node::Context;
use super::super::protocol::{ErrorCode, SERVED_APIS};

pub(super) fn answer(context: &Context, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_legal_software_name(&request.client_software_name)
        && is_legal_software_name(&request.client_software_version);
    if context.version() >= 3 && !named {
        let mut response = ApiVersionsResponse::default();
        response.error_code = ErrorCode::INVALID_REQUEST.0;
        return response;
    }
    served()
}

/// The answer to a version that is not served: the list, so that the client can choose another.
pub(super) fn unsupported() -> ApiVersionsResponse {
    let mut response = served();
    response.error_code = ErrorCode::UNSUPPORTED_VERSION.0;
    response
}

fn served() -> ApiVersionsResponse {
    let mut response = ApiVersionsResponse::default();
    response.api_keys = SERVED_APIS
        .into_iter()
        .map(|served| {
            let mut range = ApiVersion::default();
            range.api_key = served.key as i16;
            range.min_version = served.advertised_min;
            range.max_version = served.max;
            range
        })
        .collect();
    response
}

/// Kafka's rule: letters and digits, with dots and dashes inside.
fn is_legal_software_name(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(name.chars().next())
        && ends(name.chars().last())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_rule() {
        for name in ["librdkafka", "apache-kafka-java", "2.12.1", "a"] {
            assert!(is_legal_software_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a b", "a_b"] {
            assert!(!is_legal_software_name(name), "{name}");
        }
    }
}
