//! Everything that is in a data folder, and everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::finding::{Finding, Problem};
use super::journal::{self, JournalScan};
use super::partition::{self, Known, PartitionScan};
use super::{DataFolder, InspectError};
use crate::log::anchor::{self, ANCHOR_FILE};
use crate::log::batch::BatchHeader;
use crate::log::catalog::{Catalog, METADATA_PARTITION};
use crate::log::checkpoint::{CHECKPOINT_FILES, Checkpoint};
use crate::log::places::{PARTITIONS_FOLDER, partition_folder};
use crate::log::recovery::{STORE_FILE, STORE_SIZE_BYTES, decode_store};
use crate::log::segment::{SegmentCache, SegmentOptions, SegmentPlace};
use crate::log::{Offset, PartitionId, StoreId};

/// What was found in a data folder.
#[derive(Debug)]
pub struct Survey {
    /// The store's identity; where file `store` does not tell it, what the checkpoint or the journal tells.
    pub store: Option<StoreId>,
    /// Everything that is wrong, in the order in which it was read.
    pub findings: Vec<Finding>,
    /// Where nothing is that means anything: whatever the bytes there are, the folder is sound.
    pub free: Vec<FreeArea>,
    /// The partitions of the catalog.
    pub partitions: BTreeMap<PartitionId, PartitionSurvey>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) journal: JournalScan,
    pub(super) catalog: Catalog,
    /// Folders of partitions that are in no catalog.
    pub(super) stray: Vec<PathBuf>,
}

/// A part of a file that holds nothing, such as the rest of a recycled journal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeArea {
    /// The file, relative to the data folder.
    pub file: PathBuf,
    /// The bytes.
    pub range: Range<u64>,
}

/// A partition of the catalog.
#[derive(Debug)]
pub struct PartitionSurvey {
    /// Its topic; none for the log's own metadata.
    pub topic: Option<String>,
    /// Its index in the topic.
    pub index: u32,
    /// The first readable offset.
    pub log_start: Offset,
    /// Offset behind the last record that is in segments.
    pub flushed_end: Offset,
    /// Offset behind the last record.
    pub end: Offset,
    /// Offsets whose records are lost or damaged now.
    pub lost: Vec<Range<Offset>>,
    /// Offsets that an earlier repair gave up.
    pub fenced: Vec<Range<Offset>>,
    pub(super) scan: PartitionScan,
}

/// Offsets of a partition whose records are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The partition's number in the log.
    pub partition: PartitionId,
    /// Its topic; none for the log's own metadata.
    pub topic: Option<String>,
    /// Its index in the topic.
    pub index: u32,
    /// The offsets.
    pub offsets: Range<Offset>,
}

/// Reads the whole data folder and checks every byte that means something. Writes nothing.
///
/// # Errors
/// When the folder cannot be read at all; damage is in [`Survey::findings`].
pub fn survey(folder: &DataFolder) -> Result<Survey, InspectError> {
    survey_to(folder, Depth::Everything)
}

/// How much of the data is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// All of it.
    Everything,
    /// The journal, the catalog, and of other partitions what the checkpoint says.
    Outline,
}

/// [`survey`], of all data or of the outline only.
pub(super) fn survey_to(folder: &DataFolder, depth: Depth) -> Result<Survey, InspectError> {
    let (mut findings, mut free) = (Vec::new(), Vec::new());
    let named = read_store(folder, &mut findings)?;
    let checkpoints = read_checkpoints(folder, named, &mut findings, &mut free)?;
    let newest = checkpoints
        .into_iter()
        .max_by_key(|(_, checkpoint)| checkpoint.number);
    let store = named.or(newest.as_ref().map(|(store, _)| *store));
    let checkpoint = newest.map(|(_, checkpoint)| checkpoint);
    let journal = journal::scan(folder, store, checkpoint.as_ref(), &mut findings, &mut free)?;
    let store = store.or(journal.groups.last().map(|group| group.store));
    check_anchor(folder, store, journal.last_lsn, &mut findings)?;
    let mut surveyor = Surveyor {
        folder,
        depth,
        survey: Survey {
            store,
            findings,
            free,
            partitions: BTreeMap::new(),
            checkpoint,
            journal,
            catalog: Catalog::default(),
            stray: Vec::new(),
        },
    };
    surveyor.read_metadata()?;
    surveyor.read_topics()?;
    surveyor.find_strays()?;
    Ok(surveyor.survey)
}

impl Survey {
    /// Offsets that are lost or damaged now, of all partitions.
    pub fn lost(&self) -> Vec<LostRange> {
        self.ranges(|partition| &partition.lost)
    }

    /// Offsets that earlier repairs gave up, of all partitions.
    pub fn fenced(&self) -> Vec<LostRange> {
        self.ranges(|partition| &partition.fenced)
    }

    fn ranges(&self, of: impl Fn(&PartitionSurvey) -> &Vec<Range<Offset>>) -> Vec<LostRange> {
        let ranges = self.partitions.iter().flat_map(|(id, partition)| {
            of(partition).iter().map(|offsets| LostRange {
                partition: *id,
                topic: partition.topic.clone(),
                index: partition.index,
                offsets: offsets.clone(),
            })
        });
        ranges.collect()
    }
}

struct Surveyor<'a> {
    folder: &'a DataFolder,
    depth: Depth,
    survey: Survey,
}

impl Surveyor<'_> {
    /// Reads the metadata partition, and the catalog in it.
    fn read_metadata(&mut self) -> Result<(), InspectError> {
        let mut batches = Vec::new();
        let metadata = self.read_partition(METADATA_PARTITION, None, 0, &mut |_, bytes| {
            batches.push(bytes.clone());
        })?;
        for batch in batches {
            if let Err(source) = self.survey.catalog.apply(&batch) {
                self.find(METADATA_PARTITION, Problem::Catalog { source });
            }
        }
        self.survey.partitions.insert(METADATA_PARTITION, metadata);
        Ok(())
    }

    fn read_topics(&mut self) -> Result<(), InspectError> {
        let topics = self.survey.catalog.topics.clone();
        for (name, topic) in topics {
            for (index, id) in topic.partitions.iter().enumerate() {
                let partition = self.read_partition(*id, Some(name.clone()), index as u32, &mut |_, _| {})?;
                self.survey.partitions.insert(*id, partition);
            }
        }
        Ok(())
    }

    /// Reads the segments of a partition and then what the journal has behind them.
    fn read_partition(
        &mut self,
        id: PartitionId,
        topic: Option<String>,
        index: u32,
        see: &mut dyn FnMut(&BatchHeader, &bytes::Bytes),
    ) -> Result<PartitionSurvey, InspectError> {
        let folder = self.folder;
        let survey = &mut self.survey;
        let place = place_of(folder, survey.store, id);
        let checkpoint = survey.checkpoint.as_ref();
        let of_partition = checkpoint.and_then(|checkpoint| checkpoint.partitions.get(&id));
        let before = survey.findings.len();
        let starts = survey
            .journal
            .starts
            .iter()
            .filter(|(partition, _)| *partition == id);
        let moved = starts.map(|(_, offset)| *offset).max();
        let log_start = of_partition.map(|known| known.log_start).max(moved);
        let scan = if checkpoint.is_some() && of_partition.is_none() {
            // Not in the checkpoint: whatever is in its folder was not flushed to the end.
            PartitionScan::default()
        } else if let Some(known) = of_partition
            && self.depth == Depth::Outline
            && id != METADATA_PARTITION
        {
            PartitionScan {
                next_offset: known.flushed.next_offset,
                ..PartitionScan::default()
            }
        } else {
            let known = Known {
                checkpoint: of_partition,
                log_start,
                extents: &survey.journal.extents,
            };
            let (findings, free) = (&mut survey.findings, &mut survey.free);
            partition::scan(folder, &place, &known, findings, free, see)?
        };
        let mut lost: Vec<_> = survey.findings[before..]
            .iter()
            .filter_map(|finding| match &finding.problem {
                Problem::Batch { lost, .. } | Problem::Missing { lost } if !lost.is_empty() => {
                    Some(lost.clone())
                }
                _ => None,
            })
            .collect();
        let (end, in_journal) = journal_end(&survey.journal, id, scan.next_offset, see);
        if !survey.journal.is_damaged {
            let file = folder.relative(&folder.path.join(crate::log::recovery::JOURNAL_FOLDER));
            survey.findings.extend(in_journal.iter().map(|range| Finding {
                file: file.clone(),
                position: None,
                partition: Some(id),
                problem: Problem::Missing { lost: range.clone() },
            }));
        }
        lost.extend(in_journal);
        let first = scan.segments.first().map(|segment| segment.base_offset);
        Ok(PartitionSurvey {
            topic,
            index,
            log_start: log_start.or(first).unwrap_or_default(),
            flushed_end: scan.next_offset,
            end,
            lost,
            fenced: scan.fenced.clone(),
            scan,
        })
    }

    /// Folders of partitions that no topic has.
    fn find_strays(&mut self) -> Result<(), InspectError> {
        let folder = self.folder.path.join(PARTITIONS_FOLDER);
        let known: BTreeSet<String> = self
            .survey
            .partitions
            .keys()
            .map(|id| format!("{:010}", id.0))
            .collect();
        for name in self.folder.list(&folder)? {
            let Some(id) = name.parse().ok().filter(|_| !known.contains(&name)) else {
                continue;
            };
            self.find(PartitionId(id), Problem::StrayFolder);
            self.survey.stray.push(folder.join(name));
        }
        Ok(())
    }

    fn find(&mut self, id: PartitionId, problem: Problem) {
        self.survey.findings.push(Finding {
            file: self.folder.relative(&partition_folder(&self.folder.path, id)),
            position: None,
            partition: Some(id),
            problem,
        });
    }
}

/// The end of a partition by the journal, and the offsets that are missing in it.
fn journal_end(
    journal: &JournalScan,
    id: PartitionId,
    mut next: Offset,
    see: &mut dyn FnMut(&BatchHeader, &bytes::Bytes),
) -> (Offset, Vec<Range<Offset>>) {
    let mut lost = Vec::new();
    for batch in journal.batches.iter().filter(|batch| batch.partition == id) {
        let base = batch.header.base_offset;
        if base < next {
            continue;
        }
        if base > next {
            lost.push(next..base);
        }
        see(&batch.header, &batch.bytes);
        next = batch.header.next_offset();
    }
    let claims = journal.claimed.iter().filter(|(partition, _)| *partition == id);
    if let Some(end) = claims
        .map(|(_, offsets)| offsets.end)
        .max()
        .filter(|end| *end > next)
    {
        lost.push(next..end);
        next = end;
    }
    (next, lost)
}

/// Where a partition's segments are. Of a store whose identity nothing tells, all seals are foreign.
pub(super) fn place_of(folder: &DataFolder, store: Option<StoreId>, id: PartitionId) -> SegmentPlace {
    SegmentPlace {
        disk: Arc::clone(&folder.disk),
        dir: partition_folder(&folder.path, id),
        store: store.unwrap_or(StoreId(0)),
        partition: id,
        options: SegmentOptions::default(),
        cache: Arc::new(SegmentCache::new(1)),
    }
}

fn read_store(folder: &DataFolder, findings: &mut Vec<Finding>) -> Result<Option<StoreId>, InspectError> {
    let mut find = |what| {
        findings.push(Finding {
            file: PathBuf::from(STORE_FILE),
            position: Some(0),
            partition: None,
            problem: Problem::Store { what },
        });
    };
    let Some((bytes, _)) = folder.read(&folder.path.join(STORE_FILE))? else {
        find("missing");
        return Ok(None);
    };
    let first: Option<&[u8; STORE_SIZE_BYTES]> = bytes.first_chunk();
    let store = first.and_then(decode_store);
    if store.is_none() {
        find("damaged");
    } else if bytes.len() > STORE_SIZE_BYTES {
        find("followed by other bytes");
    }
    Ok(store)
}

/// Checks the anchor, and that the journal reaches as far as it says.
fn check_anchor(
    folder: &DataFolder,
    store: Option<StoreId>,
    last_lsn: u64,
    findings: &mut Vec<Finding>,
) -> Result<(), InspectError> {
    let bytes = folder.read(&folder.path.join(ANCHOR_FILE))?;
    let (bytes, _) = bytes.unwrap_or_default();
    let (found, wrong) = anchor::examine(&bytes, store.unwrap_or(StoreId(0)));
    let problem = match found {
        None => Problem::Anchor,
        Some(found) if found.lsn > last_lsn => Problem::LostWrites {
            found: last_lsn,
            expected: found.lsn,
        },
        Some(_) if !wrong.is_empty() => Problem::AnchorCopies { wrong: wrong.len() },
        Some(_) => return Ok(()),
    };
    findings.push(Finding {
        file: PathBuf::from(ANCHOR_FILE),
        position: wrong.first().copied(),
        partition: None,
        problem,
    });
    Ok(())
}

/// The intact checkpoints. One that is empty was not written yet: the first checkpoint has number 1.
fn read_checkpoints(
    folder: &DataFolder,
    store: Option<StoreId>,
    findings: &mut Vec<Finding>,
    free: &mut Vec<FreeArea>,
) -> Result<Vec<(StoreId, Checkpoint)>, InspectError> {
    let mut intact = Vec::new();
    let mut missing = Vec::new();
    let mut find = |name: &str, problem| {
        findings.push(Finding {
            file: PathBuf::from(name),
            position: Some(0),
            partition: None,
            problem,
        });
    };
    for name in CHECKPOINT_FILES {
        let bytes = folder
            .read(&folder.path.join(name))?
            .map_or(Vec::new(), |(bytes, _)| bytes);
        match Checkpoint::decode_any(&bytes) {
            Some((found, ..)) if store.is_some_and(|store| store != found) => {
                find(name, Problem::ForeignCheckpoint);
            }
            Some((found, checkpoint, size_bytes)) => {
                if size_bytes < bytes.len() {
                    let range = size_bytes as u64..bytes.len() as u64;
                    let file = PathBuf::from(name);
                    free.push(FreeArea { file, range });
                }
                intact.push((found, checkpoint));
            }
            None if bytes.is_empty() => missing.push(name),
            None => find(name, Problem::Checkpoint),
        }
    }
    let is_first = intact.iter().all(|(_, checkpoint)| checkpoint.number == 1) && !intact.is_empty();
    for name in missing.into_iter().filter(|_| !is_first) {
        find(name, Problem::Checkpoint);
    }
    Ok(intact)
}
