//! The broker: Kafka's wire protocol over the log.

pub mod protocol;
