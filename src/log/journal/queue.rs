//! Batches that wait for the next group.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::frame::ENTRY_HEADER_SIZE_BYTES;
use crate::log::{Offset, PartitionId, Timestamp};

/// Most bytes that wait for the journal. 64 MiB: about 50 ms of a fast disk; more would be only latency.
pub const QUEUE_SIZE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The number of a batch in the order of all appends of this run; the first is 1.
pub type Sequence = u64;

/// One batch on its way into the journal. `T` is whatever it is published to when it is durable.
#[derive(Debug)]
pub struct Entry<T> {
    /// To whom the batch is published.
    pub target: T,
    /// The partition.
    pub partition: PartitionId,
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// Offset behind its last record.
    pub next_offset: Offset,
    /// Largest timestamp of its records.
    pub max_timestamp: Timestamp,
    /// The batch as it was sent.
    pub batch: Bytes,
}

impl<T> Entry<T> {
    /// Bytes that the entry takes in a frame.
    pub fn size_bytes(&self) -> usize {
        ENTRY_HEADER_SIZE_BYTES + self.batch.len()
    }
}

/// Too many bytes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull {
    /// Bytes that wait.
    pub queued_bytes: usize,
}

/// The queue in front of the journal's writer; numbers batches in the order in which they come.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    entries: VecDeque<Entry<T>>,
    size_bytes: usize,
    last_sequence: Sequence,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            inner: Mutex::new(Inner {
                entries: VecDeque::new(),
                size_bytes: 0,
                last_sequence: 0,
            }),
        }
    }
}

impl<T> Queue<T> {
    /// Appends `entry` and gives it its number.
    pub fn push(&self, entry: Entry<T>) -> Result<Sequence, QueueFull> {
        let mut inner = self.lock();
        if inner.size_bytes > QUEUE_SIZE_MAX_BYTES {
            return Err(QueueFull {
                queued_bytes: inner.size_bytes,
            });
        }
        inner.size_bytes += entry.size_bytes();
        inner.entries.push_back(entry);
        inner.last_sequence += 1;
        Ok(inner.last_sequence)
    }

    /// The number of the newest batch.
    pub fn last_sequence(&self) -> Sequence {
        self.lock().last_sequence
    }

    /// Bytes that wait.
    pub fn size_bytes(&self) -> usize {
        self.lock().size_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    /// The size of the first entry, if one waits.
    pub fn first_size_bytes(&self) -> Option<usize> {
        self.lock().entries.front().map(Entry::size_bytes)
    }

    /// Moves entries of at most `size_max_bytes` together into `group`; returns their size and the number of
    /// the last.
    pub fn take(&self, size_max_bytes: usize, group: &mut Vec<Entry<T>>) -> (usize, Sequence) {
        let mut inner = self.lock();
        let mut size_bytes = 0;
        while let Some(entry) = inner.entries.front() {
            if size_bytes + entry.size_bytes() > size_max_bytes {
                break;
            }
            size_bytes += entry.size_bytes();
            group.extend(inner.entries.pop_front());
        }
        inner.size_bytes -= size_bytes;
        let last_sequence = inner.last_sequence - inner.entries.len() as u64;
        (size_bytes, last_sequence)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
