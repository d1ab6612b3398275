//! The sparse indexes of one segment: offset to position, and timestamp to offset.
//!
//! Rules and encoding are Kafka's, so that `kafka-dump-log` finds what it expects:
//!
//! ```text
//! .index      relative last offset of a batch u32 | position of that batch u32
//! .timeindex  largest timestamp so far i64 | relative last offset of the first batch that has it u32
//! ```
//!
//! An entry is due at the first batch that begins more than the interval behind the last entry. Offsets and
//! timestamps of successive entries rise strictly. A closed segment's last time entry has its maximum.

use crate::log::{Offset, Timestamp};

/// An entry of the offset index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    /// Last offset of a batch, less the segment's base offset.
    pub(super) relative_offset: u32,
    /// Where that batch begins.
    pub(super) position: u32,
}

/// An entry of the time index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    /// Largest timestamp up to here.
    pub(super) timestamp: Timestamp,
    /// Last offset of the first batch that has it, less the segment's base offset.
    pub(super) relative_offset: u32,
}

/// What an index knows of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchPlace {
    pub(super) position: u64,
    pub(super) size_bytes: usize,
    pub(super) last_offset: Offset,
    pub(super) max_timestamp: Timestamp,
}

/// Both indexes of a segment and what is needed to continue them.
#[derive(Clone, Debug)]
pub(super) struct Indexes {
    base_offset: Offset,
    interval_bytes: u32,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    bytes_since_entry: u64,
    /// The largest timestamp so far; none before the first batch with one.
    max: Option<TimeEntry>,
}

impl OffsetEntry {
    pub(super) const SIZE_BYTES: usize = 8;

    fn encode(self) -> [u8; Self::SIZE_BYTES] {
        (u64::from(self.relative_offset) << 32 | u64::from(self.position)).to_be_bytes()
    }

    fn decode(bytes: [u8; Self::SIZE_BYTES]) -> OffsetEntry {
        let number = u64::from_be_bytes(bytes);
        OffsetEntry {
            relative_offset: (number >> 32) as u32,
            position: number as u32,
        }
    }
}

impl TimeEntry {
    pub(super) const SIZE_BYTES: usize = 12;

    fn encode(self) -> [u8; Self::SIZE_BYTES] {
        let mut bytes = [0; Self::SIZE_BYTES];
        bytes[..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::SIZE_BYTES]) -> TimeEntry {
        let number = i128::from_be_bytes(std::array::from_fn(|i| if i < 4 { 0 } else { bytes[i - 4] }));
        TimeEntry {
            timestamp: Timestamp((number >> 32) as i64),
            relative_offset: number as u32,
        }
    }
}

impl Indexes {
    pub(super) fn new(base_offset: Offset, interval_bytes: u32) -> Indexes {
        Indexes {
            base_offset,
            interval_bytes,
            offsets: Vec::new(),
            times: Vec::new(),
            bytes_since_entry: 0,
            max: None,
        }
    }

    /// Takes entries from encoded indexes of a segment of `end` bytes, as far as they rise and are inside.
    ///
    /// The indexes stand right before the batch of the last offset entry: the caller checks that batch and
    /// gives it to [`Indexes::skip`], then the following ones to [`Indexes::observe`].
    pub(super) fn decode(mut self, offsets: &[u8], times: &[u8], end: u64) -> Indexes {
        for bytes in offsets.as_chunks().0 {
            let entry = OffsetEntry::decode(*bytes);
            let rises = self.offsets.last().is_none_or(|last| {
                last.relative_offset < entry.relative_offset && last.position < entry.position
            });
            // No entry points to the first batch, which needs none, so the first offset has none either.
            if !rises || entry.relative_offset == 0 || entry.position == 0 || u64::from(entry.position) >= end
            {
                break;
            }
            self.offsets.push(entry);
        }
        let Some(anchor) = self.offsets.last() else {
            return self;
        };
        for bytes in times.as_chunks().0 {
            let entry = TimeEntry::decode(*bytes);
            let rises = self
                .times
                .last()
                .map_or(entry.timestamp > Timestamp::NONE, |last| {
                    last.timestamp < entry.timestamp && last.relative_offset < entry.relative_offset
                });
            if !rises || entry.relative_offset > anchor.relative_offset {
                break;
            }
            self.times.push(entry);
        }
        self.max = self.times.last().copied();
        self
    }

    /// Takes the entries of encoded indexes that are known to be whole.
    pub(super) fn decode_whole(mut self, offsets: &[u8], times: &[u8]) -> Indexes {
        self.offsets = offsets
            .as_chunks()
            .0
            .iter()
            .map(|bytes| OffsetEntry::decode(*bytes))
            .collect();
        self.times = times
            .as_chunks()
            .0
            .iter()
            .map(|bytes| TimeEntry::decode(*bytes))
            .collect();
        self.max = self.times.last().copied();
        self
    }

    /// Whether these indexes begin with all entries of `first`, which are of the first batches.
    pub(super) fn begin_with(&self, first: &Indexes) -> bool {
        self.offsets.starts_with(&first.offsets) && self.times.starts_with(&first.times)
    }

    /// The entries from `offset_count` and `time_count` on, encoded.
    pub(super) fn encode_from(&self, offset_count: usize, time_count: usize) -> (Vec<u8>, Vec<u8>) {
        let offsets = self.offsets[offset_count..]
            .iter()
            .flat_map(|entry| entry.encode())
            .collect();
        let times = self.times[time_count..]
            .iter()
            .flat_map(|entry| entry.encode())
            .collect();
        (offsets, times)
    }

    /// Takes the next batch into the indexes; batches come in order.
    pub(super) fn observe(&mut self, batch: &BatchPlace) {
        let relative_offset = (batch.last_offset.0 - self.base_offset.0) as u32;
        if batch.max_timestamp > self.max_timestamp() {
            self.max = Some(TimeEntry {
                timestamp: batch.max_timestamp,
                relative_offset,
            });
        }
        if self.bytes_since_entry > u64::from(self.interval_bytes) {
            self.offsets.push(OffsetEntry {
                relative_offset,
                position: batch.position as u32,
            });
            self.push_max();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += batch.size_bytes as u64;
    }

    /// Drops the last offset entry, whose batch turned out to be another, and the time entries behind.
    pub(super) fn forget_last_offset_entry(&mut self) {
        self.offsets.pop();
        let anchor = self.offsets.last().copied();
        let keeps = |entry: &TimeEntry| anchor.is_some_and(|a| entry.relative_offset <= a.relative_offset);
        self.times.truncate(self.times.partition_point(keeps));
        self.max = self.times.last().copied();
    }

    /// Passes the batch to which the last offset entry points.
    pub(super) fn skip(&mut self, size_bytes: usize) {
        self.bytes_since_entry = size_bytes as u64;
    }

    /// Ends the time index with the segment's maximum.
    pub(super) fn close(&mut self) {
        self.push_max();
    }

    fn push_max(&mut self) {
        if let Some(max) = self.max
            && self
                .times
                .last()
                .is_none_or(|last| last.timestamp < max.timestamp)
        {
            self.times.push(max);
        }
    }

    /// The distance of entries.
    pub(super) fn interval_bytes(&self) -> u32 {
        self.interval_bytes
    }

    /// Number of entries in the offset and the time index.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.offsets.len(), self.times.len())
    }

    /// The largest timestamp so far; [`Timestamp::NONE`] if no batch has one.
    pub(super) fn max_timestamp(&self) -> Timestamp {
        self.max.map_or(Timestamp::NONE, |max| max.timestamp)
    }

    /// Last offset of the first batch that has the largest timestamp.
    pub(super) fn offset_of_max_timestamp(&self) -> Option<Offset> {
        self.max
            .map(|max| self.base_offset.plus(max.relative_offset.into()))
    }

    /// The offset entry of that number.
    pub(super) fn offset_entry(&self, index: usize) -> Option<OffsetEntry> {
        self.offsets.get(index).copied()
    }

    /// The time entry of that number.
    pub(super) fn time_entry(&self, index: usize) -> Option<TimeEntry> {
        self.times.get(index).copied()
    }

    /// The last offset entry.
    pub(super) fn last_offset_entry(&self) -> Option<OffsetEntry> {
        self.offsets.last().copied()
    }

    /// The last offset entry whose batch ends at or before `offset`; none means the segment's begin.
    pub(super) fn offset_entry_before(&self, offset: Offset) -> Option<OffsetEntry> {
        let relative = offset.0.checked_sub(self.base_offset.0)?;
        let count = self
            .offsets
            .partition_point(|entry| u64::from(entry.relative_offset) <= relative);
        self.offsets[..count].last().copied()
    }

    /// The last time entry before `timestamp`: no batch up to the entry's has `timestamp` or a later one.
    pub(super) fn time_entry_before(&self, timestamp: Timestamp) -> Option<TimeEntry> {
        let count = self.times.partition_point(|entry| entry.timestamp < timestamp);
        self.times[..count].last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of one record and 100 bytes with these timestamps, an entry after more than 150 bytes.
    fn indexes_of(timestamps: &[i64]) -> Indexes {
        let mut indexes = Indexes::new(Offset(1_000), 150);
        for (index, timestamp) in timestamps.iter().enumerate() {
            indexes.observe(&BatchPlace {
                position: index as u64 * 100,
                size_bytes: 100,
                last_offset: Offset(1_000 + index as u64),
                max_timestamp: Timestamp(*timestamp),
            });
        }
        indexes
    }

    fn offset(relative_offset: u32, position: u32) -> OffsetEntry {
        OffsetEntry {
            relative_offset,
            position,
        }
    }

    fn time(timestamp: i64, relative_offset: u32) -> TimeEntry {
        TimeEntry {
            timestamp: Timestamp(timestamp),
            relative_offset,
        }
    }

    #[test]
    fn entries_come_behind_the_interval() {
        let mut indexes = indexes_of(&[5, 7, 6, 7, 9, 8]);
        assert_eq!(indexes.offsets, [offset(2, 200), offset(4, 400)]);
        assert_eq!(indexes.times, [time(7, 1), time(9, 4)]);
        indexes.close();
        assert_eq!(indexes.times.len(), 2, "the maximum is there already");
        let mut indexes = indexes_of(&[-1, 3]);
        assert_eq!(indexes.counts(), (0, 0));
        indexes.close();
        assert_eq!(indexes.times, [time(3, 1)]);
    }

    #[test]
    fn entries_are_encoded_as_kafka_does() {
        let mut indexes = indexes_of(&[5, 7, 6]);
        indexes.close();
        let (offsets, times) = indexes.encode_from(0, 0);
        assert_eq!(offsets, [0, 0, 0, 2, 0, 0, 0, 200]);
        assert_eq!(times, [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]);
        assert_eq!(TimeEntry::decode(time(-2, u32::MAX).encode()), time(-2, u32::MAX));
        assert_eq!(indexes.encode_from(1, 1), (vec![], vec![]));
    }

    #[test]
    fn lookups_stop_at_or_before_the_target() {
        let indexes = indexes_of(&[5, 7, 6, 7, 9, 8]);
        let position = |offset| {
            indexes
                .offset_entry_before(Offset(offset))
                .map(|entry| entry.position)
        };
        assert_eq!(position(999), None);
        assert_eq!(position(1_001), None);
        assert_eq!(position(1_002), Some(200));
        assert_eq!(position(1_003), Some(200));
        assert_eq!(position(9_999), Some(400));
        let entry = |timestamp| indexes.time_entry_before(Timestamp(timestamp));
        assert_eq!(
            [entry(-1), entry(7), entry(8), entry(9), entry(10)],
            [None, None, Some(time(7, 1)), Some(time(7, 1)), Some(time(9, 4))]
        );
        assert_eq!(indexes.offset_of_max_timestamp(), Some(Offset(1_004)));
    }

    #[test]
    fn decoding_keeps_what_rises() {
        let indexes = indexes_of(&[5, 7, 6, 7, 9, 8]);
        let (offsets, times) = indexes.encode_from(0, 0);
        let decode = |offsets: &[u8], times: &[u8], end| {
            Indexes::new(Offset(1_000), 150)
                .decode(offsets, times, end)
                .counts()
        };
        assert_eq!(decode(&offsets, &times, 600), (2, 2));
        assert_eq!(decode(&offsets, &times, 400), (1, 1), "behind the end");
        assert_eq!(decode(&offsets[..15], &times[..23], 600), (1, 1), "torn");
        assert_eq!(
            decode(&[&offsets[..], &[0; 16]].concat(), &times, 600),
            (2, 2),
            "zeros at the end"
        );
        assert_eq!(decode(&[0; 16], &times, 600), (0, 0));
        assert_eq!(
            decode(&[&offsets[8..], &offsets[..8]].concat(), &times, 600),
            (1, 2)
        );
    }
}
