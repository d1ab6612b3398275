//! The reservation engine: stock, holds, and the decision that is a log append.
//!
//! [`decide`] turns a [`Command`] and a [`State`] into an [`Event`]; [`State::apply`] folds the event back in.
//! Both are pure. Everything else here moves commands in and events out: encodings, the shard's writer thread,
//! snapshots, the service on topics, and the audit that recounts without any of this code.

mod command;
mod command_ids;
mod decide;
mod encoding;
mod holds;
mod limits;
mod names;
mod outcome;
mod reservations;
mod state;
mod stock;
mod striped;
mod totals;
mod wire;

pub use command::{Command, Line};
pub use decide::decide;
pub use limits::*;
pub use outcome::{Event, FailureReason, Field, InvalidReason, Outcome};
pub use state::{Misfit, ReservationView, State, StockView};
pub use wire::DecodeError;
