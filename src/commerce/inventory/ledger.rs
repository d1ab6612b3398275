//! The ledger of one article: every movement of its units and the balances after it, from events alone.
//!
//! It shares nothing with the engine that decided, so that what both say can be compared.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};

use serde::Serialize;
use uuid::Uuid;

use super::history::visit_until;
use super::limits::REMEMBERED_MAX_MS;
use super::{AsOf, Event, Line, Outcome, RecoverError};
use crate::commerce::store::EventStore;
use crate::log::Offset;

/// What happened to units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Movement {
    /// They came in.
    Received,
    /// They are on their way.
    Announced,
    /// Their number was corrected.
    Adjusted,
    /// They came from another location.
    TransferredIn,
    /// They went to another location.
    TransferredOut,
    /// They came back from a customer.
    Returned,
    /// They were held.
    Reserved,
    /// They were offered to somebody who waited, and held.
    Offered,
    /// Their hold was sold.
    Committed,
    /// Their hold was given back, or the part of it that was not sold.
    Released,
    /// Their hold ended by itself.
    Expired,
    /// They were sold though their hold had ended.
    CommittedLate,
    /// They left the building.
    Shipped,
    /// Their sale was cancelled.
    Cancelled,
    /// The rules of selling them changed; no unit moved.
    PolicySet,
}

/// The balances of an article at one location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerLine {
    /// Units in the building.
    pub on_hand: i64,
    /// Units in live holds.
    pub reserved: i64,
    /// Units that are sold and not shipped.
    pub allocated: i64,
    /// Units that are never sold.
    pub safety: i64,
    /// Units that may be sold beyond those on hand.
    pub backorder_cap: i64,
    /// Units that are on their way.
    pub incoming: i64,
    /// Units that can be held.
    pub sellable: i64,
}

/// One movement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// Offset of the event.
    pub offset: u64,
    /// When it was decided, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The command that it answers; nil if none does.
    pub command: Uuid,
    /// The reservation, if it is about one.
    pub reservation: Option<Uuid>,
    /// The location; empty for the default one.
    pub location: String,
    /// What happened.
    pub movement: Movement,
    /// How many units, below zero only where a correction took them.
    pub quantity: i64,
    /// The balances at the location after it.
    #[serde(flatten)]
    pub after: LedgerLine,
}

/// What the movements of an article at one location add up to, beside its balances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Units that ever came in.
    pub received: i64,
    /// Units that ever came back from customers.
    pub returned: i64,
    /// Units that corrections added, less those that they took.
    pub adjusted: i64,
    /// Units that came from other locations, less those that went there.
    pub transferred: i64,
    /// Units that ever left the building.
    pub shipped: i64,
    /// Units of all holds that are live, one by one.
    pub held: i64,
}

impl Reconciliation {
    /// Whether movements and balances agree, and nothing is oversold.
    pub fn is_balanced(&self, line: &LedgerLine) -> bool {
        self.received + self.returned + self.adjusted + self.transferred == line.on_hand + self.shipped
            && self.held == line.reserved
            && line.sellable >= 0
            && line.on_hand >= 0
            && line.allocated >= 0
    }
}

/// The ledger of one article in the making.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sku: String,
    places: BTreeMap<String, (LedgerLine, Reconciliation)>,
    /// Units of the article in each live hold, by location.
    holds: HashMap<Uuid, Vec<(String, i64)>>,
    /// Those in holds that ended by themselves, which may be sold all the same.
    expired: HashMap<Uuid, Vec<(String, i64)>>,
    /// When they ended, oldest first.
    expiries: VecDeque<(i64, Uuid)>,
}

impl Ledger {
    /// The ledger of an article before its first movement.
    pub fn new(sku: impl Into<String>) -> Self {
        Ledger {
            sku: sku.into(),
            ..Ledger::default()
        }
    }

    /// The balances at each location, and what the movements add up to.
    pub fn places(&self) -> impl Iterator<Item = (&str, &LedgerLine, Reconciliation)> {
        self.places.iter().map(|(location, (line, sums))| {
            let here = |(place, quantity): &(String, i64)| if place == location { *quantity } else { 0 };
            let held = self.holds.values().flatten().map(here).sum();
            (&**location, line, Reconciliation { held, ..*sums })
        })
    }

    /// Whether everything adds up at every location.
    pub fn is_balanced(&self) -> bool {
        self.places().all(|(_, line, sums)| sums.is_balanced(line))
    }

    /// Takes the next event; returns what it does to the article, mostly nothing.
    pub fn take(&mut self, offset: Offset, event: &Event) -> Vec<LedgerEntry> {
        let mut entries = Vec::new();
        let mut add = |(location, movement, quantity, after): (String, Movement, i64, LedgerLine)| {
            entries.push(LedgerEntry {
                offset: offset.0,
                at_ms: event.at_ms,
                command: event.command,
                reservation: event.reservation,
                location,
                movement,
                quantity,
                after,
            });
        };
        match &event.outcome {
            Outcome::Reserved { lines, .. } => self.hold(event, lines, Movement::Reserved, &mut add),
            Outcome::Offered { lines, .. } => self.hold(event, lines, Movement::Offered, &mut add),
            Outcome::Committed => self.commit(event, None, &mut add),
            Outcome::CommittedPart { lines } => self.commit(event, Some(lines), &mut add),
            Outcome::Released => self.end(event, Movement::Released, &mut add),
            Outcome::ReservationExpired => self.end(event, Movement::Expired, &mut add),
            Outcome::Transferred {
                sku,
                from,
                to,
                quantity,
            } if *sku == self.sku => {
                let quantity = i64::from(*quantity);
                add(
                    self.change(from, Movement::TransferredOut, quantity, |line, sums| {
                        line.on_hand -= quantity;
                        sums.transferred -= quantity;
                    }),
                );
                add(self.change(to, Movement::TransferredIn, quantity, |line, sums| {
                    line.on_hand += quantity;
                    sums.transferred += quantity;
                }));
            }
            outcome => {
                if let Some(changed) = self.change_stock(outcome) {
                    add(changed);
                }
            }
        }
        entries
    }

    /// A movement at one location without a hold.
    fn change_stock(&mut self, outcome: &Outcome) -> Option<(String, Movement, i64, LedgerLine)> {
        match outcome {
            Outcome::Received {
                sku,
                quantity,
                location,
            } if *sku == self.sku => {
                let quantity = i64::from(*quantity);
                Some(self.change(location, Movement::Received, quantity, |line, sums| {
                    line.on_hand += quantity;
                    line.incoming = (line.incoming - quantity).max(0);
                    sums.received += quantity;
                }))
            }
            Outcome::Announced {
                sku,
                quantity,
                location,
            } if *sku == self.sku => {
                let quantity = i64::from(*quantity);
                Some(self.change(location, Movement::Announced, quantity, |line, _| {
                    line.incoming += quantity;
                }))
            }
            Outcome::Returned {
                sku,
                quantity,
                location,
            } if *sku == self.sku => {
                let quantity = i64::from(*quantity);
                Some(self.change(location, Movement::Returned, quantity, |line, sums| {
                    line.on_hand += quantity;
                    sums.returned += quantity;
                }))
            }
            Outcome::Adjusted {
                sku, location, delta, ..
            } if *sku == self.sku => Some(self.change(location, Movement::Adjusted, *delta, |line, sums| {
                line.on_hand += delta;
                sums.adjusted += delta;
            })),
            Outcome::Shipped {
                sku,
                quantity,
                location,
                ..
            } if *sku == self.sku => {
                let quantity = i64::from(*quantity);
                Some(self.change(location, Movement::Shipped, quantity, |line, sums| {
                    line.on_hand -= quantity;
                    line.allocated -= quantity;
                    sums.shipped += quantity;
                }))
            }
            Outcome::AllocationCancelled {
                sku,
                quantity,
                location,
                ..
            } if *sku == self.sku => {
                let quantity = i64::from(*quantity);
                Some(self.change(location, Movement::Cancelled, quantity, |line, _| {
                    line.allocated -= quantity;
                }))
            }
            Outcome::PolicySet {
                sku,
                location,
                safety,
                backorder_cap,
                ..
            } if *sku == self.sku => Some(self.change(location, Movement::PolicySet, 0, |line, _| {
                line.safety = i64::from(*safety);
                line.backorder_cap = i64::from(*backorder_cap);
            })),
            _ => None,
        }
    }

    fn change(
        &mut self,
        location: &str,
        movement: Movement,
        quantity: i64,
        change: impl FnOnce(&mut LedgerLine, &mut Reconciliation),
    ) -> (String, Movement, i64, LedgerLine) {
        let (line, sums) = self.places.entry(location.to_owned()).or_default();
        change(line, sums);
        line.sellable = line.on_hand - line.reserved - line.allocated - line.safety + line.backorder_cap;
        (location.to_owned(), movement, quantity, *line)
    }

    fn hold(
        &mut self,
        event: &Event,
        lines: &[Line],
        movement: Movement,
        add: &mut impl FnMut((String, Movement, i64, LedgerLine)),
    ) {
        let mut held = Vec::new();
        for line in lines.iter().filter(|line| line.sku == self.sku) {
            held.push((line.location.clone(), i64::from(line.quantity)));
        }
        for (location, quantity) in &held {
            add(self.change(location, movement, *quantity, |line, _| line.reserved += quantity));
        }
        if let (Some(reservation), false) = (event.reservation, held.is_empty()) {
            self.holds.insert(reservation, held);
        }
    }

    fn end(
        &mut self,
        event: &Event,
        movement: Movement,
        add: &mut impl FnMut((String, Movement, i64, LedgerLine)),
    ) {
        let Some((reservation, held)) = event
            .reservation
            .and_then(|reservation| self.holds.remove_entry(&reservation))
        else {
            return;
        };
        for (location, quantity) in &held {
            add(self.change(location, movement, *quantity, |line, _| line.reserved -= quantity));
        }
        if movement == Movement::Expired {
            let oldest_ms = event.at_ms.saturating_sub(REMEMBERED_MAX_MS);
            while let Some((at_ms, forgotten)) = self.expiries.front().copied()
                && at_ms < oldest_ms
            {
                self.expiries.pop_front();
                self.expired.remove(&forgotten);
            }
            self.expiries.push_back((event.at_ms, reservation));
            self.expired.insert(reservation, held);
        }
    }

    fn commit(
        &mut self,
        event: &Event,
        part: Option<&[Line]>,
        add: &mut impl FnMut((String, Movement, i64, LedgerLine)),
    ) {
        let Some(reservation) = event.reservation else {
            return;
        };
        let sold_of = |sku: &str, location: &str, held: i64| match part {
            None => held,
            Some(lines) => {
                let same = lines
                    .iter()
                    .filter(|line| line.sku == sku && line.location == location);
                same.map(|line| i64::from(line.quantity)).sum()
            }
        };
        if let Some(held) = self.holds.remove(&reservation) {
            for (location, quantity) in held {
                let sold = sold_of(&self.sku, &location, quantity);
                if sold > 0 {
                    add(self.change(&location, Movement::Committed, sold, |line, _| {
                        line.reserved -= sold;
                        line.allocated += sold;
                    }));
                }
                let rest = quantity - sold;
                if rest > 0 {
                    add(self.change(&location, Movement::Released, rest, |line, _| {
                        line.reserved -= rest;
                    }));
                }
            }
        } else if let Some(held) = self.expired.remove(&reservation) {
            for (location, quantity) in held {
                let sold = sold_of(&self.sku, &location, quantity);
                if sold > 0 {
                    add(self.change(&location, Movement::CommittedLate, sold, |line, _| {
                        line.allocated += sold;
                    }));
                }
            }
        }
    }
}

/// Reads every movement of an article up to a moment, and returns the ledger then.
///
/// Reads all events before it, on the calling thread; keeps in memory only what is held of the article.
pub fn read_ledger<S: EventStore + ?Sized>(
    store: &S,
    sku: &str,
    as_of: AsOf,
    mut visit: impl FnMut(LedgerEntry),
) -> Result<Ledger, RecoverError> {
    let mut ledger = Ledger::new(sku);
    visit_until(store, as_of, |offset, event| {
        ledger.take(offset, &event).into_iter().for_each(&mut visit);
        Ok(())
    })?;
    Ok(ledger)
}

/// The form of an exported ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerFormat {
    /// One JSON object a line.
    JsonLines,
    /// A line of names, then one line an entry (RFC 4180).
    Csv,
}

const CSV_HEADER: &str = "offset,at_ms,command,reservation,location,movement,quantity,on_hand,reserved,allocated,safety,backorder_cap,incoming,sellable";

/// Writes entries to `out`.
pub fn write_ledger(
    entries: impl IntoIterator<Item = LedgerEntry>,
    format: LedgerFormat,
    out: &mut impl Write,
) -> io::Result<()> {
    if format == LedgerFormat::Csv {
        write!(out, "{CSV_HEADER}\r\n")?;
    }
    for entry in entries {
        match format {
            LedgerFormat::JsonLines => {
                serde_json::to_writer(&mut *out, &entry)?;
                out.write_all(b"\n")?;
            }
            LedgerFormat::Csv => write_csv(&entry, out)?,
        }
    }
    Ok(())
}

fn write_csv(entry: &LedgerEntry, out: &mut impl Write) -> io::Result<()> {
    let movement = serde_json::to_value(entry.movement)?;
    let reservation = entry.reservation.map(|id| id.to_string()).unwrap_or_default();
    // A name is quoted whatever it is: it may hold anything.
    let location = entry.location.replace('"', "\"\"");
    let LedgerLine {
        on_hand,
        reserved,
        allocated,
        safety,
        backorder_cap,
        incoming,
        sellable,
    } = entry.after;
    write!(
        out,
        "{},{},{},{reservation},\"{location}\",{},{},{on_hand},{reserved},{allocated},{safety},{backorder_cap},{incoming},{sellable}\r\n",
        entry.offset,
        entry.at_ms,
        entry.command,
        movement.as_str().unwrap_or_default(),
        entry.quantity,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(location: &str) -> LedgerEntry {
        LedgerEntry {
            offset: 7,
            at_ms: 1_000,
            command: Uuid::from_u128(1),
            reservation: None,
            location: location.to_owned(),
            movement: Movement::TransferredIn,
            quantity: 2,
            after: LedgerLine {
                on_hand: 5,
                reserved: 1,
                sellable: 4,
                ..LedgerLine::default()
            },
        }
    }

    fn written(format: LedgerFormat, location: &str) -> String {
        let mut out = Vec::new();
        write_ledger([entry(location)], format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn forms_of_an_export() {
        assert_eq!(
            written(LedgerFormat::JsonLines, "berlin"),
            "{\"offset\":7,\"at_ms\":1000,\"command\":\"00000000-0000-0000-0000-000000000001\",\"reservation\":null,\"location\":\"berlin\",\"movement\":\"transferred_in\",\"quantity\":2,\"on_hand\":5,\"reserved\":1,\"allocated\":0,\"safety\":0,\"backorder_cap\":0,\"incoming\":0,\"sellable\":4}\n"
        );
        assert_eq!(
            written(LedgerFormat::Csv, "a \"b\", c"),
            format!(
                "{CSV_HEADER}\r\n7,1000,00000000-0000-0000-0000-000000000001,,\"a \"\"b\"\", c\",transferred_in,2,5,1,0,0,0,0,4\r\n"
            )
        );
    }
}
