//! The commands of a soak: the n-th is a function of n and the seed, so that nothing has to be remembered of what was
//! sent.
//!
//! A third of the commands reserve. The two that follow a reservation, some thousand commands later, commit it, give it
//! back, extend it, repeat it, or leave it to its end, and do that twice over for many. Every thousandth command brings
//! units, too few for all, so that articles sell out again and again.

use std::fmt::Write;

use uuid::Uuid;

/// Articles.
pub const ARTICLES: u32 = 50;

/// Reservations between one and its first follow-up, and between that and the second.
const FOLLOWS_AFTER: u64 = 700;

/// A command that brings units comes this often, and brings so many.
const RECEIVE_EVERY: u64 = 1_000;
const RECEIVE_UNITS: u32 = 900;

/// Commands about one reservation.
const PER_RESERVATION: u64 = 3;

/// Times to live in milliseconds: long ones are ended by a command, short ones mostly by themselves.
const LONG_MS: u32 = 3_600_000;
const SHORT_MS: u32 = 300;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Units of an article arrive.
    Receive { article: u32, units: u32 },
    /// A cart is wanted.
    Reserve { reservation: u64 },
    /// The hold lasts longer.
    Extend { reservation: u64 },
    /// The hold is paid for.
    Commit { reservation: u64 },
    /// The hold is given back.
    Release { reservation: u64 },
}

/// What a reservation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cart {
    /// Articles and units; the second line may be missing.
    pub lines: [(u32, u32); 2],
    /// How many lines there are.
    pub count: usize,
    /// Its time to live.
    pub ttl_ms: u32,
}

/// All commands.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Another seed, other commands.
    pub seed: u64,
}

impl Plan {
    /// A number that looks like chance.
    fn chance(self, number: u64, salt: u64) -> u64 {
        // splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
        let mut z = (self.seed ^ salt << 56).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// What command `number` does.
    pub fn action(self, number: u64) -> Action {
        let article = (self.chance(number, 1) % u64::from(ARTICLES)) as u32;
        if number < u64::from(ARTICLES) {
            return Action::Receive {
                article: number as u32,
                units: 100,
            };
        }
        if number.is_multiple_of(RECEIVE_EVERY) {
            return Action::Receive {
                article,
                units: RECEIVE_UNITS,
            };
        }
        let (reservation, part) = (number / PER_RESERVATION, number % PER_RESERVATION);
        match reservation.checked_sub(part * FOLLOWS_AFTER) {
            Some(followed) if part > 0 => self.follow(followed, part),
            _ => Action::Reserve { reservation },
        }
    }

    fn follow(self, reservation: u64, part: u64) -> Action {
        match (self.chance(reservation, 2) % 8, part) {
            (0..=2, _) | (5, 2) => Action::Commit { reservation },
            (3 | 4, _) | (6, 2) => Action::Release { reservation },
            (6, _) => Action::Extend { reservation },
            // A double click; or of a short hold, asked for when it may be over.
            (5 | 7, 1) => Action::Reserve { reservation },
            _ => Action::Release { reservation },
        }
    }

    /// What a reservation is about.
    pub fn cart(self, reservation: u64) -> Cart {
        let chance = self.chance(reservation, 3);
        let article = |shift: u32| ((chance >> shift) % u64::from(ARTICLES)) as u32;
        let units = |shift: u32| 1 + ((chance >> shift) % 3) as u32;
        let (first, second) = (article(0), article(16));
        let count = if (chance >> 32).is_multiple_of(4) && first != second {
            2
        } else {
            1
        };
        let ttl_ms = if self.chance(reservation, 2) % 8 == 7 {
            SHORT_MS
        } else {
            LONG_MS
        };
        Cart {
            lines: [(first, units(40)), (second, units(48))],
            count,
            ttl_ms,
        }
    }

    /// Writes the JSON of command `number`.
    pub fn write_json(self, number: u64, json: &mut String) {
        json.clear();
        let id = command_id(number);
        // A String takes every write.
        let _ = match self.action(number) {
            Action::Receive { article, units } => write!(
                json,
                r#"{{"type":"receive","id":"{id}","sku":"{}","quantity":{units}}}"#,
                sku(article)
            ),
            Action::Reserve { reservation } => {
                let cart = self.cart(reservation);
                let reservation_id = reservation_id(reservation);
                let customer = reservation % 1_000;
                let _ = write!(
                    json,
                    r#"{{"type":"reserve","id":"{id}","reservation":"{reservation_id}","customer":"c{customer}","ttl_ms":{},"lines":["#,
                    cart.ttl_ms
                );
                for (index, (article, units)) in cart.lines[..cart.count].iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let _ = write!(json, r#"{comma}{{"sku":"{}","quantity":{units}}}"#, sku(*article));
                }
                json.write_str("]}")
            }
            Action::Extend { reservation } => {
                let reservation = reservation_id(reservation);
                write!(
                    json,
                    r#"{{"type":"extend","id":"{id}","reservation":"{reservation}","ttl_ms":{LONG_MS}}}"#
                )
            }
            Action::Commit { reservation } => {
                let reservation = reservation_id(reservation);
                write!(
                    json,
                    r#"{{"type":"commit","id":"{id}","reservation":"{reservation}"}}"#
                )
            }
            Action::Release { reservation } => {
                let reservation = reservation_id(reservation);
                write!(
                    json,
                    r#"{{"type":"release","id":"{id}","reservation":"{reservation}"}}"#
                )
            }
        };
    }
}

/// Name of an article.
pub fn sku(article: u32) -> String {
    format!("soak-{article}")
}

/// Number of the article with that name.
pub fn article(sku: &str) -> Option<u32> {
    sku.strip_prefix("soak-")?
        .parse()
        .ok()
        .filter(|article| *article < ARTICLES)
}

const COMMANDS_KIND: u128 = 1 << 100;
const RESERVATIONS_KIND: u128 = 2 << 100;

fn command_id(number: u64) -> Uuid {
    Uuid::from_u128(COMMANDS_KIND | u128::from(number))
}

fn reservation_id(reservation: u64) -> Uuid {
    Uuid::from_u128(RESERVATIONS_KIND | u128::from(reservation))
}

/// Number of the command with that id.
pub fn command_of(id: Uuid) -> Option<u64> {
    u64::try_from(id.as_u128().checked_sub(COMMANDS_KIND)?).ok()
}

/// Number of the reservation with that id.
pub fn reservation_of(id: Uuid) -> Option<u64> {
    u64::try_from(id.as_u128().checked_sub(RESERVATIONS_KIND)?).ok()
}
