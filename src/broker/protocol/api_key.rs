//! Which APIs are served, in which versions, with how large frames.

/// A served Kafka API, by its key on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
#[expect(missing_docs, reason = "each variant is Kafka's own name of the API")]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    DescribeLogDirs = 35,
    CreatePartitions = 37,
    DeleteGroups = 42,
    IncrementalAlterConfigs = 44,
    OffsetDelete = 47,
    DescribeCluster = 60,
}

/// One row of the version table.
#[derive(Clone, Copy, Debug)]
pub struct ServedApi {
    /// The API.
    pub key: ApiKey,
    /// Lowest version in the `ApiVersions` answer.
    pub advertised_min: i16,
    /// Lowest version that is served.
    pub min: i16,
    /// Highest version that is advertised and served.
    pub max: i16,
}

const fn api(key: ApiKey, min: i16, max: i16) -> ServedApi {
    ServedApi {
        key,
        advertised_min: min,
        min,
        max,
    }
}

/// Every served API, by key.
///
/// Produce is advertised from 0 though only 3 and later are served: librdkafka detects features by it
/// (KAFKA-18659).
pub const SERVED_APIS: [ServedApi; 27] = [
    ServedApi {
        key: ApiKey::Produce,
        advertised_min: 0,
        min: 3,
        max: 13,
    },
    api(ApiKey::Fetch, 4, 18),
    api(ApiKey::ListOffsets, 1, 11),
    api(ApiKey::Metadata, 0, 13),
    api(ApiKey::OffsetCommit, 2, 10),
    api(ApiKey::OffsetFetch, 1, 10),
    api(ApiKey::FindCoordinator, 0, 6),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 6),
    api(ApiKey::ListGroups, 0, 5),
    api(ApiKey::ApiVersions, 0, 4),
    api(ApiKey::CreateTopics, 2, 7),
    api(ApiKey::DeleteTopics, 1, 6),
    api(ApiKey::DeleteRecords, 0, 2),
    api(ApiKey::InitProducerId, 0, 5),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4),
    api(ApiKey::DescribeConfigs, 1, 4),
    api(ApiKey::AlterConfigs, 0, 2),
    api(ApiKey::DescribeLogDirs, 1, 5),
    api(ApiKey::CreatePartitions, 0, 3),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::IncrementalAlterConfigs, 0, 1),
    api(ApiKey::OffsetDelete, 0, 0),
    api(ApiKey::DescribeCluster, 0, 2),
];

impl ApiKey {
    /// The row of the version table for a key from the wire, if the API is served.
    pub fn from_wire(key: i16) -> Option<ServedApi> {
        SERVED_APIS.into_iter().find(|served| served.key as i16 == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_serves_what_it_advertises() {
        assert!(
            SERVED_APIS
                .windows(2)
                .all(|pair| (pair[0].key as i16) < pair[1].key as i16)
        );
        assert!(
            SERVED_APIS
                .iter()
                .all(|row| row.advertised_min <= row.min && row.min <= row.max)
        );
    }

    #[test]
    fn unknown_keys_are_not_served() {
        for key in [-1, 4, 17, 99, i16::MAX, i16::MIN] {
            assert!(ApiKey::from_wire(key).is_none(), "{key}");
        }
    }
}
