//! The past, read from the log: a state is the fold of the events before it.

use std::ops::ControlFlow;

use super::recovery::{RecoverError, visit_events};
use super::{Event, Limits, State, StockView};
use crate::commerce::store::EventStore;
use crate::log::Offset;

/// A moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Before the event at this offset.
    Offset(Offset),
    /// Behind the last event at or before this instant, in milliseconds since the Unix epoch.
    Time(i64),
    /// Behind the last durable event.
    End,
}

impl AsOf {
    /// Whether an event is later than the moment, and with it all that follow.
    pub(super) fn is_before(self, offset: Offset, event: &Event) -> bool {
        match self {
            AsOf::Offset(end) => offset >= end,
            AsOf::Time(instant_ms) => event.at_ms > instant_ms,
            AsOf::End => false,
        }
    }
}

/// Calls `visit` for every event up to a moment.
pub(super) fn visit_until<S: EventStore + ?Sized>(
    store: &S,
    as_of: AsOf,
    mut visit: impl FnMut(Offset, Event) -> Result<(), RecoverError>,
) -> Result<(), RecoverError> {
    let start = store.start();
    if start > Offset::ZERO {
        return Err(RecoverError::Incomplete { start });
    }
    let visited = visit_events(store, start, |offset, event| {
        if as_of.is_before(offset, &event) {
            return Ok(ControlFlow::Break(()));
        }
        visit(offset, event).map(ControlFlow::Continue)
    });
    visited.map(|_| ())
}

/// The units of an article as they were at a moment; `None` if it was not known then.
///
/// Replays all events before it, on the calling thread.
pub fn stock_as_of<S: EventStore + ?Sized>(
    store: &S,
    sku: &str,
    as_of: AsOf,
) -> Result<Option<StockView>, RecoverError> {
    let mut state = State::new(Limits::default());
    visit_until(store, as_of, |offset, event| {
        state
            .apply(&event)
            .map_err(|source| RecoverError::Misfit { offset, source })
    })?;
    Ok(state.stock(sku))
}
