//! The seal of a closed segment: a file beside it that says what it must contain and what came before it.
//!
//! ```text
//! <20-digit base offset>.seal, little-endian:
//!   0  magic "DBL1" u32          4  crc32 of everything behind it u32
//!   8  store id u64             16  partition u32              20  generation u32
//!  24  base offset u64          32  next offset u64            40  size of .log in bytes u64
//!  48  largest timestamp i64    56  chunk size in bytes u32    60  index interval in bytes u32
//!  64  crc32 of .index u32      68  crc32 of .timeindex u32
//!  72  lineage of the segment before [u8; 32], zeros where the chain begins
//! 104  lineage of this segment [u8; 32]
//! 136  crc32 of each chunk u32 (see `chunks`)
//! ```
//!
//! # The chain
//!
//! A segment's **lineage** is a SHA-256 over the lineage before it and what it was sealed with when its last
//! batch had been appended (generation 0): store, partition, offsets, size and chunk sums. Compaction rewrites
//! segments; a seal that it writes has a larger generation, keeps the lineage *before* the first and the
//! lineage *of* the last segment that it replaces, and so fits into the chain where these were. Retention
//! removes the oldest segments: the chain begins at the oldest one that is left.
//!
//! Found by one seal alone: every changed bit of the data, of both indexes and of the seal itself; a segment or
//! chunk of another store, partition or place; data that is shorter or longer than it was. Found by the chain: a
//! segment with its seal, intact, but of another history (a copy from before a restored backup), a missing one,
//! and appended history that was rewritten with its seal.
//!
//! Not found: what somebody does who also computes all later seals anew (a lineage that was noted elsewhere
//! finds it), or who forges bytes with the same crc32 (these sums are made against faults, not against
//! malice); a rewritten segment of a later generation whose seal was made with it, because its lineage is of
//! what it replaced; and whatever is cut off at a segment that begins a chain, or was removed behind the
//! newest seal: how far the partition reaches is the checkpoint's to say.

use std::fmt;
use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};
use sha2::{Digest, Sha256};

use super::chunks::{CHUNK_SIZE_BYTES, SegmentIdentity, chunk_count};
use super::{FileOperation, SEGMENT_SIZE_LIMIT_BYTES, SegmentError};
use crate::log::io::{Disk, OpenMode};
use crate::log::{Offset, PartitionId, StoreId, Timestamp};

const MAGIC: u32 = u32::from_le_bytes(*b"DBL1");
/// Where the bytes under the checksum begin.
const CRC_COVERS_FROM: usize = 8;
const HEADER_SIZE_BYTES: usize = 136;
const SIZE_MAX_BYTES: usize = HEADER_SIZE_BYTES + 4 * chunk_count_max();

/// What a closed segment contains, and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// What the segment contains.
    pub content: SealContent,
    /// 0 for a segment as it was appended, and one more with each rewriting.
    pub generation: u32,
    /// The lineage of the segment before; none where the chain begins.
    pub predecessor: Option<Lineage>,
    /// This segment's lineage.
    pub lineage: Lineage,
}

/// What a closed segment contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealContent {
    /// Whose segment it is.
    pub identity: SegmentIdentity,
    /// Offset behind its last record, where the next segment begins.
    pub next_offset: Offset,
    /// Bytes of its batches: the length of the `.log` file.
    pub size_bytes: u64,
    /// The largest timestamp; [`Timestamp::NONE`] if no batch has one.
    pub max_timestamp: Timestamp,
    /// The distance of index entries, by which the indexes can be made again as they were.
    pub index_interval_bytes: u32,
    /// crc32 of the `.index` file.
    pub offset_index_crc: u32,
    /// crc32 of the `.timeindex` file.
    pub time_index_crc: u32,
    /// The checksum of each chunk.
    pub chunk_crcs: Vec<u32>,
}

/// The hash that stands for a segment and everything before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Lineage(pub [u8; 32]);

/// Why a seal is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// Its length is not that of a seal of so many chunks.
    #[error("its length is {found_bytes} bytes")]
    Length {
        /// The file's length.
        found_bytes: u64,
    },
    /// It does not begin like a seal of this version.
    #[error("it begins with {found:#010x}, want {MAGIC:#010x}")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// Its checksum is wrong.
    #[error("its crc is {found:#010x}, want {expected:#010x}")]
    Crc {
        /// The checksum of its bytes.
        found: u32,
        /// The checksum in it.
        expected: u32,
    },
    /// It is another segment's.
    #[error("it belongs to partition {partition} of store {store:016x}, offset {base_offset}",
        partition = found.partition, store = found.store.0, base_offset = found.base_offset)]
    Foreign {
        /// Whose it is.
        found: SegmentIdentity,
    },
    /// Its numbers contradict each other.
    #[error("its fields contradict each other")]
    Fields,
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lineage({self})")
    }
}

impl Seal {
    /// The seal of a segment that was appended behind the one with the lineage `predecessor`.
    pub fn appended(content: SealContent, predecessor: Option<Lineage>) -> Seal {
        Seal {
            lineage: content.lineage(predecessor),
            content,
            generation: 0,
            predecessor,
        }
    }

    /// The seal of a segment that replaces `first` to `last`, which follow one another or are the same.
    ///
    /// # Panics
    /// If `content` does not begin where `first` does or does not end where `last` does.
    pub fn rewritten(content: SealContent, first: &Seal, last: &Seal) -> Seal {
        assert_eq!(content.identity, first.content.identity, "of the same segment");
        assert_eq!(content.next_offset, last.content.next_offset, "to the same end");
        Seal {
            content,
            generation: first.generation.max(last.generation).saturating_add(1),
            predecessor: first.predecessor,
            lineage: last.lineage,
        }
    }

    /// Whether the batches follow one another without gaps: rewriting takes some out.
    pub fn is_contiguous(&self) -> bool {
        self.generation == 0
    }

    /// Whether this seal may stand behind `before`. One that begins a chain stands anywhere.
    pub fn follows(&self, before: &Seal) -> bool {
        before.content.next_offset == self.content.identity.base_offset
            && self
                .predecessor
                .is_none_or(|predecessor| predecessor == before.lineage)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let content = &self.content;
        let mut bytes = Vec::with_capacity(HEADER_SIZE_BYTES + 4 * content.chunk_crcs.len());
        bytes.put_u32_le(MAGIC);
        bytes.put_u32_le(0);
        bytes.put_u64_le(content.identity.store.0);
        bytes.put_u32_le(content.identity.partition.0);
        bytes.put_u32_le(self.generation);
        bytes.put_u64_le(content.identity.base_offset.0);
        bytes.put_u64_le(content.next_offset.0);
        bytes.put_u64_le(content.size_bytes);
        bytes.put_i64_le(content.max_timestamp.0);
        bytes.put_u32_le(CHUNK_SIZE_BYTES as u32);
        bytes.put_u32_le(content.index_interval_bytes);
        bytes.put_u32_le(content.offset_index_crc);
        bytes.put_u32_le(content.time_index_crc);
        bytes.put_slice(&self.predecessor.map_or([0; 32], |lineage| lineage.0));
        bytes.put_slice(&self.lineage.0);
        for crc in &content.chunk_crcs {
            bytes.put_u32_le(*crc);
        }
        let crc = crc32fast::hash(&bytes[CRC_COVERS_FROM..]);
        bytes[4..CRC_COVERS_FROM].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the seal of the segment `identity` from the bytes of its file.
    pub fn decode(bytes: &[u8], identity: SegmentIdentity) -> Result<Seal, SealFault> {
        let length = SealFault::Length {
            found_bytes: bytes.len() as u64,
        };
        if bytes.len() < HEADER_SIZE_BYTES || bytes.len() > SIZE_MAX_BYTES {
            return Err(length);
        }
        let mut fields = bytes;
        let magic = fields.get_u32_le();
        if magic != MAGIC {
            return Err(SealFault::Magic { found: magic });
        }
        let expected = fields.get_u32_le();
        let found = crc32fast::hash(fields);
        if found != expected {
            return Err(SealFault::Crc { found, expected });
        }
        let store = StoreId(fields.get_u64_le());
        let partition = PartitionId(fields.get_u32_le());
        let generation = fields.get_u32_le();
        let found = SegmentIdentity {
            store,
            partition,
            base_offset: Offset(fields.get_u64_le()),
        };
        if found != identity {
            return Err(SealFault::Foreign { found });
        }
        let next_offset = Offset(fields.get_u64_le());
        let size_bytes = fields.get_u64_le();
        let max_timestamp = Timestamp(fields.get_i64_le());
        let chunk_size_bytes = fields.get_u32_le();
        let index_interval_bytes = fields.get_u32_le();
        let (offset_index_crc, time_index_crc) = (fields.get_u32_le(), fields.get_u32_le());
        let predecessor = Lineage(take_hash(&mut fields));
        let lineage = Lineage(take_hash(&mut fields));
        if u64::from(chunk_size_bytes) != CHUNK_SIZE_BYTES
            || next_offset < found.base_offset
            || size_bytes > SEGMENT_SIZE_LIMIT_BYTES
        {
            return Err(SealFault::Fields);
        }
        if fields.len() != 4 * chunk_count(size_bytes) {
            return Err(length);
        }
        let chunk_crcs = fields.as_chunks().0.iter();
        let seal = Seal {
            content: SealContent {
                identity,
                next_offset,
                size_bytes,
                max_timestamp,
                index_interval_bytes,
                offset_index_crc,
                time_index_crc,
                chunk_crcs: chunk_crcs.map(|crc| u32::from_le_bytes(*crc)).collect(),
            },
            generation,
            predecessor: (predecessor != Lineage([0; 32])).then_some(predecessor),
            lineage,
        };
        if seal.generation == 0 && seal.content.lineage(seal.predecessor) != seal.lineage {
            return Err(SealFault::Fields);
        }
        Ok(seal)
    }

    /// Reads the seal in the file `path`; none if there is no such file.
    ///
    /// # Errors
    /// [`SegmentError::SealDamaged`] for a file that is not this segment's intact seal. It is never made again
    /// by itself: with the data at hand it cannot be told which of the two is right. Who removes the file
    /// lets the batches be checked and sealed anew, and the chain tells whether they are what they were.
    pub fn read(
        disk: &dyn Disk,
        path: &Path,
        identity: SegmentIdentity,
    ) -> Result<Option<Seal>, SegmentError> {
        let file = match disk.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SegmentError::io(FileOperation::Open, path)(error)),
        };
        let size_bytes = file.len().map_err(SegmentError::io(FileOperation::Read, path))?;
        // One byte more than the longest is enough to see that it is too long.
        let mut bytes = vec![0; size_bytes.min(SIZE_MAX_BYTES as u64 + 1) as usize];
        file.read_at(&mut bytes, 0)
            .map_err(SegmentError::io(FileOperation::Read, path))?;
        let seal = Seal::decode(&bytes, identity).map_err(|source| SegmentError::SealDamaged {
            path: path.to_owned(),
            source,
        })?;
        Ok(Some(seal))
    }
}

impl SealContent {
    /// The lineage of a segment with this content behind `predecessor`.
    fn lineage(&self, predecessor: Option<Lineage>) -> Lineage {
        let mut hash = Sha256::new();
        hash.update(b"doorbuster segment lineage 1");
        hash.update(predecessor.map_or([0; 32], |lineage| lineage.0));
        hash.update(self.identity.store.0.to_le_bytes());
        hash.update(self.identity.partition.0.to_le_bytes());
        hash.update(self.identity.base_offset.0.to_le_bytes());
        hash.update(self.next_offset.0.to_le_bytes());
        hash.update(self.size_bytes.to_le_bytes());
        for crc in &self.chunk_crcs {
            hash.update(crc.to_le_bytes());
        }
        Lineage(hash.finalize().into())
    }
}

fn take_hash(bytes: &mut &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    bytes.copy_to_slice(&mut hash);
    hash
}

const fn chunk_count_max() -> usize {
    SEGMENT_SIZE_LIMIT_BYTES.div_ceil(CHUNK_SIZE_BYTES) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: SegmentIdentity = SegmentIdentity {
        store: StoreId(1),
        partition: PartitionId(2),
        base_offset: Offset(3),
    };

    fn content() -> SealContent {
        SealContent {
            identity: IDENTITY,
            next_offset: Offset(30),
            size_bytes: CHUNK_SIZE_BYTES + 1,
            max_timestamp: Timestamp(7),
            index_interval_bytes: 4096,
            offset_index_crc: 8,
            time_index_crc: 9,
            chunk_crcs: vec![10, 11],
        }
    }

    #[test]
    fn a_seal_reads_back() {
        for predecessor in [None, Some(Lineage([5; 32]))] {
            let seal = Seal::appended(content(), predecessor);
            assert_eq!(Seal::decode(&seal.encode(), IDENTITY), Ok(seal.clone()));
            let rewritten = Seal::rewritten(content(), &seal, &seal);
            assert_eq!((rewritten.generation, rewritten.lineage), (1, seal.lineage));
            assert_eq!(Seal::decode(&rewritten.encode(), IDENTITY), Ok(rewritten));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let good = Seal::appended(content(), Some(Lineage([5; 32]))).encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Seal::decode(&bad, IDENTITY).is_err(), "bit {bit}");
        }
        for end in 0..good.len() {
            assert!(Seal::decode(&good[..end], IDENTITY).is_err(), "cut at {end}");
        }
        assert!(Seal::decode(&[&good[..], &[0]].concat(), IDENTITY).is_err());
    }

    #[test]
    fn a_seal_of_another_place_is_not_this_ones() {
        let bytes = Seal::appended(content(), None).encode();
        let other = SegmentIdentity {
            partition: PartitionId(9),
            ..IDENTITY
        };
        assert_eq!(
            Seal::decode(&bytes, other),
            Err(SealFault::Foreign { found: IDENTITY })
        );
    }

    #[test]
    fn a_rewritten_segment_stands_where_the_ones_that_it_replaces_stood() {
        let at = |base: u64, next: u64| SealContent {
            identity: SegmentIdentity {
                base_offset: Offset(base),
                ..IDENTITY
            },
            next_offset: Offset(next),
            ..content()
        };
        let a = Seal::appended(at(0, 10), None);
        let b = Seal::appended(at(10, 20), Some(a.lineage));
        let c = Seal::appended(at(20, 30), Some(b.lineage));
        let d = Seal::appended(at(30, 40), Some(c.lineage));
        let merged = Seal::rewritten(at(10, 30), &b, &c);
        assert!(merged.follows(&a) && d.follows(&merged) && c.follows(&b));
        assert!(!d.follows(&b), "another offset");
        let other = Seal::appended(at(20, 30), Some(a.lineage));
        assert!(!d.follows(&other) && !other.follows(&b), "another history");
        assert!(Seal::appended(at(20, 30), None).follows(&b), "a chain begins");
    }
}
