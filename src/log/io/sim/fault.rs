//! What goes wrong on a simulated disk, and how often it did.

use std::fmt;

/// Something that goes wrong at one operation that changes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power fails before the operation: it and all later ones return `BrokenPipe`.
    PowerCut,
    /// The operation fails once with `EIO`. A failed sync loses sectors that reads go on to show, and a
    /// later sync does not bring them back; a failed write may have written some of its sectors.
    WriteError,
    /// The operation fails once with `ENOSPC`; a write may have written its first sectors.
    Enospc,
    /// The power fails during the operation: of a durable write, some sectors are on the disk.
    TornWrite,
    /// The operation succeeds, and what it wrote or synced is on another place of the disk: reads show what
    /// was written until the power fails. Without effect on anything but writes and syncs of files.
    MisplacedWrite,
    /// The operation succeeds, and the device forgets what it was told to keep: reads show it until the power
    /// fails. Without effect on anything but durable writes and syncs.
    LostFlush,
    /// A durable write is done in two pieces, and other operations happen in between. Without effect on anything
    /// but completions: other writes are re-issued inside [`super::super::File`].
    ShortWrite,
}

/// Something that goes wrong at one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// The read fails once with `EIO`.
    Error,
    /// The read succeeds with the bytes of another place of the disk.
    Misplaced,
    /// One bit of what is read is wrong.
    BitFlip,
}

/// Damage to content at rest, which no operation tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit of a file is the other way round.
    BitFlip,
    /// A sector cannot be read until it is written again.
    UnreadableSector,
    /// A sector holds what belongs to another place.
    MisplacedSector,
    /// A file ends early.
    TruncatedFile,
    /// A file is gone.
    RemovedFile,
    /// Two files have each other's content.
    SwappedFiles,
}

/// The kinds of faults that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A durable write was in flight at a power cut, and some of its sectors arrived.
    TornWrite,
    /// Unsynced sectors of a file survived a power cut, and others of the same file did not.
    ReorderedWrites,
    /// No unsynced change of a file survived a power cut.
    DroppedWrites,
    /// A write landed at another place.
    MisplacedWrite,
    /// A read returned another place's bytes.
    MisplacedRead,
    /// A write was done in two pieces, or failed after its first sectors.
    ShortWrite,
    /// A write, or a change of a folder, failed with `EIO`.
    WriteError,
    /// A sync failed with `EIO`.
    SyncError,
    /// A read failed with `EIO` once.
    ReadError,
    /// An operation found no space.
    StorageFull,
    /// A name that was created, renamed or removed was not so after a power cut.
    LostEntry,
    /// A bit was flipped, at rest or on its way.
    BitFlip,
    /// A sector could not be read.
    UnreadableSector,
    /// The device forgot a write that it had acknowledged.
    LostFlush,
    /// A file was cut short, removed, or exchanged with another.
    DamagedFile,
    /// A file was replaced by an older version, or by another store's.
    ForeignFile,
    /// Completions were held back while more was submitted.
    SlowDisk,
    /// The wall clock jumped.
    ClockJump,
    /// The power failed.
    PowerCut,
    /// The process was killed, and the machine went on.
    Kill,
    /// The process or the machine ended during recovery.
    CrashInRecovery,
    /// The process or the machine ended during the recovery from a crash in recovery.
    NestedCrash,
}

impl FaultKind {
    /// All kinds, with the names that reports use.
    pub const ALL: [(FaultKind, &'static str); 22] = [
        (FaultKind::TornWrite, "torn_write"),
        (FaultKind::ReorderedWrites, "reordered_writes"),
        (FaultKind::DroppedWrites, "dropped_writes"),
        (FaultKind::MisplacedWrite, "misplaced_write"),
        (FaultKind::MisplacedRead, "misplaced_read"),
        (FaultKind::ShortWrite, "short_write"),
        (FaultKind::WriteError, "write_error"),
        (FaultKind::SyncError, "sync_error"),
        (FaultKind::ReadError, "read_error"),
        (FaultKind::StorageFull, "storage_full"),
        (FaultKind::LostEntry, "lost_entry"),
        (FaultKind::BitFlip, "bit_flip"),
        (FaultKind::UnreadableSector, "unreadable_sector"),
        (FaultKind::LostFlush, "lost_flush"),
        (FaultKind::DamagedFile, "damaged_file"),
        (FaultKind::ForeignFile, "foreign_file"),
        (FaultKind::SlowDisk, "slow_disk"),
        (FaultKind::ClockJump, "clock_jump"),
        (FaultKind::PowerCut, "power_cut"),
        (FaultKind::Kill, "kill"),
        (FaultKind::CrashInRecovery, "crash_in_recovery"),
        (FaultKind::NestedCrash, "nested_crash"),
    ];
}

/// How many faults of each kind happened.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; FaultKind::ALL.len()]);

impl FaultCounts {
    /// Counts one.
    pub fn add(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }

    /// Takes in what was counted elsewhere.
    pub fn merge(&mut self, other: &FaultCounts) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own += other;
        }
    }

    /// How many of `kind` there were.
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// Name and number of every kind.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FaultKind::ALL.iter().map(|(kind, name)| (*name, self.of(*kind)))
    }
}

impl fmt::Debug for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().filter(|(_, count)| *count > 0))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_place() {
        for (index, (kind, _)) in FaultKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index, "{kind:?}");
        }
    }
}
