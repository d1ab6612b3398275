//! The doors of the reservation engine: ways in over a socket, beside the topics.
//!
//! | door | for |
//! |---|---|
//! | [`resp`] | Redis clients, and shops that move off a Lua script; the quickest way in |
//! | [`http`] | everybody else: JSON, idempotency keys, problem details |
//!
//! All doors send their commands through one [`super::inventory::Router`] into the shards' queues, where those of
//! all callers meet in one append. They answer only what is durable. None of them authenticates: a door listens
//! where it is told to, and who may reach it is its operator's decision.

pub mod http;
mod ids;
pub mod resp;
mod views;

pub use ids::{ID_MAX_BYTES, IdError, id_of};
