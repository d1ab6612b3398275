//! One shard: the writer that alone decides, in the order in which the log keeps its decisions.
//!
//! It drains the queue, decides and folds every command, and appends the events of the drain as few
//! large batches. It does not wait for stable storage before it decides the next drain; answers wait, in order.
//! An answer whose event was not written because it changes nothing (a repeated request, a read) waits for all
//! events before it, since it tells what they did.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Sender;
use super::cloud_event::Trace;
use super::publisher::Publisher;
use super::queue::{Queue, Request};
use super::snapshot_maker::{Frozen, SnapshotMaker};
use super::{
    Command, CommandRecord, Event, EventFormat, HoldsPage, LINES_MAX, LOCATION_MAX_BYTES, Misfit,
    NAME_MAX_BYTES, Outcome, ReservationView, SPLIT_LOCATIONS_MAX, State, StockView, decide,
};
use crate::commerce::store::{EventStore, PendingAppend, StoreError};
use crate::log::batch::BatchError;
use crate::log::io::Clock;
use crate::log::{LogFailed, Offset};

/// Size at which a batch of events is appended while more commands wait. 256 KiB: near the device's best rate,
/// and decided in a few milliseconds.
const BATCH_TARGET_BYTES: usize = 256 * 1024;

/// Smallest limit on a batch that a shard can work with: a batch is closed once it reached its target, so an event
/// of the largest size comes on top, and the stock signals of its lines.
pub(super) const BATCH_SIZE_LEAST_BYTES: usize = 3 * BATCH_TARGET_BYTES;
/// A line with its names, of which JSON writes a byte as six at worst, and room for what stands between them.
const LINE_MAX_BYTES: usize = (NAME_MAX_BYTES + LOCATION_MAX_BYTES) * 6 + 64;
/// The lines as held and as sent, the reasons of those that failed, and the names of a split.
const EVENT_MAX_BYTES: usize =
    LINES_MAX * (2 * LINE_MAX_BYTES + 64) + 4_096 + SPLIT_LOCATIONS_MAX * LOCATION_MAX_BYTES * 6;
/// A signal is an event of its own: the name in JSON, in the key and in a header, and the other headers.
const SIGNAL_MAX_BYTES: usize = NAME_MAX_BYTES * 8 + 1_024;
const _: () = assert!(EVENT_MAX_BYTES + LINES_MAX * SIGNAL_MAX_BYTES <= 2 * BATCH_TARGET_BYTES);
const _: () = assert!(BATCH_SIZE_LEAST_BYTES < crate::log::BATCH_SIZE_MAX_BYTES);

/// Most batches on their way to stable storage, as many as the journal keeps in flight.
const APPENDS_IN_FLIGHT_MAX: usize = 4;

/// Most expiries that are logged between two drains of the queue: a mass expiry does not starve shoppers.
const EXPIRIES_PER_DRAIN_MAX: usize = 4_096;

/// How long to wait before an append is tried again that found no room.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// The shard stopped; commands without an answer may or may not have taken effect.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the shard stopped")]
pub struct Stopped {
    /// Why.
    #[source]
    pub cause: Arc<StopCause>,
}

impl Stopped {
    pub(super) fn new(cause: StopCause) -> Self {
        Stopped {
            cause: Arc::new(cause),
        }
    }
}

/// Why a shard stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopCause {
    /// It was closed.
    #[error("it was closed")]
    Closed,
    /// The store refused events.
    #[error("events could not be stored")]
    Store(#[from] StoreError),
    /// The log stopped before events were durable.
    #[error("events did not become durable")]
    Failed(#[from] LogFailed),
    /// An event is too large for a batch, which the limits exclude.
    #[error("an event could not be written")]
    Event(#[from] BatchError),
    /// A decision does not fit the state that it was made from: a fault of the engine.
    #[error("a decision does not fit its state")]
    Misfit(#[from] Misfit),
}

/// An answer, and where it goes.
enum Reply {
    One(Sender<Outcome>, Outcome),
    Many(Sender<Vec<Outcome>>, Vec<Outcome>),
    Stock(Sender<Option<StockView>>, Option<StockView>),
    Reservation(Sender<Option<ReservationView>>, Option<ReservationView>),
    Page(Sender<HoldsPage>, HoldsPage),
    Number(Sender<u64>, u64),
}

impl Reply {
    fn send(self) {
        match self {
            Reply::One(sender, outcome) => sender.send(Ok(outcome)),
            Reply::Many(sender, outcomes) => sender.send(Ok(outcomes)),
            Reply::Stock(sender, stock) => sender.send(Ok(stock)),
            Reply::Reservation(sender, reservation) => sender.send(Ok(reservation)),
            Reply::Page(sender, page) => sender.send(Ok(page)),
            Reply::Number(sender, number) => sender.send(Ok(number)),
        }
    }

    fn stop(self, stopped: &Stopped) {
        let stopped = stopped.clone();
        match self {
            Reply::One(sender, _) => sender.send(Err(stopped)),
            Reply::Many(sender, _) => sender.send(Err(stopped)),
            Reply::Stock(sender, _) => sender.send(Err(stopped)),
            Reply::Reservation(sender, _) => sender.send(Err(stopped)),
            Reply::Page(sender, _) => sender.send(Err(stopped)),
            Reply::Number(sender, _) => sender.send(Err(stopped)),
        }
    }
}

/// A batch on its way to stable storage, and the answers that wait for it.
struct InFlight<A> {
    append: A,
    replies: Vec<Reply>,
    /// The state behind the batch, if a snapshot is due.
    frozen: Option<Frozen>,
}

/// The writer of one shard.
pub(super) struct Writer<S: EventStore> {
    store: Arc<S>,
    state: State,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    publisher: Publisher,
    /// Empty between drains; kept for its room.
    requests: Vec<Request>,
    snapshots: Option<SnapshotMaker>,
    /// Offset of the first record of the batch under construction.
    end: Offset,
    in_flight: VecDeque<InFlight<S::Append>>,
    /// Answers of the batch under construction.
    replies: Vec<Reply>,
    /// The shard's time at the last reading of the clock.
    now_ms: i64,
    /// The newest time that is not from the monotonic clock, and what that showed then.
    anchor: (i64, Duration),
}

impl<S: EventStore> Writer<S> {
    /// A writer that continues `state`, which was true at `end`.
    pub(super) fn new(
        store: Arc<S>,
        state: State,
        end: Offset,
        format: EventFormat,
        clock: Arc<dyn Clock>,
        queue: Arc<Queue>,
        snapshots: Option<SnapshotMaker>,
    ) -> Self {
        let anchor = (state.now_ms(), clock.monotonic());
        Writer {
            store,
            state,
            clock,
            queue,
            publisher: Publisher::new(format),
            requests: Vec::new(),
            snapshots,
            end,
            in_flight: VecDeque::new(),
            replies: Vec::new(),
            now_ms: anchor.0,
            anchor,
        }
    }

    /// Makes the snapshot that is due after what was replayed at the start, which is durable.
    pub(super) fn make_first_snapshot(&mut self) {
        if let Some(frozen) = self.freeze_after(0) {
            self.make_snapshot(frozen);
        }
    }

    /// Leaves a snapshot; everything must be durable.
    pub(super) fn finish(self) {
        if let Some(snapshots) = self.snapshots {
            snapshots.finish(&self.state, self.end);
        }
    }

    /// The shard's time.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// When the next hold ends by itself; far away if there is none.
    pub(super) fn next_expiry_ms(&self) -> i64 {
        self.state.next_expiry_ms().unwrap_or(i64::MAX)
    }

    /// Tells everybody who waits that the shard stopped.
    pub(super) fn stop(mut self, stopped: &Stopped) {
        let waiting = self.in_flight.into_iter().flat_map(|batch| batch.replies);
        waiting.chain(self.replies).for_each(|reply| reply.stop(stopped));
        self.snapshots.as_mut().and_then(SnapshotMaker::wait);
    }

    /// Decides what is queued, and answers what is durable. Tells whether there was nothing to decide, and then how
    /// long there will be nothing.
    pub(super) fn serve(&mut self) -> Result<(bool, Duration), StopCause> {
        let idle = self.decide_drained()?;
        if !self.queue.is_empty() {
            self.complete_durable()?;
            return Ok((idle, Duration::ZERO));
        }
        // Nobody waits for a decision, so this thread may as well write.
        self.complete_all()?;
        let rest = if idle { self.rest() } else { Duration::ZERO };
        Ok((idle, rest))
    }

    /// Decides what is queued, and sends it on its way without waiting for it.
    pub(super) fn decide_queued(&mut self) -> Result<(), StopCause> {
        self.complete_durable()?;
        self.decide_drained().map(drop)
    }

    /// Decides one drain of the queue; tells whether it was empty.
    fn decide_drained(&mut self) -> Result<bool, StopCause> {
        let mut requests = std::mem::take(&mut self.requests);
        self.queue.drain(&mut requests);
        let idle = requests.is_empty();
        self.begin()?;
        for request in requests.drain(..) {
            self.serve_one(request)?;
        }
        self.requests = requests;
        self.append()?;
        Ok(idle)
    }

    /// Reads the clock and logs what ended.
    fn begin(&mut self) -> Result<(), StopCause> {
        self.read_clock();
        if self
            .state
            .next_expiry_ms()
            .is_some_and(|expiry_ms| expiry_ms <= self.now_ms)
        {
            for event in self.state.due(self.now_ms, EXPIRIES_PER_DRAIN_MAX) {
                self.record(&event, &Trace::default())?;
            }
        }
        // An earlier run may have stopped between a cause and what follows from it.
        self.follow_up()
    }

    /// Sets the shard's time: that of the wall clock, unless it was set back. Then time goes on from where it was,
    /// as fast as the monotonic clock, for holds must end although the log's time never falls.
    fn read_clock(&mut self) {
        let (anchor_ms, then) = self.anchor;
        let (wall_ms, monotonic) = (self.clock.now().0, self.clock.monotonic());
        let passed_ms = i64::try_from(monotonic.saturating_sub(then).as_millis()).unwrap_or(i64::MAX);
        let least_ms = anchor_ms.saturating_add(passed_ms);
        if wall_ms >= least_ms {
            self.anchor = (wall_ms, monotonic);
        }
        self.now_ms = wall_ms.max(least_ms);
    }

    fn serve_one(&mut self, request: Request) -> Result<(), StopCause> {
        let reply = match request {
            Request::One { command, sender } => Reply::One(sender, self.decide(command)?),
            Request::Many { commands, sender } => {
                let mut outcomes = Vec::with_capacity(commands.len());
                for command in commands {
                    outcomes.push(self.decide(command)?);
                }
                Reply::Many(sender, outcomes)
            }
            Request::Topic { commands } => {
                for command in commands {
                    self.decide_from_topic(command)?;
                }
                return Ok(());
            }
            Request::Stock { sku, sender } => Reply::Stock(sender, self.state.stock(&sku)),
            Request::Reservation { reservation, sender } => {
                Reply::Reservation(sender, self.state.reservation(reservation))
            }
            Request::Page {
                from,
                count_max,
                sender,
            } => Reply::Page(sender, self.state.live_page(from, count_max)),
            Request::Hash { sender } => Reply::Number(sender, self.state.hash()),
            Request::NextCommandOffset { sender } => Reply::Number(sender, self.state.next_command_offset()),
        };
        self.replies.push(reply);
        Ok(())
    }

    fn decide(&mut self, command: Command) -> Result<Outcome, StopCause> {
        let event = decide(&self.state, command, self.now_ms);
        if event.changes_state() {
            self.record(&event, &Trace::default())?;
        }
        Ok(event.outcome)
    }

    fn decide_from_topic(&mut self, command: CommandRecord) -> Result<(), StopCause> {
        if command.offset < self.state.next_command_offset() {
            return Ok(());
        }
        let mut event = match command.command {
            Ok(asked) => decide(&self.state, asked, self.now_ms),
            Err(reason) => Event {
                outcome: Outcome::Invalid { reason },
                command: uuid::Uuid::nil(),
                reservation: None,
                command_offset: None,
                at_ms: self.now_ms.max(self.state.now_ms()),
            },
        };
        event.command_offset = Some(command.offset);
        self.record(&event, &command.trace)
    }

    /// Folds an event and what follows from it, and adds them to the batch under construction.
    fn record(&mut self, event: &Event, trace: &Trace) -> Result<(), StopCause> {
        self.push(event, trace)?;
        self.follow_up()?;
        self.append_if_full()
    }

    /// Folds what follows from the newest events. A batch ends only before an offer: a stock signal is in the same
    /// append as its cause.
    fn follow_up(&mut self) -> Result<(), StopCause> {
        while let Some(event) = self.state.follow_up(self.now_ms) {
            if matches!(event.outcome, Outcome::Offered { .. }) {
                self.append_if_full()?;
            }
            // It belongs to somebody else's purchase than its cause, or to none.
            self.push(&event, &Trace::default())?;
        }
        Ok(())
    }

    fn push(&mut self, event: &Event, trace: &Trace) -> Result<(), StopCause> {
        self.state.apply(event)?;
        let offset = self.end.plus(self.publisher.len() as u64);
        Ok(self.publisher.push(event, offset, trace)?)
    }

    fn append_if_full(&mut self) -> Result<(), StopCause> {
        if self.publisher.size_bytes() >= BATCH_TARGET_BYTES {
            self.append()?;
            self.read_clock();
        }
        Ok(())
    }

    /// Sends the batch under construction on its way, with its answers.
    fn append(&mut self) -> Result<(), StopCause> {
        if self.publisher.is_empty() {
            return self.answer_with_last();
        }
        while self.in_flight.len() >= APPENDS_IN_FLIGHT_MAX {
            self.complete_first()?;
        }
        // More is being decided than one batch: the batch before must not wait for somebody to wait for it.
        if let Some(last) = self.in_flight.back_mut() {
            last.append.start();
        }
        let count = self.publisher.len() as u64;
        let batch = self.publisher.finish();
        let append = loop {
            match self.store.append(self.end, batch.clone()) {
                Ok(append) => break append,
                Err(StoreError::Busy) => {}
                Err(StoreError::Full) if self.queue.stopped().is_none() => {}
                Err(error) => return Err(error.into()),
            }
            if self.in_flight.is_empty() {
                std::thread::park_timeout(RETRY_AFTER);
            }
            self.complete_first()?;
        };
        self.end = self.end.plus(count);
        let frozen = self.freeze_after(count);
        self.in_flight.push_back(InFlight {
            append,
            replies: std::mem::take(&mut self.replies),
            frozen,
        });
        Ok(())
    }

    /// Counts events that were appended, and freezes the state behind them if a snapshot is due.
    fn freeze_after(&mut self, events: u64) -> Option<Frozen> {
        let snapshots = self.snapshots.as_mut()?;
        snapshots.count(events, &mut self.state, self.end)
    }

    fn make_snapshot(&mut self, frozen: Frozen) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.make(frozen);
        }
    }

    /// Answers that need no event of their own: with the last batch on its way, or at once.
    ///
    /// A batch on its way was appended at the end that this writer knew, which proves that nobody else wrote
    /// before. Without one the end itself must tell: a writer that was overtaken knows neither what was sold
    /// since nor what came back.
    fn answer_with_last(&mut self) -> Result<(), StopCause> {
        if self.replies.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.in_flight.back_mut() {
            last.replies.append(&mut self.replies);
            return Ok(());
        }
        let (expected, found) = (self.end, self.store.end());
        if found > expected {
            return Err(StoreError::AnotherWriter { expected, found }.into());
        }
        self.replies.drain(..).for_each(Reply::send);
        Ok(())
    }

    /// Waits for the first batch in flight, if there is one, and answers.
    fn complete_first(&mut self) -> Result<(), StopCause> {
        let Some(first) = self.in_flight.pop_front() else {
            return Ok(());
        };
        match first.append.wait() {
            Ok(_) => {
                first.replies.into_iter().for_each(Reply::send);
                if let Some(frozen) = first.frozen {
                    self.make_snapshot(frozen);
                }
                Ok(())
            }
            Err(failed) => {
                // Its answers must hear of the failure too.
                self.replies.extend(first.replies);
                Err(failed.into())
            }
        }
    }

    /// Waits for all batches in flight, and answers.
    pub(super) fn complete_all(&mut self) -> Result<(), StopCause> {
        while !self.in_flight.is_empty() {
            self.complete_first()?;
        }
        Ok(())
    }

    /// Lets the newest batch proceed while more is decided, and answers for those that are durable.
    fn complete_durable(&mut self) -> Result<(), StopCause> {
        if let Some(last) = self.in_flight.back_mut() {
            last.append.start();
        }
        while self
            .in_flight
            .front()
            .is_some_and(|first| first.append.is_durable())
        {
            self.complete_first()?;
        }
        Ok(())
    }

    /// How long there is nothing to do: until the next expiry.
    fn rest(&mut self) -> Duration {
        self.read_clock();
        let left_ms = self.next_expiry_ms().saturating_sub(self.now_ms).max(0);
        Duration::from_millis(left_ms as u64)
    }
}
