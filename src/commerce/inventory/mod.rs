//! The reservation engine: stock, holds, and the decision that is a log append.

mod command;
mod outcome;

pub use command::{Command, Line};
pub use outcome::{Event, FailureReason, Field, InvalidReason, Outcome};
