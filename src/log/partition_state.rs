//! The state of one partition: its end, its producers, its tail and its segments.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::{BatchHeader, Place, StoredBatch};
use super::catalog::METADATA_PARTITION;
use super::checkpoint::PartitionCheckpoint;
use super::io::FileSlot;
use super::journal::{Change, Entry, NotReady, Queue, QueueFull, Sequence, Target};
use super::planted::{self, Bug};
use super::producers::{ProducerTable, Verdict};
use super::segment::{Cursor, FlushedPosition, SegmentError, SegmentPlace, Segments};
use super::tail::Tail;
use super::topic_policy::TopicPolicy;
use super::{AppendError, Durability, Offset, PartitionId, ReadError, Timestamp};

/// One partition. Its offsets are ordered: log start and flushed <= high watermark <= end.
#[derive(Debug)]
pub struct PartitionState {
    place: SegmentPlace,
    /// Where the segments end by the checkpoint; none if there was no checkpoint.
    flushed_at_open: Option<FlushedPosition>,
    /// The producers that a scan of the segments found, where there was no checkpoint.
    scanned_producers: ProducerTable,
    /// Moves up only, and only once the move is durable.
    log_start: AtomicU64,
    policy: RwLock<Arc<TopicPolicy>>,
    /// Base offset of the last segment by the newest checkpoint on the disk: the ones before it are closed for
    /// any process that opens the log from now on.
    checkpointed_segment: AtomicU64,
    /// Below this offset everything was compacted.
    cleaned: AtomicU64,
    /// Whether a compaction failed: no other is tried before the next start.
    is_uncompactable: AtomicBool,
    /// Size at which a segment ends.
    segment_size_max_bytes: AtomicU64,
    end: Mutex<End>,
    high_watermark: AtomicU64,
    /// The segment that large writes go to directly, once the flusher has prepared it.
    direct: Mutex<Option<DirectSpace>>,
    wants_direct: AtomicBool,
    /// Whether an append is acknowledged when the device has it.
    is_os_durable: AtomicBool,
    tail: RwLock<Tail>,
    segments: OnceLock<Segments>,
    opening_segments: Mutex<()>,
    is_dirty: AtomicBool,
    waiters: Mutex<Waiters>,
    grown: Condvar,
}

/// What the next append continues.
#[derive(Debug, Default)]
struct End {
    next_offset: Offset,
    cursor: Cursor,
    /// Where the last segment is to end, although nothing is appended behind.
    rolls_at: Option<Offset>,
    /// The log start that was last asked for.
    log_start: Offset,
    producers: ProducerTable,
    deleted: bool,
}

/// A segment whose file has space, reserved and within its length, for direct writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectSpace {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Where the space ends.
    pub end: u64,
    /// The file in the durable writer.
    pub slot: FileSlot,
}

#[derive(Debug, Default)]
struct Waiters {
    wakers: Vec<(Offset, Waker)>,
    blocked: usize,
}

impl PartitionState {
    /// A partition without any data.
    pub fn empty(place: SegmentPlace) -> PartitionState {
        let flushed = FlushedPosition {
            segment: Offset::ZERO,
            position: 0,
            next_offset: Offset::ZERO,
        };
        PartitionState::new(
            place,
            Offset::ZERO,
            Some(flushed),
            flushed,
            ProducerTable::default(),
        )
    }

    /// A partition as a checkpoint left it.
    pub fn at_checkpoint(place: SegmentPlace, checkpoint: &PartitionCheckpoint) -> PartitionState {
        let PartitionCheckpoint {
            log_start,
            cleaned,
            flushed,
            producers,
        } = checkpoint;
        let state = PartitionState::new(place, *log_start, Some(*flushed), *flushed, producers.clone());
        state.set_cleaned(*cleaned);
        state
    }

    /// A partition without a checkpoint: its segments are scanned for their end and their producers.
    pub fn scanned(place: SegmentPlace) -> Result<PartitionState, SegmentError> {
        let segments = Segments::open(place.clone(), None)?;
        let (log_start, end) = (segments.first_offset(), segments.flushed());
        let mut producers = ProducerTable::default();
        let mut next = log_start;
        while next < end.next_offset {
            for slice in segments.read(next, SCAN_STEP_BYTES)? {
                for (header, _) in super::batch::batches(&slice).flatten() {
                    producers.apply(&header, header.base_offset);
                    next = header.next_offset();
                }
            }
        }
        let mut state = PartitionState::new(place, log_start, None, end, producers.clone());
        state.scanned_producers = producers;
        let _ = state.segments.set(segments);
        Ok(state)
    }

    fn new(
        place: SegmentPlace,
        log_start: Offset,
        flushed_at_open: Option<FlushedPosition>,
        end: FlushedPosition,
        producers: ProducerTable,
    ) -> PartitionState {
        let segment_size_max_bytes = place.options.segment_size_max_bytes;
        PartitionState {
            place,
            flushed_at_open,
            scanned_producers: ProducerTable::default(),
            log_start: AtomicU64::new(log_start.0),
            policy: RwLock::default(),
            checkpointed_segment: AtomicU64::new(flushed_at_open.map_or(0, |end| end.segment.0)),
            cleaned: AtomicU64::new(0),
            is_uncompactable: AtomicBool::new(false),
            segment_size_max_bytes: AtomicU64::new(segment_size_max_bytes),
            end: Mutex::new(End {
                next_offset: end.next_offset,
                cursor: Cursor::from(end),
                rolls_at: None,
                log_start,
                producers,
                deleted: false,
            }),
            high_watermark: AtomicU64::new(end.next_offset.0),
            direct: Mutex::new(None),
            wants_direct: AtomicBool::new(false),
            is_os_durable: AtomicBool::new(false),
            tail: RwLock::default(),
            segments: OnceLock::new(),
            opening_segments: Mutex::default(),
            is_dirty: AtomicBool::new(false),
            waiters: Mutex::default(),
            grown: Condvar::new(),
        }
    }

    /// The partition's number.
    pub fn id(&self) -> PartitionId {
        self.place.partition
    }

    /// The partition's folder, which need not exist.
    pub fn folder(&self) -> &PathBuf {
        &self.place.dir
    }

    /// First readable offset.
    pub fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    /// Moves the first readable offset up to `log_start`, which is durable; true if the partition had nothing to
    /// flush before: the next checkpoint must know.
    fn publish_start(&self, log_start: Offset) -> bool {
        self.log_start.fetch_max(log_start.0, Ordering::AcqRel);
        self.retire();
        self.mark_dirty()
    }

    /// Gives up the segments below the log start; [`Segments::remove_retired`] removes their files. One that was
    /// the last by the checkpoint on the disk stays, since the next start begins with it.
    fn retire(&self) {
        if let Some(segments) = self.segments.get() {
            segments.retire_below(self.log_start().min(self.checkpointed_segment()));
        }
    }

    /// What the topic's configurations ask for.
    pub fn policy(&self) -> Arc<TopicPolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows other configurations from now on.
    pub fn set_policy(&self, policy: TopicPolicy) {
        let own = policy.segment_size_max_bytes;
        let size_max_bytes = own.unwrap_or(self.place.options.segment_size_max_bytes);
        self.set_durability(policy.durability);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.segment_size_max_bytes
            .store(size_max_bytes, Ordering::Relaxed);
        if let Some(segments) = self.segments.get() {
            segments.set_size_max_bytes(size_max_bytes);
        }
    }

    /// Size at which a segment ends.
    pub fn segment_size_max_bytes(&self) -> u64 {
        self.segment_size_max_bytes.load(Ordering::Relaxed)
    }

    /// Base offset of the last segment by the newest checkpoint on the disk.
    pub fn checkpointed_segment(&self) -> Offset {
        Offset(self.checkpointed_segment.load(Ordering::Acquire))
    }

    /// Below this offset everything was compacted.
    pub fn cleaned(&self) -> Offset {
        Offset(self.cleaned.load(Ordering::Acquire))
    }

    /// Notes that everything below `cleaned` was compacted; the next checkpoint remembers it.
    pub fn set_cleaned(&self, cleaned: Offset) {
        self.cleaned.fetch_max(cleaned.0, Ordering::AcqRel);
    }

    /// Whether a compaction failed.
    pub fn is_uncompactable(&self) -> bool {
        self.is_uncompactable.load(Ordering::Relaxed)
    }

    /// Lets the partition be as it is until the next start.
    pub fn set_uncompactable(&self) {
        self.is_uncompactable.store(true, Ordering::Relaxed);
    }

    /// The idempotent producers of the partition.
    pub fn producers(&self) -> ProducerTable {
        lock(&self.end).producers.clone()
    }

    /// Lets the next batch begin a segment, and the last one end once it is flushed up to there.
    pub fn roll_at_flush(&self) {
        let mut end = lock(&self.end);
        if end.cursor.place().position > 0 {
            let next_offset = end.next_offset;
            end.cursor.begin(next_offset);
        }
        end.rolls_at = Some(end.cursor.place().segment);
    }

    /// Offset behind the last durable record.
    pub fn high_watermark(&self) -> Offset {
        if planted::is(Bug::ServeAboveWatermark) {
            return lock(&self.end).next_offset;
        }
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// The producers that a scan of the segments found; none for a partition that has a checkpoint.
    pub fn scanned_producers(&self) -> ProducerTable {
        self.scanned_producers.clone()
    }

    /// Gives the batch its offset and puts it into the journal's queue: one short critical section without
    /// I/O, so that the journal's order is the partition's order.
    pub fn enqueue(
        self: &Arc<Self>,
        queue: &Queue<Arc<PartitionState>>,
        header: &BatchHeader,
        batch: Bytes,
        expected: Option<Offset>,
    ) -> Result<(Sequence, Offset), AppendError> {
        let mut end = lock(&self.end);
        if end.deleted {
            return Err(AppendError::Deleted);
        }
        let base_offset = end.next_offset;
        if let Verdict::Duplicate(original) = end.producers.check(header)? {
            // The original may still be on its way; it is durable when all that waits is.
            return Ok((queue.last_sequence(), original));
        }
        if let Some(expected) = expected.filter(|expected| *expected != base_offset) {
            return Err(AppendError::UnexpectedEnd {
                expected,
                found: base_offset,
            });
        }
        let next_offset = base_offset.plus(header.record_count as u64);
        let mut cursor = end.cursor;
        let place = cursor.take(
            base_offset,
            next_offset,
            batch.len(),
            self.segment_size_max_bytes(),
        );
        let change = Change::Append(StoredBatch {
            base_offset,
            next_offset,
            max_timestamp: header.max_timestamp,
            place,
            written: 0..0,
            bytes: batch,
        });
        let sequence = queue.push(self.entry(change))?;
        end.next_offset = next_offset;
        end.cursor = cursor;
        end.producers.apply(header, base_offset);
        Ok((sequence, base_offset))
    }

    /// Puts a move of the log start into the journal's queue; none if it is there already.
    ///
    /// # Errors
    /// An offset behind the last record is none to begin with.
    pub fn enqueue_start(
        self: &Arc<Self>,
        queue: &Queue<Arc<PartitionState>>,
        log_start: Offset,
    ) -> Result<Option<Sequence>, AppendError> {
        let mut end = lock(&self.end);
        if end.deleted {
            return Err(AppendError::Deleted);
        }
        if log_start > end.next_offset {
            return Err(AppendError::UnexpectedEnd {
                expected: log_start,
                found: end.next_offset,
            });
        }
        if log_start <= end.log_start {
            // An earlier move may still be on its way.
            let is_durable = log_start <= self.log_start();
            return Ok((!is_durable).then(|| queue.last_sequence()));
        }
        let sequence = queue.push(self.entry(Change::StartMoved(log_start)))?;
        end.log_start = log_start;
        Ok(Some(sequence))
    }

    fn entry(self: &Arc<Self>, change: Change) -> Entry<Arc<PartitionState>> {
        Entry {
            target: Arc::clone(self),
            partition: self.id(),
            change,
        }
    }

    /// Takes in a batch that recovery found durable, unless the partition has it already; true if the
    /// partition had nothing to flush before. Without a place of its own it stands behind the one before.
    ///
    /// # Errors
    /// The offset that is missing when the batch does not continue the partition.
    pub fn restore(&self, bytes: Bytes, header: &BatchHeader, place: Option<Place>) -> Result<bool, Offset> {
        let mut end = lock(&self.end);
        if header.base_offset < end.next_offset {
            return Ok(false);
        }
        if header.base_offset > end.next_offset {
            return Err(end.next_offset);
        }
        let place = place.unwrap_or(end.cursor.place());
        end.next_offset = header.next_offset();
        end.cursor.pass(place, bytes.len());
        if !planted::is(Bug::ForgetProducersOnReplay) {
            end.producers.apply(header, header.base_offset);
        }
        drop(end);
        Ok(self.publish_batch(StoredBatch {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            max_timestamp: header.max_timestamp,
            place,
            written: 0..0,
            bytes,
        }))
    }

    /// Takes in a move of the log start that recovery found durable; true as for [`PartitionState::restore`].
    pub fn restore_start(&self, log_start: Offset) -> bool {
        let mut end = lock(&self.end);
        end.log_start = end.log_start.max(log_start);
        drop(end);
        self.publish(Change::StartMoved(log_start))
    }

    /// Makes a durable change visible; true if the partition had nothing to flush before.
    pub fn publish(&self, change: Change) -> bool {
        match change {
            Change::Append(batch) => self.publish_batch(batch),
            Change::StartMoved(log_start) => self.publish_start(log_start),
        }
    }

    fn publish_batch(&self, batch: StoredBatch) -> bool {
        let next_offset = batch.next_offset;
        {
            let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
            tail.push(batch);
            self.high_watermark.store(next_offset.0, Ordering::Release);
        }
        let (ready, blocked) = {
            let mut waiters = lock(&self.waiters);
            let ready: Vec<_> = if waiters.wakers.is_empty() {
                Vec::new()
            } else {
                waiters
                    .wakers
                    .extract_if(.., |(offset, _)| *offset < next_offset)
                    .collect()
            };
            (ready, waiters.blocked > 0)
        };
        if blocked {
            self.grown.notify_all();
        }
        for (_, waker) in ready {
            waker.wake();
        }
        self.mark_dirty()
    }

    /// Whole batches from the one that contains `from`.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, ReadError> {
        let (log_start, high_watermark) = (self.log_start(), self.high_watermark());
        if from < log_start || from > high_watermark {
            return Err(ReadError::OutOfRange {
                offset: from,
                log_start,
                high_watermark,
            });
        }
        if from == high_watermark {
            return Ok(Vec::new());
        }
        let from_tail = self
            .tail
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .read(from, max_bytes);
        match from_tail {
            Some(slices) => Ok(slices),
            // Its files are gone, and a name that is opened now would be an error of the disk.
            None if self.is_deleted() => Err(ReadError::Deleted),
            None => {
                let read = self
                    .segments()
                    .and_then(|segments| segments.read(from, max_bytes));
                read.map_err(|error| self.read_error(from, error))
            }
        }
    }

    /// A segment that retention took away while it was looked for is no damage.
    fn read_error(&self, from: Offset, error: SegmentError) -> ReadError {
        let (log_start, high_watermark) = (self.log_start(), self.high_watermark());
        if from < log_start {
            return ReadError::OutOfRange {
                offset: from,
                log_start,
                high_watermark,
            };
        }
        error.into()
    }

    /// The first batch with a timestamp at or after `timestamp` that ends above `above`.
    pub fn batch_at_time(&self, timestamp: Timestamp, above: Offset) -> Result<Option<Bytes>, ReadError> {
        if let Some(batch) = self.segments()?.batch_at_time(timestamp, above)? {
            return Ok(Some(batch));
        }
        Ok(self
            .tail
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .batch_at_time(timestamp, above))
    }

    /// The earliest batch with the largest timestamp.
    pub fn batch_with_max_timestamp(&self) -> Result<Option<Bytes>, ReadError> {
        let log_start = self.log_start();
        let flushed = self.segments()?.batch_with_max_timestamp(log_start)?;
        let flushed_timestamp = flushed
            .as_ref()
            .and_then(|batch| BatchHeader::parse(batch).ok())
            .map(|header| header.max_timestamp);
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        match tail.batch_with_max_timestamp(log_start) {
            Some(batch) if flushed_timestamp.is_none_or(|flushed| batch.max_timestamp > flushed) => {
                Ok(Some(batch.bytes.clone()))
            }
            _ => Ok(flushed),
        }
    }

    /// Wakes `waker` once the high watermark is above `offset`.
    pub fn wake_above(&self, offset: Offset, waker: &Waker) {
        let mut waiters = lock(&self.waiters);
        // `publish` moves the watermark before it takes this lock: either it is seen here, or it wakes.
        if self.high_watermark() > offset {
            drop(waiters);
            waker.wake_by_ref();
        } else if !waiters
            .wakers
            .iter()
            .any(|(known, other)| *known == offset && other.will_wake(waker))
        {
            waiters.wakers.push((offset, waker.clone()));
        }
    }

    /// Forgets a waker whose owner no longer waits.
    pub fn forget_waker(&self, waker: &Waker) {
        lock(&self.waiters)
            .wakers
            .retain(|(_, other)| !other.will_wake(waker));
    }

    /// Whether a read from `from` needs no segment.
    pub fn is_in_memory(&self, from: Offset) -> bool {
        if from >= self.high_watermark() {
            return true;
        }
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        tail.first_offset().is_some_and(|first| first <= from)
    }

    /// Blocks until the high watermark is above `offset` or `timeout` has passed; tells which.
    pub fn wait_above(&self, offset: Offset, timeout: Duration) -> bool {
        // None is further away than the clock reaches: for ever.
        let deadline = Instant::now().checked_add(timeout);
        let mut waiters = lock(&self.waiters);
        waiters.blocked += 1;
        while self.high_watermark() <= offset {
            let left = deadline.map_or(timeout, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break;
            }
            waiters = self
                .grown
                .wait_timeout(waiters, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        waiters.blocked -= 1;
        self.high_watermark() > offset
    }

    /// The partition's segments, opened at the first need.
    pub fn segments(&self) -> Result<&Segments, SegmentError> {
        if let Some(segments) = self.segments.get() {
            return Ok(segments);
        }
        let _opening = lock(&self.opening_segments);
        if self.segments.get().is_none() {
            let mut place = self.place.clone();
            place.options.segment_size_max_bytes = self.segment_size_max_bytes();
            let segments = Segments::open(place, self.flushed_at_open)?;
            let segments = self.segments.get_or_init(|| segments);
            // Files whose removal a crash undid, and what a move left that was durable before they were opened.
            self.retire();
            return Ok(segments);
        }
        Ok(self
            .segments
            .get_or_init(|| unreachable!("the segments were opened under the lock")))
    }

    /// The partition's segments, if they were needed before.
    pub fn opened_segments(&self) -> Option<&Segments> {
        self.segments.get()
    }

    /// Removes the files of segments below the log start; true if there were any.
    pub fn remove_retired(&self) -> Result<bool, SegmentError> {
        self.segments.get().map_or(Ok(false), Segments::remove_retired)
    }

    /// The batches that are not in a segment yet.
    pub fn begin_flush(&self) -> Result<Vec<StoredBatch>, SegmentError> {
        let flushed = self.segments()?.flushed().next_offset;
        Ok(self
            .tail
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .batches_from(flushed))
    }

    /// Marks the partition as having nothing to flush, before its batches are collected: a batch that is
    /// published from here on makes it dirty again.
    pub fn mark_clean(&self) {
        self.is_dirty.store(false, Ordering::Release);
    }

    /// Marks the partition as having something to flush; true if it had nothing before.
    pub fn mark_dirty(&self) -> bool {
        !self.is_dirty.swap(true, Ordering::AcqRel)
    }

    /// Ends the last segment if that was asked for and everything before is flushed.
    pub fn roll_if_asked(&self) -> Result<(), SegmentError> {
        let Some(rolls_at) = lock(&self.end).rolls_at else {
            return Ok(());
        };
        let segments = self.segments()?;
        let flushed = segments.flushed();
        if flushed.next_offset < rolls_at {
            return Ok(());
        }
        // Behind it, a batch has begun the next segment.
        if flushed.next_offset == rolls_at {
            segments.roll()?;
        }
        lock(&self.end).rolls_at.take_if(|at| *at == rolls_at);
        Ok(())
    }

    /// Takes note that a checkpoint on the disk names `segment` as the last one.
    pub fn end_checkpoint(&self, segment: Offset) {
        self.checkpointed_segment.store(segment.0, Ordering::Release);
        self.retire();
    }

    /// Frees the tail below `offset`, which is durable in the segments.
    pub fn end_flush(&self, offset: Offset) {
        self.tail
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .drop_below(offset);
    }

    /// Sets when appends from here on are acknowledged.
    pub fn set_durability(&self, durability: Durability) {
        self.is_os_durable
            .store(durability == Durability::Os, Ordering::Relaxed);
    }

    /// The place behind everything that was appended, durable or not.
    pub fn append_place(&self) -> Place {
        lock(&self.end).cursor.place()
    }

    /// Whether large writes asked for a segment to go to.
    pub fn wants_direct(&self) -> bool {
        self.id() != METADATA_PARTITION && self.wants_direct.load(Ordering::Acquire)
    }

    /// The segment that large writes go to.
    pub fn direct_space(&self) -> Option<DirectSpace> {
        *lock(&self.direct)
    }

    /// Lets large writes go to `space`, or to the journal; returns what they went to before.
    pub fn set_direct_space(&self, space: Option<DirectSpace>) -> Option<DirectSpace> {
        self.wants_direct.store(false, Ordering::Release);
        std::mem::replace(&mut *lock(&self.direct), space)
    }

    /// Refuses further appends and reads, and wakes those who wait for more.
    pub fn delete(&self) {
        lock(&self.end).deleted = true;
        self.end_flush(Offset(u64::MAX));
        let wakers = std::mem::take(&mut lock(&self.waiters).wakers);
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    /// Whether the topic was deleted.
    pub fn is_deleted(&self) -> bool {
        lock(&self.end).deleted
    }
}

impl Target for Arc<PartitionState> {
    fn direct_slot(&self, place: Place, end: u64) -> Result<FileSlot, NotReady> {
        let space = self.direct_space();
        let fitting = space.filter(|space| space.segment == place.segment && end <= space.end);
        fitting.map(|space| space.slot).ok_or_else(|| {
            let is_possible = self.id() != METADATA_PARTITION;
            let is_news = is_possible && !self.wants_direct.swap(true, Ordering::AcqRel);
            NotReady { is_news }
        })
    }

    fn durability(&self) -> Durability {
        if self.is_os_durable.load(Ordering::Relaxed) {
            Durability::Os
        } else {
            Durability::Fsync
        }
    }
}

impl From<QueueFull> for AppendError {
    fn from(full: QueueFull) -> AppendError {
        AppendError::Overloaded {
            queued_bytes: full.queued_bytes,
        }
    }
}

/// Bytes read at a time when segments are scanned for producers.
const SCAN_STEP_BYTES: usize = 1024 * 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
