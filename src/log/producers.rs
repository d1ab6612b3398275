//! The idempotent producers of one partition: their epoch and last five batches (KIP-98).

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut};

use super::AppendError;
use super::Offset;
use super::batch::BatchHeader;

/// Batches remembered per producer: a client has at most five requests in flight.
pub const BATCHES_PER_PRODUCER: usize = 5;

/// Most producers remembered per partition; the one that wrote longest ago is forgotten first, as Kafka
/// forgets by age. 4,096 entries are at most 0.7 MB.
pub const PRODUCER_COUNT_MAX: usize = 4096;

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: append it.
    Append,
    /// It is there already, at this offset.
    Duplicate(Offset),
}

/// The producers of one partition: a fold of its batch headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<i64, Producer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Remembered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: Offset,
}

impl ProducerTable {
    /// Decides about a batch whose header is valid.
    pub fn check(&self, header: &BatchHeader) -> Result<Verdict, AppendError> {
        if !header.has_producer() {
            return Ok(Verdict::Append);
        }
        let producer_id = header.producer_id;
        let Some(producer) = self.producers.get(&producer_id) else {
            return Ok(Verdict::Append);
        };
        let (current, found) = (producer.epoch, header.producer_epoch);
        if found < current {
            return Err(AppendError::ProducerFenced {
                producer_id,
                current,
                found,
            });
        }
        let expected = if found > current {
            0
        } else {
            let same = |batch: &&Remembered| {
                batch.base_sequence == header.base_sequence && batch.last_sequence == last_sequence(header)
            };
            if let Some(batch) = producer.batches.iter().find(same) {
                return Ok(Verdict::Duplicate(batch.base_offset));
            }
            producer
                .batches
                .back()
                .map_or(0, |batch| sequence_after(batch.last_sequence, 1))
        };
        if header.base_sequence == expected {
            return Ok(Verdict::Append);
        }
        Err(AppendError::OutOfOrderSequence {
            producer_id,
            expected,
            found: header.base_sequence,
        })
    }

    /// Whether the batch of that header is the last of its producer: with it the producer's sequence would be lost.
    pub fn ends_with(&self, header: &BatchHeader) -> bool {
        let producer = self.producers.get(&header.producer_id);
        let last = producer.and_then(|producer| producer.batches.back());
        header.has_producer() && last.is_some_and(|last| last.base_offset == header.base_offset)
    }

    /// Takes in a batch that was given `base_offset`.
    pub fn apply(&mut self, header: &BatchHeader, base_offset: Offset) {
        if !header.has_producer() {
            return;
        }
        if self.producers.len() >= PRODUCER_COUNT_MAX && !self.producers.contains_key(&header.producer_id) {
            self.forget_oldest();
        }
        let epoch = header.producer_epoch;
        let new = || Producer {
            epoch,
            batches: VecDeque::with_capacity(BATCHES_PER_PRODUCER),
        };
        let producer = self.producers.entry(header.producer_id).or_insert_with(new);
        if epoch != producer.epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_PER_PRODUCER {
            producer.batches.pop_front();
        }
        let (base_sequence, last_sequence) = (header.base_sequence, last_sequence(header));
        producer.batches.push_back(Remembered {
            base_sequence,
            last_sequence,
            base_offset,
        });
    }

    fn forget_oldest(&mut self) {
        let newest_offset = |producer: &Producer| producer.batches.back().map(|batch| batch.base_offset);
        let oldest = self
            .producers
            .iter()
            .min_by_key(|(_, producer)| newest_offset(producer));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.producers.remove(&id);
        }
    }

    /// Writes the table: count u32, then per producer id i64, epoch i16, count u8 and batches.
    pub fn encode(&self, output: &mut impl BufMut) {
        output.put_u32_le(self.producers.len() as u32);
        for (id, producer) in &self.producers {
            output.put_i64_le(*id);
            output.put_i16_le(producer.epoch);
            output.put_u8(producer.batches.len() as u8);
            for batch in &producer.batches {
                output.put_i32_le(batch.base_sequence);
                output.put_i32_le(batch.last_sequence);
                output.put_u64_le(batch.base_offset.0);
            }
        }
    }

    /// Reads what `encode` wrote; none where the bytes end early.
    pub fn decode(input: &mut impl Buf) -> Option<ProducerTable> {
        let mut table = ProducerTable::default();
        for _ in 0..input.try_get_u32_le().ok()? {
            let id = input.try_get_i64_le().ok()?;
            let epoch = input.try_get_i16_le().ok()?;
            let mut batches = VecDeque::with_capacity(BATCHES_PER_PRODUCER);
            for _ in 0..input.try_get_u8().ok()? {
                batches.push_back(Remembered {
                    base_sequence: input.try_get_i32_le().ok()?,
                    last_sequence: input.try_get_i32_le().ok()?,
                    base_offset: Offset(input.try_get_u64_le().ok()?),
                });
            }
            table.producers.insert(id, Producer { epoch, batches });
        }
        Some(table)
    }
}

fn last_sequence(header: &BatchHeader) -> i32 {
    sequence_after(header.base_sequence, header.last_offset_delta)
}

/// The sequence `count` records further on; after the largest comes 0.
fn sequence_after(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    (sum % (i64::from(i32::MAX) + 1)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Timestamp;
    use crate::log::batch::{BatchBuilder, Record, validate};

    fn batch(id: i64, epoch: i16, base_sequence: i32, records: usize) -> BatchHeader {
        let mut builder = BatchBuilder::new(Timestamp(0)).producer(id, epoch, base_sequence);
        for _ in 0..records {
            builder
                .push(&Record {
                    timestamp: Timestamp(0),
                    key: None,
                    value: None,
                    headers: &[],
                })
                .unwrap();
        }
        validate(&builder.finish()).unwrap()
    }

    fn table(batches: &[(i16, i32, usize, u64)]) -> ProducerTable {
        let mut table = ProducerTable::default();
        for (epoch, sequence, records, offset) in batches {
            table.apply(&batch(1, *epoch, *sequence, *records), Offset(*offset));
        }
        table
    }

    #[test]
    fn a_retry_of_the_last_five_gets_its_first_offset() {
        let table = table(&[
            (0, 0, 2, 0),
            (0, 2, 1, 2),
            (0, 3, 1, 3),
            (0, 4, 1, 4),
            (0, 5, 1, 5),
            (0, 6, 1, 6),
        ]);
        assert_eq!(
            table.check(&batch(1, 0, 2, 1)).unwrap(),
            Verdict::Duplicate(Offset(2))
        );
        assert_eq!(
            table.check(&batch(1, 0, 6, 1)).unwrap(),
            Verdict::Duplicate(Offset(6))
        );
        assert_eq!(table.check(&batch(1, 0, 7, 1)).unwrap(), Verdict::Append);
        let sixth = table.check(&batch(1, 0, 0, 2)).unwrap_err();
        assert!(
            matches!(
                sixth,
                AppendError::OutOfOrderSequence {
                    expected: 7,
                    found: 0,
                    ..
                }
            ),
            "{sixth}"
        );
    }

    #[test]
    fn a_gap_is_refused_and_an_unknown_producer_may_begin_anywhere() {
        let table = table(&[(0, 0, 1, 0)]);
        let gap = table.check(&batch(1, 0, 2, 1)).unwrap_err();
        assert!(
            matches!(
                gap,
                AppendError::OutOfOrderSequence {
                    producer_id: 1,
                    expected: 1,
                    found: 2
                }
            ),
            "{gap}"
        );
        assert_eq!(table.check(&batch(2, 0, 77, 1)).unwrap(), Verdict::Append);
    }

    #[test]
    fn a_newer_epoch_begins_at_zero_and_fences_the_older() {
        let table = table(&[(0, 0, 1, 0), (1, 0, 1, 1)]);
        let old = table.check(&batch(1, 0, 1, 1)).unwrap_err();
        assert!(
            matches!(
                old,
                AppendError::ProducerFenced {
                    producer_id: 1,
                    current: 1,
                    found: 0
                }
            ),
            "{old}"
        );
        let wrong_start = table.check(&batch(1, 2, 1, 1)).unwrap_err();
        assert!(
            matches!(wrong_start, AppendError::OutOfOrderSequence { expected: 0, .. }),
            "{wrong_start}"
        );
        assert_eq!(table.check(&batch(1, 2, 0, 1)).unwrap(), Verdict::Append);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let table = table(&[(0, i32::MAX - 1, 3, 0)]);
        assert_eq!(table.check(&batch(1, 0, 1, 1)).unwrap(), Verdict::Append);
        assert_eq!(
            table.check(&batch(1, 0, i32::MAX - 1, 3)).unwrap(),
            Verdict::Duplicate(Offset(0))
        );
    }

    #[test]
    fn the_table_reads_back_and_a_cut_one_does_not() {
        let mut table = table(&[(0, 0, 1, 0), (0, 1, 1, 1)]);
        table.apply(&batch(9, 3, 5, 2), Offset(2));
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        assert_eq!(ProducerTable::decode(&mut &bytes[..]), Some(table));
        for end in 0..bytes.len() {
            assert_eq!(ProducerTable::decode(&mut &bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn memory_is_bounded_by_forgetting_the_oldest() {
        let mut table = ProducerTable::default();
        for id in 0..=PRODUCER_COUNT_MAX as i64 {
            table.apply(&batch(id, 0, 0, 1), Offset(id as u64));
        }
        assert_eq!(table.producers.len(), PRODUCER_COUNT_MAX);
        assert!(!table.producers.contains_key(&0) && table.producers.contains_key(&1));
    }
}
