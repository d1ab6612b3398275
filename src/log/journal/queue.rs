//! Appends, and moves of a log start, that wait for the next group.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::frame::ENTRY_HEADER_SIZE_BYTES;
use crate::log::batch::StoredBatch;
use crate::log::{Offset, PartitionId};

/// Most bytes that wait for the journal. 64 MiB: about 50 ms of a fast disk; more would be only latency.
pub const QUEUE_SIZE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The number of an entry in the order of all of this run; the first is 1.
pub type Sequence = u64;

/// One entry on its way into the journal. `T` is whatever it is published to when it is durable.
#[derive(Debug)]
pub struct Entry<T> {
    /// To whom the entry is published.
    pub target: T,
    /// The partition.
    pub partition: PartitionId,
    /// What becomes durable.
    pub change: Change,
}

/// What an entry changes in its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A batch is appended; its bytes are as they were sent, without the base offset in place.
    Append(StoredBatch),
    /// Records below the offset are gone.
    StartMoved(Offset),
}

impl<T> Entry<T> {
    /// Bytes that the entry takes in a frame.
    pub fn size_bytes(&self) -> usize {
        let content_bytes = match &self.change {
            Change::Append(batch) => batch.bytes.len(),
            Change::StartMoved(_) => 0,
        };
        ENTRY_HEADER_SIZE_BYTES + content_bytes
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

    /// Moves entries of at most `size_max_bytes` together into `group`; returns the number of the last.
    pub fn take(&self, size_max_bytes: usize, group: &mut Vec<Entry<T>>) -> Sequence {
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
        inner.last_sequence - inner.entries.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
