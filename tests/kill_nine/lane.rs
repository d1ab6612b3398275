//! One producer: keeps a window of records in flight and enters every answer into the ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::ledger::{Ledger, Place, PlaceIndex, Sent, digest};

/// Header that names the lane and the sequence of a record.
pub const LANE_HEADER: &str = "lane";

/// Records that a lane has in flight at most; several batches, so that a kill finds a pipeline.
const WINDOW: usize = 200;

/// A producer's name, its client, and how many of its records are in flight.
pub struct Lane {
    id: u32,
    producer: ThreadedProducer<Recorder>,
    window: Arc<Window>,
    ledger: Arc<Ledger>,
    places: Arc<[Place]>,
}

/// How a lane's client is set up.
#[derive(Clone, Copy, Debug)]
pub struct LaneKind {
    /// Idempotent, with retries until the broker is back; otherwise one attempt each.
    pub idempotent: bool,
    /// Kafka's name of the compression.
    pub compression: &'static str,
}

/// A flag that stops a lane's thread, also while it waits.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: AtomicBool,
}

impl Stop {
    /// Asks the thread to end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Lets time pass between bursts of load.
    pub fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while !self.is_stopped() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
    }

    /// Whether it should end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Records in flight, and the wait for fewer.
#[derive(Debug, Default)]
struct Window {
    in_flight: Mutex<usize>,
    fewer: Condvar,
}

struct Recorder {
    ledger: Arc<Ledger>,
    window: Arc<Window>,
}

impl ClientContext for Recorder {}

impl ProducerContext for Recorder {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        match result {
            Ok(message) => {
                let offset = message.offset();
                self.ledger.acknowledge(*sent, (offset >= 0).then_some(offset));
            }
            Err((error, _)) => self.ledger.give_up(*sent, error.to_string()),
        }
        *self
            .window
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
        self.window.fewer.notify_all();
    }
}

impl Lane {
    /// A lane to the broker at `address`.
    pub fn new(id: u32, address: &str, kind: LaneKind, ledger: &Arc<Ledger>, places: &Arc<[Place]>) -> Lane {
        let window = Arc::new(Window::default());
        let recorder = Recorder {
            ledger: Arc::clone(ledger),
            window: Arc::clone(&window),
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", address)
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("batch.num.messages", "40")
            .set("compression.type", kind.compression)
            .set("reconnect.backoff.ms", "5")
            .set("reconnect.backoff.max.ms", "20")
            .set("retry.backoff.ms", "5")
            .set("retry.backoff.max.ms", "20")
            .set("message.timeout.ms", "120000")
            .set(
                "enable.idempotence",
                if kind.idempotent { "true" } else { "false" },
            );
        if !kind.idempotent {
            config.set("retries", "0");
        }
        let producer = config.create_with_context(recorder).expect("a producer");
        Lane {
            id,
            producer,
            window,
            ledger: Arc::clone(ledger),
            places: Arc::clone(places),
        }
    }

    /// Sends a record once fewer than the window are in flight; false if it was stopped before.
    pub fn send(&self, place: PlaceIndex, key: Option<&[u8]>, value: &[u8], stop: &Stop) -> bool {
        if !self.wait_for_room(stop) {
            return false;
        }
        let Place { topic, partition } = self.places[place];
        let sent = self.ledger.send(self.id, place, digest(key, Some(value)));
        let mut name = [0; 8];
        name[..4].copy_from_slice(&sent.lane.to_le_bytes());
        name[4..].copy_from_slice(&sent.sequence.to_le_bytes());
        let headers = OwnedHeaders::new().insert(Header {
            key: LANE_HEADER,
            value: Some(&name),
        });
        let mut record = BaseRecord::<[u8], [u8], Box<Sent>>::with_opaque_to(topic, Box::new(sent))
            .partition(partition)
            .payload(value)
            .headers(headers);
        record.key = key;
        *self
            .window
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        if let Err((error, _)) = self.producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(full, "lane {} cannot send: {error}", self.id);
            self.ledger.take_back(sent);
            *self
                .window
                .in_flight
                .lock()
                .unwrap_or_else(PoisonError::into_inner) -= 1;
        }
        true
    }

    /// Waits until nothing is in flight; panics after `limit`.
    pub fn finish(&self, limit: Duration) {
        let flushed = self.producer.flush(limit);
        let left = self.producer.in_flight_count();
        assert!(
            flushed.is_ok(),
            "lane {} still has {left} records in flight after {limit:?}",
            self.id
        );
    }

    fn wait_for_room(&self, stop: &Stop) -> bool {
        let mut in_flight = self
            .window
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *in_flight >= WINDOW {
            if stop.is_stopped() {
                return false;
            }
            let waited = self
                .window
                .fewer
                .wait_timeout(in_flight, Duration::from_millis(20));
            in_flight = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !stop.is_stopped()
    }
}

/// The lane and sequence in a record's header.
pub fn lane_of(message: &impl Message, place: PlaceIndex) -> Option<Sent> {
    use rdkafka::message::Headers;
    let headers = message.headers()?;
    let value = headers.iter().find(|header| header.key == LANE_HEADER)?.value?;
    let (lane, sequence) = value.split_at_checked(4)?;
    let lane = u32::from_le_bytes(lane.try_into().ok()?);
    Some(Sent {
        lane,
        place,
        sequence: u32::from_le_bytes(sequence.try_into().ok()?),
    })
}
