//! Shoppers at the daemon's Kafka door, until all is done or the daemon is to be killed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorbuster::commerce::inventory::{COMMANDS_TOPIC, EVENTS_TOPIC, Event};
use doorbuster::commerce::load::client::{BatchBuilder, Client};
use doorbuster::commerce::load::reader::for_each_event;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::daemon::Random;
use crate::history::{Moments, Span};
use crate::shop::{Counter, Step, answer_of};
use crate::step;

/// Shoppers at once, and commands of each.
const SHOPPERS: u64 = 3;
const COMMANDS: u64 = 6;

/// Longest time that a phase may take.
const PHASE_MAX: Duration = Duration::from_mins(1);

const FETCH_SIZE_MAX_BYTES: i32 = 1024 * 1024;
const FETCH_WAIT_MAX: Duration = Duration::from_secs(1);

/// Part of a history: until everybody has heard all answers, or enough were heard.
#[derive(Debug)]
pub struct Phase {
    pub address: String,
    pub moments: Arc<Moments>,
    pub counter: Counter,
    /// The id of the first command; the others follow.
    pub first_id: Uuid,
    /// Once so many answers were heard, nobody listens any more.
    pub answers_max: usize,
}

/// What the shoppers of a phase share.
#[derive(Debug)]
struct Hall {
    phase: Phase,
    /// Who waits for the outcome of which command.
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<Event>>>,
    heard: AtomicUsize,
    stop: watch::Sender<bool>,
}

impl Phase {
    /// Lets everybody in.
    pub async fn run(self, random: &mut Random) -> Vec<Span> {
        let mut reader = Client::connect(&self.address).await.expect("a daemon");
        let end = reader.latest_offset(EVENTS_TOPIC, 0).await;
        let hall = Arc::new(Hall {
            phase: self,
            waiting: Mutex::default(),
            heard: AtomicUsize::new(0),
            stop: watch::Sender::new(false),
        });
        let listener = tokio::spawn(listen(
            Arc::clone(&hall),
            reader,
            end.expect("the end of the events"),
        ));
        let shoppers: Vec<_> = (0..SHOPPERS)
            .map(|shopper| tokio::spawn(shop(Arc::clone(&hall), shopper, random.fork())))
            .collect();
        let mut spans = Vec::new();
        for shopper in shoppers {
            let ended = tokio::time::timeout(PHASE_MAX, shopper).await;
            spans.extend(ended.expect("answers in time").expect("no shopper panics"));
        }
        listener.abort();
        spans
    }
}

/// Hands outcomes to those who wait for them.
async fn listen(hall: Arc<Hall>, mut reader: Client, mut offset: i64) {
    loop {
        let records = reader
            .fetch(EVENTS_TOPIC, 0, offset, FETCH_SIZE_MAX_BYTES, FETCH_WAIT_MAX)
            .await;
        let records = records.expect("a daemon that lives as long as this").records;
        offset = for_each_event(records, offset, |event| {
            let waiting = hall.waiting.lock().expect("no panic").remove(&event.command);
            if let Some(waiting) = waiting {
                // Who listens no more does not hear it.
                let _ = waiting.send(event.clone());
            }
        })
        .expect("events");
    }
}

async fn shop(hall: Arc<Hall>, shopper: u64, mut random: Random) -> Vec<Span> {
    let phase = &hall.phase;
    let mut writer = Client::connect(&phase.address).await.expect("a daemon");
    let mut stop = hall.stop.subscribe();
    let mut spans = Vec::new();
    for number in 0..COMMANDS {
        let wanted = match (shopper, number) {
            (0, 0) => Step::Receive { units: 3 },
            _ => step(&mut random),
        };
        let id = Uuid::from_u128(phase.first_id.as_u128() + u128::from(shopper * COMMANDS + number));
        // The door has no looks.
        let Some(command) = phase.counter.command(id, wanted) else {
            continue;
        };
        let (sender, outcome) = oneshot::channel();
        hall.waiting.lock().expect("no panic").insert(id, sender);
        let called = phase.moments.next();
        let mut batch = BatchBuilder::default();
        batch.push(None, Bytes::from(command.to_json()));
        let sent = writer
            .produce(COMMANDS_TOPIC, 0, batch.finish(0).expect("a batch"))
            .await;
        let acknowledgement = sent.expect("a daemon that lives as long as this");
        let heard = tokio::select! {
            event = outcome => Some(event.expect("the listener lives")),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        spans.push(Span {
            id,
            step: wanted,
            called,
            heard: heard.map(|event| (answer_of(&event.outcome), phase.moments.next())),
        });
        if spans.last().is_none_or(|span| span.heard.is_none()) {
            break;
        }
        acknowledgement
            .acknowledged()
            .await
            .expect("a command that was answered is durable");
        if hall.heard.fetch_add(1, Ordering::SeqCst) + 1 >= phase.answers_max {
            hall.stop.send_replace(true);
        }
    }
    spans
}

/// All events that the daemon has.
pub async fn all_events(address: &str) -> Vec<Event> {
    let mut reader = Client::connect(address).await.expect("a daemon");
    let end = reader
        .latest_offset(EVENTS_TOPIC, 0)
        .await
        .expect("the end of the events");
    let (mut offset, mut events) = (0, Vec::new());
    while offset < end {
        let records = reader
            .fetch(EVENTS_TOPIC, 0, offset, FETCH_SIZE_MAX_BYTES, FETCH_WAIT_MAX)
            .await;
        let records = records.expect("a daemon").records;
        offset = for_each_event(records, offset, |event| events.push(event.clone())).expect("events");
    }
    events
}
