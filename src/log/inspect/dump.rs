//! What is stored, batch by batch and group by group, in the order of the files.

use std::path::PathBuf;

use bytes::Bytes;

use super::finding::Problem;
use super::journal::JournalGroup;
use super::partition::has_holes;
use super::segment::{Bounds, walk};
use super::survey::{Depth, place_of, survey_to};
use super::{DataFolder, InspectError, Survey};
use crate::log::batch::BatchHeader;
use crate::log::segment::{SegmentPaths, base_offset_of};
use crate::log::{Offset, PartitionId};

/// A batch and where it is.
#[derive(Clone, Debug)]
pub struct DumpedBatch {
    /// The file, relative to the data folder; none for a batch that is in the journal only.
    pub file: Option<PathBuf>,
    /// Its position in the file.
    pub position: Option<u64>,
    /// Its header.
    pub header: BatchHeader,
    /// The batch.
    pub bytes: Bytes,
}

/// The outline of a data folder, to show its content from.
#[derive(Debug)]
pub struct Dump<'a> {
    folder: &'a DataFolder,
    pub(super) outline: Survey,
}

impl<'a> Dump<'a> {
    /// Reads the outline: the journal, the catalog and the checkpoint.
    pub fn open(folder: &'a DataFolder) -> Result<Dump<'a>, InspectError> {
        let outline = survey_to(folder, Depth::Outline)?;
        Ok(Dump { folder, outline })
    }

    /// The groups of the journal that are still needed or lie before them, in order.
    pub fn journal(&self) -> &[JournalGroup] {
        &self.outline.journal.groups
    }

    /// The partitions of a topic, or the one with that index; without a topic the log's own metadata.
    pub fn partitions(
        &self,
        topic: Option<&str>,
        index: Option<u32>,
    ) -> Result<Vec<(u32, PartitionId)>, InspectError> {
        let partitions = self.outline.partitions.iter();
        let of_topic = partitions
            .filter(|(_, partition)| partition.topic.as_deref() == topic)
            .filter(|(_, partition)| index.is_none_or(|index| index == partition.index));
        let mut found: Vec<_> = of_topic.map(|(id, partition)| (partition.index, *id)).collect();
        found.sort_unstable();
        match (found.is_empty(), topic, index) {
            (true, Some(topic), Some(partition)) => Err(InspectError::UnknownPartition {
                topic: topic.to_owned(),
                partition,
            }),
            (true, Some(topic), None) => Err(InspectError::UnknownTopic {
                topic: topic.to_owned(),
            }),
            _ => Ok(found),
        }
    }

    /// Shows each intact batch of a partition that ends behind `from`, those in segments first. Damage is passed
    /// over, and told with the file that has it.
    pub fn batches(
        &self,
        id: PartitionId,
        from: Offset,
        mut show: impl FnMut(DumpedBatch),
    ) -> Result<Vec<(PathBuf, Problem)>, InspectError> {
        let mut shown = Offset::ZERO;
        let mut problems = Vec::new();
        for (path, bounds) in self.segments(id)? {
            if bounds.next_offset.is_some_and(|next_offset| next_offset <= from) {
                shown = shown.max(bounds.next_offset.unwrap_or_default());
                continue;
            }
            let file = self.folder.relative(&path);
            let walked = walk(&*self.folder.disk, &path, &bounds, |position, header, bytes| {
                if header.next_offset() > from {
                    show(DumpedBatch {
                        file: Some(file.clone()),
                        position: Some(position),
                        header: *header,
                        bytes: bytes.clone(),
                    });
                }
            })?;
            let Some(walked) = walked else { continue };
            shown = shown
                .max(walked.next_offset)
                .max(bounds.next_offset.unwrap_or_default());
            problems.extend(
                walked
                    .problems
                    .into_iter()
                    .map(|(_, problem)| (file.clone(), problem)),
            );
        }
        for batch in self
            .outline
            .journal
            .batches
            .iter()
            .filter(|batch| batch.partition == id)
        {
            if batch.header.base_offset >= shown && batch.header.next_offset() > from {
                show(DumpedBatch {
                    file: None,
                    position: None,
                    header: batch.header,
                    bytes: batch.bytes.clone(),
                });
            }
        }
        Ok(problems)
    }

    /// The segments of a partition up to the checkpoint's end: without a checkpoint all there are, and none where
    /// it does not name the partition.
    fn segments(&self, id: PartitionId) -> Result<Vec<(PathBuf, Bounds)>, InspectError> {
        let place = place_of(self.folder, self.outline.store, id);
        let checkpoint = self.outline.checkpoint.as_ref();
        let known = checkpoint.and_then(|checkpoint| checkpoint.partitions.get(&id));
        let flushed = known.map(|known| known.flushed);
        let end = match (checkpoint, flushed) {
            (None, _) => None,
            (Some(_), flushed) => Some(flushed.map_or(Offset::ZERO, |flushed| flushed.next_offset)),
        };
        let names = self.folder.list(&place.dir)?;
        let mut bases: Vec<_> = names.iter().filter_map(|name| base_offset_of(name)).collect();
        bases.sort_unstable();
        bases.retain(|base| end.is_none_or(|end| *base < end));
        let segments = bases.iter().enumerate().map(|(index, base_offset)| {
            let behind = bases.get(index + 1).copied();
            let bounds = Bounds {
                base_offset: *base_offset,
                next_offset: behind.or(end),
                end: flushed
                    .filter(|_| behind.is_none())
                    .map(|flushed| flushed.position),
                has_holes: has_holes(&place, *base_offset),
            };
            (SegmentPaths::new(&place.dir, *base_offset).log, bounds)
        });
        Ok(segments.collect())
    }
}
