//! What reads answer, as JSON values: the same fields at every door.

use serde_json::{Value, json};

use super::super::inventory::{ReservationView, StockView};

/// The units of an article.
pub(super) fn stock(stock: &StockView) -> Value {
    json!({
        "received": stock.received,
        "reserved": stock.reserved,
        "allocated": stock.allocated,
        "sellable": stock.sellable,
        "limit_per_customer": stock.limit_per_customer,
    })
}

/// Where a reservation stands.
pub(super) fn reservation(reservation: &ReservationView) -> Value {
    match reservation {
        ReservationView::Held {
            customer,
            lines,
            expires_at_ms,
        } => json!({
            "state": "held",
            "customer": customer,
            "lines": lines,
            "expires_at_ms": expires_at_ms,
        }),
        ReservationView::Committed => json!({"state": "committed"}),
        ReservationView::Released => json!({"state": "released"}),
        ReservationView::Expired => json!({"state": "expired"}),
        ReservationView::Refused(reason) => json!({"state": "refused", "reason": reason}),
    }
}
