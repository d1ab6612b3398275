//! Events in memory, with syncs that can be held back and failed: for tests and simulations.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{EventStore, PendingAppend, StoreError};
use crate::log::batch::{BatchHeader, write_base_offset};
use crate::log::{LogFailed, Offset};

/// A shared sequence of batches; every clone sees the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// An append to a [`MemoryStore`], durable once the store synced.
#[derive(Debug)]
pub struct MemoryAppend {
    shared: Arc<Shared>,
    base_offset: Offset,
}

#[derive(Debug, Default)]
struct Shared {
    sequence: Mutex<Sequence>,
    /// Notified when something became durable or failed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Sequence {
    /// First and behind-last offset of each batch, and the batch.
    batches: Vec<(Offset, Offset, Bytes)>,
    appended: Offset,
    durable: Offset,
    paused: bool,
    refusals: u32,
    failed: Option<LogFailed>,
}

impl MemoryStore {
    /// An empty store whose appends are durable at once.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Holds back durability until [`MemoryStore::sync`].
    pub fn pause(&self) {
        self.lock().paused = true;
    }

    /// Makes everything appended so far durable, and later appends at once.
    pub fn resume(&self) {
        self.lock().paused = false;
        self.sync();
    }

    /// The offset behind the last record appended, durable or not.
    pub fn appended(&self) -> Offset {
        self.lock().appended
    }

    /// Number of batches appended, durable or not.
    pub fn batches(&self) -> usize {
        self.lock().batches.len()
    }

    /// Makes everything appended so far durable.
    pub fn sync(&self) {
        let mut sequence = self.lock();
        sequence.durable = sequence.appended;
        self.shared.changed.notify_all();
    }

    /// Refuses the next `count` appends as [`StoreError::Busy`].
    pub fn refuse(&self, count: u32) {
        self.lock().refusals = count;
    }

    /// Fails every append that is not durable, and every later one.
    pub fn fail(&self) {
        let mut sequence = self.lock();
        sequence.failed = Some(LogFailed {
            reason: "failed on purpose".into(),
        });
        self.shared.changed.notify_all();
    }

    /// A store with what a power cut leaves of this one: the durable batches.
    #[must_use]
    pub fn after_power_cut(&self) -> MemoryStore {
        let sequence = self.lock();
        let durable = sequence.durable;
        let kept = sequence
            .batches
            .iter()
            .filter(|(_, end, _)| *end <= durable)
            .cloned();
        let left = Sequence {
            batches: kept.collect(),
            appended: durable,
            durable,
            ..Sequence::default()
        };
        let shared = Shared {
            sequence: Mutex::new(left),
            changed: Condvar::new(),
        };
        MemoryStore {
            shared: Arc::new(shared),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sequence> {
        lock(&self.shared.sequence)
    }
}

/// No code panics while it holds the lock, so a poisoned one is whole.
fn lock(sequence: &Mutex<Sequence>) -> MutexGuard<'_, Sequence> {
    sequence.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventStore for MemoryStore {
    type Append = MemoryAppend;

    fn append(&self, expected: Offset, batch: Bytes) -> Result<MemoryAppend, StoreError> {
        let header = BatchHeader::parse(&batch).map_err(|error| StoreError::Append(error.into()))?;
        let mut batch = Vec::from(batch);
        let mut sequence = self.lock();
        if let Some(failed) = &sequence.failed {
            return Err(StoreError::Failed(failed.clone()));
        }
        if sequence.refusals > 0 {
            sequence.refusals -= 1;
            return Err(StoreError::Busy);
        }
        let base_offset = sequence.appended;
        if base_offset != expected {
            return Err(StoreError::AnotherWriter {
                expected,
                found: base_offset,
            });
        }
        write_base_offset(&mut batch, base_offset, 0);
        sequence.appended = base_offset.plus(header.last_offset_delta as u64 + 1);
        let end = sequence.appended;
        sequence.batches.push((base_offset, end, batch.into()));
        if !sequence.paused {
            sequence.durable = end;
        }
        Ok(MemoryAppend {
            shared: Arc::clone(&self.shared),
            base_offset,
        })
    }

    fn start(&self) -> Offset {
        Offset::ZERO
    }

    fn end(&self) -> Offset {
        self.lock().durable
    }

    fn read(&self, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, StoreError> {
        let sequence = self.lock();
        let first = sequence.batches.partition_point(|(_, end, _)| *end <= from);
        let mut size_bytes = 0;
        let batches = sequence.batches[first..].iter().take_while(|(_, end, batch)| {
            let fits = size_bytes == 0 || size_bytes + batch.len() <= max_bytes;
            size_bytes += batch.len();
            fits && *end <= sequence.durable
        });
        Ok(batches.map(|(_, _, batch)| batch.clone()).collect())
    }

    fn identity(&self) -> [u8; 16] {
        *b"events in memory"
    }
}

impl PendingAppend for MemoryAppend {
    fn start(&mut self) {}

    fn is_durable(&self) -> bool {
        self.base_offset < lock(&self.shared.sequence).durable
    }

    fn wait(self) -> Result<Offset, LogFailed> {
        let mut sequence = lock(&self.shared.sequence);
        loop {
            if self.base_offset < sequence.durable {
                return Ok(self.base_offset);
            }
            if let Some(failed) = &sequence.failed {
                return Err(failed.clone());
            }
            sequence = self
                .shared
                .changed
                .wait(sequence)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
