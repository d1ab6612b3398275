//! What must be the same in a command and in its outcome.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use uuid::Uuid;

use super::super::{Adjust, CancelAllocated, Change, Command, Event, Line, Outcome};

/// What a command asks for, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    command: Uuid,
    reservation: Option<Uuid>,
    content: u64,
    /// Whether it is a cart of units at the default location, which sees all there are of a simple article.
    is_plain_cart: bool,
}

/// What an outcome grants: the numbers of all commands that may have asked for it; none in a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    command: Uuid,
    reservation: Option<Uuid>,
    contents: Option<Box<[u64]>>,
    /// Whether a refusal tells another number of units than there are.
    is_inexact: bool,
}

impl Asked {
    #[expect(clippy::too_many_lines, reason = "one arm for each kind of command")]
    pub(super) fn of(command: &Command) -> Asked {
        let content = match command {
            Command::Receive {
                sku,
                quantity,
                location,
                ..
            } => digest(&("receive", sku, quantity, location)),
            Command::Announce {
                sku,
                quantity,
                location,
                ..
            } => digest(&("announce", sku, quantity, location)),
            Command::Return {
                sku,
                quantity,
                location,
                ..
            } => digest(&("return", sku, quantity, location)),
            Command::Adjust(command) => {
                let Adjust {
                    sku,
                    location,
                    delta,
                    reason,
                    ..
                } = &**command;
                digest(&("adjust", sku, location, delta, reason))
            }
            Command::Transfer {
                sku,
                from,
                to,
                quantity,
                ..
            } => digest(&("transfer", sku, from, to, quantity)),
            Command::Ship {
                sku,
                quantity,
                location,
                for_reservation,
                ..
            } => digest(&("ship", sku, quantity, location, for_reservation)),
            Command::CancelAllocated(command) => {
                let CancelAllocated {
                    sku,
                    quantity,
                    location,
                    customer,
                    for_reservation,
                    ..
                } = &**command;
                digest(&("cancel", sku, quantity, location, customer, for_reservation))
            }
            Command::SetPolicy {
                sku,
                limit_per_customer,
                low_stock,
                location,
                safety,
                backorder_cap,
                ..
            } => policy(
                sku,
                location,
                (*limit_per_customer, *low_stock),
                (*safety, *backorder_cap),
            ),
            Command::OpenSale {
                sku,
                opens_at_ms,
                closes_at_ms,
                ..
            } => digest(&("open", sku, opens_at_ms, closes_at_ms)),
            Command::CloseSale { sku, .. } => digest(&("close", sku)),
            Command::SetLocation { location, point, .. } => digest(&("location", location, point)),
            Command::DefineKit { sku, parts, .. } => digest(&("kit", sku, parts)),
            Command::Reserve {
                customer,
                lines,
                ttl_ms,
                policy,
                split,
                ..
            } => digest(&(
                "reserve",
                customer,
                units(lines),
                ttl_ms,
                policy,
                split.as_deref(),
            )),
            Command::Extend { .. } => digest(&"extend"),
            Command::Commit { lines, .. } => digest(&("commit", units(lines))),
            Command::Release { .. } => digest(&"release"),
            Command::JoinWaitlist {
                customer,
                sku,
                quantity,
                offer_ttl_ms,
                ..
            } => digest(&("join", customer, sku, quantity, offer_ttl_ms)),
            Command::LeaveWaitlist { .. } => digest(&"leave"),
        };
        Asked {
            command: command.id(),
            reservation: command.reservation(),
            content,
            is_plain_cart: match command {
                Command::Reserve { lines, split, .. } => {
                    split.is_none() && lines.iter().all(|line| line.location.is_empty())
                }
                _ => false,
            },
        }
    }

    pub(super) fn is_answered_by(&self, answer: &Answered) -> bool {
        let fits = answer
            .contents
            .as_ref()
            .is_none_or(|contents| contents.contains(&self.content));
        let sees_all = !(self.is_plain_cart && answer.is_inexact);
        fits && sees_all && answer.command == self.command && answer.reservation == self.reservation
    }
}

impl Answered {
    /// The event as an answer, where the reservation held these lines before it, and the refused article has these
    /// units if it is at the default location only.
    pub(super) fn of(event: &Event, held: &[Line], sellable: Option<u64>) -> Answered {
        Answered {
            command: event.command,
            reservation: event.reservation,
            contents: contents(event, held).map(Into::into),
            is_inexact: match (&event.outcome, sellable) {
                (Outcome::SoldOut { available, .. }, Some(sellable)) => *available != sellable,
                _ => false,
            },
        }
    }
}

fn contents(event: &Event, held: &[Line]) -> Option<Vec<u64>> {
    let content = match &event.outcome {
        Outcome::Received {
            sku,
            quantity,
            location,
        } => digest(&("receive", sku, quantity, location)),
        Outcome::Announced {
            sku,
            quantity,
            location,
        } => digest(&("announce", sku, quantity, location)),
        Outcome::Returned {
            sku,
            quantity,
            location,
        } => digest(&("return", sku, quantity, location)),
        Outcome::Adjusted {
            sku,
            location,
            delta,
            reason,
            ..
        } => digest(&("adjust", sku, location, delta, reason)),
        Outcome::Transferred {
            sku,
            from,
            to,
            quantity,
        } => digest(&("transfer", sku, from, to, quantity)),
        Outcome::Shipped {
            sku,
            quantity,
            location,
            for_reservation,
        } => digest(&("ship", sku, quantity, location, for_reservation)),
        Outcome::AllocationCancelled {
            sku,
            quantity,
            location,
            customer,
            for_reservation,
        } => digest(&("cancel", sku, quantity, location, customer, for_reservation)),
        Outcome::PolicySet { .. } => return Some(policies(&event.outcome)),
        Outcome::SaleOpened {
            sku,
            opens_at_ms,
            closes_at_ms,
        } => {
            // A sale that opens at once may have been asked for without an instant.
            let at_once = (*opens_at_ms == event.at_ms).then_some(None);
            let asked = [Some(Some(*opens_at_ms)), at_once];
            let asked = asked.into_iter().flatten();
            return Some(
                asked
                    .map(|opens_at_ms| digest(&("open", sku, opens_at_ms, closes_at_ms)))
                    .collect(),
            );
        }
        Outcome::SaleClosed { sku } => digest(&("close", sku)),
        Outcome::LocationSet { location, point } => digest(&("location", location, point)),
        Outcome::KitDefined { sku, parts } => digest(&("kit", sku, parts)),
        Outcome::Reserved {
            customer,
            lines,
            ttl_ms,
            cart,
            ..
        } => {
            let (policy, split, lines) = match cart {
                Some(cart) => (cart.policy, cart.split.as_ref(), &cart.lines),
                None => (super::super::CartPolicy::All, None, lines),
            };
            digest(&("reserve", customer, units(lines), ttl_ms, policy, split))
        }
        Outcome::Extended { .. } => digest(&"extend"),
        Outcome::Committed => {
            let whole = digest(&("commit", units(held)));
            return Some(vec![digest(&("commit", units(&[]))), whole]);
        }
        Outcome::CommittedPart { lines } => digest(&("commit", units(lines))),
        Outcome::Released => digest(&"release"),
        Outcome::LeftWaitlist => return Some(vec![digest(&"release"), digest(&"leave")]),
        Outcome::Waiting {
            customer,
            sku,
            quantity,
            offer_ttl_ms,
            ..
        } => digest(&("join", customer, sku, quantity, offer_ttl_ms)),
        // Nobody asks for these.
        Outcome::ReservationExpired
        | Outcome::Offered { .. }
        | Outcome::LowStock { .. }
        | Outcome::OutOfStock { .. }
        | Outcome::BackInStock { .. } => return Some(Vec::new()),
        _ => return None,
    };
    Some(vec![content])
}

/// Every command that may have led to a policy: each setting was kept, or set to what it is.
fn policies(outcome: &Outcome) -> Vec<u64> {
    let Outcome::PolicySet {
        sku,
        limit_per_customer,
        low_stock,
        location,
        safety,
        backorder_cap,
    } = outcome
    else {
        return Vec::new();
    };
    let mut asked = Vec::new();
    for limit in [Change::Keep, Change::from(*limit_per_customer)] {
        for low_stock in [Change::Keep, Change::from(*low_stock)] {
            for safety in [None, Some(*safety)] {
                for backorder_cap in [None, Some(*backorder_cap)] {
                    asked.push(policy(sku, location, (limit, low_stock), (safety, backorder_cap)));
                }
            }
        }
    }
    asked
}

fn policy(
    sku: &str,
    location: &str,
    of_article: (Change<u32>, Change<u32>),
    of_location: (Option<u32>, Option<u32>),
) -> u64 {
    digest(&("policy", sku, location, of_article, of_location))
}

/// Units of each article and location, however they are spread over lines.
pub(super) fn units(lines: &[Line]) -> BTreeMap<(&str, &str), u64> {
    let mut units = BTreeMap::new();
    for line in lines {
        *units.entry((&*line.sku, &*line.location)).or_default() += u64::from(line.quantity);
    }
    units
}

fn digest(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
