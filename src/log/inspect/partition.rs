//! One partition as it is found: its segments in order, their indexes, and where it ends.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::finding::{Finding, Problem};
use super::segment::{Bounds, walk};
use super::survey::FreeArea;
use super::{DataFolder, InspectError};
use crate::log::Offset;
use crate::log::batch::BatchHeader;
use crate::log::checkpoint::PartitionCheckpoint;
use crate::log::producers::ProducerTable;
use crate::log::segment::{
    ExpectedIndexes, FlushedPosition, INDEX_ENTRY_SIZES_BYTES, Seal, SegmentPaths, SegmentPlace,
    base_offset_of, verify_closed,
};

/// What lies in a partition's folder.
#[derive(Debug, Default)]
pub struct PartitionScan {
    /// The segments, by base offset.
    pub segments: Vec<SegmentScan>,
    /// The producers of the intact batches.
    pub producers: ProducerTable,
    /// Offset behind the last record in segments.
    pub next_offset: Offset,
    /// Offsets that an earlier repair gave up.
    pub fenced: Vec<Range<Offset>>,
}

/// One segment of a partition.
#[derive(Debug)]
pub struct SegmentScan {
    /// Its base offset.
    pub base_offset: Offset,
    /// Its `.log` file.
    pub path: PathBuf,
    /// Bytes of it that mean something.
    pub size_bytes: u64,
    /// How sound it is.
    pub state: SegmentState,
    /// Whether a segment follows it.
    pub is_closed: bool,
    /// Whether compaction took batches out of it.
    pub has_holes: bool,
}

/// What is known of a partition before its folder is read.
pub(super) struct Known<'a> {
    /// What the checkpoint says.
    pub(super) checkpoint: Option<&'a PartitionCheckpoint>,
    /// The first readable offset.
    pub(super) log_start: Option<Offset>,
    /// Parts of segments that hold large writes behind the checkpoint.
    pub(super) extents: &'a [(PathBuf, Range<u64>)],
}

/// How sound a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// All of it is as it should be.
    Sound,
    /// The batches are, an index is not.
    WrongIndex,
    /// The batches are not.
    Damaged,
}

/// Reads the segments in the folder of a partition up to where the checkpoint says that they end; without one to
/// their end. `see` is shown each intact batch, in order.
pub(super) fn scan(
    folder: &DataFolder,
    place: &SegmentPlace,
    known: &Known<'_>,
    findings: &mut Vec<Finding>,
    free: &mut Vec<FreeArea>,
    see: &mut dyn FnMut(&BatchHeader, &Bytes),
) -> Result<PartitionScan, InspectError> {
    let flushed = known.checkpoint.map(|checkpoint| checkpoint.flushed);
    let dir = &place.dir;
    let mut scanner = Scanner {
        folder,
        place,
        extents: known.extents,
        before: None,
        findings,
        free,
        scan: PartitionScan::default(),
    };
    let bases = scanner.list(dir, flushed)?;
    let first = known.log_start.or(bases.first().copied()).unwrap_or_default();
    scanner.scan.next_offset = bases.first().copied().unwrap_or(first).min(first);
    for (index, base_offset) in bases.iter().enumerate() {
        let is_last = index + 1 == bases.len();
        let bounds = Bounds {
            base_offset: *base_offset,
            next_offset: match bases.get(index + 1) {
                Some(next) => Some(*next),
                None => flushed.map(|flushed| flushed.next_offset),
            },
            end: flushed.filter(|_| is_last).map(|flushed| flushed.position),
            has_holes: false,
        };
        scanner.missing_before(dir, *base_offset);
        scanner.scan_segment(bounds, !is_last, see)?;
    }
    if let Some(flushed) = flushed {
        scanner.missing_before(dir, flushed.next_offset);
    }
    Ok(scanner.scan)
}

/// Whether compaction took batches out of a segment, as its seal says.
pub(super) fn has_holes(place: &SegmentPlace, base_offset: Offset) -> bool {
    let path = SegmentPaths::new(&place.dir, base_offset).seal;
    let seal = Seal::read(&*place.disk, &path, place.identity(base_offset));
    seal.is_ok_and(|seal| seal.is_some_and(|seal| !seal.is_contiguous()))
}

struct Scanner<'a> {
    folder: &'a DataFolder,
    place: &'a SegmentPlace,
    extents: &'a [(PathBuf, Range<u64>)],
    /// The seal of the segment before.
    before: Option<Seal>,
    findings: &'a mut Vec<Finding>,
    free: &'a mut Vec<FreeArea>,
    scan: PartitionScan,
}

impl Scanner<'_> {
    /// Base offsets of the segments up to the checkpoint's end. Those behind are left over from a crash.
    fn list(&mut self, dir: &Path, flushed: Option<FlushedPosition>) -> Result<Vec<Offset>, InspectError> {
        let names = self.folder.list(dir)?;
        let mut bases: Vec<Offset> = names.iter().filter_map(|name| base_offset_of(name)).collect();
        bases.sort_unstable();
        let is_behind = |base: &Offset| {
            flushed.is_some_and(|end| *base > end.segment || (*base == end.segment && end.position == 0))
        };
        for base in bases.extract_if(.., |base| is_behind(base)) {
            let paths = SegmentPaths::new(dir, base);
            for path in [&paths.log, &paths.offset_index, &paths.time_index, &paths.seal] {
                self.free_from(path, 0)?;
            }
        }
        Ok(bases)
    }

    /// Notes that a segment file is missing in front of `offset`.
    fn missing_before(&mut self, dir: &Path, offset: Offset) {
        let lost = self.scan.next_offset..offset;
        if !lost.is_empty() {
            self.scan.next_offset = offset;
            self.find(dir, None, Problem::Missing { lost });
        }
    }

    fn scan_segment(
        &mut self,
        mut bounds: Bounds,
        is_closed: bool,
        see: &mut dyn FnMut(&BatchHeader, &Bytes),
    ) -> Result<(), InspectError> {
        let paths = SegmentPaths::new(&self.place.dir, bounds.base_offset);
        // The last segment's seal, if it has one, was made by a flush behind the checkpoint.
        let seal = if is_closed {
            self.read_seal(&paths.seal, bounds.base_offset)
        } else {
            self.free_from(&paths.seal, 0)?;
            None
        };
        bounds.has_holes = seal.as_ref().is_some_and(|seal| !seal.is_contiguous());
        let mut expected = ExpectedIndexes::new(bounds.base_offset);
        let producers = &mut self.scan.producers;
        let found = walk(
            &*self.folder.disk,
            &paths.log,
            &bounds,
            |position, header, bytes| {
                expected.observe(position, header);
                producers.apply(header, header.base_offset);
                see(header, bytes);
            },
        )?;
        let Some(found) = found else { return Ok(()) };
        if let Some(end) = bounds.end {
            self.free_from(&paths.log, end)?;
        }
        let next_offset = bounds.next_offset.unwrap_or(found.next_offset);
        self.scan.next_offset = self.scan.next_offset.max(next_offset);
        let is_damaged = !found.problems.is_empty();
        for (position, problem) in found.problems {
            self.find(&paths.log, Some(position), problem);
        }
        self.scan.fenced.extend(found.fenced);
        let mut has_wrong_index = false;
        // Indexes of a damaged segment are made again with it.
        if !is_damaged {
            let (offsets, times) = expected.encode(is_closed);
            let (offset_size, time_size) = INDEX_ENTRY_SIZES_BYTES;
            has_wrong_index |= self.check_index(&paths.offset_index, &offsets, offset_size, is_closed)?;
            has_wrong_index |= self.check_index(&paths.time_index, &times, time_size, is_closed)?;
            if seal.is_some() && !has_wrong_index {
                self.check_seal(&paths.seal, bounds.base_offset);
            }
        }
        self.before = seal;
        self.scan.segments.push(SegmentScan {
            base_offset: bounds.base_offset,
            path: paths.log,
            size_bytes: found.end,
            state: match (is_damaged, has_wrong_index) {
                (true, _) => SegmentState::Damaged,
                (false, true) => SegmentState::WrongIndex,
                (false, false) => SegmentState::Sound,
            },
            is_closed,
            has_holes: bounds.has_holes,
        });
        Ok(())
    }

    /// Compares an index with what it must be. The last segment's is written behind its data and may lack
    /// entries after a crash, or have some that lie behind the end.
    fn check_index(
        &mut self,
        path: &Path,
        expected: &[u8],
        entry_size_bytes: usize,
        is_closed: bool,
    ) -> Result<bool, InspectError> {
        let (found, _) = self.folder.read(path)?.unwrap_or_default();
        let common = found.len().min(expected.len());
        let mut differs = found[..common]
            .iter()
            .zip(expected)
            .position(|(left, right)| left != right);
        if is_closed && found.len() != expected.len() {
            differs = differs.or(Some(common));
        }
        if let Some(byte) = differs {
            let entry = (byte / entry_size_bytes) as u64;
            let position = entry * entry_size_bytes as u64;
            self.find(path, Some(position), Problem::Index { entry });
        } else if found.len() > expected.len() {
            self.free_from(path, expected.len() as u64)?;
        }
        Ok(differs.is_some())
    }

    /// The seal of a closed segment; none if there is none that is intact.
    fn read_seal(&mut self, path: &Path, base_offset: Offset) -> Option<Seal> {
        match Seal::read(&*self.folder.disk, path, self.place.identity(base_offset)) {
            Ok(seal) => seal,
            Err(error) => {
                let what = error.to_string();
                self.find(path, Some(0), Problem::Seal { what });
                None
            }
        }
    }

    /// Compares a seal with its segment, whose batches and indexes are intact, and with the seal before.
    fn check_seal(&mut self, path: &Path, base_offset: Offset) {
        let report = verify_closed(self.place, base_offset, self.before.as_ref());
        for error in report.findings {
            let what = error.to_string();
            self.find(path, Some(0), Problem::Seal { what });
        }
    }

    /// What lies behind `start` means nothing.
    fn free_from(&mut self, path: &Path, start: u64) -> Result<(), InspectError> {
        let Some(file) = self.folder.open_file(path)? else {
            return Ok(());
        };
        let end = file.len().map_err(InspectError::io("read", path))?;
        let mut used: Vec<_> = self.extents.iter().filter(|(of, _)| of == path).collect();
        used.sort_by_key(|(_, range)| range.start);
        let file = self.folder.relative(path);
        let mut position = start;
        let mut free = |range: Range<u64>| {
            if !range.is_empty() {
                let file = file.clone();
                self.free.push(FreeArea { file, range });
            }
        };
        for (_, range) in used {
            free(position..range.start);
            position = position.max(range.end);
        }
        free(position..end);
        Ok(())
    }

    fn find(&mut self, path: &Path, position: Option<u64>, problem: Problem) {
        self.findings.push(Finding {
            file: self.folder.relative(path),
            position,
            partition: Some(self.place.partition),
            problem,
        });
    }
}
