//! Commerce on the log: the reservation engine, its stores and the load generators.
//!
//! [`inventory`] decides who gets the last unit; [`store`] is its only way down to the log.

pub mod inventory;
pub mod store;
