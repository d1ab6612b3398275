//! A batch that has its place in a partition.

use std::ops::Range;

use bytes::Bytes;

use super::{BatchError, BatchHeader};
use crate::log::{Offset, Timestamp};

/// Where a batch stands in its partition's segments, decided when it is appended.
///
/// A batch at position 0 begins its segment, which is named for the batch's base offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Position of the batch's first byte in the segment's file.
    pub position: u64,
}

/// A whole batch whose offsets and place are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset behind the last record.
    pub next_offset: Offset,
    /// Largest timestamp of the records.
    pub max_timestamp: Timestamp,
    /// Where it belongs in the segments.
    pub place: Place,
    /// The part of the segment's file that holds the batch, and maybe its neighbours, already and durably:
    /// whole blocks of a large write that went straight there. Empty for a batch that the flusher writes.
    pub written: Range<u64>,
    /// The batch.
    pub bytes: Bytes,
}

impl StoredBatch {
    /// Takes the offsets from the header of `bytes`, which must be one whole batch with its base offset in
    /// place; the checksum is not checked.
    pub fn parse(bytes: Bytes, place: Place) -> Result<StoredBatch, BatchError> {
        let header = BatchHeader::parse_whole(&bytes)?;
        Ok(StoredBatch {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            max_timestamp: header.max_timestamp,
            place,
            written: 0..0,
            bytes,
        })
    }

    /// The batch's bytes in its segment's file.
    pub fn range(&self) -> Range<u64> {
        let start = self.place.position;
        start..start + self.bytes.len() as u64
    }
}
