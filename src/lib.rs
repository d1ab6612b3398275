//! doorbuster: a durable event log, a Kafka-protocol broker and an inventory-reservation
//! engine for commerce, in one crate.
//!
//! # Layers
//!
//! Imports point down only:
//!
//! | layer | what it is | never names |
//! |---|---|---|
//! | `cli` (binary) | arguments, configuration file, output, exit codes | |
//! | [`client`] | the client of a reservation daemon | `broker`, `log` |
//! | [`commerce`] | the reservation engine, its stores, the load generators | `broker` internals |
//! | [`broker`] | the network shell and the meaning of Kafka's requests | `commerce` |
//! | [`log`] | partitions, journal, segments, recovery; synchronous | Kafka requests, shops, tokio |
//! | [`log::io`] | the only system calls and the only `unsafe` | anything above |
//!
//! # Glossary
//!
//! - **batch**: a Kafka v2 record batch, stored and served verbatim.
//! - **offset**: the number of a record in its partition. **position**: a byte in a file.
//! - **journal**: the shared write-ahead file ring that makes appends durable.
//! - **group**: the batches that one journal write carries. **LSN**: the group's number.
//! - **tail**: the batches of a partition that are not in a segment file yet.
//! - **segment**: a file of consecutive batches of one partition, with its indexes.
//! - **high watermark**: the offset behind the last durable record; nothing at or above it is served.
//! - **checkpoint**: how far each partition's segments are durable without the journal.
//! - **hold**: units of stock taken out of sale for a limited time; never a lock or a lease.
//! - **shard**: one single-writer reservation engine; a partition of `inventory.commands`.
//! - **tick**: a logged instant, the only source of time for the reservation engine.

#[cfg(feature = "daemon")]
pub mod broker;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "commerce")]
pub mod commerce;
pub mod log;
#[cfg(any(feature = "client", feature = "daemon"))]
pub mod resp;
