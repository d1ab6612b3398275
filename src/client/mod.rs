//! The client of a reservation daemon, over its RESP door (`doorbuster serve --resp HOST:PORT`).
//!
//! A [`Client`] is one connection, shared by all threads and tasks that hold a clone. Their calls travel together:
//! while one caller writes, the commands of the others gather behind it and leave as one piece, and the daemon
//! decides all that it has received as one append.
//!
//! Every command has an id that its caller draws before it is sent, so it can be sent again without harm. When the
//! connection breaks, the client connects again and sends what has no answer; a caller notices nothing but the time.
//! After [`ClientOptions::timeout`] it gives up with [`ClientError::Timeout`], which is no refusal: the command may or
//! may not have taken effect, and the same call with the same id tells.
//!
//! ```no_run
//! use std::time::Duration;
//! use doorbuster::client::{Client, ClientOptions};
//! use doorbuster::commerce::inventory::{Line, Outcome};
//! use uuid::Uuid;
//!
//! let client = Client::connect("127.0.0.1:6380", ClientOptions::default())?;
//! let order = Uuid::now_v7();
//! match client.reserve(order, "c-7", vec![Line::new("tv-55", 1)], Duration::from_mins(10)).wait()? {
//!     Outcome::Reserved { .. } | Outcome::Exists { .. } => client.commit(order).wait()?,
//!     refused => refused,
//! };
//! # Ok::<(), doorbuster::client::ClientError>(())
//! ```
//!
//! In async code a [`Call`] is awaited instead; it needs no runtime. `examples/reserve_remotely.rs` is a whole program.

mod call;
mod decode;
mod encode;
mod error;
mod handle;
mod link;
mod options;

pub use call::Call;
pub use error::ClientError;
pub use handle::Client;
pub use options::ClientOptions;
