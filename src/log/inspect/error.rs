//! Why a data folder could not be looked into.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::anchor::AnchorError;
use crate::log::catalog::CatalogError;
use crate::log::{CheckpointError, LogFailed, OpenError, TopicError};

/// Why a tool did not run to its end. Damage is no such reason, see [`super::Finding`].
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no data folder at the path.
    #[error("{path} is no data folder: it has neither a file `store` nor a journal")]
    NotAStore {
        /// The path.
        path: PathBuf,
    },
    /// A process has the folder open.
    #[error("data folder {path} is in use: {holder}; stop that process, or look into a copy of the folder")]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The folder must be locked to be changed.
    #[error("data folder {path} was opened without its lock, so that it cannot be changed")]
    NotLocked {
        /// The data folder.
        path: PathBuf,
    },
    /// No topic, or no partition of it, has that name.
    #[error("there is no partition {partition} of topic {topic:?}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition's index in it.
        partition: u32,
    },
    /// No topic has that name.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// The store has damage that would go into the copy.
    #[error("{file} is damaged: {problem}; verify the folder and repair it first; the copy is not complete")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The first thing that is wrong.
        #[source]
        problem: Box<super::Problem>,
    },
    /// There is a store already where a new one should be.
    #[error("{path} has a store already; copy to a folder that does not exist")]
    TargetExists {
        /// The target.
        path: PathBuf,
    },
    /// A folder of Kafka has no partition of any topic.
    #[error("{path} has no folders of topic partitions, such as `orders-0`")]
    NoKafkaPartitions {
        /// The folder.
        path: PathBuf,
    },
    /// The partitions in a folder of Kafka belong to several topics, or some are missing.
    #[error("{path} has partitions {found:?}, want those of one topic without a gap, from 0 on")]
    KafkaPartitions {
        /// The folder.
        path: PathBuf,
        /// Names of the folders.
        found: Vec<String>,
    },
    /// A segment of Kafka is damaged, or of a format before v2.
    #[error("{path} cannot be taken at position {position}: {problem}; the new topic is empty")]
    KafkaSegment {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        #[source]
        problem: Box<super::Problem>,
    },
    /// The catalog of topics cannot be understood.
    #[error("the catalog of topics cannot be read")]
    Catalog(#[from] CatalogError),
    /// The checkpoint could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The anchor could not be written.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The copy could not be opened as a log.
    #[error("the target could not be opened")]
    Open(#[from] OpenError),
    /// A topic could not be made in the copy.
    #[error("a topic could not be made in the target")]
    Topic(#[from] TopicError),
    /// The copy could not be closed.
    #[error("the target could not be closed")]
    Failed(#[from] LogFailed),
    /// A system call failed.
    #[error("could not {what} {path}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl InspectError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InspectError {
        let path = path.to_path_buf();
        move |source| InspectError::Io { what, path, source }
    }
}
