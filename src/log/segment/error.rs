//! What goes wrong with segment files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::seal::{Lineage, SealFault};
use crate::log::Offset;
use crate::log::batch::{BatchError, Place};

/// What was attempted with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOperation {
    /// Creating it.
    Create,
    /// Opening it.
    Open,
    /// Reading it, or listing a folder.
    Read,
    /// Writing to it.
    Write,
    /// Reserving space for it.
    Allocate,
    /// Setting its length.
    Truncate,
    /// Removing it.
    Remove,
    /// Giving it its name.
    Rename,
    /// Making it durable.
    Sync,
}

impl fmt::Display for FileOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileOperation::Create => "create",
            FileOperation::Open => "open",
            FileOperation::Read => "read",
            FileOperation::Write => "write",
            FileOperation::Allocate => "reserve space for",
            FileOperation::Truncate => "truncate",
            FileOperation::Remove => "remove",
            FileOperation::Rename => "rename",
            FileOperation::Sync => "sync",
        })
    }
}

/// A segment could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A system call failed.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was attempted.
        operation: FileOperation,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A batch is intact but belongs to another offset: it is misplaced, or one before it is missing.
    #[error("batch at position {position} of {path} has offset {found}, want {expected}", path = path.display())]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// Base offset of the segment.
        segment: Offset,
        /// Position of the batch.
        position: u64,
        /// Offset in the batch's header.
        found: Offset,
        /// Offset that must be there.
        expected: Offset,
    },
    /// Bytes that should be a batch are none.
    #[error("corrupt batch at position {position} of {path}", path = path.display())]
    CorruptBatch {
        /// The segment file.
        path: PathBuf,
        /// Position of the batch.
        position: u64,
        /// What is wrong with it.
        source: BatchError,
    },
    /// A segment ends before an offset that it must hold.
    #[error("{path} ends at offset {found}, want {expected}", path = path.display())]
    EndsEarly {
        /// The segment file.
        path: PathBuf,
        /// Offset behind its last record.
        found: Offset,
        /// Offset that it must reach.
        expected: Offset,
    },
    /// A file is shorter than what is known to be in it.
    #[error("{path} has {found_bytes} bytes, want {expected_bytes}", path = path.display())]
    TooShort {
        /// The segment file.
        path: PathBuf,
        /// Its length.
        found_bytes: u64,
        /// The length that was made durable.
        expected_bytes: u64,
    },
    /// A file is longer than a segment can be.
    #[error("{path} has {size_bytes} bytes, more than the limit of {limit_bytes}", path = path.display())]
    TooLarge {
        /// The segment file.
        path: PathBuf,
        /// Its length.
        size_bytes: u64,
        /// [`super::SEGMENT_SIZE_LIMIT_BYTES`].
        limit_bytes: u64,
    },
    /// The bytes of a chunk of a sealed segment are not those that were sealed.
    #[error("chunk at position {position} of {path} has crc {found:#010x}, want {expected:#010x}", path = path.display())]
    ChunkDamaged {
        /// The segment file.
        path: PathBuf,
        /// Where the chunk begins.
        position: u64,
        /// The checksum of its bytes.
        found: u32,
        /// The checksum in the seal.
        expected: u32,
    },
    /// The seal of a segment is damaged or another segment's: whether the data is right cannot be told.
    #[error("seal {path} is damaged", path = path.display())]
    SealDamaged {
        /// The seal's file.
        path: PathBuf,
        /// What is wrong with it.
        source: SealFault,
    },
    /// A segment's seal does not continue the one before: one of both is of another history.
    #[error("seal {path} follows {found:?}, and the segment before it has {expected}", path = path.display())]
    LinkBroken {
        /// The seal's file.
        path: PathBuf,
        /// What the seal follows.
        found: Option<Lineage>,
        /// The lineage of the segment before it.
        expected: Lineage,
    },
    /// A sealed file is not as long as it was sealed. That is damage: the end of a closed segment is in its
    /// seal.
    #[error("{path} has {found_bytes} bytes and was sealed with {expected_bytes}", path = path.display())]
    SealedLength {
        /// The segment file.
        path: PathBuf,
        /// Its length.
        found_bytes: u64,
        /// The length that was sealed.
        expected_bytes: u64,
    },
    /// An index file of a sealed segment, or an entry of one, does not agree with the batches. Nothing is lost:
    /// indexes are made again from batches.
    #[error("index {path} does not agree with its batches from position {position} on", path = path.display())]
    IndexDamaged {
        /// The index file.
        path: PathBuf,
        /// Position of the first wrong entry, or of the end of the shorter one.
        position: u64,
    },
    /// The last segment is sealed, so there was one behind it.
    #[error("the segment behind {path} is missing, offset {next}", path = path.display())]
    NextMissing {
        /// The sealed segment file.
        path: PathBuf,
        /// Where the missing one begins.
        next: Offset,
    },
    /// An offset that no segment holds was asked for.
    #[error("offset {offset} is outside {first}..={next}")]
    OutOfRange {
        /// The offset.
        offset: Offset,
        /// Offset of the first record.
        first: Offset,
        /// Offset behind the last record.
        next: Offset,
    },
    /// A batch was appended that does not follow the last one.
    #[error("batch with offset {found} appended, want {expected}")]
    NotContiguous {
        /// Offset of the batch.
        found: Offset,
        /// Offset behind the last record.
        expected: Offset,
    },
    /// A batch was appended at another place than the end of the segments.
    #[error("batch with offset {offset} belongs to {found:?}, the segments end at {expected:?}")]
    Misplaced {
        /// Offset of the batch.
        offset: Offset,
        /// Where the batch belongs.
        found: Place,
        /// Where the segments end.
        expected: Place,
    },
    /// A sync failed before. What the failed sync should have made durable may be lost although reads show
    /// it, so nothing further is written or synced.
    #[error("an earlier sync of {path} failed", path = path.display())]
    SyncFailed {
        /// The folder of the segments.
        path: PathBuf,
    },
}

impl SegmentError {
    pub(super) fn io(operation: FileOperation, path: &Path) -> impl FnOnce(io::Error) -> SegmentError {
        move |source| SegmentError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether it is a failed sync, after which nothing may be written or synced.
    pub(super) fn is_failed_sync(&self) -> bool {
        matches!(
            self,
            SegmentError::Io {
                operation: FileOperation::Sync,
                ..
            }
        )
    }

    /// Whether only something derived is wrong, which is made again from the batches.
    pub fn is_derived(&self) -> bool {
        matches!(self, SegmentError::IndexDamaged { .. })
    }

    /// Whether space, or the user's quota of it, ran out: freeing some and trying again helps. A failed sync is
    /// not meant: what it lost cannot be told.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, SegmentError::Io { source, .. }
            if !self.is_failed_sync() && matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
