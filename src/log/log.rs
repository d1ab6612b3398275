//! A data folder: its lock, its topics, and the threads that keep it durable.

use std::path::Path;
use std::sync::Arc;

use super::io::{Environment, WritePath};
use super::{Topic, TopicSpec};

/// A log in a data folder; cheap to clone, closed when the last clone is dropped or by [`Log::close`].
#[derive(Clone, Debug)]
pub struct Log {}

/// How a log is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Never use `io_uring`, even where it is available.
    pub plain_writes: bool,
}

/// What a log tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// The system calls that make appends durable.
    pub write_path: WritePath,
}

impl Log {
    /// Opens the log in `dir`, creating it if it is not there, and recovers what was acknowledged.
    pub fn open(_dir: impl AsRef<Path>, _options: LogOptions) -> Result<Log, OpenError> {
        todo!()
    }

    /// Opens a log on another disk, clock and source of randomness, without threads of its own: everything
    /// happens inside the calls, so that one seed replays a whole run.
    pub fn open_in(_environment: Environment, _dir: &Path, _options: LogOptions) -> Result<Log, OpenError> {
        todo!()
    }

    /// What the log tells about itself.
    pub fn status(&self) -> LogStatus {
        todo!()
    }

    /// Creates a topic; durable when this returns.
    pub fn create_topic(&self, _name: &str, _spec: &TopicSpec) -> Result<Arc<Topic>, TopicError> {
        todo!()
    }

    /// Deletes a topic with its data; durable when this returns.
    pub fn delete_topic(&self, _name: &str) -> Result<(), TopicError> {
        todo!()
    }

    /// The topic of that name.
    pub fn topic(&self, _name: &str) -> Option<Arc<Topic>> {
        todo!()
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        todo!()
    }

    /// Writes every tail into its segments and frees the journal.
    pub fn flush(&self) -> Result<(), super::LogFailed> {
        todo!()
    }

    /// Flushes and closes the log; later calls through other clones fail.
    pub fn close(self) -> Result<(), super::LogFailed> {
        todo!()
    }

    /// Blocks until the log has stopped after a failure, or is closed (`None`). For a watchdog thread.
    pub fn wait_failed(&self) -> Option<super::LogFailed> {
        todo!()
    }
}

/// Why a log was not opened. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {}

/// Why a topic was not created or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The name has a character, or a length, that Kafka does not allow.
    #[error("topic name {name:?} is not 1 to 249 characters of [a-zA-Z0-9._-]")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// A topic of that name exists.
    #[error("topic {name:?} exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// No topic of that name exists.
    #[error("topic {name:?} does not exist")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Zero partitions, or more than the limit.
    #[error("{found} partitions asked for; 1 to {limit} are possible")]
    PartitionCount {
        /// The number that was asked for.
        found: u32,
        /// The limit.
        limit: u32,
    },
    /// The change could not be logged.
    #[error("topic change was not logged")]
    Append(#[from] super::AppendError),
    /// The log stopped.
    #[error(transparent)]
    Failed(#[from] super::LogFailed),
}
