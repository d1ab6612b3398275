//! The journal: the one write-ahead file ring through which every append becomes durable.
//!
//! Whoever waits for a batch and finds the writer free becomes its driver: it gathers what waits into
//! groups, submits them, and publishes each when it is durable, in order. So one waiter alone pays no
//! thread hand-off, and many share one data-sync.

mod error;
mod extent;
mod files;
pub mod frame;
mod group;
mod progress;
mod queue;
mod replay;
mod window;
mod writer;

pub use error::JournalError;
pub use extent::Extent;
pub use files::JournalFiles;
pub use frame::{Lsn, NUMBER_MAX};
pub use group::Target;
pub use progress::Progress;
pub use queue::{Change, Entry, Queue, QueueFull, Sequence};
pub use replay::{Replay, replay};
pub use writer::{Drive, WRITES_IN_FLIGHT_MAX, Writer, WriterStart, file_size_min_bytes};
