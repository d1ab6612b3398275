//! Why a broker does not start, or stops.

use std::io;

use crate::log::{AppendError, LogFailed, ReadError, TopicError};

/// A broker could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Another process listens on the address.
    #[error(
        "address {address} is in use by another process; stop that process or listen on another port \
         (port 0 takes a free one)"
    )]
    AddressInUse {
        /// The address of the configuration.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("listening on {address} failed")]
    Listen {
        /// The address of the configuration.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The broker's own state could not be read or written.
    #[error("loading the broker's state failed")]
    State(#[from] StateError),
}

/// The internal topics could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An internal topic could not be created.
    #[error("internal topic {topic} could not be created")]
    Create {
        /// The topic.
        topic: &'static str,
        /// Why.
        #[source]
        source: TopicError,
    },
    /// An internal topic could not be read.
    #[error("internal topic {topic} could not be read")]
    Read {
        /// The topic.
        topic: &'static str,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// An internal topic holds something that this version does not understand.
    #[error("internal topic {topic} has a malformed batch or record at offset {offset}")]
    Malformed {
        /// The topic.
        topic: &'static str,
        /// Offset at which reading stopped.
        offset: u64,
    },
    /// A record of an internal topic could not be built.
    #[error("record of internal topic {topic} is too large")]
    TooLarge {
        /// The topic.
        topic: &'static str,
    },
    /// A record was not appended to an internal topic.
    #[error("appending to internal topic {topic} failed")]
    Append {
        /// The topic.
        topic: &'static str,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// The log stopped.
    #[error(transparent)]
    Failed(#[from] LogFailed),
    /// The thread that did the work was cancelled, as happens when the runtime shuts down.
    #[error("the runtime is shutting down")]
    Cancelled,
}
