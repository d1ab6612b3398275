//! What follows the head of a compact event: the fields of each outcome.
//!
//! The kinds 0 to 2 are the short forms of frequent outcomes, for what happens at the default location and needs no
//! further fields; their long forms have kinds of their own.

use super::parts::{
    put_cart, put_failures, put_kit_parts, put_lines, put_optional, put_optional_text, put_optional_uuid,
    put_placed_lines, put_point, read_cart, read_code, read_failures, read_kit_parts, read_lines,
    read_optional, read_optional_text, read_optional_u32, read_optional_uuid, read_placed_lines, read_point,
    read_text,
};
use crate::commerce::inventory::wire::{Cursor, DecodeError, put_text, put_varint};
use crate::commerce::inventory::{FailureReason, Field, InvalidReason, Line, Outcome};

fn are_unplaced(lines: &[Line]) -> bool {
    lines.iter().all(|line| line.location.is_empty())
}

pub(super) fn kind(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Received { location, .. } if location.is_empty() => 0,
        Outcome::PolicySet {
            low_stock: None,
            location,
            safety: 0,
            backorder_cap: 0,
            ..
        } if location.is_empty() => 1,
        Outcome::Reserved {
            cart: None, lines, ..
        } if are_unplaced(lines) => 2,
        Outcome::Exists { .. } => 3,
        Outcome::ExistsDifferent { .. } => 4,
        Outcome::AlreadyFailed { .. } => 5,
        Outcome::SoldOut { .. } => 6,
        Outcome::CustomerLimit { .. } => 7,
        Outcome::Extended { .. } => 8,
        Outcome::Committed => 9,
        Outcome::Released => 10,
        Outcome::AlreadyCommitted => 11,
        Outcome::AlreadyReleased => 12,
        Outcome::Expired => 13,
        Outcome::UnknownSku { .. } => 14,
        Outcome::UnknownReservation => 15,
        Outcome::Invalid { .. } => 16,
        Outcome::Throttled { .. } => 17,
        Outcome::ReservationExpired => 18,
        Outcome::Received { .. } => 19,
        Outcome::PolicySet { .. } => 20,
        Outcome::Reserved { .. } => 21,
        Outcome::Announced { .. } => 22,
        Outcome::Adjusted { .. } => 23,
        Outcome::Conflict { .. } => 24,
        Outcome::Transferred { .. } => 25,
        Outcome::Returned { .. } => 26,
        Outcome::Insufficient { .. } => 27,
        Outcome::SaleOpened { .. } => 28,
        Outcome::SaleClosed { .. } => 29,
        Outcome::LocationSet { .. } => 30,
        Outcome::KitDefined { .. } => 31,
        Outcome::NotOpen { .. } => 32,
        Outcome::Closed { .. } => 33,
        Outcome::LineFailed { .. } => 34,
        Outcome::CommittedPart { .. } => 35,
        Outcome::Shipped { .. } => 36,
        Outcome::AllocationCancelled { .. } => 37,
        Outcome::Waiting { .. } => 38,
        Outcome::LeftWaitlist => 39,
        Outcome::StillWaiting { .. } => 40,
        Outcome::NotWaiting => 41,
        Outcome::Offered { .. } => 42,
        Outcome::LowStock { .. } => 43,
        Outcome::OutOfStock { .. } => 44,
        Outcome::BackInStock { .. } => 45,
    }
}

pub(super) fn write(outcome: &Outcome, at_ms: i64, out: &mut Vec<u8>) {
    let kind = kind(outcome);
    match outcome {
        Outcome::Received {
            sku,
            quantity,
            location,
        } => {
            put_text(out, sku);
            put_varint(out, u64::from(*quantity));
            if kind != 0 {
                put_text(out, location);
            }
        }
        Outcome::Announced {
            sku,
            quantity,
            location,
        }
        | Outcome::Returned {
            sku,
            quantity,
            location,
        } => {
            put_text(out, sku);
            put_varint(out, u64::from(*quantity));
            put_text(out, location);
        }
        Outcome::PolicySet {
            sku,
            limit_per_customer,
            low_stock,
            location,
            safety,
            backorder_cap,
        } => {
            put_text(out, sku);
            put_optional(out, limit_per_customer.map(u64::from));
            if kind != 1 {
                put_optional(out, low_stock.map(u64::from));
                put_text(out, location);
                put_varint(out, u64::from(*safety));
                put_varint(out, u64::from(*backorder_cap));
            }
        }
        Outcome::Reserved {
            customer,
            lines,
            ttl_ms,
            expires_at_ms,
            cart,
        } => {
            put_text(out, customer);
            if kind == 2 {
                put_lines(out, lines);
            } else {
                put_placed_lines(out, lines);
            }
            put_varint(out, u64::from(*ttl_ms));
            put_instant(out, at_ms, *expires_at_ms);
            if kind != 2 {
                put_cart(out, cart.as_deref());
            }
        }
        Outcome::Exists { expires_at_ms } => {
            out.push(u8::from(expires_at_ms.is_some()));
            if let Some(expires_at_ms) = expires_at_ms {
                put_instant(out, at_ms, *expires_at_ms);
            }
        }
        Outcome::Extended { expires_at_ms } => put_instant(out, at_ms, *expires_at_ms),
        Outcome::ExistsDifferent { field } => out.push(*field as u8),
        Outcome::AlreadyFailed { reason } => out.push(*reason as u8),
        Outcome::Invalid { reason } => out.push(*reason as u8),
        Outcome::SoldOut { sku, available } => {
            put_text(out, sku);
            put_varint(out, *available);
        }
        Outcome::CustomerLimit { sku, remaining } => {
            put_text(out, sku);
            put_varint(out, u64::from(*remaining));
        }
        Outcome::UnknownSku { sku } | Outcome::SaleClosed { sku } | Outcome::OutOfStock { sku } => {
            put_text(out, sku);
        }
        Outcome::Throttled { retry_after_ms } => put_varint(out, u64::from(*retry_after_ms)),
        Outcome::NotOpen {
            sku,
            opens_at_ms: instant_ms,
        }
        | Outcome::Closed {
            sku,
            closed_at_ms: instant_ms,
        } => {
            put_text(out, sku);
            put_instant(out, at_ms, *instant_ms);
        }
        Outcome::LineFailed { failed } => put_failures(out, failed),
        Outcome::CommittedPart { lines } => put_placed_lines(out, lines),
        Outcome::Waiting {
            customer,
            sku,
            quantity,
            offer_ttl_ms,
            position,
        } => {
            put_text(out, customer);
            put_text(out, sku);
            put_varint(out, u64::from(*quantity));
            put_varint(out, u64::from(*offer_ttl_ms));
            put_varint(out, *position);
        }
        Outcome::StillWaiting { position } => put_varint(out, *position),
        Outcome::Offered {
            customer,
            lines,
            ttl_ms,
            expires_at_ms,
        } => {
            put_text(out, customer);
            put_placed_lines(out, lines);
            put_varint(out, u64::from(*ttl_ms));
            put_instant(out, at_ms, *expires_at_ms);
        }
        Outcome::LowStock { sku, sellable } | Outcome::BackInStock { sku, sellable } => {
            put_text(out, sku);
            put_varint(out, *sellable);
        }
        Outcome::Adjusted { .. }
        | Outcome::Conflict { .. }
        | Outcome::Transferred { .. }
        | Outcome::Insufficient { .. }
        | Outcome::Shipped { .. }
        | Outcome::AllocationCancelled { .. } => write_movement(outcome, out),
        Outcome::SaleOpened { .. } | Outcome::LocationSet { .. } | Outcome::KitDefined { .. } => {
            write_rule(outcome, at_ms, out);
        }
        Outcome::Committed
        | Outcome::Released
        | Outcome::AlreadyCommitted
        | Outcome::AlreadyReleased
        | Outcome::Expired
        | Outcome::UnknownReservation
        | Outcome::LeftWaitlist
        | Outcome::NotWaiting
        | Outcome::ReservationExpired => {}
    }
}

fn write_movement(outcome: &Outcome, out: &mut Vec<u8>) {
    match outcome {
        Outcome::Adjusted {
            sku,
            location,
            delta,
            on_hand,
            version,
            reason,
        } => {
            put_text(out, sku);
            put_text(out, location);
            put_varint(out, *delta as u64);
            put_varint(out, *on_hand);
            put_varint(out, *version);
            put_text(out, reason);
        }
        Outcome::Conflict {
            sku,
            location,
            on_hand,
            version,
        } => {
            put_text(out, sku);
            put_text(out, location);
            put_varint(out, *on_hand);
            put_varint(out, *version);
        }
        Outcome::Transferred {
            sku,
            from,
            to,
            quantity,
        } => {
            put_text(out, sku);
            put_text(out, from);
            put_text(out, to);
            put_varint(out, u64::from(*quantity));
        }
        Outcome::Insufficient {
            sku,
            location,
            available,
        } => {
            put_text(out, sku);
            put_text(out, location);
            put_varint(out, *available);
        }
        Outcome::Shipped {
            sku,
            quantity,
            location,
            for_reservation,
        } => {
            put_text(out, sku);
            put_varint(out, u64::from(*quantity));
            put_text(out, location);
            put_optional_uuid(out, *for_reservation);
        }
        Outcome::AllocationCancelled {
            sku,
            quantity,
            location,
            customer,
            for_reservation,
        } => {
            put_text(out, sku);
            put_varint(out, u64::from(*quantity));
            put_text(out, location);
            put_optional_text(out, customer.as_deref());
            put_optional_uuid(out, *for_reservation);
        }
        _ => {}
    }
}

fn write_rule(outcome: &Outcome, at_ms: i64, out: &mut Vec<u8>) {
    match outcome {
        Outcome::SaleOpened {
            sku,
            opens_at_ms,
            closes_at_ms,
        } => {
            put_text(out, sku);
            put_instant(out, at_ms, *opens_at_ms);
            out.push(u8::from(closes_at_ms.is_some()));
            if let Some(closes_at_ms) = closes_at_ms {
                put_instant(out, at_ms, *closes_at_ms);
            }
        }
        Outcome::LocationSet { location, point } => {
            put_text(out, location);
            put_point(out, *point);
        }
        Outcome::KitDefined { sku, parts } => {
            put_text(out, sku);
            put_kit_parts(out, parts);
        }
        _ => {}
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind")]
pub(super) fn read(kind: u8, at_ms: i64, cursor: &mut Cursor<'_>) -> Result<Outcome, DecodeError> {
    Ok(match kind {
        0 | 19 => Outcome::Received {
            sku: read_text(cursor)?,
            quantity: cursor.u32()?,
            location: if kind == 0 {
                String::new()
            } else {
                read_text(cursor)?
            },
        },
        1 => Outcome::PolicySet {
            sku: read_text(cursor)?,
            limit_per_customer: read_optional_u32(cursor)?,
            low_stock: None,
            location: String::new(),
            safety: 0,
            backorder_cap: 0,
        },
        2 => Outcome::Reserved {
            customer: read_text(cursor)?,
            lines: read_lines(cursor)?,
            ttl_ms: cursor.u32()?,
            expires_at_ms: read_instant(cursor, at_ms)?,
            cart: None,
        },
        3 => Outcome::Exists {
            expires_at_ms: read_optional_instant(cursor, at_ms)?,
        },
        4 => Outcome::ExistsDifferent {
            field: read_code(cursor, Field::ALL)?,
        },
        5 => Outcome::AlreadyFailed {
            reason: read_code(cursor, FailureReason::ALL)?,
        },
        6 => Outcome::SoldOut {
            sku: read_text(cursor)?,
            available: cursor.varint()?,
        },
        7 => Outcome::CustomerLimit {
            sku: read_text(cursor)?,
            remaining: cursor.u32()?,
        },
        8 => Outcome::Extended {
            expires_at_ms: read_instant(cursor, at_ms)?,
        },
        9 => Outcome::Committed,
        10 => Outcome::Released,
        11 => Outcome::AlreadyCommitted,
        12 => Outcome::AlreadyReleased,
        13 => Outcome::Expired,
        14 => Outcome::UnknownSku {
            sku: read_text(cursor)?,
        },
        15 => Outcome::UnknownReservation,
        16 => Outcome::Invalid {
            reason: read_code(cursor, InvalidReason::ALL)?,
        },
        17 => Outcome::Throttled {
            retry_after_ms: cursor.u32()?,
        },
        18 => Outcome::ReservationExpired,
        20 => Outcome::PolicySet {
            sku: read_text(cursor)?,
            limit_per_customer: read_optional_u32(cursor)?,
            low_stock: read_optional_u32(cursor)?,
            location: read_text(cursor)?,
            safety: cursor.u32()?,
            backorder_cap: cursor.u32()?,
        },
        21 => Outcome::Reserved {
            customer: read_text(cursor)?,
            lines: read_placed_lines(cursor)?,
            ttl_ms: cursor.u32()?,
            expires_at_ms: read_instant(cursor, at_ms)?,
            cart: read_cart(cursor)?.map(Box::new),
        },
        22 => Outcome::Announced {
            sku: read_text(cursor)?,
            quantity: cursor.u32()?,
            location: read_text(cursor)?,
        },
        23 => Outcome::Adjusted {
            sku: read_text(cursor)?,
            location: read_text(cursor)?,
            delta: cursor.i64()?,
            on_hand: cursor.varint()?,
            version: cursor.varint()?,
            reason: read_text(cursor)?,
        },
        24 => Outcome::Conflict {
            sku: read_text(cursor)?,
            location: read_text(cursor)?,
            on_hand: cursor.varint()?,
            version: cursor.varint()?,
        },
        25 => Outcome::Transferred {
            sku: read_text(cursor)?,
            from: read_text(cursor)?,
            to: read_text(cursor)?,
            quantity: cursor.u32()?,
        },
        26 => Outcome::Returned {
            sku: read_text(cursor)?,
            quantity: cursor.u32()?,
            location: read_text(cursor)?,
        },
        27 => Outcome::Insufficient {
            sku: read_text(cursor)?,
            location: read_text(cursor)?,
            available: cursor.varint()?,
        },
        28 => Outcome::SaleOpened {
            sku: read_text(cursor)?,
            opens_at_ms: read_instant(cursor, at_ms)?,
            closes_at_ms: read_optional_instant(cursor, at_ms)?,
        },
        29 => Outcome::SaleClosed {
            sku: read_text(cursor)?,
        },
        30 => Outcome::LocationSet {
            location: read_text(cursor)?,
            point: read_point(cursor)?,
        },
        31 => Outcome::KitDefined {
            sku: read_text(cursor)?,
            parts: read_kit_parts(cursor)?,
        },
        32 => Outcome::NotOpen {
            sku: read_text(cursor)?,
            opens_at_ms: read_instant(cursor, at_ms)?,
        },
        33 => Outcome::Closed {
            sku: read_text(cursor)?,
            closed_at_ms: read_instant(cursor, at_ms)?,
        },
        34 => Outcome::LineFailed {
            failed: read_failures(cursor)?,
        },
        35 => Outcome::CommittedPart {
            lines: read_placed_lines(cursor)?,
        },
        36 => Outcome::Shipped {
            sku: read_text(cursor)?,
            quantity: cursor.u32()?,
            location: read_text(cursor)?,
            for_reservation: read_optional_uuid(cursor)?,
        },
        37 => Outcome::AllocationCancelled {
            sku: read_text(cursor)?,
            quantity: cursor.u32()?,
            location: read_text(cursor)?,
            customer: read_optional_text(cursor)?,
            for_reservation: read_optional_uuid(cursor)?,
        },
        38 => Outcome::Waiting {
            customer: read_text(cursor)?,
            sku: read_text(cursor)?,
            quantity: cursor.u32()?,
            offer_ttl_ms: cursor.u32()?,
            position: cursor.varint()?,
        },
        39 => Outcome::LeftWaitlist,
        40 => Outcome::StillWaiting {
            position: cursor.varint()?,
        },
        41 => Outcome::NotWaiting,
        42 => Outcome::Offered {
            customer: read_text(cursor)?,
            lines: read_placed_lines(cursor)?,
            ttl_ms: cursor.u32()?,
            expires_at_ms: read_instant(cursor, at_ms)?,
        },
        43 => Outcome::LowStock {
            sku: read_text(cursor)?,
            sellable: cursor.varint()?,
        },
        44 => Outcome::OutOfStock {
            sku: read_text(cursor)?,
        },
        45 => Outcome::BackInStock {
            sku: read_text(cursor)?,
            sellable: cursor.varint()?,
        },
        code => return Err(DecodeError::UnknownCode { code }),
    })
}

/// Instants are written as their distance from the event's time, which is short; any distance wraps back.
fn put_instant(out: &mut Vec<u8>, at_ms: i64, instant_ms: i64) {
    put_varint(out, instant_ms.wrapping_sub(at_ms) as u64);
}

fn read_instant(cursor: &mut Cursor<'_>, at_ms: i64) -> Result<i64, DecodeError> {
    Ok(at_ms.wrapping_add(cursor.i64()?))
}

fn read_optional_instant(cursor: &mut Cursor<'_>, at_ms: i64) -> Result<Option<i64>, DecodeError> {
    read_optional(cursor, |cursor| read_instant(cursor, at_ms))
}
