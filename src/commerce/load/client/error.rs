//! Why a request to the broker had no useful answer.

use std::io;
use std::net::SocketAddr;

use kafka_wire_core::{DecodeError, EncodeError};

/// A failed request. The connection that it went over is of no further use, except after
/// [`ClientError::Refused`] and [`ClientError::Unsupported`].
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address does not resolve.
    #[error("cannot resolve broker address {address:?}")]
    Resolve {
        /// The address as given.
        address: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The address resolves to nothing.
    #[error("broker address {address:?} has no IP address")]
    NoAddress {
        /// The address as given.
        address: String,
    },
    /// No connection.
    #[error("cannot connect to broker {address}")]
    Connect {
        /// The address tried.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection ended, or broke, before the answer.
    #[error("connection to broker {address} ended before the answer to {api}")]
    Closed {
        /// The broker.
        address: SocketAddr,
        /// The request without an answer.
        api: &'static str,
    },
    /// No answer in time.
    #[error("broker {address} did not answer {api} within {limit_seconds} s")]
    TimedOut {
        /// The broker.
        address: SocketAddr,
        /// The request without an answer.
        api: &'static str,
        /// The time allowed.
        limit_seconds: u64,
    },
    /// The request cannot be written on the wire.
    #[error("cannot encode {api}")]
    Encode {
        /// The request.
        api: &'static str,
        /// What is wrong with it.
        #[source]
        source: EncodeError,
    },
    /// The answer is not what the protocol says.
    #[error("cannot decode the answer to {api} from {address}")]
    Decode {
        /// The broker.
        address: SocketAddr,
        /// The request.
        api: &'static str,
        /// What is wrong with the answer.
        #[source]
        source: DecodeError,
    },
    /// The answer is well-formed but leaves out what was asked for.
    #[error("the answer to {api} from {address} says nothing about {topic}-{partition}")]
    Incomplete {
        /// The broker.
        address: SocketAddr,
        /// The request.
        api: &'static str,
        /// The topic asked about.
        topic: String,
        /// The partition asked about.
        partition: i32,
    },
    /// The broker does not offer the request in a version that this client speaks.
    #[error("broker {address} does not offer {api} in versions {minimum} to {maximum}")]
    Unsupported {
        /// The broker.
        address: SocketAddr,
        /// The request.
        api: &'static str,
        /// Oldest version that this client speaks.
        minimum: i16,
        /// Newest version that this client speaks.
        maximum: i16,
    },
    /// The broker refused.
    #[error("broker {address} refused {api} for {topic}: Kafka error {code} ({})", error_name(*code))]
    Refused {
        /// The broker.
        address: SocketAddr,
        /// The request.
        api: &'static str,
        /// The topic it was about.
        topic: String,
        /// Kafka's error code.
        code: i16,
    },
}

impl ClientError {
    /// Whether the same request may succeed a moment later.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Refused { code, .. } => is_retriable_code(*code),
            _ => false,
        }
    }
}

/// Whether Kafka calls an error code retriable (those that a client of one topic can meet).
pub(super) fn is_retriable_code(code: i16) -> bool {
    matches!(code, 3 | 5 | 6 | 7 | 9 | 13 | 14 | 15 | 19 | 20 | 56 | 89)
}

/// The name of the error codes that this client can meet.
fn error_name(code: i16) -> &'static str {
    match code {
        -1 => "UNKNOWN_SERVER_ERROR",
        1 => "OFFSET_OUT_OF_RANGE",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        17 => "INVALID_TOPIC_EXCEPTION",
        18 => "RECORD_LIST_TOO_LARGE",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        35 => "UNSUPPORTED_VERSION",
        36 => "TOPIC_ALREADY_EXISTS",
        42 => "INVALID_REQUEST",
        56 => "KAFKA_STORAGE_ERROR",
        87 => "INVALID_RECORD",
        89 => "THROTTLING_QUOTA_EXCEEDED",
        _ => "see the Kafka protocol's error table",
    }
}
