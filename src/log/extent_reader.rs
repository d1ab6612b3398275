//! Reads the extents of the journal back from the segments that hold their blocks.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::io::{Disk, OpenMode};
use super::journal::{Extent, JournalError};
use super::segment::log_path;
use super::{Offset, OpenError, PartitionId};

/// Whether the blocks of `extent` stand in the partition's folder, as a reader sees them.
///
/// A segment's name is durable before a large write goes to it. One that is not there was removed with its topic,
/// after everything in the journal up to the deletion was durable; if the topic is there, it is damage, which is
/// found when the run is wanted.
///
/// # Errors
/// When the device cannot tell: a block that cannot be read may be a durable one.
pub fn is_intact(
    disk: &dyn Disk,
    folder: &Path,
    first: Offset,
    extent: &Extent,
) -> Result<bool, JournalError> {
    match read(disk, folder, first, extent) {
        Ok(run) => Ok(run.is_some()),
        Err((_, source)) if source.kind() == io::ErrorKind::NotFound => Ok(true),
        Err((path, source)) => Err(JournalError::Io {
            what: "read",
            path,
            source,
        }),
    }
}

/// The run of `extent`, whose first offset is `first`; it was durable once.
///
/// # Errors
/// When its blocks are not the ones that were written, or cannot be read.
pub fn read_durable(
    disk: &dyn Disk,
    partition: PartitionId,
    folder: &Path,
    first: Offset,
    extent: &Extent,
) -> Result<Bytes, OpenError> {
    let missing = || OpenError::Extent {
        partition,
        path: log_path(folder, extent.place.segment),
        position: extent.place.position,
        first,
        next: extent.next_offset(first),
    };
    match read(disk, folder, first, extent) {
        Ok(Some(run)) => Ok(run),
        Ok(None) => Err(missing()),
        Err((_, source)) if source.kind() == io::ErrorKind::NotFound => Err(missing()),
        Err((path, source)) => Err(OpenError::Io {
            what: "read",
            path,
            source,
        }),
    }
}

/// The run of `extent`; none if its blocks are not there, or not the ones that were written.
fn read(
    disk: &dyn Disk,
    folder: &Path,
    first: Offset,
    extent: &Extent,
) -> Result<Option<Bytes>, (PathBuf, io::Error)> {
    let path = log_path(folder, extent.place.segment);
    let blocks = extent.blocks();
    let mut bytes = vec![0; (blocks.end - blocks.start) as usize];
    let read = disk
        .open(&path, OpenMode::Read)
        .and_then(|file| file.read_at(&mut bytes, blocks.start));
    match read {
        Ok(()) => Ok(extent.assemble(first, &bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err((path, error)),
    }
}
