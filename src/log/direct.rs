//! The segments that large writes go to directly: reserved, opened and given back by the flusher.
//!
//! The driver of the journal only asks whether a segment is ready; all that may wait for the disk is done
//! here. Until it is done, and where there is no room for it, large writes go through the journal.

use std::collections::VecDeque;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::Offset;
use super::io::{DurableWriter, FileSlot};
use super::partition_state::{DirectSpace, PartitionState};
use super::segment::{SEGMENT_SIZE_LIMIT_BYTES, log_path};

/// Partitions with a segment ready for direct writes at most. 64: each has a descriptor and reserved space.
const DIRECT_SEGMENTS_MAX: usize = 64;

/// A partition that wrote so much since the last flush gets its whole segment reserved: each time that a file is
/// extended, the filesystem waits for all direct writes to it.
const WHOLE_SEGMENT_MIN_BYTES: u64 = 16 * 1024 * 1024;

/// Others get so many times what the last flush wrote, and at least this: what lies ready must last until the next
/// flush is through.
const AHEAD_FACTOR: u64 = 4;
const AHEAD_MIN_BYTES: u64 = 4 * 1024 * 1024;

/// Slots that no partition names any more; whoever drives the journal closes them, since only it uses them.
#[derive(Debug, Default)]
pub struct RetiredSlots(Mutex<Vec<FileSlot>>);

impl RetiredSlots {
    fn push(&self, slot: FileSlot) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// The slots to close.
    pub fn take(&self) -> Vec<FileSlot> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which partitions have a segment ready for direct writes.
#[derive(Debug)]
pub struct DirectSegments {
    device: Arc<dyn DurableWriter>,
    retired: Arc<RetiredSlots>,
    /// The one that was made ready last at the back.
    ready: VecDeque<Arc<PartitionState>>,
    /// Reserved, and not durable yet.
    prepared: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    partition: Arc<PartitionState>,
    segment: Offset,
    end: u64,
    path: PathBuf,
}

impl DirectSegments {
    /// None ready yet; direct writes go through `device`.
    pub fn new(device: Arc<dyn DurableWriter>, retired: Arc<RetiredSlots>) -> DirectSegments {
        DirectSegments {
            device,
            retired,
            ready: VecDeque::new(),
            prepared: Vec::new(),
        }
    }

    /// Reserves space behind the segments of a partition that was just flushed, if large writes want it.
    pub fn prepare(&mut self, partition: &Arc<PartitionState>, flushed_bytes: u64) {
        let Ok(segments) = partition.segments() else {
            return;
        };
        let flushed = segments.flushed();
        let mut space = partition.direct_space();
        if space.is_some_and(|space| space.segment != flushed.segment) {
            self.forget(partition);
            space = None;
        }
        let ahead = flushed.position + (AHEAD_FACTOR * flushed_bytes).max(AHEAD_MIN_BYTES);
        let runs_low =
            space.is_some_and(|space| space.end < flushed.position + AHEAD_FACTOR / 2 * flushed_bytes);
        if !partition.wants_direct() && !runs_low {
            return;
        }
        let whole = (flushed_bytes >= WHOLE_SEGMENT_MIN_BYTES).then_some(SEGMENT_SIZE_LIMIT_BYTES);
        // A disk that has no room for all of it may have some.
        let extended = whole
            .and_then(|whole| segments.extend(whole))
            .or_else(|| segments.extend(ahead));
        if let Some((segment, end)) = extended {
            self.prepared.push(Prepared {
                partition: Arc::clone(partition),
                segment,
                end,
                path: log_path(partition.folder(), segment),
            });
        }
    }

    /// Opens what was prepared, and is durable by now, for direct writes.
    pub fn open_prepared(&mut self) {
        for prepared in mem::take(&mut self.prepared) {
            let Prepared {
                partition,
                segment,
                end,
                path,
            } = prepared;
            let known = partition.direct_space().filter(|space| space.segment == segment);
            let slot = if let Some(space) = known {
                space.slot
            } else {
                let Ok(slot) = self.device.attach(&path) else {
                    continue;
                };
                self.ready.push_back(Arc::clone(&partition));
                slot
            };
            partition.set_direct_space(Some(DirectSpace { segment, end, slot }));
        }
        while self.ready.len() > DIRECT_SEGMENTS_MAX
            && let Some(oldest) = self.ready.pop_front()
        {
            self.release(&oldest);
        }
    }

    /// Gives back all reserved space; false if there was none.
    pub fn release_all(&mut self) -> bool {
        let prepared = mem::take(&mut self.prepared).into_iter();
        let mut partitions: Vec<_> = prepared.map(|prepared| prepared.partition).collect();
        partitions.extend(mem::take(&mut self.ready));
        for partition in &partitions {
            self.release(partition);
        }
        !partitions.is_empty()
    }

    /// Closes the segment of a deleted partition, or the one that is full.
    pub fn forget(&mut self, partition: &PartitionState) {
        self.ready.retain(|ready| ready.id() != partition.id());
        self.close(partition);
    }

    /// Closes the segment and gives back what is reserved behind everything that was appended to it.
    fn release(&self, partition: &PartitionState) {
        self.close(partition);
        // Asked after no further write can choose the segment: all that have are in front of this place.
        let end = partition.append_place();
        if let Ok(segments) = partition.segments()
            && segments.flushed().segment == end.segment
            && let Err(error) = segments.shrink(end.position)
        {
            tracing::warn!(partition = partition.id().0, %error, "could not give back reserved space");
        }
    }

    fn close(&self, partition: &PartitionState) {
        if let Some(space) = partition.set_direct_space(None) {
            self.retired.push(space.slot);
        }
    }
}
