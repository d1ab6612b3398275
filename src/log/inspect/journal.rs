//! The journal as it is found: every group that is intact, and what is wrong with the others.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::finding::{Finding, Problem};
use super::folder::read_around;
use super::survey::FreeArea;
use super::{DataFolder, InspectError};
use crate::log::batch::{self, BatchError, BatchHeader};
use crate::log::checkpoint::Checkpoint;
use crate::log::io::BLOCK_SIZE_BYTES;
use crate::log::journal::Extent;
use crate::log::journal::frame::{
    Content, FileHeader, FrameEntry, FrameHeader, HEADER_SIZE_BYTES, Lsn, entries, take_entry,
};
use crate::log::places::partition_folder;
use crate::log::recovery::JOURNAL_FOLDER;
use crate::log::segment::log_path;
use crate::log::{Offset, PartitionId, StoreId};

/// What the journal holds.
#[derive(Debug, Default)]
pub struct JournalScan {
    /// Every batch behind the checkpoint that is intact, in order.
    pub batches: Vec<JournalBatch>,
    /// Parts of segments, by their files, that hold the blocks of large writes.
    pub extents: Vec<(PathBuf, Range<u64>)>,
    /// Log starts that moved, in order.
    pub starts: Vec<(PartitionId, Offset)>,
    /// Offsets of batches that are damaged.
    pub claimed: Vec<(PartitionId, Range<Offset>)>,
    /// Groups that were read, also those before the checkpoint.
    pub groups: Vec<JournalGroup>,
    /// Bytes of frames in files that are needed.
    pub used_bytes: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Files, and those of them that hold groups still needed.
    pub file_counts: (usize, usize),
    /// The newest run of the log that any file names.
    pub incarnation: u64,
    /// The last intact group.
    pub last_lsn: Lsn,
    /// Whether groups are damaged or missing, so that the journal cannot be read by the log.
    pub is_damaged: bool,
}

/// A batch in the journal.
#[derive(Clone, Debug)]
pub struct JournalBatch {
    /// The partition.
    pub partition: PartitionId,
    /// Its header.
    pub header: BatchHeader,
    /// The batch.
    pub bytes: Bytes,
}

/// A group of the journal.
#[derive(Clone, Debug)]
pub struct JournalGroup {
    /// The file, relative to the data folder.
    pub file: PathBuf,
    /// The frame's position in it.
    pub position: u64,
    /// The store that it belongs to.
    pub store: StoreId,
    /// The run of the log that wrote it.
    pub incarnation: u64,
    /// The group's number.
    pub lsn: u64,
    /// The last group that was durable when this one was written.
    pub durable_upto: u64,
    /// Bytes of the frame, padding included.
    pub size_bytes: u64,
    /// Its entries: batches, large writes, and moves of log starts.
    pub entry_count: u32,
}

struct JournalFile {
    path: PathBuf,
    bytes: Bytes,
    header: FileHeader,
}

/// Where the chain of frames stands.
#[derive(Clone, Copy)]
struct Chain {
    last_lsn: Lsn,
    last_crc: u32,
}

/// Reads the journal behind the checkpoint, or all of it if there is no checkpoint.
pub(super) fn scan(
    folder: &DataFolder,
    store: Option<StoreId>,
    checkpoint: Option<&Checkpoint>,
    findings: &mut Vec<Finding>,
    free: &mut Vec<FreeArea>,
) -> Result<JournalScan, InspectError> {
    let checkpoint_lsn = checkpoint.map(|checkpoint| checkpoint.lsn);
    let mut scanner = Scanner {
        folder,
        checkpoint,
        checkpoint_lsn: checkpoint_lsn.unwrap_or(0),
        findings,
        free,
        scan: JournalScan::default(),
    };
    let mut files = scanner.read_files(store)?;
    files.sort_by_key(|file| file.header.sequence);
    scanner.scan.incarnation = files
        .iter()
        .map(|file| file.header.incarnation)
        .max()
        .unwrap_or(0);
    // Without a checkpoint: from the oldest file from which the sequences run without a gap.
    let start = if let Some(lsn) = checkpoint_lsn {
        files.iter().rposition(|file| file.header.first_lsn <= lsn + 1)
    } else {
        let breaks = |index: &usize| files[index - 1].header.sequence + 1 != files[*index].header.sequence;
        (!files.is_empty()).then(|| (1..files.len()).rfind(breaks).unwrap_or(0))
    };
    let needed = files.split_off(start.unwrap_or(0));
    for file in files {
        scanner.free_behind_header(&file);
    }
    scanner.scan.file_counts.1 = needed.len();
    let missing_from = checkpoint_lsn.unwrap_or(0) + 1;
    match needed.first() {
        Some(first) if start.is_none() => scanner.missing(&first.path, missing_from..first.header.first_lsn),
        None if missing_from > 1 => {
            scanner.missing(&folder.path.join(JOURNAL_FOLDER), missing_from - 1..missing_from);
        }
        _ => {}
    }
    scanner.walk(&needed, checkpoint_lsn);
    Ok(scanner.scan)
}

struct Scanner<'a> {
    folder: &'a DataFolder,
    checkpoint: Option<&'a Checkpoint>,
    checkpoint_lsn: Lsn,
    findings: &'a mut Vec<Finding>,
    free: &'a mut Vec<FreeArea>,
    scan: JournalScan,
}

impl Scanner<'_> {
    /// The files that were used. A header that is damaged is inferred from the frame behind it.
    fn read_files(&mut self, store: Option<StoreId>) -> Result<Vec<JournalFile>, InspectError> {
        let folder = self.folder.path.join(JOURNAL_FOLDER);
        let mut files = Vec::new();
        for name in self.folder.list(&folder)? {
            let path = folder.join(&name);
            if !name.ends_with(".journal") {
                continue;
            }
            let Some((bytes, unreadable)) = self.folder.read(&path)? else {
                continue;
            };
            if unreadable > 0 {
                self.find(&path, 0, Problem::Unreadable { count: unreadable });
            }
            self.scan.file_counts.0 += 1;
            self.scan.size_bytes += bytes.len() as u64;
            let bytes = Bytes::from(bytes);
            let decoded = FileHeader::decode(&bytes);
            let header_bytes = &bytes[..bytes.len().min(HEADER_SIZE_BYTES)];
            if decoded.is_none() && header_bytes.iter().all(|byte| *byte == 0) {
                self.free_area(&path, header_bytes.len() as u64..bytes.len() as u64);
                continue;
            }
            if decoded.is_none() {
                self.find(&path, 0, Problem::JournalHeader);
            }
            match decoded.or_else(|| header_by_frame(&bytes)) {
                Some(header) if store.is_some_and(|store| store != header.store) => {
                    self.find(&path, 0, Problem::ForeignJournal);
                }
                Some(header) => files.push(JournalFile { path, bytes, header }),
                None => self.free_area(&path, BLOCK_SIZE_BYTES as u64..bytes.len() as u64),
            }
        }
        Ok(files)
    }

    fn walk(&mut self, files: &[JournalFile], checkpoint_lsn: Option<Lsn>) {
        let Some(first) = files.first() else { return };
        let mut chain = Chain {
            last_lsn: first.header.first_lsn - 1,
            last_crc: first.header.previous_crc,
        };
        for (index, file) in files.iter().enumerate() {
            if file.header.first_lsn != chain.last_lsn + 1 {
                self.missing(&file.path, chain.last_lsn + 1..file.header.first_lsn);
            } else if file.header.previous_crc != chain.last_crc {
                self.missing(&file.path, chain.last_lsn..file.header.first_lsn);
            }
            chain = Chain {
                last_lsn: file.header.first_lsn - 1,
                last_crc: file.header.previous_crc,
            };
            self.check_padding(file, HEADER_SIZE_BYTES..BLOCK_SIZE_BYTES);
            let end_lsn = files.get(index + 1).map(|next| next.header.first_lsn - 1);
            self.walk_file(file, &mut chain, end_lsn);
        }
        self.scan.last_lsn = chain.last_lsn;
        if let Some(lsn) = checkpoint_lsn.filter(|lsn| *lsn > chain.last_lsn)
            && !self.scan.is_damaged
        {
            self.missing(&files[files.len() - 1].path, chain.last_lsn + 1..lsn + 1);
        }
    }

    /// Reads the frames of one file up to `end_lsn`, or to its end if it is the newest.
    fn walk_file(&mut self, file: &JournalFile, chain: &mut Chain, end_lsn: Option<Lsn>) {
        let mut position = BLOCK_SIZE_BYTES;
        while end_lsn.is_none_or(|end| chain.last_lsn < end) {
            if let Some((header, crc)) = frame_at(file, position)
                && (header.lsn, header.previous_crc) == (chain.last_lsn + 1, chain.last_crc)
            {
                self.take_frame(file, position, header);
                (chain.last_lsn, chain.last_crc) = (header.lsn, crc);
                position += header.size_bytes();
                continue;
            }
            // Damage, or the end: what a later frame of the same run follows is damage.
            let blocks = (position + BLOCK_SIZE_BYTES..file.bytes.len()).step_by(BLOCK_SIZE_BYTES);
            let mut later = blocks.filter_map(|position| Some((position, frame_at(file, position)?.0)));
            let limit = end_lsn.unwrap_or(Lsn::MAX);
            let found = later.find(|(_, header)| header.lsn > chain.last_lsn + 1 && header.lsn <= limit);
            let next_lsn = found.map_or(end_lsn.map(|end| end + 1), |(_, header)| Some(header.lsn));
            let rest = &file.bytes[position.min(file.bytes.len())..];
            let is_torn = expected(file, position, chain).resembles(rest);
            if let Some(next_lsn) = next_lsn {
                self.lost(&file.path, position, chain.last_lsn + 1..next_lsn);
            } else if is_torn {
                let lsn = chain.last_lsn + 1;
                self.find(&file.path, position as u64, Problem::JournalEnd { lsn });
                self.scan.is_damaged = true;
            }
            let Some((found_position, header)) = found else {
                if is_torn {
                    self.salvage(file, position..position + 1, chain.last_lsn + 1);
                    position += BLOCK_SIZE_BYTES;
                }
                break;
            };
            self.salvage(file, position..found_position, chain.last_lsn + 1);
            position = found_position;
            *chain = Chain {
                last_lsn: header.lsn - 1,
                last_crc: header.previous_crc,
            };
        }
        self.scan.used_bytes += position as u64;
        self.free_area(&file.path, position as u64..file.bytes.len() as u64);
    }

    fn take_frame(&mut self, file: &JournalFile, position: usize, header: FrameHeader) {
        self.scan.groups.push(JournalGroup {
            file: self.folder.relative(&file.path),
            position: position as u64,
            store: header.store,
            incarnation: header.incarnation,
            lsn: header.lsn,
            durable_upto: header.durable_upto,
            size_bytes: header.size_bytes() as u64,
            entry_count: header.entry_count,
        });
        let start = position + HEADER_SIZE_BYTES;
        let end = start + header.payload_length as usize;
        self.check_padding(file, end..position + header.size_bytes());
        let Some(found) = entries(file.bytes.slice(start..end), header.entry_count) else {
            self.find(
                &file.path,
                position as u64,
                Problem::JournalEntries { lsn: header.lsn },
            );
            self.scan.is_damaged = true;
            return;
        };
        for entry in found {
            self.take_entry(file, position, header.lsn, entry);
        }
    }

    fn take_entry(&mut self, file: &JournalFile, position: usize, lsn: Lsn, entry: FrameEntry) {
        let (partition, offset) = (entry.partition, entry.offset);
        let source = match entry.content {
            Content::Batch { bytes, .. } => self.take_batch(partition, offset, bytes, lsn).err(),
            Content::Extent(extent) => {
                self.take_extent(partition, offset, &extent, lsn);
                None
            }
            Content::StartMoved => {
                if lsn > self.checkpoint_lsn {
                    self.scan.starts.push((partition, offset));
                }
                None
            }
        };
        if let Some(source) = source {
            let problem = Problem::JournalBatch { lsn, offset, source };
            self.find(&file.path, position as u64, problem);
            self.scan.is_damaged = true;
        }
    }

    /// Takes a batch, or claims its offsets if it is damaged.
    fn take_batch(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        bytes: Bytes,
        lsn: Lsn,
    ) -> Result<(), BatchError> {
        let header = batch::verify(&bytes);
        match header {
            Ok(header) if header.base_offset == offset => {
                if lsn > self.checkpoint_lsn {
                    self.scan.batches.push(JournalBatch {
                        partition,
                        header,
                        bytes,
                    });
                }
                Ok(())
            }
            header => {
                self.claim(partition, offset, &bytes);
                Err(header.err().unwrap_or(BatchError::Offsets {
                    base_offset: offset.0 as i64,
                    last_offset_delta: 0,
                }))
            }
        }
    }

    /// Takes the batches of a large write, whose whole blocks are in its segment. One that the checkpoint covers is
    /// read with the segment.
    fn take_extent(&mut self, partition: PartitionId, first: Offset, extent: &Extent, lsn: Lsn) {
        let next = extent.next_offset(first);
        let known = self.checkpoint.and_then(|known| known.partitions.get(&partition));
        if lsn <= self.checkpoint_lsn || known.is_some_and(|known| next <= known.flushed.next_offset) {
            return;
        }
        let dir = partition_folder(&self.folder.path, partition);
        let path = log_path(&dir, extent.place.segment);
        let range = extent.blocks();
        let mut blocks = vec![0; (range.end - range.start) as usize];
        if let Ok(Some(file)) = self.folder.open_file(&path) {
            read_around(&*file, &mut blocks, range.start);
        }
        self.scan.extents.push((path.clone(), range.clone()));
        let whole = extent.assemble(first, &blocks);
        if whole.is_none() {
            let problem = Problem::Extent {
                lsn,
                lost: first..next,
            };
            self.findings.push(Finding {
                file: self.folder.relative(&path),
                position: Some(extent.place.position),
                partition: Some(partition),
                problem,
            });
            self.scan.is_damaged = true;
            self.scan.claimed.push((partition, first..next));
        }
        // Of a damaged run, the batches up to the damage are saved.
        let run = whole.unwrap_or_else(|| Bytes::from([&extent.head[..], &blocks, &extent.tail].concat()));
        let mut offset = first;
        for (header, bytes) in batch::batches(&run).map_while(Result::ok) {
            if header.base_offset != offset || self.take_batch(partition, offset, bytes, lsn).is_err() {
                break;
            }
            offset = header.next_offset();
        }
    }

    /// Takes batches that are intact by their own checksums out of frames that are not, which begin in `starts`.
    ///
    /// A batch that is intact has its offset twice, in its header and in front of it; one that is not still claims
    /// its offsets. Recovery of a log never does this.
    fn salvage(&mut self, file: &JournalFile, starts: Range<usize>, lsn: Lsn) {
        if lsn <= self.checkpoint_lsn {
            return;
        }
        for start in starts.step_by(BLOCK_SIZE_BYTES) {
            let mut rest = file
                .bytes
                .slice((start + HEADER_SIZE_BYTES).min(file.bytes.len())..);
            while let Some(FrameEntry {
                partition,
                offset,
                content,
            }) = take_entry(&mut rest)
            {
                match content {
                    // Behind the last entry there are zeros.
                    Content::Batch { bytes, .. } if bytes.len() < batch::HEADER_SIZE_BYTES => break,
                    Content::Batch { bytes, .. } => {
                        let _ = self.take_batch(partition, offset, bytes, lsn);
                    }
                    Content::Extent(extent) => self.take_extent(partition, offset, &extent, lsn),
                    // What was not read for certain moves no start: it would give up records.
                    Content::StartMoved => {}
                }
            }
        }
    }

    /// Remembers the offsets of a damaged batch, as far as its header and what stands before it agree.
    fn claim(&mut self, partition: PartitionId, offset: Offset, bytes: &Bytes) {
        if let Ok(header) = BatchHeader::parse_whole(bytes)
            && header.base_offset == offset
        {
            let count = header
                .record_count
                .min(header.last_offset_delta.saturating_add(1));
            let end = offset.plus(count.max(0) as u64);
            self.scan.claimed.push((partition, offset..end));
        }
    }

    fn missing(&mut self, path: &Path, groups: Range<Lsn>) {
        self.lost(path, 0, groups);
    }

    fn lost(&mut self, path: &Path, position: usize, groups: Range<Lsn>) {
        self.find(path, position as u64, Problem::JournalGroups { groups });
        self.scan.is_damaged = true;
    }

    fn check_padding(&mut self, file: &JournalFile, range: Range<usize>) {
        let padding = &file.bytes[range.start.min(file.bytes.len())..range.end.min(file.bytes.len())];
        let count = padding.iter().filter(|byte| **byte != 0).count();
        if let Some(first) = padding.iter().position(|byte| *byte != 0) {
            self.find(
                &file.path,
                (range.start + first) as u64,
                Problem::Padding { count },
            );
        }
    }

    /// A file that may be written over: only its header means something.
    fn free_behind_header(&mut self, file: &JournalFile) {
        self.free_area(&file.path, HEADER_SIZE_BYTES as u64..file.bytes.len() as u64);
    }

    fn free_area(&mut self, path: &Path, range: Range<u64>) {
        if !range.is_empty() {
            let file = self.folder.relative(path);
            self.free.push(FreeArea { file, range });
        }
    }

    fn find(&mut self, path: &Path, position: u64, problem: Problem) {
        self.findings.push(Finding {
            file: self.folder.relative(path),
            position: Some(position),
            partition: None,
            problem,
        });
    }
}

/// The header that a frame at `position` would have.
fn expected(file: &JournalFile, position: usize, chain: &Chain) -> FrameHeader {
    FrameHeader {
        store: file.header.store,
        incarnation: file.header.incarnation,
        file_sequence: file.header.sequence,
        lsn: chain.last_lsn + 1,
        durable_upto: 0,
        block: (position / BLOCK_SIZE_BYTES) as u32,
        previous_crc: chain.last_crc,
        payload_length: 0,
        entry_count: 0,
    }
}

/// The intact frame at `position`, if it belongs to this place of this file.
fn frame_at(file: &JournalFile, position: usize) -> Option<(FrameHeader, u32)> {
    let (frame, crc) = FrameHeader::decode(file.bytes.get(position..)?)?;
    let belongs = frame.store == file.header.store
        && frame.incarnation == file.header.incarnation
        && frame.file_sequence == file.header.sequence
        && frame.block as usize == position / BLOCK_SIZE_BYTES;
    belongs.then_some((frame, crc))
}

/// The header that a file must have had whose first frame is intact.
fn header_by_frame(bytes: &[u8]) -> Option<FileHeader> {
    let (frame, _) = FrameHeader::decode(bytes.get(BLOCK_SIZE_BYTES..)?)?;
    Some(FileHeader {
        store: frame.store,
        incarnation: frame.incarnation,
        sequence: frame.file_sequence,
        first_lsn: frame.lsn,
        previous_crc: frame.previous_crc,
    })
}
