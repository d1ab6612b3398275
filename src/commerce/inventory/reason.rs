//! Why the engine refused: one word for each fact that a caller can act on.

use serde::{Deserialize, Serialize};

/// The part of a reservation that differs from the one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Another customer.
    Customer,
    /// Another cart.
    Lines,
    /// Another time to live.
    TtlMs,
    /// Another policy: how much of the cart must be there.
    Policy,
    /// Another way to spread the cart over locations.
    Split,
}

impl Field {
    /// Every field, each at the place of its code.
    pub(super) const ALL: &[Field] = &[
        Field::Customer,
        Field::Lines,
        Field::TtlMs,
        Field::Policy,
        Field::Split,
    ];
}

/// Why a reservation id was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// There were not enough units.
    SoldOut,
    /// The customer's limit was reached.
    CustomerLimit,
    /// An article did not exist.
    UnknownSku,
    /// The request made no sense.
    Invalid,
    /// The sale of an article had not begun.
    NotOpen,
    /// The sale of an article was over.
    Closed,
    /// No line of the cart could be held.
    LineFailed,
}

impl FailureReason {
    /// Every reason, each at the place of its code.
    pub(super) const ALL: &[FailureReason] = &[
        FailureReason::SoldOut,
        FailureReason::CustomerLimit,
        FailureReason::UnknownSku,
        FailureReason::Invalid,
        FailureReason::NotOpen,
        FailureReason::Closed,
        FailureReason::LineFailed,
    ];
}

/// Why a command makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidReason {
    /// The record's value is not a command.
    Malformed,
    /// The record batch is compressed in a way that this build cannot read.
    UnsupportedCompression,
    /// The cart has no line.
    EmptyCart,
    /// The cart has too many lines, as sent or once it is spread over locations and the parts of kits.
    TooManyLines,
    /// A quantity is zero.
    ZeroQuantity,
    /// A quantity, or the sum of quantities of one article, is too large.
    QuantityOverflow,
    /// The article's name is empty or too long.
    SkuLength,
    /// The customer's name is empty or too long.
    CustomerLength,
    /// The time to live is zero.
    TtlTooShort,
    /// The time to live is above the maximum.
    TtlTooLong,
    /// The location's name is too long, or empty where a name is needed.
    LocationLength,
    /// The reason of an adjustment is too long.
    ReasonLength,
    /// An adjustment names neither the expected units nor the expected version.
    NothingExpected,
    /// A transfer ends where it begins.
    SameLocation,
    /// A latitude is not within 90 degrees, or a longitude not within 180.
    Coordinates,
    /// A sale window ends before it begins, or at once.
    EmptyWindow,
    /// A fixed split names no location, too many, or one of them twice.
    SplitLocations,
    /// A kit has no parts, too many, or one of them twice.
    KitParts,
    /// A part of the kit is a kit, or the kit is a part of another.
    NestedKit,
    /// The article has units of its own, so it cannot be a kit.
    KitWithUnits,
    /// The article is a kit: it has no units, limits and waiting list of its own; its parts have.
    IsKit,
    /// Units are to be committed that are not in the hold.
    NotInHold,
}

impl InvalidReason {
    /// Every reason, each at the place of its code.
    pub(super) const ALL: &[InvalidReason] = &[
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
        InvalidReason::LocationLength,
        InvalidReason::ReasonLength,
        InvalidReason::NothingExpected,
        InvalidReason::SameLocation,
        InvalidReason::Coordinates,
        InvalidReason::EmptyWindow,
        InvalidReason::SplitLocations,
        InvalidReason::KitParts,
        InvalidReason::NestedKit,
        InvalidReason::KitWithUnits,
        InvalidReason::IsKit,
        InvalidReason::NotInHold,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places() {
        let is_place = |(place, code): (usize, u8)| place == usize::from(code);
        assert!(
            Field::ALL
                .iter()
                .map(|field| *field as u8)
                .enumerate()
                .all(is_place)
        );
        assert!(
            FailureReason::ALL
                .iter()
                .map(|reason| *reason as u8)
                .enumerate()
                .all(is_place)
        );
        assert!(
            InvalidReason::ALL
                .iter()
                .map(|reason| *reason as u8)
                .enumerate()
                .all(is_place)
        );
    }
}
