//! The RESP door: the reservation engine for Redis clients, on a port of its own.
//!
//! | command | reply if it is done | refusals |
//! |---|---|---|
//! | `RESERVE id customer ttl_ms sku quantity [sku quantity ...]` | `RESERVED`, expiry; for a repeat `EXISTS`, expiry | `SOLD_OUT`, `CUSTOMER_LIMIT`, `UNKNOWN_SKU`, `EXISTS_DIFFERENT`, `ALREADY_FAILED`, `EXPIRED`, `ALREADY_COMMITTED`, `ALREADY_RELEASED` |
//! | `COMMIT id` | `COMMITTED`, for a repeat `ALREADY_COMMITTED` | `EXPIRED`, `ALREADY_RELEASED`, `ALREADY_FAILED`, `UNKNOWN_RESERVATION` |
//! | `RELEASE id` | `RELEASED`, for a repeat `ALREADY_RELEASED` | `EXPIRED`, `ALREADY_COMMITTED`, `ALREADY_FAILED`, `UNKNOWN_RESERVATION` |
//! | `EXTEND id ttl_ms [command-id]` | `EXTENDED`, expiry | as `COMMIT`, and `ALREADY_COMMITTED` |
//! | `RECEIVE sku quantity [command-id]` | `RECEIVED`, for a repeat with the same id `EXISTS` | |
//! | `STOCK sku` | a map of counts, or null | |
//! | `RESERVATION id` | a map with `state`, or null | |
//! | `SUBMIT command-json` | the outcome as JSON, granted or not | |
//!
//! Every command may be refused with `INVALID reason=...`, `THROTTLED retry_after_ms=...` (nothing was decided; ask
//! again with the same id), `CART_ACROSS_SHARDS` and `STOPPED`.
//!
//! - **Ids** are UUIDs, or any other text of up to 64 bytes, which stands for its `UUIDv5` (in
//!   `SUBMIT`, UUIDs only). The caller draws them, so
//!   a command that got no answer is sent again with the same id. Without a command id, `RECEIVE` and `EXTEND` are
//!   not safe to repeat.
//! - **Names** of articles and customers are UTF-8. Quantities and times are whole numbers; `ttl_ms` is in
//!   milliseconds; an expiry is in milliseconds since the Unix epoch.
//! - **Done** is a status such as `+COMMITTED`, or an array of a status and what comes with it, such as
//!   `*2 +RESERVED :1764000600000`. What the engine grants beyond the table comes as a status and a JSON object.
//! - **Refused** is an error: a code, which is the `type` of the outcome's JSON in capitals, and its fields, such as
//!   `-SOLD_OUT sku=tv-55 available=0`. A text stands as JSON if it does not begin with a letter or has other
//!   characters than `A-Za-z0-9._:/@-`.
//! - A command that is none (`ERR`) changes nothing. What is not RESP ends the connection.
//!
//! Replies come in the order of the commands and only when what they say is durable; a client may send on before it
//! has them. `PING`, `ECHO`, `HELLO` (2 and 3), `CLIENT`, `COMMAND`, `CONFIG GET`, `INFO`, `SELECT 0`, `RESET` and
//! `QUIT` are there for client libraries, `redis-cli` and `redis-benchmark`.
//!
//! # How it is quick
//!
//! One thread waits for all connections. It reads whatever has arrived, from all of them, and posts it as one
//! request; then it takes the shard's seat itself, decides, and, when nothing more has arrived, drives the journal
//! until the events are durable. With one command in flight no other thread is woken between the socket and the
//! device. Under load the commands that arrive during one write are the next batch.

mod asked;
mod config;
mod connection;
mod door;
mod pending;
mod reply;
mod session;

pub use config::RespConfig;
pub use door::RespDoor;
