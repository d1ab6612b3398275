//! Decoding of one request frame, from hostile bytes, within a memory budget.

use bytes::Bytes;
use kafka_wire::{
    AlterConfigsRequest, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    JoinGroupRequest, KafkaMessage, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, SyncGroupRequest,
};
use kafka_wire_core::{ApiVersion, DecodeError, DecodeLimits, Decoder, KafkaDecode, StrBytes};

use super::produce_request::decode_produce;
use super::{ApiKey, ServedApi};

/// Largest frame of any request but Produce. 8 MiB: a decoded request needs at most about 30 times its frame.
pub const SMALL_FRAME_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Largest number of elements of one array in a request; a client may ask for this many partitions at once.
const ARRAY_ELEMENTS_MAX: usize = 100_000;

/// Largest string in a request; every legal name, id and commit metadata is below Kafka's own 32,767.
const STRING_MAX_BYTES: usize = 32_767;

/// Largest number of unknown tagged fields in one structure. Known clients send none.
const TAGGED_FIELDS_MAX: usize = 64;

/// Largest sum of unknown tagged fields in one structure.
const TAGGED_FIELDS_MAX_BYTES: usize = 64 * 1024;

/// What comes before the body of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api: ApiKey,
    /// In which version; always one that is served, except in [`Request::UnknownApiVersions`].
    pub version: i16,
    /// The number that the response repeats.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: Option<StrBytes>,
}

/// A decoded request.
#[derive(Clone, Debug)]
pub struct DecodedRequest {
    /// Its header.
    pub header: RequestHeader,
    /// Its body.
    pub request: Request,
}

/// Why a frame is not a request that is served. The connection is closed, as Kafka does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The header does not decode.
    #[error("request header is malformed")]
    Header(#[source] DecodeError),
    /// The API is not served.
    #[error("api key {key} is not served")]
    UnknownApi {
        /// The key on the wire.
        key: i16,
    },
    /// The version is not served.
    #[error("{api:?} version {version} is not served, versions {min} to {max} are")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The asked version.
        version: i16,
        /// Lowest served version.
        min: i16,
        /// Highest served version.
        max: i16,
    },
    /// Only Produce requests may be this large.
    #[error("{api:?} request of {size_bytes} bytes is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The API.
        api: ApiKey,
        /// Size of the frame.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The body does not decode.
    #[error("{api:?} version {version} request is malformed")]
    Body {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// Where and why.
        #[source]
        source: DecodeError,
    },
}

macro_rules! requests {
    ($($name:ident($body:ident),)+) => {
        /// A request body, one variant per served API.
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "each variant is Kafka's own name of the request")]
        pub enum Request {
            $($name($body),)+
            Produce(ProduceRequest),
            /// `ApiVersions` in a version that is not served: answered with a version-0 body and the list.
            UnknownApiVersions,
        }

        fn is_flexible(api: ApiKey, version: ApiVersion) -> bool {
            match api {
                $(ApiKey::$name => <$body as KafkaMessage>::is_flexible(version),)+
                ApiKey::Produce => <ProduceRequest as KafkaMessage>::is_flexible(version),
            }
        }

        fn decode_body(
            api: ApiKey,
            version: ApiVersion,
            decoder: &mut Decoder,
        ) -> Result<Request, DecodeError> {
            Ok(match api {
                $(ApiKey::$name => Request::$name(<$body as KafkaDecode>::decode(decoder, version)?),)+
                ApiKey::Produce => Request::Produce(decode_produce(decoder, version)?),
            })
        }
    };
}

requests! {
    ApiVersions(ApiVersionsRequest),
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    Metadata(MetadataRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    FindCoordinator(FindCoordinatorRequest),
    JoinGroup(JoinGroupRequest),
    Heartbeat(HeartbeatRequest),
    LeaveGroup(LeaveGroupRequest),
    SyncGroup(SyncGroupRequest),
    DescribeGroups(DescribeGroupsRequest),
    ListGroups(ListGroupsRequest),
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    InitProducerId(InitProducerIdRequest),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    DeleteRecords(DeleteRecordsRequest),
    DescribeConfigs(DescribeConfigsRequest),
    AlterConfigs(AlterConfigsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    CreatePartitions(CreatePartitionsRequest),
    DescribeLogDirs(DescribeLogDirsRequest),
    DeleteGroups(DeleteGroupsRequest),
    OffsetDelete(OffsetDeleteRequest),
    DescribeCluster(DescribeClusterRequest),
}

/// Decodes the frame of one request, without its length prefix.
///
/// Record batches of a Produce request stay slices of `frame`. Trailing bytes are ignored, as Kafka does.
pub fn decode_request(frame: Bytes) -> Result<DecodedRequest, RequestError> {
    let size_bytes = frame.len();
    let mut decoder = Decoder::new(frame.clone(), limits(size_bytes)).map_err(RequestError::Header)?;
    let key = decoder.read_i16().map_err(RequestError::Header)?;
    let version = decoder.read_i16().map_err(RequestError::Header)?;
    let correlation_id = decoder.read_i32().map_err(RequestError::Header)?;
    let served = ApiKey::from_wire(key).ok_or(RequestError::UnknownApi { key })?;
    let api = served.key;
    if version < served.min || version > served.max {
        return unserved_version(served, version, correlation_id);
    }
    if api != ApiKey::Produce && size_bytes > SMALL_FRAME_MAX_BYTES {
        return Err(RequestError::TooLarge {
            api,
            size_bytes,
            limit_bytes: SMALL_FRAME_MAX_BYTES,
        });
    }

    let wire_version = ApiVersion::new(version);
    let header_version = if is_flexible(api, wire_version) { 2 } else { 1 };
    let mut decoder = Decoder::new(frame, limits(size_bytes)).map_err(RequestError::Header)?;
    let header = kafka_wire::RequestHeader::decode(&mut decoder, ApiVersion::new(header_version))
        .map_err(RequestError::Header)?;
    let request = decode_body(api, wire_version, &mut decoder).map_err(|source| RequestError::Body {
        api,
        version,
        source,
    })?;
    let header = RequestHeader {
        api,
        version,
        correlation_id,
        client_id: header.client_id,
    };
    Ok(DecodedRequest { header, request })
}

fn unserved_version(
    served: ServedApi,
    version: i16,
    correlation_id: i32,
) -> Result<DecodedRequest, RequestError> {
    if served.key == ApiKey::ApiVersions {
        let header = RequestHeader {
            api: served.key,
            version: 0,
            correlation_id,
            client_id: None,
        };
        return Ok(DecodedRequest {
            header,
            request: Request::UnknownApiVersions,
        });
    }
    Err(RequestError::UnsupportedVersion {
        api: served.key,
        version,
        min: served.min,
        max: served.max,
    })
}

/// Budgets for a frame of this size: no single field may be larger than the frame that carries it.
fn limits(frame_size_bytes: usize) -> DecodeLimits {
    let mut limits = DecodeLimits::default();
    limits.max_frame_bytes = frame_size_bytes;
    limits.max_bytes_bytes = frame_size_bytes;
    limits.max_string_bytes = STRING_MAX_BYTES;
    limits.max_array_elements = ARRAY_ELEMENTS_MAX.min(frame_size_bytes);
    limits.max_tagged_fields = TAGGED_FIELDS_MAX;
    limits.max_tag_bytes = TAGGED_FIELDS_MAX_BYTES;
    limits.max_total_tag_bytes = TAGGED_FIELDS_MAX_BYTES;
    limits
}
