//! A reader that can be woken: what blocking and async followers share.

use std::task::{Poll, Waker};

use super::{Reader, ReaderError};
use crate::log::batch::OwnedRecord;

/// A reader with the waker that waits for its partition to grow.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) reader: Reader,
    /// The waker that is known to the partition and to the log.
    registered: Option<Waker>,
}

impl Following {
    pub(super) fn new(reader: Reader) -> Following {
        Following {
            reader,
            registered: None,
        }
    }

    /// The next record; none when the log was closed and everything durable was read. While there is nothing
    /// more, `waker` is woken when there may be.
    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Option<Result<OwnedRecord, ReaderError>>> {
        if let Some(found) = self.reader.next() {
            return Poll::Ready(Some(found));
        }
        if self.reader.has_failed() {
            return Poll::Ready(None);
        }
        self.register(waker);
        // Registered before this look: whoever appends, deletes, closes or fails from here on wakes the waker.
        if let Some(found) = self.reader.next() {
            return Poll::Ready(Some(found));
        }
        let ended = match self.reader.check_growing() {
            Ok(false) => return Poll::Pending,
            Ok(true) => None,
            Err(error) => Some(Err(error)),
        };
        // Whatever was durable when the log ended comes first.
        let found = self.reader.next();
        if found.is_none() && ended.is_some() {
            self.reader.fail();
        }
        Poll::Ready(found.or(ended))
    }

    fn register(&mut self, waker: &Waker) {
        if self
            .registered
            .as_ref()
            .is_none_or(|known| !known.will_wake(waker))
        {
            self.forget();
            self.reader.partition.core.progress().wake_at_end(waker);
            self.registered = Some(waker.clone());
        }
        self.reader.partition.wake_above(self.reader.position(), waker);
    }

    fn forget(&mut self) {
        if let Some(waker) = self.registered.take() {
            let partition = &self.reader.partition;
            partition.forget_waker(&waker);
            partition.core.progress().forget(&waker);
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.forget();
    }
}
