//! What a data folder holds, counted: the data itself is not read.

use std::collections::BTreeMap;
use std::path::Path;

use super::survey::{Depth, survey_to};
use super::{DataFolder, InspectError, Survey};
use crate::log::Offset;
use crate::log::places::{PARTITIONS_FOLDER, partition_folder};
use crate::log::recovery::JOURNAL_FOLDER;
use crate::log::segment::base_offset_of;
use crate::log::{PartitionId, StoreId};

/// What a data folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStat {
    /// The store's identity, if anything tells it.
    pub store: Option<StoreId>,
    /// The number of the newest intact checkpoint, and its LSN.
    pub checkpoint: Option<(u64, u64)>,
    /// The last intact group of the journal.
    pub journal_lsn: u64,
    /// Journal files, and those of them whose groups are still needed.
    pub journal_files: (usize, usize),
    /// Bytes of journal files, and those of groups that are still needed.
    pub journal_bytes: (u64, u64),
    /// Topics.
    pub topics: usize,
    /// The partitions, the log's own metadata first.
    pub partitions: Vec<PartitionStat>,
    /// Bytes of all files by kind: `log`, `index`, `timeindex`, `seal`, `journal`, and `other`.
    pub bytes_by_kind: BTreeMap<String, u64>,
    /// What was wrong in what was read; `verify` reads everything.
    pub findings: usize,
}

/// What a partition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStat {
    /// Its number in the log.
    pub id: PartitionId,
    /// Its topic; none for the log's own metadata.
    pub topic: Option<String>,
    /// Its index in the topic.
    pub index: u32,
    /// The first readable offset.
    pub log_start: Offset,
    /// Offset behind the last record in segments.
    pub flushed_end: Offset,
    /// Offset behind the last record.
    pub end: Offset,
    /// Segments.
    pub segments: usize,
    /// Bytes of segment files.
    pub size_bytes: u64,
}

/// Counts what the data folder holds.
pub fn stat(folder: &DataFolder) -> Result<StoreStat, InspectError> {
    let found = survey_to(folder, Depth::Outline)?;
    let mut bytes_by_kind = BTreeMap::new();
    let mut dirs = vec![folder.path.clone(), folder.path.join(JOURNAL_FOLDER)];
    let partitions = folder.path.join(PARTITIONS_FOLDER);
    dirs.extend(
        folder
            .list(&partitions)?
            .into_iter()
            .map(|name| partitions.join(name)),
    );
    for dir in dirs {
        for name in folder.list(&dir)? {
            if let Some(size_bytes) = size_of_file(folder, &dir.join(&name)) {
                *bytes_by_kind.entry(kind_of(&name).to_owned()).or_default() += size_bytes;
            }
        }
    }
    let mut stats = Vec::new();
    for (id, partition) in &found.partitions {
        let dir = partition_folder(&folder.path, *id);
        let names = folder.list(&dir)?;
        let logs = names.iter().filter(|name| base_offset_of(name).is_some());
        let size_bytes = logs
            .filter_map(|name| size_of_file(folder, &dir.join(name)))
            .sum();
        stats.push(PartitionStat {
            id: *id,
            topic: partition.topic.clone(),
            index: partition.index,
            log_start: partition.log_start,
            flushed_end: partition.flushed_end,
            end: partition.end,
            segments: names.iter().filter(|name| base_offset_of(name).is_some()).count(),
            size_bytes,
        });
    }
    Ok(of_survey(&found, stats, bytes_by_kind))
}

fn of_survey(
    found: &Survey,
    partitions: Vec<PartitionStat>,
    bytes_by_kind: BTreeMap<String, u64>,
) -> StoreStat {
    let checkpoint = found.checkpoint.as_ref();
    StoreStat {
        store: found.store,
        checkpoint: checkpoint.map(|checkpoint| (checkpoint.number, checkpoint.lsn)),
        journal_lsn: found.journal.last_lsn,
        journal_files: found.journal.file_counts,
        journal_bytes: (found.journal.size_bytes, found.journal.used_bytes),
        topics: found.catalog.topics.len(),
        partitions,
        bytes_by_kind,
        findings: found.findings.len(),
    }
}

fn kind_of(name: &str) -> &str {
    match Path::new(name).extension().and_then(|suffix| suffix.to_str()) {
        Some(kind @ ("log" | "index" | "timeindex" | "seal" | "journal")) => kind,
        _ => "other",
    }
}

/// The length of a file; none for a folder.
fn size_of_file(folder: &DataFolder, path: &Path) -> Option<u64> {
    if folder.disk.list(path).is_ok() {
        return None;
    }
    folder.open_file(path).ok().flatten()?.len().ok()
}
