//! Silent damage between the end of a process and its recovery.

use std::path::{Path, PathBuf};

use super::model::Trust;
use super::run::{FOLDER, Run};
use crate::log::io::sim::Damage;

impl Run {
    /// Damages the disk in some of all cases, and lowers what is asked of the log by what was damaged.
    pub(super) fn damage_at_rest(&mut self) {
        if !self.dice.chance(50) {
            return;
        }
        let damage = self.dice.weighted(&[
            (Damage::BitFlip, 8),
            (Damage::UnreadableSector, 3),
            (Damage::MisplacedSector, 4),
            (Damage::TruncatedFile, 2),
            (Damage::RemovedFile, 2),
            (Damage::SwappedFiles, 2),
        ]);
        // What was damaged may never have been synced: a crash has been, and this is the disk after it.
        let touched = self
            .disk
            .damage(damage, self.dice.number(), |path| path.starts_with(FOLDER));
        self.note(|| format!("damage: {damage:?} of {touched:?}"));
        self.settle_damage(damage, &touched);
        if self.dice.chance(10) {
            self.restore_stale_file();
        }
    }

    fn settle_damage(&mut self, damage: Damage, touched: &[PathBuf]) {
        self.skip_silent_faults();
        // Indexes are derived: without them everything is there, and nothing is refused.
        if touched.is_empty() || touched.iter().all(|path| is_index(path)) {
            return;
        }
        self.distrust(match damage {
            Damage::BitFlip | Damage::UnreadableSector | Damage::MisplacedSector => Trust::Frames,
            Damage::TruncatedFile | Damage::RemovedFile => Trust::Checkpoints,
            Damage::SwappedFiles => Trust::Nothing,
        });
    }

    /// Puts an older version of a file in place of the newer.
    fn restore_stale_file(&mut self) {
        let Some(backup) = self.backup.clone() else { return };
        let files = backup.files();
        if files.is_empty() {
            return;
        }
        let path = &files[self.dice.index(files.len())];
        if self.disk.replace_file(path, &backup, path) {
            self.note(|| format!("damage: {} is of yesterday", path.display()));
            self.skip_silent_faults();
            if !is_index(path) {
                self.distrust(Trust::Checkpoints);
            }
        }
    }

    /// What the disk counted of damage at rest is judged here, not as a fault of an operation.
    fn skip_silent_faults(&mut self) {
        self.silent_seen = super::run::silent(&self.disk.faults_fired());
    }
}

fn is_index(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "index" || extension == "timeindex")
}
