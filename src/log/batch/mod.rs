//! Kafka v2 record batches: the fixed header, a borrowed view of the records, and a builder.

/// Why bytes are not a record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {}
