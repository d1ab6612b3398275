//! One client's connection: bytes in, bytes out, and how much of either may wait.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::session::Protocol;
use crate::resp::{Arguments, RequestError, parse_request, write};

/// Most replies of one connection that wait, each with its weight: 4,096 plain commands, and 1 MiB of their content.
const PENDING_MAX: usize = 4_096;

/// Bytes of replies that wait for the client to take them, beyond which its commands are not looked at.
const OUTPUT_MAX_BYTES: usize = 256 * 1024;

/// Room for replies that a connection keeps between them.
const OUTPUT_KEPT_BYTES: usize = 16 * 1024;

/// Why a connection ended before its client closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// What arrived is no command.
    #[error("the client sent what is not RESP")]
    Request(#[from] RequestError),
    /// A command did not arrive whole in time.
    #[error("the client did not send the rest of a command")]
    RequestTimeout,
    /// Replies were not taken in time.
    #[error("the client did not take its replies")]
    WriteTimeout,
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
}

/// A client.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts about a socket that do not depend on each other"
)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) number: u64,
    pub(super) protocol: Protocol,
    /// The weight of the replies that wait.
    pub(super) pending: usize,
    /// Bytes that are not a whole command yet, or were not looked at yet.
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of the output is written.
    written: usize,
    /// Whether the socket may have more.
    is_readable: bool,
    /// Whether the client sends nothing more than what is in the socket.
    is_read_closed: bool,
    /// Whether `input` may hold a whole command.
    has_unread: bool,
    /// Whether nothing more is read: the client closed its side, or misbehaved, or quits.
    pub(super) is_ending: bool,
    /// Since when a part of a command waits for the rest.
    partial_since: Option<Instant>,
    /// Since when the client takes no replies.
    blocked_since: Option<Instant>,
}

/// What [`Connection::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing more is to be had, or to be taken, for the moment.
    Enough,
    /// There may be more.
    More,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, number: u64) -> Self {
        Connection {
            stream,
            number,
            protocol: Protocol::default(),
            pending: 0,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            is_readable: true,
            is_read_closed: false,
            has_unread: false,
            is_ending: false,
            partial_since: None,
            blocked_since: None,
        }
    }

    /// Takes note of what changed at the socket.
    pub(super) fn arrived(&mut self, is_readable: bool, is_read_closed: bool) {
        self.is_readable |= is_readable || is_read_closed;
        self.is_read_closed |= is_read_closed;
    }

    /// Whether the client's next command may be looked at.
    pub(super) fn may_take(&self) -> bool {
        !self.is_ending && self.pending < PENDING_MAX && self.output.len() - self.written < OUTPUT_MAX_BYTES
    }

    /// Whether there may be a command to take.
    pub(super) fn wants_turn(&self) -> bool {
        (self.is_readable || self.has_unread) && self.may_take()
    }

    /// Whether all is said that will be.
    pub(super) fn is_done(&self) -> bool {
        self.is_ending && self.pending == 0 && self.written == self.output.len()
    }

    /// Reads once into `scratch` and hands every whole command to `take`, with the buffer that it is in.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        arguments: &mut Arguments,
        mut take: impl FnMut(&mut Connection, &Arguments, &[u8]),
    ) -> Result<Taken, ConnectionError> {
        let mut fresh = 0;
        if !self.has_unread {
            fresh = match self.stream.read(scratch) {
                Ok(0) => {
                    self.is_ending = true;
                    return Ok(Taken::Enough);
                }
                Ok(size_bytes) => size_bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return Ok(Taken::Enough);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Taken::More),
                Err(error) => return Err(ConnectionError::Socket(error)),
            };
            // The socket is empty, and tells when it is not; unless all that is left is its end.
            self.is_readable = fresh == scratch.len() || self.is_read_closed;
        }
        // Commands that arrive whole, which is nearly all, are understood where they were read.
        let mut input = std::mem::take(&mut self.input);
        let buffer = if input.is_empty() {
            &scratch[..fresh]
        } else {
            input.extend_from_slice(&scratch[..fresh]);
            &input[..]
        };
        let mut position = 0;
        self.has_unread = false;
        while position < buffer.len() {
            if !self.may_take() {
                self.has_unread = !self.is_ending;
                break;
            }
            let rest = &buffer[position..];
            let Some(size_bytes) = parse_request(rest, arguments)? else {
                break;
            };
            if !arguments.is_empty() {
                take(self, arguments, rest);
            }
            position += size_bytes;
        }
        let is_partial = position < buffer.len() && !self.has_unread && !self.is_ending;
        self.partial_since = match (is_partial, self.partial_since) {
            (false, _) => None,
            // What follows a whole command is the beginning of another.
            (true, Some(since)) if position == 0 => Some(since),
            (true, _) => Some(Instant::now()),
        };
        if input.is_empty() {
            input.extend_from_slice(&scratch[position..fresh]);
        } else {
            input.drain(..position);
        }
        if input.is_empty() {
            input = Vec::new();
        }
        self.input = input;
        Ok(if self.wants_turn() {
            Taken::More
        } else {
            Taken::Enough
        })
    }

    /// Where replies are written.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Says that what was sent is no command, and takes nothing more.
    pub(super) fn refuse(&mut self, error: &RequestError) -> Vec<u8> {
        self.is_ending = true;
        let mut reply = Vec::new();
        write::error(&mut reply, &format!("ERR Protocol error: {error}"));
        reply
    }

    /// Writes what the client takes without waiting.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(size_bytes) => {
                    self.written += size_bytes;
                    self.blocked_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked_since.get_or_insert_with(Instant::now);
                    // A client that takes replies and never all of them must not make them all stay.
                    self.output.drain(..self.written);
                    self.written = 0;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConnectionError::Socket(error)),
            }
        }
        self.output.clear();
        self.output.shrink_to(OUTPUT_KEPT_BYTES);
        self.written = 0;
        Ok(())
    }

    /// Whether the client kept the door waiting for too long.
    pub(super) fn check_patience(
        &self,
        now: Instant,
        request_timeout: Duration,
        write_timeout: Duration,
    ) -> Result<(), ConnectionError> {
        let passed = |since: Option<Instant>, timeout| since.is_some_and(|since| now - since >= timeout);
        if passed(self.partial_since, request_timeout) {
            return Err(ConnectionError::RequestTimeout);
        }
        if passed(self.blocked_since, write_timeout) {
            return Err(ConnectionError::WriteTimeout);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn replies_that_were_taken_leave_memory_though_others_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut connection = Connection::new(TcpStream::from_std(stream), 1);
        let mut peer = listener.accept().unwrap().0;
        // More than the two sockets hold.
        let replies: Vec<u8> = (0..64 * 1024 * 1024_u32).map(|n| (n / 7) as u8).collect();
        connection.output().extend_from_slice(&replies);
        connection.flush().unwrap();
        let left = connection.output().len();
        assert!(left > 0, "the client takes nothing");
        assert!(left < replies.len(), "what the sockets took is still here");
        let mut taken = vec![0; replies.len() - left];
        peer.read_exact(&mut taken).unwrap();
        assert!(taken[..] == replies[..taken.len()] && connection.output()[..] == replies[taken.len()..]);
    }
}
