//! Reads all batches of a segment one after the other and checks each by its checksum.

use std::path::Path;

use super::{FileOperation, SegmentError};
use crate::log::Offset;
use crate::log::batch::{BatchError, BatchHeader, CRC_COVERS_FROM, HEADER_SIZE_BYTES};
use crate::log::io::File;

/// Read at once. 256 KiB: batches of any size are checked in a buffer of this one.
const WINDOW_SIZE_BYTES: u64 = 256 * 1024;

/// A walk over the intact batches of a segment.
pub(super) struct BatchWalk<'a> {
    file: &'a dyn File,
    path: &'a Path,
    segment: Offset,
    is_contiguous: bool,
    /// Position of the next batch.
    pub(super) position: u64,
    /// Offset behind the last batch.
    pub(super) next_offset: Offset,
    end: u64,
    window: Vec<u8>,
    window_position: u64,
}

impl<'a> BatchWalk<'a> {
    /// A walk from the segment's first batch to position `end`. If `is_contiguous`, each batch begins with the
    /// offset behind the one before, else with that or a later one.
    pub(super) fn new(
        file: &'a dyn File,
        path: &'a Path,
        segment: Offset,
        end: u64,
        is_contiguous: bool,
    ) -> BatchWalk<'a> {
        BatchWalk {
            file,
            path,
            segment,
            is_contiguous,
            position: 0,
            next_offset: segment,
            end,
            window: Vec::new(),
            window_position: 0,
        }
    }

    /// Position and header of the next batch; `None` at the end. Its bytes go to `sink`, piece by piece, before
    /// they are known to be intact.
    ///
    /// # Errors
    /// [`SegmentError::Io`] if the file cannot be read, [`SegmentError::CorruptBatch`] or
    /// [`SegmentError::Damaged`] if there is no batch that may be there; the position stays before it.
    pub(super) fn next(
        &mut self,
        mut sink: impl FnMut(u64, &[u8]),
    ) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
        let position = self.position;
        if position >= self.end {
            return Ok(None);
        }
        let header_bytes = self.piece(position, HEADER_SIZE_BYTES as u64)?;
        let header = BatchHeader::parse(header_bytes).map_err(|source| self.corrupt(source))?;
        let size_bytes = header.size_bytes() as u64;
        if size_bytes > self.end - position {
            return Err(self.corrupt(BatchError::Truncated {
                expected_bytes: header.size_bytes(),
                found_bytes: (self.end - position) as usize,
            }));
        }
        let mut computed = 0;
        let mut done_bytes = 0;
        while done_bytes < size_bytes {
            let piece = self.piece(position + done_bytes, 1)?;
            let piece = &piece[..piece.len().min((size_bytes - done_bytes) as usize)];
            sink(position + done_bytes, piece);
            // The header was in one piece, so the first bytes under the checksum are not split.
            let covered = if done_bytes == 0 {
                &piece[CRC_COVERS_FROM..]
            } else {
                piece
            };
            computed = crc32c::crc32c_append(computed, covered);
            done_bytes += piece.len() as u64;
        }
        if header.crc != computed {
            return Err(self.corrupt(BatchError::Crc {
                found: header.crc,
                computed,
            }));
        }
        self.check_order(header.base_offset)?;
        self.position += size_bytes;
        self.next_offset = header.next_offset();
        Ok(Some((position, header)))
    }

    /// The bytes from `position` on that are in the window, which is moved there if it has fewer than `wanted`;
    /// at the end of the range there may be fewer.
    fn piece(&mut self, position: u64, wanted: u64) -> Result<&[u8], SegmentError> {
        let window_end = self.window_position + self.window.len() as u64;
        if position < self.window_position || (position + wanted).min(self.end) > window_end {
            let size_bytes = (self.end - position).min(WINDOW_SIZE_BYTES) as usize;
            self.window.resize(size_bytes, 0);
            self.window_position = position;
            if let Err(error) = self.file.read_at(&mut self.window, position) {
                self.window.clear();
                return Err(SegmentError::io(FileOperation::Read, self.path)(error));
            }
        }
        Ok(&self.window[(position - self.window_position) as usize..])
    }

    fn check_order(&self, found: Offset) -> Result<(), SegmentError> {
        let expected = self.next_offset;
        if found == expected || (!self.is_contiguous && found > expected) {
            return Ok(());
        }
        Err(SegmentError::Damaged {
            path: self.path.to_owned(),
            segment: self.segment,
            position: self.position,
            found,
            expected,
        })
    }

    fn corrupt(&self, source: BatchError) -> SegmentError {
        SegmentError::CorruptBatch {
            path: self.path.to_owned(),
            position: self.position,
            source,
        }
    }
}
