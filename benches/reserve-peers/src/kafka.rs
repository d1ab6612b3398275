//! The generator for the Kafka door: a batch of commands is one call, and is answered when all its outcomes were read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use doorbuster::commerce::inventory::{COMMANDS_TOPIC, EVENTS_TOPIC, Event};
use doorbuster::commerce::load::client::{Client, Produced};
use doorbuster::log::Timestamp;
use doorbuster::log::batch::{BatchBuilder, Record, batches, records};

use crate::cell::Cell;
use crate::measured::{Meter, Verdict};
use crate::shop::verdict_of_outcome;
use crate::work::{HOLD_MS, Names, Reservation, Shoppers};

/// Bytes of outcomes asked for at a time.
const FETCH_SIZE_MAX_BYTES: i32 = 8 * 1024 * 1024;

/// How long outcomes may stay away before the daemon counts as stuck.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Most commands of one record batch; a larger call goes in several, one behind the other. 4,000: below a megabyte, the
/// largest batch that a Kafka topic takes unless it is told otherwise.
const RECORD_BATCH_COMMANDS_MAX: usize = 4_000;

/// One call on its way.
struct Call {
    begun: Instant,
    /// Commands without an outcome.
    open: usize,
    acknowledged: Vec<Produced>,
}

/// Drives `cell` over two connections: one sends commands, the other reads outcomes.
pub fn drive(
    address: &str,
    cell: &Cell,
    names: &Names,
    shoppers: &mut Shoppers,
    meter: &mut Meter<'_>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut reader = Client::connect(address).await?;
        let driver = Driver {
            cell,
            names,
            offset: reader.latest_offset(EVENTS_TOPIC, 0).await?,
            writer: Client::connect(address).await?,
            reader,
            calls: VecDeque::new(),
            left: cell.reservations_max.unwrap_or(u64::MAX),
        };
        driver.run(shoppers, meter).await
    })
}

struct Driver<'a> {
    cell: &'a Cell,
    names: &'a Names,
    writer: Client,
    reader: Client,
    /// The outcome to read next.
    offset: i64,
    calls: VecDeque<Call>,
    /// Reservations that may still be sent.
    left: u64,
}

impl Driver<'_> {
    async fn run(mut self, shoppers: &mut Shoppers, meter: &mut Meter<'_>) -> anyhow::Result<()> {
        let mut reservations = Vec::with_capacity(self.cell.batch);
        loop {
            while self.calls.len() < self.cell.in_flight
                && self.left > 0
                && self.has_room().await
                && meter.goes_on(Instant::now())?
            {
                let count = (self.cell.batch as u64).min(self.left) as usize;
                self.left -= count as u64;
                shoppers.fill(&mut reservations, count);
                let begun = Instant::now();
                let mut acknowledged = Vec::with_capacity(1);
                for part in reservations.chunks(RECORD_BATCH_COMMANDS_MAX) {
                    let batch = batch_of(part, self.names)?;
                    acknowledged.push(self.writer.produce(COMMANDS_TOPIC, 0, batch).await?);
                }
                self.calls.push_back(Call {
                    begun,
                    open: count,
                    acknowledged,
                });
            }
            if !meter.goes_on(Instant::now())? || self.left == 0 {
                meter.finish(Instant::now())?;
            }
            if self.calls.is_empty() {
                return Ok(());
            }
            self.read(meter).await?;
        }
    }

    /// Whether a batch can be sent, once the task that writes had its turn.
    async fn has_room(&self) -> bool {
        if !self.writer.has_room() {
            tokio::task::yield_now().await;
        }
        self.writer.has_room()
    }

    async fn read(&mut self, meter: &mut Meter<'_>) -> anyhow::Result<()> {
        let fetch = self
            .reader
            .fetch(EVENTS_TOPIC, 0, self.offset, FETCH_SIZE_MAX_BYTES, SILENCE_MAX);
        let fetched = fetch.await?.records;
        if fetched.is_empty() {
            for produced in self
                .calls
                .pop_front()
                .into_iter()
                .flat_map(|call| call.acknowledged)
            {
                produced.acknowledged().await.context("sending commands")?;
            }
            bail!("no outcome for {} s", SILENCE_MAX.as_secs());
        }
        let now = Instant::now();
        let mut ended = Vec::new();
        for batch in batches(&fetched) {
            // The last batch may be cut off.
            let Ok((header, bytes)) = batch else { break };
            for record in records(&bytes)? {
                let record = record?;
                if (record.offset.0 as i64) < self.offset {
                    continue;
                }
                let Some(verdict) = verdict_of(record.value.context("an event without a value")?)? else {
                    continue;
                };
                meter.answer(verdict);
                let call = self
                    .calls
                    .front_mut()
                    .context("an outcome that nobody asked for")?;
                call.open -= 1;
                if call.open == 0 {
                    meter.call(call.begun, now);
                    ended.extend(self.calls.pop_front());
                }
            }
            self.offset = header.next_offset().0 as i64;
        }
        for produced in ended.into_iter().flat_map(|call: Call| call.acknowledged) {
            // Commands are durable before they are decided, so the acknowledgement is there or on its way.
            produced.acknowledged().await?;
        }
        Ok(())
    }
}

/// What an event says; nothing if it answers no command.
fn verdict_of(event: &[u8]) -> anyhow::Result<Option<Verdict>> {
    // What nearly all are is told without taking them apart.
    if event.starts_with(br#"{"type":"reserved","#) {
        return Ok(Some(Verdict::Granted));
    }
    match Event::decode(event) {
        Ok(event) if event.command.is_nil() => Ok(None),
        Ok(event) => verdict_of_outcome(&event.outcome).map(Some),
        Err(error) => bail!("an event was not understood: {error}"),
    }
}

/// The commands as one record batch.
fn batch_of(reservations: &[Reservation], names: &Names) -> anyhow::Result<Bytes> {
    let mut builder = BatchBuilder::new(Timestamp(0));
    let mut value = Vec::with_capacity(256);
    let mut digits = [0; uuid::fmt::Hyphenated::LENGTH];
    let ttl_ms = HOLD_MS.to_string();
    for reservation in reservations {
        let id = reservation.id.hyphenated().encode_lower(&mut digits).as_bytes();
        value.clear();
        for part in [
            br#"{"type":"reserve","id":""#,
            id,
            br#"","reservation":""#,
            id,
            br#"","customer":""#,
            names.customer(reservation).as_bytes(),
            br#"","lines":[{"sku":""#,
            names.sku(reservation).as_bytes(),
            br#"","quantity":1}],"ttl_ms":"#,
            ttl_ms.as_bytes(),
            b"}",
        ] {
            value.extend_from_slice(part);
        }
        builder.push(&Record {
            timestamp: Timestamp(0),
            key: None,
            value: Some(&value),
            headers: &[],
        })?;
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Workload;
    use doorbuster::commerce::inventory::{Command, Line};

    #[test]
    fn commands_are_what_the_engine_reads() {
        let reservation = Shoppers::new(Workload::Hot).unwrap().next();
        let names = Names::new();
        let batch = batch_of(&[reservation], &names).unwrap();
        let record = records(&batch).unwrap().next().unwrap().unwrap();
        let line = Line::new(names.sku(&reservation), 1);
        let expected = Command::reserve(reservation.id, names.customer(&reservation), vec![line], HOLD_MS);
        assert_eq!(Command::from_json(record.value.unwrap()).unwrap(), expected);
    }
}
