//! What all handles of one log share: the journal with its drivers, and the flusher's state.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::bell::Bell;
use super::direct::RetiredSlots;
use super::flusher::{FlushOutcome, Flusher};
use super::io::aligned::BufferPool;
use super::io::{Environment, Lock};
use super::journal::{Change, Drive, JournalFiles, Lsn, Progress, Queue, Sequence, Writer};
use super::partition_state::PartitionState;
use super::places::Places;
use super::planted::{self, Bug};
use super::topic::Topic;
use super::{AppendError, LogFailed, LogOptions, OS_SYNC_INTERVAL};

/// The journal runs low when less than this share of one file is left: a quarter, 8 MiB by default.
const JOURNAL_LOW_SHARE: u64 = 4;

/// Bytes that may wait for the flusher, in flushes that it begins at. What waits is memory, and what a recovery
/// reads.
const UNFLUSHED_FLUSHES_MAX: usize = 2;

/// How long a claim waits for whoever drives the journal.
const CLAIM_RETRY: Duration = Duration::from_millis(1);

/// No time at all, in milliseconds.
const NEVER: u64 = u64::MAX;

/// What an append takes from the journal beside its own bytes at most. 64 KiB: some frames and their padding.
const JOURNAL_SLACK_BYTES: usize = 64 * 1024;

/// The state behind every handle of one log.
pub struct Core {
    pub(super) environment: Environment,
    pub(super) folder: PathBuf,
    pub(super) places: Places,
    options: LogOptions,
    queue: Queue<Arc<PartitionState>>,
    writer: Mutex<Writer<Arc<PartitionState>>>,
    progress: Progress,
    pub(super) files: Arc<JournalFiles>,
    pub(super) pool: Arc<BufferPool>,
    retired_slots: Arc<RetiredSlots>,
    /// When the oldest group was found that was acknowledged unsynced and may still be, in milliseconds.
    unsynced_since: AtomicU64,
    published_lsn: AtomicU64,
    /// The last group that is on stable storage.
    synced_lsn: AtomicU64,
    /// The last group that something on the disk calls durable.
    claimed_lsn: AtomicU64,
    /// The LSN of the newest checkpoint.
    flushed_lsn: AtomicU64,
    dirty: Mutex<Vec<Arc<PartitionState>>>,
    /// Bytes that were published and not flushed, or not counted off yet.
    unflushed_bytes: AtomicUsize,
    storage_full: AtomicBool,
    /// Whether a spare journal file found no room, so that it is told once.
    spare_refused: AtomicBool,
    /// Bytes that the journal takes before a file must be freed.
    journal_free_bytes: AtomicU64,
    flusher: Mutex<Flusher>,
    pub(super) topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    /// Held while a topic is created or deleted; the largest partition number used.
    pub(super) last_partition: Mutex<u32>,
    pub(super) metadata: Arc<PartitionState>,
    /// Without threads of its own, everything happens inside the callers' calls.
    has_threads: bool,
    pub(super) journal_bell: Bell,
    pub(super) flusher_bell: Bell,
    /// Held for a pass of the cleaner, across I/O: no append takes it.
    pub(super) cleaner: Mutex<()>,
    pub(super) cleaner_bell: Bell,
    pub(super) is_closing: AtomicBool,
    /// Released when the log is closed or the process ends.
    pub(super) lock: Mutex<Option<Box<dyn Lock>>>,
}

/// What recovery hands over to a new [`Core`].
pub struct CoreParts {
    pub environment: Environment,
    pub folder: PathBuf,
    pub places: Places,
    pub options: LogOptions,
    pub writer: Writer<Arc<PartitionState>>,
    pub files: Arc<JournalFiles>,
    pub pool: Arc<BufferPool>,
    pub retired_slots: Arc<RetiredSlots>,
    pub last_lsn: Lsn,
    pub dirty: Vec<Arc<PartitionState>>,
    pub unflushed_bytes: usize,
    pub flusher: Flusher,
    pub last_partition: u32,
    pub metadata: Arc<PartitionState>,
    pub has_threads: bool,
    pub lock: Box<dyn Lock>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// A core over what recovery found.
    pub fn new(parts: CoreParts) -> Core {
        Core {
            environment: parts.environment,
            folder: parts.folder,
            places: parts.places,
            options: parts.options,
            queue: Queue::default(),
            writer: Mutex::new(parts.writer),
            progress: Progress::default(),
            files: parts.files,
            pool: parts.pool,
            retired_slots: parts.retired_slots,
            unsynced_since: AtomicU64::new(NEVER),
            published_lsn: AtomicU64::new(parts.last_lsn),
            synced_lsn: AtomicU64::new(parts.last_lsn),
            claimed_lsn: AtomicU64::new(parts.last_lsn),
            flushed_lsn: AtomicU64::new(parts.flusher.lsn()),
            dirty: Mutex::new(parts.dirty),
            unflushed_bytes: AtomicUsize::new(parts.unflushed_bytes),
            storage_full: AtomicBool::new(false),
            spare_refused: AtomicBool::new(false),
            journal_free_bytes: AtomicU64::new(0),
            flusher: Mutex::new(parts.flusher),
            topics: RwLock::default(),
            last_partition: Mutex::new(parts.last_partition),
            metadata: parts.metadata,
            has_threads: parts.has_threads,
            journal_bell: Bell::default(),
            flusher_bell: Bell::default(),
            cleaner: Mutex::default(),
            cleaner_bell: Bell::default(),
            is_closing: AtomicBool::new(false),
            lock: Mutex::new(Some(parts.lock)),
        }
    }

    /// How the log was opened.
    pub fn options(&self) -> &LogOptions {
        &self.options
    }

    /// The batches that wait for the journal.
    pub fn queue(&self) -> &Queue<Arc<PartitionState>> {
        &self.queue
    }

    /// How far the journal is durable.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Refuses appends when the log has stopped or the disk is full. One that `uses_reserve` is taken from a
    /// full disk as long as the journal surely has room for it.
    pub fn check_writable(&self, size_bytes: usize, uses_reserve: bool) -> Result<(), AppendError> {
        self.check_running()?;
        if !self.storage_full.load(Ordering::Acquire) {
            return Ok(());
        }
        // The group's frame and the rounding to blocks; a file's end may be too small for the next group.
        let needed = self.queue.size_bytes() + 2 * size_bytes + JOURNAL_SLACK_BYTES;
        if uses_reserve && needed as u64 <= self.journal_free_bytes.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(AppendError::StorageFull)
    }

    /// The failure that stopped the log, if one did.
    pub fn check_running(&self) -> Result<(), LogFailed> {
        if planted::is(Bug::GoOnAfterFailure) {
            return Ok(());
        }
        self.progress
            .failure()
            .map_or(Ok(()), |reason| Err(LogFailed { reason }))
    }

    /// Whether threads of the log do what a caller leaves. While it closes they end, and callers do it all.
    fn is_threaded(&self) -> bool {
        self.has_threads && !self.is_closing.load(Ordering::Acquire)
    }

    /// Wakes the journal thread, if there is one, to write what waits.
    pub fn ring_journal(&self) {
        if self.has_threads {
            self.journal_bell.ring();
        }
    }

    /// Blocks until `sequence` is durable; writes the journal itself when nobody else does.
    pub fn commit_until(&self, sequence: Sequence) -> Result<(), LogFailed> {
        loop {
            if self.progress.durable() >= sequence || planted::is(Bug::AcknowledgeBeforeWrite) {
                return Ok(());
            }
            self.check_running()?;
            let driven = match self.writer.try_lock() {
                Ok(writer) => self.drive(writer, sequence)?,
                Err(TryLockError::Poisoned(poisoned)) => self.drive(poisoned.into_inner(), sequence)?,
                Err(TryLockError::WouldBlock) => Driven::Elsewhere,
            };
            match driven {
                Driven::Reached => {}
                // The other driver may leave before this sequence, and without a journal thread nobody follows.
                Driven::Elsewhere if !self.is_threaded() => std::thread::yield_now(),
                Driven::Elsewhere => {
                    self.ring_journal();
                    self.progress.block_until(sequence);
                }
                Driven::NeedsSpace if self.is_threaded() => {
                    self.flusher_bell.ring();
                    self.progress.block_until(sequence);
                }
                Driven::NeedsSpace => self.free_journal()?,
            }
        }
    }

    /// Ready when `sequence` is durable, or the log has stopped.
    pub fn poll_durable(&self, sequence: Sequence, waker: &Waker) -> Poll<Result<(), LogFailed>> {
        if self.progress.durable() >= sequence {
            return Poll::Ready(Ok(()));
        }
        if !self.has_threads {
            return Poll::Ready(self.commit_until(sequence));
        }
        if self.progress.register(sequence, waker) {
            self.journal_bell.ring();
            return Poll::Pending;
        }
        if self.progress.durable() >= sequence {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.check_running())
    }

    /// The journal thread's work: writes until nothing waits.
    pub fn drain_journal(&self) -> Result<(), LogFailed> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.drive(writer, Sequence::MAX)? == Driven::NeedsSpace {
            // The flusher rings the journal's bell when it has freed a file.
            self.flusher_bell.ring();
        }
        Ok(())
    }

    /// Writes groups until `sequence` is durable or nothing is left to do.
    fn drive(
        &self,
        mut writer: MutexGuard<'_, Writer<Arc<PartitionState>>>,
        sequence: Sequence,
    ) -> Result<Driven, LogFailed> {
        self.check_running()?;
        let _guard = FailOnPanic::new(&self.progress);
        for slot in self.retired_slots.take() {
            writer.detach(slot);
        }
        let driven = loop {
            // Submitting comes before leaving, so that the device works while the next driver wakes up.
            let submitted = self.submit(&mut writer)?;
            if self.progress.durable() >= sequence {
                break Driven::Reached;
            }
            match submitted {
                Drive::Idle => break Driven::Reached,
                Drive::NeedsSpace => break Driven::NeedsSpace,
                Drive::Progress => {}
            }
            self.reap(&mut writer)?;
        };
        self.watch_journal(writer.free_bytes());
        let work_left = writer.has_in_flight() || !self.queue.is_empty();
        drop(writer);
        if work_left && driven == Driven::Reached {
            self.ring_journal();
        }
        Ok(driven)
    }

    /// Submits what waits, unless too much waits for the flusher already: large writes leave the journal empty
    /// and would outrun it.
    fn submit(&self, writer: &mut Writer<Arc<PartitionState>>) -> Result<Drive, LogFailed> {
        let is_backlogged = self.unflushed_bytes.load(Ordering::Acquire)
            >= UNFLUSHED_FLUSHES_MAX * self.options.flush_size_bytes
            && !self.storage_full.load(Ordering::Acquire);
        if !is_backlogged || self.queue.is_empty() {
            let must_sync = self.must_sync(writer);
            let submitted = writer.submit(&self.queue, must_sync);
            let submitted = submitted.map_err(|error| self.fail(&error))?;
            if submitted == Drive::NeedsSpace && writer.has_unsynced() {
                // Files are freed up to what is on stable storage.
                writer.sync().map_err(|error| self.fail(&error))?;
                self.synced_lsn.store(writer.synced_lsn(), Ordering::Release);
            }
            return Ok(submitted);
        }
        Ok(if writer.has_in_flight() {
            Drive::Progress
        } else {
            Drive::NeedsSpace
        })
    }

    /// Whether groups that were acknowledged unsynced have waited long enough.
    fn must_sync(&self, writer: &Writer<Arc<PartitionState>>) -> bool {
        if !writer.has_unsynced() {
            self.unsynced_since.store(NEVER, Ordering::Relaxed);
            return false;
        }
        let now = self.environment.clock.monotonic().as_millis() as u64;
        // Half of the time is for a group that is on its way, and for a thread that is late.
        let limit = (OS_SYNC_INTERVAL / 2).as_millis() as u64;
        let since = self.unsynced_since.load(Ordering::Relaxed);
        if since == NEVER {
            self.unsynced_since.store(now, Ordering::Relaxed);
        }
        now.saturating_sub(since.min(now)) >= limit
    }

    /// Says on the disk that everything so far is durable, unless it is said; false if the journal has no room.
    ///
    /// Without it, damage to the last groups could pass for the torn end of what was never acknowledged.
    pub fn claim(&self) -> Result<bool, LogFailed> {
        self.commit_until(self.queue.last_sequence())?;
        let lsn = self.published_lsn.load(Ordering::Acquire);
        loop {
            self.check_running()?;
            if self.claimed_lsn.load(Ordering::Acquire) >= lsn {
                return Ok(true);
            }
            match self.writer.try_lock() {
                Ok(writer) => return self.write_claim(writer),
                Err(TryLockError::Poisoned(poisoned)) => return self.write_claim(poisoned.into_inner()),
                // Whoever drives writes further groups, which say it, or leaves soon.
                Err(TryLockError::WouldBlock) => std::thread::sleep(CLAIM_RETRY),
            }
        }
    }

    fn write_claim(
        &self,
        mut writer: MutexGuard<'_, Writer<Arc<PartitionState>>>,
    ) -> Result<bool, LogFailed> {
        let _guard = FailOnPanic::new(&self.progress);
        while writer.has_in_flight() {
            self.reap(&mut writer)?;
        }
        if !writer.needs_claim() {
            return Ok(true);
        }
        let submitted = writer.submit_claim().map_err(|error| self.fail(&error))?;
        if submitted == Drive::NeedsSpace {
            return Ok(false);
        }
        self.reap(&mut writer)?;
        let lsn = writer.synced_lsn();
        drop(writer);
        // A flush that is under way writes the anchor itself, and whoever drives the journal waits for no flush.
        if let Ok(mut flusher) = self.flusher.try_lock() {
            flusher.write_anchor(lsn).map_err(|error| self.fail(&error))?;
        }
        Ok(true)
    }

    /// The journal thread's work while nobody appends: the claim, if the last groups lack it.
    pub fn claim_if_idle(&self) -> Result<(), LogFailed> {
        let Ok(writer) = self.writer.try_lock() else {
            return Ok(());
        };
        if writer.needs_claim() && self.queue.is_empty() {
            self.check_running()?;
            self.write_claim(writer)?;
        }
        Ok(())
    }

    /// Begins a flush when the journal runs low, so that a full disk is found while the journal still takes
    /// what is on its way and what must go on.
    fn watch_journal(&self, free_bytes: u64) {
        let before = self.journal_free_bytes.swap(free_bytes, Ordering::AcqRel);
        let low = self.options.journal_file_size_bytes / JOURNAL_LOW_SHARE;
        if self.has_threads && before >= low && free_bytes < low {
            self.flusher_bell.ring();
        }
    }

    fn reap(&self, writer: &mut Writer<Arc<PartitionState>>) -> Result<(), LogFailed> {
        let (mut published_bytes, mut starts_moved) = (0, false);
        let reaped = writer.reap(|partition, change| {
            match &change {
                Change::Append(batch) => published_bytes += batch.bytes.len(),
                // Once the watermark of the start has moved, files may go.
                Change::StartMoved(_) => starts_moved = true,
            }
            if partition.publish(change) {
                self.lock_dirty().push(partition);
            }
        });
        let durable = reaped.map_err(|error| self.fail(&error))?;
        if self.has_threads && writer.take_asks() {
            self.flusher_bell.ring();
        }
        if starts_moved && self.has_threads {
            self.cleaner_bell.ring();
        }
        // The watermarks have moved before the LSN and the sequence do: who sees these sees the batches.
        self.published_lsn.store(writer.durable_lsn(), Ordering::Release);
        self.synced_lsn.store(writer.synced_lsn(), Ordering::Release);
        self.claimed_lsn.store(writer.claimed_lsn(), Ordering::Release);
        if let Some(sequence) = durable {
            self.progress.advance(sequence);
        }
        let before = self.unflushed_bytes.fetch_add(published_bytes, Ordering::AcqRel);
        let limit = self.options.flush_size_bytes;
        if self.has_threads && before < limit && before + published_bytes >= limit {
            self.flusher_bell.ring();
        }
        Ok(())
    }

    /// Writes every tail into its segments, durably, and frees the journal behind it.
    pub fn flush(&self) -> Result<FlushOutcome, LogFailed> {
        let mut flusher = self.lock_flusher();
        self.check_running()?;
        let _guard = FailOnPanic::new(&self.progress);
        let lsn = self.synced_lsn.load(Ordering::Acquire);
        // What is published from here on is counted, although this flush may take it along.
        let unflushed_bytes = self.unflushed_bytes.load(Ordering::Acquire);
        let mut dirty = std::mem::take(&mut *self.lock_dirty());
        if planted::is(Bug::DropDirtyPartition) {
            dirty.pop();
        }
        // All of them before the first is written: one that a full disk keeps from its turn must be able to
        // become dirty again.
        for partition in &dirty {
            partition.mark_clean();
        }
        if planted::is(Bug::FreeJournalBeforeFlush) {
            self.files.release_through(lsn);
        }
        let outcome = flusher.flush(lsn, &dirty).map_err(|error| self.fail(&error))?;
        match outcome {
            FlushOutcome::Flushed => {
                if self.storage_full.swap(false, Ordering::AcqRel) {
                    tracing::info!("the data folder has space again, appends are taken");
                }
                self.flushed_lsn.store(lsn, Ordering::Release);
                self.files.release_through(lsn);
                let before = self.unflushed_bytes.fetch_sub(unflushed_bytes, Ordering::AcqRel);
                if before - unflushed_bytes >= self.options.flush_size_bytes && self.has_threads {
                    self.flusher_bell.ring();
                }
                self.ring_journal();
            }
            FlushOutcome::StorageFull => {
                if !self.storage_full.swap(true, Ordering::AcqRel) {
                    tracing::error!(folder = %self.folder.display(), "no space left: appends are refused, reads go on");
                }
                let mut again = self.lock_dirty();
                again.extend(dirty.into_iter().filter(|partition| partition.mark_dirty()));
            }
        }
        drop(flusher);
        if outcome == FlushOutcome::Flushed && self.has_threads && self.files.wants_spare() {
            self.add_journal_file()?;
        }
        Ok(outcome)
    }

    /// Whether the flusher has anything to do: tails to move, or only to say that all up to a later group are
    /// moved. A flush takes the batches of later groups along as well; when the journal is full of those and
    /// nothing is dirty, this checkpoint alone frees its files.
    pub fn needs_flush(&self) -> bool {
        !self.lock_dirty().is_empty()
            || self.synced_lsn.load(Ordering::Acquire) > self.flushed_lsn.load(Ordering::Acquire)
    }

    /// Makes room in the journal: by one more file while there are few, else by a flush.
    pub fn free_journal(&self) -> Result<(), LogFailed> {
        let is_backlogged = self.unflushed_bytes.load(Ordering::Acquire) >= self.options.flush_size_bytes;
        if !is_backlogged && self.files.wants_spare() && self.add_journal_file()? {
            return Ok(());
        }
        if self.flush()? == FlushOutcome::StorageFull && !self.is_threaded() {
            let reason = "the disk and the journal are full, and no thread waits for space";
            self.progress.fail(reason);
        }
        Ok(())
    }

    /// Adds a file to the journal; false if the disk has no room for it.
    fn add_journal_file(&self) -> Result<bool, LogFailed> {
        match self.files.add_spare() {
            Ok(()) => {
                self.spare_refused.store(false, Ordering::Release);
                self.ring_journal();
                Ok(true)
            }
            Err(error) if error.is_storage_full() => {
                if !self.spare_refused.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, "no space for another journal file, going on with those there are");
                }
                Ok(false)
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Lets the next flush look at `partition`, although nothing was appended to it.
    pub fn mark_dirty(&self, partition: &Arc<PartitionState>) {
        if partition.mark_dirty() {
            self.lock_dirty().push(Arc::clone(partition));
        }
    }

    /// Waits for those who were writing when the log was closed: after this, nobody writes to the folder.
    pub fn end_writing(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self.lock_flusher());
        drop(self.cleaner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The state of the flusher, which deletion of topics shares.
    pub fn lock_flusher(&self) -> MutexGuard<'_, Flusher> {
        self.flusher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the log for good: nothing is acknowledged any more, and nothing is retried.
    pub fn fail(&self, error: &(dyn std::error::Error + 'static)) -> LogFailed {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(%reason, "the log stops");
        self.progress.fail(&reason);
        LogFailed {
            reason: self.progress.failure().unwrap_or_else(|| Arc::from(reason)),
        }
    }

    fn lock_dirty(&self) -> MutexGuard<'_, Vec<Arc<PartitionState>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the log when its thread panics: those who wait must hear of it, and what was half done is not gone on
/// with.
struct FailOnPanic<'a> {
    progress: &'a Progress,
    /// A caller may use the log while it unwinds already, in a destructor: that panic is none of the log's.
    was_panicking: bool,
}

impl FailOnPanic<'_> {
    fn new(progress: &Progress) -> FailOnPanic<'_> {
        let was_panicking = std::thread::panicking();
        FailOnPanic {
            progress,
            was_panicking,
        }
    }
}

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.progress.fail("a thread of the log panicked");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driven {
    /// What was asked for is durable, or nothing is left to write.
    Reached,
    /// Another thread drives.
    Elsewhere,
    /// All journal files are full.
    NeedsSpace,
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::path::Path;
    use std::task::Context;

    use bytes::Bytes;

    use super::*;
    use crate::log::batch::{BatchBuilder, Record, validate};
    use crate::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
    use crate::log::{Offset, Partition, Timestamp, recovery};

    /// A log with threads that are not started, so that a test takes their turns.
    fn core() -> Core {
        let environment = Environment {
            disk: Arc::new(SimulatedDisk::new(1)),
            clock: Arc::new(SimulatedClock::new(Timestamp(1))),
            random: Arc::new(SimulatedRandom::new(1)),
        };
        recovery::open(environment, Path::new("/data"), LogOptions::default(), true)
            .unwrap()
            .core
    }

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(Timestamp(1));
        let record = Record {
            timestamp: Timestamp(1),
            key: None,
            value: None,
            headers: &[],
        };
        builder.push(&record).unwrap();
        builder.finish()
    }

    fn append(core: &Core) {
        let batch = batch();
        let header = validate(&batch).unwrap();
        let (sequence, _) = core.metadata.enqueue(&core.queue, &header, batch, None).unwrap();
        core.commit_until(sequence).unwrap();
    }

    #[test]
    fn a_checkpoint_behind_the_last_group_is_work_for_the_flusher_although_nothing_is_dirty() {
        let core = core();
        assert!(!core.needs_flush(), "nothing was appended");
        append(&core);
        let lsn = core.published_lsn.load(Ordering::Acquire);
        // A flush that read the LSN, and then found a batch of a later group in the tail.
        append(&core);
        let dirty = std::mem::take(&mut *core.lock_dirty());
        for partition in &dirty {
            partition.mark_clean();
        }
        core.lock_flusher().flush(lsn, &dirty).unwrap();
        assert!(core.lock_dirty().is_empty());
        assert!(core.needs_flush(), "the journal still keeps the later group");
        assert_eq!(core.flush().unwrap(), FlushOutcome::Flushed);
        assert!(!core.needs_flush());
    }

    #[test]
    fn polling_an_append_again_keeps_no_more_wakers() {
        struct Count;
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {}
        }
        let core = Arc::new(core());
        let partition = Partition {
            state: Arc::clone(&core.metadata),
            core: Arc::clone(&core),
            uses_reserve: false,
        };
        let mut append = Box::pin(partition.append(batch()).unwrap());
        let count = Arc::new(Count);
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        for _ in 0..100 {
            assert!(append.as_mut().poll(&mut context).is_pending());
        }
        assert!(Arc::strong_count(&count) <= 4, "{}", Arc::strong_count(&count));
        core.drain_journal().unwrap();
        assert!(matches!(
            append.as_mut().poll(&mut context),
            Poll::Ready(Ok(Offset(0)))
        ));
        drop(append);
        assert_eq!(Arc::strong_count(&count), 2, "nobody keeps the waker");
    }

    #[test]
    fn a_panic_while_driving_is_told_to_those_who_wait() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("planted");
            }
        }
        let core = Arc::new(core());
        let partition = Partition {
            state: Arc::clone(&core.metadata),
            core: Arc::clone(&core),
            uses_reserve: false,
        };
        partition.wake_above(Offset(0), &Waker::from(Arc::new(Panics)));
        let append = partition.append(batch()).unwrap();
        let later = partition.append(batch()).unwrap();
        let driving = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| append.wait()));
        assert!(driving.is_err());
        assert_eq!(&*later.wait().unwrap_err().reason, "a thread of the log panicked");
    }

    #[test]
    fn a_caller_that_unwinds_already_may_still_append() {
        struct AppendsWhenDropped(Partition);
        impl Drop for AppendsWhenDropped {
            fn drop(&mut self) {
                self.0.append(batch()).unwrap().wait().unwrap();
            }
        }
        let core = Arc::new(core());
        let partition = Partition {
            state: Arc::clone(&core.metadata),
            core: Arc::clone(&core),
            uses_reserve: false,
        };
        let last_words = AppendsWhenDropped(partition.clone());
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _last_words = last_words;
            panic!("planted");
        }));
        assert!(unwound.is_err());
        assert_eq!(partition.append(batch()).unwrap().wait().unwrap(), Offset(1));
    }
}
