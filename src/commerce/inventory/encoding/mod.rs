//! The two forms of an event in a record value: compact, and JSON. The first byte tells which.
//!
//! ```text
//! compact := version(1) kind(1) flags(1) at_ms(varint)
//!            [reservation(16)] [command(16)] [command_offset(varint)] body
//! JSON    := '{' …
//! ```
//!
//! A reservation of one line is about 70 bytes compact and 300 bytes as JSON.

mod body;
mod parts;

use uuid::Uuid;

use super::Event;
use super::wire::{Cursor, DecodeError, put_uuid, put_varint};

/// First byte of the compact form; never `{`.
const VERSION: u8 = 1;
const _: () = assert!(VERSION != b'{');

/// The event names a reservation.
const HAS_RESERVATION: u8 = 1;
/// The command id follows; without it the id is that of the reservation, or nil if there is none.
const HAS_COMMAND: u8 = 2;
/// The command came from the commands partition.
const HAS_COMMAND_OFFSET: u8 = 4;

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
        buffer.extend_from_slice(&[VERSION, body::kind(&self.outcome), flags]);
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
        body::write(&self.outcome, self.at_ms, buffer);
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
        let outcome = body::read(kind, at_ms, &mut cursor)?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commerce::inventory::{
        Cart, CartPolicy, Degrees, FailureReason, Field, InvalidReason, KitPart, Line, LineFailure,
        LineRefusal, Outcome, Point, Split,
    };

    fn name() -> impl Strategy<Value = String> {
        "[a-z0-9-]{0,12}"
    }

    fn lines(location: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<Line>> {
        let line = (name(), any::<u32>(), location)
            .prop_map(|(sku, quantity, location)| Line::new(sku, quantity).at(location));
        prop::collection::vec(line, 0..5)
    }

    fn placed_lines() -> impl Strategy<Value = Vec<Line>> {
        lines(name())
    }

    fn points() -> impl Strategy<Value = Point> {
        (any::<i32>(), any::<i32>()).prop_map(|(latitude, longitude)| Point {
            latitude: Degrees(latitude),
            longitude: Degrees(longitude),
        })
    }

    fn failures() -> impl Strategy<Value = Vec<LineFailure>> {
        let refusal = prop_oneof![
            Just(LineRefusal::UnknownSku),
            any::<i64>().prop_map(|opens_at_ms| LineRefusal::NotOpen { opens_at_ms }),
            any::<i64>().prop_map(|closed_at_ms| LineRefusal::Closed { closed_at_ms }),
            any::<u64>().prop_map(|available| LineRefusal::SoldOut { available }),
            any::<u32>().prop_map(|remaining| LineRefusal::CustomerLimit { remaining }),
        ];
        let failure = (any::<u32>(), refusal).prop_map(|(index, refusal)| LineFailure { index, refusal });
        prop::collection::vec(failure, 0..4)
    }

    fn carts() -> impl Strategy<Value = Cart> {
        let policy = prop::sample::select(&[CartPolicy::All, CartPolicy::Partial, CartPolicy::PerLine][..]);
        let split = prop_oneof![
            prop::collection::vec(name(), 0..4).prop_map(|locations| Split::Fixed { locations }),
            points().prop_map(|near| Split::Nearest { near }),
            Just(Split::MostStock),
        ];
        (policy, prop::option::of(split), placed_lines(), failures()).prop_map(
            |(policy, split, lines, failed)| Cart {
                policy,
                split,
                lines,
                failed,
            },
        )
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![about_reservations(), about_stock(), about_rules()]
    }

    fn about_reservations() -> impl Strategy<Value = Outcome> {
        let reserved = (
            name(),
            prop_oneof![placed_lines(), lines(Just(String::new()))],
            any::<u32>(),
            any::<i64>(),
            prop::option::of(carts()),
        )
            .prop_map(
                |(customer, lines, ttl_ms, expires_at_ms, cart)| Outcome::Reserved {
                    customer,
                    lines,
                    ttl_ms,
                    expires_at_ms,
                    cart: cart.map(Box::new),
                },
            );
        let offered = (name(), placed_lines(), any::<u32>(), any::<i64>()).prop_map(
            |(customer, lines, ttl_ms, expires_at_ms)| Outcome::Offered {
                customer,
                lines,
                ttl_ms,
                expires_at_ms,
            },
        );
        let waiting = (name(), name(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
            |(customer, sku, quantity, offer_ttl_ms, position)| Outcome::Waiting {
                customer,
                sku,
                quantity,
                offer_ttl_ms,
                position,
            },
        );
        prop_oneof![
            reserved,
            offered,
            waiting,
            any::<Option<i64>>().prop_map(|expires_at_ms| Outcome::Exists { expires_at_ms }),
            prop::sample::select(Field::ALL).prop_map(|field| Outcome::ExistsDifferent { field }),
            prop::sample::select(FailureReason::ALL).prop_map(|reason| Outcome::AlreadyFailed { reason }),
            (name(), any::<u64>()).prop_map(|(sku, available)| Outcome::SoldOut { sku, available }),
            (name(), any::<u32>()).prop_map(|(sku, remaining)| Outcome::CustomerLimit { sku, remaining }),
            (name(), any::<i64>()).prop_map(|(sku, opens_at_ms)| Outcome::NotOpen { sku, opens_at_ms }),
            (name(), any::<i64>()).prop_map(|(sku, closed_at_ms)| Outcome::Closed { sku, closed_at_ms }),
            failures().prop_map(|failed| Outcome::LineFailed { failed }),
            any::<i64>().prop_map(|expires_at_ms| Outcome::Extended { expires_at_ms }),
            placed_lines().prop_map(|lines| Outcome::CommittedPart { lines }),
            any::<u64>().prop_map(|position| Outcome::StillWaiting { position }),
            name().prop_map(|sku| Outcome::UnknownSku { sku }),
            prop::sample::select(InvalidReason::ALL).prop_map(|reason| Outcome::Invalid { reason }),
            any::<u32>().prop_map(|retry_after_ms| Outcome::Throttled { retry_after_ms }),
            prop::sample::select(
                &[
                    Outcome::Committed,
                    Outcome::Released,
                    Outcome::AlreadyCommitted,
                    Outcome::AlreadyReleased,
                    Outcome::Expired,
                    Outcome::UnknownReservation,
                    Outcome::LeftWaitlist,
                    Outcome::NotWaiting,
                    Outcome::ReservationExpired,
                ][..]
            ),
        ]
    }

    fn about_stock() -> impl Strategy<Value = Outcome> {
        let id = || prop::option::of(any::<u128>().prop_map(Uuid::from_u128));
        prop_oneof![
            (name(), any::<u32>(), name()).prop_map(|(sku, quantity, location)| Outcome::Received {
                sku,
                quantity,
                location
            }),
            (name(), any::<u32>(), name()).prop_map(|(sku, quantity, location)| Outcome::Announced {
                sku,
                quantity,
                location
            }),
            (name(), any::<u32>(), name()).prop_map(|(sku, quantity, location)| Outcome::Returned {
                sku,
                quantity,
                location
            }),
            (name(), name(), any::<i64>(), any::<u64>(), any::<u64>(), name()).prop_map(
                |(sku, location, delta, on_hand, version, reason)| Outcome::Adjusted {
                    sku,
                    location,
                    delta,
                    on_hand,
                    version,
                    reason
                }
            ),
            (name(), name(), any::<u64>(), any::<u64>()).prop_map(|(sku, location, on_hand, version)| {
                Outcome::Conflict {
                    sku,
                    location,
                    on_hand,
                    version,
                }
            }),
            (name(), name(), name(), any::<u32>()).prop_map(|(sku, from, to, quantity)| {
                Outcome::Transferred {
                    sku,
                    from,
                    to,
                    quantity,
                }
            }),
            (name(), name(), any::<u64>()).prop_map(|(sku, location, available)| Outcome::Insufficient {
                sku,
                location,
                available
            }),
            (name(), any::<u32>(), name(), id()).prop_map(|(sku, quantity, location, for_reservation)| {
                Outcome::Shipped {
                    sku,
                    quantity,
                    location,
                    for_reservation,
                }
            }),
            (name(), any::<u32>(), name(), prop::option::of(name()), id()).prop_map(
                |(sku, quantity, location, customer, for_reservation)| Outcome::AllocationCancelled {
                    sku,
                    quantity,
                    location,
                    customer,
                    for_reservation
                }
            ),
            (name(), any::<u64>()).prop_map(|(sku, sellable)| Outcome::LowStock { sku, sellable }),
            (name(), any::<u64>()).prop_map(|(sku, sellable)| Outcome::BackInStock { sku, sellable }),
            name().prop_map(|sku| Outcome::OutOfStock { sku }),
        ]
    }

    fn about_rules() -> impl Strategy<Value = Outcome> {
        let policy = (
            name(),
            any::<Option<u32>>(),
            any::<Option<u32>>(),
            name(),
            any::<u32>(),
            any::<u32>(),
        );
        let kit_part = (name(), any::<u32>()).prop_map(|(sku, quantity)| KitPart { sku, quantity });
        prop_oneof![
            policy.prop_map(
                |(sku, limit_per_customer, low_stock, location, safety, backorder_cap)| Outcome::PolicySet {
                    sku,
                    limit_per_customer,
                    low_stock,
                    location,
                    safety,
                    backorder_cap,
                }
            ),
            (name(), any::<Option<u32>>()).prop_map(|(sku, limit_per_customer)| Outcome::PolicySet {
                sku,
                limit_per_customer,
                low_stock: None,
                location: String::new(),
                safety: 0,
                backorder_cap: 0,
            }),
            (name(), any::<i64>(), any::<Option<i64>>()).prop_map(|(sku, opens_at_ms, closes_at_ms)| {
                Outcome::SaleOpened {
                    sku,
                    opens_at_ms,
                    closes_at_ms,
                }
            }),
            name().prop_map(|sku| Outcome::SaleClosed { sku }),
            (name(), points()).prop_map(|(location, point)| Outcome::LocationSet { location, point }),
            (name(), prop::collection::vec(kit_part, 0..4))
                .prop_map(|(sku, parts)| Outcome::KitDefined { sku, parts }),
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
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..64), kind in 0..47u8) {
            let _ = Event::decode(&bytes);
            let _ = Event::decode(&[&[VERSION, kind, 7], &bytes[..]].concat());
        }
    }

    #[test]
    fn a_reservation_of_one_line_is_small() {
        let event = Event {
            outcome: Outcome::Reserved {
                customer: "customer-1".into(),
                lines: vec![Line::new("sku-000001", 1)],
                ttl_ms: 600_000,
                expires_at_ms: 1_764_000_600_000,
                cart: None,
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
