//! Commerce on the log: the reservation engine, its stores and the load generators.
//!
<<<<<<< HEAD
//! [`inventory`] decides who gets the last unit; [`store`] is its only way down to the log; [`load`] is the
//! crowd that tries to break it.

pub mod inventory;
#[cfg(feature = "daemon")]
pub mod load;
=======
//! [`inventory`] decides who gets the last unit; [`store`] is its only way down to the log.

pub mod inventory;
>>>>>>> inventory
pub mod store;
