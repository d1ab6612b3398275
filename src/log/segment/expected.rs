//! What the indexes of a segment must be, from its batches alone.

use super::SegmentOptions;
use super::indexes::{BatchPlace, Indexes, OffsetEntry, TimeEntry};
use crate::log::Offset;
use crate::log::batch::BatchHeader;

/// The size of an entry of `.index` and of `.timeindex`.
pub const INDEX_ENTRY_SIZES_BYTES: (usize, usize) = (OffsetEntry::SIZE_BYTES, TimeEntry::SIZE_BYTES);

/// Builds the indexes of a segment from its batches, in order.
#[derive(Debug)]
pub struct ExpectedIndexes(Indexes);

impl ExpectedIndexes {
    /// Those of a segment without batches.
    pub fn new(base_offset: Offset) -> ExpectedIndexes {
        let interval_bytes = SegmentOptions::default().index_interval_bytes;
        ExpectedIndexes(Indexes::new(base_offset, interval_bytes))
    }

    /// Takes in the batch at `position`.
    pub fn observe(&mut self, position: u64, header: &BatchHeader) {
        self.0.observe(&BatchPlace {
            position,
            size_bytes: header.size_bytes(),
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
        });
    }

    /// The bytes of `.index` and `.timeindex`; those of a closed segment end with its largest timestamp.
    pub fn encode(mut self, is_closed: bool) -> (Vec<u8>, Vec<u8>) {
        if is_closed {
            self.0.close();
        }
        self.0.encode_from(0, 0)
    }
}
