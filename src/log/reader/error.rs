//! Why a reader cannot go on.

use crate::log::batch::{BatchError, Compression};
use crate::log::{LogFailed, Offset, ReadError};

/// Why a reader gave no record. It stays where it is, and ends, until [`super::Reader::seek`].
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The partition could not be read: the offset is out of range, the topic deleted, or a segment damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The batch is compressed with a codec that this build does not decode.
    #[error(
        "records from offset {offset} on are compressed with {compression:?}, which this build does not read"
    )]
    Compressed {
        /// Offset of the batch.
        offset: Offset,
        /// The codec.
        compression: Compression,
    },
    /// A record is malformed although the checksum of its batch is right: it was sent like this.
    #[error("a record of the batch at offset {offset} is malformed")]
    Malformed {
        /// Offset of the batch.
        offset: Offset,
        /// The cause.
        source: BatchError,
    },
    /// The log stopped after a failed write or sync, so that nothing more will come. What is durable is read
    /// to its end before.
    #[error(transparent)]
    Failed(#[from] LogFailed),
}
