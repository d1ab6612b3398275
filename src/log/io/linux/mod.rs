//! The real machine: Linux files, maps, durable writes and clocks.

mod clock;
mod direct;
mod disk;
mod map;
mod plain;
mod uring;

pub use clock::{KernelRandom, SystemClock};
pub use disk::LinuxDisk;
