//! The checksums of a closed segment's chunks.
//!
//! Store, partition, base offset and number of the chunk are part of each sum: the bytes of another place do
//! not pass at this one, even where they are intact batches.

use std::ops::Range;

use crate::log::{Offset, PartitionId, StoreId};

/// Bytes under one checksum. 64 KiB: a cold read of one small batch checks that much once, some 5 µs, and the
/// sums of the largest segment take 128 KiB.
pub const CHUNK_SIZE_BYTES: u64 = 64 * 1024;

/// Whose bytes a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentIdentity {
    /// The data folder.
    pub store: StoreId,
    /// The partition.
    pub partition: PartitionId,
    /// The segment's first offset, which is its file's name.
    pub base_offset: Offset,
}

/// Sums the chunks of a segment while batches are appended.
///
/// Counting may begin anywhere; what came before the first chunk that was seen whole is not known.
#[derive(Clone, Debug)]
pub(super) struct RunningSums {
    identity: SegmentIdentity,
    /// The first chunk whose sum is known.
    first_chunk: usize,
    crcs: Vec<u32>,
    /// Position of the next byte.
    position: u64,
    partial: crc32fast::Hasher,
}

impl SegmentIdentity {
    fn hasher(&self, chunk: usize) -> crc32fast::Hasher {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.store.0.to_le_bytes());
        hasher.update(&self.partition.0.to_le_bytes());
        hasher.update(&self.base_offset.0.to_le_bytes());
        hasher.update(&(chunk as u64).to_le_bytes());
        hasher
    }

    /// The checksum of a whole chunk, or of the shorter last one.
    pub(super) fn chunk_crc(&self, chunk: usize, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher(chunk);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// How many chunks a segment of that size has.
pub(super) fn chunk_count(size_bytes: u64) -> usize {
    size_bytes.div_ceil(CHUNK_SIZE_BYTES) as usize
}

/// The bytes of a chunk in a segment of that size.
pub(super) fn chunk_range(chunk: usize, size_bytes: u64) -> Range<u64> {
    let start = chunk as u64 * CHUNK_SIZE_BYTES;
    start..(start + CHUNK_SIZE_BYTES).min(size_bytes)
}

impl RunningSums {
    /// Begins at `position`.
    pub(super) fn new(identity: SegmentIdentity, position: u64) -> RunningSums {
        let first_chunk = chunk_count(position);
        RunningSums {
            identity,
            first_chunk,
            crcs: Vec::new(),
            position,
            partial: identity.hasher(first_chunk),
        }
    }

    /// Takes in the bytes at `position`. If they do not follow the last ones, counting begins anew with them.
    pub(super) fn push(&mut self, position: u64, bytes: &[u8]) {
        if position != self.position {
            *self = RunningSums::new(self.identity, position);
        }
        let first = self.first_chunk as u64 * CHUNK_SIZE_BYTES;
        let before_first = first.saturating_sub(position).min(bytes.len() as u64);
        self.position += before_first;
        let mut rest = &bytes[before_first as usize..];
        while !rest.is_empty() {
            let left = (CHUNK_SIZE_BYTES - self.position % CHUNK_SIZE_BYTES) as usize;
            let (some, behind) = rest.split_at(left.min(rest.len()));
            self.partial.update(some);
            self.position += some.len() as u64;
            if self.position.is_multiple_of(CHUNK_SIZE_BYTES) {
                let next = self.identity.hasher(chunk_count(self.position));
                self.crcs
                    .push(std::mem::replace(&mut self.partial, next).finalize());
            }
            rest = behind;
        }
    }

    /// The first chunk whose sum is known and the sums from it to the last chunk of a segment that ends at
    /// `end`.
    pub(super) fn finish(&self, end: u64) -> (usize, Vec<u32>) {
        if end != self.position {
            return (chunk_count(end), Vec::new());
        }
        let mut crcs = self.crcs.clone();
        if self.first_chunk + crcs.len() < chunk_count(end) {
            crcs.push(self.partial.clone().finalize());
        }
        (self.first_chunk, crcs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: SegmentIdentity = SegmentIdentity {
        store: StoreId(1),
        partition: PartitionId(2),
        base_offset: Offset(3),
    };

    fn bytes(size: u64) -> Vec<u8> {
        (0..size).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn expected(bytes: &[u8]) -> Vec<u32> {
        let size = bytes.len() as u64;
        let of = |chunk| {
            let range = chunk_range(chunk, size);
            IDENTITY.chunk_crc(chunk, &bytes[range.start as usize..range.end as usize])
        };
        (0..chunk_count(size)).map(of).collect()
    }

    #[test]
    fn running_sums_are_those_of_whole_chunks_wherever_counting_begins() {
        let chunk = CHUNK_SIZE_BYTES;
        for size in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 5] {
            let bytes = bytes(size);
            for start in [0, 1, chunk - 1, chunk, chunk + 1, size]
                .into_iter()
                .filter(|start| *start <= size)
            {
                for step in [1_000, 65_536, 70_001, usize::MAX] {
                    let mut sums = RunningSums::new(IDENTITY, start);
                    let mut position = start;
                    for some in bytes[start as usize..].chunks(step) {
                        sums.push(position, some);
                        position += some.len() as u64;
                    }
                    let first = chunk_count(start);
                    let expected = expected(&bytes)[first..].to_vec();
                    assert_eq!(
                        sums.finish(size),
                        (first, expected),
                        "{size} from {start} by {step}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_gap_begins_anew_and_an_end_that_was_not_reached_is_not_known() {
        let bytes = bytes(3 * CHUNK_SIZE_BYTES);
        let mut sums = RunningSums::new(IDENTITY, 0);
        sums.push(0, &bytes[..100]);
        sums.push(200, &bytes[200..]);
        assert_eq!(
            sums.finish(bytes.len() as u64),
            (1, expected(&bytes)[1..].to_vec())
        );
        assert_eq!(sums.finish(bytes.len() as u64 - 1), (3, vec![]));
    }

    #[test]
    fn everything_about_a_place_is_in_the_sum() {
        let others = [
            SegmentIdentity {
                store: StoreId(9),
                ..IDENTITY
            },
            SegmentIdentity {
                partition: PartitionId(9),
                ..IDENTITY
            },
            SegmentIdentity {
                base_offset: Offset(9),
                ..IDENTITY
            },
        ];
        let right = IDENTITY.chunk_crc(0, b"bytes");
        for other in others {
            assert_ne!(other.chunk_crc(0, b"bytes"), right, "{other:?}");
        }
        assert_ne!(IDENTITY.chunk_crc(1, b"bytes"), right);
    }
}
