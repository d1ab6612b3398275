//! Bugs that are planted on purpose, one at a time, to show that the simulator finds each of them.
//!
//! Without the cargo feature `planted-bugs` [`is`] is a constant `false`, and nothing of this is in the program.
//! With it, the bug of the calling thread is the one that [`with`] names: simulated logs have no threads of their
//! own.

/// A mistake that the log could make. Each says what is skipped or done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An append is acknowledged before it is written.
    AcknowledgeBeforeWrite,
    /// A completion counts for the oldest group in flight, whichever ended.
    CompleteTheOldestGroup,
    /// A write that failed counts as one that did not.
    IgnoreWriteError,
    /// Appends are taken and acknowledged after the log stopped.
    GoOnAfterFailure,
    /// A frame claims that the groups in flight before it are durable.
    ClaimGroupsInFlight,
    /// What is enqueued is shown as if it were durable.
    ServeAboveWatermark,
    /// The journal is cut at a bad frame whatever later frames claim.
    SkipWatermarkCheck,
    /// Frames need not follow one another by their checksums.
    IgnoreChecksumChain,
    /// Journal files are read in the order of their names.
    OrderFilesByName,
    /// A missing journal file is stepped over.
    StepOverMissingFile,
    /// Frames that an earlier use of the file left behind are taken for fresh ones.
    TrustStaleFrames,
    /// The checksum of frames is not compared.
    SkipFrameChecksum,
    /// The first batch of a group is not replayed.
    SkipFirstBatchOfGroup,
    /// A journal file of another store is taken for one's own.
    IgnoreStoreId,
    /// Recovery serves what it read from the journal before it is durable.
    SkipJournalSync,
    /// Recovery serves large writes that it found in segments before they are durable.
    SkipExtentSync,
    /// A large write counts as there when its frame is.
    BelieveExtents,
    /// A log that ends before its anchor is opened.
    SkipAnchorCheck,
    /// Recovery writes before it has decided that it may.
    WriteBeforeDecision,
    /// Replayed batches do not count for their producers.
    ForgetProducersOnReplay,
    /// A torn end of a segment is cut off although the journal has no copy.
    AcceptTornSegment,
    /// The folder is opened although another holds its lock.
    IgnoreLock,
    /// A flush forgets one partition.
    DropDirtyPartition,
    /// Journal files are free before the segments have what is in them.
    FreeJournalBeforeFlush,
    /// A checkpoint is written before the segments are synced.
    CheckpointBeforeSync,
    /// A checkpoint names a group that is not in the segments.
    CheckpointAhead,
    /// A checkpoint counts before it is synced.
    CheckpointUnsynced,
    /// The checkpoint does not count batches for their producers.
    ForgetProducersInCheckpoint,
    /// The names of new segments are not synced.
    SkipFolderSync,
    /// A sync that failed is tried again, and the second success is believed.
    RetryFailedSync,
    /// The offset index is believed without a look at the batch that it points to.
    TrustOffsetIndex,
    /// The checksums of batches in segments are not compared.
    SkipBatchChecksum,
    /// A deleted topic's files are removed before its deletion is durable.
    DeleteBeforeLogging,
}

impl Bug {
    /// All bugs.
    pub const ALL: [Bug; 33] = [
        Bug::AcknowledgeBeforeWrite,
        Bug::CompleteTheOldestGroup,
        Bug::IgnoreWriteError,
        Bug::GoOnAfterFailure,
        Bug::ClaimGroupsInFlight,
        Bug::ServeAboveWatermark,
        Bug::SkipWatermarkCheck,
        Bug::IgnoreChecksumChain,
        Bug::OrderFilesByName,
        Bug::StepOverMissingFile,
        Bug::TrustStaleFrames,
        Bug::SkipFrameChecksum,
        Bug::SkipFirstBatchOfGroup,
        Bug::IgnoreStoreId,
        Bug::SkipJournalSync,
        Bug::SkipExtentSync,
        Bug::BelieveExtents,
        Bug::SkipAnchorCheck,
        Bug::WriteBeforeDecision,
        Bug::ForgetProducersOnReplay,
        Bug::AcceptTornSegment,
        Bug::IgnoreLock,
        Bug::DropDirtyPartition,
        Bug::FreeJournalBeforeFlush,
        Bug::CheckpointBeforeSync,
        Bug::CheckpointAhead,
        Bug::CheckpointUnsynced,
        Bug::ForgetProducersInCheckpoint,
        Bug::SkipFolderSync,
        Bug::RetryFailedSync,
        Bug::TrustOffsetIndex,
        Bug::SkipBatchChecksum,
        Bug::DeleteBeforeLogging,
    ];
}

/// Whether the log shall make this mistake.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "a branch on it must not cost anything even without optimization across crates"
)]
pub const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether the log shall make this mistake.
#[cfg(feature = "planted-bugs")]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Lets logs that are used on this thread make a mistake while `work` runs.
#[cfg(feature = "planted-bugs")]
pub fn with<T>(bug: Bug, work: impl FnOnce() -> T) -> T {
    /// Takes the bug out again, also when `work` panics.
    struct Planted;
    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    PLANTED.set(Some(bug));
    let _planted = Planted;
    work()
}
