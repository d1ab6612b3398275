//! The seat from which a shard decides, taken by one thread at a time.
//!
//! The shard's own thread takes it when it is woken. A thread that has just queued requests may take it instead:
//! a wake-up and the way back cost as much as half of a durable write. Whoever decides from here either comes back
//! for the answers or finds that another thread has the seat, and then wakes the shard's thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use super::State;
use super::queue::Queue;
use super::shard::{StopCause, Stopped, Writer};
use crate::commerce::store::EventStore;
use crate::log::Offset;

/// Longest rest of an idle shard; only a jump of the wall clock makes it matter.
const REST_MAX: Duration = Duration::from_secs(1);

/// What a guest on the seat does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Decides what is queued and sends its events on their way. The guest owes a [`Step::Complete`].
    Decide,
    /// Blocks until everything decided is durable, and answers.
    Complete,
}

/// The seat, whatever store is below it.
pub(super) trait Lead: fmt::Debug + Send + Sync {
    /// Takes a step on the calling thread, unless another thread has the seat; tells whether it did.
    fn lead(&self, step: Step) -> bool;
}

/// The writer of a shard, for one thread at a time; empty once the shard has ended.
pub(super) struct Seat<S: EventStore> {
    queue: Arc<Queue>,
    writer: Mutex<Option<Writer<S>>>,
    /// The shard's time at which its own thread wakes by itself.
    rests_until_ms: AtomicI64,
}

/// Closes the queue when its receiver is gone: nobody waits for an answer that cannot come.
struct EndOfService<'a>(&'a Queue);

impl Drop for EndOfService<'_> {
    fn drop(&mut self) {
        self.0.close();
        // Dropping a request answers it.
        self.0.drain(&mut Vec::new());
    }
}

impl<S: EventStore> Seat<S> {
    pub(super) fn new(queue: Arc<Queue>, writer: Writer<S>) -> Self {
        Seat {
            queue,
            writer: Mutex::new(Some(writer)),
            rests_until_ms: AtomicI64::new(i64::MAX),
        }
    }

    /// The work of the shard's own thread: serves until the queue is closed and everything is durable; returns the
    /// state then, and its position.
    pub(super) fn run(&self) -> Result<(State, Offset), Stopped> {
        self.queue.receive_here();
        let _ends = EndOfService(&self.queue);
        loop {
            let mut seat = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            // In this order: what was queued before the close is served.
            let closed = self.queue.stopped().is_some();
            let (idle, rest) = self.step(&mut seat, Writer::serve)?;
            let Some(writer) = seat.as_mut() else {
                return Err(self.why_stopped());
            };
            if idle && closed {
                return seat
                    .take()
                    .map(Writer::into_state)
                    .ok_or_else(|| self.why_stopped());
            }
            let rest = rest.min(REST_MAX);
            if idle && !rest.is_zero() {
                let rest_ms = i64::try_from(rest.as_millis()).unwrap_or(i64::MAX);
                self.rests_until_ms
                    .store(writer.now_ms().saturating_add(rest_ms), Ordering::Relaxed);
                drop(seat);
                std::thread::park_timeout(rest);
            }
        }
    }

    /// Lets the writer take a step. A step that fails, or panics, ends the shard, and everybody hears of it.
    fn step<T>(
        &self,
        seat: &mut Option<Writer<S>>,
        step: impl FnOnce(&mut Writer<S>) -> Result<T, StopCause>,
    ) -> Result<T, Stopped> {
        let Some(writer) = seat.as_mut() else {
            return Err(self.why_stopped());
        };
        // The writer is not used again after a panic.
        match catch_unwind(AssertUnwindSafe(|| step(writer))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(cause)) => Err(self.fail(seat.take(), cause)),
            Err(_) => {
                tracing::error!("inventory shard panicked");
                self.queue.close();
                // Dropping the writer and the requests answers those who wait.
                drop(seat.take());
                self.queue.drain(&mut Vec::new());
                Err(self.why_stopped())
            }
        }
    }

    fn fail(&self, writer: Option<Writer<S>>, cause: StopCause) -> Stopped {
        let stopped = Stopped::new(cause);
        tracing::error!(cause = %stopped.cause, "inventory shard stopped");
        self.queue.stop(&stopped);
        if let Some(writer) = writer {
            writer.stop(&stopped);
        }
        let mut requests = Vec::new();
        self.queue.drain(&mut requests);
        for request in requests {
            request.stop(&stopped);
        }
        stopped
    }

    fn why_stopped(&self) -> Stopped {
        self.queue
            .stopped()
            .unwrap_or_else(|| Stopped::new(StopCause::Closed))
    }
}

impl<S: EventStore> Lead for Seat<S> {
    fn lead(&self, step: Step) -> bool {
        let mut seat = match self.writer.try_lock() {
            Ok(seat) => seat,
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let next_expiry_ms = self.step(&mut seat, |writer| {
            match step {
                Step::Decide => writer.decide_queued(),
                Step::Complete => writer.complete_all(),
            }?;
            Ok(writer.next_expiry_ms())
        });
        // The shard's thread sleeps until the first expiry that it knew of.
        if next_expiry_ms.is_ok_and(|next_ms| next_ms < self.rests_until_ms.load(Ordering::Relaxed)) {
            self.rests_until_ms.store(i64::MIN, Ordering::Relaxed);
            self.queue.wake();
        }
        true
    }
}

impl<S: EventStore> fmt::Debug for Seat<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Seat").finish_non_exhaustive()
    }
}
