//! The way back of one answer, to a thread that blocks or a task that awaits.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::shard::{StopCause, Stopped};

/// An answer that is on its way: a future, or blocking by [`Answer::wait`].
///
/// It arrives when everything that it tells is on stable storage. Dropping it does not undo the command.
#[derive(Debug)]
#[must_use = "the command's outcome is known only once this resolves"]
pub struct Answer<T>(Arc<Slot<T>>);

/// The other end; dropping it without an answer tells that the shard stopped.
#[derive(Debug)]
pub(super) struct Sender<T>(Option<Arc<Slot<T>>>);

#[derive(Debug)]
struct Slot<T> {
    content: Mutex<Content<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Content<T> {
    answer: Option<Result<T, Stopped>>,
    waker: Option<Waker>,
    /// Whether a thread blocks, so that nobody is notified for nothing.
    blocked: bool,
}

impl<T> Slot<T> {
    /// No code panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Content<T>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Answer<T> {
    /// An answer and the way to send it.
    pub(super) fn new() -> (Sender<T>, Answer<T>) {
        let content = Mutex::new(Content {
            answer: None,
            waker: None,
            blocked: false,
        });
        let slot = Arc::new(Slot {
            content,
            arrived: Condvar::new(),
        });
        (Sender(Some(Arc::clone(&slot))), Answer(slot))
    }

    /// An answer that is known at once.
    pub(super) fn ready(answer: Result<T, Stopped>) -> Answer<T> {
        let content = Mutex::new(Content {
            answer: Some(answer),
            waker: None,
            blocked: false,
        });
        Answer(Arc::new(Slot {
            content,
            arrived: Condvar::new(),
        }))
    }

    /// Blocks until the answer arrives.
    pub fn wait(self) -> Result<T, Stopped> {
        let mut content = self.0.lock();
        loop {
            if let Some(answer) = content.answer.take() {
                return answer;
            }
            content.blocked = true;
            content = self
                .0
                .arrived
                .wait(content)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock();
        if let Some(answer) = slot.answer.take() {
            return Poll::Ready(answer);
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> Sender<T> {
    pub(super) fn send(mut self, answer: Result<T, Stopped>) {
        if let Some(slot) = self.0.take() {
            deliver(&slot, answer);
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            deliver(&slot, Err(Stopped::new(StopCause::Closed)));
        }
    }
}

fn deliver<T>(slot: &Slot<T>, answer: Result<T, Stopped>) {
    let mut content = slot.lock();
    content.answer = Some(answer);
    let (waker, blocked) = (content.waker.take(), content.blocked);
    drop(content);
    if blocked {
        slot.arrived.notify_one();
    }
    if let Some(waker) = waker {
        waker.wake();
    }
}
