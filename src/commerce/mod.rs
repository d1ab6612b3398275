//! Commerce on the log: the reservation engine, its stores and the load generators.
//!
//! [`inventory`] decides who gets the last unit; [`store`] is its only way down to the log; `doors` let clients
//! in; `load` is the crowd that tries to break it.

#[cfg(feature = "daemon")]
pub mod doors;
pub mod inventory;
#[cfg(feature = "daemon")]
pub mod load;
pub mod store;
