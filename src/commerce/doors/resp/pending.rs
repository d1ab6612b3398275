//! What was asked and is not answered: requests on their way, with the replies that wait for them, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use serde_json::Value;

use super::super::views;
use super::asked::Form;
use super::session::Protocol;
use crate::commerce::inventory::{
    Answer, COUNTED_SIZE_BYTES, Command, Found, Routed, Router, StockView, Stopped, Submitted, weight_of,
};

/// What a read weighs: 64 KiB, since its value is as large as an article has locations.
const READ_WEIGHT: usize = 256;

/// A connection's place in the door's table.
pub(super) type ConnectionIndex = usize;

/// What a connection is told next.
#[derive(Debug)]
pub(super) enum Told {
    /// What became of a command.
    Routed(Routed, Form),
    /// A read, in the protocol in which it was asked for.
    Value(Value, Protocol),
    /// A reply that was known at once, but had to wait for those before it.
    Reply(Vec<u8>),
    /// The engine stopped.
    Stopped,
}

/// One reply that waits.
#[derive(Debug)]
struct Entry {
    connection: ConnectionIndex,
    weight: usize,
    waits_for: WaitsFor,
}

#[derive(Debug)]
enum WaitsFor {
    /// The next outcome of the request.
    Outcome(Form),
    /// The value of the read.
    Read(Protocol),
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
///
/// What is added tells its weight, which is 1 and more for the memory that it takes until it is told.
#[derive(Debug, Default)]
pub(super) struct Pending {
    batches: VecDeque<Batch>,
    commands: Vec<Command>,
    entries: Vec<Entry>,
    /// The weight of all entries, those that gather included.
    weight: usize,
}

impl Pending {
    /// The weight of the replies that wait.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Adds a command of a connection.
    pub(super) fn command(&mut self, connection: ConnectionIndex, command: Command, form: Form) -> usize {
        let weight = weight_of(&command);
        self.commands.push(command);
        self.entry(connection, weight, WaitsFor::Outcome(form))
    }

    /// Adds a read of an article.
    pub(super) fn stock(
        &mut self,
        router: &Router,
        connection: ConnectionIndex,
        sku: &str,
        protocol: Protocol,
    ) -> usize {
        self.post(router);
        let request = Request::Stock(router.post_stock(sku));
        self.read(connection, request, protocol)
    }

    /// Adds a read of a reservation.
    pub(super) fn reservation(
        &mut self,
        router: &Router,
        connection: ConnectionIndex,
        id: uuid::Uuid,
        protocol: Protocol,
    ) -> usize {
        self.post(router);
        let request = Request::Reservation(router.post_reservation(id));
        self.read(connection, request, protocol)
    }

    /// Adds a reply that is known, behind those that are not; something of the same connection must wait.
    pub(super) fn reply(&mut self, connection: ConnectionIndex, reply: Vec<u8>) -> usize {
        let weight = 1 + reply.len() / COUNTED_SIZE_BYTES;
        self.entry(connection, weight, WaitsFor::Turn(reply))
    }

    /// Posts the commands that gathered as one request.
    pub(super) fn post(&mut self, router: &Router) {
        if self.entries.is_empty() {
            return;
        }
        let room = Vec::with_capacity(self.entries.len());
        let mut entries = std::mem::replace(&mut self.entries, room);
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
    pub(super) fn settle(&mut self, waker: &Waker, mut tell: impl FnMut(ConnectionIndex, usize, Told)) {
        while let Some(batch) = self.batches.front_mut() {
            let Poll::Ready(answered) = batch.request.poll(&mut Context::from_waker(waker)) else {
                return;
            };
            let entries = std::mem::take(&mut batch.entries);
            self.batches.pop_front();
            let (mut outcomes, mut value) = match answered {
                Ok(Answered::Outcomes(outcomes)) => (outcomes.into_iter(), None),
                Ok(Answered::Value(value)) => (Vec::new().into_iter(), Some(value)),
                Err(_) => (Vec::new().into_iter(), None),
            };
            for Entry {
                connection,
                weight,
                waits_for,
            } in entries
            {
                self.weight -= weight;
                let told = match waits_for {
                    WaitsFor::Outcome(form) => outcomes.next().map(|routed| Told::Routed(routed, form)),
                    WaitsFor::Read(protocol) => value.take().map(|value| Told::Value(value, protocol)),
                    WaitsFor::Turn(reply) => Some(Told::Reply(reply)),
                };
                tell(connection, weight, told.unwrap_or(Told::Stopped));
            }
        }
    }

    fn read(&mut self, connection: ConnectionIndex, request: Request, protocol: Protocol) -> usize {
        self.weight += READ_WEIGHT;
        let entries = vec![Entry {
            connection,
            weight: READ_WEIGHT,
            waits_for: WaitsFor::Read(protocol),
        }];
        self.batches.push_back(Batch { request, entries });
        READ_WEIGHT
    }

    fn entry(&mut self, connection: ConnectionIndex, weight: usize, waits_for: WaitsFor) -> usize {
        self.weight += weight;
        self.entries.push(Entry {
            connection,
            weight,
            waits_for,
        });
        weight
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_weighs_what_it_takes_and_nothing_once_it_is_told() {
        let (router, mut pending) = (Router::new([]), Pending::default());
        let command = Command::commit(uuid::Uuid::nil());
        let weights = [
            pending.command(1, command, Form::Commit),
            pending.reply(1, vec![b'x'; 255]),
            pending.stock(&router, 2, "tv", Protocol::default()),
            pending.reply(2, vec![b'x'; 1024]),
        ];
        assert_eq!(weights, [1, 1, 256, 5]);
        assert_eq!(pending.weight(), 263);
        pending.post(&router);
        let mut told = Vec::new();
        pending.settle(Waker::noop(), |connection, weight, _| {
            told.push((connection, weight));
        });
        assert_eq!(told, [(1, 1), (1, 1), (2, 256), (2, 5)]);
        assert_eq!(pending.weight(), 0);
    }
}
