//! What a fetch brought back from one partition.

use bytes::Bytes;

/// Whole record batches from one partition, and where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The offset behind the last readable record.
    pub high_watermark: i64,
    /// Record batches one after the other; the first may begin before the offset asked for, the last
    /// may be cut off.
    pub records: Bytes,
}
