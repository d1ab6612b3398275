//! Appends to the last segment of a partition, begins new ones, and makes them durable.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunks::RunningSums;
use super::file::PinnedFile;
use super::indexes::{BatchPlace, OffsetEntry, TimeEntry};
use super::open::OpenSegment;
use super::paths::SegmentPaths;
use super::place::SegmentPlace;
use super::seal::{Lineage, Seal};
use super::sealing::{self, SealDraft, complete_sums};
use super::segments::{ClosedSegment, Segments};
use super::{FileOperation, FlushedPosition, SegmentError};
use crate::log::Offset;
use crate::log::batch::{self, StoredBatch};
use crate::log::io::{BLOCK_SIZE_BYTES, File, OpenMode};
use crate::log::planted::{self, Bug};

/// Largest write. 8 MiB: large enough for full speed, small enough not to hold the device for long.
const WRITE_SIZE_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Most buffers of one write: `IOV_MAX` of Linux.
const WRITE_BUFFERS_MAX: usize = 1024;

/// Space is reserved in steps of the segment's size, within these bounds: ten thousand small partitions
/// must not reserve 160 GB, and a large one should not ask the filesystem for every write.
const ALLOCATE_STEP_MIN_BYTES: u64 = 256 * 1024;
const ALLOCATE_STEP_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The writing side of [`Segments`].
#[derive(Debug)]
pub(super) struct Writer {
    active: Option<ActiveFiles>,
    /// Files behind the end, removed before the first append.
    stale: Vec<PathBuf>,
    /// Files that a process before this one wrote and may not have synced.
    distrusted: Vec<PathBuf>,
    /// Closed segments' files that are not synced.
    unsynced: Vec<PinnedFile>,
    /// Seals of closed segments whose files are not synced.
    seals: Vec<SealDraft>,
    /// The last segment's file, if it was written and not synced.
    written: Option<PinnedFile>,
    is_folder_dirty: bool,
    has_sync_failed: bool,
}

/// The last segment's files.
#[derive(Debug)]
struct ActiveFiles {
    segment: Arc<OpenSegment>,
    /// Entries that are in the index files, which are open only while they are written: ten thousand
    /// partitions must not take thirty thousand file descriptors.
    stored_counts: (usize, usize),
    allocated_bytes: u64,
    /// Of the bytes that were appended since the segment was begun or continued.
    sums: RunningSums,
}

impl Writer {
    pub(super) fn new(stale: Vec<PathBuf>) -> Writer {
        Writer {
            active: None,
            stale,
            distrusted: Vec::new(),
            unsynced: Vec::new(),
            seals: Vec::new(),
            written: None,
            is_folder_dirty: false,
            has_sync_failed: false,
        }
    }

    /// Marks a segment behind the end for removal.
    pub(super) fn discard(&mut self, paths: SegmentPaths) {
        self.stale
            .extend([paths.log, paths.offset_index, paths.time_index]);
    }

    /// Marks the seal of a segment that is not closed for removal.
    pub(super) fn discard_seal(&mut self, path: PathBuf) {
        self.stale.push(path);
    }

    /// Marks files whose content may not be durable, with their folder entries.
    pub(super) fn distrust(&mut self, paths: Vec<PathBuf>) {
        self.is_folder_dirty = !paths.is_empty();
        self.distrusted = paths;
    }

    /// Appends contiguous batches that begin at the end.
    pub(super) fn append(
        &mut self,
        segments: &Segments,
        batches: &[StoredBatch],
    ) -> Result<(), SegmentError> {
        self.check_sync(&segments.place)?;
        let result = self.append_runs(segments, batches);
        if let Err(error) = &result {
            self.has_sync_failed = error.is_failed_sync();
        }
        result
    }

    fn append_runs(&mut self, segments: &Segments, mut batches: &[StoredBatch]) -> Result<(), SegmentError> {
        while let Some(first) = batches.first() {
            self.prepare(segments, first)?;
            let count = self.write_run(segments, batches)?;
            batches = &batches[count..];
        }
        if let Some(active) = &mut self.active {
            active.store_indexes(&segments.place)?;
        }
        self.make_room(segments)
    }

    /// Makes everything durable that was appended; with `data_is_synced` all that was written is already.
    pub(super) fn sync(&mut self, segments: &Segments, data_is_synced: bool) -> Result<(), SegmentError> {
        self.check_sync(&segments.place)?;
        if data_is_synced {
            self.distrusted.clear();
            self.release_files();
            self.is_folder_dirty = false;
        }
        let mut result = self.sync_files(segments);
        if planted::is(Bug::RetryFailedSync) && result.is_err() {
            result = self.sync_files(segments);
        }
        self.has_sync_failed = result.is_err();
        result
    }

    /// Closes the files that wait for their sync, as far as nobody reads them: a sync of the whole filesystem follows.
    pub(super) fn release_files(&mut self) {
        self.unsynced.clear();
        self.written = None;
    }

    fn check_sync(&self, place: &SegmentPlace) -> Result<(), SegmentError> {
        if self.has_sync_failed {
            return Err(SegmentError::SyncFailed {
                path: place.dir.clone(),
            });
        }
        Ok(())
    }

    /// Files before the folder: an entry must not survive without what it names. Data and indexes before their
    /// seal: it must never vouch for what a crash can take away. All of it before the checkpoint that names the
    /// next segment, so that from then on a closed segment has its seal.
    fn sync_files(&mut self, segments: &Segments) -> Result<(), SegmentError> {
        let SegmentPlace { disk, dir, .. } = &segments.place;
        for path in self.distrusted.drain(..) {
            let file = disk
                .open(&path, OpenMode::Read)
                .map_err(SegmentError::io(FileOperation::Open, &path))?;
            file.sync()
                .map_err(SegmentError::io(FileOperation::Sync, &path))?;
        }
        self.sync_data()?;
        for draft in self.seals.drain(..) {
            draft.publish(&segments.place)?;
            segments.mark_sealed(draft.seal.content.identity.base_offset);
            self.is_folder_dirty = true;
        }
        if self.is_folder_dirty && !planted::is(Bug::SkipFolderSync) {
            for folder in [dir, parent_of(dir)] {
                disk.sync_dir(folder)
                    .map_err(SegmentError::io(FileOperation::Sync, folder))?;
            }
            self.is_folder_dirty = false;
        }
        Ok(())
    }

    /// Syncs data early where too many files wait for it: ten thousand partitions that are flushed together would
    /// have as many open.
    fn make_room(&mut self, segments: &Segments) -> Result<(), SegmentError> {
        if segments.place.cache.is_crowded() {
            return self.sync_data();
        }
        Ok(())
    }

    /// Syncs the data files, which then may be closed.
    fn sync_data(&mut self) -> Result<(), SegmentError> {
        for file in self.unsynced.drain(..).chain(self.written.take()) {
            file.sync()?;
        }
        Ok(())
    }

    /// Brings the segment into being that `batch` goes to.
    fn prepare(&mut self, segments: &Segments, batch: &StoredBatch) -> Result<(), SegmentError> {
        let end = segments.flushed();
        self.open_active(segments, batch.place.segment)?;
        if batch.place.position == 0 && end.position > 0 {
            self.close_active(segments)?;
            self.make_room(segments)?;
            self.active = Some(create(segments, batch.place.segment)?);
            self.is_folder_dirty = true;
        }
        Ok(())
    }

    /// Takes up the last segment where the process before this one left it; without data it begins at `begin`.
    fn open_active(&mut self, segments: &Segments, begin: Offset) -> Result<(), SegmentError> {
        if self.active.is_some() {
            return Ok(());
        }
        let end = segments.flushed();
        // The process before this one may have ended before it synced the folder.
        self.is_folder_dirty = true;
        self.remove_stale(&segments.place)?;
        self.active = Some(if end.position == 0 {
            create(segments, begin)?
        } else {
            ActiveFiles::reopen(&segments.place, segments.active()?)?
        });
        Ok(())
    }

    /// Ends the last segment, if it has data, and begins the next.
    pub(super) fn roll(&mut self, segments: &Segments) -> Result<(), SegmentError> {
        self.check_sync(&segments.place)?;
        let end = segments.flushed();
        if end.position == 0 {
            return Ok(());
        }
        self.open_active(segments, end.segment)?;
        self.close_active(segments)?;
        self.make_room(segments)?;
        self.active = Some(create(segments, end.next_offset)?);
        self.is_folder_dirty = true;
        Ok(())
    }

    fn remove_stale(&mut self, place: &SegmentPlace) -> Result<(), SegmentError> {
        while let Some(path) = self.stale.last() {
            match place.disk.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(SegmentError::io(FileOperation::Remove, path)(error));
                }
                _ => self.stale.pop(),
            };
        }
        Ok(())
    }

    /// Writes as many batches as one write to the last segment takes, at least one, and tells how many.
    fn write_run(&mut self, segments: &Segments, batches: &[StoredBatch]) -> Result<usize, SegmentError> {
        let Some(active) = &mut self.active else {
            return Ok(0);
        };
        let end = segments.flushed();
        let mut run_end = end.position;
        let mut count = 0;
        for batch in batches.iter().take(WRITE_BUFFERS_MAX) {
            let after = run_end + batch.bytes.len() as u64;
            let has_room = after - end.position <= WRITE_SIZE_MAX_BYTES && batch.place.segment == end.segment;
            if count > 0 && !has_room {
                break;
            }
            let expected = batch::Place {
                segment: end.segment,
                position: run_end,
            };
            if batch.place != expected {
                return Err(SegmentError::Misplaced {
                    offset: batch.base_offset,
                    found: batch.place,
                    expected,
                });
            }
            run_end = after;
            count += 1;
        }
        // Pinned before the first byte, until it is synced.
        let file = match &mut self.written {
            Some(file) => file,
            none => none.insert(active.segment.file.open_pinned()?),
        };
        active.reserve(run_end, segments.size_max_bytes())?;
        let run = &batches[..count];
        for (position, buffers) in unwritten(run) {
            file.write(&buffers, position)?;
        }
        for batch in run {
            active.sums.push(batch.place.position, &batch.bytes);
        }
        active.publish(segments, run, end);
        Ok(count)
    }

    /// Makes the last segment ready for direct writes up to `end`, or to the segment's limit: the space is
    /// reserved and the file is that long. Tells up to where; none if the filesystem cannot, or has no room.
    pub(super) fn extend(&mut self, segments: &Segments, end: u64) -> Option<u64> {
        let active = self.active.as_mut()?;
        let limit = segments.size_max_bytes();
        let end = end.min(limit).next_multiple_of(BLOCK_SIZE_BYTES as u64);
        let file = match &mut self.written {
            Some(file) => file,
            none => none.insert(active.segment.file.open_pinned().ok()?),
        };
        file.file().extend(end).ok()?;
        active.allocated_bytes = active.allocated_bytes.max(end);
        Some(end)
    }

    /// Gives back what was reserved behind `end`.
    pub(super) fn shrink(&mut self, end: u64) -> Result<(), SegmentError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        active.allocated_bytes = 0;
        let file = match &mut self.written {
            Some(file) => file,
            none => none.insert(active.segment.file.open_pinned()?),
        };
        let path = &active.segment.paths.log;
        let truncated = file.file().truncate(end);
        truncated.map_err(SegmentError::io(FileOperation::Truncate, path))
    }

    /// Gives the last segment its final form; may be repeated if it fails.
    fn close_active(&mut self, segments: &Segments) -> Result<(), SegmentError> {
        let place = &segments.place;
        let predecessor = self.lineage_before_active(segments)?;
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let written = match &mut self.written {
            Some(written) => written,
            none => none.insert(active.segment.file.open_pinned()?),
        };
        let chunk_crcs = active.complete_sums(place, written.file());
        active.segment.extent_mut().indexes.close();
        active.store_indexes(place)?;
        let segment = &active.segment;
        let paths = &segment.paths;
        let (end, next_offset) = {
            let extent = segment.extent();
            (extent.end, extent.next_offset)
        };
        // Gives back what was reserved beyond the end.
        written
            .file()
            .truncate(end)
            .map_err(SegmentError::io(FileOperation::Truncate, &paths.log))?;
        if let Some(chunk_crcs) = chunk_crcs {
            let identity = place.identity(segment.base_offset);
            let extent = (end, next_offset);
            let content = sealing::content(identity, extent, &segment.extent().indexes, chunk_crcs);
            let seal = Seal::appended(content, predecessor);
            self.seals.retain(|draft| draft.seal.content.identity != identity);
            self.seals.push(SealDraft::write(place, seal)?);
        }
        self.unsynced.extend(self.written.take());
        self.distrusted
            .extend([paths.offset_index.clone(), paths.time_index.clone()]);
        Ok(())
    }

    /// The lineage of the segment before the last one; none if it has no intact seal. Then a chain begins.
    fn lineage_before_active(&self, segments: &Segments) -> Result<Option<Lineage>, SegmentError> {
        let Some(before) = segments.last_closed() else {
            return Ok(None);
        };
        let identity = segments.place.identity(before);
        let draft = self
            .seals
            .iter()
            .rfind(|draft| draft.seal.content.identity == identity);
        if let Some(draft) = draft {
            return Ok(Some(draft.seal.lineage));
        }
        let _opening = segments.lock_opening();
        let path = SegmentPaths::new(&segments.place.dir, before).seal;
        match Seal::read(&*segments.place.disk, &path, identity) {
            Ok(seal) => Ok(seal.map(|seal| seal.lineage)),
            Err(error @ SegmentError::SealDamaged { .. }) => {
                tracing::error!(%error, "a damaged seal: the chain of seals begins anew behind it");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl ActiveFiles {
    /// Continues a segment with data; index entries that were not believed are cut off.
    fn reopen(place: &SegmentPlace, segment: Arc<OpenSegment>) -> Result<ActiveFiles, SegmentError> {
        let stored_counts = segment.stored_counts;
        let cut_index = |path: &Path, size_bytes: usize| {
            let file = open_index(place, path)?;
            file.truncate(size_bytes as u64)
                .map_err(SegmentError::io(FileOperation::Truncate, path))
        };
        let (offset_bytes, time_bytes) = sizes(stored_counts);
        cut_index(&segment.paths.offset_index, offset_bytes)?;
        cut_index(&segment.paths.time_index, time_bytes)?;
        let position = segment.extent().end;
        let sums = RunningSums::new(place.identity(segment.base_offset), position);
        Ok(ActiveFiles {
            segment,
            stored_counts,
            allocated_bytes: 0,
            sums,
        })
    }

    /// The sums of all chunks; none if bytes of an earlier process turn out to be damaged, which an operator must
    /// know and the log lives with: every other range is served. Such a segment gets no seal.
    fn complete_sums(&mut self, place: &SegmentPlace, file: &dyn File) -> Option<Vec<u32>> {
        let (end, indexes) = {
            let extent = self.segment.extent();
            (extent.end, extent.indexes.clone())
        };
        let identity = place.identity(self.segment.base_offset);
        let path = &self.segment.paths.log;
        match complete_sums(file, path, identity, end, (&self.sums, &indexes)) {
            Ok((chunk_crcs, wrong)) => {
                if let Some(indexes) = wrong {
                    self.segment.extent_mut().indexes = indexes;
                    self.stored_counts = (0, 0);
                }
                Some(chunk_crcs)
            }
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "a segment is damaged and was closed without a seal");
                None
            }
        }
    }

    /// Reserves space up to `end` and some ahead, so that a full disk is an error here and not at a write. An
    /// almost full disk gives what is needed and nothing ahead.
    fn reserve(&mut self, end: u64, segment_size_max_bytes: u64) -> Result<(), SegmentError> {
        if end <= self.allocated_bytes {
            return Ok(());
        }
        let step = end
            .next_power_of_two()
            .clamp(ALLOCATE_STEP_MIN_BYTES, ALLOCATE_STEP_MAX_BYTES);
        let ahead = end.next_multiple_of(step).min(segment_size_max_bytes.max(end));
        let file = self.segment.file.open()?;
        let allocated = file.allocate(ahead).map(|()| ahead);
        let allocated = allocated.or_else(|_| file.allocate(end).map(|()| end));
        let path = &self.segment.paths.log;
        self.allocated_bytes = allocated.map_err(SegmentError::io(FileOperation::Allocate, path))?;
        Ok(())
    }

    /// Makes written batches visible to readers.
    fn publish(&self, segments: &Segments, run: &[StoredBatch], mut end: FlushedPosition) {
        let mut extent = self.segment.extent_mut();
        for batch in run {
            extent.indexes.observe(&BatchPlace {
                position: end.position,
                size_bytes: batch.bytes.len(),
                last_offset: Offset(batch.next_offset.0 - 1),
                max_timestamp: batch.max_timestamp,
            });
            end.position += batch.bytes.len() as u64;
            end.next_offset = batch.next_offset;
        }
        extent.end = end.position;
        extent.next_offset = end.next_offset;
        drop(extent);
        segments.layout_mut().end = end;
    }

    /// Writes the index entries that are not in the files.
    fn store_indexes(&mut self, place: &SegmentPlace) -> Result<(), SegmentError> {
        let (offset_count, time_count) = self.stored_counts;
        let (counts, (offsets, times)) = {
            let extent = self.segment.extent();
            let counts = extent.indexes.counts();
            if counts == self.stored_counts {
                return Ok(());
            }
            (counts, extent.indexes.encode_from(offset_count, time_count))
        };
        let (offset_bytes, time_bytes) = sizes(self.stored_counts);
        let paths = &self.segment.paths;
        for (path, bytes, position) in [
            (&paths.offset_index, offsets, offset_bytes),
            (&paths.time_index, times, time_bytes),
        ] {
            if !bytes.is_empty() {
                let file = open_index(place, path)?;
                file.write_at(&[IoSlice::new(&bytes)], position as u64)
                    .map_err(SegmentError::io(FileOperation::Write, path))?;
            }
        }
        self.stored_counts = counts;
        Ok(())
    }
}

/// Opens an index file. One that somebody removed is made anew: what is missing in it is found at the next
/// start, and an index is no reason to stop.
fn open_index(place: &SegmentPlace, path: &Path) -> Result<Arc<dyn File>, SegmentError> {
    let file = match place.disk.open(path, OpenMode::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => place.disk.open(path, OpenMode::CreateNew),
        opened => opened,
    };
    file.map_err(SegmentError::io(FileOperation::Open, path))
}

/// Begins the segment at `base_offset`; the one before it, if it has data, is closed.
fn create(segments: &Segments, base_offset: Offset) -> Result<ActiveFiles, SegmentError> {
    let SegmentPlace { disk, dir, .. } = &segments.place;
    disk.create_dir_all(dir)
        .map_err(SegmentError::io(FileOperation::Create, dir))?;
    let paths = SegmentPaths::new(dir, base_offset);
    create_empty(&segments.place, &paths.log)?;
    create_empty(&segments.place, &paths.offset_index)?;
    create_empty(&segments.place, &paths.time_index)?;
    let segment = Arc::new(OpenSegment::create(&segments.place, paths, base_offset));
    let mut layout = segments.layout_mut();
    if let Some(closed) = layout.active.replace(Arc::clone(&segment)) {
        layout.closed.push(ClosedSegment::known(&closed));
    }
    layout.end.segment = base_offset;
    layout.end.position = 0;
    drop(layout);
    Ok(ActiveFiles {
        segment,
        stored_counts: (0, 0),
        allocated_bytes: 0,
        sums: RunningSums::new(segments.place.identity(base_offset), 0),
    })
}

/// Makes an empty file; one that is there was left by a crash, or by an attempt that failed, and holds nothing.
fn create_empty(place: &SegmentPlace, path: &Path) -> Result<(), SegmentError> {
    match place.disk.open(path, OpenMode::CreateNew) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = place
                .disk
                .open(path, OpenMode::ReadWrite)
                .map_err(SegmentError::io(FileOperation::Open, path))?;
            file.truncate(0)
                .map_err(SegmentError::io(FileOperation::Truncate, path))
        }
        Err(error) => Err(SegmentError::io(FileOperation::Create, path)(error)),
    }
}

/// The parts of contiguous batches that are not in the file yet: position and buffers of each.
fn unwritten(batches: &[StoredBatch]) -> Vec<(u64, Vec<IoSlice<'_>>)> {
    let mut parts: Vec<(u64, Vec<IoSlice<'_>>)> = Vec::new();
    let mut part_end = None;
    for batch in batches {
        let (range, written) = (batch.range(), &batch.written);
        let before = range.start..range.end.min(written.start);
        let behind = range.start.max(written.end)..range.end;
        for part in [before, behind] {
            if part.is_empty() {
                continue;
            }
            let at = |position: u64| (position - range.start) as usize;
            let buffer = IoSlice::new(&batch.bytes[at(part.start)..at(part.end)]);
            match parts.last_mut() {
                Some((_, buffers)) if part_end == Some(part.start) => buffers.push(buffer),
                _ => parts.push((part.start, vec![buffer])),
            }
            part_end = Some(part.end);
        }
    }
    parts
}

/// Bytes that so many entries take in each index file.
fn sizes((offset_count, time_count): (usize, usize)) -> (usize, usize) {
    (
        offset_count * OffsetEntry::SIZE_BYTES,
        time_count * TimeEntry::SIZE_BYTES,
    )
}

/// The folder that holds `dir`.
fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
