//! The checkpoint: how far every partition is durable in its segments, without the journal.
//!
//! ```text
//! magic u32 "DBC2" | length u32 of the body | CRC u32 of the body | body
//! body: store u64, number u64, incarnation u64, LSN u64, partition count u32, then per partition
//!       id u32, log start u64, cleaned u64, segment u64, position u64, next offset u64, producers
//! ```
//!
//! Two files are written in turn, in place, so that a torn write leaves the other one. The checkpoint is
//! derived: without it, the segments are scanned and the whole journal is read.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::io::{Disk, File, OpenMode};
use super::journal::{Lsn, NUMBER_MAX};
use super::planted::{self, Bug};
use super::producers::ProducerTable;
use super::segment::FlushedPosition;
use super::{Offset, PartitionId, StoreId};

const MAGIC: u32 = u32::from_le_bytes(*b"DBC2");
const HEADER_SIZE_BYTES: usize = 12;
const WRITE: &str = "write";

/// Names of the two files, by the parity of the numbers of the checkpoints in them.
pub const CHECKPOINT_FILES: [&str; 2] = ["checkpoint.0", "checkpoint.1"];

/// One partition at the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    /// First readable offset.
    pub log_start: Offset,
    /// Below this offset everything was compacted.
    pub cleaned: Offset,
    /// End of the partition's segments.
    pub flushed: FlushedPosition,
    /// The partition's producers at that end.
    pub producers: ProducerTable,
}

/// The state of all partitions whose groups up to `lsn` are in segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of this checkpoint; the larger is the newer.
    pub number: u64,
    /// The run that wrote it.
    pub incarnation: u64,
    /// Every group up to this one is in the segments.
    pub lsn: Lsn,
    /// The partitions that have any data.
    pub partitions: BTreeMap<PartitionId, PartitionCheckpoint>,
}

impl Checkpoint {
    fn encode(&self, store: StoreId) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_SIZE_BYTES];
        bytes.put_u64_le(store.0);
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.incarnation);
        bytes.put_u64_le(self.lsn);
        bytes.put_u32_le(self.partitions.len() as u32);
        for (id, partition) in &self.partitions {
            bytes.put_u32_le(id.0);
            bytes.put_u64_le(partition.log_start.0);
            bytes.put_u64_le(partition.cleaned.0);
            bytes.put_u64_le(partition.flushed.segment.0);
            bytes.put_u64_le(partition.flushed.position);
            bytes.put_u64_le(partition.flushed.next_offset.0);
            partition.producers.encode(&mut bytes);
        }
        let (header, body) = bytes.split_at_mut(HEADER_SIZE_BYTES);
        let mut header = header;
        header.put_u32_le(MAGIC);
        header.put_u32_le(body.len() as u32);
        header.put_u32_le(crc32fast::hash(body));
        bytes
    }

    fn decode(bytes: &[u8], store: StoreId) -> Option<Checkpoint> {
        let (found, checkpoint, _) = Checkpoint::decode_any(bytes)?;
        (found == store).then_some(checkpoint)
    }

    /// The checkpoint in `bytes` with the store that it belongs to, and how many of the bytes it takes.
    pub fn decode_any(mut bytes: &[u8]) -> Option<(StoreId, Checkpoint, usize)> {
        if bytes.try_get_u32_le().ok()? != MAGIC {
            return None;
        }
        let length = bytes.try_get_u32_le().ok()? as usize;
        let crc = bytes.try_get_u32_le().ok()?;
        let mut body = bytes.get(..length)?;
        if crc32fast::hash(body) != crc {
            return None;
        }
        let store = StoreId(body.try_get_u64_le().ok()?);
        let mut checkpoint = Checkpoint {
            number: body.try_get_u64_le().ok()?,
            incarnation: body.try_get_u64_le().ok()?,
            lsn: body.try_get_u64_le().ok()?,
            partitions: BTreeMap::new(),
        };
        let numbers = [checkpoint.number, checkpoint.incarnation, checkpoint.lsn];
        if numbers.iter().any(|number| *number > NUMBER_MAX) {
            return None;
        }
        for _ in 0..body.try_get_u32_le().ok()? {
            let id = PartitionId(body.try_get_u32_le().ok()?);
            let partition = PartitionCheckpoint {
                log_start: Offset(body.try_get_u64_le().ok()?),
                cleaned: Offset(body.try_get_u64_le().ok()?),
                flushed: FlushedPosition {
                    segment: Offset(body.try_get_u64_le().ok()?),
                    position: body.try_get_u64_le().ok()?,
                    next_offset: Offset(body.try_get_u64_le().ok()?),
                },
                producers: ProducerTable::decode(&mut body)?,
            };
            checkpoint.partitions.insert(id, partition);
        }
        Some((store, checkpoint, HEADER_SIZE_BYTES + length))
    }
}

/// The two files that hold the newest checkpoint and the one before.
#[derive(Debug)]
pub struct CheckpointFiles {
    store: StoreId,
    folder: PathBuf,
    paths: [PathBuf; 2],
    /// None where a file is missing, until [`CheckpointFiles::secure`] makes it.
    files: [Option<Arc<dyn File>>; 2],
}

impl CheckpointFiles {
    /// Opens the files in `folder` and reads the newest checkpoint. Writes nothing: one that is missing stays so
    /// until everything else was read and decided.
    pub fn open(
        disk: &dyn Disk,
        folder: &Path,
        store: StoreId,
    ) -> Result<(Self, Option<Checkpoint>), CheckpointError> {
        let paths = CHECKPOINT_FILES.map(|name| folder.join(name));
        let open = |path: &PathBuf| match disk.open(path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(io_error("open", path)),
        };
        let files = [open(&paths[0])?, open(&paths[1])?];
        let mut newest: Option<Checkpoint> = None;
        for (path, file) in paths.iter().zip(&files) {
            let Some(file) = file else { continue };
            let found = read(&**file, store).map_err(io_error("read", path))?;
            newest = newest
                .into_iter()
                .chain(found)
                .max_by_key(|checkpoint| checkpoint.number);
        }
        let files = CheckpointFiles {
            store,
            folder: folder.to_path_buf(),
            paths,
            files,
        };
        Ok((files, newest))
    }

    /// Creates the files that are missing, and makes durable what was read.
    ///
    /// A process that was killed may not have, and one whose sync failed has not: the cache then shows what the
    /// disk does not have, and another sync does not write it. So it is written again, the same bytes over the same
    /// bytes, which a power cut in between cannot spoil.
    pub fn secure(&mut self, disk: &dyn Disk) -> Result<(), CheckpointError> {
        for (path, file) in self.paths.iter().zip(&mut self.files) {
            if let Some(file) = file {
                let mut bytes = vec![0; file.len().map_err(io_error("read", path))? as usize];
                file.read_at(&mut bytes, 0).map_err(io_error("read", path))?;
                let written = file.write_at(&[IoSlice::new(&bytes)], 0);
                written.map_err(io_error(WRITE, path))?;
                file.sync().map_err(io_error("sync", path))?;
            } else {
                let created = disk.open(path, OpenMode::CreateNew);
                *file = Some(created.map_err(io_error("create", path))?);
                let synced = disk.sync_dir(&self.folder);
                synced.map_err(io_error("sync the folder of", path))?;
            }
        }
        Ok(())
    }

    /// Writes `checkpoint`; durable when this returns. The files were [secured](CheckpointFiles::secure) before.
    pub fn write(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let turn = (checkpoint.number % 2) as usize;
        let bytes = checkpoint.encode(self.store);
        let path = &self.paths[turn];
        let Some(file) = &self.files[turn] else {
            return Err(io_error(WRITE, path)(io::ErrorKind::NotFound.into()));
        };
        file.write_at(&[IoSlice::new(&bytes)], 0)
            .map_err(io_error(WRITE, path))?;
        if planted::is(Bug::CheckpointUnsynced) {
            return Ok(());
        }
        file.sync().map_err(io_error("sync", path))
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_path_buf();
    move |source| CheckpointError::Io { what, path, source }
}

fn read(file: &dyn File, store: StoreId) -> io::Result<Option<Checkpoint>> {
    let mut bytes = vec![0; file.len()? as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(Checkpoint::decode(&bytes, store))
}

/// A checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A system call failed.
    #[error("could not {what} checkpoint {path}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl CheckpointError {
    /// Whether there was no room to write it. A failed sync is not meant: what it lost cannot be told.
    pub fn is_storage_full(&self) -> bool {
        let CheckpointError::Io { what, source, .. } = self;
        *what == WRITE
            && matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let flushed = FlushedPosition {
            segment: Offset(3),
            position: 4,
            next_offset: Offset(5),
        };
        let partition = PartitionCheckpoint {
            log_start: Offset(1),
            cleaned: Offset(6),
            flushed,
            producers: ProducerTable::default(),
        };
        Checkpoint {
            number: 7,
            incarnation: 8,
            lsn: 9,
            partitions: BTreeMap::from([(PartitionId(2), partition)]),
        }
    }

    #[test]
    fn a_checkpoint_reads_back_with_garbage_behind_it() {
        let mut bytes = checkpoint().encode(StoreId(1));
        bytes.extend_from_slice(b"left over from a longer one");
        assert_eq!(Checkpoint::decode(&bytes, StoreId(1)), Some(checkpoint()));
        assert_eq!(Checkpoint::decode(&bytes, StoreId(2)), None, "of another store");
        for number in 0..3 {
            let mut beyond = checkpoint();
            *[&mut beyond.number, &mut beyond.incarnation, &mut beyond.lsn][number] = u64::MAX;
            assert_eq!(Checkpoint::decode(&beyond.encode(StoreId(1)), StoreId(1)), None);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let good = checkpoint().encode(StoreId(1));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Checkpoint::decode(&bad, StoreId(1)), None, "bit {bit}");
        }
        for end in 0..good.len() {
            assert_eq!(Checkpoint::decode(&good[..end], StoreId(1)), None, "cut at {end}");
        }
    }
}
