//! A lean Kafka client for the load generator: real TCP connections to any Kafka-protocol broker.
//!
//! It knows nothing of the broker inside this crate. One [`Connection`] pipelines requests in order;
//! [`Client`] finds the partition's leader and speaks `ApiVersions`, `Metadata`, `ListOffsets`,
//! `Produce` and `Fetch`, in the newest versions that name topics by name.

mod connection;
mod error;
mod fetch;
mod records;
mod session;
mod versions;

pub use connection::{Answer, Connection};
pub use error::ClientError;
pub use fetch::Fetched;
pub use records::{BatchBuilder, RecordView, RecordsError, for_each_record};
pub use session::{Client, Produced};
