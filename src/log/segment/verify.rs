//! Checks everything that a partition's segments hold, for tools: nothing is changed, nothing is left out.
//!
//! Of a closed segment with a seal, every changed bit of its four files is found. Of the last segment, which has
//! no seal, what batches' checksums cover and their order, and that each index entry is a batch's.

use std::path::Path;

use super::chunks::{chunk_count, chunk_range};
use super::entry_check::EntryCheck;
use super::load::read_index;
use super::open::{check_link, open_file};
use super::paths::{SegmentPaths, base_offset_of};
use super::place::SegmentPlace;
use super::seal::Seal;
use super::sealing::place_of;
use super::walk::BatchWalk;
use super::{FileOperation, FlushedPosition, SegmentError};
use crate::log::Offset;
use crate::log::io::File;

/// Findings of one segment that are kept. A thousand damaged chunks tell enough.
pub const FINDINGS_MAX: usize = 1_000;

/// What the check of one segment has found.
#[derive(Debug)]
pub struct SegmentReport {
    /// The segment's first offset.
    pub base_offset: Offset,
    /// Offset behind its last record: its seal's, or else behind its last intact batch.
    pub next_offset: Offset,
    /// Bytes of the intact batches up to the first damaged one.
    pub size_bytes: u64,
    /// Their number.
    pub batches: u64,
    /// The number of their records.
    pub records: u64,
    /// Its seal, if it has an intact one.
    pub seal: Option<Seal>,
    /// Whether it is the last segment, which has no seal yet.
    pub is_active: bool,
    /// What is wrong, at most [`FINDINGS_MAX`].
    pub findings: Vec<SegmentError>,
}

/// The check of all segments of one partition, the oldest first: an iterator that reads one segment at a step.
#[derive(Debug)]
pub struct Verification {
    place: SegmentPlace,
    closed: std::vec::IntoIter<Offset>,
    active: Option<FlushedPosition>,
    before: Option<(Offset, Option<Seal>)>,
}

/// Begins the check of the segments in `place` that end at `flushed`, as the newest checkpoint says.
///
/// # Errors
/// When the folder cannot be read. One that is missing has no segments.
pub fn verify_partition(place: SegmentPlace, flushed: FlushedPosition) -> Result<Verification, SegmentError> {
    let names = match place.disk.list(&place.dir) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(SegmentError::io(FileOperation::Read, &place.dir)(error)),
    };
    let bases = names.iter().filter_map(|name| base_offset_of(name));
    let mut closed: Vec<Offset> = bases.filter(|base| *base < flushed.segment).collect();
    closed.sort_unstable();
    Ok(Verification {
        place,
        closed: closed.into_iter(),
        active: (flushed.position > 0).then_some(flushed),
        before: None,
    })
}

impl Iterator for Verification {
    type Item = SegmentReport;

    fn next(&mut self) -> Option<SegmentReport> {
        let mut report = match self.closed.next() {
            Some(base_offset) => {
                let before = self.before.as_ref().and_then(|(_, seal)| seal.as_ref());
                verify_closed(&self.place, base_offset, before)
            }
            None => verify_active(&self.place, &self.active.take()?),
        };
        if let Some((next_offset, _)) = &self.before
            && *next_offset != report.base_offset
        {
            report.find(SegmentError::EndsEarly {
                path: self.place.dir.clone(),
                found: *next_offset,
                expected: report.base_offset,
            });
        }
        self.before = Some((report.next_offset, report.seal.clone()));
        Some(report)
    }
}

/// Checks a closed segment and, if there is `before`, that it continues the segment with that seal.
pub fn verify_closed(place: &SegmentPlace, base_offset: Offset, before: Option<&Seal>) -> SegmentReport {
    let paths = SegmentPaths::new(&place.dir, base_offset);
    let mut report = SegmentReport::new(base_offset, false);
    match Seal::read(&*place.disk, &paths.seal, place.identity(base_offset)) {
        Ok(seal) => report.seal = seal,
        Err(error) => report.find(error),
    }
    if let (Some(seal), Some(before)) = (&report.seal, before)
        && let Err(error) = check_link(&paths.seal, seal, before)
    {
        report.find(error);
    }
    let (file, size_bytes) = match open_file(&*place.disk, &paths.log) {
        Ok(opened) => opened,
        Err(error) => {
            report.find(error);
            return report;
        }
    };
    if let Some(seal) = report.seal.clone() {
        report.check_chunks(&*file, &paths.log, &seal, size_bytes);
    }
    report.check_batches(place, &paths, &*file, size_bytes);
    report.check_seal(place, &paths);
    report
}

/// Checks the last segment up to its end.
pub fn verify_active(place: &SegmentPlace, end: &FlushedPosition) -> SegmentReport {
    let paths = SegmentPaths::new(&place.dir, end.segment);
    let mut report = SegmentReport::new(end.segment, true);
    let (file, found_bytes) = match open_file(&*place.disk, &paths.log) {
        Ok(opened) => opened,
        Err(error) => {
            report.find(error);
            return report;
        }
    };
    if found_bytes < end.position {
        report.find(SegmentError::TooShort {
            path: paths.log.clone(),
            found_bytes,
            expected_bytes: end.position,
        });
    }
    report.check_batches(place, &paths, &*file, end.position.min(found_bytes));
    if report.size_bytes == end.position && report.next_offset != end.next_offset {
        report.find(SegmentError::EndsEarly {
            path: paths.log,
            found: report.next_offset,
            expected: end.next_offset,
        });
    }
    report
}

impl SegmentReport {
    fn new(base_offset: Offset, is_active: bool) -> SegmentReport {
        SegmentReport {
            base_offset,
            next_offset: base_offset,
            size_bytes: 0,
            batches: 0,
            records: 0,
            seal: None,
            is_active,
            findings: Vec::new(),
        }
    }

    fn find(&mut self, error: SegmentError) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(error);
        }
    }

    fn check_chunks(&mut self, file: &dyn File, path: &Path, seal: &Seal, found_bytes: u64) {
        let content = &seal.content;
        if found_bytes != content.size_bytes {
            self.find(SegmentError::SealedLength {
                path: path.to_owned(),
                found_bytes,
                expected_bytes: content.size_bytes,
            });
        }
        for chunk in 0..chunk_count(content.size_bytes.min(found_bytes)) {
            let range = chunk_range(chunk, content.size_bytes);
            if range.end > found_bytes {
                break;
            }
            let mut bytes = vec![0; (range.end - range.start) as usize];
            if let Err(error) = file.read_at(&mut bytes, range.start) {
                self.find(SegmentError::io(FileOperation::Read, path)(error));
                continue;
            }
            let (found, expected) = (
                content.identity.chunk_crc(chunk, &bytes),
                content.chunk_crcs[chunk],
            );
            if found != expected {
                self.find(SegmentError::ChunkDamaged {
                    path: path.to_owned(),
                    position: range.start,
                    found,
                    expected,
                });
            }
        }
    }

    /// Checks each batch up to the first that is damaged, and the index entries up to there.
    fn check_batches(&mut self, place: &SegmentPlace, paths: &SegmentPaths, file: &dyn File, end: u64) {
        let is_contiguous = self.seal.as_ref().is_none_or(Seal::is_contiguous);
        let mut walk = BatchWalk::new(file, &paths.log, self.base_offset, end, is_contiguous);
        let mut entries = match EntryCheck::load(place, paths, self.base_offset) {
            Ok(entries) => entries,
            Err(error) => {
                self.find(error);
                return;
            }
        };
        let damage = loop {
            match walk.next(|_, _| {}) {
                Ok(Some((position, header))) => {
                    self.batches += 1;
                    self.records += header.record_count.max(0) as u64;
                    entries.observe(&place_of(position, &header));
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        (self.size_bytes, self.next_offset) = (walk.position, walk.next_offset);
        if damage.is_none() {
            entries.finish(walk.next_offset, walk.position, self.is_active);
        }
        for (path, wrong) in [
            (&paths.offset_index, entries.wrong_offset),
            (&paths.time_index, entries.wrong_time),
        ] {
            if let Some(position) = wrong {
                let path = path.clone();
                self.find(SegmentError::IndexDamaged { path, position });
            }
        }
        if let Some(error) = damage {
            self.find(error);
        } else if let Some(seal) = &self.seal {
            let content = &seal.content;
            let ends_there = if is_contiguous {
                self.next_offset == content.next_offset
            } else {
                self.next_offset <= content.next_offset
            };
            if !ends_there || entries.max_timestamp != content.max_timestamp {
                self.find(SegmentError::EndsEarly {
                    path: paths.log.clone(),
                    found: self.next_offset,
                    expected: content.next_offset,
                });
            }
        }
    }

    /// Checks that the indexes are those that were sealed, and takes the end from the seal.
    fn check_seal(&mut self, place: &SegmentPlace, paths: &SegmentPaths) {
        let Some(seal) = self.seal.clone() else { return };
        self.next_offset = seal.content.next_offset;
        for (path, expected) in [
            (&paths.offset_index, seal.content.offset_index_crc),
            (&paths.time_index, seal.content.time_index_crc),
        ] {
            let is_reported = |finding: &SegmentError| matches!(finding, SegmentError::IndexDamaged { path: reported, .. } if reported == path);
            match read_index(&*place.disk, path) {
                Err(error) => self.find(error),
                Ok(bytes) if crc32fast::hash(&bytes) != expected => {
                    if !self.findings.iter().any(is_reported) {
                        let (path, position) = (path.clone(), bytes.len() as u64);
                        self.find(SegmentError::IndexDamaged { path, position });
                    }
                }
                Ok(_) => {}
            }
        }
    }
}
