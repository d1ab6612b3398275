//! Silent damage between the end of a process and its recovery.

use std::path::Path;

use super::model::Trust;
use super::run::{FOLDER, Run};
use crate::log::io::sim::Damage;
use crate::log::io::{Disk, OpenMode};

/// What may happen to content at rest.
#[derive(Clone, Copy, Debug)]
enum AtRest {
    Nothing,
    Somewhere,
    /// A file of an earlier time is put in place of the newer.
    Stale,
    /// A journal file of another store is.
    Foreign,
    /// A journal file of a copy of this store that went its own way is.
    Diverged,
    SegmentWithoutCheckpoint,
}

impl Run {
    /// Damages the disk in some of all cases, and lowers what is asked of the log by what was damaged.
    pub(super) fn damage_at_rest(&mut self) {
        let kind = self.dice.weighted(&[
            (AtRest::Nothing, 42),
            (AtRest::Somewhere, 35),
            (AtRest::Stale, 5),
            (AtRest::Foreign, 5),
            (AtRest::Diverged, 8),
            (AtRest::SegmentWithoutCheckpoint, 6),
        ]);
        match kind {
            AtRest::Nothing => {}
            AtRest::Somewhere => self.damage_somewhere(),
            AtRest::Stale => self.restore_stale_file(),
            AtRest::Foreign => self.restore_foreign_file(),
            AtRest::Diverged => self.restore_diverged_file(),
            AtRest::SegmentWithoutCheckpoint => self.damage_segment_without_checkpoint(),
        }
        self.skip_silent_faults();
    }

    /// Damages one file or two of any kind.
    fn damage_somewhere(&mut self) {
        let times = if self.dice.chance(20) { 2 } else { 1 };
        for _ in 0..times {
            let damage = self.dice.weighted(&[
                (Damage::BitFlip, 8),
                (Damage::UnreadableSector, 3),
                (Damage::MisplacedSector, 4),
                (Damage::TruncatedFile, 2),
                (Damage::RemovedFile, 3),
                (Damage::SwappedFiles, 2),
            ]);
            // Without a preference most would hit what is largest in number, whichever that is.
            let preferred =
                self.dice
                    .weighted(&[("", 40), ("journal", 30), ("index", 15), ("checkpoint", 15)]);
            let may_touch =
                |path: &Path| path.starts_with(FOLDER) && path.to_string_lossy().contains(preferred);
            let newest = self.newest_journal_file();
            let touched = self.disk.damage(damage, self.dice.number(), may_touch);
            self.note(|| format!("damage: {damage:?} of {touched:?}"));
            let trust = match damage {
                Damage::SwappedFiles => Trust::Nothing,
                Damage::TruncatedFile | Damage::RemovedFile
                    if newest.as_ref().is_some_and(|path| touched.contains(path)) =>
                {
                    Trust::Checkpoints
                }
                _ => Trust::Frames,
            };
            // Indexes are derived: without them everything is there, and nothing is refused.
            if !touched.iter().all(|path| is_index(path)) {
                self.distrust(trust);
            }
        }
    }

    /// Loses both checkpoints and flips a bit in a segment: its end must then be searched.
    fn damage_segment_without_checkpoint(&mut self) {
        for name in ["/data/checkpoint.0", "/data/checkpoint.1"] {
            let file = self.disk.open(Path::new(name), OpenMode::ReadWrite);
            let emptied = file.and_then(|file| {
                file.truncate(0)?;
                file.sync()
            });
            if emptied.is_err() {
                return;
            }
        }
        let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
        let touched = self.disk.damage(Damage::BitFlip, self.dice.number(), is_segment);
        self.note(|| format!("damage: no checkpoints, and a bit of {touched:?}"));
        self.distrust(Trust::Frames);
    }

    /// What the disk counted of damage at rest is judged here, not as a fault of an operation.
    fn skip_silent_faults(&mut self) {
        self.silent_seen = super::run::silent(&self.disk.faults_fired());
    }
}

pub(super) fn is_index(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "index" || extension == "timeindex")
}
