//! The items of a snapshot that are about stock, rules and waiting lists; see `snapshot` for their order.

use uuid::Uuid;

use super::asked::Asked;
use super::expired::ExpiredHold;
use super::holds::HoldLine;
use super::place::{Degrees, Point};
use super::stock::{Cell, Level, Part, Window};
use super::waitlist::Waiter;
use super::wire::{Cursor, DecodeError, put_text, put_uuid, put_varint};
use super::{CartPolicy, State};

/// One more than a number of 32 bits, so that zero means none.
fn put_optional(out: &mut Vec<u8>, number: Option<u32>) {
    put_varint(out, number.map_or(0, |number| u64::from(number) + 1));
}

fn take_optional(cursor: &mut Cursor<'_>) -> Result<Option<u32>, DecodeError> {
    match cursor.varint()?.checked_sub(1) {
        None => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| DecodeError::TooLarge),
    }
}

/// The code of an enumeration by its place in a list.
fn take_code<T: Copy>(cursor: &mut Cursor<'_>, meanings: &[T]) -> Result<T, DecodeError> {
    let code = cursor.byte()?;
    let meaning = meanings.get(usize::from(code)).copied();
    meaning.ok_or(DecodeError::UnknownCode { code })
}

/// A number below a count, which what it numbers must have.
fn take_index(cursor: &mut Cursor<'_>, count: usize) -> Result<u32, DecodeError> {
    let index = cursor.u32()?;
    if (index as usize) < count {
        Ok(index)
    } else {
        Err(DecodeError::Contradiction)
    }
}

pub(super) fn put_location(out: &mut Vec<u8>, state: &State, index: u32) {
    put_text(out, state.articles.locations.name(index));
    let point = state.articles.locations.point(index);
    out.push(u8::from(point.is_some()));
    if let Some(point) = point {
        put_varint(out, point.latitude.0 as u64);
        put_varint(out, point.longitude.0 as u64);
    }
}

pub(super) fn take_location(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let index = state.articles.locations.find_or_create(cursor.text()?);
    let degrees = |number: i64| {
        i32::try_from(number)
            .map(Degrees)
            .map_err(|_| DecodeError::TooLarge)
    };
    let point = match cursor.byte()? {
        0 => None,
        _ => Some(Point {
            latitude: degrees(cursor.i64()?)?,
            longitude: degrees(cursor.i64()?)?,
        }),
    };
    state.articles.locations.set_point(index, point);
    Ok(())
}

pub(super) fn put_article(out: &mut Vec<u8>, state: &State, index: u32) {
    let article = state.articles.article(index);
    put_text(out, state.articles.sku(index));
    put_optional(out, article.limit_per_customer);
    put_optional(out, article.low_stock);
    out.push(article.level as u8);
    out.push(u8::from(article.window.is_some()));
    if let Some(window) = article.window {
        put_varint(out, window.opens_at_ms as u64);
        out.push(u8::from(window.closes_at_ms.is_some()));
        if let Some(closes_at_ms) = window.closes_at_ms {
            put_varint(out, closes_at_ms as u64);
        }
    }
}

pub(super) fn take_article(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let before = state.articles.len();
    let index = state.articles.restore_article(cursor.text()?);
    if index as usize != before {
        return Err(DecodeError::Contradiction);
    }
    let limit_per_customer = take_optional(cursor)?;
    let low_stock = take_optional(cursor)?;
    let level = take_code(cursor, Level::ALL)?;
    let window = match cursor.byte()? {
        0 => None,
        _ => Some(Window {
            opens_at_ms: cursor.i64()?,
            closes_at_ms: match cursor.byte()? {
                0 => None,
                _ => Some(cursor.i64()?),
            },
        }),
    };
    let article = state.articles.article_mut(index);
    article.limit_per_customer = limit_per_customer;
    article.low_stock = low_stock;
    article.level = level;
    article.window = window;
    Ok(())
}

pub(super) fn put_cell(out: &mut Vec<u8>, cell: &Cell) {
    for number in [
        u64::from(cell.article),
        u64::from(cell.location),
        cell.on_hand,
        cell.allocated,
        u64::from(cell.safety),
        u64::from(cell.backorder_cap),
        cell.incoming,
        cell.received,
        cell.returned,
        cell.shipped,
        cell.adjusted as u64,
        cell.transferred as u64,
        cell.version,
    ] {
        put_varint(out, number);
    }
}

/// Takes a cell without its reserved units, which its holds will tell.
pub(super) fn take_cell(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let article = take_index(cursor, state.articles.len())?;
    let location = take_index(cursor, state.articles.locations.len())?;
    let mut cell = Cell::new(article, location);
    cell.on_hand = cursor.varint()?;
    cell.allocated = cursor.varint()?;
    cell.safety = cursor.u32()?;
    cell.backorder_cap = cursor.u32()?;
    cell.incoming = cursor.varint()?;
    cell.received = cursor.varint()?;
    cell.returned = cursor.varint()?;
    cell.shipped = cursor.varint()?;
    cell.adjusted = cursor.i64()?;
    cell.transferred = cursor.i64()?;
    cell.version = cursor.varint()?;
    if cell.is_sound() && state.articles.restore_cell(cell) {
        Ok(())
    } else {
        Err(DecodeError::Contradiction)
    }
}

pub(super) fn put_kit(out: &mut Vec<u8>, kit: u32, parts: &[Part]) {
    put_varint(out, u64::from(kit));
    put_varint(out, parts.len() as u64);
    for part in parts {
        put_varint(out, u64::from(part.article));
        put_varint(out, u64::from(part.quantity));
    }
}

pub(super) fn take_kit(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let count = state.articles.len();
    let kit = take_index(cursor, count)?;
    let mut parts = Vec::new();
    for _ in 0..cursor.varint()? {
        parts.push(Part {
            article: take_index(cursor, count)?,
            quantity: cursor.u32()?,
        });
    }
    state.articles.set_kit(kit, parts.into());
    Ok(())
}

pub(super) fn put_hold_lines(out: &mut Vec<u8>, lines: &[HoldLine]) {
    put_varint(out, lines.len() as u64);
    for line in lines {
        put_varint(out, u64::from(line.cell));
        put_varint(out, u64::from(line.quantity));
        out.push(u8::from(line.counted));
    }
}

/// Takes the lines of a hold, whose cells may not be known yet.
pub(super) fn take_hold_lines(cursor: &mut Cursor<'_>) -> Result<Vec<HoldLine>, DecodeError> {
    let mut lines = Vec::new();
    for _ in 0..cursor.varint()? {
        lines.push(HoldLine {
            cell: cursor.u32()?,
            quantity: cursor.u32()?,
            counted: cursor.byte()? != 0,
        });
    }
    Ok(lines)
}

pub(super) fn put_asked(out: &mut Vec<u8>, reservation: Uuid, asked: &Asked) {
    put_uuid(out, reservation);
    out.push(asked.policy as u8);
    put_varint(out, asked.split);
    put_varint(out, asked.lines);
}

pub(super) fn take_asked(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let reservation = cursor.uuid()?;
    let asked = Asked {
        policy: take_code(cursor, CartPolicy::ALL)?,
        split: cursor.varint()?,
        lines: cursor.varint()?,
    };
    state.asked.insert(reservation, asked);
    Ok(())
}

pub(super) fn put_expired(out: &mut Vec<u8>, state: &State, reservation: Uuid, hold: &ExpiredHold) {
    put_uuid(out, reservation);
    put_text(out, state.totals.customer(hold.customer));
    put_varint(out, hold.at_ms as u64);
    put_hold_lines(out, &hold.lines);
}

pub(super) fn take_expired(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let reservation = cursor.uuid()?;
    let hold = ExpiredHold {
        customer: state.totals.add_customer(cursor.text()?),
        at_ms: cursor.i64()?,
        lines: take_hold_lines(cursor)?.into(),
    };
    state.expired.keep(reservation, hold);
    Ok(())
}

pub(super) fn put_waiter(out: &mut Vec<u8>, state: &State, article: u32, waiter: &Waiter) {
    put_varint(out, u64::from(article));
    put_uuid(out, waiter.reservation);
    put_text(out, state.totals.customer(waiter.customer));
    put_varint(out, u64::from(waiter.quantity));
    put_varint(out, u64::from(waiter.offer_ttl_ms));
}

pub(super) fn take_waiter(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let article = take_index(cursor, state.articles.len())?;
    let waiter = Waiter {
        reservation: cursor.uuid()?,
        customer: state.totals.add_customer(cursor.text()?),
        quantity: cursor.u32()?,
        offer_ttl_ms: cursor.u32()?,
    };
    state.waitlists.join(article, waiter);
    state.articles.article_mut(article).waiting += 1;
    Ok(())
}
