//! One partition: append, read, and the watermarks between which its records are readable.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;

use super::batch::validate;
use super::core::Core;
use super::journal::Sequence;
use super::partition_state::PartitionState;
use super::{Offset, PartitionId, Timestamp};

/// A handle to one partition; cheap to clone.
#[derive(Clone)]
pub struct Partition {
    pub(super) core: Arc<Core>,
    pub(super) state: Arc<PartitionState>,
    pub(super) uses_reserve: bool,
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition")
            .field("id", &self.state.id())
            .finish_non_exhaustive()
    }
}

impl Partition {
    /// The partition's number in the log.
    pub fn id(&self) -> PartitionId {
        self.state.id()
    }

    /// A handle whose appends go on while the disk is full, as long as the journal has room: for records that
    /// must go on, such as commits of offsets and ends of holds, and never for what clients send.
    #[must_use]
    pub fn with_reserve(self) -> Partition {
        Partition {
            uses_reserve: true,
            ..self
        }
    }

    /// Appends one v2 record batch; its base offset is assigned here, its bytes are kept verbatim.
    ///
    /// The batch is checked (magic, length, record count against last offset delta, CRC-32C), and a batch
    /// with a producer id is checked against the producer's epoch and last five sequence numbers: a
    /// duplicate resolves to the original offset (KIP-98).
    pub fn append(&self, batch: Bytes) -> Result<Append, AppendError> {
        self.append_checked(batch, None)
    }

    /// Appends like [`Partition::append`], but only if the batch's first record gets offset `expected`.
    pub fn append_at(&self, expected: Offset, batch: Bytes) -> Result<Append, AppendError> {
        self.append_checked(batch, Some(expected))
    }

    fn append_checked(&self, batch: Bytes, expected: Option<Offset>) -> Result<Append, AppendError> {
        let limit_bytes = self.core.options().batch_size_max_bytes;
        if batch.len() > limit_bytes {
            return Err(AppendError::TooLarge {
                size_bytes: batch.len(),
                limit_bytes,
            });
        }
        let header = validate(&batch)?;
        self.core.check_writable(batch.len(), self.uses_reserve)?;
        let (sequence, base_offset) = self.state.enqueue(self.core.queue(), &header, batch, expected)?;
        Ok(Append {
            core: Arc::clone(&self.core),
            sequence,
            base_offset,
            ended: false,
            registered: None,
        })
    }

    /// Deletes the records below `offset`: resolves, to the first readable offset, once nobody will ever read
    /// them again. Their files are removed soon after.
    ///
    /// An offset below the first readable one deletes nothing. One above the high watermark deletes records that
    /// are on their way, once they are durable.
    ///
    /// # Errors
    /// [`AppendError::UnexpectedEnd`] for an offset behind the last record; others when the log cannot take the
    /// deletion.
    pub fn delete_records_before(&self, offset: Offset) -> Result<Append, AppendError> {
        let sequence = self.core.enqueue_start(&self.state, offset)?;
        Ok(Append {
            core: Arc::clone(&self.core),
            sequence,
            base_offset: offset.max(self.log_start()),
            ended: false,
            registered: None,
        })
    }

    /// The offset of the first readable record.
    pub fn log_start(&self) -> Offset {
        self.state.log_start()
    }

    /// The offset behind the last durable record.
    pub fn high_watermark(&self) -> Offset {
        self.state.high_watermark()
    }

    /// Largest batch that an append takes.
    pub fn batch_size_max_bytes(&self) -> usize {
        self.core.options().batch_size_max_bytes
    }

    /// Bytes of the partition in segments.
    pub fn size_bytes(&self) -> Result<u64, ReadError> {
        Ok(self.state.segments()?.size_bytes())
    }

    /// Whole batches from the one that contains `from`, up to about `max_bytes` but at least one.
    ///
    /// `from` equal to the high watermark gives an empty answer. The first batch may begin before `from`, and
    /// one slice may hold several batches. The bytes are not copied: they are slices of the tail or of a
    /// mapped segment.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, ReadError> {
        self.state.read(from, max_bytes)
    }

    /// The first batch whose largest timestamp is at or after `timestamp`.
    ///
    /// The caller looks for the exact record inside (it may be compressed).
    pub fn batch_at_time(&self, timestamp: Timestamp) -> Result<Option<Bytes>, ReadError> {
        self.state.batch_at_time(timestamp, self.log_start())
    }

    /// Like [`Partition::batch_at_time`], of the batches that end above `offset`.
    pub fn batch_at_time_above(
        &self,
        timestamp: Timestamp,
        offset: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        self.state.batch_at_time(timestamp, offset.max(self.log_start()))
    }

    /// The batch with the largest timestamp of the partition (the earliest of several).
    pub fn batch_with_max_timestamp(&self) -> Result<Option<Bytes>, ReadError> {
        self.state.batch_with_max_timestamp()
    }

    /// Wakes `waker` once the high watermark is above `offset`; at once if it is already.
    pub fn wake_above(&self, offset: Offset, waker: &Waker) {
        self.state.wake_above(offset, waker);
    }

    /// Forgets `waker`: whoever gave it up waiting. Without this a partition that never grows would keep the
    /// wakers of clients that are long gone.
    pub fn forget_waker(&self, waker: &Waker) {
        self.state.forget_waker(waker);
    }

    /// Whether a read from `from` is served from memory; others may wait for the disk.
    pub fn is_in_memory(&self, from: Offset) -> bool {
        self.state.is_in_memory(from)
    }

    /// Blocks until the high watermark is above `offset` or `timeout` has passed; tells which.
    pub fn wait_above(&self, offset: Offset, timeout: Duration) -> bool {
        self.state.wait_above(offset, timeout)
    }
}

/// An append on its way to stable storage: a future, or blocking by [`Append::wait`].
///
/// Writing begins when it is waited for, polled or dropped, so that several appends can share one write: one that
/// is only kept stays in memory. Dropping it does not take the append back.
#[must_use = "the batch is durable only once this resolves"]
pub struct Append {
    core: Arc<Core>,
    sequence: Sequence,
    base_offset: Offset,
    ended: bool,
    /// The waker that will be woken, so that polling again costs nothing.
    registered: Option<Waker>,
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("base_offset", &self.base_offset)
            .finish_non_exhaustive()
    }
}

impl Append {
    /// The offset of the batch's first record, known before the batch is durable.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Whether the batch is durable already.
    pub fn is_durable(&self) -> bool {
        self.core.progress().durable() >= self.sequence
    }

    /// Blocks until the batch is on stable storage and returns its base offset.
    ///
    /// A caller that finds the journal idle writes the batch itself, without waking another thread.
    pub fn wait(mut self) -> Result<Offset, LogFailed> {
        self.ended = true;
        self.core.commit_until(self.sequence)?;
        Ok(self.base_offset)
    }
}

impl Future for Append {
    type Output = Result<Offset, LogFailed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker();
        let is_registered = self
            .registered
            .as_ref()
            .is_some_and(|known| known.will_wake(waker));
        if is_registered && !self.is_durable() && self.core.check_running().is_ok() {
            return Poll::Pending;
        }
        let polled = self.core.poll_durable(self.sequence, waker);
        if polled.is_pending() {
            self.registered = Some(waker.clone());
        }
        let result = ready!(polled);
        self.ended = true;
        Poll::Ready(result.map(|()| self.base_offset))
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        if !self.ended {
            // Nobody waits for it, so nobody drives the journal for it.
            self.core.ring_journal();
        }
    }
}

/// The log stopped after a failed write or sync: nothing more is acknowledged, the process must restart.
#[derive(Clone, Debug, thiserror::Error)]
#[error("log stopped: {reason}")]
pub struct LogFailed {
    /// The first failure.
    pub reason: Arc<str>,
}

/// Why a batch was not appended. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bytes are not one intact v2 record batch.
    #[error("batch refused: {0}")]
    Corrupt(#[from] super::batch::BatchError),
    /// The batch exceeds [`super::LogOptions::batch_size_max_bytes`].
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
