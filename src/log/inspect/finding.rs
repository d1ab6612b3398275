//! One thing that is wrong in a data folder: where, what, how bad, and what to do.

use std::ops::Range;
use std::path::PathBuf;

use crate::log::batch::BatchError;
use crate::log::catalog::CatalogError;
use crate::log::{Offset, PartitionId};

/// Something that is not as the log wrote it.
#[derive(Debug)]
pub struct Finding {
    /// The file or folder, relative to the data folder.
    pub file: PathBuf,
    /// The byte in it, where there is one.
    pub position: Option<u64>,
    /// The partition, where it is one's.
    pub partition: Option<PartitionId>,
    /// What is wrong.
    pub problem: Problem,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost: the log does without it or makes it again.
    Derived,
    /// A crash leaves the same, and then nothing that was acknowledged is lost; otherwise records are.
    Doubt,
    /// No record is lost, but the log refuses what is written there until it is repaired.
    Identity,
    /// Acknowledged records cannot be read.
    Loss,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// File `store` is missing, damaged, or followed by other bytes.
    #[error("the identity of the store is {what}")]
    Store {
        /// "missing", "damaged", or "followed by other bytes".
        what: &'static str,
    },
    /// A checkpoint is damaged. The other one, and the journal, may do.
    #[error("the checkpoint is damaged")]
    Checkpoint,
    /// A checkpoint belongs to another store.
    #[error("the checkpoint belongs to another store")]
    ForeignCheckpoint,
    /// The header of a journal file is damaged or half written.
    #[error("the header of the journal file is damaged")]
    JournalHeader,
    /// A journal file belongs to another store.
    #[error("the journal file belongs to another store")]
    ForeignJournal,
    /// Bytes that must be zero are not; no checksum covers them, and nothing reads them.
    #[error("{count} bytes of padding are not zero")]
    Padding {
        /// How many.
        count: usize,
    },
    /// Groups in the middle of the journal are damaged or missing.
    #[error("groups {start}..{end} of the journal are damaged or missing", start = groups.start, end = groups.end)]
    JournalGroups {
        /// The groups' numbers.
        groups: Range<u64>,
    },
    /// The last group of the journal is damaged or half written.
    #[error("the last group of the journal, {lsn}, is damaged or half written")]
    JournalEnd {
        /// The group's number.
        lsn: u64,
    },
    /// A group's checksum is right and its entries are not.
    #[error("group {lsn} of the journal has entries that cannot be read")]
    JournalEntries {
        /// The group's number.
        lsn: u64,
    },
    /// A batch in the journal is damaged although the group's checksum is right.
    #[error("the batch at offset {offset} in group {lsn} of the journal is damaged: {source}")]
    JournalBatch {
        /// The group's number.
        lsn: u64,
        /// The batch's offset.
        offset: Offset,
        /// The cause.
        source: BatchError,
    },
    /// A batch is damaged, or something that is no batch lies in the place of some.
    #[error("offsets {start}..{end} cannot be read: {source}", start = lost.start, end = lost.end)]
    Batch {
        /// The offsets that cannot be read; may be empty.
        lost: Range<Offset>,
        /// What is wrong with the first batch.
        source: BatchError,
    },
    /// The blocks of a large write are not what its group in the journal says.
    #[error("offsets {start}..{end}, written by group {lsn} of the journal, are damaged or half written", start = lost.start, end = lost.end)]
    Extent {
        /// The group's number.
        lsn: u64,
        /// The offsets.
        lost: Range<Offset>,
    },
    /// Copies of the anchor differ, or are damaged.
    #[error("{wrong} of four copies of the anchor are damaged")]
    AnchorCopies {
        /// How many.
        wrong: usize,
    },
    /// The anchor tells nothing.
    #[error("the anchor is missing or damaged")]
    Anchor,
    /// The journal ends before what the anchor says was durable.
    #[error("the journal ends with group {found}, and group {expected} was durable")]
    LostWrites {
        /// The last group.
        found: u64,
        /// The last group by the anchor.
        expected: u64,
    },
    /// Batches are missing.
    #[error("offsets {start}..{end} are missing", start = lost.start, end = lost.end)]
    Missing {
        /// Their offsets.
        lost: Range<Offset>,
    },
    /// A batch that is intact otherwise says another offset than it has.
    #[error("the batch at offset {expected} says that it is at offset {found}")]
    BaseOffset {
        /// What it says.
        found: Offset,
        /// What the batches around it say.
        expected: Offset,
    },
    /// A batch that is intact otherwise names a leader epoch, which is always 0.
    #[error("the batch at offset {offset} has leader epoch {found}, want 0")]
    LeaderEpoch {
        /// The batch's offset.
        offset: Offset,
        /// What it says.
        found: i32,
    },
    /// A batch lies behind others that have its offsets.
    #[error("the batch at offset {found} is out of order: the offsets up to {expected} were before it")]
    OutOfOrder {
        /// What it says.
        found: Offset,
        /// The offset that should follow.
        expected: Offset,
    },
    /// A file cannot be read.
    #[error("{count} bytes cannot be read from the disk")]
    Unreadable {
        /// How many.
        count: u64,
    },
    /// An index is not what the batches make of it.
    #[error("entry {entry} of the index is not what the batches say")]
    Index {
        /// The first wrong entry.
        entry: u64,
    },
    /// A seal is not what the segment makes of it.
    #[error("the seal does not fit its segment: {what}")]
    Seal {
        /// Why.
        what: String,
    },
    /// The folder belongs to no partition of the catalog; the log removes it when it starts.
    #[error("the folder belongs to no topic")]
    StrayFolder,
    /// A batch of the catalog cannot be understood, so that topics may be unknown.
    #[error("a batch of the catalog of topics cannot be read: {source}")]
    Catalog {
        /// The cause.
        source: CatalogError,
    },
}

impl Problem {
    /// A short name that does not change.
    pub fn kind(&self) -> &'static str {
        match self {
            Problem::Store { .. } => "store",
            Problem::Checkpoint => "checkpoint",
            Problem::ForeignCheckpoint => "foreign-checkpoint",
            Problem::JournalHeader => "journal-header",
            Problem::ForeignJournal => "foreign-journal",
            Problem::Padding { .. } => "padding",
            Problem::JournalGroups { .. } => "journal-groups",
            Problem::JournalEnd { .. } => "journal-end",
            Problem::JournalEntries { .. } => "journal-entries",
            Problem::JournalBatch { .. } => "journal-batch",
            Problem::Batch { .. } => "batch",
            Problem::Extent { .. } => "extent",
            Problem::AnchorCopies { .. } => "anchor-copies",
            Problem::Anchor => "anchor",
            Problem::LostWrites { .. } => "lost-writes",
            Problem::Missing { .. } => "missing",
            Problem::BaseOffset { .. } => "base-offset",
            Problem::LeaderEpoch { .. } => "leader-epoch",
            Problem::OutOfOrder { .. } => "out-of-order",
            Problem::Unreadable { .. } => "unreadable",
            Problem::Index { .. } => "index",
            Problem::Seal { .. } => "seal",
            Problem::StrayFolder => "stray-folder",
            Problem::Catalog { .. } => "catalog",
        }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Problem::Checkpoint
            | Problem::AnchorCopies { .. }
            | Problem::Padding { .. }
            | Problem::Index { .. }
            | Problem::Seal { .. }
            | Problem::OutOfOrder { .. }
            | Problem::LeaderEpoch { .. } => Severity::Derived,
            Problem::JournalHeader | Problem::JournalEnd { .. } | Problem::StrayFolder => Severity::Doubt,
            Problem::Store { .. }
            | Problem::Anchor
            | Problem::ForeignCheckpoint
            | Problem::ForeignJournal
            | Problem::BaseOffset { .. } => Severity::Identity,
            Problem::Batch { lost, .. } if lost.is_empty() => Severity::Derived,
            Problem::JournalGroups { .. }
            | Problem::JournalEntries { .. }
            | Problem::JournalBatch { .. }
            | Problem::Batch { .. }
            | Problem::Missing { .. }
            | Problem::Extent { .. }
            | Problem::LostWrites { .. }
            | Problem::Unreadable { .. }
            | Problem::Catalog { .. } => Severity::Loss,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Problem::Checkpoint => {
                "a crash leaves this too: the log goes on with the other one; `repair` removes it"
            }
            Problem::AnchorCopies { .. } => {
                "a crash leaves this too: the others agree; `repair` makes it again"
            }
            Problem::Anchor => {
                "restore it from a copy, or let `repair` make it again: then a loss at the journal's very end would \
                 not be noticed this once"
            }
            Problem::LostWrites { .. } => {
                "the device lost what it called flushed: restore the folder from a copy; without one, `repair` \
                 saves what is left"
            }
            Problem::Extent { .. } => {
                "if it is the last group and the machine lost power here, nothing acknowledged is lost; otherwise \
                 restore the folder from a copy, or save what is left with `repair`"
            }
            Problem::Padding { .. } => "nothing reads it, but the device changed it: check the device",
            Problem::Index { .. } | Problem::Seal { .. } => "`repair` makes it again",
            Problem::StrayFolder => {
                "left over from a deleted topic, or its topic was lost: the log removes it at its next start, \
                 `repair` keeps it in quarantine"
            }
            Problem::JournalHeader | Problem::JournalEnd { .. } => {
                "if the machine lost power here, nothing acknowledged is lost and the log starts; otherwise \
                 restore the file from a copy, or save what is left with `repair`"
            }
            Problem::OutOfOrder { .. } | Problem::LeaderEpoch { .. } | Problem::BaseOffset { .. } => {
                "`repair` puts it right without a loss"
            }
            Problem::Store { .. } => {
                "restore file `store` from a copy, or let `repair` take it from the journal"
            }
            Problem::ForeignCheckpoint | Problem::ForeignJournal => {
                "put the file back to where it belongs, and this folder's own file here"
            }
            Problem::Batch { .. } | Problem::Missing { .. } | Problem::Unreadable { .. } => {
                "restore the file from a copy; without one, `repair` fences the offsets and the rest is served"
            }
            Problem::JournalGroups { .. } | Problem::JournalEntries { .. } | Problem::JournalBatch { .. } => {
                "restore the journal from a copy; without one, `repair` saves what is left of it"
            }
            Problem::Catalog { .. } => {
                "restore partition 0 from a copy: a lost topic takes its partitions with it"
            }
        }
    }
}
