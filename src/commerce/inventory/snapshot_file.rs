//! The file of a snapshot: sections of checked blocks, written and read as a stream.
//!
//! ```text
//! file    := header section*
//! header  := magic(8) version(u32) crc(u32) identity(16) position(u64)
//!            { offset(u64) size(u64) count(u64) } for each section          crc: of what follows it
//! section := block*
//! block   := size(u32) crc(u32) payload           crc: of section(u32), number of the block(u32), and payload
//! ```
//!
//! Integers are big-endian, checksums CRC-32C. A payload is whole items of its section, `count` in all blocks of it.
//! The header is written last. Sections can be read at the same time, and no reader needs more memory than a block.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::wire::{Cursor, DecodeError};
use crate::log::Offset;

const MAGIC: &[u8; 8] = b"dbinvsnp";
const VERSION: u32 = 2;

/// Bytes before the header's checksum ends.
const CRC_END: usize = 16;
/// Bytes of identity and position.
const PLACE_SIZE_BYTES: usize = 24;
/// Bytes of one section's entry in the header.
const ENTRY_SIZE_BYTES: usize = 24;

/// A block is written once its payload has this size. 256 KiB: a read is not noticed among its decoding.
const BLOCK_TARGET_BYTES: usize = 256 * 1024;

/// The file is synced each time that so many bytes were written, so that the log's writes never wait for the whole of
/// it. 16 MiB: about 10 ms of the device.
const SYNC_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// Most bad snapshots that are kept for a look, so that a repeating fault cannot fill the disk.
const QUARANTINED_MAX: usize = 4;

/// Why a snapshot was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
    #[error("snapshot {path:?} could not be {attempt}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted, as a participle.
        attempt: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file is not a snapshot of this version.
    #[error("snapshot {path:?} is not a snapshot of version {VERSION}")]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// A checksum is wrong.
    #[error("snapshot {path:?} has crc {found:#010x} in front of byte {position}, want {want:#010x}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the bytes begin that the checksum covers.
        position: u64,
        /// Checksum of those bytes.
        found: u32,
        /// Checksum in the file.
        want: u32,
    },
    /// Content does not decode.
    #[error("snapshot {path:?} does not decode")]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DecodeError,
    },
    /// The thread that read a part of it died.
    #[error("snapshot {path:?} was not read to its end")]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
}

/// Where a shard keeps its snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    /// The snapshot of shard `partition` in folder `dir`.
    pub fn new(dir: &Path, partition: u32) -> Self {
        SnapshotFile {
            path: dir.join(format!("inventory-{partition}.snapshot")),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file so that it is never read again but can be looked at; a failure leaves it to the next start.
    pub fn quarantine(&self) {
        let aside = (0..).map(|n: u32| self.path.with_extension(format!("snapshot.bad-{n}")));
        let free = aside.take(QUARANTINED_MAX).find(|path| !path.exists());
        let renamed = match free {
            Some(aside) => fs::rename(&self.path, aside),
            None => fs::remove_file(&self.path),
        };
        if let Err(error) = renamed {
            tracing::warn!(path = %self.path.display(), %error, "bad snapshot could not be set aside");
        }
    }
}

/// Where a section lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Section {
    offset: u64,
    size_bytes: u64,
    /// Number of its items.
    count: u64,
}

/// A snapshot while it is written, beside the place that it will have.
#[derive(Debug)]
pub(super) struct SnapshotWriter<'a> {
    path: &'a Path,
    file: File,
    sections: Vec<Section>,
    /// Number of sections that there will be.
    sections_len: usize,
    /// Room for a block's header, then the payload so far.
    block: Vec<u8>,
    /// Number of the block in its section.
    number: u32,
    written_bytes: u64,
    synced_bytes: u64,
    /// The first write that failed: nothing is written after it.
    failure: Option<io::Error>,
}

const BLOCK_HEADER_SIZE_BYTES: usize = 8;

impl<'a> SnapshotWriter<'a> {
    /// Begins a file of `sections_len` sections.
    pub(super) fn create(file: &'a SnapshotFile, sections_len: usize) -> Result<Self, SnapshotError> {
        let path = file.path();
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(failed(path, "placed in its folder"))?;
        let mut writer = SnapshotWriter {
            path,
            file: File::create(new_path(path)).map_err(failed(path, "created"))?,
            sections: Vec::with_capacity(sections_len),
            sections_len,
            block: Vec::with_capacity(BLOCK_TARGET_BYTES + BLOCK_TARGET_BYTES / 4),
            number: 0,
            written_bytes: 0,
            synced_bytes: 0,
            failure: None,
        };
        writer.write(&vec![0; header_size_bytes(sections_len)]);
        Ok(writer)
    }

    /// Ends the section before, and begins the next one, of `count` items.
    pub(super) fn begin(&mut self, count: usize) {
        self.end_block();
        self.number = 0;
        self.sections.push(Section {
            offset: self.written_bytes,
            size_bytes: 0,
            count: count as u64,
        });
    }

    /// Adds an item to the section.
    pub(super) fn item(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.block.is_empty() {
            self.block.resize(BLOCK_HEADER_SIZE_BYTES, 0);
        }
        put(&mut self.block);
        if self.block.len() >= BLOCK_TARGET_BYTES {
            self.end_block();
        }
    }

    /// Makes the file durable and moves it into place, over the snapshot before.
    pub(super) fn finish(mut self, identity: [u8; 16], position: Offset) -> Result<(), SnapshotError> {
        self.end_block();
        debug_assert_eq!(self.sections.len(), self.sections_len, "every section is begun");
        let header = header(identity, position, &self.sections);
        let path = self.path;
        if let Some(failure) = self.failure {
            return Err(failed(path, "written")(failure));
        }
        let written = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header));
        written.map_err(failed(path, "written"))?;
        self.file.sync_all().map_err(failed(path, "made durable"))?;
        fs::rename(new_path(path), path).map_err(failed(path, "moved into place"))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed(path, "made durable in its folder"))
    }

    fn end_block(&mut self) {
        let mut block = std::mem::take(&mut self.block);
        if let Some((header, payload)) = block.split_at_mut_checked(BLOCK_HEADER_SIZE_BYTES) {
            let section = self.sections.len() as u32 - 1;
            header[..4].copy_from_slice(&(payload.len() as u32).to_be_bytes());
            header[4..].copy_from_slice(&block_crc(section, self.number, payload).to_be_bytes());
            self.number += 1;
            self.write(&block);
        }
        if let Some(section) = self.sections.last_mut() {
            section.size_bytes = self.written_bytes - section.offset;
        }
        block.clear();
        self.block = block;
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        self.written_bytes += bytes.len() as u64;
        let mut written = self.file.write_all(bytes);
        if written.is_ok() && self.written_bytes - self.synced_bytes >= SYNC_EVERY_BYTES {
            self.synced_bytes = self.written_bytes;
            written = self.file.sync_data();
        }
        self.failure = written.err();
    }
}

/// A snapshot that is read.
#[derive(Debug)]
pub(super) struct SnapshotReader<'a> {
    path: &'a Path,
    pub(super) identity: [u8; 16],
    pub(super) position: Offset,
    sections: Vec<Section>,
}

impl<'a> SnapshotReader<'a> {
    /// Reads the header of a file with `sections_len` sections; `None` if there is no file.
    pub(super) fn open(path: &'a Path, sections_len: usize) -> Result<Option<Self>, SnapshotError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(path, "opened")(source)),
        };
        let size_bytes = file.metadata().map_err(failed(path, "looked at"))?.len();
        let mut header = vec![0; header_size_bytes(sections_len)];
        let unknown = || SnapshotError::Unknown { path: path.into() };
        if size_bytes < header.len() as u64 {
            return Err(unknown());
        }
        file.read_exact(&mut header).map_err(failed(path, "read"))?;
        let (checked, rest) = header.split_at(CRC_END);
        if checked[..8] != *MAGIC || checked[8..12] != VERSION.to_be_bytes() {
            return Err(unknown());
        }
        check(path, CRC_END as u64, crc32c::crc32c(rest), &checked[12..])?;
        let (place, entries) = rest.split_at(PLACE_SIZE_BYTES);
        let mut identity = [0; 16];
        identity.copy_from_slice(&place[..16]);
        let sections: Vec<Section> = entries
            .chunks_exact(ENTRY_SIZE_BYTES)
            .map(|entry| Section {
                offset: be_u64(&entry[..8]),
                size_bytes: be_u64(&entry[8..16]),
                count: be_u64(&entry[16..]),
            })
            .collect();
        let is_inside = |section: &Section| {
            let end = section.offset.checked_add(section.size_bytes);
            end.is_some_and(|end| end <= size_bytes) && section.count <= section.size_bytes
        };
        if !sections.iter().all(is_inside) {
            return Err(unknown());
        }
        Ok(Some(SnapshotReader {
            path,
            identity,
            position: Offset(be_u64(&place[16..])),
            sections,
        }))
    }

    /// Number of items in a section, at most its size in bytes.
    pub(super) fn count(&self, section: usize) -> usize {
        self.sections[section].count as usize
    }

    /// Calls `take` with a cursor in front of each item of a section.
    pub(super) fn for_each(
        &self,
        section: usize,
        mut take: impl FnMut(&mut Cursor<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), SnapshotError> {
        let Section {
            offset,
            size_bytes,
            count,
        } = self.sections[section];
        let path = self.path;
        let mut file = File::open(path).map_err(failed(path, "opened"))?;
        file.seek(SeekFrom::Start(offset)).map_err(failed(path, "read"))?;
        let undecodable = |source| self.undecodable(source);
        let (mut taken, mut left_bytes, mut number) = (0, size_bytes, 0);
        let mut payload = Vec::new();
        while left_bytes > 0 {
            let mut header = [0; BLOCK_HEADER_SIZE_BYTES];
            left_bytes = left_bytes
                .checked_sub(header.len() as u64)
                .ok_or_else(|| undecodable(DecodeError::Truncated))?;
            file.read_exact(&mut header).map_err(failed(path, "read"))?;
            let (size, crc) = header.split_at(4);
            let size = size.iter().fold(0, |size, byte| (size << 8) | u64::from(*byte));
            let position = offset + size_bytes - left_bytes;
            // The section lies within the file, so its size bounds what is allocated.
            left_bytes = left_bytes
                .checked_sub(size)
                .ok_or_else(|| undecodable(DecodeError::Truncated))?;
            payload.resize(size as usize, 0);
            file.read_exact(&mut payload).map_err(failed(path, "read"))?;
            check(path, position, block_crc(section as u32, number, &payload), crc)?;
            let mut cursor = Cursor::new(&payload);
            while cursor.remaining() > 0 {
                take(&mut cursor).map_err(undecodable)?;
                taken += 1;
            }
            number += 1;
        }
        if taken == count {
            Ok(())
        } else {
            Err(undecodable(DecodeError::Contradiction))
        }
    }

    pub(super) fn unfinished(&self) -> SnapshotError {
        SnapshotError::Unfinished {
            path: self.path.into(),
        }
    }

    pub(super) fn undecodable(&self, source: DecodeError) -> SnapshotError {
        SnapshotError::Decode {
            path: self.path.into(),
            source,
        }
    }
}

/// Where a snapshot is written before it is whole.
fn new_path(path: &Path) -> PathBuf {
    path.with_extension("snapshot.new")
}

fn failed(path: &Path, attempt: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError::Io {
        path: path.into(),
        attempt,
        source,
    }
}

const fn header_size_bytes(sections_len: usize) -> usize {
    CRC_END + PLACE_SIZE_BYTES + sections_len * ENTRY_SIZE_BYTES
}

fn header(identity: [u8; 16], position: Offset, sections: &[Section]) -> Vec<u8> {
    let mut header = vec![0; CRC_END];
    header.extend_from_slice(&identity);
    header.extend_from_slice(&position.0.to_be_bytes());
    for section in sections {
        for number in [section.offset, section.size_bytes, section.count] {
            header.extend_from_slice(&number.to_be_bytes());
        }
    }
    let crc = crc32c::crc32c(&header[CRC_END..]);
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_be_bytes());
    header[12..CRC_END].copy_from_slice(&crc.to_be_bytes());
    header
}

/// Section and number are covered, so that no block passes for another.
fn block_crc(section: u32, number: u32, payload: &[u8]) -> u32 {
    let place = (u64::from(section) << 32) | u64::from(number);
    crc32c::crc32c_append(crc32c::crc32c(&place.to_be_bytes()), payload)
}

fn check(path: &Path, position: u64, found: u32, want: &[u8]) -> Result<(), SnapshotError> {
    let want = want.iter().fold(0, |crc, byte| (crc << 8) | u32::from(*byte));
    if found == want {
        return Ok(());
    }
    Err(SnapshotError::Corrupt {
        path: path.into(),
        position,
        found,
        want,
    })
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
