//! One partition: append, read, and the watermarks between which its records are readable.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{Offset, PartitionId, Timestamp};

/// A handle to one partition; cheap to clone.
#[derive(Clone, Debug)]
pub struct Partition {}

impl Partition {
    /// The partition's number in the log.
    pub fn id(&self) -> PartitionId {
        todo!()
    }

    /// Appends one v2 record batch; its base offset is assigned here, its bytes are kept verbatim.
    ///
    /// The batch header is checked (magic, length, record count against last offset delta, CRC-32C), and a
    /// batch with a producer id is checked against the producer's epoch and last five sequence numbers: a
    /// duplicate resolves to the original offset.
    pub fn append(&self, _batch: Bytes) -> Result<Append, AppendError> {
        todo!()
    }

    /// Appends like [`Partition::append`], but only if the batch's first record gets offset `expected`.
    pub fn append_at(&self, _expected: Offset, _batch: Bytes) -> Result<Append, AppendError> {
        todo!()
    }

    /// The offset of the first readable record.
    pub fn log_start(&self) -> Offset {
        todo!()
    }

    /// The offset behind the last durable record.
    pub fn high_watermark(&self) -> Offset {
        todo!()
    }

    /// Whole batches from the one that contains `from`, up to about `max_bytes` but at least one.
    ///
    /// `from` equal to the high watermark gives an empty answer. The first batch may begin before `from`.
    /// The bytes are not copied: they are slices of the tail or of a mapped segment.
    pub fn read(&self, _from: Offset, _max_bytes: usize) -> Result<Vec<Bytes>, ReadError> {
        todo!()
    }

    /// The first batch whose largest timestamp is at or after `timestamp`.
    ///
    /// The caller looks for the exact record inside (it may be compressed).
    pub fn batch_at_time(&self, _timestamp: Timestamp) -> Result<Option<Bytes>, ReadError> {
        todo!()
    }

    /// The batch with the largest timestamp of the partition (the earliest of several).
    pub fn batch_with_max_timestamp(&self) -> Result<Option<Bytes>, ReadError> {
        todo!()
    }

    /// Wakes `waker` once the high watermark is above `offset`; at once if it is already.
    pub fn wake_above(&self, _offset: Offset, _waker: &Waker) {
        todo!()
    }

    /// Blocks until the high watermark is above `offset` or `timeout` has passed; tells which.
    pub fn wait_above(&self, _offset: Offset, _timeout: std::time::Duration) -> bool {
        todo!()
    }
}

/// An append on its way to stable storage: a future, or blocking by [`Append::wait`].
#[derive(Debug)]
#[must_use = "the batch is durable only once this resolves"]
pub struct Append {}

impl Append {
    /// The offset of the batch's first record, known before the batch is durable.
    pub fn base_offset(&self) -> Offset {
        todo!()
    }

    /// Blocks until the batch is on stable storage and returns its base offset.
    pub fn wait(self) -> Result<Offset, LogFailed> {
        todo!()
    }
}

impl Future for Append {
    type Output = Result<Offset, LogFailed>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// The log stopped after a failed write or sync: nothing more is acknowledged, the process must restart.
#[derive(Clone, Debug, thiserror::Error)]
#[error("log stopped: {reason}")]
pub struct LogFailed {
    /// The first failure.
    pub reason: std::sync::Arc<str>,
}

/// Why a batch was not appended. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bytes are not one intact v2 record batch.
    #[error("batch refused: {0}")]
    Corrupt(#[from] super::batch::BatchError),
    /// The batch exceeds [`super::BATCH_SIZE_MAX_BYTES`].
    #[error("batch of {size_bytes} bytes is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// Size of the batch.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Compare-and-append found another end.
    #[error("partition ends at offset {found}, expected {expected}")]
    UnexpectedEnd {
        /// The offset that the caller expected.
        expected: Offset,
        /// The offset that the next record gets.
        found: Offset,
    },
    /// The producer skipped sequence numbers.
    #[error("producer {producer_id} sent sequence {found}, want {expected}")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The next sequence in order.
        expected: i32,
        /// The sequence that was sent.
        found: i32,
    },
    /// The producer's epoch is older than one that was seen.
    #[error("producer {producer_id} sent epoch {found}, current is {current}")]
    ProducerFenced {
        /// The producer.
        producer_id: i64,
        /// The newest epoch seen.
        current: i16,
        /// The epoch that was sent.
        found: i16,
    },
    /// Too many bytes wait for the journal; try again.
    #[error("{queued_bytes} bytes already wait for the journal; try again")]
    Overloaded {
        /// Bytes that wait.
        queued_bytes: usize,
    },
    /// The disk has no space for more data; reads go on, try again after space was freed.
    #[error("no space left in the data folder; free space and try again")]
    StorageFull,
    /// The partition's topic was deleted.
    #[error("topic was deleted")]
    Deleted,
    /// The log stopped.
    #[error(transparent)]
    Failed(#[from] LogFailed),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the first or above the high watermark.
    #[error("offset {offset} is outside {log_start}..={high_watermark}")]
    OutOfRange {
        /// The offset that was asked for.
        offset: Offset,
        /// First readable offset.
        log_start: Offset,
        /// Offset behind the last readable record.
        high_watermark: Offset,
    },
    /// The partition's topic was deleted.
    #[error("topic was deleted")]
    Deleted,
    /// A segment is unreadable or damaged.
    #[error(transparent)]
    Segment(#[from] super::segment::SegmentError),
}
