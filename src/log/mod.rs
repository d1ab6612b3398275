//! The log: durable, partitioned, append-only, synchronous, and free of tokio.
//!
//! A [`Log`] is a data folder. It holds topics; a [`Topic`] holds partitions; a [`Partition`] takes
//! Kafka v2 record batches and gives each record an offset. [`Partition::append`] returns an
//! [`Append`] that resolves only when the batch is on stable storage, and nothing that is not on
//! stable storage is ever read.
//!
//! ```
//! use doorbuster::log::batch::{self, BatchBuilder, Record};
//! use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let log = Log::open(folder, LogOptions::default())?;
//! let topic = log.create_topic("orders", &TopicSpec { partitions: 1, ..TopicSpec::default() })?;
//! let orders = &topic.partitions[0];
//!
//! let now = Timestamp(1_700_000_000_000);
//! let mut builder = BatchBuilder::new(now);
//! builder.push(&Record { timestamp: now, key: Some(b"c-7"), value: Some(b"one book"), headers: &[] })?;
//! let offset = orders.append(builder.finish())?.wait()?;
//! assert_eq!((offset, orders.high_watermark()), (Offset(0), Offset(1)));
//!
//! let slices = orders.read(offset, 1024 * 1024)?;
//! let values: Vec<_> = batch::records(&slices[0])?.map(|record| record.unwrap().value).collect();
//! assert_eq!(values, [Some(&b"one book"[..])]);
//! log.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! Layers inside: `io` < `batch` < `journal`, `segment` < `partition` < `log`. `io` is the only
//! module that talks to the kernel and the only one with `unsafe`.

pub mod batch;
pub mod io;
pub mod segment;

mod anchor;
mod bell;
mod catalog;
mod checkpoint;
mod cleaner;
mod compaction;
mod core;
mod direct;
mod extent_reader;
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
mod places;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod producers;
mod recovery;
mod retained;
mod retention;
#[cfg(feature = "simulation")]
pub mod simulation;
mod tail;
mod threads;
mod topic;
pub mod topic_config;
mod topic_policy;

pub use anchor::AnchorError;
pub use catalog::{CatalogError, PARTITIONS_PER_TOPIC_MAX};
pub use checkpoint::CheckpointError;
pub use ids::{Durability, Offset, PartitionId, StoreId, Timestamp, TopicId};
pub use journal::JournalError;
pub use log::{Log, LogStatus, OpenError, TopicError};
pub use options::{
    BATCH_SIZE_MAX_BYTES, CLEANER_INTERVAL, EXTENT_SIZE_LIMIT_BYTES, EXTENT_SIZE_MIN_BYTES, FLUSH_INTERVAL,
    FLUSH_SIZE_BYTES, JOURNAL_FILE_SIZE_BYTES, LogOptions, OS_SYNC_INTERVAL, SEGMENT_SIZE_MAX_BYTES,
    TAIL_RETAINED_MAX_BYTES,
};
pub use partition::{Append, AppendError, LogFailed, Partition, ReadError};
pub use topic::{Topic, TopicSpec};
pub use topic_policy::TopicPolicy;
