//! What a shop with one article does, one step after the other: the whole specification, without any code of the
//! engine.

use std::collections::BTreeMap;

use doorbuster::commerce::inventory::{Command, Outcome, StockView};
use todc_utils::Specification;
use uuid::Uuid;

/// Holds last longer than any test. 1 hour, in milliseconds.
const HOLD_MS: u32 = 60 * 60 * 1_000;

/// What somebody asks of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Units arrive.
    Receive { units: u32 },
    /// A shopper wants the units of this reservation; the same number is the same cart.
    Reserve { reservation: u8 },
    /// The units of the reservation are paid for.
    Commit { reservation: u8 },
    /// The units of the reservation are given back.
    Release { reservation: u8 },
    /// Somebody looks at the shelf.
    Look,
}

/// What the shop says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Received,
    Reserved,
    Exists,
    SoldOut {
        available: u64,
    },
    AlreadyFailed,
    UnknownSku,
    UnknownReservation,
    Committed,
    AlreadyCommitted,
    Released,
    AlreadyReleased,
    /// What is on the shelf, if the article is known.
    Seen(Option<Shelf>),
}

/// Units of the article.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    pub sellable: u64,
    pub held: u64,
    pub sold: u64,
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stand {
    Held,
    Committed,
    Released,
    Refused,
}

/// The shop at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shop {
    received: Option<u64>,
    reservations: BTreeMap<u8, Stand>,
}

/// Units that a reservation is about.
fn units(reservation: u8) -> u64 {
    1 + u64::from(reservation % 2)
}

impl Shop {
    /// Takes a step, and says what comes of it.
    pub fn take(&mut self, step: Step) -> Answer {
        match step {
            Step::Receive { units } => {
                *self.received.get_or_insert(0) += u64::from(units);
                Answer::Received
            }
            Step::Reserve { reservation } => self.reserve(reservation),
            Step::Commit { reservation } => self.end(reservation, Stand::Committed, Answer::Committed),
            Step::Release { reservation } => self.end(reservation, Stand::Released, Answer::Released),
            Step::Look => Answer::Seen(self.shelf()),
        }
    }

    fn reserve(&mut self, reservation: u8) -> Answer {
        if let Some(stand) = self.reservations.get(&reservation) {
            return match stand {
                Stand::Held => Answer::Exists,
                Stand::Committed => Answer::AlreadyCommitted,
                Stand::Released => Answer::AlreadyReleased,
                Stand::Refused => Answer::AlreadyFailed,
            };
        }
        let (stand, answer) = match self.shelf() {
            None => (Stand::Refused, Answer::UnknownSku),
            Some(Shelf { sellable, .. }) if sellable < units(reservation) => {
                (Stand::Refused, Answer::SoldOut { available: sellable })
            }
            Some(_) => (Stand::Held, Answer::Reserved),
        };
        self.reservations.insert(reservation, stand);
        answer
    }

    fn end(&mut self, reservation: u8, end: Stand, answer: Answer) -> Answer {
        match self.reservations.get_mut(&reservation) {
            None => Answer::UnknownReservation,
            Some(Stand::Committed) => Answer::AlreadyCommitted,
            Some(Stand::Released) => Answer::AlreadyReleased,
            Some(Stand::Refused) => Answer::AlreadyFailed,
            Some(stand @ Stand::Held) => {
                *stand = end;
                answer
            }
        }
    }

    fn shelf(&self) -> Option<Shelf> {
        let sum = |wanted: Stand| -> u64 {
            let found = self.reservations.iter().filter(|(_, stand)| **stand == wanted);
            found.map(|(reservation, _)| units(*reservation)).sum()
        };
        let (held, sold) = (sum(Stand::Held), sum(Stand::Committed));
        self.received.map(|received| Shelf {
            sellable: received - held - sold,
            held,
            sold,
        })
    }
}

/// A step and what the shop said; nothing if that was never heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub step: Step,
    pub answer: Option<Answer>,
}

/// The shop as the checker of linearizability wants it.
#[derive(Debug)]
pub struct ShopSpecification;

impl Specification for ShopSpecification {
    type State = Shop;
    type Operation = Operation;

    fn init() -> Shop {
        Shop::default()
    }

    fn apply(operation: &Operation, shop: &Shop) -> (bool, Shop) {
        let mut next = shop.clone();
        let answer = next.take(operation.step);
        if operation.answer.is_none_or(|heard| heard == answer) {
            (true, next)
        } else {
            (false, shop.clone())
        }
    }
}

/// A shop that the engine keeps: its article, and its reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub u32);

impl Counter {
    /// The article.
    pub fn sku(self) -> String {
        format!("sku-{}", self.0)
    }

    fn reservation(self, number: u8) -> Uuid {
        Uuid::from_u128(1 << 100 | u128::from(self.0) << 8 | u128::from(number))
    }

    /// The command for a step; none for a look.
    pub fn command(self, id: Uuid, step: Step) -> Option<Command> {
        let sku = self.sku();
        let json = match step {
            Step::Look => return None,
            Step::Receive { units } => {
                format!(r#"{{"type":"receive","id":"{id}","sku":"{sku}","quantity":{units}}}"#)
            }
            Step::Reserve { reservation } => format!(
                r#"{{"type":"reserve","id":"{id}","reservation":"{}","customer":"c{reservation}","lines":[{{"sku":"{sku}","quantity":{}}}],"ttl_ms":{HOLD_MS}}}"#,
                self.reservation(reservation),
                units(reservation),
            ),
            Step::Commit { reservation } => {
                let reservation = self.reservation(reservation);
                format!(r#"{{"type":"commit","id":"{id}","reservation":"{reservation}"}}"#)
            }
            Step::Release { reservation } => {
                let reservation = self.reservation(reservation);
                format!(r#"{{"type":"release","id":"{id}","reservation":"{reservation}"}}"#)
            }
        };
        Some(Command::from_json(json.as_bytes()).expect("a command"))
    }
}

/// What an outcome of the engine says.
///
/// # Panics
/// When the specification knows nothing like it.
pub fn answer_of(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Received { .. } => Answer::Received,
        Outcome::Reserved { .. } => Answer::Reserved,
        Outcome::Exists { .. } => Answer::Exists,
        Outcome::SoldOut { available, .. } => Answer::SoldOut {
            available: *available,
        },
        Outcome::AlreadyFailed { .. } => Answer::AlreadyFailed,
        Outcome::UnknownSku { .. } => Answer::UnknownSku,
        Outcome::UnknownReservation => Answer::UnknownReservation,
        Outcome::Committed => Answer::Committed,
        Outcome::AlreadyCommitted => Answer::AlreadyCommitted,
        Outcome::Released => Answer::Released,
        Outcome::AlreadyReleased => Answer::AlreadyReleased,
        other => panic!("nobody asked for {other:?}"),
    }
}

/// What a look at the engine's stock says.
pub fn seen(view: Option<&StockView>) -> Answer {
    Answer::Seen(view.map(|view| Shelf {
        sellable: view.sellable,
        held: view.reserved,
        sold: view.allocated,
    }))
}
