//! A reader for async code, on any runtime.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::following::Following;
use super::{Reader, ReaderError};
use crate::log::Offset;
use crate::log::batch::OwnedRecord;

/// Reads on while the partition grows, from [`Reader::stream`].
///
/// Waiting costs no thread. Records that are not in memory any more are read from segments within `poll`, which
/// may wait for the disk: far behind the end (see [`crate::log::Partition::is_in_memory`]), read on a thread that
/// may block.
///
/// ```
/// # use doorbuster::log::batch::{BatchBuilder, Record};
/// # use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};
/// # fn block_on<T>(future: impl Future<Output = T>) -> T {
/// #     struct Unpark(std::thread::Thread);
/// #     impl std::task::Wake for Unpark {
/// #         fn wake(self: std::sync::Arc<Self>) { self.0.unpark(); }
/// #     }
/// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
/// #     let mut context = std::task::Context::from_waker(&waker);
/// #     let mut future = std::pin::pin!(future);
/// #     loop {
/// #         match future.as_mut().poll(&mut context) {
/// #             std::task::Poll::Ready(result) => return result,
/// #             std::task::Poll::Pending => std::thread::park(),
/// #         }
/// #     }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let log = Log::open(folder.path(), LogOptions::default())?;
/// # let orders = log.create_topic("orders", &TopicSpec::with_partitions(1))?.partitions[0].clone();
/// # let mut builder = BatchBuilder::new(Timestamp(1));
/// builder.push(&Record::of_value(Timestamp(1), b"a book"))?;
/// orders.append(builder.finish())?.await?;
///
/// let mut stream = orders.reader_from(Offset::ZERO).stream();
/// let record = stream.next().await.expect("the log is open")?;
/// assert_eq!(record.value.as_deref(), Some(&b"a book"[..]));
///
/// log.close()?;
/// assert!(stream.next().await.is_none());
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug)]
pub struct RecordStream {
    following: Following,
}

impl RecordStream {
    pub(super) fn new(reader: Reader) -> RecordStream {
        RecordStream {
            following: Following::new(reader),
        }
    }

    /// The next record; none after the log was closed, and after an error.
    ///
    /// The future may be dropped at any time: no record is lost.
    pub async fn next(&mut self) -> Option<Result<OwnedRecord, ReaderError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next record as soon as there is one, in the shape of the `Stream` trait of the `futures` crate.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<OwnedRecord, ReaderError>>> {
        self.following.poll(context.waker())
    }

    /// As [`Reader::position`].
    pub fn position(&self) -> Offset {
        self.following.reader.position()
    }
}
