//! Files from elsewhere: of an earlier time, of another store, of a copy that went its own way.

use std::path::{Path, PathBuf};

use super::damage::is_index;
use super::dice::Dice;
use super::model::Trust;
use super::run::{FOLDER, Run};
use crate::log::batch::{BatchBuilder, Record};
use crate::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use crate::log::io::{Clock, Disk, Environment, OpenMode};
use crate::log::journal::frame::{FileHeader, HEADER_SIZE_BYTES};
use crate::log::{Log, LogOptions, Partition, Timestamp, TopicSpec};

/// Groups that a copy or another store writes: enough to fill its first small journal files.
const GROUPS: u64 = 6;

impl Run {
    /// Keeps the disk of this moment, or a copy of it that goes on in its own way, for damage to come.
    pub(super) fn keep_copies(&mut self) {
        if self.backup.is_none() || self.dice.chance(20) {
            self.backup = Some(self.disk.crash_keeping_none());
        }
        if self.trust == Trust::Everything && self.dice.chance(30) {
            let copy = self.disk.crash_keeping_none();
            if let Ok(log) = self.open_on(&copy) {
                let partitions: Vec<Partition> = log
                    .topics()
                    .iter()
                    .flat_map(|topic| topic.partitions.clone())
                    .collect();
                append_groups(&partitions, &self.dice, self.clock.now());
            }
            self.copy = Some(copy);
        }
    }

    /// Puts an older version of a file in place of the newer.
    pub(super) fn restore_stale_file(&mut self) {
        let Some(backup) = self.backup.clone() else { return };
        let files = backup.files();
        if files.is_empty() {
            return;
        }
        let path = &files[self.dice.index(files.len())];
        if self.disk.replace_file(path, &backup, path) {
            self.note(|| format!("damage: {} is of yesterday", path.display()));
            if !is_index(path) {
                self.distrust(Trust::Checkpoints);
            }
        }
    }

    /// Puts a journal file of another store in place of one's own.
    pub(super) fn restore_foreign_file(&mut self) {
        let files = journal_files(&self.disk);
        if files.is_empty() {
            return;
        }
        let path = &files[self.dice.index(files.len())];
        let donor = other_store();
        let donated = journal_files(&donor);
        let source = &donated[self.dice.index(donated.len())];
        if self.disk.replace_file(path, &donor, source) {
            self.note(|| format!("damage: {} is of another store", path.display()));
            self.distrust(Trust::Checkpoints);
        }
    }

    /// The journal file that was begun last: nothing but the checkpoint speaks of what is in it.
    pub(super) fn newest_journal_file(&self) -> Option<PathBuf> {
        let files = journal_files(&self.disk).into_iter();
        let used = files.filter_map(|path| Some((header_of(&self.disk, &path)?.sequence, path)));
        used.max().map(|(_, path)| path)
    }

    /// Puts the file of the same number, of a copy that went its own way, in place of one that is not the newest:
    /// the newest names what must be before it.
    pub(super) fn restore_diverged_file(&mut self) {
        let Some(copy) = self.copy.clone() else { return };
        let own: Vec<_> = journal_files(&self.disk)
            .into_iter()
            .filter_map(|path| Some((header_of(&self.disk, &path)?, path)))
            .collect();
        let newest = own.iter().map(|(header, _)| header.sequence).max();
        let theirs: Vec<_> = journal_files(&copy)
            .into_iter()
            .filter_map(|path| Some((header_of(&copy, &path)?, path)))
            .collect();
        for (header, path) in own.iter().filter(|(header, _)| Some(header.sequence) < newest) {
            if let Some((_, source)) = theirs.iter().find(|(their, _)| their == header)
                && self.disk.replace_file(path, &copy, source)
            {
                self.note(|| format!("damage: {} is of a copy", path.display()));
                self.distrust(Trust::Frames);
                return;
            }
        }
    }
}

fn journal_files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    files
}

fn header_of(disk: &SimulatedDisk, path: &Path) -> Option<FileHeader> {
    let mut bytes = [0; HEADER_SIZE_BYTES];
    disk.open(path, OpenMode::Read)
        .ok()?
        .read_at(&mut bytes, 0)
        .ok()?;
    FileHeader::decode(&bytes)
}

/// The disk of another store, with the topic that most runs begin with; each thread makes it once.
fn other_store() -> SimulatedDisk {
    thread_local! {
        static OTHER: SimulatedDisk = make_other_store();
    }
    OTHER.with(SimulatedDisk::clone)
}

fn make_other_store() -> SimulatedDisk {
    let disk = SimulatedDisk::new(0);
    let now = Timestamp(1_600_000_000_000);
    let environment = Environment {
        disk: std::sync::Arc::new(disk.clone()),
        clock: std::sync::Arc::new(SimulatedClock::new(now)),
        random: std::sync::Arc::new(SimulatedRandom::new(0x07e5)),
    };
    let options = LogOptions {
        batch_size_max_bytes: 6 * 1024,
        journal_file_size_bytes: 48 * 1024,
        ..LogOptions::default()
    };
    let spec = TopicSpec {
        partitions: 3,
        ..TopicSpec::default()
    };
    if let Ok(log) = Log::open_in(environment, Path::new(FOLDER), options)
        && let Ok(topic) = log.create_topic("t0", &spec)
    {
        append_groups(&topic.partitions, &Dice::new(0), now);
    }
    disk.crash_keeping_none()
}

/// Appends a few batches that no run ever sends, each in a group of its own.
fn append_groups(partitions: &[Partition], dice: &Dice, now: Timestamp) {
    if partitions.is_empty() {
        return;
    }
    for number in 0..GROUPS {
        let mut builder = BatchBuilder::new(now);
        let record = Record {
            timestamp: now,
            key: Some(b"elsewhere"),
            value: Some(&number.to_be_bytes()),
            headers: &[],
        };
        if builder.push(&record).is_err() {
            return;
        }
        let append = partitions[dice.index(partitions.len())].append(builder.finish());
        if append.map_or(true, |append| append.wait().is_err()) {
            return;
        }
    }
}
