//! Movements of units: arrivals, corrections, transfers, shipments.

use super::{
    article, check, check_location, check_place, check_quantity, check_reason, check_sku, invalid, is_name,
};
use crate::commerce::inventory::stock::Cell;
use crate::commerce::inventory::{Adjust, CancelAllocated, Command, InvalidReason, Outcome, State};

/// Decides a movement whose command did not take effect before.
#[expect(clippy::too_many_lines, reason = "one arm for each movement")]
pub(super) fn decide(state: &State, command: Command) -> Result<Outcome, Outcome> {
    match command {
        Command::Receive {
            sku,
            quantity,
            location,
            ..
        } => {
            arrive(state, &sku, &location, quantity)?;
            Ok(Outcome::Received {
                sku,
                quantity,
                location,
            })
        }
        Command::Announce {
            sku,
            quantity,
            location,
            ..
        } => {
            check_quantity(quantity)?;
            check_place(state, &sku, &location)?;
            Ok(Outcome::Announced {
                sku,
                quantity,
                location,
            })
        }
        Command::Return {
            sku,
            quantity,
            location,
            ..
        } => {
            // Only what is known can have been shipped; it may come back to a new location.
            check_sku(&sku)?;
            article(state, &sku)?;
            arrive(state, &sku, &location, quantity)?;
            Ok(Outcome::Returned {
                sku,
                quantity,
                location,
            })
        }
        Command::Adjust(command) => {
            let Adjust {
                sku,
                location,
                delta,
                expected_on_hand,
                expected_version,
                reason,
                ..
            } = *command;

            check(delta != 0, InvalidReason::ZeroQuantity)?;
            check_reason(&reason)?;
            check(
                expected_on_hand.is_some() || expected_version.is_some(),
                InvalidReason::NothingExpected,
            )?;
            let cell = cell(state, &sku, &location)?;
            let (on_hand, version) = cell.map_or((0, 0), |cell| (cell.on_hand, cell.version));
            let is = |expected: Option<u64>, found| expected.is_none_or(|expected| expected == found);
            if !is(expected_on_hand, on_hand) || !is(expected_version, version) {
                return Err(Outcome::Conflict {
                    sku,
                    location,
                    on_hand,
                    version,
                });
            }
            adjust(state, cell, sku, location, delta, reason)
        }
        Command::Transfer {
            sku,
            from,
            to,
            quantity,
            ..
        } => {
            check_quantity(quantity)?;
            check(from != to, InvalidReason::SameLocation)?;
            let available = cell(state, &sku, &from)?.map_or(0, Cell::movable);
            if u64::from(quantity) > available {
                return Err(insufficient(sku, from, available));
            }
            check_place(state, &sku, &to)?;
            Ok(Outcome::Transferred {
                sku,
                from,
                to,
                quantity,
            })
        }
        Command::Ship {
            sku,
            quantity,
            location,
            for_reservation,
            ..
        } => {
            check_quantity(quantity)?;
            let cell = cell(state, &sku, &location)?;
            let available = cell.map_or(0, |cell| cell.allocated.min(cell.on_hand));
            if u64::from(quantity) > available {
                return Err(insufficient(sku, location, available));
            }
            Ok(Outcome::Shipped {
                sku,
                quantity,
                location,
                for_reservation,
            })
        }
        Command::CancelAllocated(command) => {
            let CancelAllocated {
                sku,
                quantity,
                location,
                customer,
                for_reservation,
                ..
            } = *command;

            check_quantity(quantity)?;
            check(
                customer.as_deref().is_none_or(is_name),
                InvalidReason::CustomerLength,
            )?;
            let available = cell(state, &sku, &location)?.map_or(0, |cell| cell.allocated);
            if u64::from(quantity) > available {
                return Err(insufficient(sku, location, available));
            }
            Ok(Outcome::AllocationCancelled {
                sku,
                quantity,
                location,
                customer,
                for_reservation,
            })
        }
        // Everything else is decided elsewhere.
        _ => Err(invalid(InvalidReason::Malformed)),
    }
}

/// Checks that units can come to a location.
fn arrive(state: &State, sku: &str, location: &str, quantity: u32) -> Result<(), Outcome> {
    check_quantity(quantity)?;
    check_place(state, sku, location)?;
    let cell = cell(state, sku, location).ok().flatten();
    let fits = |cell: &Cell| {
        [cell.on_hand, cell.received, cell.returned]
            .iter()
            .all(|units| units.checked_add(quantity.into()).is_some())
    };
    check(cell.is_none_or(fits), InvalidReason::QuantityOverflow)
}

fn adjust(
    state: &State,
    cell: Option<&Cell>,
    sku: String,
    location: String,
    delta: i64,
    reason: String,
) -> Result<Outcome, Outcome> {
    let (on_hand, version) = cell.map_or((0, 0), |cell| (cell.on_hand, cell.version));
    // Units that are held, sold or kept for safety are not there to be taken.
    let available = cell.map_or(0, |cell| cell.sellable().min(cell.on_hand));
    if delta < 0 && delta.unsigned_abs() > available {
        return Err(insufficient(sku, location, available));
    }
    check_place(state, &sku, &location)?;
    let adjusted = cell.map_or(0, |cell| cell.adjusted).checked_add(delta);
    let sum = on_hand.checked_add_signed(delta).filter(|_| adjusted.is_some());
    let on_hand = sum.ok_or(invalid(InvalidReason::QuantityOverflow))?;
    Ok(Outcome::Adjusted {
        sku,
        location,
        delta,
        on_hand,
        version: version + 1,
        reason,
    })
}

/// The cell of a known article that is no kit; none if the article was never at that location.
fn cell<'a>(state: &'a State, sku: &str, location: &str) -> Result<Option<&'a Cell>, Outcome> {
    check_sku(sku)?;
    check_location(location)?;
    let article = article(state, sku)?;
    check(
        state.articles.article(article).kit.is_none(),
        InvalidReason::IsKit,
    )?;
    let cell = state.articles.find_cell(article, location);
    Ok(cell.map(|cell| state.articles.cell(cell)))
}

fn insufficient(sku: String, location: String, available: u64) -> Outcome {
    Outcome::Insufficient {
        sku,
        location,
        available,
    }
}
