//! The decision: one command against one state gives one event. Pure: no clock, no disk, no chance.

mod cart;
mod hold;
mod rules;
mod stock;
mod waitlist;

use uuid::Uuid;

use super::limits::{
    HOLD_TTL_MAX_MS, LOCATION_MAX_BYTES, NAME_MAX_BYTES, REASON_MAX_BYTES, THROTTLE_RETRY_MS, TICK_MS,
};
use super::names::NameIndex;
use super::{Command, Event, InvalidReason, Outcome, State};
pub(super) use cart::offer;

const THROTTLED: Outcome = Outcome::Throttled {
    retry_after_ms: THROTTLE_RETRY_MS,
};

/// Decides `command` at `now_ms`; the event takes the command's names and lines over.
///
/// Time never falls: a `now_ms` before the state's newest event counts as that event's time. A hold whose time
/// is over counts as expired even if its expiry is not logged yet. What follows from the event, once it is applied,
/// [`State::follow_up`] tells.
pub fn decide(state: &State, command: Command, now_ms: i64) -> Event {
    let at_ms = now_ms.max(state.now_ms);
    let (id, reservation) = (command.id(), command.reservation());
    Event {
        outcome: outcome(state, command, at_ms).unwrap_or_else(|refusal| refusal),
        command: id,
        reservation,
        command_offset: None,
        at_ms,
    }
}

/// What the command comes to; a refusal is told as an error, so that the checks of a command can be strung together.
fn outcome(state: &State, command: Command, at_ms: i64) -> Result<Outcome, Outcome> {
    match command {
        Command::Reserve {
            reservation,
            customer,
            lines,
            ttl_ms,
            policy,
            split,
            ..
        } => {
            let request = cart::Request {
                customer,
                lines,
                ttl_ms,
                policy,
                split,
            };
            cart::reserve(state, reservation, request, at_ms)
        }
        Command::Commit {
            reservation, lines, ..
        } => hold::commit(state, reservation, &lines, at_ms),
        Command::Release { reservation, .. } => hold::release(state, reservation, at_ms),
        Command::Extend {
            id,
            reservation,
            ttl_ms,
        } => hold::extend(state, id, reservation, ttl_ms, at_ms),
        Command::JoinWaitlist {
            reservation,
            customer,
            sku,
            quantity,
            offer_ttl_ms,
            ..
        } => {
            let request = waitlist::Request {
                customer,
                sku,
                quantity,
                offer_ttl_ms,
            };
            waitlist::join(state, reservation, request, at_ms)
        }
        Command::LeaveWaitlist { reservation, .. } => waitlist::leave(state, reservation, at_ms),
        command if state.commands.contains(command.id()) => Ok(Outcome::Exists { expires_at_ms: None }),
        Command::SetPolicy {
            sku,
            limit_per_customer,
            low_stock,
            location,
            safety,
            backorder_cap,
            ..
        } => {
            let change = rules::PolicyChange {
                limit_per_customer,
                low_stock,
                safety,
                backorder_cap,
            };
            rules::set_policy(state, sku, location, &change)
        }
        Command::OpenSale {
            sku,
            opens_at_ms,
            closes_at_ms,
            ..
        } => rules::open_sale(state, sku, opens_at_ms.unwrap_or(at_ms), closes_at_ms),
        Command::CloseSale { sku, .. } => rules::close_sale(state, sku),
        Command::SetLocation { location, point, .. } => rules::set_location(state, location, point),
        Command::DefineKit { sku, parts, .. } => rules::define_kit(state, sku, parts),
        command => stock::decide(state, command),
    }
}

fn invalid(reason: InvalidReason) -> Outcome {
    Outcome::Invalid { reason }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&name.len())
}

fn check_sku(sku: &str) -> Result<(), Outcome> {
    check(is_name(sku), InvalidReason::SkuLength)
}

fn check_location(location: &str) -> Result<(), Outcome> {
    check(
        location.len() <= LOCATION_MAX_BYTES,
        InvalidReason::LocationLength,
    )
}

fn check_reason(reason: &str) -> Result<(), Outcome> {
    check(reason.len() <= REASON_MAX_BYTES, InvalidReason::ReasonLength)
}

fn check_quantity(quantity: u32) -> Result<(), Outcome> {
    check(quantity > 0, InvalidReason::ZeroQuantity)
}

fn check_ttl(ttl_ms: u32) -> Result<(), Outcome> {
    check(ttl_ms > 0, InvalidReason::TtlTooShort)?;
    check(ttl_ms <= HOLD_TTL_MAX_MS, InvalidReason::TtlTooLong)
}

fn check(is_fine: bool, reason: InvalidReason) -> Result<(), Outcome> {
    if is_fine { Ok(()) } else { Err(invalid(reason)) }
}

/// The article, which must be known.
fn article(state: &State, sku: &str) -> Result<NameIndex, Outcome> {
    let unknown = || Outcome::UnknownSku { sku: sku.to_owned() };
    state.articles.find(sku).ok_or_else(unknown)
}

/// Checks that an article that may be new is not a kit, and that there is room for it at a location.
fn check_place(state: &State, sku: &str, location: &str) -> Result<(), Outcome> {
    check_sku(sku)?;
    check_location(location)?;
    let (articles, limits) = (&state.articles, &state.limits);
    let article = articles.find(sku);
    if let Some(article) = article {
        check(articles.article(article).kit.is_none(), InvalidReason::IsKit)?;
        if articles.find_cell(article, location).is_some() {
            return Ok(());
        }
    }
    // A new article gets a cell at the default location too.
    let cells = usize::from(article.is_none()) + usize::from(!location.is_empty());
    let is_new_location = articles.locations.find(location).is_none();
    let fits = (article.is_some() || articles.len() < limits.articles)
        && articles.cell_count() + cells <= limits.cells
        && (!is_new_location || articles.locations.len() < limits.locations);
    if fits { Ok(()) } else { Err(THROTTLED) }
}

/// The first tick at or after an instant.
fn tick_at_or_after(instant_ms: i64) -> i64 {
    instant_ms.saturating_add(TICK_MS - 1).div_euclid(TICK_MS) * TICK_MS
}

/// When a hold that begins at an instant ends by itself.
fn expiry(at_ms: i64, ttl_ms: u32) -> i64 {
    tick_at_or_after(at_ms.saturating_add(i64::from(ttl_ms)))
}

/// The place in a waiting list as people count, if the reservation waits.
fn position(state: &State, reservation: Uuid) -> Option<u64> {
    let (index, _) = state.waitlists.find(reservation)?;
    Some(index as u64 + 1)
}
