//! Batches that stay in memory although they are in segments: for consumers that are near the end.
//!
//! Large writes leave nothing in the page cache, so a consumer a little behind the end would read from the
//! device what was in memory a moment ago, and take its time from the writers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Offset;
use super::partition_state::PartitionState;

/// What was flushed last, of all partitions, up to a limit.
#[derive(Debug)]
pub struct Retained {
    limit_bytes: usize,
    size_bytes: usize,
    /// Oldest flush first: whose tail, up to where, and how much that is.
    flushed: VecDeque<(Arc<PartitionState>, Offset, usize)>,
}

impl Retained {
    /// Nothing yet, and at most `limit_bytes` at any time.
    pub fn new(limit_bytes: usize) -> Retained {
        Retained {
            limit_bytes,
            size_bytes: 0,
            flushed: VecDeque::new(),
        }
    }

    /// Keeps what was flushed of a partition up to `end`, and drops the oldest beyond the limit.
    pub fn keep(&mut self, partition: &Arc<PartitionState>, end: Offset, size_bytes: usize) {
        self.size_bytes += size_bytes;
        self.flushed.push_back((Arc::clone(partition), end, size_bytes));
        self.shrink(self.limit_bytes);
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.shrink(0);
        self.flushed.shrink_to(0);
    }

    fn shrink(&mut self, limit_bytes: usize) {
        while self.size_bytes > limit_bytes
            && let Some((partition, end, size_bytes)) = self.flushed.pop_front()
        {
            partition.end_flush(end);
            self.size_bytes -= size_bytes;
        }
    }
}
