//! The layout of a journal file: one header block, then block-aligned frames.
//!
//! ```text
//! file header (in block 0)                    frame header (at every frame's first byte)
//!  0 magic u32 "DBJ2"                          0 magic u32 "DBF2"
//!  4 store u64                                 4 store u64
//! 12 incarnation u64                          12 incarnation u64
//! 20 sequence u32                             20 file sequence u32
//! 24 first LSN u64                            24 LSN u64
//! 32 reserved u64                             32 durable_upto u64
//! 40 reserved u32                             40 block u32 (position / 4096)
//! 44 previous frame's CRC u32                 44 previous frame's CRC u32
//! 48 reserved u64                             48 payload length u32, entry count u32
//! 56 reserved u32                             56 reserved u32
//! 60 CRC u32 of bytes 0..60                   60 CRC u32 of bytes 0..60 and the payload
//!
//! payload: entries, each { partition u32, kind in 4 bits and length in 28 u32, offset u64, content }
//!   kind 0  a batch that continues its segment; offset and length are the batch's
//!   kind 1  a batch that begins a segment
//!   kind 2  an extent: offset of its first record; content as in `extent.rs`
//!   kind 3  the partition's log start moved to the offset; no content
//! ```
//!
//! All integers are little-endian. Identity (store, incarnation, file sequence) and position are inside the
//! checksum, so that a stale, misplaced or foreign block never passes for a fresh frame; the previous
//! frame's CRC chains the frames, so that a frame of an abandoned continuation never follows a new one.
//! A frame is one group of batches: it is whole or it is not there.

use bytes::{Buf, Bytes};

use super::extent::Extent;
use crate::log::io::BLOCK_SIZE_BYTES;
use crate::log::planted::{self, Bug};
use crate::log::{Offset, PartitionId, StoreId};

const FILE_MAGIC: u32 = u32::from_le_bytes(*b"DBJ2");
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"DBF2");

/// Size of a file header and of a frame header.
pub const HEADER_SIZE_BYTES: usize = 64;
/// Size of what stands before the content of each entry in a frame.
pub const ENTRY_HEADER_SIZE_BYTES: usize = 16;
const CRC_POSITION: usize = 60;

/// The number of a group; the first is 1, so that 0 means "none".
pub type Lsn = u64;

/// Largest number of a group, a run, or a checkpoint that is believed; u32 sequences of files end at half as
/// well. None is ever reached, and the numbers that follow do not overflow.
pub const NUMBER_MAX: u64 = i64::MAX as u64;

/// The first block of a journal file in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// The data folder that the file belongs to.
    pub store: StoreId,
    /// The run of the log that wrote the file; one file is written by one run.
    pub incarnation: u64,
    /// The file's place in the journal; each file that is begun gets the next number.
    pub sequence: u32,
    /// The LSN of the file's first frame; everything before it is durable.
    pub first_lsn: Lsn,
    /// The CRC of the frame before the file's first one.
    pub previous_crc: u32,
}

impl FileHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_SIZE_BYTES] {
        let mut bytes = [0; HEADER_SIZE_BYTES];
        put(&mut bytes, 0, &FILE_MAGIC.to_le_bytes());
        put(&mut bytes, 4, &self.store.0.to_le_bytes());
        put(&mut bytes, 12, &self.incarnation.to_le_bytes());
        put(&mut bytes, 20, &self.sequence.to_le_bytes());
        put(&mut bytes, 24, &self.first_lsn.to_le_bytes());
        put(&mut bytes, 44, &self.previous_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_POSITION]);
        put(&mut bytes, CRC_POSITION, &crc.to_le_bytes());
        bytes
    }

    /// The header in `bytes`, or none if there is no intact one.
    pub fn decode(bytes: &[u8]) -> Option<FileHeader> {
        let bytes = bytes.get(..HEADER_SIZE_BYTES)?;
        let intact = u32_at(bytes, 0) == FILE_MAGIC
            && crc32fast::hash(&bytes[..CRC_POSITION]) == u32_at(bytes, CRC_POSITION);
        let header = FileHeader {
            store: StoreId(u64_at(bytes, 4)),
            incarnation: u64_at(bytes, 12),
            sequence: u32_at(bytes, 20),
            first_lsn: u64_at(bytes, 24),
            previous_crc: u32_at(bytes, 44),
        };
        let possible = (1..=NUMBER_MAX).contains(&header.first_lsn)
            && header.incarnation <= NUMBER_MAX
            && i32::try_from(header.sequence).is_ok();
        (intact && possible).then_some(header)
    }
}

/// What stands before the payload of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The data folder that the frame belongs to.
    pub store: StoreId,
    /// The run of the log that wrote the frame.
    pub incarnation: u64,
    /// The sequence of the file that the frame belongs to.
    pub file_sequence: u32,
    /// The group's number.
    pub lsn: Lsn,
    /// The last LSN that was durable when this frame was written.
    pub durable_upto: Lsn,
    /// The frame's first block in its file.
    pub block: u32,
    /// The CRC of the frame with the LSN before.
    pub previous_crc: u32,
    /// Bytes of the payload, without padding.
    pub payload_length: u32,
    /// Number of entries in the payload.
    pub entry_count: u32,
}

impl FrameHeader {
    /// Writes the header into the first bytes of `frame`, which already holds the payload behind it, and
    /// returns the frame's CRC.
    pub fn seal(&self, frame: &mut [u8]) -> u32 {
        let (header, payload) = frame.split_at_mut(HEADER_SIZE_BYTES);
        header.fill(0);
        put(header, 0, &FRAME_MAGIC.to_le_bytes());
        put(header, 4, &self.store.0.to_le_bytes());
        put(header, 12, &self.incarnation.to_le_bytes());
        put(header, 20, &self.file_sequence.to_le_bytes());
        put(header, 24, &self.lsn.to_le_bytes());
        put(header, 32, &self.durable_upto.to_le_bytes());
        put(header, 40, &self.block.to_le_bytes());
        put(header, 44, &self.previous_crc.to_le_bytes());
        put(header, 48, &self.payload_length.to_le_bytes());
        put(header, 52, &self.entry_count.to_le_bytes());
        let crc = frame_crc(header, &payload[..self.payload_length as usize]);
        put(header, CRC_POSITION, &crc.to_le_bytes());
        crc
    }

    /// Bytes of the whole frame, padding aside, that seems to begin with `header`; none if no frame does.
    pub fn size_bytes_of(header: &[u8]) -> Option<usize> {
        let is_frame = header.len() >= HEADER_SIZE_BYTES && u32_at(header, 0) == FRAME_MAGIC;
        is_frame.then(|| HEADER_SIZE_BYTES + u32_at(header, 48) as usize)
    }

    /// The intact frame at the start of `bytes` with its CRC, or none.
    pub fn decode(bytes: &[u8]) -> Option<(FrameHeader, u32)> {
        let header = bytes.get(..HEADER_SIZE_BYTES)?;
        if u32_at(header, 0) != FRAME_MAGIC {
            return None;
        }
        let payload_length = u32_at(header, 48);
        let payload = bytes[HEADER_SIZE_BYTES..].get(..payload_length as usize)?;
        let crc = u32_at(header, CRC_POSITION);
        let is_intact = frame_crc(header, payload) == crc || planted::is(Bug::SkipFrameChecksum);
        is_intact.then(|| {
            let header = FrameHeader {
                store: StoreId(u64_at(header, 4)),
                incarnation: u64_at(header, 12),
                file_sequence: u32_at(header, 20),
                lsn: u64_at(header, 24),
                durable_upto: u64_at(header, 32),
                block: u32_at(header, 40),
                previous_crc: u32_at(header, 44),
                payload_length,
                entry_count: u32_at(header, 52),
            };
            (header, crc)
        })
    }

    /// Bytes that the frame takes in the file, padding included.
    pub fn size_bytes(&self) -> usize {
        (HEADER_SIZE_BYTES + self.payload_length as usize).next_multiple_of(BLOCK_SIZE_BYTES)
    }
}

/// Bits of an entry's length; the others tell its kind. 256 MiB, far above a group.
const LENGTH_BITS: u32 = 28;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
const KIND_BATCH: u32 = 0;
const KIND_BATCH_BEGINS_SEGMENT: u32 = 1;
const KIND_EXTENT: u32 = 2;
const KIND_START_MOVED: u32 = 3;

/// One entry in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// The partition that the entry belongs to.
    pub partition: PartitionId,
    /// The offset of its first record, or the new log start.
    pub offset: Offset,
    /// What it says.
    pub content: Content,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A batch, with its base offset in place.
    Batch {
        /// Whether it is the first of a new segment.
        begins_segment: bool,
        /// The batch.
        bytes: Bytes,
    },
    /// Batches that stand in their segment, except the parts of a block at both ends.
    Extent(Extent),
    /// Records below the offset are gone.
    StartMoved,
}

/// What stands before the content of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    partition: PartitionId,
    kind: u32,
    length: u32,
    offset: Offset,
}

impl EntryHeader {
    /// Before a batch.
    pub fn batch(partition: PartitionId, base_offset: Offset, length: usize, begins_segment: bool) -> Self {
        let kind = if begins_segment {
            KIND_BATCH_BEGINS_SEGMENT
        } else {
            KIND_BATCH
        };
        EntryHeader {
            partition,
            kind,
            length: length as u32,
            offset: base_offset,
        }
    }

    /// Before an extent of that many encoded bytes.
    pub fn extent(partition: PartitionId, base_offset: Offset, length: usize) -> Self {
        EntryHeader {
            partition,
            kind: KIND_EXTENT,
            length: length as u32,
            offset: base_offset,
        }
    }

    /// A log start that moved.
    pub fn start_moved(partition: PartitionId, log_start: Offset) -> Self {
        EntryHeader {
            partition,
            kind: KIND_START_MOVED,
            length: 0,
            offset: log_start,
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; ENTRY_HEADER_SIZE_BYTES] {
        debug_assert!(self.length <= LENGTH_MASK);
        let mut bytes = [0; ENTRY_HEADER_SIZE_BYTES];
        put(&mut bytes, 0, &self.partition.0.to_le_bytes());
        put(
            &mut bytes,
            4,
            &(self.kind << LENGTH_BITS | self.length).to_le_bytes(),
        );
        put(&mut bytes, 8, &self.offset.0.to_le_bytes());
        bytes
    }
}

/// The entries of a frame's payload, as slices of it; none where the lengths do not add up.
pub fn entries(mut payload: Bytes, entry_count: u32) -> Option<Vec<FrameEntry>> {
    if payload.len() / ENTRY_HEADER_SIZE_BYTES < entry_count as usize {
        return None;
    }
    let mut entries = Vec::with_capacity(entry_count as usize);
    for _ in 0..entry_count {
        if payload.len() < ENTRY_HEADER_SIZE_BYTES {
            return None;
        }
        let partition = PartitionId(payload.get_u32_le());
        let kind_and_length = payload.get_u32_le();
        let length = (kind_and_length & LENGTH_MASK) as usize;
        let offset = Offset(payload.get_u64_le());
        if payload.len() < length {
            return None;
        }
        let bytes = payload.split_to(length);
        let content = match kind_and_length >> LENGTH_BITS {
            kind @ (KIND_BATCH | KIND_BATCH_BEGINS_SEGMENT) => Content::Batch {
                begins_segment: kind == KIND_BATCH_BEGINS_SEGMENT,
                bytes,
            },
            KIND_EXTENT => Content::Extent(Extent::decode(bytes)?),
            KIND_START_MOVED if length == 0 => Content::StartMoved,
            _ => return None,
        };
        entries.push(FrameEntry {
            partition,
            offset,
            content,
        });
    }
    payload.is_empty().then_some(entries)
}

fn frame_crc(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..CRC_POSITION]);
    hasher.update(payload);
    hasher.finalize()
}

fn put(bytes: &mut [u8], position: usize, value: &[u8]) {
    bytes[position..position + value.len()].copy_from_slice(value);
}

fn u32_at(bytes: &[u8], position: usize) -> u32 {
    (&bytes[position..]).get_u32_le()
}

fn u64_at(bytes: &[u8], position: usize) -> u64 {
    (&bytes[position..]).get_u64_le()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: FrameHeader = FrameHeader {
        store: StoreId(1),
        incarnation: 2,
        file_sequence: 3,
        lsn: 4,
        durable_upto: 3,
        block: 5,
        previous_crc: 6,
        payload_length: 20,
        entry_count: 1,
    };

    fn frame() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_SIZE_BYTES];
        bytes.extend_from_slice(&EntryHeader::batch(PartitionId(7), Offset(8), 4, true).encode());
        bytes.extend_from_slice(b"abcd");
        FRAME.seal(&mut bytes);
        bytes
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = frame();
        let (header, _) = FrameHeader::decode(&bytes).unwrap();
        assert_eq!(header, FRAME);
        assert_eq!(header.size_bytes(), 4096);
        let payload = Bytes::from(bytes).slice(HEADER_SIZE_BYTES..);
        let entry = FrameEntry {
            partition: PartitionId(7),
            offset: Offset(8),
            content: Content::Batch {
                begins_segment: true,
                bytes: Bytes::from_static(b"abcd"),
            },
        };
        assert_eq!(entries(payload, 1), Some(vec![entry]));
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_found() {
        let good = frame();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_file_header_is_found() {
        let header = FileHeader {
            store: StoreId(1),
            incarnation: 2,
            sequence: 3,
            first_lsn: 4,
            previous_crc: 5,
        };
        let good = header.encode();
        assert_eq!(FileHeader::decode(&good), Some(header));
        for first_lsn in [0, Lsn::MAX] {
            let header = FileHeader { first_lsn, ..header };
            assert_eq!(FileHeader::decode(&header.encode()), None, "LSN {first_lsn}");
        }
        let header = FileHeader {
            sequence: u32::MAX,
            ..header
        };
        assert_eq!(FileHeader::decode(&header.encode()), None, "no file follows it");
        let header = FileHeader {
            sequence: 3,
            incarnation: u64::MAX,
            ..header
        };
        assert_eq!(FileHeader::decode(&header.encode()), None, "no run follows it");
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn entries_that_do_not_add_up_are_refused() {
        let mut payload = EntryHeader::batch(PartitionId(1), Offset(0), 5, false)
            .encode()
            .to_vec();
        payload.extend_from_slice(b"abcd");
        assert_eq!(
            entries(Bytes::from(payload.clone()), 1),
            None,
            "length past the end"
        );
        payload.push(b'e');
        assert_eq!(
            entries(Bytes::from(payload.clone()), 2),
            None,
            "count past the end"
        );
        assert_eq!(
            entries(Bytes::from(payload.clone()), u32::MAX),
            None,
            "count past the end"
        );
        payload.push(b'f');
        assert_eq!(entries(Bytes::from(payload), 1), None, "bytes left over");
    }
}
