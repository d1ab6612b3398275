//! What becomes of a hold: longer, sold, given back.

use uuid::Uuid;

use super::{check, check_quantity, check_ttl, expiry, invalid, position, tick_at_or_after};
use crate::commerce::inventory::holds::{HoldLine, HoldView};
use crate::commerce::inventory::limits::{HOLD_TOTAL_MAX_MS, LINES_MAX};
use crate::commerce::inventory::reservations::Status;
use crate::commerce::inventory::{InvalidReason, Line, Outcome, State};

/// The hold of a reservation that a command wants to change, or the refusal.
fn live(state: &State, reservation: Uuid, at_ms: i64) -> Result<HoldView<'_>, Outcome> {
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
        None => Err(match position(state, reservation) {
            Some(position) => Outcome::StillWaiting { position },
            None => Outcome::UnknownReservation,
        }),
    }
}

pub(super) fn extend(
    state: &State,
    id: Uuid,
    reservation: Uuid,
    ttl_ms: u32,
    at_ms: i64,
) -> Result<Outcome, Outcome> {
    let hold = live(state, reservation, at_ms)?;
    if state.commands.contains(id) {
        return Ok(Outcome::Exists {
            expires_at_ms: Some(hold.expires_at_ms),
        });
    }
    check_ttl(ttl_ms)?;
    let latest_ms = tick_at_or_after(hold.created_at_ms.saturating_add(HOLD_TOTAL_MAX_MS));
    Ok(Outcome::Extended {
        expires_at_ms: expiry(at_ms, ttl_ms).min(latest_ms).max(hold.expires_at_ms),
    })
}

pub(super) fn release(state: &State, reservation: Uuid, at_ms: i64) -> Result<Outcome, Outcome> {
    match live(state, reservation, at_ms) {
        Ok(_) => Ok(Outcome::Released),
        Err(Outcome::StillWaiting { .. }) => Ok(Outcome::LeftWaitlist),
        Err(refusal) => Err(refusal),
    }
}

pub(super) fn commit(
    state: &State,
    reservation: Uuid,
    part: &[Line],
    at_ms: i64,
) -> Result<Outcome, Outcome> {
    match live(state, reservation, at_ms) {
        Ok(_) if part.is_empty() => Ok(Outcome::Committed),
        Ok(hold) => commit_part(state, hold.lines.as_slice(), part).map(|(outcome, _)| outcome),
        Err(Outcome::Expired) => commit_late(state, reservation, part),
        Err(refusal) => Err(refusal),
    }
}

/// Sells a hold whose time is over, if nobody else was first: the units must still be sellable, and nobody may wait
/// for them.
fn commit_late(state: &State, reservation: Uuid, part: &[Line]) -> Result<Outcome, Outcome> {
    let is_waited_for = |lines: &[HoldLine]| {
        lines.iter().any(|line| {
            let article = state.articles.cell(line.cell).article;
            state.articles.article(article).waiting > 0
        })
    };
    // Its expiry may not be logged yet: then the units are still its own.
    if let Some(Status::Held(index)) = state.reservations.get(reservation) {
        let hold = state.holds.get(index);
        let lines = hold.lines.as_slice();
        if is_waited_for(lines) {
            return Err(Outcome::Expired);
        }
        return commit_part(state, lines, part).map(|(outcome, _)| outcome);
    }
    let hold = state.expired.get(reservation).ok_or(Outcome::Expired)?;
    if is_waited_for(&hold.lines) {
        return Err(Outcome::Expired);
    }
    let (outcome, sold) = commit_part(state, &hold.lines, part)?;
    let customer = state.totals.customer(hold.customer);
    for line in &sold {
        let cell = state.articles.cell(line.cell);
        let same = sold
            .iter()
            .filter(|other| state.articles.cell(other.cell).article == cell.article);
        let wanted: u64 = same.map(|line| u64::from(line.quantity)).sum();
        let limit = state.articles.article(cell.article).limit_per_customer;
        let is_over = |limit: u32| state.totals.units(customer, cell.article) + wanted > u64::from(limit);
        if u64::from(line.quantity) > cell.sellable() || limit.is_some_and(is_over) {
            return Err(Outcome::Expired);
        }
    }
    Ok(outcome)
}

/// The sale of a part of these lines, or of all of them if no part is named, and what is sold of each line.
fn commit_part(
    state: &State,
    lines: &[HoldLine],
    part: &[Line],
) -> Result<(Outcome, Vec<HoldLine>), Outcome> {
    if part.is_empty() {
        return Ok((Outcome::Committed, lines.to_vec()));
    }
    check(part.len() <= LINES_MAX, InvalidReason::TooManyLines)?;
    let mut sold: Vec<HoldLine> = lines
        .iter()
        .map(|line| HoldLine { quantity: 0, ..*line })
        .collect();
    for wanted in part {
        check_quantity(wanted.quantity)?;
        let article = state.articles.find(&wanted.sku);
        let cell = article.and_then(|article| state.articles.find_cell(article, &wanted.location));
        let place = lines.iter().position(|line| Some(line.cell) == cell);
        let place = place.ok_or(invalid(InvalidReason::NotInHold))?;
        let left = lines[place].quantity - sold[place].quantity;
        check(wanted.quantity <= left, InvalidReason::NotInHold)?;
        sold[place].quantity += wanted.quantity;
    }
    if sold == lines {
        return Ok((Outcome::Committed, sold));
    }
    sold.retain(|line| line.quantity > 0);
    let lines = sold.iter().map(|line| state.line(line)).collect();
    Ok((Outcome::CommittedPart { lines }, sold))
}
