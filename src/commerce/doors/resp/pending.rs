//! What was asked and is not answered: requests on their way, with the replies that wait for them, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use serde_json::Value;

use super::super::views;
use super::asked::Form;
use crate::commerce::inventory::{Answer, Command, Found, Routed, Router, StockView, Stopped, Submitted};

/// A connection's place in the door's table.
pub(super) type ConnectionIndex = usize;

/// What a connection is told next.
#[derive(Debug)]
pub(super) enum Told {
    /// What became of a command.
    Routed(Routed, Form),
    /// A read.
    Value(Value),
    /// A reply that was known at once, but had to wait for those before it.
    Reply(Vec<u8>),
    /// The engine stopped.
    Stopped,
}

/// One reply that waits.
#[derive(Debug)]
struct Entry {
    connection: ConnectionIndex,
    waits_for: WaitsFor,
}

#[derive(Debug)]
enum WaitsFor {
    /// The next outcome of the request.
    Outcome(Form),
    /// The value of the read.
    Read,
    /// Nothing but its turn.
    Turn(Vec<u8>),
}

#[derive(Debug)]
enum Request {
    Commands(Submitted),
    Stock(Answer<Option<StockView>>),
    Reservation(Found),
}

#[derive(Debug)]
struct Batch {
    request: Request,
    entries: Vec<Entry>,
}

/// All that waits, oldest first. Commands gather until [`Pending::post`].
#[derive(Debug, Default)]
pub(super) struct Pending {
    batches: VecDeque<Batch>,
    commands: Vec<Command>,
    entries: Vec<Entry>,
    /// Entries of all batches, and those that gather.
    count: usize,
}

impl Pending {
    /// How many replies wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a command of a connection.
    pub(super) fn command(&mut self, connection: ConnectionIndex, command: Command, form: Form) {
        self.commands.push(command);
        self.entry(connection, WaitsFor::Outcome(form));
    }

    /// Adds a read of an article.
    pub(super) fn stock(&mut self, router: &Router, connection: ConnectionIndex, sku: &str) {
        self.post(router);
        let request = Request::Stock(router.post_stock(sku));
        self.read(connection, request);
    }

    /// Adds a read of a reservation.
    pub(super) fn reservation(&mut self, router: &Router, connection: ConnectionIndex, id: uuid::Uuid) {
        self.post(router);
        let request = Request::Reservation(router.post_reservation(id));
        self.read(connection, request);
    }

    /// Adds a reply that is known, behind those that are not; something of the same connection must wait.
    pub(super) fn reply(&mut self, connection: ConnectionIndex, reply: Vec<u8>) {
        self.entry(connection, WaitsFor::Turn(reply));
    }

    /// Posts the commands that gathered as one request.
    pub(super) fn post(&mut self, router: &Router) {
        if self.entries.is_empty() {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        if self.commands.is_empty()
            && let Some(last) = self.batches.back_mut()
        {
            last.entries.append(&mut entries);
            return;
        }
        let room = Vec::with_capacity(self.commands.len());
        let commands = std::mem::replace(&mut self.commands, room);
        let request = Request::Commands(router.post(commands));
        self.batches.push_back(Batch { request, entries });
    }

    /// Hands out what the oldest requests that are answered have for their connections. `waker` hears of the first
    /// that is not.
    pub(super) fn settle(&mut self, waker: &Waker, mut tell: impl FnMut(ConnectionIndex, Told)) {
        while let Some(batch) = self.batches.front_mut() {
            let Poll::Ready(answered) = batch.request.poll(&mut Context::from_waker(waker)) else {
                return;
            };
            let entries = std::mem::take(&mut batch.entries);
            self.batches.pop_front();
            self.count -= entries.len();
            let (mut outcomes, mut value) = match answered {
                Ok(Answered::Outcomes(outcomes)) => (outcomes.into_iter(), None),
                Ok(Answered::Value(value)) => (Vec::new().into_iter(), Some(value)),
                Err(_) => (Vec::new().into_iter(), None),
            };
            for Entry {
                connection,
                waits_for,
            } in entries
            {
                let told = match waits_for {
                    WaitsFor::Outcome(form) => outcomes.next().map(|routed| Told::Routed(routed, form)),
                    WaitsFor::Read => value.take().map(Told::Value),
                    WaitsFor::Turn(reply) => Some(Told::Reply(reply)),
                };
                tell(connection, told.unwrap_or(Told::Stopped));
            }
        }
    }

    fn read(&mut self, connection: ConnectionIndex, request: Request) {
        self.count += 1;
        let entries = vec![Entry {
            connection,
            waits_for: WaitsFor::Read,
        }];
        self.batches.push_back(Batch { request, entries });
    }

    fn entry(&mut self, connection: ConnectionIndex, waits_for: WaitsFor) {
        self.count += 1;
        self.entries.push(Entry {
            connection,
            waits_for,
        });
    }
}

enum Answered {
    Outcomes(Vec<Routed>),
    Value(Value),
}

impl Request {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answered, Stopped>> {
        match self {
            Request::Commands(submitted) => Pin::new(submitted).poll(context).map_ok(Answered::Outcomes),
            Request::Stock(answer) => Pin::new(answer)
                .poll(context)
                .map_ok(|stock| Answered::Value(stock.as_ref().map_or(Value::Null, views::stock))),
            Request::Reservation(found) => Pin::new(found).poll(context).map_ok(|reservation| {
                Answered::Value(reservation.as_ref().map_or(Value::Null, views::reservation))
            }),
        }
    }
}
