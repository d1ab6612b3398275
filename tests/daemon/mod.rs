//! What tests need that run the real program: starting, killing and asking a daemon.
#![allow(dead_code, reason = "every test program takes what it needs")]

mod process;
mod random;
mod wire;

pub use process::{Daemon, Ended, READY_MAX, free_address, serve, signal_named};
pub use random::Random;
pub use wire::{ask_metadata, create_topic};
