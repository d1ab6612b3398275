//! Commerce on the log: the reservation engine, its stores and the load generators.
//!
//! [`inventory`] decides who gets the last unit.

pub mod inventory;
