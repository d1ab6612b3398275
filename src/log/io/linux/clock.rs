//! Wall clock, monotonic clock and random numbers of the kernel.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::{Clock, Random};
use crate::log::Timestamp;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock {
            started: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        timestamp_of(SystemTime::now())
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The milliseconds since the Unix epoch; 0 before it.
pub(super) fn timestamp_of(time: SystemTime) -> Timestamp {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// The kernel's random numbers.
#[derive(Debug, Default)]
pub struct KernelRandom;

impl Random for KernelRandom {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        assert_eq!(
            filled,
            Ok(8),
            "the kernel has no random numbers: identities cannot be drawn"
        );
        u64::from_ne_bytes(bytes)
    }
}
