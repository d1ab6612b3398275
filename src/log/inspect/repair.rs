//! Saves what is left of a damaged data folder: nothing is deleted, and what is lost stays visible.
//!
//! Damaged files move to `quarantine/<time>/` in the data folder, under the names that they had. Segments are
//! written again without what is damaged; in its place stand batches without records
//! ([`crate::log::batch::lost_records`]), so that no lost offset is ever given to another record and every
//! reader passes over it. If the journal is damaged, or no checkpoint is left, what can be read of the journal
//! goes to the segments, also out of half-damaged groups, and the log begins a new journal.
//!
//! Everything new is durable under names of its own before the first file is moved, and the checkpoint comes
//! last. A repair that is interrupted is done again.

use std::path::{Path, PathBuf};

use super::draft::{Drafts, Gap, SegmentDraft, publish, write_indexes};
use super::finding::Problem;
use super::partition::{SegmentScan, SegmentState};
use super::segment::{Bounds, walk};
use super::survey::{LostRange, PartitionSurvey, place_of};
use super::{DataFolder, InspectError, Survey, survey};
use crate::log::anchor::{ANCHOR_FILE, AnchorFile};
use crate::log::batch::BatchHeader;
use crate::log::checkpoint::{CHECKPOINT_FILES, Checkpoint, CheckpointFiles, PartitionCheckpoint};
use crate::log::io::OpenMode;
use crate::log::recovery::{JOURNAL_FOLDER, write_store};
use crate::log::segment::{ExpectedIndexes, FlushedPosition, SegmentPaths};
use crate::log::{Offset, PartitionId, StoreId, Timestamp};

/// Where damaged files go, in the data folder.
pub const QUARANTINE_FOLDER: &str = "quarantine";

/// What a repair does, or would do.
#[derive(Debug)]
pub struct RepairReport {
    /// What is wrong.
    pub survey: Survey,
    /// What was done, or would be, in order.
    pub actions: Vec<Action>,
    /// Offsets whose records are gone.
    pub lost: Vec<LostRange>,
    /// Where damaged files went, or would go.
    pub quarantine: PathBuf,
}

/// One step of a repair. Files are relative to the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A file or folder moves to quarantine.
    Quarantine {
        /// What it was called.
        file: PathBuf,
    },
    /// A segment is written again, or made to fence what is missing.
    WriteSegment {
        /// Its file.
        file: PathBuf,
    },
    /// Batches of the journal go to a segment.
    SaveFromJournal {
        /// The segment's file.
        file: PathBuf,
        /// How many.
        batches: usize,
    },
    /// The indexes of a segment are made again from its batches.
    WriteIndexes {
        /// The segment's file.
        file: PathBuf,
    },
    /// The checkpoint is written again.
    WriteCheckpoint,
    /// The identity of the store is written again.
    WriteStore,
    /// The anchor is written again.
    WriteAnchor,
}

/// Says what [`apply`] would do. Writes nothing.
pub fn plan(folder: &DataFolder, now: Timestamp) -> Result<RepairReport, InspectError> {
    Repair::begin(folder, now, false)?.run()
}

/// Repairs the data folder.
pub fn apply(folder: &DataFolder, now: Timestamp) -> Result<RepairReport, InspectError> {
    folder.check_locked()?;
    Repair::begin(folder, now, true)?.run()
}

struct Repair<'a> {
    folder: &'a DataFolder,
    applies: bool,
    report: RepairReport,
    drafts: Drafts,
    /// Files that move to quarantine before the drafts are named.
    moves: Vec<PathBuf>,
    /// Segments that are closed now: their files end with their data.
    cuts: Vec<(PathBuf, u64)>,
}

impl<'a> Repair<'a> {
    fn begin(folder: &'a DataFolder, now: Timestamp, applies: bool) -> Result<Repair<'a>, InspectError> {
        let survey = survey(folder)?;
        let quarantine = folder.path.join(QUARANTINE_FOLDER).join(now.0.to_string());
        Ok(Repair {
            folder,
            applies,
            report: RepairReport {
                lost: survey.lost(),
                survey,
                actions: Vec::new(),
                quarantine,
            },
            drafts: Vec::new(),
            moves: Vec::new(),
            cuts: Vec::new(),
        })
    }

    fn run(mut self) -> Result<RepairReport, InspectError> {
        if self.report.survey.findings.is_empty() {
            return Ok(self.report);
        }
        // Identity and seals before the segments: a seal that is wrong is no reason to write a segment again.
        self.quarantine_files();
        let needs_salvage = self.needs_salvage();
        let checkpoint = if needs_salvage {
            Some(self.salvage()?)
        } else {
            self.rebuild_indexes()?;
            self.checkpoint_is_damaged()
                .then(|| self.report.survey.checkpoint.clone())
                .flatten()
        };
        if self.applies {
            self.switch()?;
        }
        self.write_store()?;
        self.write_anchor()?;
        if let Some(checkpoint) = checkpoint {
            self.write_checkpoint(checkpoint)?;
        }
        Ok(self.report)
    }

    /// Whether more than derived files is damaged.
    fn needs_salvage(&self) -> bool {
        let is_more = |problem: &Problem| {
            !matches!(
                problem,
                Problem::Store { .. }
                    | Problem::Checkpoint
                    | Problem::Anchor
                    | Problem::AnchorCopies { .. }
                    | Problem::ForeignCheckpoint
                    | Problem::ForeignJournal
                    | Problem::Index { .. }
                    | Problem::Seal { .. }
                    | Problem::StrayFolder
            )
        };
        let survey = &self.report.survey;
        survey.checkpoint.is_none() || survey.findings.iter().any(|finding| is_more(&finding.problem))
    }

    fn checkpoint_is_damaged(&self) -> bool {
        let mut problems = self.report.survey.findings.iter().map(|finding| &finding.problem);
        problems.any(|problem| matches!(problem, Problem::Checkpoint | Problem::ForeignCheckpoint))
    }

    /// Files that are worth nothing where they are.
    fn quarantine_files(&mut self) {
        let is_meant = |problem: &Problem| {
            matches!(
                problem,
                Problem::Store { .. }
                    | Problem::Checkpoint
                    | Problem::Anchor
                    | Problem::AnchorCopies { .. }
                    | Problem::ForeignCheckpoint
                    | Problem::ForeignJournal
                    | Problem::Seal { .. }
            )
        };
        let findings = self.report.survey.findings.iter();
        let meant = findings.filter(|finding| is_meant(&finding.problem));
        let mut files: Vec<_> = meant
            .map(|finding| self.folder.path.join(&finding.file))
            .collect();
        files.extend(self.report.survey.stray.clone());
        files.dedup();
        for file in files {
            self.quarantine(file);
        }
    }

    /// Moves a file, if it is there.
    fn quarantine(&mut self, path: PathBuf) {
        let is_there =
            self.folder.disk.list(&path).is_ok() || self.folder.disk.open(&path, OpenMode::Read).is_ok();
        if is_there && !self.moves.contains(&path) {
            let file = self.folder.relative(&path);
            self.report.actions.push(Action::Quarantine { file });
            self.moves.push(path);
        }
    }

    fn rebuild_indexes(&mut self) -> Result<(), InspectError> {
        let scans = self.report.survey.partitions.values();
        let wrong: Vec<_> = scans
            .flat_map(|partition| &partition.scan.segments)
            .filter(|segment| segment.state == SegmentState::WrongIndex)
            .map(|segment| {
                (
                    segment.path.clone(),
                    segment.base_offset,
                    segment.size_bytes,
                    segment.is_closed,
                )
            })
            .collect();
        for (path, base_offset, size_bytes, is_closed) in wrong {
            self.write_indexes(&path, base_offset, size_bytes, is_closed)?;
        }
        Ok(())
    }

    fn write_indexes(
        &mut self,
        log: &Path,
        base_offset: Offset,
        size_bytes: u64,
        is_closed: bool,
    ) -> Result<(), InspectError> {
        let file = self.folder.relative(log);
        self.report.actions.push(Action::WriteIndexes { file });
        let paths = SegmentPaths::new(log.parent().unwrap_or(&self.folder.path), base_offset);
        self.quarantine(paths.offset_index.clone());
        self.quarantine(paths.time_index.clone());
        if !self.applies {
            return Ok(());
        }
        let bounds = Bounds {
            base_offset,
            next_offset: None,
            end: Some(size_bytes),
            has_holes: true,
        };
        let mut expected = ExpectedIndexes::new(base_offset);
        walk(&*self.folder.disk, log, &bounds, |position, header, _| {
            expected.observe(position, header);
        })?;
        self.drafts
            .extend(write_indexes(&*self.folder.disk, &paths, expected, is_closed)?);
        Ok(())
    }

    /// Brings everything that is left into segments, and gives the checkpoint that says so.
    fn salvage(&mut self) -> Result<Checkpoint, InspectError> {
        let ids: Vec<_> = self.report.survey.partitions.keys().copied().collect();
        let known = self.report.survey.checkpoint.clone().unwrap_or_default();
        let mut checkpoint = Checkpoint {
            number: known.number,
            incarnation: known.incarnation.max(self.report.survey.journal.incarnation),
            // There is no journal: the next run begins one with the first group.
            lsn: 0,
            partitions: known.partitions,
        };
        checkpoint.partitions.retain(|id, _| ids.contains(id));
        for id in ids {
            if let Some(of_partition) = self.salvage_partition(id, checkpoint.partitions.get(&id))? {
                checkpoint.partitions.insert(id, of_partition);
            }
        }
        let journal = self.folder.path.join(JOURNAL_FOLDER);
        for name in self.folder.list(&journal)? {
            self.quarantine(journal.join(name));
        }
        // It tells of groups that the new journal does not have.
        self.quarantine(self.folder.path.join(ANCHOR_FILE));
        Ok(checkpoint)
    }

    fn salvage_partition(
        &mut self,
        id: PartitionId,
        known: Option<&PartitionCheckpoint>,
    ) -> Result<Option<PartitionCheckpoint>, InspectError> {
        let Some(partition) = self.report.survey.partitions.remove(&id) else {
            return Ok(None);
        };
        let salvaged = self.salvage_segments(id, &partition, known);
        self.report.survey.partitions.insert(id, partition);
        salvaged
    }

    fn salvage_segments(
        &mut self,
        id: PartitionId,
        partition: &PartitionSurvey,
        known: Option<&PartitionCheckpoint>,
    ) -> Result<Option<PartitionCheckpoint>, InspectError> {
        let segments = &partition.scan.segments;
        if segments.is_empty() && partition.end == partition.log_start {
            return Ok(known.cloned());
        }
        let dir = place_of(self.folder, self.report.survey.store, id).dir;
        let mut next = partition.log_start;
        let mut flushed = None;
        let has_tail = partition.end > partition.flushed_end;
        for (index, segment) in segments.iter().enumerate() {
            next = next.min(segment.base_offset);
            if segment.base_offset > next {
                self.fence(&dir, next, segment.base_offset)?;
            }
            let behind = segments.get(index + 1).map(|segment| segment.base_offset);
            let end = behind.unwrap_or(partition.flushed_end);
            let is_last = behind.is_none();
            flushed = Some(if segment.state == SegmentState::Damaged {
                self.rewrite(&dir, segment, end, !is_last || has_tail)?
            } else {
                if segment.state == SegmentState::WrongIndex || (is_last && has_tail) {
                    let is_closed = segment.is_closed || has_tail;
                    self.write_indexes(&segment.path, segment.base_offset, segment.size_bytes, is_closed)?;
                }
                if is_last {
                    self.quarantine(SegmentPaths::new(&dir, segment.base_offset).seal);
                }
                if is_last && has_tail {
                    self.cuts.push((segment.path.clone(), segment.size_bytes));
                }
                FlushedPosition {
                    segment: segment.base_offset,
                    position: segment.size_bytes,
                    next_offset: end,
                }
            });
            next = flushed.map_or(end, |flushed| flushed.next_offset);
        }
        if partition.end > next {
            flushed = Some(self.save_tail(id, &dir, next, partition.end)?);
        }
        let mut producers = known
            .map_or(&partition.scan.producers, |known| &known.producers)
            .clone();
        for batch in self
            .report
            .survey
            .journal
            .batches
            .iter()
            .filter(|batch| batch.partition == id)
        {
            if batch.header.base_offset >= partition.flushed_end {
                producers.apply(&batch.header, batch.header.base_offset);
            }
        }
        let flushed = flushed.unwrap_or(FlushedPosition {
            segment: next,
            position: 0,
            next_offset: next,
        });
        Ok(Some(PartitionCheckpoint {
            log_start: partition.log_start,
            cleaned: Offset::ZERO,
            flushed,
            producers,
        }))
    }

    /// A segment that stands for offsets of which nothing is left.
    fn fence(&mut self, dir: &Path, start: Offset, end: Offset) -> Result<(), InspectError> {
        self.begin_segment(&SegmentPaths::new(dir, start));
        if self.applies {
            let mut draft = SegmentDraft::create(&self.folder.disk, dir, start)?;
            draft.fill(end, Gap::Lost)?;
            self.drafts.extend(draft.finish(true)?.1);
        }
        Ok(())
    }

    /// Writes a segment again: what is intact, and fences for the rest.
    fn rewrite(
        &mut self,
        dir: &Path,
        segment: &SegmentScan,
        end: Offset,
        is_closed: bool,
    ) -> Result<FlushedPosition, InspectError> {
        self.begin_segment(&SegmentPaths::new(dir, segment.base_offset));
        if !self.applies {
            return Ok(FlushedPosition {
                segment: segment.base_offset,
                position: segment.size_bytes,
                next_offset: end,
            });
        }
        let mut draft = SegmentDraft::create(&self.folder.disk, dir, segment.base_offset)?;
        let bounds = Bounds {
            base_offset: segment.base_offset,
            next_offset: Some(end),
            end: Some(segment.size_bytes),
            has_holes: segment.has_holes,
        };
        let gap = if segment.has_holes { Gap::Absent } else { Gap::Lost };
        let mut written = Ok(());
        walk(&*self.folder.disk, &segment.path, &bounds, |_, header, bytes| {
            if written.is_ok() {
                written = draft.push(header, bytes, gap);
            }
        })?;
        written?;
        draft.fill(end, gap)?;
        let (flushed, drafts) = draft.finish(is_closed)?;
        self.drafts.extend(drafts);
        Ok(flushed)
    }

    /// A last segment with what the journal has behind the others.
    fn save_tail(
        &mut self,
        id: PartitionId,
        dir: &Path,
        start: Offset,
        end: Offset,
    ) -> Result<FlushedPosition, InspectError> {
        let mut tail: Vec<(BatchHeader, bytes::Bytes)> = Vec::new();
        let mut next = start;
        for batch in self
            .report
            .survey
            .journal
            .batches
            .iter()
            .filter(|batch| batch.partition == id)
        {
            if batch.header.base_offset >= next {
                next = batch.header.next_offset();
                tail.push((batch.header, batch.bytes.clone()));
            }
        }
        let paths = SegmentPaths::new(dir, start);
        self.begin_segment(&paths);
        let file = self.folder.relative(&paths.log);
        self.report.actions.push(Action::SaveFromJournal {
            file,
            batches: tail.len(),
        });
        if !self.applies {
            return Ok(FlushedPosition {
                segment: start,
                position: 0,
                next_offset: end,
            });
        }
        let mut draft = SegmentDraft::create(&self.folder.disk, dir, start)?;
        for (header, bytes) in &tail {
            draft.push(header, bytes, Gap::Lost)?;
        }
        draft.fill(end, Gap::Lost)?;
        let (flushed, drafts) = draft.finish(false)?;
        self.drafts.extend(drafts);
        Ok(flushed)
    }

    /// Announces a new segment; what has its names moves away.
    fn begin_segment(&mut self, paths: &SegmentPaths) {
        for path in [&paths.log, &paths.offset_index, &paths.time_index, &paths.seal] {
            self.quarantine(path.clone());
        }
        let file = self.folder.relative(&paths.log);
        self.report.actions.push(Action::WriteSegment { file });
    }

    /// Moves the damaged files away and the new ones in.
    fn switch(&mut self) -> Result<(), InspectError> {
        let disk = &*self.folder.disk;
        for path in &self.moves {
            let target = self.report.quarantine.join(self.folder.relative(path));
            for folder in [target.parent(), path.parent()].into_iter().flatten() {
                disk.create_dir_all(folder)
                    .map_err(InspectError::io("create", folder))?;
            }
            disk.rename(path, &target)
                .map_err(InspectError::io("move to quarantine", path))?;
            for folder in [target.parent(), path.parent()].into_iter().flatten() {
                disk.sync_dir(folder).map_err(InspectError::io("sync", folder))?;
            }
        }
        for (path, size_bytes) in &self.cuts {
            let file = disk
                .open(path, OpenMode::ReadWrite)
                .map_err(InspectError::io("open", path))?;
            file.truncate(*size_bytes)
                .map_err(InspectError::io("cut", path))?;
            file.sync().map_err(InspectError::io("sync", path))?;
        }
        publish(disk, &self.drafts)
    }

    fn write_store(&mut self) -> Result<(), InspectError> {
        let findings = &self.report.survey.findings;
        let is_damaged = findings
            .iter()
            .any(|finding| matches!(finding.problem, Problem::Store { .. }));
        let Some(store) = self.report.survey.store.filter(|_| is_damaged) else {
            return Ok(());
        };
        self.report.actions.push(Action::WriteStore);
        if self.applies {
            write_store(&*self.folder.disk, &self.folder.path, store)?;
        }
        Ok(())
    }

    /// Makes the anchor again if it was moved away. It says that nothing is durable, which is always true enough:
    /// the log writes it anew when it starts.
    fn write_anchor(&mut self) -> Result<(), InspectError> {
        let path = self.folder.path.join(ANCHOR_FILE);
        let is_missing = self.folder.disk.open(&path, OpenMode::Read).is_err();
        if !self.moves.contains(&path) && !is_missing {
            return Ok(());
        }
        self.report.actions.push(Action::WriteAnchor);
        let store = self.report.survey.store.filter(|_| self.applies);
        if let Some(store) = store {
            AnchorFile::create(&*self.folder.disk, &self.folder.path, store)?;
        }
        Ok(())
    }

    /// Writes the checkpoint to both files, so that neither is an old one.
    fn write_checkpoint(&mut self, mut checkpoint: Checkpoint) -> Result<(), InspectError> {
        self.report.actions.push(Action::WriteCheckpoint);
        if !self.applies {
            return Ok(());
        }
        let store = self.report.survey.store.unwrap_or(StoreId(0));
        let (mut files, _) = CheckpointFiles::open(&*self.folder.disk, &self.folder.path, store)?;
        files.secure(&*self.folder.disk)?;
        for _ in CHECKPOINT_FILES {
            checkpoint.number += 1;
            files.write(&checkpoint)?;
        }
        let folder = &self.folder.path;
        self.folder
            .disk
            .sync_dir(folder)
            .map_err(InspectError::io("sync", folder))
    }
}
