//! The engine behind topics: commands in from `inventory.commands`, outcomes out to `inventory.events`.
//!
//! Exactly once, across a crash: an outcome carries the offset of its command, and the shard's state, which is the
//! fold of the outcomes, therefore knows the next command to decide. A command is read again if its outcome is
//! not durable, and passed over if it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::kept_topic;
use super::{
    CommandRecord, EVENTS_TOPIC, EventFormat, Inventory, InventoryOpenError, InventoryOptions, Limits,
    Stopped, commands_in,
};
use crate::log::batch::batches;
use crate::log::io::Clock;
use crate::log::{Log, Offset, Partition, ReadError, Topic, TopicError};

/// The topic that takes commands.
pub const COMMANDS_TOPIC: &str = "inventory.commands";

/// How much is read at a time. 1 MiB: some thousand commands, decided in a few milliseconds.
const READ_MAX_BYTES: usize = 1024 * 1024;

/// How long a feeder waits for commands before it looks whether it should stop.
const WAIT_FOR_COMMANDS: Duration = Duration::from_millis(100);

/// How the service is started.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Number of shards, if the topics do not exist; otherwise the commands topic tells.
    pub partitions: u32,
    /// Folder for snapshots; `None` replays all events at every start.
    pub snapshot_dir: Option<PathBuf>,
    /// Bounds of each shard's tables.
    pub limits: Limits,
    /// Where time comes from; `None` for the machine's clock.
    pub clock: Option<Arc<dyn Clock>>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        ServiceOptions {
            partitions: 1,
            snapshot_dir: None,
            limits: Limits::default(),
            clock: None,
        }
    }
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A topic could not be created.
    #[error("topic {topic} could not be created")]
    Topic {
        /// The topic.
        topic: &'static str,
        /// Why.
        source: TopicError,
    },
    /// A shard could not be opened.
    #[error("shard {partition} could not be opened")]
    Shard {
        /// The shard.
        partition: u32,
        /// Why.
        source: InventoryOpenError,
    },
    /// The commands that a shard decided are not all there: the topic was deleted and created again, or lost its
    /// end. New commands at their offsets would be passed over as decided.
    #[error("shard {partition} decided the commands before offset {decided}, but the commands end at {end}")]
    CommandsGone {
        /// The shard.
        partition: u32,
        /// Offset behind the last command that was decided.
        decided: Offset,
        /// Offset behind the last command that is there.
        end: Offset,
    },
    /// A shard stopped while it was started.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A thread could not be started.
    #[error("a feeder thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// Why a service no longer decides commands, which clients may go on sending.
#[derive(Debug, thiserror::Error)]
pub enum ServiceStopped {
    /// A shard stopped.
    #[error("reservation shard {partition} stopped")]
    Shard {
        /// The shard's partition.
        partition: u32,
        /// Why.
        source: Stopped,
    },
    /// The thread that reads a shard's commands ended; it has logged why.
    #[error("the commands of reservation shard {partition} are no longer read")]
    Feeder {
        /// The shard's partition.
        partition: u32,
    },
}

/// The shards of a log, each fed from its partition of the commands topic. Stops when dropped.
#[derive(Debug)]
pub struct Service {
    shards: Vec<Inventory>,
    feeders: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
}

impl Service {
    /// Creates the topics where they are missing, recovers every shard, and starts to decide.
    pub fn start(log: &Log, options: &ServiceOptions) -> Result<Service, ServiceError> {
        let commands = topic(log, COMMANDS_TOPIC, options.partitions)?;
        topic(log, EVENTS_TOPIC, commands.partitions.len() as u32)?;
        let mut service = Service {
            shards: Vec::new(),
            feeders: Vec::new(),
            stopping: Arc::new(AtomicBool::new(false)),
        };
        for (number, partition) in (0..).zip(&commands.partitions) {
            service.start_shard(log, options, number, partition.clone())?;
        }
        Ok(service)
    }

    /// The shards, by partition: for reads, and for commands that come another way.
    pub fn shards(&self) -> &[Inventory] {
        &self.shards
    }

    /// The first shard that no longer decides, if there is one: commands are durable, and decided after a restart.
    pub fn stopped(&self) -> Option<ServiceStopped> {
        let shards = (0..).zip(self.shards.iter().zip(&self.feeders));
        shards
            .into_iter()
            .find_map(|(partition, (shard, feeder))| match shard.stopped() {
                Some(source) => Some(ServiceStopped::Shard { partition, source }),
                None if feeder.is_finished() => Some(ServiceStopped::Feeder { partition }),
                None => None,
            })
    }

    /// Stops to read commands, decides those that were read, and closes the shards.
    pub fn stop(mut self) {
        self.close();
    }

    fn start_shard(
        &mut self,
        log: &Log,
        options: &ServiceOptions,
        number: u32,
        commands: Partition,
    ) -> Result<(), ServiceError> {
        let defaults = InventoryOptions::default();
        let shard_options = InventoryOptions {
            partition: number,
            format: EventFormat::CloudEvents { partition: number },
            snapshot_dir: options.snapshot_dir.clone(),
            limits: options.limits.clone(),
            clock: options
                .clock
                .clone()
                .unwrap_or_else(|| Arc::clone(&defaults.clock)),
            ..defaults
        };
        let shard = Inventory::open(log, shard_options).map_err(|source| ServiceError::Shard {
            partition: number,
            source,
        })?;
        let next = Offset(shard.next_command_offset().wait()?);
        // Only durable commands are decided, so no crash leaves fewer of them than outcomes.
        let end = commands.high_watermark();
        if next > end {
            return Err(ServiceError::CommandsGone {
                partition: number,
                decided: next,
                end,
            });
        }
        let feeder = Feeder {
            commands,
            shard: shard.clone(),
            next,
            stopping: Arc::clone(&self.stopping),
        };
        let thread = std::thread::Builder::new()
            .name(format!("inventory-feed-{number}"))
            .spawn(move || feeder.run(number))
            .map_err(ServiceError::Thread)?;
        self.shards.push(shard);
        self.feeders.push(thread);
        Ok(())
    }

    fn close(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // First the shards: a feeder that waits for room in a queue then ends. What it read is read again.
        self.shards.iter().for_each(Inventory::close);
        for feeder in self.feeders.drain(..) {
            if feeder.join().is_err() {
                tracing::error!("inventory feeder thread panicked");
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.close();
    }
}

fn topic(log: &Log, name: &'static str, partitions: u32) -> Result<Arc<Topic>, ServiceError> {
    kept_topic::open(log, name, partitions).map_err(|source| ServiceError::Topic { topic: name, source })
}

/// Reads one commands partition into its shard.
struct Feeder {
    commands: Partition,
    shard: Inventory,
    next: Offset,
    stopping: Arc<AtomicBool>,
}

/// Why a feeder ends early.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("commands could not be read")]
    Read(#[from] ReadError),
    #[error("the batch of commands at offset {offset} is damaged")]
    Batch {
        offset: Offset,
        source: crate::log::batch::BatchError,
    },
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Feeder {
    fn run(mut self, partition: u32) {
        while !self.stopping.load(Ordering::Acquire) {
            match self.feed() {
                Ok(()) => {}
                Err(FeedError::Stopped(_)) => return,
                Err(FeedError::Read(ReadError::OutOfRange {
                    offset, log_start, ..
                })) if offset < log_start => {
                    tracing::error!(
                        partition,
                        from = offset.0,
                        to = log_start.0,
                        "commands were deleted by retention before they were decided"
                    );
                    self.next = log_start;
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error);
                    tracing::error!(partition, %error, cause, "inventory takes no more commands");
                    return;
                }
            }
        }
    }

    /// Waits for commands and sends them to the shard.
    fn feed(&mut self) -> Result<(), FeedError> {
        if !self.commands.wait_above(self.next, WAIT_FOR_COMMANDS) {
            return match self.shard.stopped() {
                Some(stopped) => Err(stopped.into()),
                None => Ok(()),
            };
        }
        for run in self.commands.read(self.next, READ_MAX_BYTES)? {
            let (commands, next) = read_run(&run, self.next)?;
            if !commands.is_empty() {
                self.shard.feed(commands)?;
            }
            self.next = next;
        }
        Ok(())
    }
}

/// The commands at or after `from` in a run of batches, and the offset behind the last batch.
fn read_run(run: &Bytes, from: Offset) -> Result<(Vec<CommandRecord>, Offset), FeedError> {
    let mut commands = Vec::new();
    let mut next = from;
    for batch in batches(run) {
        let (header, bytes) = batch.map_err(|source| FeedError::Batch { offset: next, source })?;
        commands.extend(
            commands_in(&header, &bytes)
                .into_iter()
                .filter(|record| record.offset >= from.0),
        );
        next = next.max(header.next_offset());
    }
    Ok((commands, next))
}
