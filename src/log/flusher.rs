//! The flusher: moves tails into segments and records how far in the checkpoint.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::anchor::{AnchorError, AnchorFile};
use super::batch::{BatchError, BatchHeader};
use super::checkpoint::{Checkpoint, CheckpointError, CheckpointFiles, PartitionCheckpoint};
use super::direct::DirectSegments;
use super::io::Disk;
use super::journal::Lsn;
use super::partition_state::PartitionState;
use super::planted::{self, Bug};
use super::producers::ProducerTable;
use super::retained::Retained;
use super::segment::SegmentError;

/// Partitions in one flush from which on the whole filesystem is synced at once. 256: with 10,000 partitions one sync
/// let 96 MB/s through, one for each 69; below, a sync of everybody's files is a high price.
const SYNC_ALL_MIN: usize = 256;

/// What a flush came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushOutcome {
    /// Everything published before it is durable in segments.
    Flushed,
    /// The disk has no room; tails and journal keep what could not be moved.
    StorageFull,
}

/// Why the flusher cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// A segment could not be written or synced.
    #[error("could not flush partition {partition}")]
    Segment {
        /// The partition.
        partition: super::PartitionId,
        /// The cause.
        source: SegmentError,
    },
    /// A batch in memory is not what was appended.
    #[error("batch of partition {partition} changed in memory")]
    Batch {
        /// The partition.
        partition: super::PartitionId,
        /// The cause.
        source: BatchError,
    },
    /// The filesystem could not be synced.
    #[error("could not sync the filesystem of {path}", path = path.display())]
    SyncAll {
        /// The data folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The checkpoint could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The anchor could not be written.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
}

impl FlushError {
    /// Whether there was no room for a segment.
    fn is_storage_full(&self) -> bool {
        matches!(self, FlushError::Segment { source, .. } if source.is_storage_full())
    }
}

/// The newest checkpoint, in memory and on disk, and the segments that large writes go to.
#[derive(Debug)]
pub struct Flusher {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    files: CheckpointFiles,
    checkpoint: Checkpoint,
    anchor: AnchorFile,
    direct: DirectSegments,
    retained: Retained,
}

impl Flusher {
    /// A flusher that continues from `checkpoint`.
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        files: CheckpointFiles,
        checkpoint: Checkpoint,
        anchor: AnchorFile,
        direct: DirectSegments,
        retained: Retained,
    ) -> Flusher {
        Flusher {
            disk,
            folder,
            files,
            checkpoint,
            anchor,
            direct,
            retained,
        }
    }

    /// Moves the tails of `dirty` into segments, makes them durable, and then says so in a checkpoint at
    /// `lsn`, up to which every batch must have been published before.
    pub fn flush(&mut self, lsn: Lsn, dirty: &[Arc<PartitionState>]) -> Result<FlushOutcome, FlushError> {
        if dirty.is_empty() && lsn == self.checkpoint.lsn {
            return Ok(FlushOutcome::Flushed);
        }
        let mut written = Vec::with_capacity(dirty.len());
        // Known before the first write: so many files do not stay open until their syncs. A flush that a full disk ends
        // leaves all of them dirty, so the next one is as large.
        let syncs_all = dirty.len() >= SYNC_ALL_MIN;
        for partition in dirty.iter().filter(|partition| !partition.is_deleted()) {
            let mut size_bytes = self.write(partition, syncs_all);
            if size_bytes.as_ref().is_err_and(FlushError::is_storage_full) && self.direct.release_all() {
                // What is reserved ahead of some partitions is what others need.
                size_bytes = self.write(partition, syncs_all);
            }
            match size_bytes {
                Ok(size_bytes) => written.push((partition, size_bytes)),
                Err(error) if error.is_storage_full() => return Ok(FlushOutcome::StorageFull),
                Err(error) => return Err(error),
            }
        }
        // Space ahead comes after what must be written now.
        for (partition, size_bytes) in &written {
            self.direct.prepare(partition, *size_bytes as u64);
        }
        if syncs_all {
            self.sync_all()?;
        }
        for (partition, _) in &written {
            let segment_error = |source| FlushError::Segment {
                partition: partition.id(),
                source,
            };
            let segments = partition.segments().map_err(segment_error)?;
            if syncs_all {
                segments.sync_rest().map_err(segment_error)?;
            } else if !planted::is(Bug::CheckpointBeforeSync) {
                segments.sync().map_err(segment_error)?;
            }
            let entry = self.entry(partition);
            entry.flushed = segments.flushed();
            // The journal that holds the move may be freed behind this checkpoint.
            (entry.log_start, entry.cleaned) = (partition.log_start(), partition.cleaned());
        }
        self.direct.open_prepared();
        let lsn_saved = lsn + u64::from(planted::is(Bug::CheckpointAhead));
        let mut saved = self.save(lsn_saved);
        if saved.as_ref().is_err_and(CheckpointError::is_storage_full) && self.direct.release_all() {
            saved = self.save(lsn_saved);
        }
        match saved {
            Ok(()) => {}
            Err(error) if error.is_storage_full() => return Ok(FlushOutcome::StorageFull),
            Err(error) => return Err(error.into()),
        }
        self.write_anchor(lsn)?;
        for (partition, size_bytes) in written {
            if let Some(entry) = self.checkpoint.partitions.get(&partition.id()) {
                partition.end_checkpoint(entry.flushed.segment);
                if size_bytes > 0 {
                    self.retained
                        .keep(partition, entry.flushed.next_offset, size_bytes);
                }
            }
        }
        Ok(FlushOutcome::Flushed)
    }

    /// Makes durable what was written to all files of the filesystem.
    fn sync_all(&self) -> Result<(), FlushError> {
        let synced = self.disk.sync_all(&self.folder);
        synced.map_err(|source| FlushError::SyncAll {
            path: self.folder.clone(),
            source,
        })
    }

    /// Says apart from the journal that every group up to `lsn` is durable.
    pub fn write_anchor(&mut self, lsn: Lsn) -> Result<(), FlushError> {
        if lsn <= self.anchor.lsn() {
            return Ok(());
        }
        match self.anchor.write(lsn) {
            // The one before stays true.
            Err(error) if error.is_storage_full() => Ok(()),
            written => Ok(written?),
        }
    }

    /// Up to which group everything is durable in segments.
    pub fn lsn(&self) -> Lsn {
        self.checkpoint.lsn
    }

    /// Drops a deleted partition from the checkpoint.
    pub fn forget(&mut self, partition: &PartitionState) {
        self.checkpoint.partitions.remove(&partition.id());
        self.direct.forget(partition);
    }

    /// Drops from memory what is in segments.
    pub fn drop_retained(&mut self) {
        self.retained.clear();
    }

    /// Gives back all space that is reserved ahead for large writes; those go to the journal from here on.
    pub fn release_direct(&mut self) {
        self.direct.release_all();
    }

    /// Writes the partition's tail to its segments and tells how many bytes it had. Where a sync of everything
    /// follows, no file stays open for it.
    fn write(&mut self, partition: &Arc<PartitionState>, syncs_all: bool) -> Result<usize, FlushError> {
        let segment_error = |source| FlushError::Segment {
            partition: partition.id(),
            source,
        };
        let batches = partition.begin_flush().map_err(segment_error)?;
        let segments = partition.segments().map_err(segment_error)?;
        let appended = segments.append(&batches);
        if syncs_all {
            segments.release_files();
        }
        // A disk that is full half-way keeps the first batches: the next attempt passes over them.
        let end = segments.flushed().next_offset;
        let entry = self.entry(partition);
        for batch in batches.iter().filter(|batch| batch.next_offset <= end) {
            let header = BatchHeader::parse(&batch.bytes);
            let header = header.map_err(|source| FlushError::Batch {
                partition: partition.id(),
                source,
            })?;
            if !planted::is(Bug::ForgetProducersInCheckpoint) {
                entry.producers.apply(&header, batch.base_offset);
            }
        }
        appended.map_err(segment_error)?;
        partition.roll_if_asked().map_err(segment_error)?;
        Ok(batches.iter().map(|batch| batch.bytes.len()).sum())
    }

    fn entry(&mut self, partition: &Arc<PartitionState>) -> &mut PartitionCheckpoint {
        self.checkpoint
            .partitions
            .entry(partition.id())
            .or_insert_with(|| PartitionCheckpoint {
                log_start: partition.log_start(),
                cleaned: partition.cleaned(),
                flushed: super::segment::FlushedPosition {
                    segment: super::Offset::ZERO,
                    position: 0,
                    next_offset: super::Offset::ZERO,
                },
                producers: ProducerTable::default(),
            })
    }

    /// Writes the checkpoint at `lsn`. After a failure it is still the one before: the next attempt writes to
    /// the same file again, and never over the only one that is whole.
    fn save(&mut self, lsn: Lsn) -> Result<(), CheckpointError> {
        let before = (self.checkpoint.number, self.checkpoint.lsn);
        (self.checkpoint.number, self.checkpoint.lsn) = (before.0 + 1, lsn);
        let written = self.files.write(&self.checkpoint);
        if written.is_err() {
            (self.checkpoint.number, self.checkpoint.lsn) = before;
        }
        written
    }
}
