//! How far the journal is durable, and who waits for it to get further.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::queue::Sequence;

/// The durable sequence of the journal, with its waiters; and the failure that ends it.
#[derive(Debug, Default)]
pub struct Progress {
    durable: AtomicU64,
    failed: AtomicBool,
    waiters: Mutex<Waiters>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiters {
    wakers: Vec<(Sequence, Waker)>,
    /// Those that wait for nothing but the end.
    end_wakers: Vec<Waker>,
    blocked: usize,
    failure: Option<Arc<str>>,
}

impl Progress {
    /// The last batch of which all earlier ones, and itself, are durable.
    pub fn durable(&self) -> Sequence {
        self.durable.load(Ordering::Acquire)
    }

    /// Why the journal stopped, if it did.
    pub fn failure(&self) -> Option<Arc<str>> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        self.lock().failure.clone()
    }

    /// Moves the durable sequence and wakes who waited for it.
    pub fn advance(&self, durable: Sequence) {
        self.durable.store(durable, Ordering::Release);
        let mut ready = Vec::new();
        let blocked = {
            let mut waiters = self.lock();
            if !waiters.wakers.is_empty() {
                ready.extend(
                    waiters
                        .wakers
                        .extract_if(.., |(sequence, _)| *sequence <= durable),
                );
            }
            waiters.blocked > 0
        };
        if blocked {
            self.changed.notify_all();
        }
        for (_, waker) in ready {
            waker.wake();
        }
    }

    /// Stops the journal: the first reason stays, every waiter wakes.
    pub fn fail(&self, reason: &str) {
        let wakers = {
            let mut waiters = self.lock();
            waiters.failure.get_or_insert_with(|| Arc::from(reason));
            self.failed.store(true, Ordering::Release);
            let end_wakers = std::mem::take(&mut waiters.end_wakers);
            let wakers = std::mem::take(&mut waiters.wakers);
            wakers.into_iter().map(|(_, waker)| waker).chain(end_wakers)
        };
        self.changed.notify_all();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Wakes `waker` when the journal stops; at once if it has.
    pub fn wake_at_end(&self, waker: &Waker) {
        let mut waiters = self.lock();
        if waiters.failure.is_some() {
            drop(waiters);
            waker.wake_by_ref();
        } else if !waiters.end_wakers.iter().any(|known| known.will_wake(waker)) {
            waiters.end_wakers.push(waker.clone());
        }
    }

    /// Forgets a waker of [`Progress::wake_at_end`] whose owner no longer waits.
    pub fn forget(&self, waker: &Waker) {
        self.lock().end_wakers.retain(|known| !known.will_wake(waker));
    }

    /// Wakes `waker` when `sequence` is durable or the journal has stopped; false if that is so already.
    pub fn register(&self, sequence: Sequence, waker: &Waker) -> bool {
        let mut waiters = self.lock();
        if self.durable() >= sequence || waiters.failure.is_some() {
            return false;
        }
        waiters.wakers.push((sequence, waker.clone()));
        true
    }

    /// Blocks until `sequence` is durable or the journal has stopped.
    pub fn block_until(&self, sequence: Sequence) {
        let mut waiters = self.lock();
        waiters.blocked += 1;
        while self.durable() < sequence && waiters.failure.is_none() {
            waiters = self.changed.wait(waiters).unwrap_or_else(PoisonError::into_inner);
        }
        waiters.blocked -= 1;
    }

    /// Blocks until the journal has stopped, and tells why.
    pub fn block_until_failed(&self) -> Arc<str> {
        let mut waiters = self.lock();
        waiters.blocked += 1;
        loop {
            if let Some(failure) = &waiters.failure {
                let failure = Arc::clone(failure);
                waiters.blocked -= 1;
                return failure;
            }
            waiters = self.changed.wait(waiters).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
