//! A data folder: its lock, its topics, and the threads that keep it durable.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::catalog::{self, PARTITIONS_PER_TOPIC_MAX, TopicRecord, is_valid_name};
use super::core::Core;
use super::io::{Environment, WritePath};
use super::partition_state::PartitionState;
use super::planted::{self, Bug};
use super::recovery::{self, Recovered};
use super::threads;
use super::topic_config;
use super::topic_policy::TopicPolicy;
use super::{
    AppendError, LogFailed, LogOptions, Offset, Partition, PartitionId, StoreId, Topic, TopicId, TopicSpec,
};

/// A log in a data folder; cheap to clone.
///
/// It is closed by [`Log::close`] or when the last clone is dropped; partitions and appends that are still
/// held then answer that the log stopped.
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    status: LogStatus,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("core", &self.core)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// What a log tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// The data folder.
    pub folder: PathBuf,
    /// The identity of the data folder.
    pub store: StoreId,
    /// The system calls that make appends durable.
    pub write_path: WritePath,
    /// Batches that were read back from the journal at the start.
    pub recovered_batches: usize,
}

impl Log {
    /// Opens the log in `dir`, creating it if it is not there, and recovers what was acknowledged.
    #[cfg(target_os = "linux")]
    pub fn open(dir: impl AsRef<Path>, options: LogOptions) -> Result<Log, OpenError> {
        let environment = Environment::machine(options.plain_writes);
        Log::start(recovery::open(environment, dir.as_ref(), options, true)?)
    }

    /// Opens a log on another disk, clock and source of randomness, without threads of its own: everything
    /// happens inside the calls, so that one seed replays a whole run. Dropping it is a crash: only
    /// [`Log::close`] flushes.
    pub fn open_in(environment: Environment, dir: &Path, options: LogOptions) -> Result<Log, OpenError> {
        Log::start(recovery::open(environment, dir, options, false)?)
    }

    fn start(recovered: Recovered) -> Result<Log, OpenError> {
        let Recovered {
            core,
            status,
            catalog,
            partitions,
            has_threads,
        } = recovered;
        let core = Arc::new(core);
        core.metadata.set_policy(catalog::policy());
        for (name, record) in catalog.topics {
            let of = |id: &PartitionId| partitions.get(id).map(Arc::clone);
            let states = record.partitions.iter().filter_map(of).collect();
            insert_topic(&core, &name, record, states);
        }
        let threads = if has_threads {
            threads::start(&core).map_err(OpenError::Thread)?
        } else {
            Vec::new()
        };
        Ok(Log {
            inner: Arc::new(Inner {
                core,
                status,
                threads: Mutex::new(threads),
            }),
        })
    }

    /// What the log tells about itself.
    pub fn status(&self) -> LogStatus {
        self.inner.status.clone()
    }

    /// Creates a topic; durable when this returns.
    pub fn create_topic(&self, name: &str, spec: &TopicSpec) -> Result<Arc<Topic>, TopicError> {
        let random = &self.inner.core.environment.random;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        id[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        self.create_topic_with_id(name, spec, TopicId(id))
    }

    /// [`Log::create_topic`] with an identity that it had elsewhere.
    pub(super) fn create_topic_with_id(
        &self,
        name: &str,
        spec: &TopicSpec,
        id: TopicId,
    ) -> Result<Arc<Topic>, TopicError> {
        if !is_valid_name(name) {
            return Err(TopicError::InvalidName {
                name: name.to_owned(),
            });
        }
        let (found, limit) = (spec.partitions, PARTITIONS_PER_TOPIC_MAX);
        if !(1..=limit).contains(&found) {
            return Err(TopicError::PartitionCount { found, limit });
        }
        topic_config::check_known(&spec.configs)?;
        let core = &self.inner.core;
        let mut last_partition = core.last_partition.lock().unwrap_or_else(PoisonError::into_inner);
        if self.topic(name).is_some() {
            return Err(TopicError::Exists {
                name: name.to_owned(),
            });
        }
        let first = *last_partition + 1;
        let record = TopicRecord {
            id,
            partitions: (first..first + found).map(PartitionId).collect(),
            configs: spec.configs.clone(),
        };
        self.log_topic(name, &record, false)?;
        *last_partition += found;
        let states = record
            .partitions
            .iter()
            .map(|id| Arc::new(core.empty_partition(*id)))
            .collect();
        Ok(insert_topic(core, name, record, states))
    }

    /// The topic of that name, created like `spec` if there is none.
    pub fn topic_or_create(&self, name: &str, spec: &TopicSpec) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        match self.create_topic(name, spec) {
            // Another thread was faster.
            Err(TopicError::Exists { name }) => self.topic(&name).ok_or(TopicError::Unknown { name }),
            created => created,
        }
    }

    /// Deletes a topic with its data; durable when this returns.
    pub fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        let core = &self.inner.core;
        let last_partition = core.last_partition.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = self.topic(name).ok_or_else(|| TopicError::Unknown {
            name: name.to_owned(),
        })?;
        if planted::is(Bug::DeleteBeforeLogging) {
            for partition in &topic.partitions {
                let _ = core.environment.disk.remove_dir_all(partition.state.folder());
            }
        }
        let batch = catalog::encode_deletion(name, *last_partition, core.environment.clock.now());
        self.log_change(batch.map_err(AppendError::Corrupt)?, true)?;
        // Large writes that the journal names go with the files: the deletion must be sure to be found behind them.
        if !core.claim()? {
            core.free_journal()?;
        }
        core.topics
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        let mut flusher = core.lock_flusher();
        for partition in &topic.partitions {
            partition.state.delete();
            flusher.forget(&partition.state);
            // A folder that stays is removed at the next start: its number belongs to no topic.
            if let Err(error) = core.environment.disk.remove_dir_all(partition.state.folder())
                && error.kind() != std::io::ErrorKind::NotFound
            {
                let folder = partition.state.folder().display();
                tracing::warn!(%folder, %error, "could not remove the folder of a deleted partition");
            }
        }
        Ok(())
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.inner
            .core
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .map(Arc::clone)
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.inner
            .core
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Arc::clone)
            .collect()
    }

    /// Gives a topic other configurations, which hold from now on; durable when this returns.
    ///
    /// `configs` replaces all that the topic had. Handles from before keep the old [`Topic::configs`] and follow the
    /// new ones.
    pub fn alter_topic(
        &self,
        name: &str,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        topic_config::check_known(&configs)?;
        let core = &self.inner.core;
        let _change = core.last_partition.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = self.topic(name).ok_or_else(|| TopicError::Unknown {
            name: name.to_owned(),
        })?;
        let record = TopicRecord {
            configs,
            ..topic.record()
        };
        self.log_topic(name, &record, true)?;
        Ok(insert_topic(core, name, record, topic.states()))
    }

    /// Gives a topic more partitions, `count` in all; durable when this returns.
    ///
    /// # Errors
    /// [`TopicError::PartitionCount`] when the topic has as many, or the limit does not allow it.
    pub fn add_partitions(&self, name: &str, count: u32) -> Result<Arc<Topic>, TopicError> {
        let core = &self.inner.core;
        let mut last_partition = core.last_partition.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = self.topic(name).ok_or_else(|| TopicError::Unknown {
            name: name.to_owned(),
        })?;
        let (found, limit) = (count, PARTITIONS_PER_TOPIC_MAX);
        let existing = topic.partitions.len() as u32;
        if count <= existing || count > limit {
            return Err(TopicError::PartitionCount { found, limit });
        }
        let first = *last_partition + 1;
        let added: Vec<_> = (first..first + (count - existing)).map(PartitionId).collect();
        let mut record = topic.record();
        record.partitions.extend(&added);
        self.log_topic(name, &record, false)?;
        *last_partition += count - existing;
        let mut states = topic.states();
        states.extend(added.into_iter().map(|id| Arc::new(core.empty_partition(id))));
        Ok(insert_topic(core, name, record, states))
    }

    /// One pass of retention and compaction over every topic, beside the passes that the log makes by itself.
    pub fn clean(&self) -> Result<(), LogFailed> {
        self.inner.core.clean()
    }

    /// Moves every tail into its segments and frees the journal; nothing is more durable for it.
    pub fn flush(&self) -> Result<(), LogFailed> {
        let core = &self.inner.core;
        core.commit_until(core.queue().last_sequence())?;
        core.flush().map(|_| ())
    }

    /// Does what the threads of an idle log do: says on the disk that everything so far is durable. False if the
    /// journal has no room.
    #[cfg(feature = "simulation")]
    pub(super) fn idle(&self) -> Result<bool, LogFailed> {
        self.inner.core.claim()
    }

    /// Flushes and closes the log; later calls through other clones and partitions fail.
    pub fn close(self) -> Result<(), LogFailed> {
        self.inner.close()
    }

    /// Blocks until the log has stopped: after a failure, or because it was closed. For a watchdog thread.
    pub fn wait_stopped(&self) -> LogFailed {
        let core = Arc::clone(&self.inner.core);
        LogFailed {
            reason: core.progress().block_until_failed(),
        }
    }

    /// Deleting a topic, or keeping less of it, is how a full disk becomes free: that `uses_reserve`.
    fn log_topic(&self, name: &str, record: &TopicRecord, uses_reserve: bool) -> Result<(), TopicError> {
        let batch = catalog::encode(name, record, self.inner.core.environment.clock.now());
        self.log_change(batch.map_err(AppendError::Corrupt)?, uses_reserve)
    }

    fn log_change(&self, batch: Bytes, uses_reserve: bool) -> Result<(), TopicError> {
        let core = &self.inner.core;
        let metadata = Partition {
            core: Arc::clone(core),
            state: Arc::clone(&core.metadata),
            uses_reserve,
        };
        metadata.append(batch)?.wait()?;
        Ok(())
    }
}

fn insert_topic(
    core: &Arc<Core>,
    name: &str,
    record: TopicRecord,
    states: Vec<Arc<PartitionState>>,
) -> Arc<Topic> {
    let policy = TopicPolicy::of(&record.configs);
    for state in &states {
        state.set_policy(policy);
    }
    let of = |state| Partition {
        core: Arc::clone(core),
        state,
        uses_reserve: false,
    };
    let partitions = states.into_iter().map(of).collect();
    let topic = Arc::new(Topic {
        name: name.to_owned(),
        id: record.id,
        configs: record.configs,
        partitions,
    });
    let mut topics = core.topics.write().unwrap_or_else(PoisonError::into_inner);
    topics.insert(name.to_owned(), Arc::clone(&topic));
    topic
}

/// Why a log ends that nothing went wrong with.
pub(super) const CLOSED: &str = "the log was closed";

impl Inner {
    fn close(&self) -> Result<(), LogFailed> {
        if self.core.is_closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.core.journal_bell.ring();
        self.core.flusher_bell.ring();
        self.core.cleaner_bell.ring();
        for thread in self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        let committed = self.core.commit_until(self.core.queue().last_sequence());
        let closed = committed.and_then(|()| self.core.flush().map(|_| ()));
        self.core.lock_flusher().release_direct();
        self.core.progress().fail(CLOSED);
        // A waiter may still be driving, and would be told that its batch is durable: the folder is not
        // another's before it has ended.
        self.core.end_writing();
        // Topics hold partitions, which hold the core: the circle ends here.
        self.core
            .topics
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        *self.core.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        closed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let has_threads = !self
            .threads
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        if has_threads && let Err(error) = self.close() {
            tracing::error!(%error, "the log was not closed cleanly");
        }
        self.core
            .topics
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Why a log was not opened. Nothing that was acknowledged was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle of this one, has the folder open.
    #[error("data folder {path} is in use: {holder}; stop that process or choose another folder")]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The folder has data but not the file that names the store.
    #[error(
        "data folder {path} is damaged: file `store` is {what}; restore it from a copy, nothing was changed"
    )]
    Store {
        /// The data folder.
        path: PathBuf,
        /// "missing" or "damaged".
        what: &'static str,
    },
    /// The journal cannot be trusted.
    #[error(transparent)]
    Journal(#[from] super::JournalError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] super::checkpoint::CheckpointError),
    /// The anchor cannot be read.
    #[error(transparent)]
    Anchor(#[from] super::AnchorError),
    /// The device lost groups that it had made durable.
    #[error(
        "data folder {path} ends with group {found}, and group {expected} was durable: the device lost writes that it \
         had called flushed; restore the folder from a copy, or start with --accept-lost-writes \
         (`LogOptions::accept_lost_writes`); nothing was changed"
    )]
    LostWrites {
        /// The data folder.
        path: PathBuf,
        /// The last group that is there.
        found: u64,
        /// The last group that was durable.
        expected: u64,
    },
    /// The segments of a partition cannot be read.
    #[error("partition {partition} cannot be opened")]
    Segment {
        /// The partition.
        partition: PartitionId,
        /// The cause.
        source: super::segment::SegmentError,
    },
    /// Acknowledged records are missing between a partition's segments and the journal.
    #[error(
        "partition {partition} ends at offset {end}, and the journal goes on at {found}: acknowledged records \
         are missing; restore the folder from a copy, nothing was changed"
    )]
    Gap {
        /// The partition.
        partition: PartitionId,
        /// The end of what is there.
        end: Offset,
        /// The next offset in the journal.
        found: Offset,
    },
    /// A large write that was durable in its segment is not there any more.
    #[error(
        "segment {path} is damaged at position {position}: records {first} to {next} of partition {partition} were \
         acknowledged and are not readable; restore the file from a copy, nothing was changed"
    )]
    Extent {
        /// The partition.
        partition: PartitionId,
        /// The segment's file.
        path: PathBuf,
        /// Where the write begins.
        position: u64,
        /// The first offset of the write.
        first: Offset,
        /// The offset behind its last record.
        next: Offset,
    },
    /// A batch in the journal is malformed although its checksum is right.
    #[error("the journal holds a malformed batch of partition {partition}")]
    Batch {
        /// The partition.
        partition: PartitionId,
        /// The cause.
        source: super::batch::BatchError,
    },
    /// The catalog of topics cannot be understood.
    #[error("the catalog of topics cannot be read")]
    Catalog(#[from] super::catalog::CatalogError),
    /// The catalog of topics cannot be reached.
    #[error("the catalog of topics cannot be read")]
    CatalogRead(#[source] super::ReadError),
    /// A system call failed.
    #[error("could not {what} {path}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("could not start a thread of the log")]
    Thread(#[source] std::io::Error),
}

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
    /// A configuration is not legal.
    #[error(transparent)]
    Config(#[from] topic_config::ConfigError),
    /// The change could not be logged.
    #[error("topic change was not logged")]
    Append(#[from] super::AppendError),
    /// The log stopped.
    #[error(transparent)]
    Failed(#[from] super::LogFailed),
}
