//! Why an event cannot follow the events before it.

use uuid::Uuid;

/// An event that cannot follow the events before it: the log is not one that this engine wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Units of an article that never came in.
    #[error("reservation {reservation} holds article {sku:?}, which does not exist")]
    UnknownArticle {
        /// The reservation.
        reservation: Uuid,
        /// The article.
        sku: String,
    },
    /// More units than there are.
    #[error("reservation {reservation} holds {quantity} of article {sku:?}, of which {sellable} can be sold")]
    Oversold {
        /// The reservation.
        reservation: Uuid,
        /// The article.
        sku: String,
        /// Units of the event.
        quantity: u32,
        /// Units that can be sold.
        sellable: u64,
    },
    /// A reservation begins that is held already.
    #[error("reservation {reservation} begins a second time")]
    Known {
        /// The reservation.
        reservation: Uuid,
    },
    /// A hold ends, or is extended, that is not live.
    #[error("reservation {reservation} is not held")]
    NotHeld {
        /// The reservation.
        reservation: Uuid,
    },
    /// The event must name a reservation, and does not.
    #[error("the event for command {command} names no reservation")]
    NoReservation {
        /// The command.
        command: Uuid,
    },
    /// A movement of units that are not there, of an article that is not known, or of more than can be counted.
    #[error("command {command} moves units of article {sku:?} that cannot be moved")]
    Movement {
        /// The command.
        command: Uuid,
        /// The article.
        sku: String,
    },
    /// Somebody begins to wait who waits already, or is offered units without waiting.
    #[error("reservation {reservation} does not wait as the event says")]
    Waiting {
        /// The reservation.
        reservation: Uuid,
    },
}
