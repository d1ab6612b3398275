//! Extents: large runs of batches that are written once, straight to their segment.
//!
//! Everything that goes through the journal is written twice, so it never passes half of the device's rate.
//! When one partition's share of a group is large, its whole blocks go to their final place in the segment,
//! and the journal's frame only tells where and how to know them again:
//!
//! ```text
//! segment u64 | position u32 | length u32 | offset count u32 | CRC u32 of the batches' headers
//! bytes up to the first whole block | bytes behind the last whole block
//! ```
//!
//! The batches are not aligned to blocks. The parts of a block at both ends travel in the frame, so no block
//! that holds other durable bytes is rewritten before those are safe elsewhere. The run counts as durable
//! when both writes are. A batch's own CRC-32C covers its records, and the CRC of the headers binds these
//! batches: what an abandoned write left at the same place never passes for them.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::log::Offset;
use crate::log::batch::{self, HEADER_SIZE_BYTES, Place, StoredBatch, write_base_offset};
use crate::log::io::BLOCK_SIZE_BYTES;
use crate::log::io::aligned::BufferPool;

/// Bytes before the edges.
const FIXED_SIZE_BYTES: usize = 24;

// A group with extents takes no more of a journal file than the same batches would in its frame: each has a whole
// block that is not in it, and edges that are.
const _: () = assert!(FIXED_SIZE_BYTES < BLOCK_SIZE_BYTES);

/// An extent as a frame holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where the run begins.
    pub place: Place,
    /// Bytes of the run.
    pub length: u32,
    /// Number of offsets in it.
    pub offset_count: u32,
    /// CRC over the headers of the batches, one after the other.
    pub headers_crc: u32,
    /// The run's bytes before its first whole block.
    pub head: Bytes,
    /// The run's bytes behind its last whole block.
    pub tail: Bytes,
}

/// A run with its bytes, ready to be written.
#[derive(Debug)]
pub struct Run {
    /// What the frame says of it.
    pub extent: Extent,
    /// The whole run in one buffer, its whole blocks aligned to blocks.
    pub bytes: Bytes,
}

impl Extent {
    /// The whole blocks of the run in the segment's file.
    pub fn blocks(&self) -> Range<u64> {
        whole_blocks(self.place.position, u64::from(self.length))
    }

    /// The offset behind the run, whose first is `first`.
    pub fn next_offset(&self, first: Offset) -> Offset {
        first.plus(self.offset_count.into())
    }

    /// Bytes of the encoded extent.
    pub fn size_bytes(&self) -> usize {
        FIXED_SIZE_BYTES + self.head.len() + self.tail.len()
    }

    /// Appends the encoded extent.
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        let mut fixed = [0; FIXED_SIZE_BYTES];
        let mut rest = &mut fixed[..];
        rest.put_u64_le(self.place.segment.0);
        rest.put_u32_le(self.place.position as u32);
        rest.put_u32_le(self.length);
        rest.put_u32_le(self.offset_count);
        rest.put_u32_le(self.headers_crc);
        put(&fixed);
        put(&self.head);
        put(&self.tail);
    }

    /// The extent in `bytes`, if the lengths add up.
    pub fn decode(mut bytes: Bytes) -> Option<Extent> {
        if bytes.len() < FIXED_SIZE_BYTES {
            return None;
        }
        let place = Place {
            segment: Offset(bytes.get_u64_le()),
            position: bytes.get_u32_le().into(),
        };
        let (length, offset_count, headers_crc) =
            (bytes.get_u32_le(), bytes.get_u32_le(), bytes.get_u32_le());
        let end = place.position + u64::from(length);
        let blocks = whole_blocks(place.position, length.into());
        let head_bytes = (blocks.start - place.position) as usize;
        if blocks.is_empty() || bytes.len() as u64 != head_bytes as u64 + end - blocks.end {
            return None;
        }
        let head = bytes.split_to(head_bytes);
        Some(Extent {
            place,
            length,
            offset_count,
            headers_crc,
            head,
            tail: bytes,
        })
    }

    /// The whole run, with `blocks` as read from the segment; none if these are not the batches that were
    /// written.
    pub fn assemble(&self, first: Offset, blocks: &[u8]) -> Option<Bytes> {
        let mut run = Vec::with_capacity(self.length as usize);
        run.extend_from_slice(&self.head);
        run.extend_from_slice(blocks);
        run.extend_from_slice(&self.tail);
        let run = Bytes::from(run);
        let mut next = first;
        let mut crc = crc32fast::Hasher::new();
        for found in batch::batches(&run) {
            let (header, bytes) = found.ok()?;
            batch::verify(&bytes).ok()?;
            if header.base_offset != next {
                return None;
            }
            crc.update(&bytes[..HEADER_SIZE_BYTES]);
            next = header.next_offset();
        }
        let is_whole = next == self.next_offset(first) && crc.finalize() == self.headers_crc;
        is_whole.then_some(run)
    }
}

impl Run {
    /// Copies contiguous batches of one segment into one buffer, with each base offset in place.
    ///
    /// # Panics
    /// When `batches` is empty.
    pub fn gather<'b>(
        pool: &Arc<BufferPool>,
        place: Place,
        length: usize,
        batches: impl Iterator<Item = &'b StoredBatch>,
    ) -> Run {
        // The file's blocks fall on the memory's: the buffer begins with the block that the run begins in.
        let lead = (place.position % BLOCK_SIZE_BYTES as u64) as usize;
        let mut buffer = pool.take(lead + length);
        buffer.extend_from_slice(&[0; BLOCK_SIZE_BYTES][..lead]);
        let (mut crc, mut offset_count) = (crc32fast::Hasher::new(), 0);
        for batch in batches {
            let start = buffer.len();
            buffer.extend_from_slice(&batch.bytes);
            let header = &mut buffer.as_mut_slice()[start..start + HEADER_SIZE_BYTES];
            write_base_offset(header, batch.base_offset, 0);
            crc.update(header);
            offset_count += (batch.next_offset.0 - batch.base_offset.0) as u32;
        }
        debug_assert_eq!(buffer.len(), lead + length);
        let bytes = buffer.freeze().slice(lead..);
        let blocks = whole_blocks(place.position, length as u64);
        let at = |position: u64| (position - place.position) as usize;
        let extent = Extent {
            place,
            length: length as u32,
            offset_count,
            headers_crc: crc.finalize(),
            head: bytes.slice(..at(blocks.start)),
            tail: bytes.slice(at(blocks.end)..),
        };
        Run { extent, bytes }
    }

    /// The whole blocks, which go to the segment.
    pub fn blocks(&self) -> Bytes {
        let blocks = self.extent.blocks();
        let at = |position: u64| (position - self.extent.place.position) as usize;
        self.bytes.slice(at(blocks.start)..at(blocks.end))
    }
}

/// The whole blocks inside `length` bytes from `position` on; empty where there is none.
fn whole_blocks(position: u64, length: u64) -> Range<u64> {
    let block = BLOCK_SIZE_BYTES as u64;
    let start = position.next_multiple_of(block);
    let end = (position + length) / block * block;
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Timestamp;
    use crate::log::batch::{BatchBuilder, Record};

    fn batches(first: u64, place: Place, value_sizes: &[usize]) -> Vec<StoredBatch> {
        let (mut next, mut position) = (first, place.position);
        let of = |size: &usize| {
            let mut builder = BatchBuilder::new(Timestamp(1));
            let value = vec![7; *size];
            let record = Record {
                timestamp: Timestamp(1),
                key: None,
                value: Some(&value),
                headers: &[],
            };
            builder.push(&record).unwrap();
            let mut bytes = builder.finish().to_vec();
            write_base_offset(&mut bytes, Offset(next), 0);
            let place = Place { position, ..place };
            let batch = StoredBatch::parse(bytes.into(), place).unwrap();
            (next, position) = (batch.next_offset.0, batch.range().end);
            batch
        };
        value_sizes.iter().map(of).collect()
    }

    fn run_at(position: u64, value_sizes: &[usize]) -> Run {
        let place = Place {
            segment: Offset(3),
            position,
        };
        let batches = batches(9, place, value_sizes);
        let length = batches.iter().map(|batch| batch.bytes.len()).sum();
        Run::gather(&BufferPool::new(0), place, length, batches.iter())
    }

    #[test]
    fn a_run_comes_back_from_its_frame_and_its_blocks() {
        for position in [0, 1, 4095, 4096, 5000] {
            let run = run_at(position, &[9_000, 1, 20_000]);
            let blocks = run.blocks();
            assert_eq!(blocks.as_ptr().addr() % BLOCK_SIZE_BYTES, 0);
            assert!(run.extent.blocks().start.is_multiple_of(BLOCK_SIZE_BYTES as u64));
            let mut encoded = Vec::new();
            run.extent.encode(|bytes| encoded.extend_from_slice(bytes));
            assert_eq!(encoded.len(), run.extent.size_bytes());
            let extent = Extent::decode(encoded.into()).unwrap();
            assert_eq!(extent, run.extent);
            assert_eq!(extent.assemble(Offset(9), &blocks), Some(run.bytes.clone()));
            assert_eq!(extent.assemble(Offset(8), &blocks), None, "of other offsets");
        }
    }

    #[test]
    fn other_batches_in_the_blocks_are_found() {
        let run = run_at(100, &[9_000, 9_000]);
        let blocks = run.blocks().to_vec();
        assert_eq!(run.extent.assemble(Offset(9), &vec![0; blocks.len()]), None);
        for bit in (0..blocks.len() * 8).step_by(61) {
            let mut bad = blocks.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(run.extent.assemble(Offset(9), &bad), None, "bit {bit}");
        }
    }

    #[test]
    fn an_encoded_extent_that_does_not_add_up_is_refused() {
        let run = run_at(100, &[9_000]);
        let mut encoded = Vec::new();
        run.extent.encode(|bytes| encoded.extend_from_slice(bytes));
        for end in 0..encoded.len() {
            let cut = Bytes::copy_from_slice(&encoded[..end]);
            assert_eq!(Extent::decode(cut), None, "cut at {end}");
        }
        encoded.push(0);
        assert_eq!(Extent::decode(encoded.into()), None, "a byte too many");
    }
}
