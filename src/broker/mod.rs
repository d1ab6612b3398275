//! The broker: Kafka's wire protocol over the log.
//!
//! | layer | what it is |
//! |---|---|
//! | `net` | sockets: frames in, answers out in order; the only part that knows connections |
//! | [`protocol`] | bytes to structures and back |
//! | `api` | the meaning of each request, one file per API family |
//! | `topics`, `groups`, `producers`, `delayed_fetch`, `state` | what requests work on |
//!
//! A broker never prints and never handles signals: [`Broker::bind`], then [`Broker::run`] until the
//! token that it was given is cancelled. An acknowledgement always means that the data is on stable
//! storage, for acks=1 as for acks=all. `broker` never names `commerce`.

mod api;
mod batch_check;
mod config;
mod delayed_fetch;
mod error;
mod groups;
mod internal_topic;
mod net;
mod node;
mod offset_records;
mod producers;
pub mod protocol;
mod server;
mod state;
mod timestamp_check;
mod topics;

pub use config::BrokerConfig;
pub use error::{BrokerError, StateError};
pub use server::Broker;

/// The wall-clock time in milliseconds since the Unix epoch.
fn wall_clock_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| {
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    })
}
