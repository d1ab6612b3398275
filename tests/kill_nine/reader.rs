//! Reading back: ranges with a fresh client, and everything as it comes with one that never restarts.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::lane::Stop;
use super::ledger::{Place, PlaceIndex, digest};

/// Longest time that reading a range may stand still.
const STALL_MAX: Duration = Duration::from_secs(20);

/// A consumer that takes part in no group's rebalancing but may commit for `group`.
pub fn consumer(address: &str, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.error.backoff.ms", "5")
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "20");
    config.create().expect("a consumer")
}

/// The offset behind the last record of every place.
pub fn ends(consumer: &BaseConsumer, places: &[Place]) -> Vec<i64> {
    let end = |place: &Place| {
        let found = consumer.fetch_watermarks(place.topic, place.partition, STALL_MAX);
        let (low, high) = found.unwrap_or_else(|error| panic!("no watermarks of {place:?}: {error}"));
        assert_eq!(low, 0, "{place:?} lost its beginning");
        high
    };
    places.iter().map(end).collect()
}

/// Gives `visit` every record of the ranges `from[i]..to[i]`, in order within each place.
pub fn read_ranges(
    consumer: &BaseConsumer,
    places: &[Place],
    ranges: &BTreeMap<PlaceIndex, (i64, i64)>,
    mut visit: impl FnMut(PlaceIndex, &BorrowedMessage<'_>),
) {
    let mut next: BTreeMap<PlaceIndex, (i64, i64)> = ranges.clone();
    next.retain(|_, (from, to)| from < to);
    let mut list = TopicPartitionList::new();
    for (place, (from, _)) in &next {
        let Place { topic, partition } = places[*place];
        list.add_partition_offset(topic, partition, Offset::Offset(*from))
            .expect("an offset");
    }
    consumer.assign(&list).expect("an assignment");
    let mut moved = Instant::now();
    while !next.is_empty() {
        assert!(
            moved.elapsed() < STALL_MAX,
            "reading stands still, left to read: {next:?}"
        );
        let message = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Err(error)) if is_passing(&error) => continue,
            Some(Err(error)) => panic!("reading failed: {error}, left to read: {next:?}"),
            Some(Ok(message)) => message,
        };
        let is_here =
            |place: &Place| place.topic == message.topic() && place.partition == message.partition();
        let place = places.iter().position(is_here).expect("an assigned place");
        let Some((expected, end)) = next.get_mut(&place) else {
            continue;
        };
        assert_eq!(
            message.offset(),
            *expected,
            "{:?} has a gap or goes back",
            places[place]
        );
        visit(place, &message);
        *expected += 1;
        moved = Instant::now();
        if expected == end {
            next.remove(&place);
        }
    }
    consumer
        .assign(&TopicPartitionList::new())
        .expect("an assignment");
}

/// What a consumer saw that lives through all crashes: digests by place and offset.
#[derive(Debug)]
pub struct LiveView {
    seen: Arc<Mutex<Vec<Vec<u32>>>>,
    faults: Receiver<String>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl LiveView {
    /// Starts to read everything from the beginning.
    pub fn start(address: &str, places: &Arc<[Place]>) -> LiveView {
        let seen = Arc::new(Mutex::new(vec![Vec::new(); places.len()]));
        let stop = Arc::new(Stop::default());
        let (sender, faults) = channel();
        let consumer = consumer(address, "kill-nine-live");
        let mut list = TopicPartitionList::new();
        for place in places.iter() {
            list.add_partition_offset(place.topic, place.partition, Offset::Offset(0))
                .expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let (view, stopped, places) = (Arc::clone(&seen), Arc::clone(&stop), Arc::clone(places));
        let thread = std::thread::spawn(move || watch(&consumer, &places, &view, &sender, &stopped));
        LiveView {
            seen,
            faults,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits; a fault that the reader meets ends the test at once.
    pub fn wait(&self, time: Duration) -> Result<(), String> {
        match self.faults.recv_timeout(time) {
            Ok(fault) => Err(fault),
            Err(_) => Ok(()),
        }
    }

    /// Number of records seen at each place.
    pub fn lengths(&self) -> Vec<i64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|place| place.len() as i64).collect()
    }

    /// The digest of the record seen at an offset, if it was.
    pub fn digest(&self, place: PlaceIndex, offset: i64) -> Option<u32> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen[place].get(offset as usize).copied()
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(
    consumer: &BaseConsumer,
    places: &[Place],
    view: &Mutex<Vec<Vec<u32>>>,
    faults: &Sender<String>,
    stop: &Stop,
) {
    while !stop.is_stopped() {
        let message = match consumer.poll(Duration::from_millis(50)) {
            None => continue,
            Some(Err(error)) if is_passing(&error) => continue,
            Some(Err(error)) => {
                let _ = faults.send(format!("the consumer that outlives the crashes failed: {error}"));
                return;
            }
            Some(Ok(message)) => message,
        };
        let is_here =
            |place: &Place| place.topic == message.topic() && place.partition == message.partition();
        let place = places.iter().position(is_here).expect("an assigned place");
        let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
        if message.offset() != view[place].len() as i64 {
            let (found, expected) = (message.offset(), view[place].len());
            let _ = faults.send(format!(
                "{:?}: live reader got offset {found}, want {expected}",
                places[place]
            ));
            return;
        }
        view[place].push(digest(message.key(), message.payload()));
    }
}

/// Whether the error is the broker being away, which is the test's own doing.
fn is_passing(error: &KafkaError) -> bool {
    let Some(code) = error.rdkafka_error_code() else {
        return false;
    };
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::CoordinatorNotAvailable
    )
}
