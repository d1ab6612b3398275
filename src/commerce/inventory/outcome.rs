//! What the engine decided: one typed outcome for each command, and its JSON form on `inventory.events`.
//!
//! ```json
//! {"type":"reserved","customer":"c-7","lines":[{"sku":"tv-55","quantity":1}],"ttl_ms":600000,
//!  "expires_at_ms":1764000600000,"command":"0190…","reservation":"0190…","command_offset":41,
//!  "at_ms":1764000000000}
//! ```

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Line;

/// One decision, as the log keeps it: the state of the engine is exactly the fold of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What was decided.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The command that this answers; nil for a malformed command and for an expiry, which no command asks for.
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
    },
    /// The selling rules of an article were set.
    PolicySet {
        /// The article.
        sku: String,
        /// Most units for one customer.
        #[serde(default)]
        limit_per_customer: Option<u32>,
    },
    /// The whole cart is held.
    Reserved {
        /// Who holds it.
        customer: String,
        /// The cart, one line for each article.
        lines: Vec<Line>,
        /// The time that was asked for, in milliseconds.
        ttl_ms: u32,
        /// When the hold ends by itself, in milliseconds since the Unix epoch, a multiple of the tick.
        expires_at_ms: i64,
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
    /// The hold lasts longer.
    Extended {
        /// When the hold ends by itself.
        expires_at_ms: i64,
    },
    /// The held units are sold.
    Committed,
    /// The hold ended; its units can be sold again.
    Released,
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
}

/// The part of a reservation that differs from the one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Another customer.
    Customer,
    /// Another cart.
    Lines,
    /// Another time to live.
    TtlMs,
}

/// Why a reservation id was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// There were not enough units.
    SoldOut,
    /// The customer's limit was reached.
    CustomerLimit,
    /// An article did not exist.
    UnknownSku,
    /// The request made no sense.
    Invalid,
}

/// Why a command makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidReason {
    /// The record's value is not a command.
    Malformed,
    /// The record batch is compressed in a way that this build cannot read.
    UnsupportedCompression,
    /// The cart has no line.
    EmptyCart,
    /// The cart has too many lines.
    TooManyLines,
    /// A quantity is zero.
    ZeroQuantity,
    /// A quantity, or the sum of quantities of one article, is too large.
    QuantityOverflow,
    /// The article's name is empty or too long.
    SkuLength,
    /// The customer's name is empty or too long.
    CustomerLength,
    /// The time to live is zero.
    TtlTooShort,
    /// The time to live is above the maximum.
    TtlTooLong,
}

impl Outcome {
    /// Whether the command did what it asked for, now or before.
    pub fn is_granted(&self) -> bool {
        matches!(
            self,
            Outcome::Received { .. }
                | Outcome::PolicySet { .. }
                | Outcome::Reserved { .. }
                | Outcome::Exists { .. }
                | Outcome::Extended { .. }
                | Outcome::Committed
                | Outcome::Released
        )
    }
}

impl Event {
    /// Whether the event says more than the events before it: others need not be logged for the state's sake.
    pub fn changes_state(&self) -> bool {
        match self.outcome {
            Outcome::Received { .. }
            | Outcome::PolicySet { .. }
            | Outcome::Reserved { .. }
            | Outcome::Extended { .. }
            | Outcome::Committed
            | Outcome::Released
            | Outcome::SoldOut { .. }
            | Outcome::CustomerLimit { .. }
            | Outcome::UnknownSku { .. }
            | Outcome::ReservationExpired => true,
            Outcome::Invalid { .. } => self.reservation.is_some(),
            Outcome::Exists { .. }
            | Outcome::ExistsDifferent { .. }
            | Outcome::AlreadyFailed { .. }
            | Outcome::AlreadyCommitted
            | Outcome::AlreadyReleased
            | Outcome::Expired
            | Outcome::UnknownReservation
            | Outcome::Throttled { .. } => false,
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

    fn event(outcome: Outcome) -> Event {
        Event {
            outcome,
            command: Uuid::from_u128(1),
            reservation: Some(Uuid::from_u128(2)),
            command_offset: Some(41),
            at_ms: 1_000,
        }
    }

    #[test]
    fn json_form_of_a_reservation() {
        let reserved = event(Outcome::Reserved {
            customer: "c".into(),
            lines: vec![Line {
                sku: "tv".into(),
                quantity: 1,
            }],
            ttl_ms: 900,
            expires_at_ms: 1_900,
        });
        let mut json = Vec::new();
        reserved.write_json(&mut json);
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            r#"{"type":"reserved","customer":"c","lines":[{"sku":"tv","quantity":1}],"ttl_ms":900,"expires_at_ms":1900,"command":"00000000-0000-0000-0000-000000000001","reservation":"00000000-0000-0000-0000-000000000002","command_offset":41,"at_ms":1000}"#
        );
        assert_eq!(Event::from_json(&json).unwrap(), reserved);
    }

    #[test]
    fn every_outcome_survives_json() {
        let sku = || "tv".to_owned();
        let outcomes = [
            Outcome::Received {
                sku: sku(),
                quantity: u32::MAX,
            },
            Outcome::PolicySet {
                sku: sku(),
                limit_per_customer: None,
            },
            Outcome::Exists { expires_at_ms: None },
            Outcome::Exists {
                expires_at_ms: Some(10),
            },
            Outcome::ExistsDifferent { field: Field::TtlMs },
            Outcome::AlreadyFailed {
                reason: FailureReason::SoldOut,
            },
            Outcome::SoldOut {
                sku: sku(),
                available: 0,
            },
            Outcome::CustomerLimit {
                sku: sku(),
                remaining: 1,
            },
            Outcome::Extended { expires_at_ms: 20 },
            Outcome::Committed,
            Outcome::Released,
            Outcome::AlreadyCommitted,
            Outcome::AlreadyReleased,
            Outcome::Expired,
            Outcome::UnknownSku { sku: sku() },
            Outcome::UnknownReservation,
            Outcome::Invalid {
                reason: InvalidReason::EmptyCart,
            },
            Outcome::Throttled { retry_after_ms: 5 },
            Outcome::ReservationExpired,
        ];
        for outcome in outcomes {
            let before = Event {
                command_offset: None,
                reservation: None,
                ..event(outcome)
            };
            let mut json = Vec::new();
            before.write_json(&mut json);
            assert_eq!(Event::from_json(&json).unwrap(), before);
        }
    }
}
