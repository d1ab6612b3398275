//! Compares every stored index entry with the batches of its segment.

use super::SegmentError;
use super::indexes::{BatchPlace, Indexes};
use super::load::read_index;
use super::paths::SegmentPaths;
use super::place::SegmentPlace;
use crate::log::{Offset, Timestamp};

/// Compares stored index entries with the batches as they come.
pub(super) struct EntryCheck {
    base_offset: Offset,
    stored: Indexes,
    /// Bytes behind the last whole entry.
    rest_bytes: (u64, u64),
    /// How many entries met their batch.
    met: (usize, usize),
    /// The largest timestamp of the batches.
    pub(super) max_timestamp: Timestamp,
    /// Position of the first wrong offset entry.
    pub(super) wrong_offset: Option<u64>,
    /// Position of the first wrong time entry.
    pub(super) wrong_time: Option<u64>,
}

impl EntryCheck {
    /// Reads both index files.
    pub(super) fn load(
        place: &SegmentPlace,
        paths: &SegmentPaths,
        base_offset: Offset,
    ) -> Result<EntryCheck, SegmentError> {
        let offsets = read_index(&*place.disk, &paths.offset_index)?;
        let times = read_index(&*place.disk, &paths.time_index)?;
        let empty = Indexes::new(base_offset, place.options.index_interval_bytes);
        Ok(EntryCheck {
            base_offset,
            rest_bytes: (
                offsets.as_chunks::<8>().1.len() as u64,
                times.as_chunks::<12>().1.len() as u64,
            ),
            stored: empty.decode_whole(&offsets, &times),
            met: (0, 0),
            max_timestamp: Timestamp::NONE,
            wrong_offset: None,
            wrong_time: None,
        })
    }

    /// Meets the next batch.
    pub(super) fn observe(&mut self, batch: &BatchPlace) {
        let relative_offset = batch.last_offset.0 - self.base_offset.0;
        let rises = batch.max_timestamp > self.max_timestamp;
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
        if let Some(entry) = self.stored.offset_entry(self.met.0)
            && self.wrong_offset.is_none()
            && u64::from(entry.position) <= batch.position
        {
            let is_right = u64::from(entry.position) == batch.position
                && u64::from(entry.relative_offset) == relative_offset;
            if is_right {
                self.met.0 += 1;
            } else {
                self.wrong_offset = Some(8 * self.met.0 as u64);
            }
        }
        if let Some(entry) = self.stored.time_entry(self.met.1)
            && self.wrong_time.is_none()
            && u64::from(entry.relative_offset) <= relative_offset
        {
            let is_right = rises
                && u64::from(entry.relative_offset) == relative_offset
                && entry.timestamp == batch.max_timestamp;
            if is_right {
                self.met.1 += 1;
            } else {
                self.wrong_time = Some(12 * self.met.1 as u64);
            }
        }
    }

    /// Entries that met no batch are wrong. Only in the last segment there may be some of batches behind its end,
    /// which a crash took away: these are behind it in every respect.
    pub(super) fn finish(&mut self, next_offset: Offset, end: u64, is_active: bool) {
        let next = next_offset.0 - self.base_offset.0;
        let may_stay = match self.stored.offset_entry(self.met.0) {
            Some(entry) => u64::from(entry.relative_offset) >= next && u64::from(entry.position) >= end,
            None => true,
        };
        if !(is_active && may_stay) && (self.met.0 < self.stored.counts().0 || self.rest_bytes.0 > 0) {
            self.wrong_offset.get_or_insert(8 * self.met.0 as u64);
        }
        let may_stay = match self.stored.time_entry(self.met.1) {
            Some(entry) => u64::from(entry.relative_offset) >= next && entry.timestamp > self.max_timestamp,
            None => true,
        };
        if !(is_active && may_stay) && (self.met.1 < self.stored.counts().1 || self.rest_bytes.1 > 0) {
            self.wrong_time.get_or_insert(12 * self.met.1 as u64);
        }
    }
}
