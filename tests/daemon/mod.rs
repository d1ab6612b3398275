//! What tests need that run the real program: starting, killing and asking a daemon.
#![allow(dead_code, unused_imports, reason = "every test program takes what it needs")]

mod client;
mod process;
mod random;
mod small_disk;
mod snapshot;
mod wire;

pub use client::Client;
pub use process::{Daemon, Ended, free_address, serve, signal_named};
pub use random::Random;
pub use small_disk::SmallDisk;
pub use snapshot::snapshot;
pub use wire::{Fetched, ask_metadata, create_topic, fetch};
