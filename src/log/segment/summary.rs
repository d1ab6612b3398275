//! What the cleaner wants to know of a segment without reading it.

use crate::log::{Offset, Timestamp};

/// One segment of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset behind its last record.
    pub next_offset: Offset,
    /// Bytes of batches.
    pub size_bytes: u64,
    /// Largest timestamp of its records, as their producers set it; negative if none has one.
    pub max_timestamp: Timestamp,
    /// A time of the broker's clock at or behind the last append.
    pub last_append: Timestamp,
    /// Whether it is the one that is appended to.
    pub is_active: bool,
}

impl SegmentSummary {
    /// When its newest record was written, as far as its producer may be believed: nothing was written after it
    /// was appended, so that a timestamp in the year 3000 keeps no record for ever.
    pub fn newest(&self) -> Timestamp {
        if self.max_timestamp < Timestamp(0) {
            return self.last_append;
        }
        self.max_timestamp.min(self.last_append)
    }
}
