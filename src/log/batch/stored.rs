//! A batch that has its place in a partition.

use bytes::Bytes;

use super::{BatchError, BatchHeader};
use crate::log::{Offset, Timestamp};

/// A whole batch whose base offset is already in its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset behind the last record.
    pub next_offset: Offset,
    /// Largest timestamp of the records.
    pub max_timestamp: Timestamp,
    /// The batch.
    pub bytes: Bytes,
}

impl StoredBatch {
    /// Takes the places from the header of `bytes`, which must be one whole batch; the checksum is not checked.
    pub fn parse(bytes: Bytes) -> Result<StoredBatch, BatchError> {
        let header = BatchHeader::parse_whole(&bytes)?;
        Ok(StoredBatch {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            max_timestamp: header.max_timestamp,
            bytes,
        })
    }
}
