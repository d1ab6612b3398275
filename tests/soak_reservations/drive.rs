//! One generation: commands in, events out, the daemon killed in between.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use doorbuster::commerce::inventory::{COMMANDS_TOPIC, EVENTS_TOPIC, Event};
use doorbuster::commerce::load::client::{BatchBuilder, Client, ClientError, Produced};
use doorbuster::commerce::load::error::SaleError;
use doorbuster::commerce::load::reader::for_each_event;

use crate::daemon::{Daemon, Random};
use crate::ledger::Ledger;
use crate::plan::Plan;

/// Commands of one batch, and batches that wait for their acknowledgement.
const BATCH_COMMANDS: u64 = 500;
const BATCHES_IN_FLIGHT: usize = 8;

/// Records that may be durable and not decided: beyond, nothing is sent until outcomes were read.
const UNDECIDED_MAX: i64 = 50_000;

const FETCH_SIZE_MAX_BYTES: i32 = 8 * 1024 * 1024;
const FETCH_WAIT_MAX: Duration = Duration::from_millis(100);

/// Longest time without an event that is taken for work in progress.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// How one generation goes.
#[derive(Debug)]
pub struct Generation<'a> {
    pub plan: Plan,
    pub commands: u64,
    /// Times that the daemon is killed.
    pub kills: u64,
    pub folder: &'a Path,
    pub address: &'a str,
}

/// What a generation came to, before its folder is looked at.
#[derive(Debug)]
pub struct Driven {
    pub ledger: Ledger,
    pub kills: u64,
    /// Batches that were sent once more, since nobody knew what had become of them.
    pub resent: u64,
    pub events: u64,
    /// Digest of all events, in the order in which they were shown.
    pub shown: u64,
}

/// A batch on its way.
struct Batch {
    first: u64,
    acknowledged: Produced,
}

/// Why the daemon is no longer spoken to.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Events(#[from] SaleError),
}

struct Driver<'a> {
    generation: &'a Generation<'a>,
    driven: Driven,
    next: u64,
    /// Batches to send first, by their first command.
    again: VecDeque<u64>,
    /// The event to read next.
    offset: i64,
    /// Offset behind the last command that is known to have an outcome.
    decided: i64,
    json: String,
}

impl Generation<'_> {
    /// Sends everything, and reads until every command that is durable has its outcome. The daemon runs afterwards.
    pub async fn drive(&self, random: &mut Random) -> (Driven, Daemon) {
        let mut driver = Driver {
            generation: self,
            driven: Driven {
                ledger: Ledger::new(self.plan, self.commands),
                kills: 0,
                resent: 0,
                events: 0,
                shown: 0,
            },
            next: 0,
            again: VecDeque::new(),
            offset: 0,
            decided: 0,
            json: String::new(),
        };
        loop {
            let daemon = Daemon::start(self.folder, self.address);
            let left = self.kills - driver.driven.kills;
            // Spread over what is left, and at any moment.
            let until_kill = match left {
                0 => u64::MAX,
                left => random.between(1, 2 * (self.commands - driver.next) / (left + 1) + 2),
            };
            let died = driver.run(until_kill).await.expect("a daemon that lives answers");
            if !died {
                return (driver.driven, daemon);
            }
            daemon.kill_nine();
            driver.driven.kills += 1;
        }
    }
}

impl Driver<'_> {
    /// Goes on until everything is done, or so many events were read that it is time for a kill.
    async fn run(&mut self, until_kill: u64) -> Result<bool, DriveError> {
        let mut writer = Client::connect(self.generation.address).await?;
        let mut reader = Client::connect(self.generation.address).await?;
        let kill_at = self.driven.events.saturating_add(until_kill);
        let mut in_flight = VecDeque::new();
        let mut durable = 0;
        loop {
            while in_flight.len() < BATCHES_IN_FLIGHT && durable - self.decided < UNDECIDED_MAX {
                let Some(first) = self.next_batch() else { break };
                let batch = self.batch(first);
                let acknowledged = writer.produce(COMMANDS_TOPIC, 0, batch).await?;
                in_flight.push_back(Batch { first, acknowledged });
            }
            if in_flight.is_empty() && durable == 0 {
                durable = reader.latest_offset(COMMANDS_TOPIC, 0).await?;
            }
            let all_sent =
                in_flight.is_empty() && self.next >= self.generation.commands && self.again.is_empty();
            if all_sent && self.decided >= durable {
                return Ok(false);
            }
            self.read(&mut reader, !in_flight.is_empty()).await?;
            if self.driven.events >= kill_at {
                self.again.extend(in_flight.iter().map(|batch| batch.first));
                self.driven.resent += in_flight.len() as u64;
                return Ok(true);
            }
            if let Some(batch) = in_flight.pop_front() {
                let acknowledged = tokio::time::timeout(SILENCE_MAX, batch.acknowledged.acknowledged());
                let base = acknowledged.await.expect("an acknowledgement in time")?;
                durable = base + self.size_of(batch.first) as i64;
            }
        }
    }

    /// First command of the batch to send next.
    fn next_batch(&mut self) -> Option<u64> {
        if let Some(first) = self.again.pop_front() {
            return Some(first);
        }
        let first = self.next;
        self.next = (first + BATCH_COMMANDS).min(self.generation.commands);
        (first < self.next).then_some(first)
    }

    fn size_of(&self, first: u64) -> u64 {
        BATCH_COMMANDS.min(self.generation.commands - first)
    }

    fn batch(&mut self, first: u64) -> Bytes {
        let mut batch = BatchBuilder::default();
        for number in first..first + self.size_of(first) {
            self.generation.plan.write_json(number, &mut self.json);
            batch.push(None, Bytes::copy_from_slice(self.json.as_bytes()));
        }
        batch.finish(0).expect("a batch of bounded size")
    }

    /// Reads events: some, or, if batches are on their way, none; theirs may have been read before.
    async fn read(&mut self, reader: &mut Client, are_on_their_way: bool) -> Result<(), DriveError> {
        let began = std::time::Instant::now();
        loop {
            let fetch = reader.fetch(EVENTS_TOPIC, 0, self.offset, FETCH_SIZE_MAX_BYTES, FETCH_WAIT_MAX);
            let records = fetch.await?.records;
            if !records.is_empty() {
                let (driven, decided) = (&mut self.driven, &mut self.decided);
                self.offset = for_each_event(records, self.offset, |event| {
                    driven.events += 1;
                    driven.shown = digest(driven.shown, event);
                    driven.ledger.event(event);
                    if let Some(offset) = event.command_offset {
                        *decided = (*decided).max(offset as i64 + 1);
                    }
                })?;
                return Ok(());
            }
            if are_on_their_way {
                return Ok(());
            }
            assert!(began.elapsed() < SILENCE_MAX, "no event for {SILENCE_MAX:?}");
        }
    }
}

/// The digest of an event after those that have `before`.
pub fn digest(before: u64, event: &Event) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    event.write_json(&mut bytes);
    // FNV-1a: enough to notice a difference that nobody made on purpose.
    bytes.iter().fold(before ^ 0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
