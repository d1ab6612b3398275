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
pub mod segment;

mod bell;
mod catalog;
mod checkpoint;
mod core;
mod flusher;
mod ids;
mod journal;
#[expect(
    clippy::module_inception,
    reason = "the file owns the noun that the folder is named for"
)]
mod log;
mod options;
mod partition;
mod partition_state;
mod producers;
mod recovery;
mod tail;
mod threads;
mod topic;

pub use catalog::{CatalogError, PARTITIONS_PER_TOPIC_MAX};
pub use checkpoint::CheckpointError;
pub use ids::{Offset, PartitionId, StoreId, Timestamp, TopicId};
pub use journal::JournalError;
pub use log::{Log, LogStatus, OpenError, TopicError};
pub use options::{
    BATCH_SIZE_MAX_BYTES, FLUSH_INTERVAL, FLUSH_SIZE_BYTES, JOURNAL_FILE_SIZE_BYTES, LogOptions,
    SEGMENT_SIZE_MAX_BYTES,
};
pub use partition::{Append, AppendError, LogFailed, Partition, ReadError};
pub use topic::{Topic, TopicSpec};
