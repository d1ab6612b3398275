//! Kafka's error codes, as far as this broker answers with them.

use std::fmt;

/// A Kafka error code; 0 means success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: ErrorCode = ErrorCode($code);)+

            /// Kafka's name of the code, or "UNKNOWN".
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($name),)+
                    _ => "UNKNOWN",
                }
            }
        }
    };
}

error_codes! {
    /// Success.
    NONE = 0,
    /// The asked offset is not in the partition.
    OFFSET_OUT_OF_RANGE = 1,
    /// A batch is damaged.
    CORRUPT_MESSAGE = 2,
    /// No such topic or partition here.
    UNKNOWN_TOPIC_OR_PARTITION = 3,
    /// A batch is larger than the topic allows.
    MESSAGE_TOO_LARGE = 10,
    /// The commit's metadata is larger than allowed.
    OFFSET_METADATA_TOO_LARGE = 12,
    /// The coordinator is not able to answer; try again.
    COORDINATOR_NOT_AVAILABLE = 15,
    /// The topic name is illegal, or the topic is the broker's own.
    INVALID_TOPIC_EXCEPTION = 17,
    /// The acks field is none of -1, 0 and 1.
    INVALID_REQUIRED_ACKS = 21,
    /// The generation is not the group's.
    ILLEGAL_GENERATION = 22,
    /// The protocols of the member and the group have nothing in common.
    INCONSISTENT_GROUP_PROTOCOL = 23,
    /// The group id is empty.
    INVALID_GROUP_ID = 24,
    /// The member is not in the group.
    UNKNOWN_MEMBER_ID = 25,
    /// The session timeout is outside the allowed range.
    INVALID_SESSION_TIMEOUT = 26,
    /// The group rebalances; join again.
    REBALANCE_IN_PROGRESS = 27,
    /// Another part of this server writes or reads the topic; clients may not do this to it.
    TOPIC_AUTHORIZATION_FAILED = 29,
    /// A timestamp is too far from the broker's clock.
    INVALID_TIMESTAMP = 32,
    /// The API version is not served.
    UNSUPPORTED_VERSION = 35,
    /// The topic exists.
    TOPIC_ALREADY_EXISTS = 36,
    /// The number of partitions is illegal.
    INVALID_PARTITIONS = 37,
    /// The replication factor is not possible.
    INVALID_REPLICATION_FACTOR = 38,
    /// The replica assignment is not possible.
    INVALID_REPLICA_ASSIGNMENT = 39,
    /// A configuration is illegal.
    INVALID_CONFIG = 40,
    /// The request makes no sense.
    INVALID_REQUEST = 42,
    /// The batch's format is not supported.
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43,
    /// A limit of the broker does not allow it.
    POLICY_VIOLATION = 44,
    /// A producer skipped sequence numbers.
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45,
    /// The producer's epoch is old.
    INVALID_PRODUCER_EPOCH = 47,
    /// The log could not store or read.
    KAFKA_STORAGE_ERROR = 56,
    /// The group has members.
    NON_EMPTY_GROUP = 68,
    /// No group of that id.
    GROUP_ID_NOT_FOUND = 69,
    /// No such fetch session.
    FETCH_SESSION_ID_NOT_FOUND = 70,
    /// The client's leader epoch is old.
    FENCED_LEADER_EPOCH = 74,
    /// The client's leader epoch is newer than the broker's.
    UNKNOWN_LEADER_EPOCH = 75,
    /// The codec is not allowed.
    UNSUPPORTED_COMPRESSION_TYPE = 76,
    /// Join again with the member id of this answer.
    MEMBER_ID_REQUIRED = 79,
    /// The group has as many members as allowed.
    GROUP_MAX_SIZE_REACHED = 81,
    /// Another member took over the group instance id.
    FENCED_INSTANCE_ID = 82,
    /// Members of the group subscribe to the topic.
    GROUP_SUBSCRIBED_TO_TOPIC = 86,
    /// A record breaks a rule of its topic.
    INVALID_RECORD = 87,
    /// No topic of that id.
    UNKNOWN_TOPIC_ID = 100,
}

impl ErrorCode {
    /// Whether this is success.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}
