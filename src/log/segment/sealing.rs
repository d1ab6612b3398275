//! Makes seals: from the sums that were kept while a segment was appended, and from its file for the rest.

use std::io::IoSlice;
use std::path::Path;

use super::chunks::{CHUNK_SIZE_BYTES, RunningSums, SegmentIdentity, chunk_count};
use super::indexes::{BatchPlace, Indexes};
use super::paths::{SegmentPaths, TEMPORARY_SUFFIX};
use super::place::SegmentPlace;
use super::seal::{Seal, SealContent};
use super::walk::BatchWalk;
use super::{FileOperation, SegmentError};
use crate::log::Offset;
use crate::log::batch::BatchHeader;
use crate::log::io::{File, OpenMode};

/// What reading a segment's batches from the first on, each of them checked, has found so far.
pub(super) struct Survey<'a> {
    walk: BatchWalk<'a>,
    pub(super) sums: RunningSums,
    pub(super) indexes: Indexes,
}

impl<'a> Survey<'a> {
    /// Stands before the first batch of a segment without gaps that ends at position `end`.
    pub(super) fn new(
        file: &'a dyn File,
        path: &'a Path,
        identity: SegmentIdentity,
        end: u64,
        index_interval_bytes: u32,
    ) -> Survey<'a> {
        Survey {
            walk: BatchWalk::new(file, path, identity.base_offset, end, true),
            sums: RunningSums::new(identity, 0),
            indexes: Indexes::new(identity.base_offset, index_interval_bytes),
        }
    }

    /// Reads the batches that begin before `until`.
    ///
    /// # Errors
    /// When a batch is damaged or the file cannot be read.
    pub(super) fn advance(&mut self, until: u64) -> Result<(), SegmentError> {
        while self.walk.position < until {
            let sums = &mut self.sums;
            let Some((position, header)) = self.walk.next(|at, bytes| sums.push(at, bytes))? else {
                break;
            };
            self.indexes.observe(&place_of(position, &header));
        }
        Ok(())
    }

    /// Offset behind the last batch that was read.
    pub(super) fn next_offset(&self) -> Offset {
        self.walk.next_offset
    }

    /// Position behind it.
    pub(super) fn position(&self) -> u64 {
        self.walk.position
    }
}

/// What the indexes take from a batch at `position`.
pub(super) fn place_of(position: u64, header: &BatchHeader) -> BatchPlace {
    BatchPlace {
        position,
        size_bytes: header.size_bytes(),
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp,
    }
}

/// The chunk sums of a segment that ends at `end`, which has `running` of it; and the indexes anew if `indexes`,
/// not closed yet, turn out to be wrong where the file had to be read.
///
/// Bytes that were appended since the process started are summed as they were given, never as the disk returns
/// them. What it found there is read, and sealed only if all batches are intact.
pub(super) fn complete_sums(
    file: &dyn File,
    path: &Path,
    identity: SegmentIdentity,
    end: u64,
    (running, indexes): (&RunningSums, &Indexes),
) -> Result<(Vec<u32>, Option<Indexes>), SegmentError> {
    let (first_chunk, known) = running.finish(end);
    if first_chunk == 0 {
        return Ok((known, None));
    }
    let mut survey = Survey::new(file, path, identity, end, indexes.interval_bytes());
    survey.advance((first_chunk as u64 * CHUNK_SIZE_BYTES).min(end))?;
    let is_index_right = indexes.begin_with(&survey.indexes);
    if !is_index_right {
        survey.advance(end)?;
    }
    let (_, mut crcs) = survey.sums.finish(survey.position());
    crcs.truncate(first_chunk);
    crcs.extend(known);
    debug_assert_eq!(crcs.len(), chunk_count(end), "a sum for each chunk");
    Ok((crcs, (!is_index_right).then_some(survey.indexes)))
}

/// The content of a segment with these closed indexes.
pub(super) fn content(
    identity: SegmentIdentity,
    (size_bytes, next_offset): (u64, Offset),
    indexes: &Indexes,
    chunk_crcs: Vec<u32>,
) -> SealContent {
    let (offsets, times) = indexes.encode_from(0, 0);
    SealContent {
        identity,
        next_offset,
        size_bytes,
        max_timestamp: indexes.max_timestamp(),
        index_interval_bytes: indexes.interval_bytes(),
        offset_index_crc: crc32fast::hash(&offsets),
        time_index_crc: crc32fast::hash(&times),
        chunk_crcs,
    }
}

/// A seal that is durable and has not yet its name, which it gets when what it vouches for is durable too.
#[derive(Debug)]
pub(super) struct SealDraft {
    pub(super) seal: Seal,
}

impl SealDraft {
    /// Writes the seal under a temporary name and syncs it, so that its file need not stay open.
    pub(super) fn write(place: &SegmentPlace, seal: Seal) -> Result<SealDraft, SegmentError> {
        let path = draft_path(place, &seal);
        match place.disk.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SegmentError::io(FileOperation::Remove, &path)(error));
            }
            _ => {}
        }
        let file = place
            .disk
            .open(&path, OpenMode::CreateNew)
            .map_err(SegmentError::io(FileOperation::Create, &path))?;
        let bytes = seal.encode();
        file.allocate(bytes.len() as u64)
            .map_err(SegmentError::io(FileOperation::Allocate, &path))?;
        file.write_at(&[IoSlice::new(&bytes)], 0)
            .map_err(SegmentError::io(FileOperation::Write, &path))?;
        file.sync()
            .map_err(SegmentError::io(FileOperation::Sync, &path))?;
        Ok(SealDraft { seal })
    }

    /// Gives the seal its name, which the folder's sync makes durable. Data and indexes must be durable before.
    pub(super) fn publish(&self, place: &SegmentPlace) -> Result<(), SegmentError> {
        let draft = draft_path(place, &self.seal);
        let path = SegmentPaths::new(&place.dir, self.seal.content.identity.base_offset).seal;
        place
            .disk
            .rename(&draft, &path)
            .map_err(SegmentError::io(FileOperation::Rename, &path))
    }
}

fn draft_path(place: &SegmentPlace, seal: &Seal) -> std::path::PathBuf {
    let path = SegmentPaths::new(&place.dir, seal.content.identity.base_offset).seal;
    let mut draft = path.into_os_string();
    draft.push(TEMPORARY_SUFFIX);
    draft.into()
}
