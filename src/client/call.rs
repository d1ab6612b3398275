//! One call on its way: a future, or blocking by [`Call::wait`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::ClientError;
use super::link::Link;
use crate::resp::Reply;

/// A call that leaves when it is first waited for or polled, together with all others that were made before.
///
/// Dropping it does not undo a command that has left.
#[must_use = "a call leaves when it is waited for or awaited"]
pub struct Call<T> {
    link: Arc<Link>,
    slot: Arc<Slot>,
    is_nudged: bool,
    decode: Option<Decode<T>>,
}

type Decode<T> = Box<dyn FnOnce(Reply) -> Result<T, ClientError> + Send>;

/// Where a call's answer arrives.
#[derive(Debug)]
pub(super) struct Slot {
    content: Mutex<Content>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Content {
    answer: Option<Result<Reply, ClientError>>,
    waker: Option<Waker>,
    is_blocked: bool,
}

impl Slot {
    pub(super) fn new() -> Arc<Slot> {
        Arc::new(Slot {
            content: Mutex::default(),
            arrived: Condvar::new(),
        })
    }

    /// Answers the call; a second answer is passed over.
    pub(super) fn deliver(&self, answer: Result<Reply, ClientError>) {
        let mut content = self.lock();
        content.answer.get_or_insert(answer);
        let (waker, is_blocked) = (content.waker.take(), content.is_blocked);
        drop(content);
        if is_blocked {
            self.arrived.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Blocks until the answer is there, or the time has come.
    pub(super) fn wait_until(&self, deadline: Instant) -> Option<Result<Reply, ClientError>> {
        let mut content = self.lock();
        loop {
            if let Some(answer) = content.answer.take() {
                return Some(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            content.is_blocked = true;
            content = self
                .arrived
                .wait_timeout(content, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// No code panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Call<T> {
    pub(super) fn new(
        link: Arc<Link>,
        slot: Arc<Slot>,
        decode: impl FnOnce(Reply) -> Result<T, ClientError> + Send + 'static,
    ) -> Self {
        Call {
            link,
            slot,
            is_nudged: false,
            decode: Some(Box::new(decode)),
        }
    }

    /// Sends what has not left, and blocks until the answer arrives.
    pub fn wait(mut self) -> Result<T, ClientError> {
        self.link.write_out();
        let deadline = self.link.deadline();
        let answer = self.slot.wait_until(deadline).unwrap_or_else(|| {
            self.link.expire();
            Err(ClientError::Timeout)
        });
        self.decode(answer)
    }

    fn decode(&mut self, answer: Result<Reply, ClientError>) -> Result<T, ClientError> {
        let decode = self.decode.take().ok_or(ClientError::Closed)?;
        decode(answer?)
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut content = self.slot.lock();
        if let Some(answer) = content.answer.take() {
            drop(content);
            return Poll::Ready(self.decode(answer));
        }
        match &mut content.waker {
            Some(waker) => waker.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        drop(content);
        if !self.is_nudged {
            self.is_nudged = true;
            // A task does not wait for a socket.
            self.link.nudge();
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Call")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}
