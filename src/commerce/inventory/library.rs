//! The engine as a library: the handle that programs hold, blocking or async, one command or many.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

use super::answer::Answer;
use super::kept_topic;
use super::limits::THROTTLE_RETRY_MS;
use super::queue::{NotQueued, Queue, Request};
use super::recovery::{RecoverError, Recovered, recover};
use super::seat::{Lead, Seat, Step};
use super::shard::{BATCH_SIZE_LEAST_BYTES, Stopped, Writer};
use super::snapshot_file::SnapshotFile;
use super::snapshot_maker::{SNAPSHOT_AFTER_EVENTS, SnapshotMaker};
use super::{
    AsOf, Command, CommandRecord, EventFormat, HoldsPage, Ledger, LedgerEntry, Limits, Line, Outcome,
    QUEUED_COMMANDS_MAX, ReservationView, StockView, read_ledger, stock_as_of,
};
use crate::commerce::store::{EventStore, LogStore};
use crate::log::io::Clock;
use crate::log::io::linux::SystemClock;
use crate::log::{Log, TopicError};

/// The topic that keeps the events.
pub const EVENTS_TOPIC: &str = "inventory.events";

/// How a shard is opened.
#[derive(Clone, Debug)]
pub struct InventoryOptions {
    /// Number of the shard, which is the partition of the events topic.
    pub partition: u32,
    /// The form in which events are written.
    pub format: EventFormat,
    /// Folder for snapshots; `None` replays all events at every start.
    pub snapshot_dir: Option<PathBuf>,
    /// A snapshot is made after so many events, in the background; see [`SNAPSHOT_AFTER_EVENTS`].
    pub snapshot_after_events: u64,
    /// Bounds of the shard's tables.
    pub limits: Limits,
    /// Most commands that wait for a decision; more are throttled.
    pub queued_commands_max: usize,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for InventoryOptions {
    fn default() -> Self {
        InventoryOptions {
            partition: 0,
            format: EventFormat::Compact,
            snapshot_dir: None,
            snapshot_after_events: SNAPSHOT_AFTER_EVENTS,
            limits: Limits::default(),
            queued_commands_max: QUEUED_COMMANDS_MAX,
            clock: Arc::new(SystemClock::default()),
        }
    }
}

/// Why a shard was not opened.
#[derive(Debug, thiserror::Error)]
pub enum InventoryOpenError {
    /// The events topic could not be created.
    #[error("topic {EVENTS_TOPIC} could not be created")]
    Topic(#[from] TopicError),
    /// The events topic has too few partitions.
    #[error("topic {EVENTS_TOPIC} has {found} partitions, partition {partition} is wanted")]
    NoPartition {
        /// The wanted partition.
        partition: u32,
        /// How many there are.
        found: usize,
    },
    /// The log takes only batches into which the events of a busy moment do not fit.
    #[error("the log takes batches of {limit_bytes} bytes, events need {needed_bytes}")]
    BatchesTooSmall {
        /// The log's limit.
        limit_bytes: usize,
        /// The least that a shard can work with.
        needed_bytes: usize,
    },
    /// The state could not be recovered.
    #[error("the shard's state could not be recovered")]
    Recover(#[from] RecoverError),
    /// The writer thread could not be started.
    #[error("the shard's thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// A handle to one shard; cheap to clone. The shard closes when the last handle is gone, or by
/// [`Inventory::close`].
#[derive(Clone, Debug)]
pub struct Inventory {
    shard: Arc<Shard>,
    events: Events,
}

/// The shard's events, for reads of the past.
#[derive(Clone)]
struct Events(Arc<dyn EventStore>);

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Events").field(&self.0.end()).finish()
    }
}

#[derive(Debug)]
struct Shard {
    queue: Arc<Queue>,
    seat: Arc<dyn Lead>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shard {
    fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("inventory shard's thread panicked");
        }
    }
}

impl Inventory {
    /// Opens the shard in partition `options.partition` of the log's events topic, creating the topic if needed.
    pub fn open(log: &Log, options: InventoryOptions) -> Result<Inventory, InventoryOpenError> {
        let topic = kept_topic::open(log, EVENTS_TOPIC, options.partition.saturating_add(1))?;
        let partition = topic.partitions.get(options.partition as usize).ok_or_else(|| {
            InventoryOpenError::NoPartition {
                partition: options.partition,
                found: topic.partitions.len(),
            }
        })?;
        let limit_bytes = partition.batch_size_max_bytes();
        if limit_bytes < BATCH_SIZE_LEAST_BYTES {
            return Err(InventoryOpenError::BatchesTooSmall {
                limit_bytes,
                needed_bytes: BATCH_SIZE_LEAST_BYTES,
            });
        }
        Inventory::open_store(LogStore::new(topic.id, partition.clone()), options)
    }

    /// Opens the shard in a store, which must have no other writer.
    pub fn open_store<S: EventStore>(
        store: S,
        options: InventoryOptions,
    ) -> Result<Inventory, InventoryOpenError> {
        let InventoryOptions {
            partition,
            format,
            snapshot_dir,
            snapshot_after_events,
            limits,
            queued_commands_max,
            clock,
        } = options;
        let file = snapshot_dir.map(|dir| SnapshotFile::new(&dir, partition));
        let recovered = recover(&store, &limits, file.as_ref())?;
        tracing::info!(
            partition,
            end = recovered.end.0,
            replayed = recovered.replayed,
            live_holds = recovered.state.live_holds(),
            "inventory shard recovered"
        );
        let Recovered {
            state, end, replayed, ..
        } = recovered;
        let snapshots =
            file.map(|file| SnapshotMaker::new(file, store.identity(), snapshot_after_events, replayed));
        let queue = Arc::new(Queue::new(queued_commands_max));
        let store = Arc::new(store);
        let events = Events(Arc::clone(&store) as Arc<dyn EventStore>);
        let mut writer = Writer::new(store, state, end, format, clock, Arc::clone(&queue), snapshots);
        writer.make_first_snapshot();
        let seat = Arc::new(Seat::new(Arc::clone(&queue), writer));
        let own = Arc::clone(&seat);
        let thread = std::thread::Builder::new()
            .name(format!("inventory-{partition}"))
            .spawn(move || {
                // Why it stopped is told to those who ask.
                let _ = own.run();
            })
            .map_err(InventoryOpenError::Thread)?;
        Ok(Inventory {
            shard: Arc::new(Shard {
                queue,
                seat,
                thread: Mutex::new(Some(thread)),
            }),
            events,
        })
    }

    /// Sends one command; the answer is a future, or blocks by [`Answer::wait`].
    pub fn submit(&self, command: Command) -> Answer<Outcome> {
        let (sender, answer) = Answer::new();
        match self.shard.queue.push(Request::One { command, sender }) {
            Ok(()) => answer,
            Err(NotQueued::Full(_)) => Answer::ready(Ok(throttled())),
            Err(NotQueued::Stopped(stopped)) => Answer::ready(Err(stopped)),
        }
    }

    /// Sends many commands, which are decided in order, with nothing of others between them unless they fill
    /// more than one batch of events.
    pub fn submit_many(&self, commands: Vec<Command>) -> Answer<Vec<Outcome>> {
        self.queue_many(commands, Queue::push)
    }

    fn queue_many(
        &self,
        commands: Vec<Command>,
        queue: impl FnOnce(&Queue, Request) -> Result<(), NotQueued>,
    ) -> Answer<Vec<Outcome>> {
        let (sender, answer) = Answer::new();
        match queue(&self.shard.queue, Request::Many { commands, sender }) {
            Ok(()) => answer,
            Err(NotQueued::Full(request)) => Answer::ready(Ok(match *request {
                Request::Many { commands, .. } => commands.iter().map(|_| throttled()).collect(),
                _ => Vec::new(),
            })),
            Err(NotQueued::Stopped(stopped)) => Answer::ready(Err(stopped)),
        }
    }

    /// Queues many commands as [`Inventory::submit_many`] does, for the calling thread to decide by
    /// [`Inventory::decide_here`], which must follow.
    pub(in crate::commerce) fn post_many(&self, commands: Vec<Command>) -> Answer<Vec<Outcome>> {
        self.queue_many(commands, |queue, request| queue.post(request).map(drop))
    }

    /// Queues a read as [`Inventory::post_many`] queues commands, whether there is room or not: the caller bounds
    /// how many wait.
    pub(in crate::commerce) fn post_stock(&self, sku: &str) -> Answer<Option<StockView>> {
        self.post_read(|sender| Request::Stock {
            sku: sku.to_owned(),
            sender,
        })
    }

    /// Queues a read as [`Inventory::post_stock`] does.
    pub(in crate::commerce) fn post_reservation(&self, reservation: Uuid) -> Answer<Option<ReservationView>> {
        self.post_read(|sender| Request::Reservation { reservation, sender })
    }

    /// Queues a read as [`Inventory::post_stock`] does.
    pub(in crate::commerce) fn post_live_page(&self, from: u32, count_max: usize) -> Answer<HoldsPage> {
        self.post_read(|sender| Request::Page {
            from,
            count_max,
            sender,
        })
    }

    fn post_read<T>(&self, request: impl FnOnce(super::answer::Sender<T>) -> Request) -> Answer<T> {
        let (sender, answer) = Answer::new();
        match self.shard.queue.post_always(request(sender)) {
            Ok(()) => answer,
            Err(stopped) => Answer::ready(Err(stopped)),
        }
    }

    /// Lets the shard's own thread decide what was posted.
    pub(in crate::commerce) fn wake(&self) {
        self.shard.queue.wake();
    }

    /// Decides what is queued on the calling thread, or leaves that to whoever is deciding. The caller then owes an
    /// [`Inventory::complete_here`].
    pub(in crate::commerce) fn decide_here(&self) {
        if !self.shard.seat.lead(Step::Decide) {
            self.shard.queue.wake();
        }
    }

    /// Blocks until what was decided is durable and answered, unless another thread has taken that over.
    pub(in crate::commerce) fn complete_here(&self) {
        self.shard.seat.lead(Step::Complete);
    }

    /// Sends many commands and blocks until all their outcomes are durable.
    pub fn submit_batch(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, Stopped> {
        let answer = self.post_many(commands);
        self.decide_here();
        self.complete_here();
        answer.wait()
    }

    /// Sends one command and blocks until its outcome is durable.
    fn submit_one(&self, command: Command) -> Result<Outcome, Stopped> {
        let (sender, answer) = Answer::new();
        match self.shard.queue.post(Request::One { command, sender }) {
            Ok(_) => {}
            Err(NotQueued::Full(_)) => return Ok(throttled()),
            Err(NotQueued::Stopped(stopped)) => return Err(stopped),
        }
        self.decide_here();
        self.complete_here();
        answer.wait()
    }

    /// Adds units to an article. `id` makes a repeat harmless.
    pub fn receive(&self, id: Uuid, sku: &str, quantity: u32) -> Result<Outcome, Stopped> {
        self.submit_one(Command::receive(id, sku, quantity))
    }

    /// Sets the limit per customer of an article, or takes it away. `id` makes a repeat harmless.
    pub fn set_policy(
        &self,
        id: Uuid,
        sku: &str,
        limit_per_customer: Option<u32>,
    ) -> Result<Outcome, Stopped> {
        self.submit_one(Command::limit(id, sku, limit_per_customer))
    }

    /// Holds a whole cart for `ttl`, or nothing of it. The reservation's id makes a repeat harmless.
    pub fn reserve(
        &self,
        reservation: Uuid,
        customer: &str,
        lines: Vec<Line>,
        ttl: Duration,
    ) -> Result<Outcome, Stopped> {
        self.submit_one(Command::reserve(reservation, customer, lines, milliseconds(ttl)))
    }

    /// Pushes the end of a live hold out to `ttl` from now. `id` makes a repeat harmless.
    pub fn extend(&self, id: Uuid, reservation: Uuid, ttl: Duration) -> Result<Outcome, Stopped> {
        self.submit_one(Command::Extend {
            id,
            reservation,
            ttl_ms: milliseconds(ttl),
        })
    }

    /// Sells the units of a live hold.
    pub fn commit(&self, reservation: Uuid) -> Result<Outcome, Stopped> {
        self.submit_one(Command::commit(reservation))
    }

    /// Gives the units of a live hold back.
    pub fn release(&self, reservation: Uuid) -> Result<Outcome, Stopped> {
        self.submit_one(Command::release(reservation))
    }

    /// The units of an article, as far as they are durable.
    pub fn stock(&self, sku: &str) -> Answer<Option<StockView>> {
        self.ask(|sender| Request::Stock {
            sku: sku.to_owned(),
            sender,
        })
    }

    /// Where a reservation stands, as far as that is durable.
    pub fn get(&self, reservation: Uuid) -> Answer<Option<ReservationView>> {
        self.ask(|sender| Request::Reservation { reservation, sender })
    }

    /// At most `count_max` live holds, and never more than 1,000, from `from` on: 0, or where the page before said.
    pub fn live_page(&self, from: u32, count_max: usize) -> Answer<HoldsPage> {
        self.ask(|sender| Request::Page {
            from,
            count_max,
            sender,
        })
    }

    /// The units of an article as they were; `None` if it was not known then.
    ///
    /// Replays the events on the calling thread, and keeps nobody waiting: it takes time in proportion to their
    /// number, and memory for the holds that lived then.
    pub fn stock_as_of(&self, sku: &str, as_of: AsOf) -> Result<Option<StockView>, RecoverError> {
        stock_as_of(&*self.events.0, sku, as_of)
    }

    /// Every movement of an article up to a moment, and the balances then; see [`read_ledger`].
    pub fn ledger(
        &self,
        sku: &str,
        as_of: AsOf,
        visit: impl FnMut(LedgerEntry),
    ) -> Result<Ledger, RecoverError> {
        read_ledger(&*self.events.0, sku, as_of, visit)
    }

    /// The digest of the shard's durable state ([`super::State::hash`]); decisions wait while it is computed.
    pub fn hash(&self) -> Answer<u64> {
        self.ask(|sender| Request::Hash { sender })
    }

    /// Stops taking commands, decides those that were queued, and closes the shard.
    pub fn close(&self) {
        self.shard.close();
    }

    /// Why the shard takes no commands, if so.
    pub fn stopped(&self) -> Option<Stopped> {
        self.shard.queue.stopped()
    }

    /// The offset of the first command of the commands partition that was not decided yet.
    pub(super) fn next_command_offset(&self) -> Answer<u64> {
        self.ask(|sender| Request::NextCommandOffset { sender })
    }

    /// Sends commands of the commands partition, waiting for room.
    pub(super) fn feed(&self, commands: Vec<CommandRecord>) -> Result<(), Stopped> {
        self.shard.queue.push_waiting(Request::Topic { commands })
    }

    /// Sends a read; reads wait for room, since they are few and have no refusal.
    fn ask<T>(&self, request: impl FnOnce(super::answer::Sender<T>) -> Request) -> Answer<T> {
        let (sender, answer) = Answer::new();
        match self.shard.queue.push_waiting(request(sender)) {
            Ok(()) => answer,
            Err(stopped) => Answer::ready(Err(stopped)),
        }
    }
}

fn throttled() -> Outcome {
    Outcome::Throttled {
        retry_after_ms: THROTTLE_RETRY_MS,
    }
}

/// Whole milliseconds, rounded up so that a hold is never shorter than asked for.
pub(crate) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
