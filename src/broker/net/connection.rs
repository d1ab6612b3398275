//! One client's connection: requests are read ahead, answers leave in their order.
//!
//! A single task reads, waits and writes, so that an answer costs no hand-over between tasks. While
//! earlier requests wait for the disk, later ones are read and, if they are Produce requests, handed to
//! the log: see [`api::dispatch`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::super::api::{self, Answer, Outcome};
use super::super::node::{Context, Node};
use super::super::protocol::{RequestError, decode_request};
use super::frame_reader::{FrameError, FrameReader};
use super::frame_writer::FrameWriter;

/// Answers are gathered into one write up to this size; then the client must take them first.
const GATHERED_SIZE_MAX_BYTES: usize = 256 * 1024;

/// Why a connection ended before its client closed it.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    /// What arrived is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame is not a request that is served.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// An answer could not be written.
    #[error("writing to the socket failed")]
    Write(#[source] std::io::Error),
}

/// A request that is not answered yet.
struct Pending {
    answer: Answer,
    is_decided: bool,
    /// Holds the request's bytes against the budget of all connections.
    _permit: OwnedSemaphorePermit,
}

struct Connection {
    node: Arc<Node>,
    local: SocketAddr,
    peer: SocketAddr,
    pending: VecDeque<Pending>,
    /// How many of the pending requests are not decided.
    undecided_count: usize,
    /// A frame that was read but must wait for the budget of all connections.
    held: Option<Bytes>,
    output: FrameWriter,
}

/// Serves a client until it leaves, misbehaves, or the broker shuts down.
pub(super) async fn serve(node: Arc<Node>, stream: TcpStream, local: SocketAddr, peer: SocketAddr) {
    let connection = Connection {
        node,
        local,
        peer,
        pending: VecDeque::new(),
        undecided_count: 0,
        held: None,
        output: FrameWriter::default(),
    };
    if let Err(error) = connection.run(stream).await {
        report(peer, &error);
    }
}

/// A lost connection is everyday; bytes that are not Kafka's need a look.
fn report(peer: SocketAddr, error: &ConnectionError) {
    let source = std::error::Error::source(error).map(tracing::field::display);
    match error {
        ConnectionError::Write(_)
        | ConnectionError::Frame(FrameError::Socket(_) | FrameError::Truncated { .. }) => {
            tracing::debug!(client = %peer, %error, source, "connection lost");
        }
        ConnectionError::Frame(_) | ConnectionError::Request(_) => {
            tracing::warn!(client = %peer, %error, source, "connection closed: the client sent a bad request");
        }
    }
}

impl Connection {
    async fn run(mut self, mut stream: TcpStream) -> Result<(), ConnectionError> {
        let config = &self.node.config;
        let (size_max_bytes, pending_max) = (config.frame_size_max_bytes, config.requests_per_connection_max);
        let (frame_timeout, write_timeout) = (config.frame_timeout, config.write_timeout);
        let idle_timeout = config.idle_timeout;
        let shutdown = self.node.shutdown.clone();
        let (reader, mut writer) = stream.split();
        let mut frames = FrameReader::new(reader, size_max_bytes, frame_timeout);
        let mut is_stopping = false;
        loop {
            let may_read = !is_stopping && self.held.is_none() && self.pending.len() < pending_max;
            tokio::select! {
                biased;
                outcome = first_outcome(&mut self.pending), if !self.pending.is_empty() => {
                    let is_open = self.take_outcomes(outcome).await;
                    self.output.flush(&mut writer, write_timeout).await.map_err(ConnectionError::Write)?;
                    if !is_open {
                        return Ok(());
                    }
                }
                permit = budget(&self.node, self.held.as_ref()), if self.held.is_some() => {
                    self.dispatch_held(permit)?;
                }
                frame = frames.next(), if may_read => match frame? {
                    Some(frame) => self.accept(frame)?,
                    None => return Ok(()),
                },
                () = shutdown.cancelled(), if !is_stopping => is_stopping = true,
                // Begins anew with every frame and answer. Without it the connections of clients that vanished
                // without a word would add up until there is no room for others.
                () = tokio::time::sleep(idle_timeout), if self.pending.is_empty() && may_read => {
                    tracing::debug!(client = %self.peer, "connection closed: the client was silent");
                    return Ok(());
                }
                else => return Ok(()),
            }
        }
    }

    /// Dispatches a frame, or holds it until the budget of all connections allows it.
    fn accept(&mut self, frame: Bytes) -> Result<(), ConnectionError> {
        let budget = Arc::clone(&self.node.request_bytes);
        match budget.try_acquire_many_owned(permit_count(&self.node, &frame)) {
            Ok(permit) => self.dispatch(frame, permit)?,
            Err(_) => self.held = Some(frame),
        }
        Ok(())
    }

    fn dispatch_held(&mut self, permit: Option<OwnedSemaphorePermit>) -> Result<(), ConnectionError> {
        if let (Some(permit), Some(frame)) = (permit, self.held.take()) {
            self.dispatch(frame, permit)?;
        }
        Ok(())
    }

    fn dispatch(&mut self, frame: Bytes, permit: OwnedSemaphorePermit) -> Result<(), RequestError> {
        let decoded = decode_request(frame)?;
        let (api, version) = (decoded.header.api, decoded.header.version);
        tracing::trace!(client = %self.peer, ?api, version, "request");
        let context = Context {
            header: decoded.header,
            local: self.local,
            peer: self.peer,
        };
        let may_decide = self.undecided_count == 0;
        let dispatched = api::dispatch(&self.node, context, decoded.request, may_decide);
        if !dispatched.is_decided {
            self.undecided_count += 1;
        }
        self.pending.push_back(Pending {
            answer: dispatched.answer,
            is_decided: dispatched.is_decided,
            _permit: permit,
        });
        Ok(())
    }

    /// Takes the first outcome and all that are ready behind it; `false` if the connection must close.
    async fn take_outcomes(&mut self, first: Outcome) -> bool {
        let mut next = Some(first);
        while let Some(outcome) = next {
            if let Some(done) = self.pending.pop_front()
                && !done.is_decided
            {
                self.undecided_count -= 1;
            }
            match outcome {
                Outcome::Respond(frame) => self.output.push(frame),
                Outcome::Silent => {}
                Outcome::Close => return false,
            }
            if self.output.size_bytes() >= GATHERED_SIZE_MAX_BYTES {
                return true;
            }
            next = ready_outcome(&mut self.pending).await;
        }
        true
    }
}

/// The outcome of the first pending request, of which there must be one.
async fn first_outcome(pending: &mut VecDeque<Pending>) -> Outcome {
    match pending.front_mut() {
        Some(first) => first.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The outcome of the first pending request if it is there already.
async fn ready_outcome(pending: &mut VecDeque<Pending>) -> Option<Outcome> {
    let first = pending.front_mut()?;
    poll_fn(|context| match first.answer.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Waits until the held frame fits into the budget of all connections.
async fn budget(node: &Node, held: Option<&Bytes>) -> Option<OwnedSemaphorePermit> {
    let count = permit_count(node, held?);
    Arc::clone(&node.request_bytes)
        .acquire_many_owned(count)
        .await
        .ok()
}

/// A frame's share of the budget; never more than there is.
fn permit_count(node: &Node, frame: &Bytes) -> u32 {
    let count = frame.len().min(node.config.requests_size_max_bytes);
    u32::try_from(count).unwrap_or(u32::MAX)
}
