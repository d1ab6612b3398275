//! Sends commands: batches what is due over a few connections and never waits for an answer.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::client::{BatchBuilder, Client, ClientError, Produced};
use super::error::SaleError;
use super::ids::StepId;
use super::scenario::PARTITION;
use crate::commerce::inventory::{COMMANDS_TOPIC, Command};

/// Produce requests of one connection on their way at a time, as Kafka's own producer has them.
const IN_FLIGHT_MAX: usize = 5;

/// Commands of one batch. 1,000: about 300 KB, below every broker's default limit of a batch.
const BATCH_COMMANDS_MAX: usize = 1_000;

/// Bytes of commands in one batch; the same reason.
const BATCH_SIZE_MAX_BYTES: usize = 700 * 1024;

/// The end of one batch: what was in it, and whether the broker has it on stable storage.
#[derive(Debug)]
pub struct Acknowledgement {
    /// The connection it went over.
    lane: usize,
    /// The commands of the batch.
    pub steps: Vec<StepId>,
    /// Acknowledged, or why not.
    pub result: Result<i64, ClientError>,
}

/// The sending side of the generator. Its memory is bounded by the number of connections, batches in
/// flight and commands per batch; beyond that, [`Sender::room`] is `None` and commands wait where they are.
#[derive(Debug)]
pub struct Sender {
    lanes: Vec<Lane>,
    next_lane: usize,
    acknowledgements: mpsc::Sender<Acknowledgement>,
}

#[derive(Debug)]
struct Lane {
    client: Client,
    batch: BatchBuilder,
    steps: Vec<StepId>,
    in_flight: usize,
}

/// A connection that takes another command.
#[derive(Clone, Copy, Debug)]
pub struct Room(usize);

impl Sender {
    /// A sender over `clients`, and where its acknowledgements come out.
    pub fn new(clients: Vec<Client>) -> (Sender, mpsc::Receiver<Acknowledgement>) {
        let (sender, receiver) = mpsc::channel(clients.len().max(1) * IN_FLIGHT_MAX);
        let lane = |client| Lane {
            client,
            batch: BatchBuilder::default(),
            steps: Vec::new(),
            in_flight: 0,
        };
        let lanes = clients.into_iter().map(lane).collect();
        (
            Sender {
                lanes,
                next_lane: 0,
                acknowledgements: sender,
            },
            receiver,
        )
    }

    /// A connection whose batch has room: the same one until its batch has left, so that what is due at
    /// one time travels in one request.
    pub fn room(&mut self) -> Option<Room> {
        let count = self.lanes.len();
        let found = (0..count)
            .map(|step| (self.next_lane + step) % count)
            .find(|lane| {
                let batch = &self.lanes[*lane].batch;
                batch.len() < BATCH_COMMANDS_MAX && batch.size_bytes() < BATCH_SIZE_MAX_BYTES
            })?;
        Some(Room(found))
    }

    /// Puts a command into the connection's next batch.
    pub fn push(&mut self, room: Room, step: StepId, command: &Command) {
        let lane = &mut self.lanes[room.0];
        lane.batch.push(None, Bytes::from(command.to_json()));
        lane.steps.push(step);
    }

    /// Sends what has gathered, as far as the connections take it now; returns the steps that left.
    pub async fn flush(&mut self, timestamp_ms: i64, left: &mut Vec<StepId>) -> Result<(), SaleError> {
        let count = self.lanes.len();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if lane.batch.is_empty() || lane.in_flight >= IN_FLIGHT_MAX || !lane.client.has_room() {
                continue;
            }
            let batch = lane.batch.finish(timestamp_ms).map_err(SaleError::Batch)?;
            let produced = lane.client.produce(COMMANDS_TOPIC, PARTITION, batch).await?;
            lane.in_flight += 1;
            self.next_lane = (number + 1) % count;
            let steps = std::mem::take(&mut lane.steps);
            left.extend_from_slice(&steps);
            tokio::spawn(acknowledge(
                number,
                steps,
                produced,
                self.acknowledgements.clone(),
            ));
        }
        Ok(())
    }

    /// Notes that a batch has ended, so that its connection may send another.
    pub fn ended(&mut self, acknowledgement: &Acknowledgement) {
        self.lanes[acknowledgement.lane].in_flight -= 1;
    }

    /// Whether nothing is gathered and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.lanes
            .iter()
            .all(|lane| lane.batch.is_empty() && lane.in_flight == 0)
    }
}

/// Time after which refused commands are sent again.
pub const REFUSED_RETRY_AFTER: Duration = Duration::from_millis(100);

async fn acknowledge(
    lane: usize,
    steps: Vec<StepId>,
    produced: Produced,
    acknowledgements: mpsc::Sender<Acknowledgement>,
) {
    let result = produced.acknowledged().await;
    // A driver that is gone does not want to know.
    let _ = acknowledgements
        .send(Acknowledgement { lane, steps, result })
        .await;
}
