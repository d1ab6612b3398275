//! One segment as it is found: the batches that are intact, and what is wrong between them.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::InspectError;
use super::finding::Problem;
use super::folder::{open_file, read_around};
use crate::log::Offset;
use crate::log::batch::{self, BatchError, BatchHeader, HEADER_SIZE_BYTES};
use crate::log::io::{Disk, File};

/// Read at once. 256 KiB: many small batches.
const READ_SIZE_BYTES: usize = 256 * 1024;

/// Read at once where batches are searched in damage. 1 MiB.
const SEARCH_SIZE_BYTES: usize = 1024 * 1024;

/// What was found in a segment.
#[derive(Debug, Default)]
pub struct SegmentWalk {
    /// Offset behind the last batch that is intact, or behind damage.
    pub next_offset: Offset,
    /// What is wrong, and where.
    pub problems: Vec<(u64, Problem)>,
    /// Offsets that batches stand for whose records an earlier repair gave up.
    pub fenced: Vec<Range<Offset>>,
    /// Position behind the last byte that means anything.
    pub end: u64,
}

/// Where a segment must lie.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset behind the last record, where it is known.
    pub next_offset: Option<Offset>,
    /// Position behind the last batch, where it is not the file's length.
    pub end: Option<u64>,
    /// Whether batches may be missing: compaction takes them out.
    pub has_holes: bool,
}

/// Reads all batches of a segment. `observe` sees each that is intact, with its header as it should be.
pub(super) fn walk(
    disk: &dyn Disk,
    path: &Path,
    bounds: &Bounds,
    mut observe: impl FnMut(u64, &BatchHeader, &Bytes),
) -> Result<Option<SegmentWalk>, InspectError> {
    let Some(file) = open_file(disk, path)? else {
        return Ok(None);
    };
    let size_bytes = file.len().map_err(InspectError::io("read", path))?;
    let mut walker = Walker {
        file: &*file,
        end: bounds.end.map_or(size_bytes, |end| end.min(size_bytes)),
        limit: bounds.next_offset,
        has_holes: bounds.has_holes,
        next_offset: bounds.base_offset,
        position: 0,
        window: RefCell::default(),
        walk: SegmentWalk::default(),
    };
    while walker.position < walker.end {
        match walker.batch_at(walker.position) {
            Ok((header, bytes)) => walker.take(header, &bytes, &mut observe),
            Err(source) => walker.pass_damage(source),
        }
    }
    if let Some(limit) = bounds.next_offset.filter(|limit| *limit > walker.next_offset)
        && !bounds.has_holes
    {
        let lost = walker.next_offset..limit;
        walker.problem(walker.end, Problem::Missing { lost });
    }
    walker.walk.end = walker.end;
    walker.walk.next_offset = walker.next_offset;
    Ok(Some(walker.walk))
}

struct Walker<'a> {
    file: &'a dyn File,
    end: u64,
    limit: Option<Offset>,
    has_holes: bool,
    next_offset: Offset,
    position: u64,
    /// What was read last, and where it begins.
    window: RefCell<(u64, Bytes)>,
    walk: SegmentWalk,
}

impl Walker<'_> {
    /// Takes a batch that is intact by its checksum, which covers neither its offset nor its leader epoch.
    fn take(
        &mut self,
        found: BatchHeader,
        bytes: &Bytes,
        observe: &mut impl FnMut(u64, &BatchHeader, &Bytes),
    ) {
        let position = self.position;
        let mut header = found;
        let is_hole = self.has_holes && found.base_offset > self.next_offset;
        if found.base_offset != self.next_offset && !is_hole {
            let is_followed = self.is_followed(&found);
            let (found, expected) = (found.base_offset, self.next_offset);
            if is_followed {
                self.problem(position, Problem::BaseOffset { found, expected });
                header.base_offset = expected;
            } else if found < expected || self.limit.is_some_and(|limit| header.next_offset() > limit) {
                self.problem(position, Problem::OutOfOrder { found, expected });
                self.position += header.size_bytes() as u64;
                return;
            } else {
                self.problem(
                    position,
                    Problem::Missing {
                        lost: expected..found,
                    },
                );
            }
        }
        if header.leader_epoch != 0 {
            let (offset, found) = (header.base_offset, header.leader_epoch);
            self.problem(position, Problem::LeaderEpoch { offset, found });
            header.leader_epoch = 0;
        }
        let offsets = header.base_offset..header.next_offset();
        if header.is_lost() {
            self.walk.fenced.push(offsets.clone());
        }
        observe(position, &header, bytes);
        self.position = position + header.size_bytes() as u64;
        self.next_offset = offsets.end;
    }

    /// Whether what follows the batch says that it has the next offset, whatever the batch itself says.
    fn is_followed(&self, found: &BatchHeader) -> bool {
        let next_offset = self.next_offset.plus(found.last_offset_delta as u64 + 1);
        let next_position = self.position + found.size_bytes() as u64;
        if next_position >= self.end {
            return self.limit.is_none_or(|limit| limit == next_offset);
        }
        self.batch_at(next_position)
            .is_ok_and(|(next, _)| next.base_offset == next_offset)
    }

    /// Goes to the next batch that is intact and lies behind.
    fn pass_damage(&mut self, source: BatchError) {
        let (position, start) = (self.position, self.next_offset);
        let found = self.search(position + 1);
        let lost_end = found.map_or(self.limit.unwrap_or(start), |(_, offset)| offset);
        self.problem(
            position,
            Problem::Batch {
                lost: start..lost_end.max(start),
                source,
            },
        );
        let (position, offset) = found.unwrap_or((self.end, lost_end));
        self.position = position;
        self.next_offset = offset.max(start);
    }

    /// Position and offset of the first intact batch at or behind `from` that may follow here.
    fn search(&self, from: u64) -> Option<(u64, Offset)> {
        let mut start = from;
        let mut buffer = vec![0; SEARCH_SIZE_BYTES + HEADER_SIZE_BYTES];
        while start + HEADER_SIZE_BYTES as u64 <= self.end {
            let size_bytes = (self.end - start).min(buffer.len() as u64) as usize;
            read_around(self.file, &mut buffer[..size_bytes], start);
            let candidates = size_bytes - HEADER_SIZE_BYTES + 1;
            for index in 0..candidates {
                let Ok(header) = BatchHeader::parse(&buffer[index..size_bytes]) else {
                    continue;
                };
                let position = start + index as u64;
                let is_behind = header.base_offset >= self.next_offset
                    && self.limit.is_none_or(|limit| header.next_offset() <= limit);
                if is_behind && self.batch_at(position).is_ok() {
                    return Some((position, header.base_offset));
                }
            }
            start += candidates as u64;
        }
        None
    }

    /// The batch at `position`, if it is intact.
    fn batch_at(&self, position: u64) -> Result<(BatchHeader, Bytes), BatchError> {
        let found_bytes = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        let header = BatchHeader::parse(&self.bytes_at(position, found_bytes.min(HEADER_SIZE_BYTES)))?;
        let expected_bytes = header.size_bytes();
        if expected_bytes > found_bytes {
            return Err(BatchError::Truncated {
                expected_bytes,
                found_bytes,
            });
        }
        let bytes = self.bytes_at(position, expected_bytes);
        batch::verify(&bytes)?;
        Ok((header, bytes))
    }

    /// Bytes before the end, from the window that was read last if they are in it.
    fn bytes_at(&self, position: u64, size_bytes: usize) -> Bytes {
        let mut window = self.window.borrow_mut();
        if let Some(start) = position.checked_sub(window.0)
            && start + size_bytes as u64 <= window.1.len() as u64
        {
            return window.1.slice(start as usize..start as usize + size_bytes);
        }
        let wanted = size_bytes.max(READ_SIZE_BYTES) as u64;
        let mut bytes = vec![0; wanted.min(self.end - position) as usize];
        read_around(self.file, &mut bytes, position);
        *window = (position, Bytes::from(bytes));
        window.1.slice(..size_bytes)
    }

    fn problem(&mut self, position: u64, problem: Problem) {
        self.walk.problems.push((position, problem));
    }
}
