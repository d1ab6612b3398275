//! Which groups have something to do when: a queue that a single timer task drains.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::group::Moment;

/// Deadlines of groups, earliest first.
#[derive(Debug)]
pub(super) struct Deadlines {
    started: Instant,
    heap: Mutex<BinaryHeap<Reverse<(Moment, String)>>>,
    earlier: Notify,
}

impl Deadlines {
    pub(super) fn new() -> Deadlines {
        Deadlines {
            started: Instant::now(),
            heap: Mutex::default(),
            earlier: Notify::new(),
        }
    }

    /// The current moment.
    pub(super) fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// Has `group_id` looked at when `moment` comes.
    pub(super) fn add(&self, moment: Moment, group_id: &str) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let is_earliest = heap.peek().is_none_or(|Reverse((first, _))| moment < *first);
        heap.push(Reverse((moment, group_id.to_owned())));
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    /// Waits until a deadline has passed and takes it out.
    pub(super) async fn next(&self) -> (Moment, String) {
        loop {
            let earlier = self.earlier.notified();
            let wait = {
                let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
                let now = self.now();
                match heap.peek() {
                    Some(Reverse((moment, _))) if *moment <= now => {
                        if let Some(Reverse(due)) = heap.pop() {
                            return due;
                        }
                        None
                    }
                    // The timer counts in milliseconds; waking a little late saves a second wake-up.
                    Some(Reverse((moment, _))) => Some(moment.saturating_sub(now) + Duration::from_millis(1)),
                    None => None,
                }
            };
            match wait {
                Some(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = earlier => {}
                },
                None => earlier.await,
            }
        }
    }
}
