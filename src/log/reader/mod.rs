//! Reading a partition record by record: to its end, or beyond it as it grows.
//!
//! A [`Reader`] goes through what is durable and then ends; asked again, it gives what came in the meantime.
//! [`Reader::follow`] makes it a [`Follower`], an iterator that blocks at the end until there is more, and
//! [`Reader::stream`] a [`RecordStream`], which is the same for async code and needs no runtime of a certain
//! make. None of them allocates for a record, and all of them see every record once, in order.
//!
//! What clients never see is passed over: control batches, and batches without records, which stand for
//! records that are no longer there. Offsets may therefore have holes.

mod error;
mod follower;
mod following;
mod position;
mod stream;
#[cfg(test)]
mod tests;

pub use error::ReaderError;
pub use follower::Follower;
pub use position::Reader;
pub use stream::RecordStream;
