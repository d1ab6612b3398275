//! Commerce on the log: the reservation engine, its stores and the load generators.
//!
//! [`inventory`] decides who gets the last unit; [`store`] is its only way down to the log; [`load`] is the
//! crowd that tries to break it.

pub mod inventory;
#[cfg(feature = "daemon")]
pub mod load;
pub mod store;
