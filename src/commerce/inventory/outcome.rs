//! What the engine decided: one typed outcome for each command, and its JSON form on `inventory.events`.
//!
//! ```json
//! {"type":"reserved","customer":"c-7","lines":[{"sku":"tv-55","quantity":1}],"ttl_ms":600000,
//!  "expires_at_ms":1764000600000,"command":"0190…","reservation":"0190…","command_offset":41,
//!  "at_ms":1764000000000}
//! ```

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Cart, FailureReason, Field, InvalidReason, KitPart, Line, LineFailure, Point};

/// One decision, as the log keeps it: the state of the engine is exactly the fold of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What was decided.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The command that this answers; nil for a malformed command and for what no command asks for: an expiry, an
    /// offer to somebody who waits, a stock signal.
    pub command: Uuid,
    /// The reservation that the command was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Uuid>,
    /// Offset of the command's record in the commands partition of the same number, if it came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_offset: Option<u64>,
    /// When it was decided, in milliseconds since the Unix epoch; never falls along the log.
    pub at_ms: i64,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// Units arrived.
    Received {
        /// The article.
        sku: String,
        /// How many units.
        quantity: u32,
        /// Where.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
    },
    /// Units are on their way.
    Announced {
        /// The article.
        sku: String,
        /// How many units.
        quantity: u32,
        /// Where they will arrive.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
    },
    /// The units on hand were corrected.
    Adjusted {
        /// The article.
        sku: String,
        /// Where.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Units that were added, or taken away where negative.
        delta: i64,
        /// Units on hand after it.
        on_hand: u64,
        /// Version of the stock after it.
        version: u64,
        /// Why, as the command said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The units on hand are not those that the adjustment expected.
    Conflict {
        /// The article.
        sku: String,
        /// Where.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Units on hand.
        on_hand: u64,
        /// Version of the stock, which grows with every change of the units on hand.
        version: u64,
    },
    /// Units were moved to another location.
    Transferred {
        /// The article.
        sku: String,
        /// Where they were.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        from: String,
        /// Where they are.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        to: String,
        /// How many units.
        quantity: u32,
    },
    /// Units came back from a customer.
    Returned {
        /// The article.
        sku: String,
        /// How many units.
        quantity: u32,
        /// Where.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
    },
    /// A movement or a rule needs more units than are free for it: they are held, sold, or not there.
    Insufficient {
        /// The article.
        sku: String,
        /// Where.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// How many units the command could have had.
        available: u64,
    },
    /// The selling rules of an article were set; these are all of them, for the location named.
    PolicySet {
        /// The article.
        sku: String,
        /// Most units for one customer.
        #[serde(default)]
        limit_per_customer: Option<u32>,
        /// Sellable units at which the article runs low; none if no stock signals are asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        low_stock: Option<u32>,
        /// The location.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Units at the location that are never sold.
        #[serde(default, skip_serializing_if = "is_zero")]
        safety: u32,
        /// Units that may be sold at the location beyond those on hand.
        #[serde(default, skip_serializing_if = "is_zero")]
        backorder_cap: u32,
    },
    /// The article can be reserved within a window.
    SaleOpened {
        /// The article.
        sku: String,
        /// When the sale begins, in milliseconds since the Unix epoch.
        opens_at_ms: i64,
        /// When it ends, in milliseconds since the Unix epoch; never if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closes_at_ms: Option<i64>,
    },
    /// The sale of an article ended.
    SaleClosed {
        /// The article.
        sku: String,
    },
    /// It was said where a location is.
    LocationSet {
        /// The location.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Where it is.
        #[serde(flatten)]
        point: Point,
    },
    /// An article is a kit.
    KitDefined {
        /// The kit.
        sku: String,
        /// What one kit consists of.
        parts: Vec<KitPart>,
    },
    /// The cart is held, as far as its policy lets it be held in part.
    Reserved {
        /// Who holds it.
        customer: String,
        /// What is held, one line for each article and location; the parts of kits instead of the kits.
        lines: Vec<Line>,
        /// The time that was asked for, in milliseconds.
        ttl_ms: u32,
        /// When the hold ends by itself, in milliseconds since the Unix epoch, a multiple of the tick.
        expires_at_ms: i64,
        /// What was asked for, unless that is a whole cart of exactly these lines.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cart: Option<Box<Cart>>,
    },
    /// The same request was granted before and is still in force; nothing was done twice.
    Exists {
        /// When the hold ends by itself, if this is about a live hold.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<i64>,
    },
    /// The reservation id holds something else.
    ExistsDifferent {
        /// The first field that differs.
        field: Field,
    },
    /// The reservation id was refused before, and stays refused.
    AlreadyFailed {
        /// Why it was refused.
        reason: FailureReason,
    },
    /// Not enough units.
    SoldOut {
        /// The first article of the cart with too few units.
        sku: String,
        /// How many can be sold.
        available: u64,
    },
    /// The customer may not have that many.
    CustomerLimit {
        /// The first article of the cart that is over the limit.
        sku: String,
        /// How many more the customer may have.
        remaining: u32,
    },
    /// The sale of an article has not begun.
    NotOpen {
        /// The first such article of the cart.
        sku: String,
        /// When it begins, in milliseconds since the Unix epoch.
        opens_at_ms: i64,
    },
    /// The sale of an article is over.
    Closed {
        /// The first such article of the cart.
        sku: String,
        /// When it ended, in milliseconds since the Unix epoch.
        closed_at_ms: i64,
    },
    /// Not one line of a cart that may be held in part can be held.
    LineFailed {
        /// Every line, and why.
        failed: Vec<LineFailure>,
    },
    /// The hold lasts longer.
    Extended {
        /// When the hold ends by itself.
        expires_at_ms: i64,
    },
    /// The held units are sold.
    Committed,
    /// A part of the held units is sold; the others can be sold again.
    CommittedPart {
        /// The part.
        lines: Vec<Line>,
    },
    /// The hold ended; its units can be sold again.
    Released,
    /// Sold units left the building.
    Shipped {
        /// The article.
        sku: String,
        /// How many units.
        quantity: u32,
        /// Where.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// The reservation that they were sold by, if the command named it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_reservation: Option<Uuid>,
    },
    /// Sold units can be sold again.
    AllocationCancelled {
        /// The article.
        sku: String,
        /// How many units.
        quantity: u32,
        /// Where.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Who had bought them, if the command named the customer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer: Option<String>,
        /// The reservation that they were sold by, if the command named it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_reservation: Option<Uuid>,
    },
    /// The customer waits for units.
    Waiting {
        /// Who waits.
        customer: String,
        /// The article.
        sku: String,
        /// How many units.
        quantity: u32,
        /// How long an offer will be held, in milliseconds.
        offer_ttl_ms: u32,
        /// The place in the queue, from 1.
        position: u64,
    },
    /// The customer waits no longer.
    LeftWaitlist,
    /// The reservation waits for units: there is nothing yet to extend or to commit.
    StillWaiting {
        /// The place in the queue, from 1.
        position: u64,
    },
    /// The reservation does not wait: it was offered its units, and holds them.
    NotWaiting,
    /// The hold was committed before.
    AlreadyCommitted,
    /// The hold was released before.
    AlreadyReleased,
    /// Too late: the hold ended by itself.
    Expired,
    /// No such article.
    UnknownSku {
        /// The article.
        sku: String,
    },
    /// No such reservation, or one so old that it is forgotten.
    UnknownReservation,
    /// The command makes no sense.
    Invalid {
        /// Why.
        reason: InvalidReason,
    },
    /// A limit of the engine is reached; nothing was decided, and the same command may be sent again.
    Throttled {
        /// When to try again, in milliseconds from now.
        retry_after_ms: u32,
    },
    /// A hold ended by itself at a tick; its units can be sold again. Answers no command.
    ReservationExpired,
    /// Units came free and are held for the customer who waited longest. Answers no command.
    Offered {
        /// Who holds them.
        customer: String,
        /// What is held, one line for each location.
        lines: Vec<Line>,
        /// How long the offer is held, in milliseconds.
        ttl_ms: u32,
        /// When the hold ends by itself, in milliseconds since the Unix epoch, a multiple of the tick.
        expires_at_ms: i64,
    },
    /// The sellable units of an article fell to its threshold. Answers no command.
    LowStock {
        /// The article.
        sku: String,
        /// Sellable units, at all locations together.
        sellable: u64,
    },
    /// An article has no sellable units left. Answers no command.
    OutOfStock {
        /// The article.
        sku: String,
    },
    /// An article has sellable units again, more than its threshold or not. Answers no command.
    BackInStock {
        /// The article.
        sku: String,
        /// Sellable units, at all locations together.
        sellable: u64,
    },
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Outcome {
    /// Whether the command did what it asked for, now or before.
    pub fn is_granted(&self) -> bool {
        matches!(
            self,
            Outcome::Received { .. }
                | Outcome::Announced { .. }
                | Outcome::Adjusted { .. }
                | Outcome::Transferred { .. }
                | Outcome::Returned { .. }
                | Outcome::PolicySet { .. }
                | Outcome::SaleOpened { .. }
                | Outcome::SaleClosed { .. }
                | Outcome::LocationSet { .. }
                | Outcome::KitDefined { .. }
                | Outcome::Reserved { .. }
                | Outcome::Exists { .. }
                | Outcome::Extended { .. }
                | Outcome::Committed
                | Outcome::CommittedPart { .. }
                | Outcome::Released
                | Outcome::Shipped { .. }
                | Outcome::AllocationCancelled { .. }
                | Outcome::Waiting { .. }
                | Outcome::LeftWaitlist
        )
    }
}

impl Event {
    /// Whether the event says more than the events before it: others need not be logged for the state's sake.
    pub fn changes_state(&self) -> bool {
        match self.outcome {
            Outcome::SoldOut { .. }
            | Outcome::CustomerLimit { .. }
            | Outcome::UnknownSku { .. }
            | Outcome::NotOpen { .. }
            | Outcome::Closed { .. }
            | Outcome::LineFailed { .. }
            | Outcome::Invalid { .. } => self.reservation.is_some(),
            Outcome::Exists { .. }
            | Outcome::ExistsDifferent { .. }
            | Outcome::AlreadyFailed { .. }
            | Outcome::AlreadyCommitted
            | Outcome::AlreadyReleased
            | Outcome::Expired
            | Outcome::UnknownReservation
            | Outcome::Conflict { .. }
            | Outcome::Insufficient { .. }
            | Outcome::StillWaiting { .. }
            | Outcome::NotWaiting
            | Outcome::Throttled { .. } => false,
            Outcome::Offered { .. }
            | Outcome::ReservationExpired
            | Outcome::LowStock { .. }
            | Outcome::OutOfStock { .. }
            | Outcome::BackInStock { .. } => true,
            _ => self.outcome.is_granted(),
        }
    }

    /// The event of a JSON record value.
    pub fn from_json(value: &[u8]) -> Result<Event, serde_json::Error> {
        serde_json::from_slice(value)
    }

    /// Appends the JSON record value to `buffer`.
    pub fn write_json(&self, buffer: &mut Vec<u8>) {
        // Strings, integers and enums have no failing case, and a Vec takes every write.
        let written = serde_json::to_writer(buffer, self);
        debug_assert!(written.is_ok(), "an event is always representable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::inventory::{CartPolicy, LineRefusal, Split};

    /// The event has this JSON form in front of what all events have.
    fn check(outcome: Outcome, json: &str) {
        let event = Event {
            outcome,
            command: Uuid::from_u128(1),
            reservation: Some(Uuid::from_u128(2)),
            command_offset: Some(41),
            at_ms: 1_000,
        };
        let mut written = Vec::new();
        event.write_json(&mut written);
        let rest = r#","command":"00000000-0000-0000-0000-000000000001","reservation":"00000000-0000-0000-0000-000000000002","command_offset":41,"at_ms":1000}"#;
        assert_eq!(
            String::from_utf8(written.clone()).unwrap(),
            format!("{json}{rest}")
        );
        assert_eq!(Event::from_json(&written).unwrap(), event);
    }

    fn reserved(lines: Vec<Line>, cart: Option<Cart>) -> Outcome {
        Outcome::Reserved {
            customer: "c".into(),
            lines,
            ttl_ms: 900,
            expires_at_ms: 1_900,
            cart: cart.map(Box::new),
        }
    }

    #[test]
    fn json_form_of_a_reservation() {
        check(
            reserved(vec![Line::new("tv", 1)], None),
            r#"{"type":"reserved","customer":"c","lines":[{"sku":"tv","quantity":1}],"ttl_ms":900,"expires_at_ms":1900"#,
        );
        let failed = |index, refusal| LineFailure { index, refusal };
        let cart = Cart {
            policy: CartPolicy::Partial,
            split: Some(Split::MostStock),
            lines: vec![Line::new("tv", 2), Line::new("car", 1)],
            failed: vec![
                failed(0, LineRefusal::SoldOut { available: 1 }),
                failed(1, LineRefusal::UnknownSku),
            ],
        };
        check(
            reserved(vec![Line::new("tv", 1).at("paris")], Some(cart)),
            r#"{"type":"reserved","customer":"c","lines":[{"sku":"tv","quantity":1,"location":"paris"}],"ttl_ms":900,"expires_at_ms":1900,"cart":{"policy":"partial","split":{"strategy":"most_stock"},"lines":[{"sku":"tv","quantity":2},{"sku":"car","quantity":1}],"failed":[{"index":0,"reason":"sold_out","available":1},{"index":1,"reason":"unknown_sku"}]}"#,
        );
    }

    #[test]
    fn json_form_without_what_is_at_its_default() {
        check(
            Outcome::Received {
                sku: "tv".into(),
                quantity: 1,
                location: String::new(),
            },
            r#"{"type":"received","sku":"tv","quantity":1"#,
        );
        check(
            Outcome::PolicySet {
                sku: "tv".into(),
                limit_per_customer: None,
                low_stock: None,
                location: String::new(),
                safety: 0,
                backorder_cap: 0,
            },
            r#"{"type":"policy_set","sku":"tv","limit_per_customer":null"#,
        );
    }
}
