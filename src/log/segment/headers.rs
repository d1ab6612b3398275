//! Walks the batch headers of a segment without reading the records.

use super::SegmentError;
use super::file::SegmentFile;
use crate::log::batch::{BatchError, BatchHeader, HEADER_SIZE_BYTES};

/// Read at once. 4 KiB, the distance of index entries: one read finds most batches.
const CHUNK_SIZE_BYTES: usize = 4096;

/// Iterator over position and header of the batches in a range of a segment.
///
/// Checks that headers are well formed and batches end within the range, not their order and not the
/// checksums of their records.
pub(super) struct Headers<'a> {
    file: &'a SegmentFile,
    is_verified: bool,
    position: u64,
    end: u64,
    chunk: [u8; CHUNK_SIZE_BYTES],
    chunk_position: u64,
    chunk_size_bytes: usize,
}

impl<'a> Headers<'a> {
    /// A walk whose outcome is to be believed.
    pub(super) fn verified(file: &'a SegmentFile, position: u64, end: u64) -> Headers<'a> {
        Headers::new(file, true, position, end)
    }

    /// A walk to a batch that is verified where it is found. It goes on over a damaged chunk where offsets without
    /// gaps show that no batch was passed over, so that those behind the damage can be reached.
    pub(super) fn leading(file: &'a SegmentFile, position: u64, end: u64) -> Headers<'a> {
        Headers::new(file, !file.is_contiguous(), position, end)
    }

    fn new(file: &'a SegmentFile, is_verified: bool, position: u64, end: u64) -> Headers<'a> {
        let chunk = [0; CHUNK_SIZE_BYTES];
        Headers {
            file,
            is_verified,
            position,
            end,
            chunk,
            chunk_position: position,
            chunk_size_bytes: 0,
        }
    }

    /// The next batch, or `None` at the end of the range.
    pub(super) fn next(&mut self) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
        let position = self.position;
        if position >= self.end {
            return Ok(None);
        }
        self.fill()?;
        let bytes = &self.chunk[(position - self.chunk_position) as usize..self.chunk_size_bytes];
        let corrupt = |source| SegmentError::CorruptBatch {
            path: self.file.path().to_owned(),
            position,
            source,
        };
        let header = BatchHeader::parse(bytes).map_err(corrupt)?;
        let (expected_bytes, found_bytes) = (header.size_bytes(), (self.end - position) as usize);
        if expected_bytes > found_bytes {
            return Err(corrupt(BatchError::Truncated {
                expected_bytes,
                found_bytes,
            }));
        }
        self.position += expected_bytes as u64;
        Ok(Some((position, header)))
    }

    /// Reads a chunk from the position on unless the header there was read before.
    fn fill(&mut self) -> Result<(), SegmentError> {
        let chunk_end = self.chunk_position + self.chunk_size_bytes as u64;
        if self.position >= self.chunk_position && self.position + HEADER_SIZE_BYTES as u64 <= chunk_end {
            return Ok(());
        }
        self.chunk_position = self.position;
        self.chunk_size_bytes = (self.end - self.position).min(CHUNK_SIZE_BYTES as u64) as usize;
        let buffer = &mut self.chunk[..self.chunk_size_bytes];
        if self.is_verified {
            self.file.read(buffer, self.position)
        } else {
            self.file.read_unverified(buffer, self.position)
        }
    }
}
