//! Takes segments out of a partition: the list first, the files later, oldest first.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::headers::Headers;
use super::paths::SegmentPaths;
use super::{FileOperation, SegmentError, SegmentSummary, Segments};
use crate::log::{Offset, Timestamp};

/// Segments whose files are to be removed.
#[derive(Debug, Default)]
pub(super) struct Retired {
    paths: Mutex<VecDeque<SegmentPaths>>,
}

impl Segments {
    /// All segments, oldest first, at the broker's time `now`. The last one is appended to, and may be empty.
    ///
    /// # Errors
    /// When a segment cannot be opened whose size or largest timestamp is not known yet.
    pub fn summaries(&self, now: Timestamp) -> Result<Vec<SegmentSummary>, SegmentError> {
        let bases: Vec<Offset> = {
            let layout = self.layout();
            layout.closed.iter().map(|segment| segment.base_offset).collect()
        };
        for base_offset in bases {
            self.complete_summary(base_offset, now)?;
        }
        let active = self.active_summary(now)?;
        let layout = self.layout();
        let next_bases = layout.closed.iter().skip(1).map(|segment| segment.base_offset);
        let next_bases = next_bases.chain([layout.end.segment]);
        let closed = layout.closed.iter().zip(next_bases);
        let mut summaries: Vec<_> = closed
            .map(|(segment, next_offset)| SegmentSummary {
                base_offset: segment.base_offset,
                next_offset,
                size_bytes: segment.size_bytes.unwrap_or(0),
                max_timestamp: segment.max_timestamp.unwrap_or(Timestamp::NONE),
                last_append: segment.last_append.unwrap_or(now),
                is_active: false,
            })
            .collect();
        // It may have ended in between, and then is the last closed one.
        if layout.end.segment == active.base_offset {
            summaries.push(active);
        }
        Ok(summaries)
    }

    /// Takes the segments that end at or below `log_start` out of the list: they are not read any more, and
    /// [`Segments::remove_retired`] removes their files. The segment that is appended to stays.
    pub fn retire_below(&self, log_start: Offset) {
        let retired: Vec<Offset> = {
            // Held until their files are on the list of those to remove, from which a replacement may take them.
            let mut layout = self.layout_mut();
            let end = layout.end.segment;
            let next_of = |index: usize| layout.closed.get(index + 1).map_or(end, |next| next.base_offset);
            let count = (0..layout.closed.len())
                .take_while(|index| next_of(*index) <= log_start)
                .count();
            layout.version += u64::from(count > 0);
            layout
                .closed
                .drain(..count)
                .map(|segment| segment.base_offset)
                .collect()
        };
        if retired.is_empty() {
            return;
        }
        self.forget_open(&retired);
        let paths = retired
            .iter()
            .map(|base| SegmentPaths::new(&self.place.dir, *base));
        self.retired.lock().extend(paths);
    }

    /// Removes the files of retired segments, oldest first, so that what a crash leaves is a partition without a
    /// hole. Those who read them go on reading. True if there was anything to remove.
    ///
    /// # Errors
    /// What could not be removed is tried again by the next call.
    pub fn remove_retired(&self) -> Result<bool, SegmentError> {
        let _maintenance = self.maintain();
        let mut removed = false;
        loop {
            let Some(paths) = self.retired.lock().front().cloned() else {
                break;
            };
            // The log last: a segment that is there is there for the next start to remove.
            for path in paths.all() {
                match self.place.disk.remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(SegmentError::io(FileOperation::Remove, path)(error));
                    }
                    _ => removed = true,
                }
            }
            self.retired.lock().pop_front();
        }
        Ok(removed)
    }

    /// Ends the segment that is appended to, if it has data: the next batch begins another. Durable after
    /// [`Segments::sync`].
    pub fn roll(&self) -> Result<(), SegmentError> {
        self.writer().roll(self)
    }

    /// The timestamp of the first batch of the segment that is appended to; none if it is empty.
    pub fn active_since(&self) -> Result<Option<Timestamp>, SegmentError> {
        let end = self.flushed();
        if end.position == 0 {
            return Ok(None);
        }
        let active = self.active()?;
        let mut headers = Headers::verified(&active.file, 0, end.position);
        Ok(headers.next()?.map(|(_, header)| header.max_timestamp))
    }

    /// Learns size, largest timestamp and time of a closed segment.
    fn complete_summary(&self, base_offset: Offset, now: Timestamp) -> Result<(), SegmentError> {
        let known = self
            .layout_mut()
            .closed_segment(base_offset)
            .map(|segment| *segment);
        let Some(known) = known else { return Ok(()) };
        if known.size_bytes.is_none() || known.max_timestamp.is_none() {
            // Opening it tells both.
            self.segment(base_offset)?;
        }
        if known.last_append.is_none() {
            let last_append = self.modified(base_offset).unwrap_or(now).min(now);
            if let Some(segment) = self.layout_mut().closed_segment(base_offset) {
                segment.last_append = Some(last_append);
            }
        }
        Ok(())
    }

    fn active_summary(&self, now: Timestamp) -> Result<SegmentSummary, SegmentError> {
        let end = self.flushed();
        let mut summary = SegmentSummary {
            base_offset: end.segment,
            next_offset: end.next_offset,
            size_bytes: end.position,
            max_timestamp: Timestamp::NONE,
            last_append: now,
            is_active: true,
        };
        if end.position > 0 {
            let active = self.active()?;
            let extent = active.extent();
            summary.base_offset = active.base_offset;
            summary.next_offset = extent.next_offset;
            summary.size_bytes = extent.end;
            summary.max_timestamp = extent.indexes.max_timestamp();
            drop(extent);
            summary.last_append = self.modified(summary.base_offset).unwrap_or(now).min(now);
        }
        Ok(summary)
    }

    /// When the segment's file was last written, where the disk tells.
    fn modified(&self, base_offset: Offset) -> Option<Timestamp> {
        let path = SegmentPaths::new(&self.place.dir, base_offset).log;
        self.place.disk.modified(&path).ok().flatten()
    }
}

impl Retired {
    /// Keeps the files of a segment.
    pub(super) fn cancel(&self, paths: &SegmentPaths) {
        self.lock().retain(|retired| retired.log != paths.log);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<SegmentPaths>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
