//! The data file of one segment: with a seal, no byte leaves it that was not checked against its chunk's sum.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::cache::{Pin, SegmentCache, Slot};
use super::chunks::{CHUNK_SIZE_BYTES, chunk_count, chunk_range};
use super::place::SegmentPlace;
use super::seal::Seal;
use super::{FileOperation, SegmentError};
use crate::log::Offset;
use crate::log::io::{Disk, File, OpenMode};

/// The data file of one open segment.
#[derive(Debug)]
pub(super) struct SegmentFile {
    path: PathBuf,
    handle: Handle,
    guard: Option<ChunkGuard>,
}

/// How the file is reached.
#[derive(Debug)]
enum Handle {
    /// It is open as long as the segment is.
    Held(Arc<dyn File>),
    /// It is opened when it is needed.
    Cached {
        disk: Arc<dyn Disk>,
        cache: Arc<SegmentCache>,
        slot: Arc<Slot<dyn File>>,
    },
}

/// The seal of an open segment, and which chunks agreed with it since the segment was opened.
#[derive(Debug)]
struct ChunkGuard {
    seal: Seal,
    /// A bit for each chunk.
    verified: Box<[AtomicU64]>,
}

/// An open file that was written and is not synced.
#[derive(Debug)]
pub(super) struct PinnedFile {
    path: PathBuf,
    file: Arc<dyn File>,
    _pin: Option<Pin<dyn File>>,
}

impl PinnedFile {
    /// Writes all of `buffers` from `position`.
    pub(super) fn write(&self, buffers: &[IoSlice<'_>], position: u64) -> Result<(), SegmentError> {
        self.file
            .write_at(buffers, position)
            .map_err(SegmentError::io(FileOperation::Write, &self.path))
    }

    pub(super) fn file(&self) -> &dyn File {
        &*self.file
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<(), SegmentError> {
        self.file
            .sync()
            .map_err(SegmentError::io(FileOperation::Sync, &self.path))
    }
}

impl SegmentFile {
    /// The file of a segment that is appended to. It is closed when the log has too many open, and opened again
    /// when it is needed.
    pub(super) fn active(place: &SegmentPlace, path: PathBuf) -> SegmentFile {
        SegmentFile {
            path,
            handle: Handle::Cached {
                disk: Arc::clone(&place.disk),
                cache: Arc::clone(&place.cache),
                slot: Slot::empty(),
            },
            guard: None,
        }
    }

    /// The file of a closed segment without a seal.
    pub(super) fn unsealed(path: PathBuf, file: Arc<dyn File>) -> SegmentFile {
        SegmentFile {
            path,
            handle: Handle::Held(file),
            guard: None,
        }
    }

    /// The file of a segment with a seal.
    pub(super) fn sealed(path: PathBuf, file: Arc<dyn File>, seal: Seal) -> SegmentFile {
        let words = seal.content.chunk_crcs.len().div_ceil(64);
        let guard = Some(ChunkGuard {
            seal,
            verified: (0..words).map(|_| AtomicU64::new(0)).collect(),
        });
        SegmentFile {
            path,
            handle: Handle::Held(file),
            guard,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The seal, if the segment has one.
    pub(super) fn seal(&self) -> Option<&Seal> {
        self.guard.as_ref().map(|guard| &guard.seal)
    }

    /// The open file.
    pub(super) fn open(&self) -> Result<Arc<dyn File>, SegmentError> {
        match &self.handle {
            Handle::Held(file) => Ok(Arc::clone(file)),
            Handle::Cached { disk, cache, slot } => slot.get(cache, || {
                disk.open(&self.path, OpenMode::ReadWrite)
                    .map_err(SegmentError::io(FileOperation::Open, &self.path))
            }),
        }
    }

    /// The open file, which stays open as long as the pin lives.
    pub(super) fn open_pinned(&self) -> Result<PinnedFile, SegmentError> {
        let pin = match &self.handle {
            Handle::Held(_) => None,
            Handle::Cached { cache, slot, .. } => Some(slot.pin(cache)),
        };
        Ok(PinnedFile {
            path: self.path.clone(),
            file: self.open()?,
            _pin: pin,
        })
    }

    /// Whether the batches follow one another without gaps.
    pub(super) fn is_contiguous(&self) -> bool {
        self.seal().is_none_or(Seal::is_contiguous)
    }

    /// Whether a batch with offset `found` may be where `expected` is next.
    pub(super) fn may_follow(&self, found: Offset, expected: Offset) -> bool {
        found == expected || (found > expected && !self.is_contiguous())
    }

    /// Fills `buffer` from `position` with bytes that nobody checked.
    pub(super) fn read_unverified(&self, buffer: &mut [u8], position: u64) -> Result<(), SegmentError> {
        let file = self.open()?;
        file.read_at(buffer, position)
            .map_err(|error| self.unreadable(&*file, error))
    }

    /// Fills `buffer` from `position`; with a seal, with verified bytes.
    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> Result<(), SegmentError> {
        if self.guard.is_none() {
            return self.read_unverified(buffer, position);
        }
        let bytes = self.slice(position..position + buffer.len() as u64)?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }

    /// The bytes of `range`, not copied where the disk maps files; with a seal, verified.
    pub(super) fn slice(&self, range: Range<u64>) -> Result<Bytes, SegmentError> {
        let file = self.open()?;
        let Some(guard) = &self.guard else {
            return file.slice(range).map_err(|error| self.unreadable(&*file, error));
        };
        let chunks = (range.start / CHUNK_SIZE_BYTES) as usize..chunk_count(range.end);
        for chunk in chunks {
            if !guard.is_verified(chunk) {
                self.verify_chunk(&*file, guard, chunk)?;
            }
        }
        file.slice(range).map_err(|error| self.unreadable(&*file, error))
    }

    fn verify_chunk(&self, file: &dyn File, guard: &ChunkGuard, chunk: usize) -> Result<(), SegmentError> {
        let content = &guard.seal.content;
        let range = chunk_range(chunk, content.size_bytes);
        let Some(expected) = content.chunk_crcs.get(chunk).copied() else {
            return Ok(());
        };
        let bytes = file.slice(range.clone());
        let bytes = bytes.map_err(|error| self.unreadable(file, error))?;
        let found = content.identity.chunk_crc(chunk, &bytes);
        if found != expected {
            return Err(SegmentError::ChunkDamaged {
                path: self.path.clone(),
                position: range.start,
                found,
                expected,
            });
        }
        guard.set_verified(chunk);
        Ok(())
    }

    /// What a failed read means: where there is a seal, the file is known to have been longer.
    fn unreadable(&self, file: &dyn File, error: io::Error) -> SegmentError {
        if error.kind() == io::ErrorKind::UnexpectedEof
            && let (Some(seal), Ok(found_bytes)) = (self.seal(), file.len())
        {
            return SegmentError::SealedLength {
                path: self.path.clone(),
                found_bytes,
                expected_bytes: seal.content.size_bytes,
            };
        }
        SegmentError::io(FileOperation::Read, &self.path)(error)
    }
}

impl ChunkGuard {
    fn is_verified(&self, chunk: usize) -> bool {
        self.verified
            .get(chunk / 64)
            .is_none_or(|word| word.load(Ordering::Acquire) >> (chunk % 64) & 1 == 1)
    }

    fn set_verified(&self, chunk: usize) {
        if let Some(word) = self.verified.get(chunk / 64) {
            word.fetch_or(1 << (chunk % 64), Ordering::AcqRel);
        }
    }
}
