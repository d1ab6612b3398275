//! The reservation engine: stock, holds, and the decision that is a log append.
//!
//! [`decide`] turns a [`Command`] and a [`State`] into an [`Event`]; [`State::apply`] folds the event back in.
//! Both are pure. Everything else here moves commands in and events out: encodings, the shard's writer thread,
//! snapshots, the service on topics, and the audit that recounts without any of this code.

mod answer;
mod asked;
mod audit;
#[cfg(test)]
mod callers;
mod cart;
mod change;
mod chunked;
mod cloud_event;
mod command;
mod command_ids;
mod command_record;
mod decide;
mod encoding;
mod expired;
mod follow_up;
mod history;
mod holds;
mod kept_topic;
mod ledger;
mod library;
mod limits;
mod location;
mod misfit;
#[cfg(test)]
mod model;
mod names;
mod outcome;
mod place;
mod publisher;
mod queue;
mod reason;
mod recount;
mod recovery;
mod reservations;
mod router;
mod seat;
mod service;
mod shard;
mod snapshot;
mod snapshot_file;
mod snapshot_items;
mod snapshot_maker;
mod state;
mod state_stock;
mod stock;
mod striped;
#[cfg(test)]
mod topics;
mod totals;
mod view;
mod waitlist;
mod wheel;
mod wire;

pub use answer::Answer;
pub use audit::{ArticleCount, Audit, AuditReport};
pub use cart::{Cart, CartPolicy, KitPart, Line, LineFailure, LineRefusal, Split};
pub use change::Change;
pub use cloud_event::{TRACE_ID_MAX_BYTES, Trace};
pub use command::{Adjust, CancelAllocated, Command};
pub use command_record::{CommandRecord, commands_in};
pub use decide::decide;
pub use history::{AsOf, stock_as_of};
pub use ledger::{
    Ledger, LedgerEntry, LedgerFormat, LedgerLine, Movement, Reconciliation, read_ledger, write_ledger,
};
#[cfg(feature = "client")]
pub(crate) use library::milliseconds;
pub use library::{EVENTS_TOPIC, Inventory, InventoryOpenError, InventoryOptions};
pub use limits::*;
pub use misfit::Misfit;
pub use outcome::{Event, Outcome};
pub use place::{Degrees, Point};
pub use publisher::EventFormat;
pub use queue::QUEUED_COMMANDS_MAX;
#[cfg(feature = "daemon")]
pub(super) use queue::{COUNTED_SIZE_BYTES, weight_of};
pub use reason::{FailureReason, Field, InvalidReason};
pub use recount::recount;
pub use recovery::{RecoverError, Recovered, for_each_event, recover};
pub use router::{Found, GROUP_SEPARATOR, Routed, Router, Submitted, Unroutable};
pub use service::{COMMANDS_TOPIC, Service, ServiceError, ServiceOptions, ServiceStopped};
pub use shard::{StopCause, Stopped};
pub use snapshot::Snapshot;
pub use snapshot_file::{SnapshotError, SnapshotFile};
pub use snapshot_maker::SNAPSHOT_AFTER_EVENTS;
pub use state::State;
pub use view::{HoldsPage, LocationStock, ReservationView, StockView};
pub use wire::DecodeError;
