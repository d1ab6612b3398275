//! The decision: one command against one state gives one event. Pure: no clock, no disk, no chance.

use uuid::Uuid;

use super::limits::{
    HOLD_TOTAL_MAX_MS, HOLD_TTL_MAX_MS, LINES_MAX, NAME_MAX_BYTES, THROTTLE_RETRY_MS, TICK_MS,
};
use super::reservations::Status;
use super::{Change, Command, Event, Field, InvalidReason, Line, Outcome, State};

const THROTTLED: Outcome = Outcome::Throttled {
    retry_after_ms: THROTTLE_RETRY_MS,
};

/// Decides `command` at `now_ms`; the event takes the command's names and lines over.
///
/// Time never falls: a `now_ms` before the state's newest event counts as that event's time. A hold whose time
/// is over counts as expired even if its expiry is not logged yet.
pub fn decide(state: &State, command: Command, now_ms: i64) -> Event {
    let at_ms = now_ms.max(state.now_ms);
    let (id, reservation) = (command.id(), command.reservation());
    let outcome = match command {
        Command::Receive {
            id, sku, quantity, ..
        } => receive(state, id, sku, quantity),
        Command::SetPolicy {
            id,
            sku,
            limit_per_customer,
            ..
        } => set_policy(state, id, sku, limit_per_customer),
        Command::Reserve {
            reservation,
            customer,
            lines,
            ttl_ms,
            ..
        } => reserve(
            state,
            reservation,
            Request {
                customer,
                lines,
                ttl_ms,
            },
            at_ms,
        ),
        Command::Extend {
            id,
            reservation,
            ttl_ms,
        } => extend(state, id, reservation, ttl_ms, at_ms),
        Command::Commit { reservation, .. } => commit(state, reservation, at_ms),
        Command::Release { reservation, .. } => release(state, reservation, at_ms),
        _ => invalid(InvalidReason::Malformed),
    };
    Event {
        outcome,
        command: id,
        reservation,
        command_offset: None,
        at_ms,
    }
}

/// What a shopper wants.
struct Request {
    customer: String,
    lines: Vec<Line>,
    ttl_ms: u32,
}

fn invalid(reason: InvalidReason) -> Outcome {
    Outcome::Invalid { reason }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&name.len())
}

fn receive(state: &State, id: Uuid, sku: String, quantity: u32) -> Outcome {
    if state.commands.contains(id) {
        return Outcome::Exists { expires_at_ms: None };
    }
    if !is_name(&sku) {
        return invalid(InvalidReason::SkuLength);
    }
    if quantity == 0 {
        return invalid(InvalidReason::ZeroQuantity);
    }
    let Some(article) = state.articles.find(&sku) else {
        return if state.articles.len() < state.limits.articles {
            Outcome::Received {
                sku,
                quantity,
                location: String::new(),
            }
        } else {
            THROTTLED
        };
    };
    if state
        .articles
        .stock(article)
        .received
        .checked_add(u64::from(quantity))
        .is_none()
    {
        return invalid(InvalidReason::QuantityOverflow);
    }
    Outcome::Received {
        sku,
        quantity,
        location: String::new(),
    }
}

fn set_policy(state: &State, id: Uuid, sku: String, limit_per_customer: Change<u32>) -> Outcome {
    if state.commands.contains(id) {
        return Outcome::Exists { expires_at_ms: None };
    }
    if !is_name(&sku) {
        return invalid(InvalidReason::SkuLength);
    }
    if state.articles.find(&sku).is_none() && state.articles.len() >= state.limits.articles {
        return THROTTLED;
    }
    let before = state
        .articles
        .find(&sku)
        .and_then(|article| state.articles.stock(article).limit_per_customer);
    Outcome::PolicySet {
        sku,
        limit_per_customer: limit_per_customer.apply(before),
        low_stock: None,
        location: String::new(),
        safety: 0,
        backorder_cap: 0,
    }
}

fn reserve(state: &State, reservation: Uuid, request: Request, at_ms: i64) -> Outcome {
    if let Some(status) = state.reservations.get(reservation) {
        return again(state, status, request, at_ms);
    }
    if let Some(reason) = fault(&request) {
        return invalid(reason);
    }
    let Request {
        customer,
        lines,
        ttl_ms,
    } = request;
    let Some(lines) = merge(lines) else {
        return invalid(InvalidReason::QuantityOverflow);
    };
    if state.holds.len() >= state.limits.live_holds {
        return THROTTLED;
    }
    if let Some(refusal) = lines.iter().find_map(|line| refusal(state, &customer, line)) {
        return refusal;
    }
    Outcome::Reserved {
        customer,
        lines,
        ttl_ms,
        expires_at_ms: tick_at_or_after(at_ms.saturating_add(i64::from(ttl_ms))),
        cart: None,
    }
}

/// The answer to a reservation id that is known.
fn again(state: &State, status: Status, request: Request, at_ms: i64) -> Outcome {
    let index = match status {
        Status::Held(index) => index,
        Status::Committed => return Outcome::AlreadyCommitted,
        Status::Released => return Outcome::AlreadyReleased,
        Status::Expired => return Outcome::Expired,
        Status::Refused(reason) => return Outcome::AlreadyFailed { reason },
    };
    let hold = state.holds.get(index);
    if hold.expires_at_ms <= at_ms {
        return Outcome::Expired;
    }
    if state.totals.customer(hold.customer) != request.customer {
        return Outcome::ExistsDifferent {
            field: Field::Customer,
        };
    }
    let known = hold.lines.as_slice();
    let same_lines = request.lines.len() <= LINES_MAX
        && merge(request.lines).is_some_and(|lines| {
            lines.len() == known.len()
                && lines.iter().all(|line| {
                    let article = state.articles.find(&line.sku);
                    known
                        .iter()
                        .any(|h| Some(h.article) == article && h.quantity == line.quantity)
                })
        });
    if !same_lines {
        return Outcome::ExistsDifferent { field: Field::Lines };
    }
    if hold.ttl_ms != request.ttl_ms {
        return Outcome::ExistsDifferent { field: Field::TtlMs };
    }
    Outcome::Exists {
        expires_at_ms: Some(hold.expires_at_ms),
    }
}

/// What makes a request senseless, whatever the stock.
fn fault(request: &Request) -> Option<InvalidReason> {
    if !is_name(&request.customer) {
        return Some(InvalidReason::CustomerLength);
    }
    if request.lines.is_empty() {
        return Some(InvalidReason::EmptyCart);
    }
    if request.lines.len() > LINES_MAX {
        return Some(InvalidReason::TooManyLines);
    }
    if request.lines.iter().any(|line| line.quantity == 0) {
        return Some(InvalidReason::ZeroQuantity);
    }
    if request.lines.iter().any(|line| !is_name(&line.sku)) {
        return Some(InvalidReason::SkuLength);
    }
    ttl_fault(request.ttl_ms)
}

fn ttl_fault(ttl_ms: u32) -> Option<InvalidReason> {
    match ttl_ms {
        0 => Some(InvalidReason::TtlTooShort),
        1..=HOLD_TTL_MAX_MS => None,
        _ => Some(InvalidReason::TtlTooLong),
    }
}

/// One line for each article, in order of first appearance; `None` if a sum overflows.
fn merge(lines: Vec<Line>) -> Option<Vec<Line>> {
    if lines.len() == 1 {
        return Some(lines);
    }
    let mut merged: Vec<Line> = Vec::with_capacity(lines.len());
    for line in lines {
        if let Some(same) = merged.iter_mut().find(|other| other.sku == line.sku) {
            same.quantity = same.quantity.checked_add(line.quantity)?;
        } else {
            merged.push(line);
        }
    }
    Some(merged)
}

/// Why a line cannot be held.
fn refusal(state: &State, customer: &str, line: &Line) -> Option<Outcome> {
    let Some(article) = state.articles.find(&line.sku) else {
        return Some(Outcome::UnknownSku {
            sku: line.sku.clone(),
        });
    };
    let stock = state.articles.stock(article);
    let available = stock.sellable();
    if u64::from(line.quantity) > available {
        return Some(Outcome::SoldOut {
            sku: line.sku.clone(),
            available,
        });
    }
    let limit = stock.limit_per_customer?;
    let units = state.totals.units(customer, article);
    let remaining = limit.saturating_sub(u32::try_from(units).unwrap_or(u32::MAX));
    if line.quantity > remaining {
        return Some(Outcome::CustomerLimit {
            sku: line.sku.clone(),
            remaining,
        });
    }
    // Every line of the cart may need an entry, so that many must be free for the cart to be counted.
    if units == 0 && !state.can_count_cart() {
        return Some(THROTTLED);
    }
    None
}

/// The hold of a reservation that a command wants to change, or the refusal.
fn live(state: &State, reservation: Uuid, at_ms: i64) -> Result<&super::holds::Hold, Outcome> {
    match state.reservations.get(reservation) {
        Some(Status::Held(index)) => {
            let hold = state.holds.get(index);
            if hold.expires_at_ms <= at_ms {
                Err(Outcome::Expired)
            } else {
                Ok(hold)
            }
        }
        Some(Status::Committed) => Err(Outcome::AlreadyCommitted),
        Some(Status::Released) => Err(Outcome::AlreadyReleased),
        Some(Status::Expired) => Err(Outcome::Expired),
        Some(Status::Refused(reason)) => Err(Outcome::AlreadyFailed { reason }),
        None => Err(Outcome::UnknownReservation),
    }
}

fn extend(state: &State, id: Uuid, reservation: Uuid, ttl_ms: u32, at_ms: i64) -> Outcome {
    let hold = match live(state, reservation, at_ms) {
        Ok(hold) => hold,
        Err(refusal) => return refusal,
    };
    if state.commands.contains(id) {
        return Outcome::Exists {
            expires_at_ms: Some(hold.expires_at_ms),
        };
    }
    if let Some(reason) = ttl_fault(ttl_ms) {
        return invalid(reason);
    }
    let wanted_ms = tick_at_or_after(at_ms.saturating_add(i64::from(ttl_ms)));
    let latest_ms = tick_at_or_after(hold.created_at_ms.saturating_add(HOLD_TOTAL_MAX_MS));
    Outcome::Extended {
        expires_at_ms: wanted_ms.min(latest_ms).max(hold.expires_at_ms),
    }
}

fn commit(state: &State, reservation: Uuid, at_ms: i64) -> Outcome {
    match live(state, reservation, at_ms) {
        Ok(_) => Outcome::Committed,
        Err(refusal) => refusal,
    }
}

fn release(state: &State, reservation: Uuid, at_ms: i64) -> Outcome {
    match live(state, reservation, at_ms) {
        Ok(_) => Outcome::Released,
        Err(refusal) => refusal,
    }
}

/// The first tick at or after an instant.
fn tick_at_or_after(instant_ms: i64) -> i64 {
    instant_ms.saturating_add(TICK_MS - 1).div_euclid(TICK_MS) * TICK_MS
}
