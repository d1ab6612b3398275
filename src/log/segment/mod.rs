//! Segment files: consecutive batches of one partition in Kafka's own format, with their indexes.

/// A segment could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {}
