//! Gives batches from elsewhere, with the offsets that they have, to empty partitions of a store.

use std::path::Path;
use std::sync::Arc;

use super::InspectError;
use super::draft::{Drafts, Gap, SegmentDraft, publish};
use super::folder::{Access, DataFolder};
use super::survey::{Depth, place_of, survey_to};
use crate::log::batch::BatchHeader;
use crate::log::checkpoint::{CheckpointFiles, PartitionCheckpoint};
use crate::log::io::{Disk, Environment};
use crate::log::producers::ProducerTable;
use crate::log::segment::FlushedPosition;
use crate::log::{Log, LogOptions, Offset, PartitionId, SEGMENT_SIZE_MAX_BYTES, TopicId, TopicSpec};

/// Largest distance of an offset from the base of its segment: 31 bits, as in Kafka.
const RELATIVE_OFFSET_MAX: u64 = i32::MAX as u64;

/// Writes the segments of one partition.
pub(super) struct PartitionDraft {
    disk: Arc<dyn Disk>,
    dir: std::path::PathBuf,
    log_start: Offset,
    draft: Option<SegmentDraft>,
    drafts: Drafts,
    producers: ProducerTable,
    /// Batches and bytes that were taken.
    pub(super) taken: (u64, u64),
}

/// A partition that was adopted.
pub(super) type Adopted = (PartitionId, PartitionCheckpoint);

impl PartitionDraft {
    fn new(disk: &Arc<dyn Disk>, dir: &Path, log_start: Offset) -> PartitionDraft {
        PartitionDraft {
            disk: Arc::clone(disk),
            dir: dir.to_path_buf(),
            log_start,
            draft: None,
            drafts: Vec::new(),
            producers: ProducerTable::default(),
            taken: (0, 0),
        }
    }

    /// Takes the next batch. Offsets that are missing before it were compacted.
    pub(super) fn push(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<(), InspectError> {
        if header.next_offset() <= self.log_start {
            return Ok(());
        }
        let end = self.draft.as_ref().map(SegmentDraft::end);
        let fits = |end: FlushedPosition| {
            end.position + header.size_bytes() as u64 <= SEGMENT_SIZE_MAX_BYTES
                && header.last_offset().0 - end.segment.0 <= RELATIVE_OFFSET_MAX
        };
        if !end.is_some_and(fits) {
            if let Some(full) = self.draft.take() {
                self.drafts.extend(full.finish(true)?.1);
            }
            let first = header.base_offset.min(self.log_start);
            let base_offset = end.map_or(first, |end| end.next_offset);
            self.draft = Some(SegmentDraft::create(&self.disk, &self.dir, base_offset)?);
        }
        if let Some(draft) = &mut self.draft {
            draft.push(header, bytes, Gap::Absent)?;
        }
        self.producers.apply(header, header.base_offset);
        self.taken.0 += 1;
        self.taken.1 += header.size_bytes() as u64;
        Ok(())
    }

    /// Completes the segments; none for a partition without any batch and without a begin.
    fn finish(mut self) -> Result<Option<PartitionCheckpoint>, InspectError> {
        let mut flushed = FlushedPosition {
            segment: self.log_start,
            position: 0,
            next_offset: self.log_start,
        };
        if let Some(draft) = self.draft.take() {
            let (end, drafts) = draft.finish(false)?;
            flushed = end;
            self.drafts.extend(drafts);
        }
        publish(&*self.disk, &self.drafts)?;
        let is_empty = flushed.next_offset == Offset::ZERO;
        Ok((!is_empty).then_some(PartitionCheckpoint {
            log_start: self.log_start,
            cleaned: Offset::ZERO,
            flushed,
            producers: self.producers,
        }))
    }
}

/// Creates topics in the store at `target`, which is created if it is not there; nothing has it open afterwards.
pub(super) fn create_topics<'t>(
    environment: &Environment,
    target: &Path,
    topics: impl IntoIterator<Item = (&'t str, TopicSpec, Option<TopicId>)>,
) -> Result<Vec<Vec<PartitionId>>, InspectError> {
    let log = Log::open_in(environment.clone(), target, LogOptions::default())?;
    let mut created = Vec::new();
    for (name, spec, id) in topics {
        let topic = match id {
            Some(id) => log.create_topic_with_id(name, &spec, id)?,
            None => log.create_topic(name, &spec)?,
        };
        created.push(topic.partitions.iter().map(super::super::Partition::id).collect());
    }
    log.close()?;
    Ok(created)
}

/// The store whose partitions are filled, with its lock.
pub(super) struct Target {
    folder: DataFolder,
    adopted: Vec<Adopted>,
}

impl Target {
    pub(super) fn open(environment: &Environment, path: &Path) -> Result<Target, InspectError> {
        Ok(Target {
            folder: DataFolder::open(Arc::clone(&environment.disk), path, Access::Locked)?,
            adopted: Vec::new(),
        })
    }

    /// Fills an empty partition that begins at `log_start`; `give` gives the batches in order.
    pub(super) fn fill(
        &mut self,
        id: PartitionId,
        log_start: Offset,
        give: impl FnOnce(&mut PartitionDraft) -> Result<(), InspectError>,
    ) -> Result<(u64, u64), InspectError> {
        let dir = place_of(&self.folder, None, id).dir;
        let mut draft = PartitionDraft::new(&self.folder.disk, &dir, log_start);
        give(&mut draft)?;
        let taken = draft.taken;
        self.adopted
            .extend(draft.finish()?.map(|checkpoint| (id, checkpoint)));
        Ok(taken)
    }

    /// Lets the store have the partitions: they are empty until this returns.
    pub(super) fn finish(self) -> Result<(), InspectError> {
        let found = survey_to(&self.folder, Depth::Outline)?;
        let (Some(store), Some(mut checkpoint)) = (found.store, found.checkpoint) else {
            let path = self.folder.path;
            return Err(InspectError::NotAStore { path });
        };
        checkpoint.number += 1;
        checkpoint.partitions.extend(self.adopted);
        let (mut files, _) = CheckpointFiles::open(&*self.folder.disk, &self.folder.path, store)?;
        files.secure(&*self.folder.disk)?;
        Ok(files.write(&checkpoint)?)
    }
}
