//! Events in memory, with syncs that can be held back and failed: for tests and simulations.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{EventStore, StoreError};
use crate::log::batch::{BatchHeader, write_base_offset};
use crate::log::{LogFailed, Offset};

/// A shared sequence of batches; every clone sees the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

/// An append to a [`MemoryStore`], durable once the store synced.
#[derive(Debug)]
pub struct MemoryAppend {
    shared: Arc<Mutex<Shared>>,
    base_offset: Offset,
}

#[derive(Debug, Default)]
struct Shared {
    /// First and behind-last offset of each batch, and the batch.
    batches: Vec<(Offset, Offset, Bytes)>,
<<<<<<< HEAD
    end: Offset,
=======
    appended: Offset,
>>>>>>> inventory
    durable: Offset,
    paused: bool,
    refusals: u32,
    failed: Option<LogFailed>,
    wakers: Vec<Waker>,
}

impl Shared {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
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

<<<<<<< HEAD
    /// Makes everything appended so far durable.
    pub fn sync(&self) {
        let mut shared = self.lock();
        shared.durable = shared.end;
=======
    /// Makes later appends durable at once again.
    pub fn resume(&self) {
        self.lock().paused = false;
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
        let mut shared = self.lock();
        shared.durable = shared.appended;
>>>>>>> inventory
        shared.wake();
    }

    /// Refuses the next `count` appends as [`StoreError::Busy`].
    pub fn refuse(&self, count: u32) {
        self.lock().refusals = count;
    }

    /// Fails every append that is not durable, and every later one.
    pub fn fail(&self) {
        let mut shared = self.lock();
        shared.failed = Some(LogFailed {
            reason: "failed on purpose".into(),
        });
        shared.wake();
    }

    /// A store with what a power cut leaves of this one: the durable batches.
    #[must_use]
    pub fn after_power_cut(&self) -> MemoryStore {
        let shared = self.lock();
        let durable = shared.durable;
        let kept = shared
            .batches
            .iter()
            .filter(|(_, end, _)| *end <= durable)
            .cloned();
        let left = Shared {
            batches: kept.collect(),
<<<<<<< HEAD
            end: durable,
=======
            appended: durable,
>>>>>>> inventory
            durable,
            ..Shared::default()
        };
        MemoryStore {
            shared: Arc::new(Mutex::new(left)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

/// No code panics while it holds the lock, so a poisoned one is whole.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventStore for MemoryStore {
    type Append = MemoryAppend;

    fn append(&self, expected: Offset, batch: Bytes) -> Result<MemoryAppend, StoreError> {
        let header = BatchHeader::parse(&batch).map_err(|error| StoreError::Append(error.into()))?;
        let mut batch = Vec::from(batch);
        let mut shared = self.lock();
        if let Some(failed) = &shared.failed {
            return Err(StoreError::Failed(failed.clone()));
        }
        if shared.refusals > 0 {
            shared.refusals -= 1;
            return Err(StoreError::Busy);
        }
<<<<<<< HEAD
        let base_offset = shared.end;
=======
        let base_offset = shared.appended;
>>>>>>> inventory
        if base_offset != expected {
            return Err(StoreError::AnotherWriter {
                expected,
                found: base_offset,
            });
        }
        write_base_offset(&mut batch, base_offset, 0);
<<<<<<< HEAD
        shared.end = base_offset.plus(header.last_offset_delta as u64 + 1);
        let end = shared.end;
=======
        shared.appended = base_offset.plus(header.last_offset_delta as u64 + 1);
        let end = shared.appended;
>>>>>>> inventory
        shared.batches.push((base_offset, end, batch.into()));
        if !shared.paused {
            shared.durable = end;
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
        let shared = self.lock();
        let first = shared.batches.partition_point(|(_, end, _)| *end <= from);
        let mut size_bytes = 0;
        let batches = shared.batches[first..].iter().take_while(|(_, end, batch)| {
            let fits = size_bytes == 0 || size_bytes + batch.len() <= max_bytes;
            size_bytes += batch.len();
            fits && *end <= shared.durable
        });
        Ok(batches.map(|(_, _, batch)| batch.clone()).collect())
    }

    fn identity(&self) -> [u8; 16] {
        *b"events in memory"
    }
}

impl Future for MemoryAppend {
    type Output = Result<Offset, LogFailed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = lock(&self.shared);
        if self.base_offset < shared.durable {
            return Poll::Ready(Ok(self.base_offset));
        }
        if let Some(failed) = &shared.failed {
            return Poll::Ready(Err(failed.clone()));
        }
        shared.wakers.push(context.waker().clone());
        Poll::Pending
    }
}
