//! One TCP connection to a broker: requests leave in order, answers come back in the same order.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_wire::{
    KafkaRequest, OutboundFrameLimits, RequestResponsePair, ResponseHeader, encode_request,
    response_header_version_for,
};
use kafka_wire_core::{ApiVersion, DecodeLimits, Decoder, KafkaDecode, KafkaEncode, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::ClientError;

/// Largest answer taken from a broker. 64 MiB: above every fetch this client asks for, with one
/// oversized batch.
const ANSWER_SIZE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Largest request. 16 MiB: above the largest batch that any broker takes by default.
const REQUEST_SIZE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Frames that may wait for the socket. A full queue is back-pressure: the caller keeps its commands.
const SEND_QUEUE_FRAMES: usize = 16;

/// Bytes asked of the socket at a time.
const READ_CHUNK_BYTES: usize = 64 * 1024;

/// Time for a TCP connection to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The name that this client gives itself.
const CLIENT_ID: &str = "doorbuster-flash-sale";

type Pending = Arc<Mutex<VecDeque<(i32, oneshot::Sender<Bytes>)>>>;

/// A pipelining connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    frames: mpsc::Sender<Frame>,
    next_correlation_id: i32,
}

#[derive(Debug)]
struct Frame {
    bytes: Bytes,
    correlation_id: i32,
    answer: oneshot::Sender<Bytes>,
}

impl Connection {
    /// Connects to `address`, with Nagle's algorithm off.
    pub async fn open(address: SocketAddr) -> Result<Connection, ClientError> {
        let connect = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
        let stream = connect
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|source| ClientError::Connect { address, source })?;
        let (read_half, write_half) = stream.into_split();
        let (frames, queue) = mpsc::channel(SEND_QUEUE_FRAMES);
        let pending = Pending::default();
        tokio::spawn(write_frames(write_half, queue, Arc::clone(&pending)));
        tokio::spawn(read_answers(read_half, pending));
        Ok(Connection {
            address,
            frames,
            next_correlation_id: 0,
        })
    }

    /// The broker's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a request would be taken at once.
    pub fn has_room(&self) -> bool {
        self.frames.capacity() > 0
    }

    /// Queues a request and returns the future of its answer, without waiting for it.
    ///
    /// Waits only while the send queue is full.
    pub async fn send<R>(&mut self, request: &R, version: i16) -> Result<Answer<R>, ClientError>
    where
        R: KafkaRequest + KafkaEncode + RequestResponsePair,
    {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let version = ApiVersion::new(version);
        let mut buffer = BytesMut::new();
        let encoded = encode_request(
            &mut buffer,
            correlation_id,
            Some(StrBytes::from(CLIENT_ID)),
            request,
            version,
            OutboundFrameLimits::new(REQUEST_SIZE_MAX_BYTES),
        )
        .and_then(|_| response_header_version_for::<R>(version));
        let header_version = encoded.map_err(|source| ClientError::Encode { api: R::NAME, source })?;
        let (answer, receiver) = oneshot::channel();
        let frame = Frame {
            bytes: buffer.freeze(),
            correlation_id,
            answer,
        };
        let closed = ClientError::Closed {
            address: self.address,
            api: R::NAME,
        };
        self.frames.send(frame).await.map_err(|_| closed)?;
        Ok(Answer {
            receiver,
            address: self.address,
            version,
            header_version: ApiVersion::new(header_version),
            request: PhantomData,
        })
    }

    /// Sends a request and waits for its answer, at most `limit`.
    pub async fn call<R>(
        &mut self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, ClientError>
    where
        R: KafkaRequest + KafkaEncode + RequestResponsePair + Sync,
    {
        let address = self.address;
        let answered = timeout(limit, async { self.send(request, version).await?.await }).await;
        let limit_seconds = limit.as_secs();
        answered.unwrap_or(Err(ClientError::TimedOut {
            address,
            api: R::NAME,
            limit_seconds,
        }))
    }
}

/// The answer to a request that was sent, as a future.
#[derive(Debug)]
#[must_use = "the request has an answer only once this resolves"]
pub struct Answer<R> {
    receiver: oneshot::Receiver<Bytes>,
    address: SocketAddr,
    version: ApiVersion,
    header_version: ApiVersion,
    request: PhantomData<fn() -> R>,
}

impl<R: KafkaRequest + RequestResponsePair> Future for Answer<R> {
    type Output = Result<R::Response, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = Pin::new(&mut self.receiver).poll(context);
        received.map(|bytes| {
            let bytes = bytes.map_err(|_| ClientError::Closed {
                address: self.address,
                api: R::NAME,
            })?;
            decode_answer::<R>(bytes, self.header_version, self.version).map_err(|source| {
                ClientError::Decode {
                    address: self.address,
                    api: R::NAME,
                    source,
                }
            })
        })
    }
}

fn decode_answer<R: RequestResponsePair>(
    bytes: Bytes,
    header_version: ApiVersion,
    version: ApiVersion,
) -> Result<R::Response, kafka_wire_core::DecodeError> {
    let mut limits = DecodeLimits::default();
    limits.max_frame_bytes = ANSWER_SIZE_MAX_BYTES;
    let mut decoder = Decoder::new(bytes, limits)?;
    ResponseHeader::decode(&mut decoder, header_version)?;
    let response = R::Response::decode(&mut decoder, version)?;
    decoder.finish()?;
    Ok(response)
}

/// Writes queued frames; several that wait leave in one write.
async fn write_frames(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<Frame>, pending: Pending) {
    let mut buffer = BytesMut::new();
    while let Some(frame) = queue.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            buffer.extend_from_slice(&frame.bytes);
            lock(&pending).push_back((frame.correlation_id, frame.answer));
            next = queue.try_recv().ok();
        }
        if let Err(error) = socket.write_all(&buffer).await {
            tracing::debug!(%error, "broker connection broke while writing");
            break;
        }
        buffer.clear();
    }
}

/// Hands each answer to the request it belongs to; on any error all that still wait learn of it by
/// the drop of their channel.
async fn read_answers(mut socket: OwnedReadHalf, pending: Pending) {
    let mut buffer = BytesMut::new();
    loop {
        match read_frame(&mut socket, &mut buffer).await {
            Ok(Some(frame)) => {
                if !deliver(frame, &pending) {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "broker connection broke while reading");
                break;
            }
        }
    }
    lock(&pending).clear();
}

fn deliver(frame: Bytes, pending: &Pending) -> bool {
    let Some(correlation_id) = frame.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes)) else {
        tracing::debug!(size_bytes = frame.len(), "answer without a header");
        return false;
    };
    match lock(pending).pop_front() {
        Some((expected, answer)) if expected == correlation_id => {
            // The requester may have stopped waiting; its answer is dropped then.
            let _ = answer.send(frame);
            true
        }
        found => {
            let expected = found.map(|(expected, _)| expected);
            tracing::debug!(correlation_id, ?expected, "answer out of order");
            false
        }
    }
}

/// Reads one length-prefixed frame; memory grows with what has arrived, never with what is promised.
async fn read_frame(socket: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    loop {
        if let Some(prefix) = buffer.first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*prefix))
                .ok()
                .filter(|length| *length <= ANSWER_SIZE_MAX_BYTES)
                .ok_or(io::ErrorKind::InvalidData)?;
            if buffer.len() - 4 >= length {
                buffer.advance(4);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
        }
        buffer.reserve(READ_CHUNK_BYTES);
        if socket.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
}

fn lock(pending: &Pending) -> std::sync::MutexGuard<'_, VecDeque<(i32, oneshot::Sender<Bytes>)>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_wire::{ApiVersionsRequest, ApiVersionsResponse};
    use tokio::net::TcpListener;

    /// Answers every request with a version-0 `ApiVersions` body whose correlation id is what
    /// `renumber` makes of the request's.
    async fn answer_with(listener: TcpListener, renumber: fn(i32) -> i32) {
        let (mut socket, _) = listener.accept().await.unwrap();
        while let Ok(length) = socket.read_u32().await {
            let mut request = vec![0; length as usize];
            socket.read_exact(&mut request).await.unwrap();
            let correlation_id = i32::from_be_bytes(*request[4..].first_chunk().unwrap());
            let body = ApiVersionsResponse::default()
                .encode_to_bytes(ApiVersion::new(0))
                .unwrap();
            socket.write_u32(4 + body.len() as u32).await.unwrap();
            socket.write_i32(renumber(correlation_id)).await.unwrap();
            socket.write_all(&body).await.unwrap();
        }
    }

    async fn connect(renumber: fn(i32) -> i32) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(answer_with(listener, renumber));
        Connection::open(address).await.unwrap()
    }

    #[tokio::test]
    async fn pipelined_requests_get_their_answers_in_order() {
        let mut connection = connect(|id| id).await;
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(connection.send(&ApiVersionsRequest::default(), 0).await.unwrap());
        }
        for answer in answers {
            assert_eq!(answer.await.unwrap().error_code, 0);
        }
    }

    #[tokio::test]
    async fn an_answer_to_another_request_ends_the_connection() {
        let mut connection = connect(|id| id + 1).await;
        let result = connection
            .call(&ApiVersionsRequest::default(), 0, Duration::from_secs(5))
            .await;
        assert!(
            matches!(
                result,
                Err(ClientError::Closed {
                    api: "ApiVersionsRequest",
                    ..
                })
            ),
            "{result:?}"
        );
    }

    #[tokio::test]
    async fn nobody_listening_is_a_connect_error_with_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Connection::open(address).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { address: found, .. } if found == address));
    }
}
