//! A clock that stands still until it is told the time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::log::Timestamp;
use crate::log::io::Clock;

/// A clock that the test sets.
#[derive(Debug)]
pub struct SimulatedClock {
    now_milliseconds: AtomicI64,
    monotonic_nanoseconds: AtomicU64,
}

impl SimulatedClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> SimulatedClock {
        SimulatedClock {
            now_milliseconds: AtomicI64::new(now.0),
            monotonic_nanoseconds: AtomicU64::new(0),
        }
    }

    /// Sets the wall clock, forward or back; monotonic time stays.
    pub fn set(&self, now: Timestamp) {
        self.now_milliseconds.store(now.0, Ordering::Relaxed);
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.now_milliseconds
            .fetch_add(by.as_millis() as i64, Ordering::Relaxed);
        self.monotonic_nanoseconds
            .fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now_milliseconds.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_nanoseconds.load(Ordering::Relaxed))
    }
}
