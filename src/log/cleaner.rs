//! The cleaner: removes what topics need not keep, while appends and reads go on.
//!
//! It holds no lock across I/O that an append takes. What it removes is first gone by a durable move of the
//! partition's start, then out of the list of segments, then off the disk, oldest file first: a crash at any
//! point leaves a partition without a hole, and a file that reappears lies below the start.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::compaction::{Compacted, CompactionError, compact};
use super::core::Core;
use super::journal::Sequence;
use super::partition_state::PartitionState;
use super::retention::removal;
use super::segment::SegmentError;
use super::{AppendError, LogFailed, Offset};

/// A partition whose start moves.
struct Planned {
    partition: Arc<PartitionState>,
    log_start: Offset,
}

impl Core {
    /// One pass over all partitions; passes come one after the other.
    pub fn clean(&self) -> Result<(), LogFailed> {
        let _pass = self.cleaner.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.partitions();
        let planned = self.plan_removals(&partitions)?;
        self.move_starts(planned)?;
        self.remove_files(&partitions);
        self.compact_all(&partitions)
    }

    /// Removes the files of segments that deleted records were in.
    pub fn remove_deleted(&self) {
        let _pass = self.cleaner.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_files(&self.partitions());
    }

    /// Puts a move of the partition's start into the journal's queue and tells when it is durable.
    pub fn enqueue_start(
        &self,
        partition: &Arc<PartitionState>,
        log_start: Offset,
    ) -> Result<Sequence, AppendError> {
        // Moving starts is how a full disk becomes free.
        self.check_writable(0, true)?;
        // Nothing has number 0: it is durable at any time.
        Ok(partition.enqueue_start(self.queue(), log_start)?.unwrap_or(0))
    }

    /// All partitions, the catalog's last.
    pub(super) fn partitions(&self) -> Vec<Arc<PartitionState>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let of_topics = topics.values().flat_map(|topic| &topic.partitions);
        let mut partitions: Vec<_> = of_topics.map(|partition| Arc::clone(&partition.state)).collect();
        partitions.push(Arc::clone(&self.metadata));
        partitions
    }

    /// Decides what goes. Segments that are too old to be appended to end here, with a checkpoint that says so.
    fn plan_removals(&self, partitions: &[Arc<PartitionState>]) -> Result<Vec<Planned>, LogFailed> {
        let mut planned = Vec::new();
        let mut rolls = false;
        for partition in partitions.iter().filter(|partition| !partition.is_deleted()) {
            match self.plan_removal(partition) {
                Ok(plan) => {
                    rolls |= plan.rolls;
                    planned.extend(plan.log_start.map(|log_start| Planned {
                        partition: Arc::clone(partition),
                        log_start,
                    }));
                }
                // One partition's damage keeps no other from being cleaned.
                Err(error) => report(partition, &error),
            }
        }
        if rolls {
            self.flush()?;
        }
        Ok(planned)
    }

    fn plan_removal(&self, partition: &Arc<PartitionState>) -> Result<Plan, SegmentError> {
        let (policy, now) = (partition.policy(), self.environment.clock.now());
        let segments = partition.segments()?;
        let found = removal(&segments.summaries(now)?, &policy, now, partition.log_start());
        let age_ms = segments
            .active_since()?
            .map_or(0, |since| now.0.saturating_sub(since.0.max(0)));
        let is_old = u128::try_from(age_ms).is_ok_and(|age_ms| age_ms > policy.roll_age().as_millis());
        let rolls = is_old || found.is_some_and(|removal| removal.rolls);
        if rolls {
            partition.roll_at_flush();
            self.mark_dirty(partition);
        }
        Ok(Plan {
            rolls,
            log_start: found.map(|removal| removal.log_start),
        })
    }

    /// Moves the starts, durably.
    fn move_starts(&self, planned: Vec<Planned>) -> Result<(), LogFailed> {
        let mut last = None;
        for Planned { partition, log_start } in planned {
            match self.enqueue_start(&partition, log_start) {
                Ok(sequence) => {
                    tracing::info!(partition = partition.id().0, %log_start, "retention moves the start");
                    last = Some(sequence);
                }
                Err(error) => tracing::warn!(partition = partition.id().0, %error, "start was not moved"),
            }
        }
        last.map_or(Ok(()), |sequence| self.commit_until(sequence))
    }

    fn compact_all(&self, partitions: &[Arc<PartitionState>]) -> Result<(), LogFailed> {
        for partition in partitions {
            if partition.is_deleted() || partition.is_uncompactable() {
                continue;
            }
            let goes_on = || {
                let is_closing = self.is_closing.load(Ordering::Acquire);
                !is_closing && !partition.is_deleted() && self.check_running().is_ok()
            };
            match compact(partition, &self.environment, &goes_on) {
                Ok(Compacted::Below(offset)) => {
                    tracing::info!(partition = partition.id().0, %offset, "partition compacted");
                    partition.set_cleaned(offset);
                    self.mark_dirty(partition);
                }
                Ok(Compacted::Nothing | Compacted::GivenUp) => {}
                Err(error @ CompactionError::Unknown(_)) => return Err(self.fail(&error)),
                Err(CompactionError::Segment(error)) => {
                    if !error.is_storage_full() {
                        partition.set_uncompactable();
                    }
                    report(partition, &error);
                }
            }
        }
        Ok(())
    }

    fn remove_files(&self, partitions: &[Arc<PartitionState>]) {
        let mut removed = false;
        for partition in partitions.iter().filter(|partition| !partition.is_deleted()) {
            match partition.remove_retired() {
                Ok(any) => removed |= any,
                Err(error) => report(partition, &error),
            }
        }
        if removed {
            // A full disk may have room now.
            self.flusher_bell.ring();
        }
    }
}

struct Plan {
    rolls: bool,
    log_start: Option<Offset>,
}

fn report(partition: &PartitionState, error: &SegmentError) {
    if !partition.is_deleted() {
        tracing::error!(partition = partition.id().0, %error, "partition was not cleaned");
    }
}
