//! The handle that programs hold.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::call::{Call, Slot};
use super::link::Link;
use super::{ClientError, ClientOptions, decode, encode};
use crate::commerce::inventory::{Command, Line, Outcome, ReservationView, StockView, milliseconds};
use crate::resp::Reply;

/// A handle to a reservation daemon; cheap to clone. The connection closes when the last handle is gone.
///
/// Every method makes a [`Call`], which is awaited, or waited for by [`Call::wait`].
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
}

#[derive(Debug)]
struct Connection(Arc<Link>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Client {
    /// Connects to the RESP door at `address`, `host:port`.
    ///
    /// # Errors
    /// If the address is none, or nobody answers there. Later losses of the connection are made good.
    pub fn connect(address: &str, options: ClientOptions) -> Result<Client, ClientError> {
        let resolved = address.to_socket_addrs().map_err(|error| ClientError::Address {
            address: address.to_owned(),
            reason: error.to_string(),
        })?;
        let link = Link::open(resolved.collect(), options).map_err(|error| ClientError::Connect {
            address: address.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Client {
            connection: Arc::new(Connection(link)),
        })
    }

    /// Sends any command.
    pub fn submit(&self, command: Command) -> Call<Outcome> {
        let (request, told) = encode::command(command);
        self.call(request, |reply| decode::outcome(reply, told))
    }

    /// Holds a whole cart for `ttl`, or nothing of it. The outcome has the lines that were asked for, also of kits;
    /// [`Client::reservation`] tells their parts.
    pub fn reserve(
        &self,
        reservation: Uuid,
        customer: impl Into<String>,
        lines: Vec<Line>,
        ttl: Duration,
    ) -> Call<Outcome> {
        self.submit(Command::reserve(reservation, customer, lines, milliseconds(ttl)))
    }

    /// Sells the units of a live hold.
    pub fn commit(&self, reservation: Uuid) -> Call<Outcome> {
        self.submit(Command::commit(reservation))
    }

    /// Gives the units of a live hold back.
    pub fn release(&self, reservation: Uuid) -> Call<Outcome> {
        self.submit(Command::release(reservation))
    }

    /// Pushes the end of a live hold out to `ttl` from now. `id` makes a repeat harmless.
    pub fn extend(&self, id: Uuid, reservation: Uuid, ttl: Duration) -> Call<Outcome> {
        self.submit(Command::Extend {
            id,
            reservation,
            ttl_ms: milliseconds(ttl),
        })
    }

    /// Adds units to an article. `id` makes a repeat harmless.
    pub fn receive(&self, id: Uuid, sku: impl Into<String>, quantity: u32) -> Call<Outcome> {
        self.submit(Command::receive(id, sku, quantity))
    }

    /// The units of an article; none if there is no such article.
    pub fn stock(&self, sku: &str) -> Call<Option<StockView>> {
        self.call(encode::stock(sku), decode::view)
    }

    /// Where a reservation stands; none if it is not known.
    pub fn reservation(&self, reservation: Uuid) -> Call<Option<ReservationView>> {
        self.call(encode::reservation(reservation), decode::view)
    }

    fn call<T>(
        &self,
        request: Vec<u8>,
        decode: impl FnOnce(Reply) -> Result<T, ClientError> + Send + 'static,
    ) -> Call<T> {
        let link = &self.connection.0;
        let slot = link.push(request).unwrap_or_else(|error| {
            let refused = Slot::new();
            refused.deliver(Err(error));
            refused
        });
        Call::new(Arc::clone(link), slot, decode)
    }
}
