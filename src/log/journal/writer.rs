//! The journal's writer: turns waiting batches into durable groups.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::JournalError;
use super::files::{JournalFile, JournalFiles};
use super::frame::{ENTRY_HEADER_SIZE_BYTES, FileHeader, FrameHeader, HEADER_SIZE_BYTES, Lsn, entry_header};
use super::queue::{Entry, Queue, Sequence};
use crate::log::StoreId;
use crate::log::batch::{StoredBatch, write_base_offset};
use crate::log::io::aligned::BufferPool;
use crate::log::io::{BLOCK_SIZE_BYTES, Completion, DurableWriter};
use crate::log::planted::{self, Bug};

/// Groups in flight at most. 4: the device reaches its rate with 256 KiB writes (1.5 GB/s against 1.0 with
/// one), and a torn end stays within four groups.
pub const GROUPS_IN_FLIGHT_MAX: usize = 4;

/// A group takes no further batch beyond this size; one larger batch still makes a group. 1 MiB: the
/// device's rate is flat from 256 KiB on, and one write stays near 0.5 ms.
pub const GROUP_SIZE_MAX_BYTES: usize = 1024 * 1024;

/// A group takes no further batch beyond this share of its file, so that a small journal has several groups in
/// flight too.
const GROUPS_PER_FILE_MIN: u64 = 8;

/// Smallest journal file that holds the largest batch: its header block and that batch alone in a frame.
pub const fn file_size_min_bytes(batch_size_max_bytes: usize) -> u64 {
    let frame = HEADER_SIZE_BYTES + ENTRY_HEADER_SIZE_BYTES + batch_size_max_bytes;
    (BLOCK_SIZE_BYTES + frame.next_multiple_of(BLOCK_SIZE_BYTES)) as u64
}

/// Bytes of the batch header that carry base offset, length and leader epoch.
const BATCH_PREFIX_BYTES: usize = 16;

/// Where a new run of the journal begins.
#[derive(Clone, Copy, Debug)]
pub struct WriterStart {
    /// The data folder.
    pub store: StoreId,
    /// The number of this run.
    pub incarnation: u64,
    /// The newest file sequence that exists.
    pub sequence: u32,
    /// The last group that exists.
    pub last_lsn: Lsn,
    /// Its CRC.
    pub last_crc: u32,
}

/// What [`Writer::step`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// Some groups became durable, or are on their way.
    Progress,
    /// Nothing waits and nothing is in flight.
    Idle,
    /// All journal files are full: the flusher must free one.
    NeedsSpace,
}

/// The single writer of the journal; used by one thread at a time.
#[derive(Debug)]
pub struct Writer<T> {
    files: Arc<JournalFiles>,
    device: Arc<dyn DurableWriter>,
    pool: Arc<BufferPool>,
    start: WriterStart,
    current: Option<Current>,
    next_lsn: Lsn,
    durable_lsn: Lsn,
    previous_crc: u32,
    in_flight: VecDeque<Group<T>>,
    completions: Vec<Completion>,
}

#[derive(Debug)]
struct Current {
    file: JournalFile,
    sequence: u32,
    position: u64,
}

#[derive(Debug)]
struct Group<T> {
    lsn: Lsn,
    last_sequence: Sequence,
    batches: Vec<(T, StoredBatch)>,
    durable: bool,
}

impl<T> Writer<T> {
    /// A writer that begins a new file with its first group.
    pub fn new(
        files: Arc<JournalFiles>,
        device: Arc<dyn DurableWriter>,
        pool: Arc<BufferPool>,
        start: WriterStart,
    ) -> Writer<T> {
        Writer {
            files,
            device,
            pool,
            start,
            current: None,
            next_lsn: start.last_lsn + 1,
            durable_lsn: start.last_lsn,
            previous_crc: start.last_crc,
            in_flight: VecDeque::new(),
            completions: Vec::new(),
        }
    }

    /// The last group of which all earlier ones, and itself, are durable and published.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// Whether any group is in flight.
    pub fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Submits what waits, as far as groups may be in flight and files have room.
    pub fn submit(&mut self, queue: &Queue<T>) -> Result<Drive, JournalError> {
        while self.in_flight.len() < GROUPS_IN_FLIGHT_MAX {
            let Some(first_size_bytes) = queue.first_size_bytes() else {
                break;
            };
            let needed = (HEADER_SIZE_BYTES + first_size_bytes).next_multiple_of(BLOCK_SIZE_BYTES) as u64;
            if needed > self.room_bytes() {
                if !self.in_flight.is_empty() {
                    // The next file's header says that this file is durable to its last frame.
                    break;
                }
                if !self.begin_file()? {
                    return Ok(Drive::NeedsSpace);
                }
            }
            self.submit_group(queue, first_size_bytes)?;
        }
        Ok(if self.in_flight.is_empty() {
            Drive::Idle
        } else {
            Drive::Progress
        })
    }

    /// Waits until at least one group in flight has ended and publishes the durable ones in order; returns
    /// the number of the last batch that became durable, if one did.
    pub fn reap(
        &mut self,
        mut publish: impl FnMut(T, StoredBatch),
    ) -> Result<Option<Sequence>, JournalError> {
        self.completions.clear();
        let waited = self.device.wait(&mut self.completions);
        waited.map_err(|source| self.write_error(source))?;
        for completion in std::mem::take(&mut self.completions) {
            if !planted::is(Bug::IgnoreWriteError) {
                completion.result.map_err(|source| self.write_error(source))?;
            }
            if let Some(group) = self
                .in_flight
                .iter_mut()
                .find(|group| group.lsn == completion.token || planted::is(Bug::CompleteTheOldestGroup))
            {
                group.durable = true;
            }
        }
        let mut last_sequence = None;
        while self.in_flight.front().is_some_and(|group| group.durable) {
            let Some(group) = self.in_flight.pop_front() else {
                break;
            };
            for (target, batch) in group.batches {
                publish(target, batch);
            }
            self.durable_lsn = group.lsn;
            last_sequence = Some(group.last_sequence);
        }
        Ok(last_sequence)
    }

    /// Bytes that the journal takes before a file must be freed.
    pub fn free_bytes(&self) -> u64 {
        self.room_bytes() + self.files.free_bytes()
    }

    fn room_bytes(&self) -> u64 {
        self.current
            .as_ref()
            .map_or(0, |current| current.file.size_bytes - current.position)
    }

    /// The file to write next. A journal of one file, on a disk without room for a second, begins it again
    /// once the segments have everything in it: its header lies in one sector, so that a crash finds the old
    /// one, whose groups the checkpoint covers, or the new one.
    fn next_file(&mut self) -> Option<JournalFile> {
        if let Some(file) = self.files.take_free() {
            if let Some(full) = self.current.take() {
                self.files.retire(full.file, self.next_lsn - 1);
            }
            return Some(file);
        }
        let current = self
            .current
            .take_if(|_| self.files.is_flushed_through(self.next_lsn - 1));
        current.map(|current| current.file)
    }

    /// Begins the next file with a durable header; false if there is none.
    fn begin_file(&mut self) -> Result<bool, JournalError> {
        let sequence = self
            .current
            .as_ref()
            .map_or(self.start.sequence, |current| current.sequence)
            + 1;
        let Some(file) = self.next_file() else {
            return Ok(false);
        };
        let header = FileHeader {
            store: self.start.store,
            incarnation: self.start.incarnation,
            sequence,
            first_lsn: self.next_lsn,
            previous_crc: self.previous_crc,
        };
        let mut block = self.pool.take(BLOCK_SIZE_BYTES);
        block.extend_from_slice(&header.encode());
        block.pad_to_block();
        self.current = Some(Current {
            file,
            sequence,
            position: 0,
        });
        // Token 0 is no group: LSNs begin with 1.
        self.write(block.freeze(), 0)?;
        self.completions.clear();
        let waited = self.device.wait(&mut self.completions);
        let ended = waited.and_then(|()| {
            self.completions
                .drain(..)
                .try_for_each(|completion| completion.result)
        });
        ended.map_err(|source| self.write_error(source))?;
        Ok(true)
    }

    fn submit_group(&mut self, queue: &Queue<T>, first_size_bytes: usize) -> Result<(), JournalError> {
        let room = usize::try_from(self.room_bytes()).unwrap_or(usize::MAX) - HEADER_SIZE_BYTES;
        let mut entries = Vec::new();
        let file_size_bytes = self.current.as_ref().map_or(0, |current| current.file.size_bytes);
        let share = usize::try_from(file_size_bytes / GROUPS_PER_FILE_MIN).unwrap_or(usize::MAX);
        let limit = GROUP_SIZE_MAX_BYTES.min(share).min(room).max(first_size_bytes);
        let (payload_bytes, last_sequence) = queue.take(limit, &mut entries);
        let Some(current) = &self.current else {
            unreachable!("a file was begun before a group is written")
        };
        let header = FrameHeader {
            store: self.start.store,
            incarnation: self.start.incarnation,
            file_sequence: current.sequence,
            lsn: self.next_lsn,
            durable_upto: if planted::is(Bug::ClaimGroupsInFlight) {
                self.next_lsn - 1
            } else {
                self.durable_lsn
            },
            block: (current.position / BLOCK_SIZE_BYTES as u64) as u32,
            previous_crc: self.previous_crc,
            payload_length: payload_bytes as u32,
            entry_count: entries.len() as u32,
        };
        let (frame, crc) = encode_frame(&self.pool, &header, &entries);
        let batches = cut_batches(&frame, entries);
        self.write(frame, header.lsn)?;
        self.in_flight.push_back(Group {
            lsn: header.lsn,
            last_sequence,
            batches,
            durable: false,
        });
        self.next_lsn += 1;
        self.previous_crc = crc;
        Ok(())
    }

    fn write(&mut self, data: Bytes, token: u64) -> Result<(), JournalError> {
        let Some(current) = &mut self.current else {
            unreachable!("a file was begun before it is written")
        };
        let (slot, position) = (current.file.slot, current.position);
        current.position += data.len() as u64;
        let submitted = self.device.submit(slot, position, data, token);
        submitted.map_err(|source| self.write_error(source))
    }

    fn write_error(&self, source: std::io::Error) -> JournalError {
        let path = self
            .current
            .as_ref()
            .map(|current| current.file.path.clone())
            .unwrap_or_default();
        JournalError::Io {
            what: "write the journal",
            path,
            source,
        }
    }
}

/// Copies the entries behind a sealed frame header, with each batch's base offset in place.
fn encode_frame<T>(pool: &Arc<BufferPool>, header: &FrameHeader, entries: &[Entry<T>]) -> (Bytes, u32) {
    let mut frame = pool.take(header.size_bytes());
    frame.extend_from_slice(&[0; HEADER_SIZE_BYTES]);
    for entry in entries {
        frame.extend_from_slice(&entry_header(
            entry.partition,
            entry.batch.len() as u32,
            entry.base_offset,
        ));
        let start = frame.len();
        frame.extend_from_slice(&entry.batch);
        write_base_offset(
            &mut frame.as_mut_slice()[start..start + BATCH_PREFIX_BYTES],
            entry.base_offset,
            0,
        );
    }
    let crc = header.seal(frame.as_mut_slice());
    frame.pad_to_block();
    (frame.freeze(), crc)
}

/// The batches as slices of the frame: what is served is the memory that was written.
fn cut_batches<T>(frame: &Bytes, entries: Vec<Entry<T>>) -> Vec<(T, StoredBatch)> {
    let mut position = HEADER_SIZE_BYTES;
    let cut = |entry: Entry<T>| {
        let start = position + ENTRY_HEADER_SIZE_BYTES;
        position = start + entry.batch.len();
        let batch = StoredBatch {
            base_offset: entry.base_offset,
            next_offset: entry.next_offset,
            max_timestamp: entry.max_timestamp,
            bytes: frame.slice(start..position),
        };
        (entry.target, batch)
    };
    entries.into_iter().map(cut).collect()
}
