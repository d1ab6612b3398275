//! Events in a partition of the embedded log.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use bytes::Bytes;

use super::{EventStore, PendingAppend, StoreError};
use crate::log::{Append, AppendError, LogFailed, Offset, Partition, TopicId};

/// A partition with one writer: every append is a compare-and-append on the partition's end.
#[derive(Clone, Debug)]
pub struct LogStore {
    partition: Partition,
    identity: [u8; 16],
}

/// An append to a partition on its way to stable storage.
#[derive(Debug)]
pub struct LogAppend(Append);

impl LogStore {
    /// The store in one partition of the topic with this identity.
    pub fn new(topic: TopicId, partition: Partition) -> Self {
        let mut identity = topic.0;
        for (byte, id) in identity.iter_mut().zip(partition.id().0.to_be_bytes()) {
            *byte ^= id;
        }
        // Holds end, and their units are sold again, while a full disk refuses commands.
        LogStore {
            partition: partition.with_reserve(),
            identity,
        }
    }
}

impl EventStore for LogStore {
    type Append = LogAppend;

    fn append(&self, expected: Offset, batch: Bytes) -> Result<LogAppend, StoreError> {
        self.partition
            .append_at(expected, batch)
            .map(LogAppend)
            .map_err(|error| match error {
                AppendError::Overloaded { .. } => StoreError::Busy,
                AppendError::StorageFull => StoreError::Full,
                AppendError::UnexpectedEnd { expected, found } => {
                    StoreError::AnotherWriter { expected, found }
                }
                AppendError::Failed(failed) => StoreError::Failed(failed),
                other => StoreError::Append(other),
            })
    }

    fn start(&self) -> Offset {
        self.partition.log_start()
    }

    fn end(&self) -> Offset {
        self.partition.high_watermark()
    }

    fn read(&self, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, StoreError> {
        Ok(self.partition.read(from, max_bytes)?)
    }

    fn identity(&self) -> [u8; 16] {
        self.identity
    }
}

impl PendingAppend for LogAppend {
    fn start(&mut self) {
        // Polling hands the append to the journal's thread; who polled is told by `is_durable`, not by a waker.
        let polled = Pin::new(&mut self.0).poll(&mut Context::from_waker(Waker::noop()));
        drop(polled);
    }

    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }

    fn wait(self) -> Result<Offset, LogFailed> {
        self.0.wait()
    }
}
