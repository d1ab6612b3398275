//! Which version of each request is spoken with a broker: the newest that both sides know.

use std::net::SocketAddr;

use kafka_wire::{
    ApiVersionsResponse, FetchRequest, KafkaRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
};

use super::ClientError;

/// Versions that this client speaks: the oldest with v2 record batches, the newest that name topics
/// by name, not by identity.
pub(super) const API_VERSIONS: i16 = 0;
const METADATA_VERSIONS: (i16, i16) = (1, 9);
const LIST_OFFSETS_VERSIONS: (i16, i16) = (1, 5);
const PRODUCE_VERSIONS: (i16, i16) = (3, 9);
const FETCH_VERSIONS: (i16, i16) = (4, 12);

/// The versions agreed on with one broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    pub(super) metadata: i16,
    pub(super) list_offsets: i16,
    pub(super) produce: i16,
    pub(super) fetch: i16,
}

impl Versions {
    /// Agrees on versions with a broker that offers `offered`.
    pub(super) fn agree(address: SocketAddr, offered: &ApiVersionsResponse) -> Result<Versions, ClientError> {
        Ok(Versions {
            metadata: common_version::<MetadataRequest>(address, offered, METADATA_VERSIONS)?,
            list_offsets: common_version::<ListOffsetsRequest>(address, offered, LIST_OFFSETS_VERSIONS)?,
            produce: common_version::<ProduceRequest>(address, offered, PRODUCE_VERSIONS)?,
            fetch: common_version::<FetchRequest>(address, offered, FETCH_VERSIONS)?,
        })
    }
}

/// The newest version that both sides speak.
fn common_version<R: KafkaRequest>(
    address: SocketAddr,
    offered: &ApiVersionsResponse,
    (minimum, maximum): (i16, i16),
) -> Result<i16, ClientError> {
    let unsupported = ClientError::Unsupported {
        address,
        api: R::NAME,
        minimum,
        maximum,
    };
    let found = offered
        .api_keys
        .iter()
        .find(|api| api.api_key == R::API_KEY.value());
    let Some(found) = found else {
        return Err(unsupported);
    };
    let newest = maximum.min(found.max_version);
    if newest < minimum.max(found.min_version) {
        Err(unsupported)
    } else {
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::with;
    use super::*;
    use kafka_wire::api_versions_response::ApiVersion;

    #[track_caller]
    fn check(offered: Option<(i16, i16)>, expected: Option<i16>) {
        let api_keys = offered
            .map(|(min_version, max_version)| {
                with(|message: &mut ApiVersion| {
                    message.api_key = 0;
                    message.min_version = min_version;
                    message.max_version = max_version;
                })
            })
            .into_iter()
            .collect();
        let response = with(|message: &mut ApiVersionsResponse| {
            message.api_keys = api_keys;
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 9092));
        let found = common_version::<ProduceRequest>(address, &response, (3, 9));
        assert_eq!(found.ok(), expected, "offered {offered:?}");
    }

    #[test]
    fn the_newest_common_version_is_used() {
        check(Some((0, 13)), Some(9));
        check(Some((0, 7)), Some(7));
        check(Some((9, 13)), Some(9));
        check(Some((10, 13)), None);
        check(Some((0, 2)), None);
        check(None, None);
    }
}
