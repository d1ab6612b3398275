//! The anchor: how far the log was durable, kept apart from the journal.
//!
//! A device that lost writes which it had called flushed shows a journal that simply ends earlier, intact to its
//! last frame. The anchor says that there was more.
//!
//! ```text
//! four copies, each at the start of a block, and in one sector:
//! magic u32 "DBA1" | store u64 | number u64 | LSN u64 | CRC u32 of all before
//! ```
//!
//! Two copies must agree. A write that is torn leaves two of the old or two of the new; a copy that rots, or a
//! block that lands here by mistake, leaves three. The anchor may be older than the journal's end, never newer:
//! it is written after what it tells is durable.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::StoreId;
use super::io::{BLOCK_SIZE_BYTES, Disk, File, OpenMode};
use super::journal::Lsn;

/// The anchor's name in the data folder.
pub const ANCHOR_FILE: &str = "anchor";

const MAGIC: u32 = u32::from_le_bytes(*b"DBA1");
const COPY_COUNT: usize = 4;
const AGREEING_MIN: usize = 2;
const BODY_SIZE_BYTES: usize = 28;

/// What the anchor tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// The number of this anchor; the larger is the newer.
    pub number: u64,
    /// Every group up to this one is durable.
    pub lsn: Lsn,
}

/// The file of the anchor.
#[derive(Debug)]
pub struct AnchorFile {
    store: StoreId,
    path: PathBuf,
    file: Arc<dyn File>,
    newest: Anchor,
}

/// The anchor cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// No two copies agree, or the file is missing.
    #[error("{path} is missing or damaged: it tells how far the log was durable; restore it from a copy, nothing was changed", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("could not {what} {path}", path = path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl AnchorError {
    /// Whether there was no room to write it.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, AnchorError::Io { what: WRITE, source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

const WRITE: &str = "write";

impl AnchorFile {
    /// Makes the anchor of a new store, in which nothing is durable yet. The folder is not synced.
    pub fn create(disk: &dyn Disk, folder: &Path, store: StoreId) -> Result<(), AnchorError> {
        let path = folder.join(ANCHOR_FILE);
        let error = |what| {
            let path = path.clone();
            move |source| AnchorError::Io { what, path, source }
        };
        let file = match disk.open(&path, OpenMode::CreateNew) {
            // Left over from a creation that was interrupted.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.open(&path, OpenMode::ReadWrite)
            }
            created => created,
        };
        let file = file.map_err(error("create"))?;
        let mut anchor = AnchorFile {
            store,
            path: path.clone(),
            file,
            newest: Anchor::default(),
        };
        anchor.write(0)
    }

    /// Opens the anchor of a store; with `may_be_damaged` one that tells nothing is taken for a new one.
    pub fn open(
        disk: &dyn Disk,
        folder: &Path,
        store: StoreId,
        may_be_damaged: bool,
    ) -> Result<AnchorFile, AnchorError> {
        let path = folder.join(ANCHOR_FILE);
        let error = |what| {
            let path = path.clone();
            move |source| AnchorError::Io { what, path, source }
        };
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !may_be_damaged => {
                return Err(AnchorError::Damaged { path });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(&path, OpenMode::CreateNew),
            opened => opened,
        };
        let file = file.map_err(error("open"))?;
        let mut bytes = vec![0; COPY_COUNT * BLOCK_SIZE_BYTES];
        let newest = match file.read_at(&mut bytes, 0) {
            Ok(()) => decode(&bytes, store),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(source) => return Err(error("read")(source)),
        };
        match newest {
            None if !may_be_damaged => Err(AnchorError::Damaged { path }),
            newest => Ok(AnchorFile {
                store,
                path,
                file,
                newest: newest.unwrap_or_default(),
            }),
        }
    }

    /// Up to which group the log was durable at least.
    pub fn lsn(&self) -> Lsn {
        self.newest.lsn
    }

    /// Says that every group up to `lsn` is durable; it is said durably when this returns.
    pub fn write(&mut self, lsn: Lsn) -> Result<(), AnchorError> {
        let anchor = Anchor {
            number: self.newest.number + 1,
            lsn,
        };
        let error = |what| {
            let path = self.path.clone();
            move |source| AnchorError::Io { what, path, source }
        };
        let bytes = encode(anchor, self.store);
        self.file
            .write_at(&[IoSlice::new(&bytes)], 0)
            .map_err(error(WRITE))?;
        self.file.sync().map_err(error("sync"))?;
        self.newest = anchor;
        Ok(())
    }
}

/// The bytes of the file.
fn encode(anchor: Anchor, store: StoreId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(COPY_COUNT * BLOCK_SIZE_BYTES);
    for copy in 1..=COPY_COUNT {
        let start = bytes.len();
        bytes.put_u32_le(MAGIC);
        bytes.put_u64_le(store.0);
        bytes.put_u64_le(anchor.number);
        bytes.put_u64_le(anchor.lsn);
        let crc = crc32fast::hash(&bytes[start..]);
        bytes.put_u32_le(crc);
        bytes.resize(copy * BLOCK_SIZE_BYTES, 0);
    }
    bytes
}

/// The newest anchor that two copies in `bytes` agree on.
fn decode(bytes: &[u8], store: StoreId) -> Option<Anchor> {
    let copies: Vec<Anchor> = bytes
        .chunks(BLOCK_SIZE_BYTES)
        .filter_map(|copy| decode_copy(copy, store))
        .collect();
    let agreeing = |anchor: &&Anchor| copies.iter().filter(|copy| copy == anchor).count() >= AGREEING_MIN;
    copies
        .iter()
        .filter(agreeing)
        .max_by_key(|anchor| anchor.number)
        .copied()
}

fn decode_copy(bytes: &[u8], store: StoreId) -> Option<Anchor> {
    let (mut body, mut crc) = bytes.split_at_checked(BODY_SIZE_BYTES)?;
    if crc.try_get_u32_le().ok()? != crc32fast::hash(body) {
        return None;
    }
    if body.get_u32_le() != MAGIC || body.get_u64_le() != store.0 {
        return None;
    }
    Some(Anchor {
        number: body.get_u64_le(),
        lsn: body.get_u64_le(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId(9);
    const OLD: Anchor = Anchor { number: 3, lsn: 40 };
    const NEW: Anchor = Anchor { number: 4, lsn: 50 };

    /// The file with these copies, in order; none is a damaged one.
    fn file(copies: [Option<Anchor>; COPY_COUNT]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for copy in copies {
            let block = encode(copy.unwrap_or_default(), STORE)[..BLOCK_SIZE_BYTES].to_vec();
            bytes.extend(block);
            if copy.is_none() {
                let start = bytes.len() - BLOCK_SIZE_BYTES;
                bytes[start + 20] ^= 1;
            }
        }
        bytes
    }

    #[test]
    fn two_copies_must_agree() {
        let (old, new) = (Some(OLD), Some(NEW));
        for (copies, expected) in [
            ([new, new, new, new], new),
            ([new, old, old, old], old),
            ([new, new, old, old], new),
            ([None, None, old, old], old),
            ([new, None, None, new], new),
            ([None, None, old, new], None),
            ([None; COPY_COUNT], None),
        ] {
            assert_eq!(decode(&file(copies), STORE), expected, "{copies:?}");
        }
        assert_eq!(
            decode(&file([new; COPY_COUNT]), StoreId(8)),
            None,
            "of another store"
        );
        assert_eq!(decode(&[], STORE), None);
    }

    #[test]
    fn every_flipped_bit_leaves_the_anchor() {
        let good = encode(NEW, STORE);
        for bit in 0..BLOCK_SIZE_BYTES * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad, STORE), Some(NEW), "bit {bit}");
            let alone = decode_copy(&bad[..BLOCK_SIZE_BYTES], STORE);
            let is_inside = bit / 8 < BODY_SIZE_BYTES + 4;
            assert_eq!(alone.is_none(), is_inside, "bit {bit}");
        }
    }
}
