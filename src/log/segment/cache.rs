//! The open segments of one log: a bounded number, whatever the number of partitions.
//!
//! Closed segments are opened for readers, with their indexes; of a segment that is appended to only the file can
//! be closed, its indexes stay. What was not used since it was last looked at is closed first (a clock). A file
//! that was written is pinned until its sync: closed before, the error of its write-back could be reported to
//! nobody (fsync(2): the next descriptor may not see it).

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::SegmentError;

/// Most segments that are open at a time by default. 4,096: more than are read or written at the same time, and
/// with two descriptors each far below what Linux gives a service.
pub const OPEN_SEGMENTS_MAX: usize = 4_096;

/// Fewest that are allowed. Below, two readers take turns in opening files.
const OPEN_SEGMENTS_MIN: usize = 8;

/// The part of a process's descriptors that segments may take at most, two for each (one past the page cache): a
/// quarter. Half is left to connections, and another quarter to the journal and all else.
const DESCRIPTORS_PER_SEGMENT: usize = 8;

/// The open segments of one log.
#[derive(Debug)]
pub struct SegmentCache {
    limit: usize,
    /// What may be open, the one to look at next in front. Owners that are gone have closed theirs.
    ring: Mutex<VecDeque<Weak<dyn Tenant>>>,
    pinned: Arc<AtomicUsize>,
}

/// Something open that can be closed.
trait Tenant: Send + Sync + fmt::Debug {
    /// Whether it may be closed and was not used since this was last asked.
    fn is_idle(&self) -> bool;
    /// Closes it; false if it must stay open.
    fn close(&self) -> bool;
}

/// A place for something open, which is opened when it is needed and closed when others need the room.
pub(super) struct Slot<T: ?Sized> {
    value: Mutex<Option<Arc<T>>>,
    /// Held while it is opened, so that it is opened once.
    opening: Mutex<()>,
    was_used: AtomicBool,
    pins: AtomicUsize,
}

/// Keeps what is in a slot open.
#[derive(Debug)]
pub(super) struct Pin<T: ?Sized> {
    slot: Arc<Slot<T>>,
    pinned: Arc<AtomicUsize>,
}

impl SegmentCache {
    /// A cache for at most `limit` open segments.
    pub fn new(limit: usize) -> SegmentCache {
        SegmentCache {
            limit: limit.max(1),
            ring: Mutex::default(),
            pinned: Arc::default(),
        }
    }

    /// A cache for at most `wanted` open segments, fewer where the process may have only so many `descriptors`.
    pub fn fitted_to(descriptors: usize, wanted: usize) -> SegmentCache {
        let allowed = (descriptors / DESCRIPTORS_PER_SEGMENT).max(OPEN_SEGMENTS_MIN);
        SegmentCache::new(wanted.min(allowed))
    }

    /// Whether so much is pinned that files should be synced to make room.
    pub(super) fn is_crowded(&self) -> bool {
        self.pinned.load(Ordering::Acquire) * 2 >= self.limit
    }

    fn admit(&self, tenant: Weak<dyn Tenant>) {
        let idle = {
            let mut ring = lock(&self.ring);
            ring.push_back(tenant);
            self.take_idle(&mut ring)
        };
        // Without the lock: to unmap and close a file may take a while.
        for tenant in idle {
            if !tenant.close() {
                lock(&self.ring).push_back(Arc::downgrade(&tenant));
            }
        }
    }

    /// Takes out of the ring what is more than the limit, as far as it is idle.
    fn take_idle(&self, ring: &mut VecDeque<Weak<dyn Tenant>>) -> Vec<Arc<dyn Tenant>> {
        let mut idle = Vec::new();
        // Twice around: once to forget that each was used, and once to find one that was not.
        let mut looks = 2 * ring.len();
        while ring.len() > self.limit && looks > 0 {
            looks -= 1;
            let Some(tenant) = ring.pop_front().and_then(|weak| weak.upgrade()) else {
                continue;
            };
            if tenant.is_idle() {
                idle.push(tenant);
            } else {
                ring.push_back(Arc::downgrade(&tenant));
            }
        }
        idle
    }
}

impl<T: ?Sized + Send + Sync + 'static> Slot<T> {
    /// A slot with nothing in it.
    pub(super) fn empty() -> Arc<Slot<T>> {
        Arc::new(Slot {
            value: Mutex::new(None),
            opening: Mutex::default(),
            was_used: AtomicBool::new(false),
            pins: AtomicUsize::new(0),
        })
    }

    /// What is in the slot, opened by `open` if it is empty.
    pub(super) fn get(
        self: &Arc<Self>,
        cache: &SegmentCache,
        open: impl FnOnce() -> Result<Arc<T>, SegmentError>,
    ) -> Result<Arc<T>, SegmentError> {
        if let Some(value) = self.used() {
            return Ok(value);
        }
        let _opening = lock(&self.opening);
        if let Some(value) = self.used() {
            return Ok(value);
        }
        let value = open()?;
        *lock(&self.value) = Some(Arc::clone(&value));
        self.was_used.store(true, Ordering::Release);
        let tenant: Arc<dyn Tenant> = Arc::clone(self) as Arc<dyn Tenant>;
        cache.admit(Arc::downgrade(&tenant));
        Ok(value)
    }

    /// Keeps the slot's value open as long as the pin lives.
    pub(super) fn pin(self: &Arc<Self>, cache: &SegmentCache) -> Pin<T> {
        self.pins.fetch_add(1, Ordering::AcqRel);
        cache.pinned.fetch_add(1, Ordering::AcqRel);
        Pin {
            slot: Arc::clone(self),
            pinned: Arc::clone(&cache.pinned),
        }
    }

    fn used(&self) -> Option<Arc<T>> {
        let value = lock(&self.value).clone();
        if value.is_some() {
            self.was_used.store(true, Ordering::Release);
        }
        value
    }
}

impl<T: ?Sized + Send + Sync> Tenant for Slot<T> {
    fn is_idle(&self) -> bool {
        !self.was_used.swap(false, Ordering::AcqRel) && self.pins.load(Ordering::Acquire) == 0
    }

    fn close(&self) -> bool {
        if self.pins.load(Ordering::Acquire) > 0 {
            return false;
        }
        let closed = lock(&self.value).take();
        drop(closed);
        true
    }
}

impl<T: ?Sized> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("is_open", &lock(&self.value).is_some())
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized> Drop for Pin<T> {
    fn drop(&mut self) {
        self.slot.pins.fetch_sub(1, Ordering::AcqRel);
        self.pinned.fetch_sub(1, Ordering::AcqRel);
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(slot: &Arc<Slot<u32>>, cache: &SegmentCache, value: u32) -> Arc<u32> {
        slot.get(cache, || Ok(Arc::new(value))).unwrap()
    }

    fn is_open(slot: &Arc<Slot<u32>>) -> bool {
        lock(&slot.value).is_some()
    }

    #[test]
    fn the_one_that_was_not_used_is_closed() {
        let cache = SegmentCache::new(2);
        let slots: Vec<_> = (0..4).map(|_| Slot::empty()).collect();
        for (index, slot) in slots.iter().enumerate() {
            assert_eq!(*open(slot, &cache, index as u32), index as u32);
        }
        assert_eq!(slots.iter().filter(|slot| is_open(slot)).count(), 2);
        assert!(is_open(&slots[3]));
        assert_eq!(*open(&slots[0], &cache, 9), 9, "opened again");
    }

    #[test]
    fn what_is_pinned_stays_open_and_makes_a_crowd() {
        let cache = SegmentCache::new(2);
        let slots: Vec<_> = (0..5).map(|_| Slot::empty()).collect();
        open(&slots[0], &cache, 0);
        let pin = slots[0].pin(&cache);
        assert!(cache.is_crowded());
        for slot in &slots {
            open(slot, &cache, 1);
            assert!(is_open(&slots[0]));
        }
        drop(pin);
        assert!(!cache.is_crowded());
        for slot in &slots[1..4] {
            open(slot, &cache, 1);
        }
        assert!(!is_open(&slots[0]));
    }

    #[test]
    fn owners_that_are_gone_take_no_room_for_long() {
        let cache = SegmentCache::new(2);
        for value in 0..100 {
            open(&Slot::empty(), &cache, value);
        }
        assert!(lock(&cache.ring).len() <= 2);
    }

    #[test]
    fn few_descriptors_mean_few_open_segments() {
        let limit = |descriptors| SegmentCache::fitted_to(descriptors, OPEN_SEGMENTS_MAX).limit;
        assert_eq!([0, 1_024, 1 << 20, usize::MAX].map(limit), [8, 128, 4_096, 4_096]);
    }
}
