//! A reader that blocks at the end of its partition until there is more.

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::following::Following;
use super::{Reader, ReaderError};
use crate::log::Offset;
use crate::log::batch::OwnedRecord;

/// Reads on while the partition grows, from [`Reader::follow`].
///
/// The iterator ends when the log is closed, when nothing came within [`Follower::with_timeout`], and after an
/// error. Only the end by a timeout is none: asked again, it goes on.
///
/// ```
/// # use std::time::Duration;
/// # use doorbuster::log::batch::{BatchBuilder, Record};
/// # use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let log = Log::open(folder.path(), LogOptions::default())?;
/// # let orders = log.create_topic("orders", &TopicSpec::with_partitions(1))?.partitions[0].clone();
/// let followed = orders.clone();
/// let worker = std::thread::spawn(move || -> Result<usize, doorbuster::log::ReaderError> {
///     let mut count = 0;
///     for record in followed.reader_from(Offset::ZERO).follow() {
///         let _order = record?;
///         count += 1;
///     }
///     Ok(count)
/// });
/// # let mut builder = BatchBuilder::new(Timestamp(1));
/// builder.push(&Record::of_value(Timestamp(1), b"a book"))?;
/// orders.append(builder.finish())?.wait()?;
/// log.close()?;
/// assert_eq!(worker.join().unwrap()?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Follower {
    following: Following,
    timeout: Option<Duration>,
    /// Of the thread that waited last.
    parked: Option<(Thread, Waker)>,
}

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Follower {
    pub(super) fn new(reader: Reader) -> Follower {
        Follower {
            following: Following::new(reader),
            timeout: None,
            parked: None,
        }
    }

    /// Waits at most so long for the next record.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Follower {
        Follower {
            timeout: Some(timeout),
            ..self
        }
    }

    /// As [`Reader::position`].
    pub fn position(&self) -> Offset {
        self.following.reader.position()
    }

    /// The waker of the calling thread, made once.
    fn waker(&mut self) -> Waker {
        let thread = std::thread::current();
        if let Some((known, waker)) = &self.parked
            && known.id() == thread.id()
        {
            return waker.clone();
        }
        let waker = Waker::from(Arc::new(Unpark(thread.clone())));
        self.parked = Some((thread, waker.clone()));
        waker
    }
}

impl Iterator for Follower {
    type Item = Result<OwnedRecord, ReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Most records are there: they cost neither a waker nor a look at the time.
        if let Some(found) = self.following.reader.next() {
            return Some(found);
        }
        let waker = self.waker();
        let deadline = self.timeout.map(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Poll::Ready(found) = self.following.poll(&waker) {
                return found;
            }
            match deadline {
                Some(Some(deadline)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    std::thread::park_timeout(left);
                }
                // No timeout, or one further away than the clock reaches.
                None | Some(None) => std::thread::park(),
            }
        }
    }
}
