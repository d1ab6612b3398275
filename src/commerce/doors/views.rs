//! What reads answer, as JSON values: the same fields at every door.

use serde_json::Value;

use super::super::inventory::{ReservationView, StockView};

/// The units of an article.
pub(super) fn stock(stock: &StockView) -> Value {
    // A struct of numbers, texts and lists of such has no failing case.
    serde_json::to_value(stock).unwrap_or_default()
}

/// Where a reservation stands.
pub(super) fn reservation(reservation: &ReservationView) -> Value {
    // Nor has this.
    serde_json::to_value(reservation).unwrap_or_default()
}
