//! Places in the waiting list of an article.

use uuid::Uuid;

use super::cart::{again, check_window, remaining};
use super::{THROTTLED, article, check, check_quantity, check_sku, check_ttl, is_name, position};
use crate::commerce::inventory::reservations::Status;
use crate::commerce::inventory::{Field, InvalidReason, Line, Outcome, State};

/// What a customer wants to wait for.
pub(super) struct Request {
    pub(super) customer: String,
    pub(super) sku: String,
    pub(super) quantity: u32,
    pub(super) offer_ttl_ms: u32,
}

pub(super) fn join(
    state: &State,
    reservation: Uuid,
    request: Request,
    at_ms: i64,
) -> Result<Outcome, Outcome> {
    if let Some(repeat) = known(state, reservation, &request, at_ms) {
        return Err(repeat);
    }
    let Request {
        customer,
        sku,
        quantity,
        offer_ttl_ms,
    } = request;
    check(is_name(&customer), InvalidReason::CustomerLength)?;
    check_sku(&sku)?;
    check_quantity(quantity)?;
    check_ttl(offer_ttl_ms)?;
    let index = article(state, &sku)?;
    let article = state.articles.article(index);
    check(article.kit.is_none(), InvalidReason::IsKit)?;
    check_window(article, at_ms).map_err(|refusal| refusal.outcome(&sku))?;
    if let Some(remaining) = remaining(state, &customer, index).filter(|remaining| quantity > *remaining) {
        return Err(Outcome::CustomerLimit { sku, remaining });
    }
    let limits = &state.limits;
    if state.waitlists.len() >= limits.waiters || article.waiting as usize >= limits.waiters_per_article {
        return Err(THROTTLED);
    }
    Ok(Outcome::Waiting {
        customer,
        sku,
        quantity,
        offer_ttl_ms,
        position: u64::from(article.waiting) + 1,
    })
}

/// The answer to a reservation id that is known, if it is.
fn known(state: &State, reservation: Uuid, request: &Request, at_ms: i64) -> Option<Outcome> {
    if let Some((_, waiter)) = state.waitlists.find(reservation) {
        let article = state.waitlists.article(reservation)?;
        let field = if state.totals.customer(waiter.customer) != request.customer {
            Field::Customer
        } else if state.articles.sku(article) != request.sku || waiter.quantity != request.quantity {
            Field::Lines
        } else if waiter.offer_ttl_ms != request.offer_ttl_ms {
            Field::TtlMs
        } else {
            return Some(Outcome::Exists { expires_at_ms: None });
        };
        return Some(Outcome::ExistsDifferent { field });
    }
    let status = state.reservations.get(reservation)?;
    let Status::Held(index) = status else {
        return Some(again(
            state,
            reservation,
            status,
            &super::cart::Request::default(),
            at_ms,
        ));
    };
    // The units were offered; they may be spread over locations.
    let hold = state.holds.get(index);
    let lines: Vec<Line> = hold
        .lines
        .as_slice()
        .iter()
        .map(|line| state.line(line))
        .collect();
    let sum: u64 = lines.iter().map(|line| u64::from(line.quantity)).sum();
    let field = if hold.expires_at_ms <= at_ms {
        return Some(Outcome::Expired);
    } else if state.totals.customer(hold.customer) != request.customer {
        Field::Customer
    } else if lines.iter().any(|line| line.sku != request.sku) || sum != u64::from(request.quantity) {
        Field::Lines
    } else if hold.ttl_ms != request.offer_ttl_ms {
        Field::TtlMs
    } else {
        return Some(Outcome::Exists {
            expires_at_ms: Some(hold.expires_at_ms),
        });
    };
    Some(Outcome::ExistsDifferent { field })
}

pub(super) fn leave(state: &State, reservation: Uuid, at_ms: i64) -> Result<Outcome, Outcome> {
    if position(state, reservation).is_some() {
        return Ok(Outcome::LeftWaitlist);
    }
    let status = state.reservations.get(reservation);
    match status {
        Some(Status::Held(index)) if at_ms < state.holds.get(index).expires_at_ms => Err(Outcome::NotWaiting),
        Some(Status::Held(_) | Status::Expired) => Err(Outcome::Expired),
        Some(Status::Committed) => Err(Outcome::AlreadyCommitted),
        Some(Status::Released) => Err(Outcome::AlreadyReleased),
        Some(Status::Refused(reason)) => Err(Outcome::AlreadyFailed { reason }),
        None => Err(Outcome::UnknownReservation),
    }
}
