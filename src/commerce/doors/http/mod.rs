//! The HTTP door: the reservation engine as JSON over HTTP/1.1.
//!
//! `GET /openapi.json` serves its description (`openapi.json` beside this file), which a test compares with the
//! routes. Every refusal is an RFC 9457 problem: its `type` is `urn:doorbuster:problem:` and the outcome's type with
//! hyphens, and the outcome's own fields stand beside it.
//!
//! - A `POST` is safe to repeat with the same id: the `id` of its body or its `Idempotency-Key` header
//!   (draft-ietf-httpapi-idempotency-key-header), a UUID or any other text of up to 64 bytes, which stands for its
//!   `UUIDv5`. Without either, an id is drawn and told in the answer.
//! - `GET /v1/stock/{sku}?as_of=` tells the units as they were, `GET /v1/stock/{sku}/ledger` every movement of them,
//!   `GET /v1/reservations` the live holds in pages. These take long; few are worked on at once
//!   ([`HttpConfig::long_reads_max`]).
//! - An answer leaves when what it says is durable. No answer is no refusal: ask again with the same id.

mod config;
mod door;
mod long_read;
mod parameters;
mod problem;
mod request;
mod routes;

pub use config::HttpConfig;
pub use door::HttpDoor;
