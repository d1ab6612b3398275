//! The recount: what the records of one shard say about every unit, by code that shares nothing with the engine.
//!
//! An engine that checks itself repeats its own mistakes. This fold knows only the records: it adds up units as
//! they come in, are held, sold and given back, remembers which commands were answered, and reports whatever
//! cannot be. It never refuses an event, however wrong.

use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// Outcomes that took the stock of one reservation again, or answered one command again.
    pub duplicated: u64,
    /// Outcomes that answer no command of the log, or another one than they name, and ends of holds that are not
    /// live.
    pub unmatched: u64,
    /// Events whose time or command offset is before that of an event before them.
    pub out_of_order: u64,
    /// Holds that are live at the end though their time was over more than a second before.
    pub overdue: u64,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.oversold + self.lost + self.duplicated + self.unmatched + self.out_of_order + self.overdue == 0
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
    }
}

/// One live hold.
#[derive(Debug)]
struct Taken {
    lines: Vec<Line>,
    expires_at_ms: i64,
}

/// A recount in progress.
///
/// Feed it every command record and every event of one shard, each in the order of the log; which of the two
/// comes first does not matter.
#[derive(Debug, Default)]
pub struct Audit {
    report: AuditReport,
    /// Id of the command at each offset; none if the record is no command.
    asked: HashMap<u64, Option<Uuid>>,
    /// Id of the command that each answered offset's outcome names.
    answered: HashMap<u64, Uuid>,
    live: HashMap<Uuid, Vec<Taken>>,
    /// Reservations that ever took stock.
    took: HashSet<Uuid>,
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
        self.asked.insert(offset, command.map(Command::id));
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        self.report.events += 1;
        self.order(event);
        if let Some(offset) = event.command_offset
            && self.answered.insert(offset, event.command).is_some()
        {
            self.report.duplicated += 1;
        }
        match &event.outcome {
            Outcome::Received { sku, quantity } => {
                self.article(sku).received += u64::from(*quantity);
            }
            Outcome::Reserved {
                lines, expires_at_ms, ..
            } => self.take(event, lines, *expires_at_ms),
            Outcome::Extended { expires_at_ms } => match self.live_mut(event.reservation) {
                Some(taken) => taken.expires_at_ms = *expires_at_ms,
                None => self.report.unmatched += 1,
            },
            Outcome::Committed => self.end(event, |count, units| count.committed += units),
            Outcome::Released => self.end(event, |count, units| count.released += units),
            Outcome::ReservationExpired => self.end(event, |count, units| count.expired += units),
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
                (Some(asked), Some(answered)) if asked != answered => self.report.unmatched += 1,
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

    fn take(&mut self, event: &Event, lines: &[Line], expires_at_ms: i64) {
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
        let taken = Taken {
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
        for line in &taken.lines {
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
        }
    }

    fn reserved(quantity: u32) -> Outcome {
        let lines = vec![Line {
            sku: "tv".into(),
            quantity,
        }];
        Outcome::Reserved {
            customer: "c".into(),
            lines,
            ttl_ms: 10,
            expires_at_ms: 1_010,
        }
    }

    fn audit(events: &[Event], commands: u64) -> AuditReport {
        let mut audit = Audit::new();
        for offset in 0..commands {
            let command = Command::Commit {
                id: id(u128::from(offset)),
                reservation: id(0),
            };
            audit.command(offset, Some(&command));
        }
        for event in events {
            audit.event(event);
        }
        audit.report()
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
                ..event(6, Some(4), Outcome::ReservationExpired)
            },
            event(7, Some(5), reserved(2)),
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
            let command = Command::Commit {
                id: id(u128::from(offset)),
                reservation: id(0),
            };
            audit.command(offset, Some(&command));
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
}
