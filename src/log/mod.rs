//! The log: durable, partitioned, append-only, synchronous, and free of tokio.
//!
//! A [`Log`] is a data folder. It holds topics; a [`Topic`] holds partitions; a [`Partition`] takes
//! Kafka v2 record batches and gives each record an offset. [`Partition::append`] returns an
//! [`Append`] that resolves only when the batch is on stable storage, and nothing that is not on
//! stable storage is ever read.
//!
//! Layers inside: `io` < `batch` < `journal`, `segment` < `partition` < `log`. `io` is the only
//! module that talks to the kernel and the only one with `unsafe`.

pub mod batch;
pub mod io;
mod journal;
pub mod segment;

mod ids;
mod log;
mod partition;
mod topic;

pub use ids::{Offset, PartitionId, StoreId, Timestamp, TopicId};
pub use log::{Log, LogOptions, LogStatus, OpenError, TopicError};
pub use partition::{Append, AppendError, LogFailed, Partition, ReadError};
pub use topic::{Topic, TopicSpec};

/// Largest record batch. 4 MiB: several fit into one journal file, and one write stays near 2 ms.
pub const BATCH_SIZE_MAX_BYTES: usize = 4 * 1024 * 1024;
