//! The segments of one partition: which there are, where the data ends, and reading across them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::cache::Slot;
use super::open::{Neighbours, OpenSegment};
use super::paths::{SegmentPaths, TEMPORARY_SUFFIX, base_offset_of, sealed_offset_of};
use super::place::SegmentPlace;
use super::replace::recover;
use super::retire::Retired;
use super::scan::find_end;
use super::writer::Writer;
use super::{FileOperation, FlushedPosition, SegmentError};
use crate::log::batch::StoredBatch;
use crate::log::io::OpenMode;
use crate::log::{Offset, Timestamp};

/// The names in the folder, which need not exist.
fn list(place: &SegmentPlace) -> Result<Vec<String>, SegmentError> {
    match place.disk.list(&place.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(SegmentError::io(FileOperation::Read, &place.dir)),
    }
}

/// The segments of one partition.
///
/// One thread at a time appends and syncs; any number read at the same time, and see a batch as soon as
/// [`Segments::append`] that wrote it has returned.
#[derive(Debug)]
pub struct Segments {
    pub(super) place: SegmentPlace,
    layout: RwLock<Layout>,
    /// Closed segments that were read, open or not.
    closed: Mutex<BTreeMap<Offset, Arc<Slot<OpenSegment>>>>,
    /// Held across I/O: only the flusher takes it.
    writer: Mutex<Writer>,
    /// Held while files of closed segments are replaced or removed. Nobody who holds it waits for the writer.
    maintenance: Mutex<()>,
    /// Makes names of temporary files unique.
    temporaries: AtomicU64,
    /// What is wrong with the bytes behind the end that was searched.
    torn: Mutex<Option<SegmentError>>,
    pub(super) retired: Retired,
    /// Held across I/O by who replaces closed segments, and by who opens one.
    replacing: RwLock<()>,
    /// Size at which a segment ends; begins as the one of the options.
    size_max_bytes: AtomicU64,
}

/// The list of segments. Locked for moments only, never across I/O.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) closed: Vec<ClosedSegment>,
    pub(super) end: FlushedPosition,
    /// The segment at the end, once it was opened. Its indexes stay in memory; its file may be closed.
    pub(super) active: Option<Arc<OpenSegment>>,
    /// Changes whenever closed segments are taken away or replaced.
    pub(super) version: u64,
}

/// A segment that is not appended to, and what is known of it without opening it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedSegment {
    pub(super) base_offset: Offset,
    pub(super) size_bytes: Option<u64>,
    pub(super) max_timestamp: Option<Timestamp>,
    /// A time of the broker's clock at or behind the last append, once somebody asked.
    pub(super) last_append: Option<Timestamp>,
    pub(super) seal: SealState,
}

/// Whether a closed segment has its seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealState {
    /// There is a file.
    Sealed,
    /// There is none yet.
    Unsealed,
    /// There is none and nobody makes one: the writer is about to, or the segment is damaged.
    Withheld,
}

impl Segments {
    /// Takes over the segments in `dir`, which need not exist.
    ///
    /// `flushed` is the end that the checkpoint names: bytes and files behind it are garbage that appending
    /// overwrites or removes. It costs a listing of the folder; files are opened when they are needed.
    /// Without it, all batches are read and checked to find the end. Nothing is written here, except that a
    /// replacement of segments that a crash interrupted is completed.
    ///
    /// # Errors
    /// When the folder cannot be read or, without `flushed`, when anything but the end of the last segment
    /// is damaged.
    pub fn open(place: SegmentPlace, flushed: Option<FlushedPosition>) -> Result<Segments, SegmentError> {
        let mut names = list(&place)?;
        if recover(&place, &names)? {
            names = list(&place)?;
        }
        let dir = &place.dir;
        let mut base_offsets: Vec<Offset> = names.iter().filter_map(|name| base_offset_of(name)).collect();
        base_offsets.sort_unstable();
        let sealed: BTreeSet<Offset> = names.iter().filter_map(|name| sealed_offset_of(name)).collect();
        let (end, torn) = match flushed {
            Some(end) => (end, None),
            None => find_end(&place, &base_offsets)?,
        };
        let temporaries = names.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX));
        let mut writer = Writer::new(temporaries.map(|name| dir.join(name)).collect());
        for stale in base_offsets
            .iter()
            .filter(|base_offset| **base_offset > end.segment)
        {
            writer.discard(SegmentPaths::new(dir, *stale));
        }
        // The checkpoint comes after the seals of all segments that it counts as closed.
        for open in sealed.range(end.segment..) {
            writer.discard_seal(SegmentPaths::new(dir, *open).seal);
        }
        if flushed.is_none() {
            // What was read may be in the page cache only: the first sync makes it durable.
            writer.distrust(
                base_offsets
                    .iter()
                    .map(|base| SegmentPaths::new(dir, *base).log)
                    .collect(),
            );
        }
        let closed = base_offsets
            .into_iter()
            .filter(|base_offset| *base_offset < end.segment);
        let closed: Vec<_> = closed
            .map(|base_offset| ClosedSegment::unopened(base_offset, sealed.contains(&base_offset)))
            .collect();
        place.cache.add_unsealed(unsealed_of(&closed));
        let size_max_bytes = place.options.segment_size_max_bytes;
        Ok(Segments {
            place,
            layout: RwLock::new(Layout {
                closed,
                end,
                active: None,
                version: 0,
            }),
            closed: Mutex::default(),
            writer: Mutex::new(writer),
            maintenance: Mutex::default(),
            temporaries: AtomicU64::new(0),
            torn: Mutex::new(torn),
            retired: Retired::default(),
            replacing: RwLock::default(),
            size_max_bytes: AtomicU64::new(size_max_bytes),
        })
    }

    /// Cuts segments at another size from the next batch on.
    pub fn set_size_max_bytes(&self, size_max_bytes: u64) {
        self.size_max_bytes.store(size_max_bytes, Ordering::Relaxed);
    }

    pub(super) fn size_max_bytes(&self) -> u64 {
        self.size_max_bytes.load(Ordering::Relaxed)
    }

    /// What is wrong with the bytes behind the end, where the end had to be searched; told once.
    ///
    /// It is a torn write if the journal has the batch that belongs there, and damage otherwise.
    pub fn take_torn(&self) -> Option<SegmentError> {
        self.torn.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Appends batches behind the last one; they are readable when this returns, and durable after
    /// [`Segments::sync`].
    ///
    /// Batches that are there already are passed over, so that a call that failed for lack of space can be
    /// repeated. After a crash, the same batches go to the same positions.
    ///
    /// # Errors
    /// Batches before the failing write were appended; [`Segments::flushed`] tells how far.
    pub fn append(&self, batches: &[StoredBatch]) -> Result<(), SegmentError> {
        let mut expected = self.flushed().next_offset;
        let rest = &batches[batches.partition_point(|batch| batch.next_offset <= expected)..];
        for batch in rest {
            if batch.base_offset != expected {
                return Err(SegmentError::NotContiguous {
                    found: batch.base_offset,
                    expected,
                });
            }
            expected = batch.next_offset;
        }
        self.writer().append(self, rest)
    }

    /// Closes the files that were appended to, so that any number of partitions can be flushed at once. The next sync
    /// must be [`crate::log::io::Disk::sync_all`], which reports the errors of closed files too, and then
    /// [`Segments::sync_rest`].
    pub fn release_files(&self) {
        self.writer().release_files();
    }

    /// Makes everything appended so far durable: data, indexes of closed segments, and folder entries.
    ///
    /// # Errors
    /// After a failed sync, every further append and sync fails: what the sync lost cannot be told.
    pub fn sync(&self) -> Result<(), SegmentError> {
        self.writer().sync(self, false)
    }

    /// Like [`Segments::sync`] after [`crate::log::io::Disk::sync_all`], which made durable what was appended before
    /// it: only what follows from it is left to do.
    pub fn sync_rest(&self) -> Result<(), SegmentError> {
        self.writer().sync(self, true)
    }

    /// Makes the last segment ready for direct writes up to `end`, durable with the next [`Segments::sync`];
    /// tells which segment and up to where, or none where there is no room.
    pub fn extend(&self, end: u64) -> Option<(Offset, u64)> {
        let mut writer = self.writer();
        let end = writer.extend(self, end)?;
        Some((self.flushed().segment, end))
    }

    /// Gives back what was reserved behind `end`, where nothing of the last segment is.
    pub fn shrink(&self, end: u64) -> Result<(), SegmentError> {
        self.writer().shrink(end)
    }

    /// The end of what was appended.
    pub fn flushed(&self) -> FlushedPosition {
        self.layout().end
    }

    /// Offset of the first record, or of the next one if there is none.
    pub fn first_offset(&self) -> Offset {
        let layout = self.layout();
        layout
            .closed
            .first()
            .map_or(layout.end.segment, |segment| segment.base_offset)
    }

    /// Whole batches from the one that contains `from`, up to `max_bytes` but at least one.
    ///
    /// The batches of one segment are one slice, not copied where the disk maps files. Their checksums were
    /// verified. At the end of the data the answer is empty.
    ///
    /// # Errors
    /// When `from` is in no segment, or its batch is damaged or unreadable.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, SegmentError> {
        self.in_one_layout(|| self.read_once(from, max_bytes))
    }

    fn read_once(&self, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, SegmentError> {
        let mut runs = Vec::new();
        let mut next = from;
        let mut left_bytes = max_bytes;
        while let Some(base_offset) = self.segment_of(next)? {
            let run = self
                .segment(base_offset)
                .and_then(|segment| segment.read(next, left_bytes));
            let (bytes, next_offset) = match run {
                Ok(run) => run,
                Err(error) if runs.is_empty() => return Err(error),
                // The next read begins there and reports it.
                Err(_) => break,
            };
            if !runs.is_empty() && bytes.len() > left_bytes {
                break;
            }
            left_bytes = left_bytes.saturating_sub(bytes.len());
            next = next_offset;
            if bytes.is_empty() {
                // Everything up to the segment's end was taken out of it.
                continue;
            }
            runs.push(bytes);
            // The segment has more, which did not fit; or nothing more fits.
            if left_bytes == 0 || self.segment_of(next)? == Some(base_offset) {
                break;
            }
        }
        Ok(runs)
    }

    /// The first batch that ends above `log_start` and whose largest timestamp is at or after `timestamp`.
    pub fn batch_at_time(
        &self,
        timestamp: Timestamp,
        log_start: Offset,
    ) -> Result<Option<Bytes>, SegmentError> {
        self.in_one_layout(|| {
            for base_offset in self.base_offsets() {
                let max = self.max_timestamp(base_offset)?;
                if max.is_some_and(|max| max >= timestamp)
                    && let Some(batch) = self.segment(base_offset)?.batch_at_time(timestamp, log_start)?
                {
                    return Ok(Some(batch));
                }
            }
            Ok(None)
        })
    }

    /// The first batch that has the largest timestamp of those that end above `log_start`; none if no batch has a
    /// timestamp.
    pub fn batch_with_max_timestamp(&self, log_start: Offset) -> Result<Option<Bytes>, SegmentError> {
        self.in_one_layout(|| {
            let mut found: Option<(Timestamp, Offset)> = None;
            for base_offset in self.base_offsets() {
                let max = if base_offset < log_start {
                    self.segment(base_offset)?.max_timestamp_above(log_start)?
                } else {
                    self.max_timestamp(base_offset)?
                };
                if let Some(max) = max
                    && found.is_none_or(|(timestamp, _)| timestamp < max)
                {
                    found = Some((max, base_offset));
                }
            }
            match found {
                Some((max, base_offset)) => self.segment(base_offset)?.batch_at_time(max, log_start),
                None => Ok(None),
            }
        })
    }

    /// Repeats a look that failed because a segment was taken out of the list, or replaced, meanwhile.
    fn in_one_layout<T>(&self, look: impl Fn() -> Result<T, SegmentError>) -> Result<T, SegmentError> {
        loop {
            let version = self.layout().version;
            let seen = look();
            if seen.is_ok() || self.layout().version == version {
                return seen;
            }
        }
    }

    /// Bytes of batches in all segments. A segment whose file cannot be opened does not count.
    pub fn size_bytes(&self) -> u64 {
        let (closed, mut size_bytes) = {
            let layout = self.layout();
            (layout.closed.clone(), layout.end.position)
        };
        for segment in closed {
            size_bytes += segment
                .size_bytes
                .or_else(|| self.measure(segment.base_offset))
                .unwrap_or(0);
        }
        size_bytes
    }

    /// Base offset of the closed segment before the one at the end.
    pub(super) fn last_closed(&self) -> Option<Offset> {
        self.layout().closed.last().map(|segment| segment.base_offset)
    }

    /// Takes note of the seal that a closed segment got. It is opened anew, with its seal, when it is read again.
    pub(super) fn mark_sealed(&self, base_offset: Offset) {
        self.set_seal(base_offset, SealState::Sealed);
        let mut open = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&base_offset);
    }

    /// Takes note that a segment is not to be sealed.
    pub(super) fn refuse_seal(&self, base_offset: Offset) {
        self.set_seal(base_offset, SealState::Withheld);
    }

    fn set_seal(&self, base_offset: Offset, seal: SealState) {
        if let Some(segment) = self.layout_mut().closed_segment(base_offset) {
            let before = std::mem::replace(&mut segment.seal, seal);
            self.place
                .cache
                .remove_unsealed(usize::from(before == SealState::Unsealed));
        }
    }

    /// Keeps others from replacing or removing closed segments.
    pub(super) fn maintain(&self) -> MutexGuard<'_, ()> {
        self.maintenance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure(&self, base_offset: Offset) -> Option<u64> {
        let path = SegmentPaths::new(&self.place.dir, base_offset).log;
        let size_bytes = self
            .place
            .disk
            .open(&path, OpenMode::Read)
            .and_then(|file| file.len())
            .ok()?;
        if let Some(segment) = self.layout_mut().closed_segment(base_offset) {
            segment.size_bytes = Some(size_bytes);
        }
        Some(size_bytes)
    }

    pub(super) fn layout(&self) -> RwLockReadGuard<'_, Layout> {
        self.layout.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn layout_mut(&self) -> RwLockWriteGuard<'_, Layout> {
        self.layout.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn base_offsets(&self) -> Vec<Offset> {
        let layout = self.layout();
        let closed = layout.closed.iter().map(|segment| segment.base_offset);
        // A segment without data may have no file yet.
        closed
            .chain((layout.end.position > 0).then_some(layout.end.segment))
            .collect()
    }

    /// Base offset of the segment that holds `offset`; `None` at the end.
    fn segment_of(&self, offset: Offset) -> Result<Option<Offset>, SegmentError> {
        let layout = self.layout();
        let first = layout
            .closed
            .first()
            .map_or(layout.end.segment, |segment| segment.base_offset);
        let next = layout.end.next_offset;
        if offset < first || offset > next {
            return Err(SegmentError::OutOfRange { offset, first, next });
        }
        if offset >= layout.end.segment {
            return Ok((offset < next).then_some(layout.end.segment));
        }
        let index = layout
            .closed
            .partition_point(|segment| segment.base_offset <= offset);
        Ok(layout.closed[..index].last().map(|segment| segment.base_offset))
    }

    /// The segment with that base offset, opened if it is not open.
    pub(super) fn segment(&self, base_offset: Offset) -> Result<Arc<OpenSegment>, SegmentError> {
        if self.layout().end.segment == base_offset {
            let active = self.active()?;
            // It may have been closed in between.
            if active.base_offset == base_offset {
                return Ok(active);
            }
        }
        let slot = {
            let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(closed.entry(base_offset).or_insert_with(Slot::empty))
        };
        slot.get(&self.place.cache, || self.open_closed(base_offset).map(Arc::new))
    }

    /// Keeps closed segments from being opened.
    pub(super) fn lock_replacing(&self) -> RwLockWriteGuard<'_, ()> {
        self.replacing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps closed segments from being replaced.
    pub(super) fn lock_opening(&self) -> RwLockReadGuard<'_, ()> {
        self.replacing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes segments that are not in the list any more; who reads one keeps it.
    pub(super) fn forget_open(&self, base_offsets: &[Offset]) {
        let mut open = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        for base_offset in base_offsets {
            open.remove(base_offset);
        }
    }

    /// The segment at the end, which has data.
    pub(super) fn active(&self) -> Result<Arc<OpenSegment>, SegmentError> {
        let end = {
            let layout = self.layout();
            if let Some(active) = &layout.active {
                return Ok(Arc::clone(active));
            }
            layout.end
        };
        let opened = OpenSegment::open_active(&self.place, &end)?;
        // Another thread may have been faster; the writer may have grown that one.
        Ok(Arc::clone(
            self.layout_mut().active.get_or_insert(Arc::new(opened)),
        ))
    }

    fn open_closed(&self, base_offset: Offset) -> Result<OpenSegment, SegmentError> {
        let _opening = self.lock_opening();
        let (next_offset, neighbours) = {
            let layout = self.layout();
            let base = |segment: &ClosedSegment| segment.base_offset;
            let closed = &layout.closed;
            let behind = closed.partition_point(|segment| segment.base_offset <= base_offset);
            let before = closed.partition_point(|segment| segment.base_offset < base_offset);
            let neighbours = Neighbours {
                before: closed[..before].last().map(base),
                behind: closed.get(behind).map(base),
            };
            (neighbours.behind.unwrap_or(layout.end.segment), neighbours)
        };
        let segment = OpenSegment::open_closed(&self.place, base_offset, next_offset, &neighbours)?;
        if let Some(closed) = self.layout_mut().closed_segment(base_offset) {
            *closed = ClosedSegment {
                seal: closed.seal,
                last_append: closed.last_append,
                ..ClosedSegment::known(&segment)
            };
        }
        // Without it, every opening walks the segment again; nothing else depends on its success.
        let _ = self.store_rebuilt_indexes(&segment);
        Ok(segment)
    }

    /// Replaces the index files of a closed segment if they lack entries.
    fn store_rebuilt_indexes(&self, segment: &OpenSegment) -> Result<(), SegmentError> {
        let (offsets, times) = {
            let extent = segment.extent();
            if extent.indexes.counts() == segment.stored_counts {
                return Ok(());
            }
            extent.indexes.encode_from(0, 0)
        };
        self.replace_file(&segment.paths.offset_index, &offsets)?;
        self.replace_file(&segment.paths.time_index, &times)
    }

    /// Replaces or makes a file whose content is durable when this returns, but not its name.
    pub(super) fn replace_file(&self, path: &std::path::Path, bytes: &[u8]) -> Result<(), SegmentError> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let mut temporary = path.to_owned().into_os_string();
        temporary.push(format!(".{number}{TEMPORARY_SUFFIX}"));
        let temporary = PathBuf::from(temporary);
        let disk = &self.place.disk;
        let file = disk
            .open(&temporary, OpenMode::CreateNew)
            .map_err(SegmentError::io(FileOperation::Create, &temporary))?;
        let written = file
            .write_at(&[io::IoSlice::new(bytes)], 0)
            .and_then(|()| file.sync());
        let replaced = written.and_then(|()| disk.rename(&temporary, path));
        replaced.map_err(SegmentError::io(FileOperation::Write, path))
    }

    /// The largest timestamp of a segment; `None` if no batch in it has one.
    fn max_timestamp(&self, base_offset: Offset) -> Result<Option<Timestamp>, SegmentError> {
        let known = self
            .layout_mut()
            .closed_segment(base_offset)
            .and_then(|segment| segment.max_timestamp);
        let max = match known {
            Some(max) => max,
            None => self.segment(base_offset)?.extent().indexes.max_timestamp(),
        };
        Ok((max > Timestamp::NONE).then_some(max))
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        let unsealed = unsealed_of(&self.layout().closed);
        self.place.cache.remove_unsealed(unsealed);
    }
}

/// How many segments wait for a seal.
fn unsealed_of(closed: &[ClosedSegment]) -> usize {
    let is_unsealed = |segment: &&ClosedSegment| segment.seal == SealState::Unsealed;
    closed.iter().filter(is_unsealed).count()
}

impl Layout {
    pub(super) fn closed_segment(&mut self, base_offset: Offset) -> Option<&mut ClosedSegment> {
        let index = self
            .closed
            .binary_search_by_key(&base_offset, |segment| segment.base_offset)
            .ok()?;
        Some(&mut self.closed[index])
    }
}

impl ClosedSegment {
    fn unopened(base_offset: Offset, is_sealed: bool) -> ClosedSegment {
        ClosedSegment {
            base_offset,
            size_bytes: None,
            max_timestamp: None,
            last_append: None,
            seal: if is_sealed {
                SealState::Sealed
            } else {
                SealState::Unsealed
            },
        }
    }

    pub(super) fn known(segment: &OpenSegment) -> ClosedSegment {
        let extent = segment.extent();
        ClosedSegment {
            base_offset: segment.base_offset,
            size_bytes: Some(extent.end),
            max_timestamp: Some(extent.indexes.max_timestamp()),
            last_append: None,
            seal: SealState::Withheld,
        }
    }
}
