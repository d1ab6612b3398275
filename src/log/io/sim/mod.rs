//! The simulated machine: a disk that loses power on demand, a clock that is set, and seeded randomness.
//!
//! [`SimulatedDisk`] keeps what is durable apart from what is only written. A power cut may be taken
//! after any operation: [`SimulatedDisk::crash_image`] gives the disk as a machine would find it after
//! the cut, chosen by a seed among everything that the storage contract allows:
//!
//! - a written sector (512 bytes) of a file that was not synced is there or not, each on its own, and may
//!   be any of the versions written since the last sync;
//! - an unsynced length change is there or not, but a file never shows bytes from before a truncation;
//! - the entry changes of a folder since its last `sync_dir` survive as a prefix in their order;
//! - the sectors of a durable write that was submitted and has not completed are there or not.
//!
//! Beside what the contract allows there are faults on demand: at one operation ([`Fault`]), at one read
//! ([`ReadFault`]), or in content at rest ([`Damage`]). All that happen are counted ([`FaultCounts`]).
//!
//! Nothing here reads the time or starts a thread; one seed and one sequence of calls give the same bytes.

mod clock;
mod content;
mod damage;
mod disk;
mod fault;
mod file;
mod folder;
mod machine;
mod random;
#[cfg(test)]
mod tests;
mod writer;

pub use clock::SimulatedClock;
pub use disk::SimulatedDisk;
pub use fault::{Damage, Fault, FaultCounts, FaultKind, ReadFault};
pub use random::SimulatedRandom;

/// What a disk writes whole or not at all.
pub const SECTOR_SIZE_BYTES: usize = 512;
