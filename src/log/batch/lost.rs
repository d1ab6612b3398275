//! Batches that stand for records that were lost: a visible gap, so that no offset is given twice.

use std::ops::Range;

use bytes::Bytes;
use zerocopy::IntoBytes;
use zerocopy::big_endian::{I16, I32, I64, U32};

use super::BatchHeader;
use super::header::{CRC_COVERS_FROM, HEADER_SIZE_BYTES, MAGIC, WireHeader};
use crate::log::Offset;

/// The producer id of a batch that stands for lost records. Kafka's consumers take every negative id for none.
const LOST_PRODUCER_ID: i64 = -2;

/// Offsets that one batch stands for at most: its last offset delta is a positive `i32`.
const OFFSETS_PER_BATCH_MAX: u64 = 1 << 30;

/// Batches without records for the offsets of `range`, in order; none for an empty range.
///
/// Kafka leaves batches without records behind when it compacts, and every client passes over them. These
/// carry producer id −2, so that tools tell a loss from a compaction.
pub fn lost_records(range: Range<Offset>) -> Vec<Bytes> {
    batches(range, LOST_PRODUCER_ID)
}

/// Batches without records, as Kafka leaves them behind, for the offsets of `range`, in order: of records that
/// compaction took out.
pub fn absent_records(range: Range<Offset>) -> Vec<Bytes> {
    batches(range, -1)
}

fn batches(range: Range<Offset>, producer_id: i64) -> Vec<Bytes> {
    let mut batches = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let count = (range.end.0 - start.0).min(OFFSETS_PER_BATCH_MAX);
        batches.push(batch(start, count, producer_id));
        start = start.plus(count);
    }
    batches
}

fn batch(base_offset: Offset, count: u64, producer_id: i64) -> Bytes {
    let none = -1;
    let mut header = WireHeader {
        base_offset: I64::new(base_offset.0 as i64),
        length: I32::new((HEADER_SIZE_BYTES - size_of::<I64>() - size_of::<I32>()) as i32),
        leader_epoch: I32::ZERO,
        magic: MAGIC,
        crc: U32::ZERO,
        attributes: I16::ZERO,
        last_offset_delta: I32::new((count - 1) as i32),
        base_timestamp: I64::new(none),
        max_timestamp: I64::new(none),
        producer_id: I64::new(producer_id),
        producer_epoch: I16::new(none as i16),
        base_sequence: I32::new(none as i32),
        record_count: I32::ZERO,
    };
    header.crc = U32::new(crc32c::crc32c(&header.as_bytes()[CRC_COVERS_FROM..]));
    Bytes::copy_from_slice(header.as_bytes())
}

impl BatchHeader {
    /// Whether the batch stands for records that were lost to damage, see [`lost_records`].
    pub fn is_lost(&self) -> bool {
        self.record_count == 0 && self.producer_id == LOST_PRODUCER_ID
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::verify;

    #[test]
    fn the_batches_cover_the_range_and_are_intact() {
        let large = 5 + 2 * OFFSETS_PER_BATCH_MAX + 1;
        for (range, count) in [(5..5, 0), (5..6, 1), (0..1000, 1), (5..large, 3)] {
            let batches = lost_records(Offset(range.start)..Offset(range.end));
            let mut next = Offset(range.start);
            for batch in &batches {
                let header = verify(batch).unwrap();
                assert_eq!((header.base_offset, header.is_lost()), (next, true));
                assert!(!header.has_producer());
                next = header.next_offset();
            }
            let absent = absent_records(Offset(range.start)..Offset(range.end));
            assert!(absent.iter().all(|batch| !verify(batch).unwrap().is_lost()));
            assert_eq!((batches.len(), next), (count, Offset(range.end)));
        }
    }
}
