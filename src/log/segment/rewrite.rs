//! Writes what is left of neighbouring closed segments into one that takes their place.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::chunks::RunningSums;
use super::indexes::Indexes;
use super::paths::SegmentPaths;
use super::replace::{CLEANED_SUFFIX, with_suffix};
use super::seal::Seal;
use super::sealing::{self, place_of};
use super::{FileOperation, SEGMENT_SIZE_LIMIT_BYTES, SegmentError, Segments};
use crate::log::Offset;
use crate::log::batch::BatchHeader;
use crate::log::io::{File, OpenMode};

/// Written at once. 1 MiB: large enough for the disk's rate, small beside what else a compaction holds.
const WRITE_SIZE_BYTES: usize = 1024 * 1024;

/// A segment that is being written beside those that it is to replace. Nobody sees it before it is committed; what a
/// crash leaves of it is removed at the next start.
#[derive(Debug)]
pub struct Rewrite<'a> {
    segments: &'a Segments,
    /// The segments that it replaces, oldest first.
    pub(super) replaced: Vec<Offset>,
    first_seal: Seal,
    last_seal: Seal,
    pub(super) paths: SegmentPaths,
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    /// Bytes before the buffer that are in the file.
    written_bytes: u64,
    next_offset: Offset,
    indexes: Indexes,
    sums: RunningSums,
}

impl<'a> Rewrite<'a> {
    /// Begins to rewrite the closed segments with these base offsets, which follow one another. None if one of them
    /// has no intact seal: it is damaged, and stays for whoever looks into that.
    ///
    /// # Panics
    /// If there are none.
    pub fn begin(segments: &'a Segments, replaced: &[Offset]) -> Result<Option<Rewrite<'a>>, SegmentError> {
        let (base_offset, last) = (replaced[0], replaced[replaced.len() - 1]);
        let place = &segments.place;
        let seal_of = |base_offset: Offset| {
            let path = SegmentPaths::new(&place.dir, base_offset).seal;
            Seal::read(&*place.disk, &path, place.identity(base_offset))
        };
        let (Some(first_seal), Some(last_seal)) = (seal_of(base_offset)?, seal_of(last)?) else {
            return Ok(None);
        };
        let paths = SegmentPaths::new(&place.dir, base_offset);
        let file = create(segments, &with_suffix(&paths.log, CLEANED_SUFFIX))?;
        Ok(Some(Rewrite {
            segments,
            replaced: replaced.to_vec(),
            first_seal,
            last_seal,
            paths,
            file,
            buffer: Vec::with_capacity(WRITE_SIZE_BYTES),
            written_bytes: 0,
            next_offset: base_offset,
            indexes: Indexes::new(base_offset, place.options.index_interval_bytes),
            sums: RunningSums::new(place.identity(base_offset), 0),
        }))
    }

    /// Appends a batch, which begins where the one before ended.
    pub fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), SegmentError> {
        if header.base_offset != self.next_offset {
            return Err(SegmentError::NotContiguous {
                found: header.base_offset,
                expected: self.next_offset,
            });
        }
        let position = self.position();
        let size_bytes = position + batch.len() as u64;
        if size_bytes > SEGMENT_SIZE_LIMIT_BYTES {
            return Err(SegmentError::TooLarge {
                path: self.paths.log.clone(),
                size_bytes,
                limit_bytes: SEGMENT_SIZE_LIMIT_BYTES,
            });
        }
        self.sums.push(position, batch);
        self.indexes.observe(&place_of(position, header));
        self.next_offset = header.next_offset();
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= WRITE_SIZE_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// The file that it will be.
    pub fn path(&self) -> &std::path::Path {
        &self.paths.log
    }

    /// Where the next batch goes.
    pub fn position(&self) -> u64 {
        self.written_bytes + self.buffer.len() as u64
    }

    /// Replaces the segments, durably: whoever reads from here on reads what was pushed.
    ///
    /// # Errors
    /// [`Committed::Failed`] leaves the segments as they were; after [`Committed::Unknown`] only the next start tells,
    /// and nothing may be replaced before.
    pub fn commit(mut self) -> Result<(), Committed> {
        if let Err(error) = self.finish() {
            self.discard();
            return Err(Committed::Failed(error));
        }
        self.segments.replace(&self).map_err(Committed::Unknown)
    }

    /// Gives up; nothing happened.
    pub fn discard(self) {
        for path in self.paths.all() {
            // What stays is removed at the next start.
            let _ = self
                .segments
                .place
                .disk
                .remove_file(&with_suffix(path, CLEANED_SUFFIX));
        }
    }

    /// Makes all files durable under their names of drafts.
    fn finish(&mut self) -> Result<(), SegmentError> {
        self.write()?;
        let end = self.last_seal.content.next_offset;
        if self.next_offset != end {
            return Err(SegmentError::NotContiguous {
                found: end,
                expected: self.next_offset,
            });
        }
        let log = with_suffix(&self.paths.log, CLEANED_SUFFIX);
        self.file
            .sync()
            .map_err(SegmentError::io(FileOperation::Sync, &log))?;
        self.indexes.close();
        let (offsets, times) = self.indexes.encode_from(0, 0);
        let (_, chunk_crcs) = self.sums.finish(self.written_bytes);
        let identity = self.segments.place.identity(self.paths_base());
        let extent = (self.written_bytes, end);
        let content = sealing::content(identity, extent, &self.indexes, chunk_crcs);
        let seal = Seal::rewritten(content, &self.first_seal, &self.last_seal);
        for (path, bytes) in [
            (&self.paths.offset_index, offsets),
            (&self.paths.time_index, times),
            (&self.paths.seal, seal.encode()),
        ] {
            let path = with_suffix(path, CLEANED_SUFFIX);
            let file = create(self.segments, &path)?;
            file.write_at(&[IoSlice::new(&bytes)], 0)
                .map_err(SegmentError::io(FileOperation::Write, &path))?;
            file.sync()
                .map_err(SegmentError::io(FileOperation::Sync, &path))?;
        }
        Ok(())
    }

    fn paths_base(&self) -> Offset {
        self.replaced[0]
    }

    fn write(&mut self) -> Result<(), SegmentError> {
        let path = with_suffix(&self.paths.log, CLEANED_SUFFIX);
        self.file
            .write_at(&[IoSlice::new(&self.buffer)], self.written_bytes)
            .map_err(SegmentError::io(FileOperation::Write, &path))?;
        self.written_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Bytes and largest timestamp of what was written.
    pub(super) fn written(&self) -> (u64, crate::log::Timestamp) {
        (self.written_bytes, self.indexes.max_timestamp())
    }
}

/// Why a rewritten segment did not take the place of others.
#[derive(Debug, thiserror::Error)]
pub enum Committed {
    /// It was not made durable, and is gone.
    #[error("segment was not rewritten")]
    Failed(#[source] SegmentError),
    /// It was, and may be found in their place at the next start.
    #[error("segment was rewritten, and did not take its place")]
    Unknown(#[source] SegmentError),
}

/// An empty file; one that is there was left by an attempt that failed.
fn create(segments: &Segments, path: &std::path::Path) -> Result<Arc<dyn File>, SegmentError> {
    let disk = &segments.place.disk;
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(SegmentError::io(FileOperation::Remove, path)(error));
        }
        _ => {}
    }
    disk.open(path, OpenMode::CreateNew)
        .map_err(SegmentError::io(FileOperation::Create, path))
}
