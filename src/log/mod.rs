//! The log: durable, partitioned, append-only, synchronous, and free of tokio.
//!
//! A [`Log`] is a data folder. It holds topics; a [`Topic`] holds partitions; a [`Partition`] takes
//! Kafka v2 record batches and gives each record an offset. [`Partition::append`] returns an
//! [`Append`] that resolves only when the batch is on stable storage, and nothing that is not on
//! stable storage is ever read.
//!
//! # Appending
//!
//! Records travel in batches: one durable write carries a batch, and the batches of all threads that wait
//! at the same time. [`Append::wait`] blocks; several appends may be on their way before the first is waited
//! for.
//!
//! ```
//! use doorbuster::log::batch::{BatchBuilder, Record};
//! use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let log = Log::open(folder, LogOptions::default())?;
//! let orders = log.topic_or_create("orders", &TopicSpec::with_partitions(1))?.partitions[0].clone();
//!
//! let now = Timestamp(1_700_000_000_000);
//! let mut builder = BatchBuilder::new(now);
//! builder.push(&Record { timestamp: now, key: Some(b"c-7"), value: Some(b"a book"), headers: &[] })?;
//! builder.push(&Record::of_value(now, b"two lamps"))?;
//! let first = orders.append(builder.finish())?;
//! builder.push(&Record::of_value(now, b"a chair"))?;
//! let second = orders.append(builder.finish())?;
//! assert_eq!((first.wait()?, second.wait()?), (Offset(0), Offset(2)));
//! assert_eq!(orders.high_watermark(), Offset(3));
//! log.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! The same [`Append`] is a future: it needs no runtime of a certain make, and a thread of the log writes for
//! those who await.
//!
//! ```
//! use doorbuster::log::{AppendError, Offset, Partition};
//! # use doorbuster::log::batch::{BatchBuilder, Record};
//! # use doorbuster::log::{Log, LogOptions, Timestamp, TopicSpec};
//!
//! async fn append_two(orders: &Partition, batches: [bytes::Bytes; 2]) -> Result<Offset, AppendError> {
//!     let [first, second] = batches;
//!     let (first, second) = (orders.append(first)?, orders.append(second)?);
//!     first.await?;
//!     Ok(second.await?)
//! }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let log = Log::open(folder.path(), LogOptions::default())?;
//! # let orders = log.create_topic("orders", &TopicSpec::with_partitions(1))?.partitions[0].clone();
//! # let batches = [b"a", b"b"].map(|value| {
//! #     let mut builder = BatchBuilder::new(Timestamp(1));
//! #     builder.push(&Record::of_value(Timestamp(1), value)).unwrap();
//! #     builder.finish()
//! # });
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # assert_eq!(runtime.block_on(append_two(&orders, batches))?, Offset(1));
//! # Ok(())
//! # }
//! ```
//!
//! [`Partition::append_at`] appends only where the caller expects the end: a single writer that lost its place
//! learns so. Batches with a producer id are taken once, however often they are sent.
//!
//! # Reading
//!
//! A [`Reader`] gives records from an offset or a time on, without copying them. As an iterator it ends at the
//! end; [`Reader::follow`] goes on and blocks there, and [`Reader::stream`] is the same for async code.
//!
//! ```
//! # use doorbuster::log::batch::{BatchBuilder, Record};
//! # use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let log = Log::open(folder.path(), LogOptions::default())?;
//! # let orders = log.create_topic("orders", &TopicSpec::with_partitions(1))?.partitions[0].clone();
//! # let mut builder = BatchBuilder::new(Timestamp(1));
//! # for (time, value) in [(10, "a book"), (20, "two lamps"), (30, "a chair")] {
//! #     builder.push(&Record::of_value(Timestamp(time), value.as_bytes()))?;
//! # }
//! # orders.append(builder.finish())?.wait()?;
//! let mut values = Vec::new();
//! for record in orders.reader_from(Offset::ZERO) {
//!     let record = record?;
//!     values.extend(record.value);
//! }
//! assert_eq!(values, ["a book", "two lamps", "a chair"]);
//!
//! let later: Vec<_> = orders.reader_from_time(Timestamp(15))?.collect::<Result<_, _>>()?;
//! assert_eq!(later.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [1, 2]);
//!
//! let mut follower = orders.reader_from(Offset(3)).follow();
//! let waiting = std::thread::spawn(move || follower.next());
//! # builder.push(&Record::of_value(Timestamp(40), b"a door"))?;
//! orders.append(builder.finish())?.wait()?;
//! let next = waiting.join().unwrap().expect("the log is open")?;
//! assert_eq!(next.value.as_deref(), Some(&b"a door"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! Below the records are batches: [`Partition::read`] gives runs of whole batches as they are stored,
//! [`Reader::next_batch`] one after the other, and [`batch`] takes them apart.
//!
//! # Errors
//!
//! A refused append ([`AppendError`]) stored nothing. A failed write or sync stops the whole log for good
//! ([`LogFailed`]): what it lost cannot be told, so that nothing is retried; open the folder again. Damage is
//! an error of what is damaged alone ([`ReadError`], [`ReaderError`]), or keeps the log from opening
//! ([`OpenError`]) rather than shorten what was acknowledged.
//!
//! Layers inside: `io` < `batch` < `journal`, `segment` < `partition` < `log`. `io` is the only
//! module that talks to the kernel and the only one with `unsafe`.

pub mod batch;
pub mod inspect;
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
mod reader;
mod recovery;
mod restored;
mod retained;
mod retention;
#[cfg(feature = "simulation")]
pub mod simulation;
mod tail;
mod threads;
mod topic;
pub mod topic_config;
mod topic_policy;
mod unsealed;

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
pub use reader::{Follower, Reader, ReaderError, RecordStream};
pub use topic::{Topic, TopicSpec};
pub use topic_policy::TopicPolicy;
