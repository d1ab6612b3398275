//! The two forms of an event in a record value: compact, and JSON. The first byte tells which.
//!
//! ```text
//! compact := version(1) kind(1) flags(1) at_ms(varint)
//!            [reservation(16)] [command(16)] [command_offset(varint)] body
//! JSON    := '{' …
//! ```
//!
//! A reservation of one line is about 70 bytes compact and 300 bytes as JSON.

use uuid::Uuid;

use super::wire::{Cursor, DecodeError, put_text, put_uuid, put_varint};
use super::{Event, FailureReason, Field, InvalidReason, LINES_MAX, Line, Outcome};

/// First byte of the compact form; never `{`.
const VERSION: u8 = 1;
const _: () = assert!(VERSION != b'{');

/// The event names a reservation.
const HAS_RESERVATION: u8 = 1;
/// The command id follows; without it the id is that of the reservation, or nil if there is none.
const HAS_COMMAND: u8 = 2;
/// The command came from the commands partition.
const HAS_COMMAND_OFFSET: u8 = 4;

/// Fewest bytes of a line: the length of an empty name, and a quantity.
const LINE_SIZE_MIN_BYTES: usize = 2;

impl Event {
    /// Appends the compact form to `buffer`.
    pub fn write_compact(&self, buffer: &mut Vec<u8>) {
        let implied = self.reservation.unwrap_or(Uuid::nil());
        let mut flags = 0;
        flags |= if self.reservation.is_some() {
            HAS_RESERVATION
        } else {
            0
        };
        flags |= if self.command == implied { 0 } else { HAS_COMMAND };
        flags |= if self.command_offset.is_some() {
            HAS_COMMAND_OFFSET
        } else {
            0
        };
        buffer.extend_from_slice(&[VERSION, kind(&self.outcome), flags]);
        put_varint(buffer, self.at_ms as u64);
        if let Some(reservation) = self.reservation {
            put_uuid(buffer, reservation);
        }
        if self.command != implied {
            put_uuid(buffer, self.command);
        }
        if let Some(offset) = self.command_offset {
            put_varint(buffer, offset);
        }
        write_body(&self.outcome, self.at_ms, buffer);
    }

    /// The event of a record value of either form.
    pub fn decode(value: &[u8]) -> Result<Event, DecodeError> {
        if value.first() == Some(&b'{') {
            return Event::from_json(value).map_err(|error| DecodeError::NotJson {
                line: error.line(),
                column: error.column(),
            });
        }
        let mut cursor = Cursor::new(value);
        let version = cursor.byte()?;
        if version != VERSION {
            return Err(DecodeError::UnknownCode { code: version });
        }
        let kind = cursor.byte()?;
        let flags = cursor.byte()?;
        if flags & !(HAS_RESERVATION | HAS_COMMAND | HAS_COMMAND_OFFSET) != 0 {
            return Err(DecodeError::UnknownCode { code: flags });
        }
        let at_ms = cursor.i64()?;
        let reservation = if flags & HAS_RESERVATION == 0 {
            None
        } else {
            Some(cursor.uuid()?)
        };
        let command = if flags & HAS_COMMAND == 0 {
            reservation.unwrap_or(Uuid::nil())
        } else {
            cursor.uuid()?
        };
        let command_offset = if flags & HAS_COMMAND_OFFSET == 0 {
            None
        } else {
            Some(cursor.varint()?)
        };
        let outcome = read_body(kind, at_ms, &mut cursor)?;
        cursor.finish()?;
        Ok(Event {
            outcome,
            command,
            reservation,
            command_offset,
            at_ms,
        })
    }
}

fn kind(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Received { .. } => 0,
        Outcome::PolicySet { .. } => 1,
        Outcome::Reserved { .. } => 2,
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
    }
}

fn write_body(outcome: &Outcome, at_ms: i64, buffer: &mut Vec<u8>) {
    match outcome {
        Outcome::Received { sku, quantity } => {
            put_text(buffer, sku);
            put_varint(buffer, u64::from(*quantity));
        }
        Outcome::PolicySet {
            sku,
            limit_per_customer,
        } => {
            put_text(buffer, sku);
            // One more than the limit, so that zero means none.
            put_varint(buffer, limit_per_customer.map_or(0, |limit| u64::from(limit) + 1));
        }
        Outcome::Reserved {
            customer,
            lines,
            ttl_ms,
            expires_at_ms,
        } => {
            put_text(buffer, customer);
            put_varint(buffer, lines.len() as u64);
            for line in lines {
                put_text(buffer, &line.sku);
                put_varint(buffer, u64::from(line.quantity));
            }
            put_varint(buffer, u64::from(*ttl_ms));
            put_instant(buffer, at_ms, *expires_at_ms);
        }
        Outcome::Exists { expires_at_ms } => {
            buffer.push(u8::from(expires_at_ms.is_some()));
            if let Some(expires_at_ms) = expires_at_ms {
                put_instant(buffer, at_ms, *expires_at_ms);
            }
        }
        Outcome::Extended { expires_at_ms } => put_instant(buffer, at_ms, *expires_at_ms),
        Outcome::ExistsDifferent { field } => buffer.push(field_code(*field)),
        Outcome::AlreadyFailed { reason } => buffer.push(failure_code(*reason)),
        Outcome::SoldOut { sku, available } => {
            put_text(buffer, sku);
            put_varint(buffer, *available);
        }
        Outcome::CustomerLimit { sku, remaining } => {
            put_text(buffer, sku);
            put_varint(buffer, u64::from(*remaining));
        }
        Outcome::UnknownSku { sku } => put_text(buffer, sku),
        Outcome::Invalid { reason } => buffer.push(invalid_code(*reason)),
        Outcome::Throttled { retry_after_ms } => put_varint(buffer, u64::from(*retry_after_ms)),
        Outcome::Committed
        | Outcome::Released
        | Outcome::AlreadyCommitted
        | Outcome::AlreadyReleased
        | Outcome::Expired
        | Outcome::UnknownReservation
        | Outcome::ReservationExpired => {}
    }
}

fn read_body(kind: u8, at_ms: i64, cursor: &mut Cursor<'_>) -> Result<Outcome, DecodeError> {
    Ok(match kind {
        0 => Outcome::Received {
            sku: cursor.text()?.to_owned(),
            quantity: cursor.u32()?,
        },
        1 => {
            let sku = cursor.text()?.to_owned();
            let limit_per_customer = match cursor.varint()?.checked_sub(1) {
                None => None,
                Some(limit) => Some(u32::try_from(limit).map_err(|_| DecodeError::TooLarge)?),
            };
            Outcome::PolicySet {
                sku,
                limit_per_customer,
            }
        }
        2 => Outcome::Reserved {
            customer: cursor.text()?.to_owned(),
            lines: read_lines(cursor)?,
            ttl_ms: cursor.u32()?,
            expires_at_ms: read_instant(cursor, at_ms)?,
        },
        3 => Outcome::Exists {
            expires_at_ms: match cursor.byte()? {
                0 => None,
                1 => Some(read_instant(cursor, at_ms)?),
                code => return Err(DecodeError::UnknownCode { code }),
            },
        },
        4 => Outcome::ExistsDifferent {
            field: read_code(cursor, FIELDS)?,
        },
        5 => Outcome::AlreadyFailed {
            reason: read_code(cursor, FAILURES)?,
        },
        6 => Outcome::SoldOut {
            sku: cursor.text()?.to_owned(),
            available: cursor.varint()?,
        },
        7 => Outcome::CustomerLimit {
            sku: cursor.text()?.to_owned(),
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
            sku: cursor.text()?.to_owned(),
        },
        15 => Outcome::UnknownReservation,
        16 => Outcome::Invalid {
            reason: read_code(cursor, INVALIDS)?,
        },
        17 => Outcome::Throttled {
            retry_after_ms: cursor.u32()?,
        },
        18 => Outcome::ReservationExpired,
        code => return Err(DecodeError::UnknownCode { code }),
    })
}

fn read_lines(cursor: &mut Cursor<'_>) -> Result<Vec<Line>, DecodeError> {
    let count = cursor.varint()?;
    if count > LINES_MAX as u64 || count > (cursor.remaining() / LINE_SIZE_MIN_BYTES) as u64 {
        return Err(DecodeError::TooLarge);
    }
    (0..count)
        .map(|_| {
            Ok(Line {
                sku: cursor.text()?.to_owned(),
                quantity: cursor.u32()?,
            })
        })
        .collect()
}

/// Instants are written as their distance from the event's time, which is short; any distance wraps back.
fn put_instant(buffer: &mut Vec<u8>, at_ms: i64, instant_ms: i64) {
    put_varint(buffer, instant_ms.wrapping_sub(at_ms) as u64);
}

fn read_instant(cursor: &mut Cursor<'_>, at_ms: i64) -> Result<i64, DecodeError> {
    Ok(at_ms.wrapping_add(cursor.i64()?))
}

/// The codes of each enumeration are the places in these lists.
const FIELDS: &[Field] = &[Field::Customer, Field::Lines, Field::TtlMs];
const FAILURES: &[FailureReason] = &[
    FailureReason::SoldOut,
    FailureReason::CustomerLimit,
    FailureReason::UnknownSku,
    FailureReason::Invalid,
];
const INVALIDS: &[InvalidReason] = &[
    InvalidReason::Malformed,
    InvalidReason::UnsupportedCompression,
    InvalidReason::EmptyCart,
    InvalidReason::TooManyLines,
    InvalidReason::ZeroQuantity,
    InvalidReason::QuantityOverflow,
    InvalidReason::SkuLength,
    InvalidReason::CustomerLength,
    InvalidReason::TtlTooShort,
    InvalidReason::TtlTooLong,
];

fn field_code(field: Field) -> u8 {
    match field {
        Field::Customer => 0,
        Field::Lines => 1,
        Field::TtlMs => 2,
    }
}

fn failure_code(reason: FailureReason) -> u8 {
    match reason {
        FailureReason::SoldOut => 0,
        FailureReason::CustomerLimit => 1,
        FailureReason::UnknownSku => 2,
        FailureReason::Invalid => 3,
    }
}

fn invalid_code(reason: InvalidReason) -> u8 {
    match reason {
        InvalidReason::Malformed => 0,
        InvalidReason::UnsupportedCompression => 1,
        InvalidReason::EmptyCart => 2,
        InvalidReason::TooManyLines => 3,
        InvalidReason::ZeroQuantity => 4,
        InvalidReason::QuantityOverflow => 5,
        InvalidReason::SkuLength => 6,
        InvalidReason::CustomerLength => 7,
        InvalidReason::TtlTooShort => 8,
        InvalidReason::TtlTooLong => 9,
    }
}

fn read_code<T: Copy>(cursor: &mut Cursor<'_>, meanings: &[T]) -> Result<T, DecodeError> {
    let code = cursor.byte()?;
    meanings
        .get(usize::from(code))
        .copied()
        .ok_or(DecodeError::UnknownCode { code })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let sku = || "[a-z0-9-]{0,12}";
        let line = (sku(), any::<u32>()).prop_map(|(sku, quantity)| Line { sku, quantity });
        prop_oneof![
            (sku(), any::<u32>()).prop_map(|(sku, quantity)| Outcome::Received { sku, quantity }),
            (sku(), any::<Option<u32>>()).prop_map(|(sku, limit_per_customer)| Outcome::PolicySet {
                sku,
                limit_per_customer
            }),
            (
                sku(),
                prop::collection::vec(line, 0..5),
                any::<u32>(),
                any::<i64>()
            )
                .prop_map(|(customer, lines, ttl_ms, expires_at_ms)| Outcome::Reserved {
                    customer,
                    lines,
                    ttl_ms,
                    expires_at_ms
                }),
            any::<Option<i64>>().prop_map(|expires_at_ms| Outcome::Exists { expires_at_ms }),
            prop::sample::select(FIELDS).prop_map(|field| Outcome::ExistsDifferent { field }),
            prop::sample::select(FAILURES).prop_map(|reason| Outcome::AlreadyFailed { reason }),
            (sku(), any::<u64>()).prop_map(|(sku, available)| Outcome::SoldOut { sku, available }),
            (sku(), any::<u32>()).prop_map(|(sku, remaining)| Outcome::CustomerLimit { sku, remaining }),
            any::<i64>().prop_map(|expires_at_ms| Outcome::Extended { expires_at_ms }),
            Just(Outcome::Committed),
            Just(Outcome::Released),
            Just(Outcome::AlreadyCommitted),
            Just(Outcome::AlreadyReleased),
            Just(Outcome::Expired),
            sku().prop_map(|sku| Outcome::UnknownSku { sku }),
            Just(Outcome::UnknownReservation),
            prop::sample::select(INVALIDS).prop_map(|reason| Outcome::Invalid { reason }),
            any::<u32>().prop_map(|retry_after_ms| Outcome::Throttled { retry_after_ms }),
            Just(Outcome::ReservationExpired),
        ]
    }

    fn events() -> impl Strategy<Value = Event> {
        let id = || prop_oneof![Just(Uuid::nil()), (0..3u128).prop_map(Uuid::from_u128)];
        (
            outcomes(),
            id(),
            prop::option::of(id()),
            any::<Option<u64>>(),
            any::<i64>(),
        )
            .prop_map(|(outcome, command, reservation, command_offset, at_ms)| Event {
                outcome,
                command,
                reservation,
                command_offset,
                at_ms,
            })
    }

    proptest! {
        #[test]
        fn both_forms_decode_to_the_same_event(event in events()) {
            let (mut compact, mut json) = (Vec::new(), Vec::new());
            event.write_compact(&mut compact);
            event.write_json(&mut json);
            prop_assert_eq!(json[0], b'{');
            prop_assert_ne!(compact[0], b'{');
            prop_assert_eq!(&Event::decode(&compact), &Ok(event.clone()));
            prop_assert_eq!(&Event::decode(&json), &Ok(event));
            for end in 0..compact.len() {
                prop_assert!(Event::decode(&compact[..end]).is_err());
            }
            compact.push(0);
            prop_assert!(Event::decode(&compact).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..64), kind in 0..20u8) {
            let _ = Event::decode(&bytes);
            let _ = Event::decode(&[&[VERSION, kind, 7], &bytes[..]].concat());
        }
    }

    #[test]
    fn codes_match_their_lists() {
        assert!(
            FIELDS
                .iter()
                .enumerate()
                .all(|(n, field)| field_code(*field) == n as u8)
        );
        assert!(
            FAILURES
                .iter()
                .enumerate()
                .all(|(n, reason)| failure_code(*reason) == n as u8)
        );
        assert!(
            INVALIDS
                .iter()
                .enumerate()
                .all(|(n, reason)| invalid_code(*reason) == n as u8)
        );
    }

    #[test]
    fn a_reservation_of_one_line_is_small() {
        let event = Event {
            outcome: Outcome::Reserved {
                customer: "customer-1".into(),
                lines: vec![Line {
                    sku: "sku-000001".into(),
                    quantity: 1,
                }],
                ttl_ms: 600_000,
                expires_at_ms: 1_764_000_600_000,
            },
            command: Uuid::from_u128(7),
            reservation: Some(Uuid::from_u128(7)),
            command_offset: None,
            at_ms: 1_764_000_000_000,
        };
        let mut compact = Vec::new();
        event.write_compact(&mut compact);
        assert_eq!(compact.len(), 55);
    }
}
