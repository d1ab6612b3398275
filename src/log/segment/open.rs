//! One open segment: finds and reads batches, and grows if it is the last.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::file::SegmentFile;
use super::headers::Headers;
use super::indexes::{Indexes, OffsetEntry, TimeEntry};
use super::load::load;
use super::paths::SegmentPaths;
use super::place::SegmentPlace;
use super::seal::Seal;
use super::{FileOperation, FlushedPosition, SEGMENT_SIZE_LIMIT_BYTES, SegmentError};
use crate::log::batch::{self, BatchError, BatchHeader};
use crate::log::io::{Disk, File, OpenMode};
use crate::log::planted::{self, Bug};
use crate::log::{Offset, Timestamp};

/// A segment with its file and indexes.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) base_offset: Offset,
    pub(super) paths: SegmentPaths,
    pub(super) file: SegmentFile,
    /// Entries of each index that were in its file when the segment was opened.
    pub(super) stored_counts: (usize, usize),
    extent: RwLock<Extent>,
}

/// The closed segments on both sides of one, if there are any.
#[derive(Debug)]
pub(super) struct Neighbours {
    pub(super) before: Option<Offset>,
    pub(super) behind: Option<Offset>,
}

/// How far a segment reaches.
#[derive(Debug)]
pub(super) struct Extent {
    /// Position behind the last batch.
    pub(super) end: u64,
    /// Offset behind the last record.
    pub(super) next_offset: Offset,
    pub(super) indexes: Indexes,
}

impl OpenSegment {
    /// A segment in an empty file.
    pub(super) fn create(place: &SegmentPlace, paths: SegmentPaths, base_offset: Offset) -> OpenSegment {
        let indexes = Indexes::new(base_offset, place.options.index_interval_bytes);
        let extent = RwLock::new(Extent {
            end: 0,
            next_offset: base_offset,
            indexes,
        });
        OpenSegment {
            base_offset,
            file: SegmentFile::active(place, paths.log.clone()),
            paths,
            stored_counts: (0, 0),
            extent,
        }
    }

    /// Opens the segment that is appended to; its data ends at `end` whatever the file's length.
    pub(super) fn open_active(
        place: &SegmentPlace,
        end: &FlushedPosition,
    ) -> Result<OpenSegment, SegmentError> {
        let base_offset = end.segment;
        let paths = SegmentPaths::new(&place.dir, base_offset);
        let file = SegmentFile::active(place, paths.log.clone());
        let found_bytes = file
            .open()?
            .len()
            .map_err(SegmentError::io(FileOperation::Read, &paths.log))?;
        if found_bytes < end.position {
            return Err(SegmentError::TooShort {
                path: paths.log,
                found_bytes,
                expected_bytes: end.position,
            });
        }
        let interval_bytes = place.options.index_interval_bytes;
        let loaded = load(
            &*place.disk,
            &paths,
            &file,
            base_offset,
            end.position,
            interval_bytes,
        )?;
        if let Some(damage) = loaded.damage {
            return Err(damage);
        }
        if loaded.next_offset != end.next_offset {
            return Err(SegmentError::EndsEarly {
                path: paths.log,
                found: loaded.next_offset,
                expected: end.next_offset,
            });
        }
        let extent = RwLock::new(Extent {
            end: end.position,
            next_offset: end.next_offset,
            indexes: loaded.indexes,
        });
        Ok(OpenSegment {
            base_offset,
            paths,
            file,
            stored_counts: loaded.stored_counts,
            extent,
        })
    }

    /// Opens a segment that is closed: its data is what its seal says, or without a seal all of its file.
    /// `next_offset` is the next segment's base.
    ///
    /// Damaged data does not keep it from opening, since it is no reason not to serve the rest. Its seal must be
    /// intact and continue its neighbours' seals.
    pub(super) fn open_closed(
        place: &SegmentPlace,
        base_offset: Offset,
        next_offset: Offset,
        neighbours: &Neighbours,
    ) -> Result<OpenSegment, SegmentError> {
        let paths = SegmentPaths::new(&place.dir, base_offset);
        let seal = Seal::read(&*place.disk, &paths.seal, place.identity(base_offset))?;
        let (file, size_bytes) = open_file(&*place.disk, &paths.log)?;
        let (file, end) = match seal {
            Some(seal) => {
                neighbours.check(place, &paths, &seal, next_offset)?;
                let end = seal.content.size_bytes;
                (SegmentFile::sealed(paths.log.clone(), file, seal), end)
            }
            None => (SegmentFile::unsealed(paths.log.clone(), file), size_bytes),
        };
        let interval_bytes = place.options.index_interval_bytes;
        let mut loaded = load(&*place.disk, &paths, &file, base_offset, end, interval_bytes)?;
        loaded.indexes.close();
        if loaded.damage.is_some() {
            // Indexes that reach up to the damage only must not replace the files.
            loaded.stored_counts = loaded.indexes.counts();
        }
        let extent = RwLock::new(Extent {
            end,
            next_offset,
            indexes: loaded.indexes,
        });
        Ok(OpenSegment {
            base_offset,
            paths,
            file,
            stored_counts: loaded.stored_counts,
            extent,
        })
    }

    /// A short look at the extent; never held across I/O.
    pub(super) fn extent(&self) -> RwLockReadGuard<'_, Extent> {
        self.extent.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes appended batches visible; never held across I/O.
    pub(super) fn extent_mut(&self) -> RwLockWriteGuard<'_, Extent> {
        self.extent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole, verified batches from the one that contains `from`, up to `max_bytes` but at least one, and the
    /// offset behind them. Batches behind the first that turn out to be damaged are left out. Where rewriting took
    /// batches out, the next one that is left is the first; there may be none up to the segment's end.
    pub(super) fn read(&self, from: Offset, max_bytes: usize) -> Result<(Bytes, Offset), SegmentError> {
        let (end, segment_next_offset) = {
            let extent = self.extent();
            (extent.end, extent.next_offset)
        };
        let Some((position, header)) = self.find(from, end)? else {
            return Ok((Bytes::new(), segment_next_offset));
        };
        let size_bytes = (header.size_bytes() as u64).max((max_bytes as u64).min(end - position));
        let first_bytes = header.size_bytes() as u64;
        let bytes = match self.slice(position, size_bytes) {
            // What is behind the first batch may be damaged or unreadable, which does not concern it.
            Err(SegmentError::ChunkDamaged {
                position: damaged, ..
            }) if damaged > position + first_bytes => self.slice(position, damaged - position)?,
            Err(_) if size_bytes > first_bytes => self.slice(position, first_bytes)?,
            bytes => bytes?,
        };
        let (mut taken_bytes, mut next_offset) = (0, header.base_offset);
        while taken_bytes < bytes.len() {
            match self.verify_next(&bytes[taken_bytes..], position + taken_bytes as u64, next_offset) {
                Ok(Some(header)) => {
                    taken_bytes += header.size_bytes();
                    next_offset = header.next_offset();
                }
                Err(error) if taken_bytes == 0 => return Err(error),
                // The header that was found a moment ago told another length.
                Ok(None) if taken_bytes == 0 => {
                    return Err(SegmentError::CorruptBatch {
                        path: self.paths.log.clone(),
                        position,
                        source: BatchError::Truncated {
                            expected_bytes: BatchHeader::parse(&bytes)
                                .map_or(0, |header| header.size_bytes()),
                            found_bytes: bytes.len(),
                        },
                    });
                }
                Ok(None) | Err(_) => break,
            }
        }
        if position + taken_bytes as u64 == end {
            next_offset = segment_next_offset;
        }
        Ok((bytes.slice(..taken_bytes), next_offset))
    }

    /// The first batch that ends above `log_start` and whose largest timestamp is at or after `timestamp`.
    pub(super) fn batch_at_time(
        &self,
        timestamp: Timestamp,
        log_start: Offset,
    ) -> Result<Option<Bytes>, SegmentError> {
        let (end, entry) = {
            let extent = self.extent();
            (extent.end, extent.indexes.time_entry_before(timestamp))
        };
        let from = match entry {
            Some(entry) => self.find_time(entry, end)?.unwrap_or(0),
            None => 0,
        };
        let from = from.max(self.position_of(log_start)?);
        let found = self.first_batch(from, |header| header.max_timestamp >= timestamp)?;
        found
            .map(|(position, header)| self.read_batch(position, &header))
            .transpose()
    }

    /// The largest timestamp of the batches that end above `log_start`; none if none has one.
    pub(super) fn max_timestamp_above(&self, log_start: Offset) -> Result<Option<Timestamp>, SegmentError> {
        let mut max = Timestamp::NONE;
        self.first_batch(self.position_of(log_start)?, |header| {
            max = max.max(header.max_timestamp);
            false
        })?;
        Ok((max > Timestamp::NONE).then_some(max))
    }

    /// Where the batch stands that holds `offset`: at the begin if it is below the segment, at the end if behind.
    fn position_of(&self, offset: Offset) -> Result<u64, SegmentError> {
        let (end, next_offset) = {
            let extent = self.extent();
            (extent.end, extent.next_offset)
        };
        if offset <= self.base_offset {
            return Ok(0);
        }
        if offset >= next_offset {
            return Ok(end);
        }
        Ok(self.find(offset, end)?.map_or(end, |(position, _)| position))
    }

    /// Position and header of the first batch from `from` on which is `wanted`.
    fn first_batch(
        &self,
        from: u64,
        mut wanted: impl FnMut(&BatchHeader) -> bool,
    ) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
        let end = self.extent().end;
        let mut headers = Headers::verified(&self.file, from, end);
        while let Some((position, header)) = headers.next()? {
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
        }
        Ok(None)
    }

    /// Position of the batch of a time entry; none if the batch there is not the entry's.
    fn find_time(&self, entry: TimeEntry, end: u64) -> Result<Option<u64>, SegmentError> {
        let offset = self.base_offset.plus(entry.relative_offset.into());
        let found = self
            .find(offset, end)?
            .filter(|(_, header)| header.last_offset() == offset && header.max_timestamp == entry.timestamp);
        Ok(found.map(|(position, _)| position))
    }

    fn find(&self, offset: Offset, end: u64) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
        let entry_before = |bound| self.extent().indexes.offset_entry_before(bound);
        find(&self.file, self.base_offset, end, offset, entry_before)
    }

    fn read_batch(&self, position: u64, header: &BatchHeader) -> Result<Bytes, SegmentError> {
        let bytes = self.slice(position, header.size_bytes() as u64)?;
        self.verify_next(&bytes, position, header.base_offset)?;
        Ok(bytes)
    }

    /// Verifies the batch at the front of `bytes`; `None` if it does not end within them.
    fn verify_next(
        &self,
        bytes: &[u8],
        position: u64,
        expected: Offset,
    ) -> Result<Option<BatchHeader>, SegmentError> {
        let corrupt = |source| SegmentError::CorruptBatch {
            path: self.paths.log.clone(),
            position,
            source,
        };
        if bytes.len() < batch::HEADER_SIZE_BYTES {
            return Ok(None);
        }
        let header = BatchHeader::parse(bytes).map_err(corrupt)?;
        let Some(whole) = bytes.get(..header.size_bytes()) else {
            return Ok(None);
        };
        if !planted::is(Bug::SkipBatchChecksum) {
            batch::verify(whole).map_err(corrupt)?;
        }
        if !self.file.may_follow(header.base_offset, expected) {
            return Err(SegmentError::Damaged {
                path: self.paths.log.clone(),
                segment: self.base_offset,
                position,
                found: header.base_offset,
                expected,
            });
        }
        Ok(Some(header))
    }

    fn slice(&self, position: u64, size_bytes: u64) -> Result<Bytes, SegmentError> {
        self.file.slice(position..position + size_bytes)
    }
}

impl Neighbours {
    /// Checks that the seal of a segment continues the one before and is continued by the one behind, where
    /// these have intact seals; theirs are their own matter.
    fn check(
        &self,
        place: &SegmentPlace,
        paths: &SegmentPaths,
        seal: &Seal,
        next_offset: Offset,
    ) -> Result<(), SegmentError> {
        if seal.content.next_offset != next_offset {
            return Err(SegmentError::EndsEarly {
                path: paths.log.clone(),
                found: seal.content.next_offset,
                expected: next_offset,
            });
        }
        let seal_of = |base_offset: Offset| {
            let path = SegmentPaths::new(&place.dir, base_offset).seal;
            let seal = Seal::read(&*place.disk, &path, place.identity(base_offset));
            seal.ok().flatten().map(|seal| (path, seal))
        };
        if let Some((_, before)) = self.before.and_then(seal_of) {
            check_link(&paths.seal, seal, &before)?;
        }
        match self.behind.and_then(seal_of) {
            Some((path, behind)) => check_link(&path, &behind, seal),
            None => Ok(()),
        }
    }
}

/// Checks that `seal`, in the file `path`, continues `before`.
pub(super) fn check_link(path: &Path, seal: &Seal, before: &Seal) -> Result<(), SegmentError> {
    if seal.follows(before) {
        return Ok(());
    }
    Err(SegmentError::LinkBroken {
        path: path.to_owned(),
        found: seal.predecessor,
        expected: before.lineage,
    })
}

/// Position and header of the batch that contains `offset`, or where batches were taken out of the next one; none
/// if those up to the segment's end were.
///
/// Walks from the index entry before it. If the batch there is not the entry's, the index is wrong or the
/// segment damaged; the entry before that one, and so on, leads to the same batch or to the damage.
pub(super) fn find(
    file: &SegmentFile,
    segment: Offset,
    end: u64,
    offset: Offset,
    entry_before: impl Fn(Offset) -> Option<OffsetEntry>,
) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
    let mut bound = offset;
    loop {
        let entry = entry_before(bound);
        let mut headers = Headers::leading(file, entry.map_or(0, |entry| entry.position.into()), end);
        let mut next_offset = segment;
        if let Some(entry) = entry {
            let last_offset = segment.plus(entry.relative_offset.into());
            match headers.next() {
                Ok(Some((position, header)))
                    if header.last_offset() == last_offset || planted::is(Bug::TrustOffsetIndex) =>
                {
                    if header.last_offset() == offset {
                        return Ok(Some((position, header)));
                    }
                    next_offset = header.next_offset();
                }
                _ => {
                    bound = Offset(last_offset.0 - 1);
                    continue;
                }
            }
        }
        while let Some((position, header)) = headers.next()? {
            if !file.may_follow(header.base_offset, next_offset) {
                let (found, expected) = (header.base_offset, next_offset);
                return Err(SegmentError::Damaged {
                    path: file.path().to_owned(),
                    segment,
                    position,
                    found,
                    expected,
                });
            }
            if offset < header.next_offset() {
                return Ok(Some((position, header)));
            }
            next_offset = header.next_offset();
        }
        if !file.is_contiguous() {
            return Ok(None);
        }
        return Err(SegmentError::EndsEarly {
            path: file.path().to_owned(),
            found: next_offset,
            expected: offset,
        });
    }
}

/// A segment's file to read from, and its length.
pub(super) fn open_file(disk: &dyn Disk, path: &Path) -> Result<(Arc<dyn File>, u64), SegmentError> {
    let file = disk
        .open(path, OpenMode::Read)
        .map_err(SegmentError::io(FileOperation::Open, path))?;
    let size_bytes = file.len().map_err(SegmentError::io(FileOperation::Read, path))?;
    if size_bytes > SEGMENT_SIZE_LIMIT_BYTES {
        let limit_bytes = SEGMENT_SIZE_LIMIT_BYTES;
        return Err(SegmentError::TooLarge {
            path: path.to_owned(),
            size_bytes,
            limit_bytes,
        });
    }
    Ok((file, size_bytes))
}
