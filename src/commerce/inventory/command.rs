//! What a caller may ask of the engine, and its JSON form on `inventory.commands`.
//!
//! A command is one JSON object, its kind in `type`:
//!
//! ```json
//! {"type":"reserve","id":"0190…","reservation":"0190…","customer":"c-7",
//!  "lines":[{"sku":"tv-55","quantity":1}],"ttl_ms":600000}
//! ```

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A quantity of one article in a cart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Line {
    /// The article.
    pub sku: String,
    /// How many units, at least 1.
    pub quantity: u32,
}

/// One request to the engine.
///
/// Every command has an `id` that its sender draws before the first send. Sending it again is safe:
/// `receive`, `set_policy` and `extend` take effect once per command id, `reserve` once per reservation id,
/// and `commit` and `release` once per reservation by their nature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// Units arrive and can be sold; creates the article.
    Receive {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// How many units, at least 1.
        quantity: u32,
    },
    /// Sets the selling rules of an article; creates the article.
    SetPolicy {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// Most units that one customer may hold and buy over the life of the sale; `None` for no limit.
        #[serde(default)]
        limit_per_customer: Option<u32>,
    },
    /// Holds a whole cart for a limited time, or nothing of it.
    Reserve {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The reservation's id, drawn by the client (`UUIDv7` recommended): the idempotency key.
        reservation: Uuid,
        /// Who holds the units; counts against the limit per customer.
        customer: String,
        /// The cart. The same article on two lines counts as one line with the sum.
        lines: Vec<Line>,
        /// How long the units are held, in milliseconds.
        ttl_ms: u32,
    },
    /// Pushes a live hold's expiry out to `ttl_ms` from now, up to a total maximum; never pulls it in.
    Extend {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The reservation.
        reservation: Uuid,
        /// The wanted time left, in milliseconds.
        ttl_ms: u32,
    },
    /// The held units are sold.
    Commit {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The reservation.
        reservation: Uuid,
    },
    /// The hold ends and its units can be sold again at once.
    Release {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The reservation.
        reservation: Uuid,
    },
}

impl Command {
    /// The command's id.
    pub fn id(&self) -> Uuid {
        match self {
            Command::Receive { id, .. }
            | Command::SetPolicy { id, .. }
            | Command::Reserve { id, .. }
            | Command::Extend { id, .. }
            | Command::Commit { id, .. }
            | Command::Release { id, .. } => *id,
        }
    }

    /// The reservation that the command is about.
    pub fn reservation(&self) -> Option<Uuid> {
        match self {
            Command::Receive { .. } | Command::SetPolicy { .. } => None,
            Command::Reserve { reservation, .. }
            | Command::Extend { reservation, .. }
            | Command::Commit { reservation, .. }
            | Command::Release { reservation, .. } => Some(*reservation),
        }
    }

    /// The command of a record value.
    pub fn from_json(value: &[u8]) -> Result<Command, serde_json::Error> {
        serde_json::from_slice(value)
    }

    /// The record value of the command.
    pub fn to_json(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(192);
        // A struct of strings and integers has no failing case, and a Vec takes every write.
        let written = serde_json::to_writer(&mut value, self);
        debug_assert!(written.is_ok(), "a command is always representable");
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_form_of_every_command() {
        let id = Uuid::from_u128(1);
        let reservation = Uuid::from_u128(2);
        let cases = [
            (
                Command::Receive {
                    id,
                    sku: "tv".into(),
                    quantity: 5,
                },
                r#"{"type":"receive","id":"00000000-0000-0000-0000-000000000001","sku":"tv","quantity":5}"#,
            ),
            (
                Command::SetPolicy {
                    id,
                    sku: "tv".into(),
                    limit_per_customer: Some(2),
                },
                r#"{"type":"set_policy","id":"00000000-0000-0000-0000-000000000001","sku":"tv","limit_per_customer":2}"#,
            ),
            (
                Command::Reserve {
                    id,
                    reservation,
                    customer: "c".into(),
                    lines: vec![Line {
                        sku: "tv".into(),
                        quantity: 1,
                    }],
                    ttl_ms: 900,
                },
                r#"{"type":"reserve","id":"00000000-0000-0000-0000-000000000001","reservation":"00000000-0000-0000-0000-000000000002","customer":"c","lines":[{"sku":"tv","quantity":1}],"ttl_ms":900}"#,
            ),
            (
                Command::Extend {
                    id,
                    reservation,
                    ttl_ms: 7,
                },
                r#"{"type":"extend","id":"00000000-0000-0000-0000-000000000001","reservation":"00000000-0000-0000-0000-000000000002","ttl_ms":7}"#,
            ),
            (
                Command::Commit { id, reservation },
                r#"{"type":"commit","id":"00000000-0000-0000-0000-000000000001","reservation":"00000000-0000-0000-0000-000000000002"}"#,
            ),
            (
                Command::Release { id, reservation },
                r#"{"type":"release","id":"00000000-0000-0000-0000-000000000001","reservation":"00000000-0000-0000-0000-000000000002"}"#,
            ),
        ];
        for (command, json) in cases {
            assert_eq!(String::from_utf8(command.to_json()).unwrap(), json);
            assert_eq!(Command::from_json(json.as_bytes()).unwrap(), command);
        }
    }

    #[test]
    fn refuses_what_is_not_a_command() {
        for bad in [
            &b""[..],
            b"{}",
            b"null",
            b"{\"type\":\"steal\"}",
            b"\xff\xfe",
            br#"{"type":"receive","id":"00000000-0000-0000-0000-000000000001","sku":"tv","quantity":-1}"#,
            br#"{"type":"receive","id":"00000000-0000-0000-0000-000000000001","sku":"tv","quantity":4294967296}"#,
        ] {
            assert!(Command::from_json(bad).is_err(), "{bad:?}");
        }
    }
}
