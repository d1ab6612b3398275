//! What is stored, batch by batch and group by group, in the order of the files.

use std::path::PathBuf;

use bytes::Bytes;

use super::finding::Problem;
use super::journal::JournalGroup;
use super::partition::has_holes;
use super::segment::{Bounds, walk};
use super::survey::{Depth, place_of, survey_to};
use super::{DataFolder, InspectError};
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

/// The groups of the journal that are still needed or lie before them, in order.
pub fn journal(folder: &DataFolder) -> Result<Vec<JournalGroup>, InspectError> {
    Ok(survey_to(folder, Depth::Outline)?.journal.groups)
}

/// The partitions of a topic, or the one with that index; without a topic the log's own metadata.
pub fn partitions(
    folder: &DataFolder,
    topic: Option<&str>,
    index: Option<u32>,
) -> Result<Vec<(u32, PartitionId)>, InspectError> {
    let found = survey_to(folder, Depth::Outline)?;
    let of_topic = found
        .partitions
        .iter()
        .filter(|(_, partition)| partition.topic.as_deref() == topic)
        .filter(|(_, partition)| index.is_none_or(|index| index == partition.index));
    let mut partitions: Vec<_> = of_topic.map(|(id, partition)| (partition.index, *id)).collect();
    partitions.sort_unstable();
    match (partitions.is_empty(), topic, index) {
        (true, Some(topic), Some(partition)) => Err(InspectError::UnknownPartition {
            topic: topic.to_owned(),
            partition,
        }),
        (true, Some(topic), None) => Err(InspectError::UnknownTopic {
            topic: topic.to_owned(),
        }),
        _ => Ok(partitions),
    }
}

/// Shows each intact batch of a partition that ends behind `from`, those in segments first. Damage is passed over,
/// and told.
pub fn batches(
    folder: &DataFolder,
    id: PartitionId,
    from: Offset,
    mut show: impl FnMut(DumpedBatch),
) -> Result<Vec<(PathBuf, Problem)>, InspectError> {
    let found = survey_to(folder, Depth::Outline)?;
    let place = place_of(folder, found.store, id);
    let known = found
        .checkpoint
        .as_ref()
        .and_then(|known| known.partitions.get(&id));
    // Without a checkpoint, all there is; with one that does not name the partition, nothing.
    let end = match (&found.checkpoint, known) {
        (None, _) => None,
        (Some(_), known) => Some(known.map_or(Offset::ZERO, |known| known.flushed.next_offset)),
    };
    let names = folder.list(&place.dir)?;
    let mut bases: Vec<_> = names.iter().filter_map(|name| base_offset_of(name)).collect();
    bases.sort_unstable();
    bases.retain(|base| end.is_none_or(|end| *base < end));
    let (mut problems, mut shown) = (Vec::new(), end.unwrap_or_default());
    for (index, base_offset) in bases.iter().enumerate() {
        let next_offset = bases.get(index + 1).copied().or(end);
        if next_offset.is_some_and(|next_offset| next_offset <= from) {
            continue;
        }
        let is_last = index + 1 == bases.len();
        let bounds = Bounds {
            base_offset: *base_offset,
            next_offset,
            end: known.filter(|_| is_last).map(|known| known.flushed.position),
            has_holes: has_holes(&place, *base_offset),
        };
        let path = SegmentPaths::new(&place.dir, *base_offset).log;
        let file = folder.relative(&path);
        let walked = walk(&*folder.disk, &path, &bounds, |position, header, bytes| {
            shown = shown.max(header.next_offset());
            if header.next_offset() > from {
                show(DumpedBatch {
                    file: Some(file.clone()),
                    position: Some(position),
                    header: *header,
                    bytes: bytes.clone(),
                });
            }
        })?;
        let walked = walked.into_iter().flat_map(|walk| walk.problems);
        problems.extend(walked.map(|(_, problem)| (file.clone(), problem)));
    }
    for batch in found
        .journal
        .batches
        .into_iter()
        .filter(|batch| batch.partition == id)
    {
        if batch.header.base_offset >= shown && batch.header.next_offset() > from {
            show(DumpedBatch {
                file: None,
                position: None,
                header: batch.header,
                bytes: batch.bytes,
            });
        }
    }
    Ok(problems)
}
