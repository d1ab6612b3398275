//! The recount: what the records of one shard say about every unit, by code that shares nothing with the engine.
//!
//! An engine that checks itself repeats its own mistakes. This fold knows only the records: it adds up units as
//! they come in, are held, sold and given back, remembers which commands were answered, and reports whatever
//! cannot be. It never refuses an event, however wrong.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use uuid::Uuid;

use super::{Command, Event, Line, Outcome};

/// How long after its time a hold may stay live, in milliseconds: a hundred ticks, for mass expiries in parts.
const OVERDUE_AFTER_MS: i64 = 1_000;

/// The units of one article, recounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArticleCount {
    /// Units that came in.
    pub received: u64,
    /// Units that were ever held.
    pub reserved: u64,
    /// Units of holds that were committed.
    pub committed: u64,
    /// Units of holds that were released.
    pub released: u64,
    /// Units of holds that ended by themselves.
    pub expired: u64,
    /// Units of holds that are live at the end.
    pub held: u64,
    /// The most units, at any place of the log, by which held and committed were more than received.
    pub oversold: u64,
}

/// What the records of a shard add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Every article.
    pub articles: BTreeMap<String, ArticleCount>,
    /// Command records seen.
    pub commands: u64,
    /// Events seen.
    pub events: u64,
    /// Sum of all articles' oversold units.
    pub oversold: u64,
    /// Commands without an outcome.
    pub lost: u64,
    /// Outcomes that took the stock of one reservation again, answered one command again, or let one command id
    /// take effect again.
    pub duplicated: u64,
    /// Outcomes that answer no command of the log, another one than they name, or grant something else than it
    /// asked for; ends of holds that are not live or not over; and refusals for want of stock that was there.
    pub unmatched: u64,
    /// Events whose time or command offset is before that of an event before them.
    pub out_of_order: u64,
    /// Holds that are live at the end though their time was over more than a second before.
    pub overdue: u64,
    /// Units that customers hold or bought beyond the limit that was in force when they got them.
    pub over_limit: u64,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        let faults = self.oversold + self.lost + self.duplicated + self.unmatched;
        faults + self.out_of_order + self.overdue + self.over_limit == 0
    }

    /// Adds the report of another shard.
    pub fn add(&mut self, other: &AuditReport) {
        for (sku, count) in &other.articles {
            let sum = self.articles.entry(sku.clone()).or_default();
            sum.received += count.received;
            sum.reserved += count.reserved;
            sum.committed += count.committed;
            sum.released += count.released;
            sum.expired += count.expired;
            sum.held += count.held;
            sum.oversold += count.oversold;
        }
        self.commands += other.commands;
        self.events += other.events;
        self.oversold += other.oversold;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.unmatched += other.unmatched;
        self.out_of_order += other.out_of_order;
        self.overdue += other.overdue;
        self.over_limit += other.over_limit;
    }
}

/// One live hold.
#[derive(Debug)]
struct Taken {
    customer: String,
    lines: Vec<Line>,
    expires_at_ms: i64,
}

/// What must be the same in a command and in its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deal {
    command: Uuid,
    reservation: Option<Uuid>,
    /// Digest of what is asked for or granted; none in a refusal.
    content: Option<u64>,
}

impl Deal {
    fn asked(command: &Command) -> Deal {
        let content = match command {
            Command::Receive { sku, quantity, .. } => digest(&("receive", sku, quantity)),
            Command::SetPolicy {
                sku,
                limit_per_customer,
                ..
            } => digest(&("set policy", sku, limit_per_customer.apply(None))),
            Command::Reserve {
                customer,
                lines,
                ttl_ms,
                ..
            } => digest(&("reserve", customer, units(lines), ttl_ms)),
            Command::Extend { .. } => digest(&"extend"),
            Command::Commit { .. } => digest(&"commit"),
            Command::Release { .. } => digest(&"release"),
            _ => 0,
        };
        Deal {
            command: command.id(),
            reservation: command.reservation(),
            content: Some(content),
        }
    }

    fn answered(event: &Event) -> Deal {
        let content = match &event.outcome {
            Outcome::Received { sku, quantity, .. } => Some(digest(&("receive", sku, quantity))),
            Outcome::PolicySet {
                sku,
                limit_per_customer,
                ..
            } => Some(digest(&("set policy", sku, limit_per_customer))),
            Outcome::Reserved {
                customer,
                lines,
                ttl_ms,
                ..
            } => Some(digest(&("reserve", customer, units(lines), ttl_ms))),
            Outcome::Extended { .. } => Some(digest(&"extend")),
            Outcome::Committed => Some(digest(&"commit")),
            Outcome::Released => Some(digest(&"release")),
            Outcome::ReservationExpired => Some(digest(&"nobody asks for this")),
            _ => None,
        };
        Deal {
            command: event.command,
            reservation: event.reservation,
            content,
        }
    }

    fn is_answered_by(&self, answer: &Deal) -> bool {
        let fits = answer.content.is_none() || answer.content == self.content;
        fits && answer.command == self.command && answer.reservation == self.reservation
    }
}

/// Units of each article, however they are spread over lines.
fn units(lines: &[Line]) -> BTreeMap<&str, u64> {
    let mut units = BTreeMap::new();
    for line in lines {
        *units.entry(line.sku.as_str()).or_default() += u64::from(line.quantity);
    }
    units
}

fn digest(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// A recount in progress.
///
/// Feed it every command record and every event of one shard, each in the order of the log; which of the two
/// comes first does not matter.
#[derive(Debug, Default)]
pub struct Audit {
    report: AuditReport,
    /// The command at each offset; none if the record is no command.
    asked: HashMap<u64, Option<Deal>>,
    /// The outcome of the command at each offset.
    answered: HashMap<u64, Deal>,
    live: HashMap<Uuid, Vec<Taken>>,
    /// Reservations that ever took stock.
    took: HashSet<Uuid>,
    /// Ids of commands that took effect by themselves, not through a reservation.
    effective: HashSet<Uuid>,
    /// Limit per customer of each article that has one.
    limits: HashMap<String, u32>,
    /// Units that each customer holds or bought of each article.
    bought: HashMap<(String, String), u64>,
    newest_ms: i64,
    newest_command_offset: Option<u64>,
}

impl Audit {
    /// A recount of nothing yet.
    pub fn new() -> Self {
        Audit::default()
    }

    /// Takes the record at `offset` of the commands partition; `None` if it is no command.
    pub fn command(&mut self, offset: u64, command: Option<&Command>) {
        self.report.commands += 1;
        self.asked.insert(offset, command.map(Deal::asked));
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        self.report.events += 1;
        self.order(event);
        if let Some(offset) = event.command_offset
            && self.answered.insert(offset, Deal::answered(event)).is_some()
        {
            self.report.duplicated += 1;
        }
        match &event.outcome {
            Outcome::Received { sku, quantity, .. } => {
                self.take_effect(event);
                self.article(sku).received += u64::from(*quantity);
            }
            Outcome::PolicySet {
                sku,
                limit_per_customer,
                ..
            } => {
                self.take_effect(event);
                match limit_per_customer {
                    Some(limit) => self.limits.insert(sku.clone(), *limit),
                    None => self.limits.remove(sku),
                };
            }
            Outcome::Reserved {
                customer,
                lines,
                expires_at_ms,
                ..
            } => self.take(event, customer, lines, *expires_at_ms),
            Outcome::Extended { expires_at_ms } => {
                self.take_effect(event);
                match self.live_mut(event.reservation) {
                    Some(taken) if event.at_ms < taken.expires_at_ms => taken.expires_at_ms = *expires_at_ms,
                    _ => self.report.unmatched += 1,
                }
            }
            Outcome::Committed => self.end(event, |count, units| count.committed += units),
            Outcome::Released => self.end(event, |count, units| count.released += units),
            Outcome::ReservationExpired => self.end(event, |count, units| count.expired += units),
            Outcome::SoldOut { sku, available } => {
                let count = self.article(sku);
                let left = count.received.saturating_sub(count.held + count.committed);
                self.report.unmatched += u64::from(left != *available);
            }
            Outcome::UnknownSku { sku } => {
                let is_known = self
                    .report
                    .articles
                    .get(sku)
                    .is_some_and(|count| count.received > 0);
                self.report.unmatched += u64::from(is_known);
            }
            _ => {}
        }
    }

    /// The recount of everything that was fed.
    #[must_use]
    pub fn report(mut self) -> AuditReport {
        let deadline_ms = self.newest_ms.saturating_sub(OVERDUE_AFTER_MS);
        let live = self.live.values().flatten();
        self.report.overdue = live.filter(|taken| taken.expires_at_ms < deadline_ms).count() as u64;
        for (offset, asked) in &self.asked {
            match (asked, self.answered.get(offset)) {
                (Some(_), None) => self.report.lost += 1,
                (Some(asked), Some(answered)) if !asked.is_answered_by(answered) => {
                    self.report.unmatched += 1;
                }
                _ => {}
            }
        }
        let unasked = self
            .answered
            .keys()
            .filter(|offset| !self.asked.contains_key(offset));
        self.report.unmatched += unasked.count() as u64;
        self.report.oversold = self.report.articles.values().map(|count| count.oversold).sum();
        self.report
    }

    fn order(&mut self, event: &Event) {
        let offset_falls =
            event.command_offset.is_some() && event.command_offset < self.newest_command_offset;
        if event.at_ms < self.newest_ms || offset_falls {
            self.report.out_of_order += 1;
        }
        self.newest_ms = self.newest_ms.max(event.at_ms);
        self.newest_command_offset = self.newest_command_offset.max(event.command_offset);
    }

    fn take_effect(&mut self, event: &Event) {
        if !self.effective.insert(event.command) {
            self.report.duplicated += 1;
        }
    }

    fn take(&mut self, event: &Event, customer: &str, lines: &[Line], expires_at_ms: i64) {
        let Some(reservation) = event.reservation else {
            self.report.unmatched += 1;
            return;
        };
        if !self.took.insert(reservation) {
            self.report.duplicated += 1;
        }
        for line in lines {
            let count = self.article(&line.sku);
            count.reserved += u64::from(line.quantity);
            count.held += u64::from(line.quantity);
            let over = (count.held + count.committed).saturating_sub(count.received);
            count.oversold = count.oversold.max(over);
        }
        for (sku, quantity) in units(lines) {
            let bought = self
                .bought
                .entry((customer.to_owned(), sku.to_owned()))
                .or_default();
            *bought += quantity;
            if let Some(limit) = self.limits.get(sku) {
                // What was there before a limit was set is no fault of this reservation.
                self.report.over_limit += bought.saturating_sub(u64::from(*limit)).min(quantity);
            }
        }
        let taken = Taken {
            customer: customer.to_owned(),
            lines: lines.to_vec(),
            expires_at_ms,
        };
        self.live.entry(reservation).or_default().push(taken);
    }

    fn end(&mut self, event: &Event, add: impl Fn(&mut ArticleCount, u64)) {
        let taken = event.reservation.and_then(|reservation| {
            let taken = self.live.get_mut(&reservation)?;
            let last = taken.pop();
            if taken.is_empty() {
                self.live.remove(&reservation);
            }
            last
        });
        let Some(taken) = taken else {
            self.report.unmatched += 1;
            return;
        };
        let is_over = taken.expires_at_ms <= event.at_ms;
        if is_over != (event.outcome == Outcome::ReservationExpired) {
            self.report.unmatched += 1;
        }
        for line in &taken.lines {
            if event.outcome != Outcome::Committed
                && let Some(bought) = self.bought.get_mut(&(taken.customer.clone(), line.sku.clone()))
            {
                *bought = bought.saturating_sub(u64::from(line.quantity));
            }
            let count = self.article(&line.sku);
            count.held = count.held.saturating_sub(u64::from(line.quantity));
            add(count, u64::from(line.quantity));
        }
    }

    fn live_mut(&mut self, reservation: Option<Uuid>) -> Option<&mut Taken> {
        self.live.get_mut(&reservation?)?.last_mut()
    }

    fn article(&mut self, sku: &str) -> &mut ArticleCount {
        if !self.report.articles.contains_key(sku) {
            self.report
                .articles
                .insert(sku.to_owned(), ArticleCount::default());
        }
        self.report.articles.entry(sku.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::inventory::CartPolicy;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    /// An event for the command with number `offset` at that offset.
    fn event(offset: u64, reservation: Option<u128>, outcome: Outcome) -> Event {
        Event {
            outcome,
            command: id(u128::from(offset)),
            reservation: reservation.map(id),
            command_offset: Some(offset),
            at_ms: 1_000,
        }
    }

    fn received(quantity: u32) -> Outcome {
        Outcome::Received {
            sku: "tv".into(),
            quantity,
            location: String::new(),
        }
    }

    fn reserved(quantity: u32) -> Outcome {
        let lines = vec![Line::new("tv", quantity)];
        Outcome::Reserved {
            customer: "c".into(),
            lines,
            ttl_ms: 10,
            expires_at_ms: 1_010,
            cart: None,
        }
    }

    fn audit(events: &[Event], commands: u64) -> AuditReport {
        let mut audit = Audit::new();
        for offset in 0..commands {
            let answer = events.iter().find(|event| event.command_offset == Some(offset));
            audit.command(offset, Some(&command(offset, answer)));
        }
        for event in events {
            audit.event(event);
        }
        audit.report()
    }

    /// The command with number `offset` that asks for what `answer` grants.
    fn command(offset: u64, answer: Option<&Event>) -> Command {
        let id = id(u128::from(offset));
        let reservation = answer.and_then(|event| event.reservation).unwrap_or(id);
        match answer.map(|event| event.outcome.clone()) {
            Some(Outcome::Received { sku, quantity, .. }) => Command::Receive {
                id,
                sku,
                quantity,
                location: String::new(),
            },
            Some(Outcome::PolicySet {
                sku,
                limit_per_customer,
                ..
            }) => Command::limit(id, sku, limit_per_customer),
            Some(Outcome::Reserved {
                customer,
                lines,
                ttl_ms,
                ..
            }) => Command::Reserve {
                id,
                reservation,
                customer,
                lines,
                ttl_ms,
                policy: CartPolicy::All,
                split: None,
            },
            Some(Outcome::Released) => Command::Release { id, reservation },
            Some(Outcome::Extended { .. }) => Command::Extend {
                id,
                reservation,
                ttl_ms: 10,
            },
            _ => Command::Commit {
                id,
                reservation,
                lines: Vec::new(),
            },
        }
    }

    #[test]
    fn a_good_log_is_clean_and_every_unit_is_counted() {
        let events = [
            event(0, None, received(5)),
            event(1, Some(1), reserved(2)),
            event(2, Some(2), reserved(3)),
            event(
                3,
                Some(3),
                Outcome::SoldOut {
                    sku: "tv".into(),
                    available: 0,
                },
            ),
            event(4, Some(1), Outcome::Committed),
            event(5, Some(2), Outcome::Released),
            event(6, Some(4), reserved(1)),
            Event {
                command_offset: None,
                command: id(0),
                at_ms: 1_010,
                ..event(6, Some(4), Outcome::ReservationExpired)
            },
            Event {
                at_ms: 1_010,
                ..event(7, Some(5), reserved(2))
            },
        ];
        let report = audit(&events, 8);
        assert!(report.is_clean(), "{report:?}");
        let count = ArticleCount {
            received: 5,
            reserved: 8,
            committed: 2,
            released: 3,
            expired: 1,
            held: 2,
            oversold: 0,
        };
        assert_eq!(report.articles, BTreeMap::from([("tv".to_owned(), count)]));
        assert_eq!((report.commands, report.events), (8, 9));
    }

    #[test]
    fn finds_a_planted_oversell_even_if_it_heals() {
        let events = [
            event(0, None, received(5)),
            event(1, Some(1), reserved(3)),
            event(2, Some(2), reserved(4)),
            event(3, Some(2), Outcome::Released),
        ];
        let report = audit(&events, 4);
        assert_eq!((report.oversold, report.is_clean()), (2, false));
        assert_eq!((report.lost, report.duplicated, report.unmatched), (0, 0, 0));
    }

    #[test]
    fn finds_a_planted_loss() {
        let report = audit(&[event(0, None, received(5)), event(2, Some(1), reserved(1))], 3);
        assert_eq!((report.lost, report.is_clean()), (1, false));
        assert_eq!((report.oversold, report.duplicated, report.unmatched), (0, 0, 0));
    }

    #[test]
    fn finds_a_planted_duplicate() {
        let twice_answered = [
            event(0, None, received(5)),
            event(1, Some(1), reserved(1)),
            event(1, Some(1), Outcome::Exists { expires_at_ms: None }),
        ];
        assert_eq!(audit(&twice_answered, 2).duplicated, 1);
        let twice_taken = [
            event(0, None, received(5)),
            event(1, Some(1), reserved(1)),
            event(2, Some(1), reserved(1)),
        ];
        let report = audit(&twice_taken, 3);
        assert_eq!((report.duplicated, report.is_clean()), (1, false));
        assert_eq!(report.articles["tv"].held, 2);
    }

    #[test]
    fn finds_a_double_release_a_stray_answer_and_an_answer_to_somebody_else() {
        let events = [
            event(0, None, received(5)),
            event(1, Some(1), reserved(1)),
            event(2, Some(1), Outcome::Released),
            event(3, Some(1), Outcome::Released),
            event(9, Some(9), Outcome::UnknownReservation),
            Event {
                command: id(77),
                ..event(10, Some(9), Outcome::UnknownReservation)
            },
        ];
        let mut audit = Audit::new();
        for offset in [0, 1, 2, 3, 10] {
            let answer = events.iter().find(|event| event.command_offset == Some(offset));
            audit.command(offset, Some(&command(offset, answer)));
        }
        for event in &events {
            audit.event(event);
        }
        let report = audit.report();
        assert_eq!((report.unmatched, report.lost), (3, 0));
    }

    #[test]
    fn finds_time_that_falls_and_holds_that_never_end() {
        let late = |offset, at_ms, outcome| Event {
            at_ms,
            ..event(offset, None, outcome)
        };
        let events = [
            late(0, 1_000, received(5)),
            event(1, Some(1), reserved(1)),
            late(3, 2_011, received(1)),
            late(2, 2_011, received(1)),
            late(4, 2_010, received(1)),
        ];
        let report = audit(&events, 5);
        assert_eq!((report.out_of_order, report.overdue), (2, 1));
    }

    #[test]
    fn records_that_are_no_commands_need_no_outcome() {
        let mut audit = Audit::new();
        audit.command(0, None);
        assert!(audit.report().is_clean());
    }

    /// What the audit says about `answers` to `asked`, which follow on 5 units.
    fn found(asked: &[Command], answers: Vec<(u64, Option<u128>, i64, Outcome)>) -> AuditReport {
        let mut audit = Audit::new();
        audit.command(0, Some(&command(0, Some(&event(0, None, received(5))))));
        audit.event(&event(0, None, received(5)));
        for (offset, command) in (1..).zip(asked) {
            audit.command(offset, Some(command));
        }
        for (offset, reservation, at_ms, outcome) in answers {
            audit.event(&Event {
                at_ms,
                ..event(offset, reservation, outcome)
            });
        }
        audit.report()
    }

    fn asks(offset: u64, reservation: u128, outcome: Outcome) -> Command {
        command(offset, Some(&event(offset, Some(reservation), outcome)))
    }

    #[test]
    fn finds_a_grant_of_something_else_than_was_asked_for() {
        let unmatched = |asked: Command, answer: Outcome| {
            let reservation = asked.reservation().map(|id| id.as_u128());
            found(&[asked], vec![(1, reservation, 1_000, answer)]).unmatched
        };
        assert_eq!(unmatched(asks(1, 1, reserved(2)), reserved(2)), 0);
        assert_eq!(unmatched(asks(1, 1, reserved(2)), reserved(1)), 1);
        assert_eq!(
            unmatched(asks(1, 1, reserved(2)), Outcome::Throttled { retry_after_ms: 1 }),
            0
        );
        let line = || Line::new("tv", 1);
        let split = Command::reserve(id(1), "c", vec![line(), line()], 10);
        assert_eq!(unmatched(split.clone(), reserved(2)), 0, "two lines count as one");
        assert_eq!(unmatched(split, reserved(1)), 1);
        let more = command(1, Some(&event(1, None, received(7))));
        assert_eq!(unmatched(more.clone(), received(7)), 0);
        assert_eq!(unmatched(more, received(8)), 1, "units out of thin air");
        let held = |outcome| {
            let asked = [asks(1, 1, reserved(1)), asks(2, 1, Outcome::Released)];
            found(
                &asked,
                vec![(1, Some(1), 1_000, reserved(1)), (2, Some(1), 1_000, outcome)],
            )
            .unmatched
        };
        assert_eq!((held(Outcome::Released), held(Outcome::Committed)), (0, 1));
        let asked = [asks(1, 1, Outcome::Committed)];
        assert_eq!(
            found(&asked, vec![(1, Some(2), 1_000, Outcome::UnknownReservation)]).unmatched,
            1
        );
    }

    #[test]
    fn finds_a_hold_that_is_sold_after_its_time_or_ends_before_it() {
        let unmatched = |at_ms, outcome: Outcome| {
            let asked = [asks(1, 1, reserved(1)), asks(2, 1, outcome.clone())];
            let answers = vec![(1, Some(1), 1_000, reserved(1)), (2, Some(1), at_ms, outcome)];
            found(&asked, answers).unmatched
        };
        let extended = || Outcome::Extended { expires_at_ms: 2_000 };
        for outcome in [Outcome::Committed, Outcome::Released, extended()] {
            assert_eq!(unmatched(1_009, outcome.clone()), 0, "{outcome:?}");
            assert_eq!(unmatched(1_010, outcome.clone()), 1, "{outcome:?}");
        }
        let expired = |at_ms| {
            let mut audit = Audit::new();
            audit.event(&event(0, None, received(5)));
            audit.event(&event(1, Some(1), reserved(1)));
            audit.event(&Event {
                at_ms,
                command_offset: None,
                ..event(2, Some(1), Outcome::ReservationExpired)
            });
            // Both answers are to commands that were not fed.
            audit.report().unmatched - 2
        };
        assert_eq!((expired(1_009), expired(1_010)), (1, 0));
    }

    #[test]
    fn finds_a_command_that_takes_effect_twice() {
        let twice = |outcome: Outcome, reservation| {
            let again = Event {
                command: id(2),
                ..event(3, reservation, outcome.clone())
            };
            let events = [
                event(0, None, received(5)),
                event(1, Some(1), reserved(1)),
                event(2, reservation, outcome),
                again,
            ];
            audit(&events, 0).duplicated
        };
        assert_eq!(twice(received(1), None), 1);
        assert_eq!(twice(Outcome::Extended { expires_at_ms: 2_000 }, Some(1)), 1);
        assert_eq!(twice(Outcome::Exists { expires_at_ms: None }, None), 0);
    }

    #[test]
    fn finds_units_beyond_the_limit_of_a_customer() {
        let limit = |limit| Outcome::PolicySet {
            sku: "tv".into(),
            limit_per_customer: Some(limit),
            low_stock: None,
            location: String::new(),
            safety: 0,
            backorder_cap: 0,
        };
        let over = |events: &[Event]| {
            let report = audit(events, events.len() as u64);
            assert_eq!(report.is_clean(), report.over_limit == 0, "{report:?}");
            report.over_limit
        };
        let start = [event(0, None, received(9)), event(1, None, limit(2))];
        let then = |more: &[Event]| over(&[&start[..], more].concat());
        assert_eq!(then(&[event(2, Some(1), reserved(2))]), 0);
        assert_eq!(then(&[event(2, Some(1), reserved(3))]), 1);
        let first = event(2, Some(1), reserved(2));
        let ended = |outcome| event(3, Some(1), outcome);
        let second = event(4, Some(2), reserved(2));
        let after = |outcome| then(&[first.clone(), ended(outcome), second.clone()]);
        assert_eq!((after(Outcome::Committed), after(Outcome::Released)), (2, 0));
        let lowered = [
            event(0, None, received(9)),
            event(1, Some(1), reserved(5)),
            event(2, None, limit(2)),
        ];
        assert_eq!(over(&lowered), 0);
        assert_eq!(
            over(&[&lowered[..], &[event(3, Some(2), reserved(1))]].concat()),
            1
        );
    }

    #[test]
    fn finds_a_refusal_though_there_was_stock() {
        let sold_out = |available| Outcome::SoldOut {
            sku: "tv".into(),
            available,
        };
        let unmatched = |outcome: Outcome| {
            let asked = [asks(1, 1, reserved(3)), asks(2, 2, reserved(3))];
            found(
                &asked,
                vec![(1, Some(1), 1_000, reserved(3)), (2, Some(2), 1_000, outcome)],
            )
            .unmatched
        };
        assert_eq!((unmatched(sold_out(2)), unmatched(sold_out(0))), (0, 1));
        let unknown = |sku: &str| Outcome::UnknownSku { sku: sku.into() };
        assert_eq!((unmatched(unknown("ps5")), unmatched(unknown("tv"))), (0, 1));
    }
}
