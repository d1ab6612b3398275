//! What recovery gives back to the partitions: the journal's entries behind the checkpoint.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{self, BatchHeader, Place};
use super::io::{Disk, OpenMode};
use super::journal::Extent;
use super::journal::frame::{Content, FrameEntry};
use super::log::OpenError;
use super::partition_state::PartitionState;
use super::recovery::{Partitions, io_error};
use super::segment::log_path;
use super::{Offset, extent_reader};

/// What the journal gave back to the partitions.
#[derive(Debug, Default)]
pub struct Restored {
    /// Partitions that have something to flush.
    pub dirty: Vec<Arc<PartitionState>>,
    /// Batches that were read back.
    pub batches: usize,
    /// Bytes of them.
    pub size_bytes: usize,
    /// Segments that hold blocks of extents.
    segments: BTreeSet<PathBuf>,
}

impl Restored {
    /// Gives the journal's entries back to their partitions; those of deleted partitions are dropped.
    pub fn restore(
        &mut self,
        disk: &dyn Disk,
        partitions: &Partitions,
        entries: Vec<FrameEntry>,
    ) -> Result<(), OpenError> {
        for entry in entries {
            let Some(state) = partitions.get(&entry.partition) else {
                continue;
            };
            match entry.content {
                Content::Batch {
                    begins_segment,
                    bytes,
                } => {
                    let place = begins_segment.then_some(Place {
                        segment: entry.offset,
                        position: 0,
                    });
                    self.batch(state, bytes, place)?;
                }
                Content::Extent(extent) => self.extent(disk, state, entry.offset, &extent)?,
                Content::StartMoved => {
                    if state.restore_start(entry.offset) {
                        self.dirty.push(Arc::clone(state));
                    }
                }
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        state: &Arc<PartitionState>,
        bytes: Bytes,
        place: Option<Place>,
    ) -> Result<(), OpenError> {
        let partition = state.id();
        let header =
            BatchHeader::parse_whole(&bytes).map_err(|source| OpenError::Batch { partition, source })?;
        let found = header.base_offset;
        self.batches += 1;
        self.size_bytes += bytes.len();
        let restored = state.restore(bytes, &header, place);
        if restored.map_err(|end| OpenError::Gap {
            partition,
            end,
            found,
        })? {
            self.dirty.push(Arc::clone(state));
        }
        Ok(())
    }

    fn extent(
        &mut self,
        disk: &dyn Disk,
        state: &Arc<PartitionState>,
        first: Offset,
        extent: &Extent,
    ) -> Result<(), OpenError> {
        if extent.next_offset(first) <= state.high_watermark() {
            return Ok(());
        }
        let partition = state.id();
        let run = extent_reader::read_durable(disk, partition, state.folder(), first, extent)?;
        let mut place = extent.place;
        for found in batch::batches(&run) {
            let (_, bytes) = found.map_err(|source| OpenError::Batch { partition, source })?;
            let size_bytes = bytes.len() as u64;
            self.batch(state, bytes, Some(place))?;
            place.position += size_bytes;
        }
        self.segments
            .insert(log_path(state.folder(), extent.place.segment));
        Ok(())
    }

    /// Blocks that a killed process wrote may be in the device's cache only, and how they are allocated in the
    /// filesystem's: nothing is served before they are durable.
    pub fn sync(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        for path in &self.segments {
            let synced = disk.open(path, OpenMode::ReadWrite).and_then(|file| file.sync());
            synced.map_err(io_error("sync", path))?;
        }
        Ok(())
    }
}
