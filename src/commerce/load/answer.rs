//! The kind of an outcome in one byte: what the generator remembers of hundreds of thousands of answers.

use crate::commerce::inventory::Outcome;

/// What a command came to, without the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AnswerKind {
    /// Units arrived.
    Received,
    /// Selling rules were set.
    PolicySet,
    /// The whole cart is held.
    Reserved,
    /// Granted before.
    Exists,
    /// The reservation id holds something else.
    ExistsDifferent,
    /// The reservation id was refused before.
    AlreadyFailed,
    /// Not enough units.
    SoldOut,
    /// The customer may not have that many.
    CustomerLimit,
    /// The hold lasts longer.
    Extended,
    /// The held units are sold.
    Committed,
    /// The hold ended on request.
    Released,
    /// Committed before.
    AlreadyCommitted,
    /// Released before.
    AlreadyReleased,
    /// The hold had ended by itself.
    Expired,
    /// No such article.
    UnknownSku,
    /// No such reservation.
    UnknownReservation,
    /// The command makes no sense.
    Invalid,
    /// Try again later.
    Throttled,
    /// A hold ended by itself; answers no command.
    ReservationExpired,
    /// What no command of the generator can come to.
    Other,
}

impl AnswerKind {
    /// The kind of an outcome.
    pub fn of(outcome: &Outcome) -> AnswerKind {
        match outcome {
            Outcome::Received { .. } => AnswerKind::Received,
            Outcome::PolicySet { .. } => AnswerKind::PolicySet,
            Outcome::Reserved { .. } => AnswerKind::Reserved,
            Outcome::Exists { .. } => AnswerKind::Exists,
            Outcome::ExistsDifferent { .. } => AnswerKind::ExistsDifferent,
            Outcome::AlreadyFailed { .. } => AnswerKind::AlreadyFailed,
            Outcome::SoldOut { .. } => AnswerKind::SoldOut,
            Outcome::CustomerLimit { .. } => AnswerKind::CustomerLimit,
            Outcome::Extended { .. } => AnswerKind::Extended,
            Outcome::Committed => AnswerKind::Committed,
            Outcome::Released => AnswerKind::Released,
            Outcome::AlreadyCommitted => AnswerKind::AlreadyCommitted,
            Outcome::AlreadyReleased => AnswerKind::AlreadyReleased,
            Outcome::Expired => AnswerKind::Expired,
            Outcome::UnknownSku { .. } => AnswerKind::UnknownSku,
            Outcome::UnknownReservation => AnswerKind::UnknownReservation,
            Outcome::Invalid { .. } => AnswerKind::Invalid,
            Outcome::Throttled { .. } => AnswerKind::Throttled,
            Outcome::ReservationExpired => AnswerKind::ReservationExpired,
            _ => AnswerKind::Other,
        }
    }

    /// The name in reports, the same as in the events.
    pub fn name(self) -> &'static str {
        match self {
            AnswerKind::Received => "received",
            AnswerKind::PolicySet => "policy_set",
            AnswerKind::Reserved => "reserved",
            AnswerKind::Exists => "exists",
            AnswerKind::ExistsDifferent => "exists_different",
            AnswerKind::AlreadyFailed => "already_failed",
            AnswerKind::SoldOut => "sold_out",
            AnswerKind::CustomerLimit => "customer_limit",
            AnswerKind::Extended => "extended",
            AnswerKind::Committed => "committed",
            AnswerKind::Released => "released",
            AnswerKind::AlreadyCommitted => "already_committed",
            AnswerKind::AlreadyReleased => "already_released",
            AnswerKind::Expired => "expired",
            AnswerKind::UnknownSku => "unknown_sku",
            AnswerKind::UnknownReservation => "unknown_reservation",
            AnswerKind::Invalid => "invalid",
            AnswerKind::Throttled => "throttled",
            AnswerKind::ReservationExpired => "reservation_expired",
            AnswerKind::Other => "other",
        }
    }
}
