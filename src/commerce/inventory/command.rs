//! What a caller may ask of the engine, and its JSON form on `inventory.commands`.
//!
//! A command is one JSON object, its kind in `type`; what has a default may be left out:
//!
//! ```json
//! {"type":"reserve","id":"0190…","reservation":"0190…","customer":"c-7",
//!  "lines":[{"sku":"tv-55","quantity":1}],"ttl_ms":600000}
//! ```

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CartPolicy, Change, KitPart, Line, Point, Split};

/// One request to the engine.
///
/// Every command has an `id` that its sender draws before the first send. Sending it again is safe: `reserve` and
/// `join_waitlist` take effect once per reservation id, `commit`, `release` and `leave_waitlist` once per
/// reservation by their nature, and all others once per command id. A command about stock or rules that was refused
/// took no effect; sent again it is decided again.
///
/// Where a `location` may be named, an empty or absent one is the default location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// Units arrive and can be sold; creates the article and the location. They come out of those announced.
    Receive {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// How many units, at least 1.
        quantity: u32,
        /// Where they arrive.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
    },
    /// Units are on their way; creates the article and the location. They cannot be sold before they arrive.
    Announce {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// How many units, at least 1.
        quantity: u32,
        /// Where they will arrive.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
    },
    /// Corrects the units on hand, if they are still those that somebody counted: a compare-and-set.
    Adjust {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// Where the units are.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Units to add, or to take away where negative; not zero.
        delta: i64,
        /// The units that must be on hand. This or the version must be given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_on_hand: Option<u64>,
        /// The version that the stock must have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_version: Option<u64>,
        /// Why, in the words of the shop; carried into the outcome.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Moves units that nobody holds or bought to another location, which it creates.
    Transfer {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// Where the units are.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        from: String,
        /// Where they shall be.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        to: String,
        /// How many units, at least 1.
        quantity: u32,
    },
    /// Units that were shipped come back and can be sold again.
    Return {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// How many units, at least 1.
        quantity: u32,
        /// Where they come back to.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
    },
    /// Changes the selling rules of an article; creates the article and the location. What is left out stays.
    SetPolicy {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// Most units that one customer may hold and buy over the life of the sale, at all locations together.
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        limit_per_customer: Change<u32>,
        /// Asks for stock signals; at this many sellable units, at all locations together, the article runs low.
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        low_stock: Change<u32>,
        /// The location whose safety stock and backorder cap change.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Units at the location that are never sold.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        safety: Option<u32>,
        /// Units that may be sold at the location beyond those on hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backorder_cap: Option<u32>,
    },
    /// Sets when an article can be reserved; one without a window always can.
    OpenSale {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article, or a kit.
        sku: String,
        /// When the sale begins, in milliseconds since the Unix epoch; at once if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opens_at_ms: Option<i64>,
        /// When it ends, in milliseconds since the Unix epoch; never if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closes_at_ms: Option<i64>,
    },
    /// Ends the sale of an article at once. Live holds stay.
    CloseSale {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article, or a kit.
        sku: String,
    },
    /// Says where a location is; creates it.
    SetLocation {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The location.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Where it is.
        #[serde(flatten)]
        point: Point,
    },
    /// Makes an article a kit, which is sold by selling its parts; creates the article, or replaces the parts.
    DefineKit {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The kit.
        sku: String,
        /// What one kit consists of.
        parts: Vec<KitPart>,
    },
    /// Holds a cart for a limited time.
    Reserve {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The reservation's id, drawn by the client (`UUIDv7` recommended): the idempotency key.
        reservation: Uuid,
        /// Who holds the units; counts against the limit per customer.
        customer: String,
        /// The cart. Lines that name the same article and location count as one line with the sum.
        lines: Vec<Line>,
        /// How long the units are held, in milliseconds.
        ttl_ms: u32,
        /// How much of the cart must be there.
        #[serde(default, skip_serializing_if = "CartPolicy::is_all")]
        policy: CartPolicy,
        /// How lines that name no location are spread; without it they are taken from the default location.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        split: Option<Box<Split>>,
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
    /// The held units are sold; those of a hold that ended by itself too, if they can still be sold.
    Commit {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The reservation.
        reservation: Uuid,
        /// The part of the hold that is sold, by article and location; all of it if empty. The rest goes back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lines: Vec<Line>,
    },
    /// The hold ends and its units can be sold again at once; or a place in a waiting list is given up.
    Release {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The reservation.
        reservation: Uuid,
    },
    /// Sold units leave the building.
    Ship {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// How many units, at least 1.
        quantity: u32,
        /// Where they leave.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// The reservation that they were sold by, if the shop wants it in the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_reservation: Option<Uuid>,
    },
    /// Sold units that have not left the building can be sold again.
    CancelAllocated {
        /// The command's id, the idempotency key.
        id: Uuid,
        /// The article.
        sku: String,
        /// How many units, at least 1.
        quantity: u32,
        /// Where they are.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        /// Who bought them; gets as much of the limit per customer back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer: Option<String>,
        /// The reservation that they were sold by, if the shop wants it in the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_reservation: Option<Uuid>,
    },
    /// Waits for units of an article behind everybody who waits already. When they are there, they are held for the
    /// customer under the reservation's id, for a limited time.
    JoinWaitlist {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The id of the reservation that is wanted, drawn by the client: the idempotency key.
        reservation: Uuid,
        /// Who waits; counts against the limit per customer.
        customer: String,
        /// The article.
        sku: String,
        /// How many units, at least 1; they are offered together or not at all.
        quantity: u32,
        /// How long an offer is held, in milliseconds.
        offer_ttl_ms: u32,
    },
    /// Gives up a place in a waiting list.
    LeaveWaitlist {
        /// The command's id, carried into the outcome.
        id: Uuid,
        /// The reservation that was waited for.
        reservation: Uuid,
    },
}

impl Command {
    /// The command's id.
    pub fn id(&self) -> Uuid {
        match self {
            Command::Receive { id, .. }
            | Command::Announce { id, .. }
            | Command::Adjust { id, .. }
            | Command::Transfer { id, .. }
            | Command::Return { id, .. }
            | Command::SetPolicy { id, .. }
            | Command::OpenSale { id, .. }
            | Command::CloseSale { id, .. }
            | Command::SetLocation { id, .. }
            | Command::DefineKit { id, .. }
            | Command::Reserve { id, .. }
            | Command::Extend { id, .. }
            | Command::Commit { id, .. }
            | Command::Release { id, .. }
            | Command::Ship { id, .. }
            | Command::CancelAllocated { id, .. }
            | Command::JoinWaitlist { id, .. }
            | Command::LeaveWaitlist { id, .. } => *id,
        }
    }

    /// The reservation that the command is about, and that its outcome names.
    pub fn reservation(&self) -> Option<Uuid> {
        match self {
            Command::Reserve { reservation, .. }
            | Command::Extend { reservation, .. }
            | Command::Commit { reservation, .. }
            | Command::Release { reservation, .. }
            | Command::JoinWaitlist { reservation, .. }
            | Command::LeaveWaitlist { reservation, .. } => Some(*reservation),
            _ => None,
        }
    }

    /// Units arrive at the default location.
    pub fn receive(id: Uuid, sku: impl Into<String>, quantity: u32) -> Command {
        Command::Receive {
            id,
            sku: sku.into(),
            quantity,
            location: String::new(),
        }
    }

    /// Sets the limit per customer of an article, or takes it away, and changes nothing else.
    pub fn limit(id: Uuid, sku: impl Into<String>, limit_per_customer: Option<u32>) -> Command {
        Command::SetPolicy {
            id,
            sku: sku.into(),
            limit_per_customer: limit_per_customer.into(),
            low_stock: Change::Keep,
            location: String::new(),
            safety: None,
            backorder_cap: None,
        }
    }

    /// Holds a whole cart, or nothing of it, for `ttl_ms` milliseconds. The command's id is that of the reservation.
    pub fn reserve(reservation: Uuid, customer: impl Into<String>, lines: Vec<Line>, ttl_ms: u32) -> Command {
        Command::Reserve {
            id: reservation,
            reservation,
            customer: customer.into(),
            lines,
            ttl_ms,
            policy: CartPolicy::All,
            split: None,
        }
    }

    /// Sells all units of a hold. The command's id is that of the reservation.
    pub fn commit(reservation: Uuid) -> Command {
        Command::Commit {
            id: reservation,
            reservation,
            lines: Vec::new(),
        }
    }

    /// Gives a hold back. The command's id is that of the reservation.
    pub fn release(reservation: Uuid) -> Command {
        Command::Release {
            id: reservation,
            reservation,
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

    const ID: &str = r#""id":"00000000-0000-0000-0000-000000000001""#;
    const RESERVATION: &str = r#""reservation":"00000000-0000-0000-0000-000000000002""#;

    fn id() -> Uuid {
        Uuid::from_u128(1)
    }

    /// The command has this JSON form, where `@` stands for its id and `#` for its reservation.
    fn check(command: &Command, json: &str) {
        let json = json.replace('@', ID).replace('#', RESERVATION);
        assert_eq!(String::from_utf8(command.to_json()).unwrap(), json);
        assert_eq!(&Command::from_json(json.as_bytes()).unwrap(), command);
    }

    #[test]
    fn json_form_of_commands_about_stock() {
        let sku = || "tv".to_owned();
        check(
            &Command::receive(id(), "tv", 5),
            r#"{"type":"receive",@,"sku":"tv","quantity":5}"#,
        );
        check(
            &Command::Announce {
                id: id(),
                sku: sku(),
                quantity: 5,
                location: "berlin".into(),
            },
            r#"{"type":"announce",@,"sku":"tv","quantity":5,"location":"berlin"}"#,
        );
        check(
            &Command::Adjust {
                id: id(),
                sku: sku(),
                location: String::new(),
                delta: -2,
                expected_on_hand: Some(7),
                expected_version: None,
                reason: "broken".into(),
            },
            r#"{"type":"adjust",@,"sku":"tv","delta":-2,"expected_on_hand":7,"reason":"broken"}"#,
        );
        check(
            &Command::Transfer {
                id: id(),
                sku: sku(),
                from: String::new(),
                to: "paris".into(),
                quantity: 1,
            },
            r#"{"type":"transfer",@,"sku":"tv","to":"paris","quantity":1}"#,
        );
        check(
            &Command::Return {
                id: id(),
                sku: sku(),
                quantity: 1,
                location: String::new(),
            },
            r#"{"type":"return",@,"sku":"tv","quantity":1}"#,
        );
        check(
            &Command::Ship {
                id: id(),
                sku: sku(),
                quantity: 1,
                location: "paris".into(),
                for_reservation: Some(Uuid::from_u128(2)),
            },
            r#"{"type":"ship",@,"sku":"tv","quantity":1,"location":"paris","for_reservation":"00000000-0000-0000-0000-000000000002"}"#,
        );
        check(
            &Command::CancelAllocated {
                id: id(),
                sku: sku(),
                quantity: 1,
                location: String::new(),
                customer: Some("c".into()),
                for_reservation: None,
            },
            r#"{"type":"cancel_allocated",@,"sku":"tv","quantity":1,"customer":"c"}"#,
        );
    }

    #[test]
    fn json_form_of_commands_about_rules() {
        let sku = || "tv".to_owned();
        check(
            &Command::limit(id(), "tv", Some(2)),
            r#"{"type":"set_policy",@,"sku":"tv","limit_per_customer":2}"#,
        );
        check(
            &Command::limit(id(), "tv", None),
            r#"{"type":"set_policy",@,"sku":"tv","limit_per_customer":null}"#,
        );
        check(
            &Command::SetPolicy {
                id: id(),
                sku: sku(),
                limit_per_customer: Change::Keep,
                low_stock: Change::Set(3),
                location: "berlin".into(),
                safety: Some(1),
                backorder_cap: Some(0),
            },
            r#"{"type":"set_policy",@,"sku":"tv","low_stock":3,"location":"berlin","safety":1,"backorder_cap":0}"#,
        );
        check(
            &Command::OpenSale {
                id: id(),
                sku: sku(),
                opens_at_ms: Some(1),
                closes_at_ms: None,
            },
            r#"{"type":"open_sale",@,"sku":"tv","opens_at_ms":1}"#,
        );
        check(
            &Command::CloseSale { id: id(), sku: sku() },
            r#"{"type":"close_sale",@,"sku":"tv"}"#,
        );
        check(
            &Command::SetLocation {
                id: id(),
                location: "berlin".into(),
                point: Point {
                    latitude: 52.52.into(),
                    longitude: (-13.25).into(),
                },
            },
            r#"{"type":"set_location",@,"location":"berlin","latitude":52.52,"longitude":-13.25}"#,
        );
        check(
            &Command::DefineKit {
                id: id(),
                sku: "set".into(),
                parts: vec![KitPart {
                    sku: sku(),
                    quantity: 2,
                }],
            },
            r#"{"type":"define_kit",@,"sku":"set","parts":[{"sku":"tv","quantity":2}]}"#,
        );
    }

    #[test]
    fn json_form_of_commands_about_reservations() {
        let reservation = Uuid::from_u128(2);
        let reserve = |lines, policy, split: Option<Split>| Command::Reserve {
            id: id(),
            reservation,
            customer: "c".into(),
            lines,
            ttl_ms: 900,
            policy,
            split: split.map(Box::new),
        };
        check(
            &reserve(vec![Line::new("tv", 1)], CartPolicy::All, None),
            r#"{"type":"reserve",@,#,"customer":"c","lines":[{"sku":"tv","quantity":1}],"ttl_ms":900}"#,
        );
        check(
            &reserve(
                vec![Line::new("tv", 1).at("paris")],
                CartPolicy::PerLine,
                Some(Split::MostStock),
            ),
            r#"{"type":"reserve",@,#,"customer":"c","lines":[{"sku":"tv","quantity":1,"location":"paris"}],"ttl_ms":900,"policy":"per_line","split":{"strategy":"most_stock"}}"#,
        );
        let locations = vec![String::new(), "paris".to_owned()];
        check(
            &reserve(Vec::new(), CartPolicy::Partial, Some(Split::Fixed { locations })),
            r#"{"type":"reserve",@,#,"customer":"c","lines":[],"ttl_ms":900,"policy":"partial","split":{"strategy":"fixed","locations":["","paris"]}}"#,
        );
        let near = Point {
            latitude: 1.5.into(),
            longitude: 2.0.into(),
        };
        check(
            &reserve(Vec::new(), CartPolicy::All, Some(Split::Nearest { near })),
            r#"{"type":"reserve",@,#,"customer":"c","lines":[],"ttl_ms":900,"split":{"strategy":"nearest","latitude":1.5,"longitude":2.0}}"#,
        );
        check(
            &Command::Extend {
                id: id(),
                reservation,
                ttl_ms: 7,
            },
            r#"{"type":"extend",@,#,"ttl_ms":7}"#,
        );
        let commit = |lines| Command::Commit {
            id: id(),
            reservation,
            lines,
        };
        check(&commit(Vec::new()), r#"{"type":"commit",@,#}"#);
        check(
            &commit(vec![Line::new("tv", 1)]),
            r#"{"type":"commit",@,#,"lines":[{"sku":"tv","quantity":1}]}"#,
        );
        check(
            &Command::Release {
                id: id(),
                reservation,
            },
            r#"{"type":"release",@,#}"#,
        );
        check(
            &Command::JoinWaitlist {
                id: id(),
                reservation,
                customer: "c".into(),
                sku: "tv".into(),
                quantity: 1,
                offer_ttl_ms: 60_000,
            },
            r#"{"type":"join_waitlist",@,#,"customer":"c","sku":"tv","quantity":1,"offer_ttl_ms":60000}"#,
        );
        check(
            &Command::LeaveWaitlist {
                id: id(),
                reservation,
            },
            r#"{"type":"leave_waitlist",@,#}"#,
        );
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
