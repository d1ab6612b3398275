//! The journal's writer: turns waiting batches into durable groups.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::JournalError;
use super::files::{JournalFile, JournalFiles};
use super::frame::{ENTRY_HEADER_SIZE_BYTES, FileHeader, FrameHeader, HEADER_SIZE_BYTES, Lsn};
use super::group::{self, EXTENTS_PER_GROUP_MAX, Group, Target};
use super::queue::{Change, Entry, Queue, Sequence};
use crate::log::StoreId;
use crate::log::io::aligned::BufferPool;
use crate::log::io::{BLOCK_SIZE_BYTES, Completion, DurableWriter, FileSlot};
use crate::log::planted::{self, Bug};

/// Groups in flight at most. 4: the device reaches its rate with 256 KiB writes (1.5 GB/s against 1.0 with
/// one), and a torn end stays within four groups.
pub const GROUPS_IN_FLIGHT_MAX: usize = 4;

/// A group takes no further batch beyond this size; one larger batch still makes a group. Just under 4 MiB,
/// so that a run and the block that it begins in fit into one buffer of that class: blocks that were never
/// written want large writes (256 KiB, four in flight: 1.7 GB/s; 1 MiB and more: 2.3 GB/s and more).
pub const GROUP_SIZE_MAX_BYTES: usize = 4 * 1024 * 1024 - 2 * BLOCK_SIZE_BYTES;

/// A group takes no further batch beyond this share of its file, so that a small journal has several groups in
/// flight too.
const GROUPS_PER_FILE_MIN: u64 = 8;

/// Smallest journal file that holds the largest batch: its header block and that batch alone in a frame.
pub const fn file_size_min_bytes(batch_size_max_bytes: usize) -> u64 {
    let frame = HEADER_SIZE_BYTES + ENTRY_HEADER_SIZE_BYTES + batch_size_max_bytes;
    (BLOCK_SIZE_BYTES + frame.next_multiple_of(BLOCK_SIZE_BYTES)) as u64
}

/// Writes in flight at most: the frames of all groups with their extents, and one file header.
pub const WRITES_IN_FLIGHT_MAX: usize = GROUPS_IN_FLIGHT_MAX * (1 + EXTENTS_PER_GROUP_MAX) + 1;

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
    /// Smallest share of a group that goes straight to its segment.
    pub extent_size_min_bytes: usize,
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
    in_flight: VecDeque<InFlight<T>>,
    /// The number of the last entry that is in a group.
    last_sequence: Sequence,
    /// The last group that is on stable storage, with all before it; behind the published ones while groups are
    /// acknowledged unsynced.
    synced_lsn: Lsn,
    /// The last group that a durable frame or file header calls durable.
    claimed_lsn: Lsn,
    /// The last group that has entries.
    last_entry_lsn: Lsn,
    next_token: u64,
    completions: Vec<Completion>,
}

#[derive(Debug)]
struct Current {
    file: JournalFile,
    sequence: u32,
    position: u64,
}

/// A group whose writes were submitted.
#[derive(Debug)]
struct InFlight<T> {
    lsn: Lsn,
    last_sequence: Sequence,
    changes: Vec<(T, Change)>,
    /// Up to where its frame calls groups durable.
    durable_upto: Lsn,
    is_synced: bool,
    tokens: Range<u64>,
    /// Writes that have not ended.
    writes_left: usize,
}

impl<T: Target> Writer<T> {
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
            last_sequence: 0,
            synced_lsn: start.last_lsn,
            claimed_lsn: start.last_lsn,
            last_entry_lsn: start.last_lsn,
            next_token: 1,
            completions: Vec::new(),
        }
    }

    /// The last group of which all earlier ones, and itself, are published: on stable storage, or with the device
    /// where that is enough.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// The last group that is on stable storage, with all before it.
    pub fn synced_lsn(&self) -> Lsn {
        self.synced_lsn
    }

    /// The last group that a durable frame or file header calls durable.
    pub fn claimed_lsn(&self) -> Lsn {
        self.claimed_lsn
    }

    /// Whether a published group is not on stable storage yet.
    pub fn has_unsynced(&self) -> bool {
        self.synced_lsn < self.durable_lsn
    }

    /// Makes all published groups durable. Files before the current one are: its header was.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        let lsn = self.durable_lsn;
        if let Some(current) = &self.current {
            self.files.sync(&current.file.path)?;
        }
        self.synced_lsn = lsn;
        Ok(())
    }

    /// Whether damage to the last groups could pass for a torn end, since nothing on the disk says that they
    /// were durable.
    pub fn needs_claim(&self) -> bool {
        self.in_flight.is_empty() && self.claimed_lsn < self.last_entry_lsn
    }

    /// Submits a frame without entries, which says that all groups so far are durable. Nothing may be in flight.
    pub fn submit_claim(&mut self) -> Result<Drive, JournalError> {
        if self.has_unsynced() {
            self.sync()?;
        }
        if (self.room_bytes() as usize) < BLOCK_SIZE_BYTES && !self.begin_file()? {
            return Ok(Drive::NeedsSpace);
        }
        self.submit_entries(Vec::new(), true)?;
        Ok(Drive::Progress)
    }

    /// Closes the file of a slot that no entry's target names any more.
    pub fn detach(&self, slot: FileSlot) {
        self.device.detach(slot);
    }

    /// Whether any group is in flight.
    pub fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Submits what waits, as far as groups may be in flight and files have room. A group whose entries may be
    /// acknowledged unsynced is synced as well if `must_sync`.
    pub fn submit(&mut self, queue: &Queue<T>, must_sync: bool) -> Result<Drive, JournalError> {
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
            self.submit_group(queue, first_size_bytes, must_sync)?;
        }
        Ok(if self.in_flight.is_empty() {
            Drive::Idle
        } else {
            Drive::Progress
        })
    }

    /// Waits until at least one group in flight has ended and publishes the durable ones in order; returns
    /// the number of the last batch that became durable, if one did.
    pub fn reap(&mut self, mut publish: impl FnMut(T, Change)) -> Result<Option<Sequence>, JournalError> {
        self.wait()?;
        let mut last_sequence = None;
        while self.in_flight.front().is_some_and(|group| group.writes_left == 0) {
            let Some(group) = self.in_flight.pop_front() else {
                break;
            };
            for (target, change) in group.changes {
                publish(target, change);
            }
            self.durable_lsn = group.lsn;
            if group.is_synced {
                // Whatever was only with the device had ended before this group was submitted.
                self.synced_lsn = group.lsn;
                self.claimed_lsn = group.durable_upto;
            }
            last_sequence = Some(group.last_sequence);
        }
        Ok(last_sequence)
    }

    /// Waits until at least one write in flight has ended.
    fn wait(&mut self) -> Result<(), JournalError> {
        self.completions.clear();
        let waited = self.device.wait(&mut self.completions);
        waited.map_err(|source| self.write_error(source))?;
        for completion in std::mem::take(&mut self.completions) {
            if !planted::is(Bug::IgnoreWriteError) {
                completion.result.map_err(|source| self.write_error(source))?;
            }
            if let Some(group) = self.in_flight.iter_mut().find(|group| {
                group.tokens.contains(&completion.token) || planted::is(Bug::CompleteTheOldestGroup)
            }) {
                group.writes_left -= 1;
            }
        }
        Ok(())
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
        self.write(block.freeze(), true)?;
        self.completions.clear();
        let waited = self.device.wait(&mut self.completions);
        let ended = waited.and_then(|()| {
            self.completions
                .drain(..)
                .try_for_each(|completion| completion.result)
        });
        ended.map_err(|source| self.write_error(source))?;
        // Nothing else was in flight, so the header's sync covers all groups before it, and it says so.
        self.synced_lsn = self.next_lsn - 1;
        self.claimed_lsn = self.next_lsn - 1;
        Ok(true)
    }

    fn submit_group(
        &mut self,
        queue: &Queue<T>,
        first_size_bytes: usize,
        must_sync: bool,
    ) -> Result<(), JournalError> {
        let room = usize::try_from(self.room_bytes()).unwrap_or(usize::MAX) - HEADER_SIZE_BYTES;
        let mut entries = Vec::new();
        let file_size_bytes = self.current.as_ref().map_or(0, |current| current.file.size_bytes);
        let share = usize::try_from(file_size_bytes / GROUPS_PER_FILE_MIN).unwrap_or(usize::MAX);
        let limit = GROUP_SIZE_MAX_BYTES.min(share).min(room).max(first_size_bytes);
        self.last_sequence = queue.take(limit, &mut entries);
        let is_synced = must_sync || group::must_sync(&entries, self.start.extent_size_min_bytes);
        while is_synced && self.has_unsynced_in_flight() {
            // The sync of this group's writes covers what ended before they began.
            self.wait()?;
        }
        self.last_entry_lsn = self.next_lsn;
        self.submit_entries(entries, is_synced)
    }

    fn has_unsynced_in_flight(&self) -> bool {
        self.in_flight
            .iter()
            .any(|group| !group.is_synced && group.writes_left > 0)
    }

    fn submit_entries(&mut self, entries: Vec<Entry<T>>, is_synced: bool) -> Result<(), JournalError> {
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
                self.synced_lsn
            },
            block: (current.position / BLOCK_SIZE_BYTES as u64) as u32,
            previous_crc: self.previous_crc,
            payload_length: 0,
            entry_count: 0,
        };
        let group = Group::form(&self.pool, self.start.extent_size_min_bytes, header, entries);
        let first_token = self.next_token;
        let writes_left = 1 + group.extents.len();
        // Extents first: they are the larger writes.
        for (slot, position, blocks) in group.extents {
            self.write_to(slot, position, blocks, true)?;
        }
        self.write(group.frame, is_synced)?;
        self.in_flight.push_back(InFlight {
            lsn: header.lsn,
            last_sequence: self.last_sequence,
            changes: group.changes,
            durable_upto: header.durable_upto,
            is_synced,
            tokens: first_token..self.next_token,
            writes_left,
        });
        self.next_lsn += 1;
        self.previous_crc = group.crc;
        Ok(())
    }

    /// Writes the next blocks of the journal.
    fn write(&mut self, data: Bytes, is_synced: bool) -> Result<(), JournalError> {
        let Some(current) = &mut self.current else {
            unreachable!("a file was begun before it is written")
        };
        let (slot, position) = (current.file.slot, current.position);
        current.position += data.len() as u64;
        self.write_to(slot, position, data, is_synced)
    }

    fn write_to(
        &mut self,
        slot: FileSlot,
        position: u64,
        data: Bytes,
        is_synced: bool,
    ) -> Result<(), JournalError> {
        let token = self.next_token;
        self.next_token += 1;
        let submitted = if is_synced {
            self.device.submit(slot, position, data, token)
        } else {
            self.device.submit_unsynced(slot, position, data, token)
        };
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
