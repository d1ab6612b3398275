//! A bell that one thread waits for and any thread rings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Rings are not counted: one wait hears all that came before it.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Bell {
    /// Wakes the waiting thread, or lets the next wait return at once.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The lock orders this ring against a waiter between its check and its sleep.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_one();
        }
    }

    /// Blocks until the bell rings or `timeout` has passed; tells whether it rang.
    pub fn wait_at_most(&self, timeout: Duration) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rang = false;
        let waiting = self.changed.wait_timeout_while(guard, timeout, |()| {
            rang = self.rung.swap(false, Ordering::AcqRel);
            !rang
        });
        drop(waiting);
        rang
    }
}
