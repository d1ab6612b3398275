//! Judges a run by its log: reads both topics again from the run's start, and compares them with what
//! the generator was told.
//!
//! - **lost**: a command was acknowledged and is not in `inventory.commands`, or an answer was given and
//!   is not in `inventory.events`;
//! - **duplicated**: a reservation was granted, paid for or given back more than once;
//! - **oversold**: at some position of the log more units were held and paid for than had come in.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::answer::AnswerKind;
use super::catalogue::{Article, Catalogue};
use super::client::{Client, for_each_record};
use super::driver::Recorded;
use super::error::SaleError;
use super::ids::{RunId, StepId};
use super::ledger::Ledger;
use super::reader::{answer_of, for_each_event};
use super::scenario::{COMMANDS_TOPIC, EVENTS_TOPIC, PARTITION};
use crate::commerce::inventory::{Command, Event, Line, Outcome};

/// Bytes of one fetch of the audit, which nothing else waits for. 1 MiB.
const FETCH_SIZE_MAX_BYTES: i32 = 1024 * 1024;

/// How long the broker may hold a fetch; below the topic's end there is always something to send.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the log says about a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Reservations granted.
    pub reserved: u64,
    /// Attempts that repeated a granted reservation and were told so.
    pub repeated: u64,
    /// Reserve attempts refused, by reason.
    pub refused: BTreeMap<AnswerKind, u64>,
    /// Reservations paid for.
    pub committed: u64,
    /// Reservations given back.
    pub released: u64,
    /// Reservations that ended by themselves.
    pub expired: u64,
    /// Commands that the generator was never answered.
    pub unanswered: u64,
    /// Holds that never ended.
    pub stuck: u64,
    /// Units granted beyond what there was, the worst moment of each article summed up.
    pub oversold: u64,
    /// Acknowledged commands and answers given that are not in the log.
    pub lost: u64,
    /// Reservations granted, paid for or given back more than once.
    pub duplicated: u64,
    /// Events that contradict the events before them in any other way.
    pub contradictions: u64,
}

/// A fault to plant into what was read, so that the verdict can be seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A reservation of more units than there are.
    Oversell,
    /// An answer that is missing.
    Loss,
    /// A reservation granted twice.
    Duplicate,
}

/// Reads the run's part of both topics at `address` and judges it.
///
/// # Errors
/// When the topics cannot be read, or hold something that is no command or event.
pub async fn recount(
    address: &str,
    recorded: &Recorded,
    plant: Option<Plant>,
) -> Result<Findings, SaleError> {
    let mut broker = Client::connect(address).await?;
    let mut recount = Recount::new(recorded.run, &recorded.catalogue);
    read_through(&mut broker, COMMANDS_TOPIC, recorded.start.commands, |records, from| {
        for_each_command(records, from, |command| recount.command(command))
    })
    .await?;
    let mut planter = Planter { plant, planted: false };
    read_through(&mut broker, EVENTS_TOPIC, recorded.start.events, |records, from| {
        for_each_event(records, from, |event| planter.pass(event, |event| recount.event(event)))
    })
    .await?;
    if let Some(event) = planter.last(recorded.run, &recorded.catalogue) {
        recount.event(&event);
    }
    Ok(recount.finish(&recorded.ledger))
}

/// Feeds `visit` everything between `offset` and the topic's end at this moment.
async fn read_through(
    broker: &mut Client,
    topic: &'static str,
    mut offset: i64,
    mut visit: impl FnMut(bytes::Bytes, i64) -> Result<i64, SaleError>,
) -> Result<(), SaleError> {
    let mut leader = broker.connect_to_leader(topic, PARTITION).await?;
    let end = leader.latest_offset(topic, PARTITION).await?;
    while offset < end {
        let fetched =
            leader.fetch(topic, PARTITION, offset, FETCH_SIZE_MAX_BYTES, FETCH_WAIT_MAX).await?;
        offset = visit(fetched.records, offset)?;
    }
    Ok(())
}

/// Calls `visit` with every command; records that are no command belong to somebody else.
fn for_each_command(
    records: bytes::Bytes,
    from: i64,
    mut visit: impl FnMut(&Command),
) -> Result<i64, SaleError> {
    for_each_record(records, from, |record| {
        if let Some(Ok(command)) = record.value.map(|value| Command::from_json(value)) {
            visit(&command);
        }
    })
    .map_err(|source| SaleError::Records { topic: COMMANDS_TOPIC, source })
}

/// Plants a fault into the stream of events.
#[derive(Debug)]
struct Planter {
    plant: Option<Plant>,
    planted: bool,
}

impl Planter {
    fn pass(&mut self, event: &Event, mut sink: impl FnMut(&Event)) {
        let is_first_grant = !self.planted && matches!(event.outcome, Outcome::Reserved { .. });
        self.planted |= is_first_grant;
        match self.plant {
            Some(Plant::Loss) if is_first_grant => {}
            Some(Plant::Duplicate) if is_first_grant => {
                sink(event);
                sink(event);
            }
            _ => sink(event),
        }
    }

    /// The event to be planted behind all others.
    fn last(&self, run: RunId, catalogue: &Catalogue) -> Option<Event> {
        if self.plant != Some(Plant::Oversell) {
            return None;
        }
        let stranger = StepId { shopper: u32::MAX, step: u16::MAX };
        let sku = catalogue.sku(Article::DOORBUSTER).to_owned();
        let outcome = Outcome::Reserved {
            customer: "nobody".to_owned(),
            lines: vec![Line { sku, quantity: catalogue.units() + 1 }],
            ttl_ms: 1,
            expires_at_ms: 0,
        };
        Some(Event {
            outcome,
            command: run.command(stranger),
            reservation: Some(run.reservation(stranger)),
            command_offset: None,
            at_ms: 0,
        })
    }
}

/// Where a hold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HoldState {
    Held,
    Committed,
    Released,
    Expired,
}

/// One granted reservation, as the log tells it.
#[derive(Clone, Debug)]
struct Hold {
    state: HoldState,
    lines: Vec<(Article, u32)>,
}

/// Counts everything anew from the two streams. It shares nothing with the engine but the events' form.
#[derive(Debug)]
pub struct Recount<'a> {
    run: RunId,
    catalogue: &'a Catalogue,
    articles: HashMap<&'a str, Article>,
    commands: HashMap<StepId, bool>,
    answers: HashSet<(StepId, AnswerKind)>,
    holds: HashMap<StepId, Hold>,
    /// Units of each article that nobody holds or has paid for.
    left: Vec<i64>,
    /// The lowest that `left` has been, if below zero.
    lowest: Vec<i64>,
    findings: Findings,
}

impl<'a> Recount<'a> {
    /// A recount of `run`, at its beginning.
    pub fn new(run: RunId, catalogue: &'a Catalogue) -> Recount<'a> {
        let articles: HashMap<&str, Article> =
            catalogue.articles().map(|article| (catalogue.sku(article), article)).collect();
        let count = articles.len();
        Recount {
            run,
            catalogue,
            articles,
            commands: HashMap::new(),
            answers: HashSet::new(),
            holds: HashMap::new(),
            left: vec![0; count],
            lowest: vec![0; count],
            findings: Findings::default(),
        }
    }

    /// Takes the next command of the log.
    pub fn command(&mut self, command: &Command) {
        if let Some(step) = self.run.step_of_command(command.id()) {
            self.commands.insert(step, matches!(command, Command::Reserve { .. }));
        }
    }

    /// Takes the next event of the log.
    pub fn event(&mut self, event: &Event) {
        let Some(answer) = answer_of(self.run, event) else { return };
        if let Some(step) = answer.command {
            self.answers.insert((step, answer.kind));
            if self.commands.get(&step) == Some(&true) {
                self.count_attempt(answer.kind);
            }
        }
        if let Outcome::Received { sku, quantity } = &event.outcome {
            self.received(sku, *quantity);
        }
        let Some(reservation) = answer.reservation else { return };
        match &event.outcome {
            Outcome::Reserved { lines, .. } => self.granted(reservation, lines),
            Outcome::Committed => self.ended(reservation, HoldState::Committed),
            Outcome::Released => self.ended(reservation, HoldState::Released),
            Outcome::ReservationExpired => self.ended(reservation, HoldState::Expired),
            _ => {}
        }
    }

    fn count_attempt(&mut self, kind: AnswerKind) {
        match kind {
            // Counted as a grant, or asked again.
            AnswerKind::Reserved | AnswerKind::Throttled => {}
            AnswerKind::Exists => self.findings.repeated += 1,
            refused => *self.findings.refused.entry(refused).or_default() += 1,
        }
    }

    fn received(&mut self, sku: &str, quantity: u32) {
        match self.articles.get(sku) {
            Some(article) => self.left[usize::from(article.0)] += i64::from(quantity),
            None => self.findings.contradictions += 1,
        }
    }

    fn granted(&mut self, reservation: StepId, lines: &[Line]) {
        let known = lines.iter().map(|line| {
            self.articles.get(line.sku.as_str()).map(|article| (*article, line.quantity))
        });
        let Some(lines) = known.collect::<Option<Vec<_>>>() else {
            self.findings.contradictions += 1;
            return;
        };
        for (article, quantity) in &lines {
            let number = usize::from(article.0);
            self.left[number] -= i64::from(*quantity);
            self.lowest[number] = self.lowest[number].min(self.left[number]);
        }
        match self.holds.entry(reservation) {
            Entry::Occupied(_) => self.findings.duplicated += 1,
            Entry::Vacant(vacant) => {
                self.findings.reserved += 1;
                vacant.insert(Hold { state: HoldState::Held, lines });
            }
        }
    }

    fn ended(&mut self, reservation: StepId, into: HoldState) {
        let Some(hold) = self.holds.get_mut(&reservation) else {
            self.findings.contradictions += 1;
            return;
        };
        if hold.state != HoldState::Held {
            let counter = if hold.state == into {
                &mut self.findings.duplicated
            } else {
                &mut self.findings.contradictions
            };
            *counter += 1;
            return;
        }
        hold.state = into;
        if into != HoldState::Committed {
            for (article, quantity) in &hold.lines {
                self.left[usize::from(article.0)] += i64::from(*quantity);
            }
        }
        match into {
            HoldState::Committed => self.findings.committed += 1,
            HoldState::Released => self.findings.released += 1,
            HoldState::Expired => self.findings.expired += 1,
            HoldState::Held => {}
        }
    }

    /// Ends the recount by comparing it with what the generator was told.
    pub fn finish(mut self, ledger: &Ledger) -> Findings {
        for (step, told) in ledger.commands() {
            let command_missing = told.acknowledged && !self.commands.contains_key(step);
            let answer_missing = told.answer.is_some_and(|answer| !self.answers.contains(&(*step, answer)));
            self.findings.lost += u64::from(command_missing) + u64::from(answer_missing);
            self.findings.unanswered += u64::from(told.answer.is_none());
            if told.answer == Some(AnswerKind::Throttled) {
                // Asked again as often as the generator asks.
                *self.findings.refused.entry(AnswerKind::Throttled).or_default() += 1;
            }
        }
        self.findings.duplicated += ledger.repeated_grants();
        self.findings.stuck =
            self.holds.values().filter(|hold| hold.state == HoldState::Held).count() as u64;
        self.findings.oversold = self.lowest.iter().map(|lowest| lowest.unsigned_abs()).sum();
        debug_assert_eq!(self.left.len(), self.catalogue.articles().count());
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: u32 = 3;

    fn run() -> RunId {
        RunId::from_random(77)
    }

    fn step(shopper: u32, step: u16) -> StepId {
        StepId { shopper, step }
    }

    fn event(command: Option<StepId>, reservation: Option<StepId>, outcome: Outcome) -> Event {
        Event {
            outcome,
            command: command.map_or(uuid::Uuid::nil(), |step| run().command(step)),
            reservation: reservation.map(|step| run().reservation(step)),
            command_offset: None,
            at_ms: 1,
        }
    }

    fn reserved(catalogue: &Catalogue, shopper: u32, quantity: u32) -> Event {
        let sku = catalogue.sku(Article::DOORBUSTER).to_owned();
        let outcome = Outcome::Reserved {
            customer: "c".to_owned(),
            lines: vec![Line { sku, quantity }],
            ttl_ms: 1,
            expires_at_ms: 9,
        };
        event(Some(step(shopper, 0)), Some(step(shopper, 0)), outcome)
    }

    /// A sound history: three units, all taken; one expires and is sold again; a late one is refused.
    fn sound(catalogue: &Catalogue) -> (Vec<Event>, Ledger) {
        let sku = catalogue.sku(Article::DOORBUSTER).to_owned();
        let of = |shopper: u32, follow: u16| (Some(step(shopper, follow)), Some(step(shopper, 0)));
        let mut events = vec![
            event(Some(step(u32::MAX, 0)), None, Outcome::Received { sku: sku.clone(), quantity: UNITS }),
            reserved(catalogue, 1, 2),
            reserved(catalogue, 2, 1),
            event(of(2, 1).0, of(2, 1).1, Outcome::Exists { expires_at_ms: Some(9) }),
            event(of(3, 0).0, of(3, 0).1, Outcome::SoldOut { sku, available: 0 }),
            event(of(1, 256).0, of(1, 256).1, Outcome::Committed),
            event(None, Some(step(2, 0)), Outcome::ReservationExpired),
            reserved(catalogue, 4, 1),
        ];
        events.push(event(of(4, 256).0, of(4, 256).1, Outcome::Released));
        let mut ledger = Ledger::default();
        for event in &events {
            let answer = answer_of(run(), event).unwrap();
            let Some(command) = answer.command else { continue };
            ledger.sent(command);
            ledger.acknowledged(command);
            ledger.answered(command, answer.kind);
            if answer.kind == AnswerKind::Reserved {
                ledger.granted(answer.reservation.unwrap(), 9);
            }
        }
        (events, ledger)
    }

    fn judge(events: &[Event], ledger: &Ledger, skip_command: Option<StepId>, plant: Option<Plant>) -> Findings {
        let catalogue = Catalogue::new(run(), UNITS);
        let mut recount = Recount::new(run(), &catalogue);
        for command in ledger.commands().keys().filter(|command| Some(**command) != skip_command) {
            let id = run().command(*command);
            let reservation = run().reservation(step(command.shopper, 0));
            let reserve = Command::Reserve {
                id,
                reservation,
                customer: "c".to_owned(),
                lines: Vec::new(),
                ttl_ms: 1,
            };
            recount.command(&if command.step < 256 { reserve } else { Command::Commit { id, reservation } });
        }
        let mut planter = Planter { plant, planted: false };
        for event in events {
            planter.pass(event, |event| recount.event(event));
        }
        if let Some(event) = planter.last(run(), &catalogue) {
            recount.event(&event);
        }
        recount.finish(ledger)
    }

    fn sound_findings() -> Findings {
        Findings {
            reserved: 3,
            repeated: 1,
            // The stocking counts as an attempt here, for it is sent as a reserve command by `judge`.
            refused: BTreeMap::from([(AnswerKind::SoldOut, 1), (AnswerKind::Received, 1)]),
            committed: 1,
            released: 1,
            expired: 1,
            ..Findings::default()
        }
    }

    #[test]
    fn a_sound_history_has_no_fault() {
        let (events, ledger) = sound(&Catalogue::new(run(), UNITS));
        assert_eq!(judge(&events, &ledger, None, None), sound_findings());
    }

    #[test]
    fn every_planted_fault_is_found() {
        let (events, ledger) = sound(&Catalogue::new(run(), UNITS));
        let oversell = judge(&events, &ledger, None, Some(Plant::Oversell));
        assert_eq!((oversell.oversold, oversell.lost, oversell.duplicated), (3, 0, 0));
        let loss = judge(&events, &ledger, None, Some(Plant::Loss));
        assert_eq!((loss.oversold, loss.lost, loss.duplicated), (0, 1, 0));
        let duplicate = judge(&events, &ledger, None, Some(Plant::Duplicate));
        assert_eq!(duplicate.duplicated, 1);
    }

    #[test]
    fn a_unit_sold_again_before_it_came_back_is_oversold() {
        let (mut events, ledger) = sound(&Catalogue::new(run(), UNITS));
        // Shopper 4 gets the unit before the hold of shopper 2 expires.
        events.swap(6, 7);
        let findings = judge(&events, &ledger, None, None);
        assert_eq!(findings, Findings { oversold: 1, ..sound_findings() });
    }

    #[test]
    fn an_acknowledged_command_that_is_not_in_the_log_is_lost() {
        let (events, ledger) = sound(&Catalogue::new(run(), UNITS));
        let findings = judge(&events, &ledger, Some(step(1, 256)), None);
        assert_eq!(findings, Findings { lost: 1, ..sound_findings() });
    }

    #[test]
    fn a_command_without_an_answer_and_a_hold_without_an_end_are_faults() {
        let (mut events, mut ledger) = sound(&Catalogue::new(run(), UNITS));
        events.pop();
        ledger.sent(step(9, 0));
        let findings = judge(&events, &ledger, None, None);
        let expected = Findings { released: 0, stuck: 1, unanswered: 1, lost: 1, ..sound_findings() };
        assert_eq!(findings, expected);
    }

    #[test]
    fn a_hold_that_ends_twice_is_a_fault() {
        let (mut events, ledger) = sound(&Catalogue::new(run(), UNITS));
        events.push(event(Some(step(1, 256)), Some(step(1, 0)), Outcome::Committed));
        events.push(event(None, Some(step(1, 0)), Outcome::ReservationExpired));
        events.push(event(None, Some(step(8, 0)), Outcome::ReservationExpired));
        let findings = judge(&events, &ledger, None, None);
        assert_eq!(findings, Findings { duplicated: 1, contradictions: 2, ..sound_findings() });
    }
}
