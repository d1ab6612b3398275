//! The door itself: one thread between all its connections and the engine.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{SockRef, TcpKeepalive};

use super::RespConfig;
use super::asked::{Asked, understand};
use super::connection::{Connection, ConnectionError, Taken};
use super::pending::{ConnectionIndex, Pending, Told};
use super::reply::{STOPPED, write_routed, write_value};
use super::session::{Protocol, Session, write_commands, write_hello, write_info, write_settings};
use crate::commerce::inventory::Router;
use crate::resp::{Arguments, write};

/// Tokens that are no connection's.
const LISTENER: Token = Token(usize::MAX);
const BELL: Token = Token(usize::MAX - 1);

/// Events that are looked at in one round.
const EVENTS_MAX: usize = 1_024;

/// How much is read from a connection at a time: hundreds of commands.
const READ_MAX_BYTES: usize = 64 * 1024;

/// Most replies of all connections that wait, each with its weight: as much as a shard's queue takes.
const PENDING_MAX: usize = 1 << 17;

/// How often connections are looked at that keep the door waiting.
const PATIENCE_INTERVAL: Duration = Duration::from_secs(1);

/// After how long a silent client is asked whether it is still there, as Redis's `tcp-keepalive`.
const KEEPALIVE: Duration = Duration::from_mins(5);

/// A door that serves; closes when dropped.
#[derive(Debug)]
pub struct RespDoor {
    address: SocketAddr,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// Wakes the door's thread: for an answer that another thread gave, and for the end.
#[derive(Debug)]
struct Bell {
    waker: mio::Waker,
    is_closing: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the RESP door could not be woken");
        }
    }
}

impl RespDoor {
    /// Listens, and serves from a thread of its own.
    pub fn open(config: RespConfig, router: Router) -> io::Result<RespDoor> {
        let mut listener = bind(&config.listen)?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let bell = Arc::new(Bell {
            waker: mio::Waker::new(poll.registry(), BELL)?,
            is_closing: AtomicBool::new(false),
        });
        let door = Door {
            config,
            router,
            poll,
            listener: Some(listener),
            bell: Arc::clone(&bell),
            connections: Vec::new(),
            free: Vec::new(),
            open_count: 0,
            accepted_count: 0,
            ready: Vec::new(),
            touched: Vec::new(),
            pending: Pending::default(),
            accept_again: false,
            scratch: vec![0; READ_MAX_BYTES].into(),
            arguments: Arguments::default(),
        };
        let thread = std::thread::Builder::new()
            .name("resp".to_owned())
            .spawn(move || door.run())?;
        tracing::info!(%address, "RESP door listens");
        Ok(RespDoor {
            address,
            bell,
            thread: Some(thread),
        })
    }

    /// The address that clients can connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether the door no longer serves, which it does only by a fault.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Takes no more commands; those in progress are still answered. Does not wait for that: dropping the door does.
    pub fn begin_close(&self) {
        self.bell.is_closing.store(true, Ordering::Release);
        self.bell.wake_by_ref();
    }
}

impl Drop for RespDoor {
    fn drop(&mut self) {
        self.begin_close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the RESP door's thread panicked");
        }
    }
}

fn bind(listen: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the address names no host");
    for address in listen.to_socket_addrs()? {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct Door {
    config: RespConfig,
    router: Router,
    poll: Poll,
    listener: Option<TcpListener>,
    bell: Arc<Bell>,
    /// By token; a place is free when its connection is closed and no reply waits for it.
    connections: Vec<Place>,
    free: Vec<ConnectionIndex>,
    open_count: usize,
    accepted_count: u64,
    /// Connections that may have commands to take.
    ready: Vec<ConnectionIndex>,
    /// Connections that have something to write, or may be done.
    touched: Vec<ConnectionIndex>,
    pending: Pending,
    /// Whether accepting failed for want of something.
    accept_again: bool,
    scratch: Box<[u8]>,
    arguments: Arguments,
}

/// A connection's place in the table.
struct Place {
    connection: Option<Connection>,
    /// The weight of the replies that wait; it counts on after the connection is closed.
    pending: usize,
    is_ready: bool,
    is_touched: bool,
}

impl Door {
    fn run(mut self) {
        let bell = Waker::from(Arc::clone(&self.bell));
        let mut events = Events::with_capacity(EVENTS_MAX);
        // Whether something was decided here that nobody else completes.
        let mut owes = false;
        let mut patience_at = Instant::now() + PATIENCE_INTERVAL;
        let mut closing_until = None;
        loop {
            self.settle(if owes { Waker::noop() } else { &bell });
            self.flush_touched();
            if closing_until.is_some_and(|until| self.open_count == 0 || Instant::now() >= until) {
                return;
            }
            let timeout = if owes || self.has_turns() {
                Some(Duration::ZERO)
            } else if self.open_count > 0 || self.accept_again {
                Some(patience_at.saturating_duration_since(Instant::now()))
            } else {
                None
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "the RESP door cannot wait for its clients");
                    return;
                }
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    BELL => {}
                    Token(index) => self.arrived(index, event),
                }
            }
            if self.bell.is_closing.load(Ordering::Acquire) && closing_until.is_none() {
                closing_until = Some(Instant::now() + self.config.shutdown_timeout);
                self.close();
            }
            if self.read_ready() {
                self.router.decide_here();
                owes = true;
            } else if owes {
                // Nobody sent anything to decide, so this thread may as well write.
                self.router.complete_here();
                owes = false;
            }
            if Instant::now() >= patience_at {
                patience_at = Instant::now() + PATIENCE_INTERVAL;
                self.check_patience();
            }
        }
    }

    fn accept(&mut self) {
        self.accept_again = false;
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((stream, peer)) => {
                    if let Err(error) = self.admit(stream) {
                        tracing::debug!(client = %peer, %error, "connection lost");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "connection was not accepted");
                    self.accept_again = true;
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream) -> io::Result<()> {
        if self.open_count >= self.config.connections_max {
            let limit = self.config.connections_max;
            tracing::warn!(limit, "connection refused: there are too many");
            return stream.write_all(b"-ERR max number of clients reached\r\n");
        }
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        let index = self.free.pop().unwrap_or(self.connections.len());
        // Both directions tell at once whenever they change, so nothing is ever registered again.
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, Token(index), interest);
        if index == self.connections.len() {
            self.connections.push(Place {
                connection: None,
                pending: 0,
                is_ready: false,
                is_touched: false,
            });
        }
        if let Err(error) = registered {
            self.free.push(index);
            return Err(error);
        }
        self.accepted_count += 1;
        self.open_count += 1;
        self.connections[index].connection = Some(Connection::new(stream, self.accepted_count));
        Ok(())
    }

    /// Something changed at a connection's socket.
    fn arrived(&mut self, index: ConnectionIndex, event: &Event) {
        let Some(place) = self.connections.get_mut(index) else {
            return;
        };
        let Some(connection) = &mut place.connection else {
            return;
        };
        connection.arrived(event.is_readable(), event.is_read_closed() || event.is_error());
        if connection.wants_turn() && !place.is_ready {
            place.is_ready = true;
            self.ready.push(index);
        }
        touch(place, index, &mut self.touched);
    }

    fn has_turns(&self) -> bool {
        !self.ready.is_empty() && self.pending.weight() < PENDING_MAX
    }

    /// Reads once from every connection that may have something; tells whether anything was posted.
    fn read_ready(&mut self) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let waited = self.pending.weight();
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|&index| {
            if self.pending.weight() >= PENDING_MAX {
                return true;
            }
            let more = self.read_one(index);
            self.connections[index].is_ready = more;
            more
        });
        self.ready = ready;
        self.pending.post(&self.router);
        self.pending.weight() > waited
    }

    /// Reads once from a connection; tells whether it has more.
    fn read_one(&mut self, index: ConnectionIndex) -> bool {
        let Door {
            connections,
            pending,
            router,
            scratch,
            arguments,
            open_count,
            touched,
            ..
        } = self;
        let place = &mut connections[index];
        let Some(connection) = &mut place.connection else {
            return false;
        };
        if !connection.wants_turn() {
            return false;
        }
        touch_flag(&mut place.is_touched, index, touched);
        let waiting = &mut place.pending;
        let taken = connection.read(scratch, arguments, |connection, arguments, buffer| {
            let mut asker = Asker {
                index,
                connection,
                waiting,
                pending,
                router,
                open_count: *open_count,
            };
            asker.ask(arguments, buffer);
        });
        match taken {
            Ok(taken) => taken == Taken::More,
            Err(ConnectionError::Request(error)) => {
                tracing::warn!(connection = connection.number, %error, "the client sent what is not RESP");
                let reply = connection.refuse(&error);
                let mut asker = Asker {
                    index,
                    connection,
                    waiting,
                    pending,
                    router,
                    open_count: *open_count,
                };
                asker.reply(reply);
                false
            }
            Err(error) => {
                self.end(index, &error);
                false
            }
        }
    }

    /// Hands out the answers that are there.
    fn settle(&mut self, waker: &Waker) {
        let Door {
            connections,
            pending,
            touched,
            free,
            ..
        } = self;
        pending.settle(waker, |index, weight, told| {
            let place = &mut connections[index];
            place.pending -= weight;
            let Some(connection) = &mut place.connection else {
                if place.pending == 0 {
                    free.push(index);
                }
                return;
            };
            connection.pending -= weight;
            let output = connection.output();
            match told {
                Told::Routed(routed, form) => write_routed(output, &routed, form),
                Told::Value(value, protocol) => write_value(output, &value, protocol),
                Told::Reply(reply) => output.extend_from_slice(&reply),
                Told::Stopped => write::error(output, STOPPED),
            }
            touch(place, index, touched);
        });
    }

    /// Writes replies, lets connections go on that were held up by them, and ends those that are done.
    fn flush_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            let place = &mut self.connections[index];
            place.is_touched = false;
            let Some(connection) = &mut place.connection else {
                continue;
            };
            match connection.flush() {
                Err(error) => self.end(index, &error),
                Ok(()) if connection.is_done() => self.remove(index),
                Ok(()) => {
                    if connection.wants_turn() && !place.is_ready {
                        place.is_ready = true;
                        self.ready.push(index);
                    }
                }
            }
        }
        self.touched = touched;
    }

    fn check_patience(&mut self) {
        if self.accept_again {
            self.accept();
        }
        let now = Instant::now();
        let (request_timeout, write_timeout) = (self.config.request_timeout, self.config.write_timeout);
        for index in 0..self.connections.len() {
            if let Some(connection) = &self.connections[index].connection
                && let Err(error) = connection.check_patience(now, request_timeout, write_timeout)
            {
                self.end(index, &error);
            }
        }
    }

    /// Takes no more clients and no more commands.
    fn close(&mut self) {
        self.listener = None;
        for (index, place) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = &mut place.connection {
                connection.is_ending = true;
                touch(place, index, &mut self.touched);
            }
        }
        self.flush_touched();
    }

    fn end(&mut self, index: ConnectionIndex, error: &ConnectionError) {
        let source = std::error::Error::source(error).map(tracing::field::display);
        tracing::debug!(connection = index, %error, source, "connection closed");
        self.remove(index);
    }

    fn remove(&mut self, index: ConnectionIndex) {
        let place = &mut self.connections[index];
        if let Some(mut connection) = place.connection.take() {
            // The socket is closed with the connection, whatever this says.
            let _ = self.poll.registry().deregister(&mut connection.stream);
            self.open_count -= 1;
            if place.pending == 0 {
                self.free.push(index);
            }
        }
    }
}

fn touch(place: &mut Place, index: ConnectionIndex, touched: &mut Vec<ConnectionIndex>) {
    touch_flag(&mut place.is_touched, index, touched);
}

fn touch_flag(is_touched: &mut bool, index: ConnectionIndex, touched: &mut Vec<ConnectionIndex>) {
    if !*is_touched {
        *is_touched = true;
        touched.push(index);
    }
}

/// A connection whose next command is being looked at.
struct Asker<'a> {
    index: ConnectionIndex,
    connection: &'a mut Connection,
    waiting: &'a mut usize,
    pending: &'a mut Pending,
    router: &'a Router,
    open_count: usize,
}

impl Asker<'_> {
    fn ask(&mut self, arguments: &Arguments, buffer: &[u8]) {
        match understand(arguments.of(buffer)) {
            Ok(Asked::Command(command, form)) => {
                let weight = self.pending.command(self.index, command, form);
                self.wait(weight);
            }
            Ok(Asked::Stock(sku)) => {
                let protocol = self.connection.protocol;
                let weight = self.pending.stock(self.router, self.index, &sku, protocol);
                self.wait(weight);
            }
            Ok(Asked::Reservation(id)) => {
                let protocol = self.connection.protocol;
                let weight = self.pending.reservation(self.router, self.index, id, protocol);
                self.wait(weight);
            }
            Ok(Asked::Session(session)) => {
                let reply = self.session(session);
                self.reply(reply);
            }
            Err(error) => {
                let mut reply = Vec::new();
                let text: String = format!("ERR {error}").replace(['\r', '\n'], " ");
                write::error(&mut reply, &text);
                self.reply(reply);
            }
        }
    }

    /// Answers, behind all that waits.
    fn reply(&mut self, reply: Vec<u8>) {
        if self.connection.pending == 0 {
            self.connection.output().extend_from_slice(&reply);
        } else {
            let weight = self.pending.reply(self.index, reply);
            self.wait(weight);
        }
    }

    fn wait(&mut self, weight: usize) {
        *self.waiting += weight;
        self.connection.pending += weight;
    }

    fn session(&mut self, session: Session) -> Vec<u8> {
        let mut reply = Vec::new();
        let connection = &mut *self.connection;
        match session {
            Session::Fixed(fixed) => reply = fixed,
            Session::Hello(protocol) => {
                connection.protocol = protocol.unwrap_or(connection.protocol);
                write_hello(&mut reply, connection.protocol, connection.number);
            }
            Session::ClientId => write::integer(&mut reply, connection.number.cast_signed()),
            Session::Info => write_info(&mut reply, self.open_count),
            Session::Command(about) => write_commands(&mut reply, about, connection.protocol),
            Session::ConfigGet(patterns) => write_settings(&mut reply, &patterns, connection.protocol),
            Session::Reset => {
                connection.protocol = Protocol::default();
                write::status(&mut reply, "RESET");
            }
            Session::Quit => {
                connection.is_ending = true;
                write::status(&mut reply, "OK");
            }
        }
        reply
    }
}
