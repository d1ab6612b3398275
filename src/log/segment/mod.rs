//! Segment files: consecutive batches of one partition in Kafka's own format, with their indexes.
//!
//! A partition is a folder. `<20-digit base offset>.log` holds batches one after the other, `.index` maps
//! offsets to positions and `.timeindex` timestamps to offsets, both sparsely and in Kafka's encoding, so
//! that Kafka's tools read and check them. The `.log` files are the truth; the indexes are derived, believed
//! only as far as the batch headers that they point to agree, and rebuilt from those headers otherwise.
//!
//! [`Segments`] is written by one thread, the flusher, and read by many. The end of the data comes from the
//! checkpoint, never from a file's length: files are longer than their data after a crash.

mod cache;
mod chunks;
mod cursor;
mod entry_check;
mod error;
mod expected;
mod file;
mod headers;
mod indexes;
mod load;
mod open;
mod paths;
mod place;
mod replace;
mod retire;
mod rewrite;
mod scan;
mod seal;
mod sealing;
mod segments;
mod summary;
#[cfg(test)]
mod tests;
mod unsealed;
mod verify;
mod walk;
mod writer;

pub use cache::{OPEN_SEGMENTS_MAX, SegmentCache};
pub use chunks::{CHUNK_SIZE_BYTES, SegmentIdentity};
pub use cursor::Cursor;
pub use error::{FileOperation, SegmentError};
pub(in crate::log) use expected::{ExpectedIndexes, INDEX_ENTRY_SIZES_BYTES};
pub use paths::log_path;
pub(in crate::log) use paths::{SegmentPaths, base_offset_of};
pub use place::SegmentPlace;
pub use rewrite::{Committed, Rewrite};
pub use seal::{Lineage, Seal, SealContent, SealFault};
pub use segments::Segments;
pub use summary::SegmentSummary;
pub use verify::{FINDINGS_MAX, SegmentReport, Verification, verify_active, verify_closed, verify_partition};

use crate::log::{BATCH_SIZE_MAX_BYTES, Offset};

/// Largest segment file. 2 GiB - 1: Kafka's positions are signed 32-bit numbers.
pub const SEGMENT_SIZE_LIMIT_BYTES: u64 = i32::MAX as u64;

const _: () = assert!((BATCH_SIZE_MAX_BYTES as u64) < SEGMENT_SIZE_LIMIT_BYTES);

/// Shape of a partition's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// A segment is closed before it would grow beyond this. At most [`SEGMENT_SIZE_LIMIT_BYTES`].
    pub segment_size_max_bytes: u64,
    /// An index entry is written after more than so many bytes.
    pub index_interval_bytes: u32,
}

impl Default for SegmentOptions {
    /// Kafka's defaults: 1 GiB and 4 KiB.
    fn default() -> SegmentOptions {
        SegmentOptions {
            segment_size_max_bytes: 1 << 30,
            index_interval_bytes: 4096,
        }
    }
}

/// The end of what is in a partition's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushedPosition {
    /// Base offset of the last segment.
    pub segment: Offset,
    /// Position in it behind the last batch.
    pub position: u64,
    /// Offset behind the last record.
    pub next_offset: Offset,
}
