//! Finds the end of the segments where no checkpoint tells it, by the checksums of all batches.

use std::path::Path;

use super::paths::SegmentPaths;
use super::{FileOperation, FlushedPosition, SegmentError};
use crate::log::Offset;
use crate::log::batch::{BatchError, BatchHeader, CRC_COVERS_FROM, HEADER_SIZE_BYTES};
use crate::log::io::{Disk, File, OpenMode};

/// Read at once. 256 KiB: batches of any size are checked in a buffer of this one.
const CHUNK_SIZE_BYTES: usize = 256 * 1024;

/// The end of the last of the segments with these base offsets, all of which are read, and what is wrong with
/// the bytes behind it.
///
/// Bytes behind the last intact batch of the last segment may be a torn write, which only the journal can
/// tell: it has the batch that was being written. Anything wrong before that is damage: cutting there would
/// lose records silently.
pub(super) fn find_end(
    disk: &dyn Disk,
    dir: &Path,
    base_offsets: &[Offset],
) -> Result<(FlushedPosition, Option<SegmentError>), SegmentError> {
    let mut end = FlushedPosition {
        segment: Offset::ZERO,
        position: 0,
        next_offset: Offset::ZERO,
    };
    let Some(last) = base_offsets.last() else {
        return Ok((end, None));
    };
    let mut last_torn = None;
    for (index, base_offset) in base_offsets.iter().enumerate() {
        let path = SegmentPaths::new(dir, *base_offset).log;
        if index > 0 && end.next_offset != *base_offset {
            let path = SegmentPaths::new(dir, end.segment).log;
            return Err(SegmentError::EndsEarly {
                path,
                found: end.next_offset,
                expected: *base_offset,
            });
        }
        let file = disk
            .open(&path, OpenMode::Read)
            .map_err(SegmentError::io(FileOperation::Open, &path))?;
        let (found, torn) = scan_segment(&*file, &path, *base_offset)?;
        match torn {
            Some(error) if base_offset != last => return Err(error),
            torn => last_torn = torn,
        }
        end = found;
    }
    Ok((end, last_torn))
}

/// The end of the intact batches of one segment, and what is wrong with the bytes behind it.
fn scan_segment(
    file: &dyn File,
    path: &Path,
    base_offset: Offset,
) -> Result<(FlushedPosition, Option<SegmentError>), SegmentError> {
    let size_bytes = file.len().map_err(SegmentError::io(FileOperation::Read, path))?;
    let mut end = FlushedPosition {
        segment: base_offset,
        position: 0,
        next_offset: base_offset,
    };
    let mut buffer = vec![0; CHUNK_SIZE_BYTES];
    while end.position < size_bytes {
        let header = match read_batch(file, path, end.position, size_bytes, &mut buffer)? {
            Ok(header) => header,
            Err(source) => {
                let position = end.position;
                return Ok((
                    end,
                    Some(SegmentError::CorruptBatch {
                        path: path.to_owned(),
                        position,
                        source,
                    }),
                ));
            }
        };
        if header.base_offset != end.next_offset {
            let error = SegmentError::Damaged {
                path: path.to_owned(),
                segment: base_offset,
                position: end.position,
                found: header.base_offset,
                expected: end.next_offset,
            };
            return Ok((end, Some(error)));
        }
        end.position += header.size_bytes() as u64;
        end.next_offset = header.next_offset();
    }
    Ok((end, None))
}

/// Reads and verifies the batch at `position`; the outer error is the disk's, the inner one the batch's.
fn read_batch(
    file: &dyn File,
    path: &Path,
    position: u64,
    file_size_bytes: u64,
    buffer: &mut [u8],
) -> Result<Result<BatchHeader, BatchError>, SegmentError> {
    let read = |buffer: &mut [u8], position| {
        file.read_at(buffer, position)
            .map_err(SegmentError::io(FileOperation::Read, path))
    };
    let found_bytes = (file_size_bytes - position) as usize;
    let mut chunk_size_bytes = found_bytes.min(HEADER_SIZE_BYTES);
    read(&mut buffer[..chunk_size_bytes], position)?;
    let header = match BatchHeader::parse(&buffer[..chunk_size_bytes]) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    let expected_bytes = header.size_bytes();
    if expected_bytes > found_bytes {
        return Ok(Err(BatchError::Truncated {
            expected_bytes,
            found_bytes,
        }));
    }
    let mut computed = crc32c::crc32c(&buffer[CRC_COVERS_FROM..chunk_size_bytes]);
    let mut done_bytes = chunk_size_bytes;
    while done_bytes < expected_bytes {
        chunk_size_bytes = (expected_bytes - done_bytes).min(buffer.len());
        read(&mut buffer[..chunk_size_bytes], position + done_bytes as u64)?;
        computed = crc32c::crc32c_append(computed, &buffer[..chunk_size_bytes]);
        done_bytes += chunk_size_bytes;
    }
    let found = header.crc;
    Ok(if found == computed {
        Ok(header)
    } else {
        Err(BatchError::Crc { found, computed })
    })
}
