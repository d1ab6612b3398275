//! The network shell: sockets to frames to requests, and answers back in order.

mod connection;
mod frame_reader;
mod frame_writer;
mod listener;

pub(super) use frame_reader::Arriving;
pub(super) use listener::{bind, serve};
