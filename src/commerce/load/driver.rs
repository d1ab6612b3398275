//! Drives one sale: sends what is due when it is due, and lets answers bring about what follows.
//!
//! One task does everything, so that nothing is locked: it wakes every millisecond, puts what is due into
//! the connections' batches and sends them, and in between takes acknowledgements and answers. It never
//! waits for an answer before it sends; when the connections take nothing more, commands stay in the
//! schedule and their latency goes on counting from the intended start.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::answer::AnswerKind;
use super::arrivals::Arrivals;
use super::catalogue::{Article, Catalogue, LIMIT_PER_CUSTOMER};
use super::client::Client;
use super::error::SaleError;
use super::health::thread_busy_time;
use super::ids::{RunId, StepId};
use super::ledger::Ledger;
use super::progress::{Phase, Progress};
use super::reader::{self, Answer, Answers};
use super::scenario::{PARTITION, Scenario};
use super::schedule::{Planned, Schedule};
use super::sender::{Acknowledgement, REFUSED_RETRY_AFTER, Sender};
use super::shopper::{Crowd, Deed};
use super::tally::Tally;
use crate::commerce::inventory::{COMMANDS_TOPIC, Command, EVENTS_TOPIC};

/// Time between two looks at the schedule. 1 ms: the resolution of the runtime's timer.
const TURN: Duration = Duration::from_millis(1);

/// Time between two reports to the live view.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// How long the stocking of the shop may go without an answer.
const STOCKING_LIMIT: Duration = Duration::from_secs(15);

/// How long outstanding commands may go without any answer before they count as unanswered.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// How much later than its time a hold may end before it counts as stuck.
const EXPIRY_GRACE: Duration = Duration::from_secs(5);

/// How often a command that was throttled or refused is sent again.
const TRIES_MAX: u32 = 50;

/// One run while it goes on.
#[derive(Debug)]
pub struct Driver {
    run: RunId,
    catalogue: Catalogue,
    crowd: Crowd,
    address: std::net::SocketAddr,
    sender: Sender,
    acknowledgements: mpsc::Receiver<Acknowledgement>,
    answers: mpsc::Receiver<Result<Answers, SaleError>>,
    schedule: Schedule,
    in_flight: HashMap<StepId, InFlight>,
    ledger: Ledger,
    tally: Tally,
    doors: Instant,
    start: StartOffsets,
    /// The last time that an answer came, or that waiting for one began.
    last_sign: Duration,
}

/// Where the two topics ended before the run: the audit reads from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartOffsets {
    /// The end of the commands.
    pub commands: i64,
    /// The end of the events.
    pub events: i64,
}

/// What is left of a run when it has ended.
#[derive(Debug)]
pub struct Recorded {
    /// The run.
    pub run: RunId,
    /// What was for sale.
    pub catalogue: Catalogue,
    /// What the generator was told.
    pub ledger: Ledger,
    /// Counts and latencies.
    pub tally: Tally,
    /// Where the topics ended before the run.
    pub start: StartOffsets,
    /// Time from the opening of the doors to the end.
    pub elapsed: Duration,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    planned: Planned,
    /// When it was first handed to a connection.
    sent: Option<Duration>,
    tries: u32,
}

impl Driver {
    /// Connects to the shop at `address`.
    pub async fn connect(address: &str, scenario: &Scenario, run: RunId) -> Result<Driver, SaleError> {
        let mut broker = Client::connect(address).await?;
        for topic in [COMMANDS_TOPIC, EVENTS_TOPIC] {
            let found = broker.partition_count(topic).await?;
            if found != 1 {
                return Err(SaleError::Partitions { topic, found });
            }
        }
        let mut clients = Vec::new();
        for _ in 0..scenario.connections.max(1) {
            clients.push(broker.connect_to_leader(COMMANDS_TOPIC, PARTITION).await?);
        }
        let mut events = broker.connect_to_leader(EVENTS_TOPIC, PARTITION).await?;
        let start = StartOffsets {
            commands: clients[0].latest_offset(COMMANDS_TOPIC, PARTITION).await?,
            events: events.latest_offset(EVENTS_TOPIC, PARTITION).await?,
        };
        let catalogue = Catalogue::new(run, scenario.units);
        let (sender, acknowledgements) = Sender::new(clients);
        Ok(Driver {
            run,
            crowd: Crowd::new(scenario.seed, run, catalogue.clone(), scenario.hold_time),
            catalogue,
            address: broker.address(),
            sender,
            acknowledgements,
            answers: reader::spawn(events, run, start.events),
            schedule: Schedule::new(Arrivals::new(
                scenario.seed,
                scenario.shoppers,
                scenario.rate_per_second,
            )),
            in_flight: HashMap::new(),
            ledger: Ledger::default(),
            tally: Tally::default(),
            doors: Instant::now(),
            start,
            last_sign: Duration::ZERO,
        })
    }

    /// Fills the shelves and waits until everything is there.
    pub async fn stock(&mut self) -> Result<(), SaleError> {
        let mut open = HashSet::new();
        let mut commands = Vec::new();
        for article in self.catalogue.articles() {
            let sku = self.catalogue.sku(article).to_owned();
            let step = staff_step(article, 0);
            let id = self.run.command(step);
            commands.push((step, Command::receive(id, sku, self.catalogue.units())));
        }
        let step = staff_step(Article::DOORBUSTER, 1);
        let sku = self.catalogue.sku(Article::DOORBUSTER).to_owned();
        let limit_per_customer = Some(LIMIT_PER_CUSTOMER);
        commands.push((
            step,
            Command::limit(self.run.command(step), sku, limit_per_customer),
        ));
        for (step, command) in commands {
            if let Some(room) = self.sender.room() {
                self.ledger.sent(step);
                self.sender.push(room, step, &command);
                open.insert(step);
            }
        }
        while !(open.is_empty() && self.sender.is_idle()) {
            self.flush(Duration::ZERO).await?;
            tokio::select! {
                Some(acknowledgement) = self.acknowledgements.recv() => self.acknowledged(acknowledgement)?,
                answers = timeout(STOCKING_LIMIT, self.answers.recv()) => {
                    let Ok(answers) = answers else { return Err(self.no_engine()) };
                    for answer in answers.ok_or(SaleError::Ended { part: "reader" })??.answers {
                        if let Some(step) = answer.command {
                            self.ledger.answered(step, answer.kind);
                            open.remove(&step);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn no_engine(&self) -> SaleError {
        let waited_seconds = STOCKING_LIMIT.as_secs();
        SaleError::NoEngine {
            topic: COMMANDS_TOPIC,
            address: self.address,
            waited_seconds,
        }
    }

    /// Opens the doors; returns when everybody was answered and every hold has ended, or when nothing
    /// more happens.
    pub async fn sell(mut self, progress: &mut (dyn FnMut(&Progress) + Send)) -> Result<Recorded, SaleError> {
        self.doors = Instant::now();
        let busy_before = thread_busy_time();
        let mut next_turn = Duration::ZERO;
        let mut next_progress = PROGRESS_INTERVAL;
        loop {
            let now = self.doors.elapsed();
            if now >= next_turn {
                self.start_due(now);
                self.flush(now).await?;
                // A fixed beat: the timer rounds up to its next millisecond, which must not add up.
                next_turn = now.max(next_turn + TURN);
            }
            let phase = self.phase();
            if now >= next_progress {
                if phase == Phase::Open {
                    let busy = thread_busy_time()
                        .zip(busy_before)
                        .map(|(after, before)| after.saturating_sub(before));
                    self.tally.processor_share = busy.map(|busy| busy.as_secs_f64() / now.as_secs_f64());
                }
                progress(&self.progress(phase, now));
                next_progress = now + PROGRESS_INTERVAL;
            }
            if self.has_ended(phase, now) {
                break;
            }
            tokio::select! {
                biased;
                Some(acknowledgement) = self.acknowledgements.recv() => self.acknowledged(acknowledgement)?,
                answers = self.answers.recv() => {
                    let answers = answers.ok_or(SaleError::Ended { part: "reader" })??;
                    self.last_sign = self.doors.elapsed();
                    self.answered(&answers);
                }
                () = sleep_until((self.doors + next_turn).into()) => {}
            }
        }
        Ok(Recorded {
            run: self.run,
            catalogue: self.catalogue,
            ledger: self.ledger,
            tally: self.tally,
            start: self.start,
            elapsed: self.doors.elapsed(),
        })
    }

    fn phase(&mut self) -> Phase {
        if !self.schedule.is_empty() {
            Phase::Open
        } else if !self.in_flight.is_empty() || !self.sender.is_idle() {
            Phase::Draining
        } else {
            Phase::Expiring
        }
    }

    fn progress(&mut self, phase: Phase, now: Duration) -> Progress {
        let live_holds = self.ledger.live_holds();
        self.tally
            .progress(phase, now, self.catalogue.units(), live_holds)
    }

    fn has_ended(&self, phase: Phase, now: Duration) -> bool {
        match phase {
            Phase::Expiring => self.ledger.last_expiry_ms().is_none_or(|expiry_ms| {
                unix_time_ms() > expiry_ms.saturating_add(EXPIRY_GRACE.as_millis() as i64)
            }),
            // A shop that does not answer ends the sale, also while shoppers still come.
            Phase::Open | Phase::Draining => {
                !self.in_flight.is_empty() && now.saturating_sub(self.last_sign) > SILENCE_LIMIT
            }
            Phase::Stocking | Phase::Auditing => false,
        }
    }

    /// Moves what is due from the schedule into the connections' batches, as far as there is room.
    fn start_due(&mut self, now: Duration) {
        while let Some(room) = self.sender.room() {
            let Some(planned) = self.schedule.take_due(now, &self.crowd) else {
                break;
            };
            let step = planned.step;
            if self.in_flight.is_empty() {
                self.last_sign = now;
            }
            let fresh = InFlight {
                planned,
                sent: None,
                tries: 0,
            };
            let in_flight = self.in_flight.entry(step.id).or_insert(fresh);
            in_flight.tries += 1;
            if in_flight.tries == 1 {
                self.ledger.sent(step.id);
                self.tally.attempted += u64::from(step.deed == Deed::Reserve);
            }
            self.sender.push(room, step.id, &self.crowd.command(step));
        }
    }

    async fn flush(&mut self, now: Duration) -> Result<(), SaleError> {
        let mut left = Vec::new();
        self.sender.flush(unix_time_ms(), &mut left).await?;
        for step in left {
            if let Some(in_flight) = self.in_flight.get_mut(&step)
                && in_flight.sent.is_none()
            {
                in_flight.sent = Some(now);
                self.tally
                    .schedule_lag
                    .record(now.saturating_sub(in_flight.planned.at));
            }
        }
        Ok(())
    }

    /// Notes an acknowledged batch; one that was refused for a passing reason is planned again.
    fn acknowledged(&mut self, acknowledgement: Acknowledgement) -> Result<(), SaleError> {
        self.sender.ended(&acknowledgement);
        match acknowledgement.result {
            Ok(_) => {
                for step in acknowledgement.steps {
                    self.ledger.acknowledged(step);
                }
                Ok(())
            }
            Err(error) if error.is_retriable() => {
                let again = self.doors.elapsed() + REFUSED_RETRY_AFTER;
                for step in acknowledgement.steps {
                    if let Some(in_flight) = self.in_flight.get(&step) {
                        if in_flight.tries >= TRIES_MAX {
                            return Err(SaleError::RefusedAgain {
                                attempts: TRIES_MAX,
                                source: error,
                            });
                        }
                        self.schedule.plan(again, in_flight.planned.step);
                    }
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn answered(&mut self, answers: &Answers) {
        let at = answers.at.saturating_duration_since(self.doors);
        for answer in &answers.answers {
            if answer.kind == AnswerKind::ReservationExpired
                && let Some(reservation) = answer.reservation
            {
                self.hold_ended(reservation);
            }
            let Some(step) = answer.command else { continue };
            if answer.kind == AnswerKind::Throttled && self.try_again(step, at + answer.retry_after) {
                continue;
            }
            self.ledger.answered(step, answer.kind);
            self.hold_changed(answer, at);
            if let Some(in_flight) = self.in_flight.remove(&step)
                && in_flight.planned.step.deed == Deed::Reserve
            {
                let intended = in_flight.planned.at;
                self.tally
                    .answered(intended, in_flight.sent.unwrap_or(intended), at);
            }
        }
    }

    /// Plans a throttled command again, with the same ids; false when it was tried often enough.
    fn try_again(&mut self, step: StepId, at: Duration) -> bool {
        let Some(in_flight) = self.in_flight.get(&step) else {
            return false;
        };
        if in_flight.tries >= TRIES_MAX {
            return false;
        }
        self.schedule.plan(at, in_flight.planned.step);
        true
    }

    fn hold_changed(&mut self, answer: &Answer, at: Duration) {
        let Some(reservation) = answer.reservation else {
            return;
        };
        match answer.kind {
            AnswerKind::Reserved => self.hold_granted(reservation, answer.expires_at_ms, at),
            AnswerKind::Released => self.hold_ended(reservation),
            // Paid for: the hold is over and its units are gone.
            AnswerKind::Committed => {
                self.ledger.ended(reservation);
            }
            _ => {}
        }
    }

    fn hold_granted(&mut self, reservation: StepId, expires_at_ms: i64, at: Duration) {
        if !self.ledger.granted(reservation, expires_at_ms) {
            return;
        }
        let shopper = self.crowd.shopper(reservation.shopper);
        self.tally.doorbuster_taken += i64::from(shopper.quantity_of(Article::DOORBUSTER));
        if let Some(step) = shopper.follow_up(reservation) {
            self.schedule.plan(at + shopper.think_time, step);
        }
    }

    fn hold_ended(&mut self, reservation: StepId) {
        if self.ledger.ended(reservation) {
            let shopper = self.crowd.shopper(reservation.shopper);
            self.tally.doorbuster_taken -= i64::from(shopper.quantity_of(Article::DOORBUSTER));
        }
    }
}

/// Steps of the shop's own staff count down from the last shopper number, which no crowd reaches.
fn staff_step(article: Article, step: u16) -> StepId {
    StepId {
        shopper: u32::MAX - u32::from(article.0),
        step,
    }
}

/// Most shoppers of one run: the numbers above belong to the staff.
pub const SHOPPERS_MAX: u32 = u32::MAX - u16::MAX as u32 - 1;

fn unix_time_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
