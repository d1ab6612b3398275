//! The parts that the bodies of several outcomes share: lines, carts, optional fields.

use uuid::Uuid;

use crate::commerce::inventory::wire::{Cursor, DecodeError, put_text, put_uuid, put_varint};
use crate::commerce::inventory::{
    Cart, CartPolicy, Degrees, KIT_PARTS_MAX, KitPart, LINES_MAX, Line, LineFailure, LineRefusal, Point,
    SPLIT_LOCATIONS_MAX, Split,
};

/// Fewest bytes of an item of a list: the length of an empty name, or a number, or a code.
const ITEM_SIZE_MIN_BYTES: usize = 1;

/// Reads a list; its length costs nothing before its items are there.
fn read_list<T>(
    cursor: &mut Cursor<'_>,
    count_max: usize,
    read: impl Fn(&mut Cursor<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = cursor.varint()?;
    if count > count_max as u64 || count > (cursor.remaining() / ITEM_SIZE_MIN_BYTES) as u64 {
        return Err(DecodeError::TooLarge);
    }
    (0..count).map(|_| read(cursor)).collect()
}

pub(super) fn read_text(cursor: &mut Cursor<'_>) -> Result<String, DecodeError> {
    Ok(cursor.text()?.to_owned())
}

pub(super) fn read_code<T: Copy>(cursor: &mut Cursor<'_>, meanings: &[T]) -> Result<T, DecodeError> {
    let code = cursor.byte()?;
    meanings
        .get(usize::from(code))
        .copied()
        .ok_or(DecodeError::UnknownCode { code })
}

/// Reads whether something is there, and then that.
pub(super) fn read_optional<T>(
    cursor: &mut Cursor<'_>,
    read: impl FnOnce(&mut Cursor<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    match cursor.byte()? {
        0 => Ok(None),
        1 => read(cursor).map(Some),
        code => Err(DecodeError::UnknownCode { code }),
    }
}

/// One more than the number, so that zero means none; the number is at most 32 bits long.
pub(super) fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    put_varint(out, number.map_or(0, |number| number + 1));
}

pub(super) fn read_optional_u32(cursor: &mut Cursor<'_>) -> Result<Option<u32>, DecodeError> {
    match cursor.varint()?.checked_sub(1) {
        None => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| DecodeError::TooLarge),
    }
}

pub(super) fn put_optional_text(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

pub(super) fn read_optional_text(cursor: &mut Cursor<'_>) -> Result<Option<String>, DecodeError> {
    read_optional(cursor, read_text)
}

pub(super) fn put_optional_uuid(out: &mut Vec<u8>, id: Option<Uuid>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        put_uuid(out, id);
    }
}

pub(super) fn read_optional_uuid(cursor: &mut Cursor<'_>) -> Result<Option<Uuid>, DecodeError> {
    read_optional(cursor, |cursor| cursor.uuid())
}

/// Lines without their locations.
pub(super) fn put_lines(out: &mut Vec<u8>, lines: &[Line]) {
    put_varint(out, lines.len() as u64);
    for line in lines {
        put_text(out, &line.sku);
        put_varint(out, u64::from(line.quantity));
    }
}

pub(super) fn read_lines(cursor: &mut Cursor<'_>) -> Result<Vec<Line>, DecodeError> {
    read_list(cursor, LINES_MAX, |cursor| {
        Ok(Line::new(cursor.text()?, cursor.u32()?))
    })
}

pub(super) fn put_placed_lines(out: &mut Vec<u8>, lines: &[Line]) {
    put_varint(out, lines.len() as u64);
    for line in lines {
        put_text(out, &line.sku);
        put_varint(out, u64::from(line.quantity));
        put_text(out, &line.location);
    }
}

pub(super) fn read_placed_lines(cursor: &mut Cursor<'_>) -> Result<Vec<Line>, DecodeError> {
    read_list(cursor, LINES_MAX, |cursor| {
        Ok(Line::new(cursor.text()?, cursor.u32()?).at(cursor.text()?))
    })
}

pub(super) fn put_kit_parts(out: &mut Vec<u8>, parts: &[KitPart]) {
    put_varint(out, parts.len() as u64);
    for part in parts {
        put_text(out, &part.sku);
        put_varint(out, u64::from(part.quantity));
    }
}

pub(super) fn read_kit_parts(cursor: &mut Cursor<'_>) -> Result<Vec<KitPart>, DecodeError> {
    read_list(cursor, KIT_PARTS_MAX, |cursor| {
        Ok(KitPart {
            sku: read_text(cursor)?,
            quantity: cursor.u32()?,
        })
    })
}

pub(super) fn put_point(out: &mut Vec<u8>, point: Point) {
    for degrees in [point.latitude, point.longitude] {
        out.extend_from_slice(&degrees.0.to_be_bytes());
    }
}

pub(super) fn read_point(cursor: &mut Cursor<'_>) -> Result<Point, DecodeError> {
    let mut degrees = || {
        let bytes = cursor.bytes(4)?;
        Ok(Degrees(
            bytes.iter().fold(0, |bits, byte| (bits << 8) | i32::from(*byte)),
        ))
    };
    Ok(Point {
        latitude: degrees()?,
        longitude: degrees()?,
    })
}

const POLICIES: &[CartPolicy] = &[CartPolicy::All, CartPolicy::Partial, CartPolicy::PerLine];

pub(super) fn put_cart(out: &mut Vec<u8>, cart: Option<&Cart>) {
    out.push(u8::from(cart.is_some()));
    if let Some(cart) = cart {
        out.push(cart.policy as u8);
        put_split(out, cart.split.as_ref());
        put_placed_lines(out, &cart.lines);
        put_failures(out, &cart.failed);
    }
}

pub(super) fn read_cart(cursor: &mut Cursor<'_>) -> Result<Option<Cart>, DecodeError> {
    read_optional(cursor, |cursor| {
        Ok(Cart {
            policy: read_code(cursor, POLICIES)?,
            split: read_split(cursor)?,
            lines: read_placed_lines(cursor)?,
            failed: read_failures(cursor)?,
        })
    })
}

/// How a cart is spread; also part of a cart's digest.
pub(in crate::commerce::inventory) fn put_split(out: &mut Vec<u8>, split: Option<&Split>) {
    match split {
        None => out.push(0),
        Some(Split::Fixed { locations }) => {
            out.push(1);
            put_varint(out, locations.len() as u64);
            locations.iter().for_each(|location| put_text(out, location));
        }
        Some(Split::Nearest { near }) => {
            out.push(2);
            put_point(out, *near);
        }
        Some(Split::MostStock) => out.push(3),
    }
}

fn read_split(cursor: &mut Cursor<'_>) -> Result<Option<Split>, DecodeError> {
    Ok(match cursor.byte()? {
        0 => None,
        1 => Some(Split::Fixed {
            locations: read_list(cursor, SPLIT_LOCATIONS_MAX, read_text)?,
        }),
        2 => Some(Split::Nearest {
            near: read_point(cursor)?,
        }),
        3 => Some(Split::MostStock),
        code => return Err(DecodeError::UnknownCode { code }),
    })
}

pub(super) fn put_failures(out: &mut Vec<u8>, failed: &[LineFailure]) {
    put_varint(out, failed.len() as u64);
    for failure in failed {
        put_varint(out, u64::from(failure.index));
        match failure.refusal {
            LineRefusal::UnknownSku => out.push(0),
            LineRefusal::NotOpen { opens_at_ms } => {
                out.push(1);
                put_varint(out, opens_at_ms as u64);
            }
            LineRefusal::Closed { closed_at_ms } => {
                out.push(2);
                put_varint(out, closed_at_ms as u64);
            }
            LineRefusal::SoldOut { available } => {
                out.push(3);
                put_varint(out, available);
            }
            LineRefusal::CustomerLimit { remaining } => {
                out.push(4);
                put_varint(out, u64::from(remaining));
            }
        }
    }
}

pub(super) fn read_failures(cursor: &mut Cursor<'_>) -> Result<Vec<LineFailure>, DecodeError> {
    read_list(cursor, LINES_MAX, |cursor| {
        Ok(LineFailure {
            index: cursor.u32()?,
            refusal: match cursor.byte()? {
                0 => LineRefusal::UnknownSku,
                1 => LineRefusal::NotOpen {
                    opens_at_ms: cursor.i64()?,
                },
                2 => LineRefusal::Closed {
                    closed_at_ms: cursor.i64()?,
                },
                3 => LineRefusal::SoldOut {
                    available: cursor.varint()?,
                },
                4 => LineRefusal::CustomerLimit {
                    remaining: cursor.u32()?,
                },
                code => return Err(DecodeError::UnknownCode { code }),
            },
        })
    })
}
