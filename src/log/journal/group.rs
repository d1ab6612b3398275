//! Forming a group: which of the entries go into the frame, and which straight to their segment.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::extent::Run;
use super::frame::{ENTRY_HEADER_SIZE_BYTES, EntryHeader, FrameHeader, HEADER_SIZE_BYTES};
use super::queue::{Change, Entry};
use crate::log::Durability;
use crate::log::batch::{Place, StoredBatch, write_base_offset};
use crate::log::io::FileSlot;
use crate::log::io::aligned::BufferPool;

/// Extents of one group at most; more partitions with a large share go through the journal.
pub const EXTENTS_PER_GROUP_MAX: usize = 32;

/// Bytes of the batch header that carry base offset, length and leader epoch.
const BATCH_PREFIX_BYTES: usize = 16;

/// Whatever entries are published to: it knows which segments can be written directly.
pub trait Target {
    /// The segment of `place`, prepared for direct writes up to `end`.
    ///
    /// Asking is how a partition learns that such a segment is wanted.
    fn direct_slot(&self, place: Place, end: u64) -> Result<FileSlot, NotReady>;

    /// When its appends are acknowledged.
    fn durability(&self) -> Durability;
}

/// No segment is ready for direct writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// Whether nobody has asked for it before.
    pub is_news: bool,
}

/// Whether a group of these entries must be on stable storage before it is published. A large one always is:
/// what goes straight to a segment is not settled by a later write to the journal.
pub fn must_sync<T: Target>(entries: &[Entry<T>], extent_size_min_bytes: usize) -> bool {
    let waits_for_sync = |entry: &Entry<T>| {
        matches!(entry.change, Change::StartMoved(_)) || entry.target.durability() == Durability::Fsync
    };
    entries.iter().any(waits_for_sync)
        || entries.iter().map(Entry::size_bytes).sum::<usize>() >= extent_size_min_bytes
}

/// A group whose writes are laid out.
#[derive(Debug)]
pub struct Group<T> {
    /// The frame for the journal.
    pub frame: Bytes,
    /// The frame's CRC.
    pub crc: u32,
    /// Writes that go to segments beside it: slot, position and whole blocks.
    pub extents: Vec<(FileSlot, u64, Bytes)>,
    /// What is published when all writes are durable, in each partition's order.
    pub changes: Vec<(T, Change)>,
    /// Whether it asked for a segment for the first time.
    pub asks: bool,
}

/// A piece of a frame, in the order of the entries.
enum Piece {
    /// These entries' content is in the frame.
    Inline(Range<usize>),
    /// These entries are an extent.
    Extent(Range<usize>, Run),
}

impl<T: Target> Group<T> {
    /// Lays out `entries`; `header` lacks the payload's length and the count of entries. A partition's share of at
    /// least `extent_size_min_bytes` goes to its segment if that is ready.
    pub fn form(
        pool: &Arc<BufferPool>,
        extent_size_min_bytes: usize,
        mut header: FrameHeader,
        mut entries: Vec<Entry<T>>,
    ) -> Group<T> {
        let mut extents = Vec::new();
        let mut asks = false;
        let pieces = if entries.iter().map(Entry::size_bytes).sum::<usize>() < extent_size_min_bytes {
            vec![Piece::Inline(0..entries.len())]
        } else {
            // A frame is whole or not there: only the order inside each partition means anything.
            entries.sort_by_key(|entry| entry.partition);
            cut(pool, extent_size_min_bytes, &entries, &mut extents, &mut asks)
        };
        let (mut payload_bytes, mut entry_count) = (0, 0);
        for piece in &pieces {
            match piece {
                Piece::Inline(range) => {
                    payload_bytes += entries[range.clone()]
                        .iter()
                        .map(Entry::size_bytes)
                        .sum::<usize>();
                    entry_count += range.len();
                }
                Piece::Extent(_, run) => {
                    payload_bytes += ENTRY_HEADER_SIZE_BYTES + run.extent.size_bytes();
                    entry_count += 1;
                }
            }
        }
        header.payload_length = payload_bytes as u32;
        header.entry_count = entry_count as u32;
        let (frame, crc) = encode(pool, &header, &entries, &pieces);
        let changes = publications(&frame, entries, pieces);
        Group {
            frame,
            crc,
            extents,
            changes,
            asks,
        }
    }
}

/// Cuts entries, sorted by partition, into pieces, and collects the writes of those that go to a segment.
fn cut<T: Target>(
    pool: &Arc<BufferPool>,
    extent_size_min_bytes: usize,
    entries: &[Entry<T>],
    extents: &mut Vec<(FileSlot, u64, Bytes)>,
    asks: &mut bool,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut inline_start = 0;
    let mut start = 0;
    while let Some(first) = entries.get(start) {
        let end = start + run_length(&entries[start..]);
        let Change::Append(batch) = &first.change else {
            start = end;
            continue;
        };
        let place = batch.place;
        let run = &entries[start..end];
        let length = run
            .iter()
            .map(|entry| entry.size_bytes() - ENTRY_HEADER_SIZE_BYTES)
            .sum::<usize>();
        let is_large = length >= extent_size_min_bytes && extents.len() < EXTENTS_PER_GROUP_MAX;
        let slot = is_large.then(|| first.target.direct_slot(place, place.position + length as u64));
        match slot {
            Some(Ok(slot)) => {
                let batches = run.iter().filter_map(|entry| match &entry.change {
                    Change::Append(batch) => Some(batch),
                    Change::StartMoved(_) => None,
                });
                let run = Run::gather(pool, place, length, batches);
                extents.push((slot, run.extent.blocks().start, run.blocks()));
                if inline_start < start {
                    pieces.push(Piece::Inline(inline_start..start));
                }
                pieces.push(Piece::Extent(start..end, run));
                inline_start = end;
            }
            Some(Err(not_ready)) => *asks |= not_ready.is_news,
            None => {}
        }
        start = end;
    }
    if inline_start < entries.len() {
        pieces.push(Piece::Inline(inline_start..entries.len()));
    }
    pieces
}

/// How many entries from the first on stand behind one another in one segment; at least one.
fn run_length<T>(entries: &[Entry<T>]) -> usize {
    let key = |entry: &Entry<T>| match &entry.change {
        Change::Append(batch) => Some((entry.partition, batch.place.segment)),
        Change::StartMoved(_) => None,
    };
    let Some(first) = entries.first().and_then(key) else {
        return 1;
    };
    entries
        .iter()
        .take_while(|entry| key(entry) == Some(first))
        .count()
}

/// Copies the pieces behind a sealed frame header, with each inline batch's base offset in place.
fn encode<T>(
    pool: &Arc<BufferPool>,
    header: &FrameHeader,
    entries: &[Entry<T>],
    pieces: &[Piece],
) -> (Bytes, u32) {
    let mut frame = pool.take(header.size_bytes());
    frame.extend_from_slice(&[0; HEADER_SIZE_BYTES]);
    for piece in pieces {
        match piece {
            Piece::Inline(range) => {
                for entry in &entries[range.clone()] {
                    match &entry.change {
                        Change::Append(batch) => {
                            let begins_segment = batch.place.position == 0;
                            let length = batch.bytes.len();
                            let header = EntryHeader::batch(
                                entry.partition,
                                batch.base_offset,
                                length,
                                begins_segment,
                            );
                            frame.extend_from_slice(&header.encode());
                            let start = frame.len();
                            frame.extend_from_slice(&batch.bytes);
                            write_base_offset(
                                &mut frame.as_mut_slice()[start..start + BATCH_PREFIX_BYTES],
                                batch.base_offset,
                                0,
                            );
                        }
                        Change::StartMoved(offset) => {
                            let header = EntryHeader::start_moved(entry.partition, *offset);
                            frame.extend_from_slice(&header.encode());
                        }
                    }
                }
            }
            Piece::Extent(range, run) => {
                let first = &entries[range.start];
                let Change::Append(batch) = &first.change else {
                    continue;
                };
                let size_bytes = run.extent.size_bytes();
                let header = EntryHeader::extent(first.partition, batch.base_offset, size_bytes);
                frame.extend_from_slice(&header.encode());
                run.extent.encode(|bytes| frame.extend_from_slice(bytes));
            }
        }
    }
    let crc = header.seal(frame.as_mut_slice());
    frame.pad_to_block();
    (frame.freeze(), crc)
}

/// What is published: batches as slices of the memory that is written.
fn publications<T>(frame: &Bytes, entries: Vec<Entry<T>>, pieces: Vec<Piece>) -> Vec<(T, Change)> {
    let mut changes = Vec::with_capacity(entries.len());
    let mut entries = entries.into_iter();
    let mut frame_position = HEADER_SIZE_BYTES;
    for piece in pieces {
        match piece {
            Piece::Inline(range) => {
                for entry in entries.by_ref().take(range.len()) {
                    let start = frame_position + ENTRY_HEADER_SIZE_BYTES;
                    frame_position += entry.size_bytes();
                    let bytes = frame.slice(start..frame_position);
                    changes.push(published(entry, bytes, 0..0));
                }
            }
            Piece::Extent(range, run) => {
                frame_position += ENTRY_HEADER_SIZE_BYTES + run.extent.size_bytes();
                let mut run_position = 0;
                for entry in entries.by_ref().take(range.len()) {
                    let start = run_position;
                    run_position += entry.size_bytes() - ENTRY_HEADER_SIZE_BYTES;
                    let bytes = run.bytes.slice(start..run_position);
                    changes.push(published(entry, bytes, run.extent.blocks()));
                }
            }
        }
    }
    changes
}

fn published<T>(entry: Entry<T>, bytes: Bytes, written: Range<u64>) -> (T, Change) {
    let change = match entry.change {
        Change::Append(batch) => Change::Append(StoredBatch {
            written,
            bytes,
            ..batch
        }),
        moved @ Change::StartMoved(_) => moved,
    };
    (entry.target, change)
}
