//! The connection below a client: what is to be written, what waits for its reply, and the two threads.
//!
//! Replies come in the order of the commands, so what waits is a queue. One thread reads and, when the connection is
//! lost, makes it again: everything that waits is then sent once more, which is safe because every command has its
//! id. Blocking callers write themselves; a second thread writes for tasks, which must not wait for a socket, and
//! ends what took too long.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call::Slot;
use super::{ClientError, ClientOptions};
use crate::resp::{Reply, parse_reply, write};

/// First and longest pause between attempts to connect.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Longest time limit of a call. A year: beyond some centuries an instant cannot be told.
const TIMEOUT_MAX: Duration = Duration::from_hours(365 * 24);

/// How much is read at a time.
const READ_MAX_BYTES: usize = 64 * 1024;

/// One connection, made again when it is lost.
#[derive(Debug)]
pub(super) struct Link {
    addresses: Vec<SocketAddr>,
    options: ClientOptions,
    state: Mutex<State>,
    /// Notified when the second thread has something to do, or a pause is over before its time.
    nudged: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<Arc<TcpStream>>,
    /// Bytes for the stream that nobody has begun to write.
    unsent: Vec<u8>,
    /// How many of the last calls they are.
    unsent_calls: usize,
    is_writing: bool,
    /// Calls without an answer, oldest first, which is also the order of their deadlines.
    waiting: VecDeque<Waiting>,
    /// How many of the first are over, and wait only to keep the order.
    expired: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiting {
    request: Vec<u8>,
    slot: Arc<Slot>,
    deadline: Instant,
}

impl Link {
    /// Connects once, and starts the threads.
    pub(super) fn open(addresses: Vec<SocketAddr>, options: ClientOptions) -> io::Result<Arc<Link>> {
        let link = Arc::new(Link {
            addresses,
            options,
            state: Mutex::default(),
            nudged: Condvar::new(),
        });
        let first = link.connect()?;
        let (reader, writer) = (Arc::clone(&link), Arc::clone(&link));
        std::thread::Builder::new()
            .name("doorbuster-read".to_owned())
            .spawn(move || reader.run_reader(first))?;
        let started = std::thread::Builder::new()
            .name("doorbuster-write".to_owned())
            .spawn(move || writer.run_writer());
        if let Err(error) = started {
            link.close();
            return Err(error);
        }
        Ok(link)
    }

    /// Queues a command; it leaves by [`Link::write_out`] or [`Link::nudge`].
    pub(super) fn push(&self, request: Vec<u8>) -> Result<Arc<Slot>, ClientError> {
        let slot = Slot::new();
        let mut state = self.lock();
        if state.is_closed {
            return Err(ClientError::Closed);
        }
        if state.waiting.len() >= self.options.calls_max {
            return Err(ClientError::Overloaded);
        }
        // Without a connection it leaves with all that waits, once there is one.
        if state.stream.is_some() {
            state.unsent.extend_from_slice(&request);
            state.unsent_calls += 1;
        }
        state.waiting.push_back(Waiting {
            request,
            slot: Arc::clone(&slot),
            deadline: self.deadline(),
        });
        Ok(slot)
    }

    /// When a call that begins now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.options.timeout.min(TIMEOUT_MAX)
    }

    /// Writes what has not left, unless another caller is writing, who then writes this too.
    pub(super) fn write_out(&self) {
        let mut state = self.lock();
        if state.is_writing {
            return;
        }
        state.is_writing = true;
        let mut spare = Vec::new();
        while let Some(stream) = state.stream.clone()
            && !state.unsent.is_empty()
        {
            let bytes = std::mem::replace(&mut state.unsent, std::mem::take(&mut spare));
            state.unsent_calls = 0;
            drop(state);
            if let Err(error) = (&*stream).write_all(&bytes) {
                tracing::debug!(%error, "the connection to the daemon is lost");
                // The reader notices, connects again and sends everything that waits.
                shut(&stream);
            }
            spare = bytes;
            spare.clear();
            state = self.lock();
            let is_current = state
                .stream
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, &stream));
            if is_current && state.unsent.is_empty() {
                state.unsent = std::mem::take(&mut spare);
            }
        }
        state.is_writing = false;
    }

    /// Has the second thread write what has not left.
    pub(super) fn nudge(&self) {
        self.nudged.notify_all();
    }

    /// Ends the calls whose time is over.
    pub(super) fn expire(&self) {
        end_overdue(&mut self.lock());
    }

    /// Ends everything.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        if let Some(stream) = state.stream.take() {
            shut(&stream);
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.nudged.notify_all();
        for call in waiting {
            call.slot.deliver(Err(ClientError::Closed));
        }
    }

    fn run_reader(&self, first: TcpStream) {
        let mut next = Some(first);
        let mut pause = RETRY_FIRST;
        loop {
            let stream = match next.take().map_or_else(|| self.connect(), Ok) {
                Ok(stream) => Arc::new(stream),
                Err(error) => {
                    tracing::debug!(%error, "the daemon cannot be reached");
                    if self.rest(pause) {
                        return;
                    }
                    pause = RETRY_MAX.min(2 * pause);
                    continue;
                }
            };
            if !self.install(&stream) {
                return;
            }
            match self.read_replies(&stream) {
                // A daemon that only closes must not be asked in a circle.
                Ok(replies) if replies > 0 => pause = RETRY_FIRST,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the connection to the daemon is given up"),
            }
            shut(&stream);
            let mut state = self.lock();
            state.stream = None;
            state.unsent.clear();
            state.unsent_calls = 0;
            let is_closed = state.is_closed;
            drop(state);
            if is_closed || self.rest(pause) {
                return;
            }
            pause = RETRY_MAX.min(2 * pause);
        }
    }

    /// Waits before the next attempt; tells whether the client was closed.
    fn rest(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        while !state.is_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .nudged
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Makes a fresh connection the link's, and everything that waits its first commands. `false` if the client was
    /// closed.
    fn install(&self, stream: &Arc<TcpStream>) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        end_overdue(&mut state);
        let mut unsent = Vec::new();
        write::array(&mut unsent, 2);
        write::bulk(&mut unsent, b"HELLO");
        write::bulk(&mut unsent, b"3");
        for call in &state.waiting {
            unsent.extend_from_slice(&call.request);
        }
        state.unsent = unsent;
        state.unsent_calls = state.waiting.len();
        state.stream = Some(Arc::clone(stream));
        drop(state);
        self.nudge();
        true
    }

    /// Hands out replies until the connection ends; tells how many there were.
    fn read_replies(&self, stream: &TcpStream) -> Result<u64, ClientError> {
        let mut input = Vec::new();
        let mut chunk = vec![0; READ_MAX_BYTES];
        let mut is_greeted = false;
        let mut replies = 0;
        loop {
            let size_bytes = match (&*stream).read(&mut chunk) {
                Ok(0) => return Ok(replies),
                Ok(size_bytes) => size_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::debug!(%error, "the connection to the daemon is lost");
                    return Ok(replies);
                }
            };
            input.extend_from_slice(&chunk[..size_bytes]);
            let mut position = 0;
            while let Some((reply, size_bytes)) = parse_reply(&input[position..])? {
                position += size_bytes;
                if !is_greeted {
                    is_greeted = true;
                    if let Reply::Error(text) = reply {
                        return Err(ClientError::Daemon(text));
                    }
                    continue;
                }
                replies += 1;
                if !self.answer(reply) {
                    return Err(ClientError::Answer("a reply that nobody asked for".to_owned()));
                }
            }
            input.drain(..position);
        }
    }

    /// Gives a reply to the oldest call; `false` if there is none.
    fn answer(&self, reply: Reply) -> bool {
        let mut state = self.lock();
        let call = state.waiting.pop_front();
        state.expired = state.expired.saturating_sub(1);
        let is_closed = state.is_closed;
        drop(state);
        match call {
            Some(call) => {
                call.slot.deliver(Ok(reply));
                true
            }
            None => is_closed,
        }
    }

    fn run_writer(&self) {
        let mut state = self.lock();
        while !state.is_closed {
            end_overdue(&mut state);
            if state.stream.is_some() && !state.unsent.is_empty() && !state.is_writing {
                drop(state);
                self.write_out();
                state = self.lock();
                continue;
            }
            let next = state.waiting.get(state.expired).map(|call| call.deadline);
            state = match next {
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let waited = self.nudged.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.nudged.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the address names no host");
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, self.options.connect_timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(self.options.timeout))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// No code panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers overdue calls. A connection that did not answer in time what it was sent is given up; without one there is
/// no order to keep.
fn end_overdue(state: &mut State) {
    let now = Instant::now();
    let sent_count = state.waiting.len() - state.unsent_calls;
    let before = state.expired;
    while let Some(call) = state.waiting.get(state.expired)
        && call.deadline <= now
    {
        call.slot.deliver(Err(ClientError::Timeout));
        state.expired += 1;
    }
    match &state.stream {
        Some(stream) if before < state.expired.min(sent_count) => shut(stream),
        Some(_) => {}
        None => {
            state.waiting.drain(..state.expired);
            state.expired = 0;
        }
    }
}

/// Ends a connection for whoever reads or writes it; one that has ended already needs no more.
fn shut(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A connection with two calls that are over, of which the last `unsent_calls` have not left; and its other end.
    fn overdue(unsent_calls: usize) -> (State, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let call = || Waiting {
            request: b"x".to_vec(),
            slot: Slot::new(),
            deadline: Instant::now(),
        };
        let state = State {
            stream: Some(Arc::new(stream)),
            unsent_calls,
            waiting: [call(), call()].into(),
            ..State::default()
        };
        (state, listener.accept().unwrap().0)
    }

    #[test]
    fn only_calls_that_left_and_got_no_answer_end_the_connection() {
        for (unsent_calls, is_shut) in [(0, true), (1, true), (2, false)] {
            let (mut state, _peer) = overdue(unsent_calls);
            let stream = state.stream.clone().unwrap();
            end_overdue(&mut state);
            assert_eq!((state.expired, state.waiting.len()), (2, 2));
            let written = (&*stream).write_all(b"+");
            assert_eq!(written.is_err(), is_shut, "{unsent_calls} unsent");
        }
    }

    #[test]
    fn calls_that_are_over_make_room_while_the_daemon_is_away() {
        let (mut state, _peer) = overdue(0);
        let slot = Arc::clone(&state.waiting[0].slot);
        state.stream = None;
        end_overdue(&mut state);
        assert_eq!((state.expired, state.waiting.len()), (0, 0));
        let answer = slot.wait_until(Instant::now());
        assert!(matches!(answer, Some(Err(ClientError::Timeout))), "{answer:?}");
    }
}
