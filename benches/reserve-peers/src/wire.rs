//! The generator for peers that answer on TCP connections: one thread, all connections, calls pipelined.
//!
//! Every peer is driven by this same loop; a [`Protocol`] only says how a call looks and what an answer means.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use crate::cell::Cell;
use crate::measured::{Meter, Verdict};
use crate::work::{Reservation, Shoppers};

/// Bytes taken from a socket at a time.
const READ_SIZE_BYTES: usize = 256 * 1024;

/// How long answers may stay away before the peer counts as stuck.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Longest rest of a generator with a rate; what is due meanwhile leaves late and is measured from when it was due.
const REST_WITH_RATE: Duration = Duration::from_millis(1);

/// Calls that a generator with a rate lets wait for answers before it gives up.
const BACKLOG_MAX: usize = 200_000;

/// What was found at the front of the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of it.
    pub size_bytes: usize,
    /// What it says about the next reservation, if anything.
    pub verdict: Option<Verdict>,
    /// Whether the oldest call is answered with it.
    pub ends_call: bool,
}

/// How one peer is spoken to.
pub trait Protocol {
    /// Appends one call.
    fn encode(&mut self, call: &[Reservation], out: &mut Vec<u8>);

    /// Looks at the front of what was received; none if it is not whole.
    fn decode(&mut self, input: &[u8]) -> anyhow::Result<Option<Seen>>;
}

struct Connection<P> {
    stream: TcpStream,
    protocol: P,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    filled: usize,
    /// When each call was begun, or meant to begin.
    calls: VecDeque<Instant>,
    waits_for_room: bool,
}

/// Drives `cell` over `connections`, each ready for calls.
pub fn drive<P: Protocol>(
    connections: Vec<(TcpStream, P)>,
    cell: &Cell,
    shoppers: &mut Shoppers,
    meter: &mut Meter<'_>,
) -> anyhow::Result<()> {
    let connections: Vec<_> = connections
        .into_iter()
        .map(|(stream, protocol)| {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            anyhow::Ok(Connection {
                stream,
                protocol,
                out: Vec::new(),
                sent: 0,
                input: vec![0; READ_SIZE_BYTES],
                filled: 0,
                calls: VecDeque::new(),
                waits_for_room: false,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let mut driver = Driver {
        cell,
        left: cell.reservations_max.unwrap_or(u64::MAX),
        call: Vec::with_capacity(cell.batch),
        connections,
        epoll: epoll::create(CreateFlags::CLOEXEC).context("epoll")?,
    };
    for (number, connection) in driver.connections.iter().enumerate() {
        epoll::add(
            &driver.epoll,
            &connection.stream,
            EventData::new_u64(number as u64),
            EventFlags::IN,
        )?;
    }
    match cell.per_second {
        None if driver.connections.len() == 1 && cell.in_flight == 1 && cell.batch == 1 => {
            driver.one_at_a_time(shoppers, meter)
        }
        None => driver.closed_loop(shoppers, meter),
        Some(per_second) => driver.at_rate(per_second, shoppers, meter),
    }
}

struct Driver<'a, P> {
    cell: &'a Cell,
    /// Reservations that may still be sent.
    left: u64,
    call: Vec<Reservation>,
    connections: Vec<Connection<P>>,
    epoll: OwnedFd,
}

impl<P: Protocol> Driver<'_, P> {
    /// A blocking socket: what one thread that waits for each answer would do.
    fn one_at_a_time(&mut self, shoppers: &mut Shoppers, meter: &mut Meter<'_>) -> anyhow::Result<()> {
        self.connections[0].stream.set_nonblocking(false)?;
        self.connections[0].stream.set_read_timeout(Some(SILENCE_MAX))?;
        while meter.goes_on(Instant::now())? && self.left > 0 {
            self.begin(0, Instant::now(), shoppers);
            self.connections[0].write()?;
            while !self.connections[0].calls.is_empty() {
                let received = self.connections[0].read_once().context("waiting for an answer")?;
                ensure!(received > 0, "the peer closed the connection");
                self.connections[0].take_answers(meter)?;
            }
        }
        meter.finish(Instant::now())
    }

    fn closed_loop(&mut self, shoppers: &mut Shoppers, meter: &mut Meter<'_>) -> anyhow::Result<()> {
        for number in 0..self.connections.len() {
            self.fill_window(number, shoppers)?;
        }
        let mut ready = Vec::new();
        loop {
            let goes_on = meter.goes_on(Instant::now())? && self.left > 0;
            if !goes_on {
                meter.finish(Instant::now())?;
            }
            if self
                .connections
                .iter()
                .all(|connection| connection.calls.is_empty())
            {
                return Ok(());
            }
            self.wait(SILENCE_MAX, &mut ready)?;
            ensure!(!ready.is_empty(), "no answer for {} s", SILENCE_MAX.as_secs());
            for number in ready.iter().copied() {
                self.receive(number, meter)?;
                if goes_on {
                    self.fill_window(number, shoppers)?;
                } else {
                    self.send(number)?;
                }
            }
        }
    }

    /// Begins a call whenever one is due, over the connections in turn.
    fn at_rate(
        &mut self,
        per_second: f64,
        shoppers: &mut Shoppers,
        meter: &mut Meter<'_>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let due_at = |number: u64| start + Duration::from_secs_f64(number as f64 / per_second);
        let mut begun = 0_u64;
        let mut ready = Vec::new();
        let mut heard = start;
        loop {
            let now = Instant::now();
            let goes_on = meter.goes_on(now)?;
            while goes_on && due_at(begun) <= now {
                let number = (begun % self.connections.len() as u64) as usize;
                self.begin(number, due_at(begun), shoppers);
                begun += 1;
            }
            for number in 0..self.connections.len() {
                self.send(number)?;
            }
            let waiting: usize = self
                .connections
                .iter()
                .map(|connection| connection.calls.len())
                .sum();
            ensure!(
                waiting < BACKLOG_MAX,
                "{waiting} calls wait at {per_second} calls a second"
            );
            if !goes_on && waiting == 0 {
                return Ok(());
            }
            self.wait(REST_WITH_RATE, &mut ready)?;
            if !ready.is_empty() {
                heard = Instant::now();
            }
            ensure!(
                heard.elapsed() < SILENCE_MAX,
                "no answer for {} s",
                SILENCE_MAX.as_secs()
            );
            for number in ready.iter().copied() {
                self.receive(number, meter)?;
            }
        }
    }

    fn fill_window(&mut self, number: usize, shoppers: &mut Shoppers) -> anyhow::Result<()> {
        let window = self.cell.window();
        while self.connections[number].calls.len() < window && self.left > 0 {
            self.begin(number, Instant::now(), shoppers);
        }
        self.send(number)
    }

    /// Puts the next call into the connection's buffer.
    fn begin(&mut self, number: usize, at: Instant, shoppers: &mut Shoppers) {
        let count = (self.cell.batch as u64).min(self.left) as usize;
        self.left -= count as u64;
        shoppers.fill(&mut self.call, count);
        let connection = &mut self.connections[number];
        connection.protocol.encode(&self.call, &mut connection.out);
        connection.calls.push_back(at);
    }

    /// Writes what the socket takes.
    fn send(&mut self, number: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[number];
        connection.write()?;
        let waits = !connection.out.is_empty();
        if waits != connection.waits_for_room {
            connection.waits_for_room = waits;
            let interest = if waits {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(
                &self.epoll,
                &connection.stream,
                EventData::new_u64(number as u64),
                interest,
            )?;
        }
        Ok(())
    }

    fn receive(&mut self, number: usize, meter: &mut Meter<'_>) -> anyhow::Result<()> {
        let connection = &mut self.connections[number];
        loop {
            match connection.read_once() {
                Ok(0) => bail!("the peer closed the connection"),
                Ok(received) => {
                    let was_all = received < READ_SIZE_BYTES / 2;
                    connection.take_answers(meter)?;
                    if was_all {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("receiving answers"),
            }
        }
    }

    /// Waits until sockets are ready, and tells which.
    fn wait(&self, limit: Duration, ready: &mut Vec<usize>) -> anyhow::Result<()> {
        let mut events = [epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }; 64];
        let limit = Timespec::try_from(limit).context("a time to wait")?;
        ready.clear();
        let count = match epoll::wait(self.epoll.as_fd(), &mut events[..], Some(&limit)) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error).context("waiting for answers"),
        };
        ready.extend(events[..count].iter().map(|event| {
            let data = event.data;
            data.u64() as usize
        }));
        Ok(())
    }
}

impl<P: Protocol> Connection<P> {
    fn write(&mut self) -> anyhow::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("sending calls"),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    fn read_once(&mut self) -> std::io::Result<usize> {
        if self.filled == self.input.len() {
            self.input.resize(2 * self.input.len(), 0);
        }
        let received = self.stream.read(&mut self.input[self.filled..])?;
        self.filled += received;
        Ok(received)
    }

    fn take_answers(&mut self, meter: &mut Meter<'_>) -> anyhow::Result<()> {
        let now = Instant::now();
        let mut taken = 0;
        while let Some(seen) = self.protocol.decode(&self.input[taken..self.filled])? {
            taken += seen.size_bytes;
            if let Some(verdict) = seen.verdict {
                meter.answer(verdict);
            }
            if seen.ends_call {
                let begun = self
                    .calls
                    .pop_front()
                    .context("an answer that nobody asked for")?;
                meter.call(begun, now);
            }
        }
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }
}
