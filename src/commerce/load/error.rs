//! Why a run came to no verdict.

use super::client::{ClientError, RecordsError};

/// A run that could not be finished. A run that finished with a wrong result is a report, not this.
#[derive(Debug, thiserror::Error)]
pub enum SaleError {
    /// The broker did not do its part.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Records that were read are damaged.
    #[error("reading {topic} failed")]
    Records {
        /// The topic.
        topic: &'static str,
        /// What is wrong.
        #[source]
        source: RecordsError,
    },
    /// A record is not what its topic is for.
    #[error("record {offset} of {topic} is not understood")]
    Record {
        /// The topic.
        topic: &'static str,
        /// The record.
        offset: i64,
        /// What is wrong.
        #[source]
        source: crate::commerce::inventory::DecodeError,
    },
    /// Commands do not fit into a batch.
    #[error("cannot build a batch of commands")]
    Batch(#[source] kafka_wire_records::RecordError),
    /// The shop has several shards, and the sale would need to know which article is where.
    #[error("{topic} has {found} partitions; the flash sale needs exactly one")]
    Partitions {
        /// The topic.
        topic: &'static str,
        /// The number found.
        found: usize,
    },
    /// Nobody decides.
    #[error(
        "no answer to the stocking of the shop within {waited_seconds} s: is the reservation engine \
         (doorbuster serve) attached to {topic} at {address}?"
    )]
    NoEngine {
        /// The topic of the commands.
        topic: &'static str,
        /// The broker.
        address: std::net::SocketAddr,
        /// The time waited.
        waited_seconds: u64,
    },
    /// The broker refused the same commands again and again.
    #[error("a batch of commands was refused {attempts} times")]
    RefusedAgain {
        /// How often.
        attempts: u32,
        /// The last refusal.
        #[source]
        source: ClientError,
    },
    /// A part of the generator ended before its time.
    #[error("the generator's {part} ended early")]
    Ended {
        /// The part.
        part: &'static str,
    },
}
