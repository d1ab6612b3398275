//! From a store back to a state: the newest good snapshot and the events behind it, or all events.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

use super::snapshot::Snapshot;
use super::snapshot_file::SnapshotFile;
use super::{DecodeError, Event, Limits, Misfit, State};
use crate::commerce::store::{EventStore, StoreError};
use crate::log::Offset;
use crate::log::batch::{self, BatchError};

/// How much is read at a time. 1 MiB: a few thousand events, well inside any cache budget.
pub(super) const READ_MAX_BYTES: usize = 1024 * 1024;

/// Why a state could not be recovered. Nothing was changed, but a bad snapshot may have been set aside.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store did not give its events.
    #[error("events could not be read")]
    Store(#[from] StoreError),
    /// A batch of events is damaged.
    #[error("the batch of events at offset {offset} is damaged")]
    Batch {
        /// Offset at which reading went on.
        offset: Offset,
        /// The damage.
        source: BatchError,
    },
    /// A record is not an event.
    #[error("the record at offset {offset} is not an event")]
    Decode {
        /// The record.
        offset: Offset,
        /// Why.
        source: DecodeError,
    },
    /// An event does not follow from the events before it.
    #[error("the event at offset {offset} cannot follow the events before it")]
    Misfit {
        /// The event.
        offset: Offset,
        /// Why.
        source: Misfit,
    },
    /// The first events are gone and no snapshot covers them.
    #[error("events before offset {start} are gone and no snapshot covers them")]
    Incomplete {
        /// The first event that is there.
        start: Offset,
    },
}

/// A state and where it comes from.
#[derive(Debug)]
pub struct Recovered {
    /// The fold of all durable events.
    pub state: State,
    /// The offset behind the last of them.
    pub end: Offset,
    /// The offset at which the snapshot ended, if one was used.
    pub snapshot: Option<Offset>,
    /// How many events were applied one by one.
    pub replayed: u64,
}

/// Recovers the state of a store, with the help of a snapshot if there is a good one.
///
/// A snapshot that is damaged, of another store or version, or that the events do not fit, is set aside (renamed)
/// and all events are replayed instead.
pub fn recover<S: EventStore>(
    store: &S,
    limits: &Limits,
    snapshot: Option<&SnapshotFile>,
) -> Result<Recovered, RecoverError> {
    if let Some(file) = snapshot {
        match from_snapshot(store, limits, file.path()) {
            Ok(Some(recovered)) => return Ok(recovered),
            Ok(None) => {}
            Err(fault) => {
                tracing::warn!(path = %file.path().display(), %fault, "snapshot set aside, replaying all events");
                file.quarantine();
            }
        }
    }
    let start = store.start();
    if start > Offset::ZERO {
        return Err(RecoverError::Incomplete { start });
    }
    replay(store, State::new(limits.clone()), Offset::ZERO, None)
}

/// Why a snapshot is of no use.
#[derive(Debug, thiserror::Error)]
enum SnapshotFault {
    #[error(transparent)]
    Snapshot(#[from] super::snapshot_file::SnapshotError),
    #[error("it belongs to another store")]
    AnotherStore,
    #[error("it ends at offset {position}, outside {start}..={end}")]
    Outside {
        position: Offset,
        start: Offset,
        end: Offset,
    },
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

fn from_snapshot<S: EventStore>(
    store: &S,
    limits: &Limits,
    path: &Path,
) -> Result<Option<Recovered>, SnapshotFault> {
    let Some(snapshot) = Snapshot::load(path, limits)? else {
        return Ok(None);
    };
    let Snapshot {
        identity,
        position,
        state,
    } = snapshot;
    if identity != store.identity() {
        return Err(SnapshotFault::AnotherStore);
    }
    let (start, end) = (store.start(), store.end());
    if position < start || position > end {
        return Err(SnapshotFault::Outside { position, start, end });
    }
    Ok(Some(replay(store, state, position, Some(position))?))
}

fn replay<S: EventStore>(
    store: &S,
    mut state: State,
    from: Offset,
    snapshot: Option<Offset>,
) -> Result<Recovered, RecoverError> {
    let mut replayed = 0;
    let end = for_each_event(store, from, |offset, event| {
        replayed += 1;
        state
            .apply(&event)
            .map_err(|source| RecoverError::Misfit { offset, source })
    })?;
    Ok(Recovered {
        state,
        end,
        snapshot,
        replayed,
    })
}

/// Calls `visit` for every durable event from `from` on, and returns the offset behind the last.
pub fn for_each_event<S: EventStore + ?Sized>(
    store: &S,
    from: Offset,
    mut visit: impl FnMut(Offset, Event) -> Result<(), RecoverError>,
) -> Result<Offset, RecoverError> {
    let all = |offset, event| visit(offset, event).map(|()| ControlFlow::Continue(()));
    Ok(visit_events(store, from, all)?.continue_value().unwrap_or(from))
}

/// Calls `visit` for every durable event from `from` on until it breaks; without a break, tells the offset behind the
/// last.
pub(super) fn visit_events<S: EventStore + ?Sized>(
    store: &S,
    from: Offset,
    mut visit: impl FnMut(Offset, Event) -> Result<ControlFlow<()>, RecoverError>,
) -> Result<ControlFlow<(), Offset>, RecoverError> {
    let mut next = from;
    while next < store.end() {
        let runs = store.read(next, READ_MAX_BYTES)?;
        let before = next;
        for run in &runs {
            match visit_run(run, next, &mut visit)? {
                ControlFlow::Continue(behind) => next = behind,
                ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
            }
        }
        if next == before {
            break;
        }
    }
    Ok(ControlFlow::Continue(next))
}

/// Visits the events at or after `from` of a run of batches, and returns the offset behind the last batch.
fn visit_run(
    run: &Bytes,
    from: Offset,
    visit: &mut impl FnMut(Offset, Event) -> Result<ControlFlow<()>, RecoverError>,
) -> Result<ControlFlow<(), Offset>, RecoverError> {
    let mut next = from;
    for batch in batch::batches(run) {
        let damaged = |offset| move |source| RecoverError::Batch { offset, source };
        let (header, bytes) = batch.map_err(damaged(next))?;
        if !header.is_control() {
            for record in batch::records(&bytes).map_err(damaged(next))? {
                let record = record.map_err(damaged(next))?;
                if record.offset < from {
                    continue;
                }
                let offset = record.offset;
                let event = Event::decode(record.value.unwrap_or_default())
                    .map_err(|source| RecoverError::Decode { offset, source })?;
                if visit(offset, event)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        next = next.max(header.next_offset());
    }
    Ok(ControlFlow::Continue(next))
}
