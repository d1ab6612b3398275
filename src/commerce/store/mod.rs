//! The one door from commerce down to a log: append at an expected end, and read.
//!
//! A store is an ordered sequence of Kafka v2 record batches with one writer. Two implementations:
//! [`LogStore`] is a partition of the embedded log, [`MemoryStore`] keeps everything in memory and can hold
//! back or fail its syncs, for tests and simulations.

mod log;
mod memory;

use bytes::Bytes;

pub use self::log::{LogAppend, LogStore};
pub use memory::{MemoryAppend, MemoryStore};

use crate::log::{AppendError, LogFailed, Offset, ReadError};

/// An ordered, durable sequence of record batches. Whoever only reads may know it as `dyn EventStore`.
pub trait EventStore: Send + Sync + 'static {
    /// An append on its way to stable storage.
    type Append: PendingAppend
    where
        Self: Sized;

    /// Appends one v2 record batch whose first record gets offset `expected`.
    ///
    /// # Errors
    /// [`StoreError::Busy`] and [`StoreError::Full`] ask for another try of the same batch later; all others are
    /// final. Nothing was stored in any case.
    fn append(&self, expected: Offset, batch: Bytes) -> Result<Self::Append, StoreError>
    where
        Self: Sized;

    /// The offset of the first record that can be read.
    fn start(&self) -> Offset;

    /// The offset behind the last durable record.
    fn end(&self) -> Offset;

    /// Whole batches from the one with `from`, about `max_bytes` but at least one; empty at the end.
    fn read(&self, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, StoreError>;

    /// What tells this sequence from every other: a snapshot of another sequence is worthless here.
    fn identity(&self) -> [u8; 16];
}

/// An append on its way to stable storage; appends become durable in their order.
pub trait PendingAppend: Send {
    /// Sees to it that the append proceeds though nobody waits for it yet.
    fn start(&mut self);

    /// Whether the append is durable. Never true after a failure.
    fn is_durable(&self) -> bool;

    /// Blocks until the append is durable, and returns its first offset.
    ///
    /// The caller may do the writing itself: waiting at once is quicker than starting and waiting.
    fn wait(self) -> Result<Offset, LogFailed>;
}

/// Why a store did not append or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many bytes wait for stable storage; try again.
    #[error("too many appends wait for stable storage")]
    Busy,
    /// No space is left; try again after space was freed.
    #[error("no space is left for events")]
    Full,
    /// Somebody else wrote: this writer must stop.
    #[error("events end at offset {found}, expected {expected}: there is another writer")]
    AnotherWriter {
        /// The end that the writer knew.
        expected: Offset,
        /// The end.
        found: Offset,
    },
    /// The batch was refused for another reason.
    #[error("events were not appended")]
    Append(#[source] AppendError),
    /// The events could not be read.
    #[error("events could not be read")]
    Read(#[from] ReadError),
    /// The store stopped after a failure.
    #[error(transparent)]
    Failed(#[from] LogFailed),
}
