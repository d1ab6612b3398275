//! The tail of one partition: durable batches that are not in a segment yet, in memory.

use std::collections::VecDeque;

use bytes::Bytes;

use super::batch::StoredBatch;
use super::{Offset, Timestamp};

/// Durable batches in offset order, ending at the high watermark.
#[derive(Debug, Default)]
pub struct Tail {
    batches: VecDeque<StoredBatch>,
}

impl Tail {
    /// Appends the next batch.
    pub fn push(&mut self, batch: StoredBatch) {
        debug_assert!(
            self.batches
                .back()
                .is_none_or(|last| last.next_offset == batch.base_offset)
        );
        self.batches.push_back(batch);
    }

    /// The first offset in memory.
    pub fn first_offset(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.base_offset)
    }

    /// The batches from `from` on.
    pub fn batches_from(&self, from: Offset) -> Vec<StoredBatch> {
        let start = self.batches.partition_point(|batch| batch.base_offset < from);
        self.batches.range(start..).cloned().collect()
    }

    /// Drops the batches below `offset`: they are durable in a segment.
    pub fn drop_below(&mut self, offset: Offset) {
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.next_offset <= offset)
        {
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            self.batches.shrink_to(0);
        }
    }

    /// Whole batches from the one that holds `from`, at least one; none if it is below the tail.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Option<Vec<Bytes>> {
        if self.batches.front()?.base_offset > from {
            return None;
        }
        let start = self.batches.partition_point(|batch| batch.next_offset <= from);
        let mut size_bytes = 0;
        let mut found = Vec::new();
        for batch in self.batches.range(start..) {
            size_bytes += batch.bytes.len();
            if size_bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(batch.bytes.clone());
        }
        Some(found)
    }

    /// The first batch with a timestamp at or after `timestamp` that ends above `log_start`.
    pub fn batch_at_time(&self, timestamp: Timestamp, log_start: Offset) -> Option<Bytes> {
        let found = self
            .above(log_start)
            .find(|batch| batch.max_timestamp >= timestamp);
        found.map(|batch| batch.bytes.clone())
    }

    fn above(&self, log_start: Offset) -> impl Iterator<Item = &StoredBatch> {
        let start = self
            .batches
            .partition_point(|batch| batch.next_offset <= log_start);
        self.batches.range(start..)
    }

    /// The earliest batch with the largest timestamp of those that end above `log_start`.
    pub fn batch_with_max_timestamp(&self, log_start: Offset) -> Option<&StoredBatch> {
        self.above(log_start).reduce(|best, batch| {
            if batch.max_timestamp > best.max_timestamp {
                batch
            } else {
                best
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::Place;

    fn batch(base: u64, next: u64, timestamp: i64, size_bytes: usize) -> StoredBatch {
        StoredBatch {
            base_offset: Offset(base),
            next_offset: Offset(next),
            max_timestamp: Timestamp(timestamp),
            place: Place::default(),
            written: 0..0,
            bytes: Bytes::from(vec![base as u8; size_bytes]),
        }
    }

    fn tail() -> Tail {
        let mut tail = Tail::default();
        for stored in [
            batch(10, 13, 5, 100),
            batch(13, 14, 9, 100),
            batch(14, 20, 9, 100),
        ] {
            tail.push(stored);
        }
        tail
    }

    fn firsts(slices: Option<Vec<Bytes>>) -> Option<Vec<u8>> {
        slices.map(|slices| slices.iter().map(|slice| slice[0]).collect())
    }

    #[test]
    fn a_read_begins_with_the_batch_that_holds_the_offset() {
        let tail = tail();
        assert_eq!(firsts(tail.read(Offset(9), 1000)), None);
        assert_eq!(firsts(tail.read(Offset(10), 1000)), Some(vec![10, 13, 14]));
        assert_eq!(firsts(tail.read(Offset(12), 1000)), Some(vec![10, 13, 14]));
        assert_eq!(firsts(tail.read(Offset(13), 1000)), Some(vec![13, 14]));
        assert_eq!(firsts(tail.read(Offset(19), 1000)), Some(vec![14]));
    }

    #[test]
    fn a_read_keeps_the_limit_but_gives_at_least_one_batch() {
        let tail = tail();
        assert_eq!(firsts(tail.read(Offset(10), 0)), Some(vec![10]));
        assert_eq!(firsts(tail.read(Offset(10), 199)), Some(vec![10]));
        assert_eq!(firsts(tail.read(Offset(10), 200)), Some(vec![10, 13]));
    }

    #[test]
    fn only_whole_batches_below_the_offset_are_dropped() {
        let mut tail = tail();
        tail.drop_below(Offset(12));
        assert_eq!(tail.batches_from(Offset(0)).len(), 3);
        tail.drop_below(Offset(14));
        assert_eq!(firsts(tail.read(Offset(14), 1000)), Some(vec![14]));
        tail.drop_below(Offset(20));
        assert_eq!(tail.read(Offset(14), 1000), None);
    }

    #[test]
    fn times_find_the_first_batch() {
        let tail = tail();
        let at_time = |timestamp, log_start| tail.batch_at_time(Timestamp(timestamp), Offset(log_start));
        assert_eq!(at_time(6, 0).unwrap()[0], 13);
        assert_eq!(
            at_time(6, 14).unwrap()[0],
            14,
            "what ends below the start is gone"
        );
        assert_eq!(at_time(10, 0), None);
        let with_max = |log_start| tail.batch_with_max_timestamp(Offset(log_start));
        assert_eq!(with_max(13).unwrap().base_offset, Offset(13));
        assert_eq!(with_max(14).unwrap().base_offset, Offset(14));
        assert_eq!(with_max(20), None);
    }
}
