//! Finds the end of the segments where no checkpoint tells it, by the checksums of all batches.

use std::path::Path;

use super::open::{check_link, open_file};
use super::paths::SegmentPaths;
use super::place::SegmentPlace;
use super::seal::Seal;
use super::walk::BatchWalk;
use super::{FileOperation, FlushedPosition, SegmentError};
use crate::log::Offset;
use crate::log::io::File;

/// Zeros are looked for in steps of 64 KiB.
const ZEROS_STEP_BYTES: u64 = 64 * 1024;

/// The end of the last of the segments with these base offsets, all of which are read, and what is wrong with
/// the bytes behind it.
///
/// Bytes behind the last intact batch of the last segment may be a torn write, which only the journal can
/// tell: it has the batch that was being written. So may a last segment be that has a seal, which it gets when
/// the next one begins. Zeros up to the end of the file are space that was reserved. Anything wrong before
/// that is damage: cutting there would lose records silently.
pub(super) fn find_end(
    place: &SegmentPlace,
    base_offsets: &[Offset],
) -> Result<(FlushedPosition, Option<SegmentError>), SegmentError> {
    let mut end = FlushedPosition {
        segment: Offset::ZERO,
        position: 0,
        next_offset: Offset::ZERO,
    };
    let Some((last, closed)) = base_offsets.split_last() else {
        return Ok((end, None));
    };
    let mut seal_before = None;
    for (index, base_offset) in closed.iter().enumerate() {
        check_begin(place, index, &end, *base_offset)?;
        let seal = read_seal(place, *base_offset, seal_before.as_ref())?;
        let (found, torn) = scan_segment(place, *base_offset, seal.as_ref())?;
        torn.map_or(Ok(()), Err)?;
        end = found;
        seal_before = seal;
    }
    check_begin(place, closed.len(), &end, *last)?;
    let seal = read_seal(place, *last, seal_before.as_ref())?;
    // Where it was appended to after all, its seal was removed before, though perhaps not durably.
    let (end, torn) = scan_segment(place, *last, None)?;
    let Some(seal) = seal else {
        return Ok((end, torn));
    };
    let path = SegmentPaths::new(&place.dir, *last).log;
    let expected_bytes = seal.content.size_bytes;
    if end.position < expected_bytes {
        return Err(torn.unwrap_or(SegmentError::SealedLength {
            path,
            found_bytes: end.position,
            expected_bytes,
        }));
    }
    let next = seal.content.next_offset;
    let missing = (end.position == expected_bytes).then_some(SegmentError::NextMissing { path, next });
    Ok((end, torn.or(missing)))
}

/// Checks that a segment begins where the one before it ends.
fn check_begin(
    place: &SegmentPlace,
    index: usize,
    end: &FlushedPosition,
    base_offset: Offset,
) -> Result<(), SegmentError> {
    if index == 0 || end.next_offset == base_offset {
        return Ok(());
    }
    Err(SegmentError::EndsEarly {
        path: SegmentPaths::new(&place.dir, end.segment).log,
        found: end.next_offset,
        expected: base_offset,
    })
}

fn read_seal(
    place: &SegmentPlace,
    base_offset: Offset,
    before: Option<&Seal>,
) -> Result<Option<Seal>, SegmentError> {
    let path = SegmentPaths::new(&place.dir, base_offset).seal;
    let seal = Seal::read(&*place.disk, &path, place.identity(base_offset))?;
    if let (Some(seal), Some(before)) = (&seal, before) {
        check_link(&path, seal, before)?;
    }
    Ok(seal)
}

/// The end of the intact batches of one segment, and what is wrong with the bytes behind it.
fn scan_segment(
    place: &SegmentPlace,
    base_offset: Offset,
    seal: Option<&Seal>,
) -> Result<(FlushedPosition, Option<SegmentError>), SegmentError> {
    let path = SegmentPaths::new(&place.dir, base_offset).log;
    let (file, found_bytes) = open_file(&*place.disk, &path)?;
    if let Some(seal) = seal
        && seal.content.size_bytes != found_bytes
    {
        return Err(SegmentError::SealedLength {
            path,
            found_bytes,
            expected_bytes: seal.content.size_bytes,
        });
    }
    let is_contiguous = seal.is_none_or(Seal::is_contiguous);
    let mut walk = BatchWalk::new(&*file, &path, base_offset, found_bytes, is_contiguous);
    let torn = loop {
        match walk.next(|_, _| {}) {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error @ SegmentError::Io { .. }) => return Err(error),
            Err(error) => break Some(error),
        }
    };
    let end = FlushedPosition {
        segment: base_offset,
        position: walk.position,
        next_offset: seal.map_or(walk.next_offset, |seal| seal.content.next_offset),
    };
    let is_reserved = torn.is_some() && seal.is_none() && is_zero(&*file, &path, walk.position, found_bytes)?;
    Ok((end, torn.filter(|_| !is_reserved)))
}

/// Whether there are only zeros from `position` to `end`.
fn is_zero(file: &dyn File, path: &Path, mut position: u64, end: u64) -> Result<bool, SegmentError> {
    let mut buffer = vec![0; ZEROS_STEP_BYTES as usize];
    while position < end {
        let step = &mut buffer[..(end - position).min(ZEROS_STEP_BYTES) as usize];
        file.read_at(step, position)
            .map_err(SegmentError::io(FileOperation::Read, path))?;
        if step.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        position += step.len() as u64;
    }
    Ok(true)
}
