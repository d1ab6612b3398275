//! A load of appends: which batches, into how many partitions, from how many threads, how many on their way.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::io::Random;
use doorbuster::log::io::sim::SimulatedRandom;
use doorbuster::log::{Append, AppendError, Log, Partition, Timestamp, TopicSpec};
use serde::Serialize;

/// Different batches that are appended in turn. 16 MiB of them: more than a core's own caches hold, so that
/// each append reads its bytes from where a real one would.
const BATCHES_SIZE_BYTES: usize = 16 * 1024 * 1024;

/// Most different batches, however small they are.
const BATCHES_MAX: usize = 4_096;

/// Every run appends the same bytes.
const SEED: u64 = 7;

/// The form of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Partitions that the writers share.
    pub partitions: u32,
    /// Threads that append.
    pub writers: usize,
    /// Batches that each writer has on their way; with 1 it waits for each.
    pub in_flight: usize,
    /// Records of one batch.
    pub records_per_batch: usize,
    /// Size of a record's value in bytes.
    pub record_size_bytes: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{} x {} B a batch, {} writer{}, {} on the way of each, {} partition{}",
            self.records_per_batch,
            self.record_size_bytes,
            self.writers,
            plural(self.writers),
            self.in_flight,
            self.partitions,
            plural(self.partitions as usize)
        )
    }
}

/// Batches made beforehand, of random bytes: a device or filesystem that compresses gains nothing.
#[derive(Clone, Debug)]
pub struct Batches(Arc<[Bytes]>);

impl Batches {
    /// Batches of that shape, all of the same size.
    pub fn of(shape: Shape) -> anyhow::Result<Batches> {
        let random = SimulatedRandom::new(SEED);
        let first = batch_of(shape, &random)?;
        let count = (BATCHES_SIZE_BYTES / first.len()).clamp(1, BATCHES_MAX);
        let others = (1..count).map(|_| batch_of(shape, &random));
        let batches = std::iter::once(Ok(first)).chain(others);
        Ok(Batches(batches.collect::<anyhow::Result<_>>()?))
    }

    /// Size of one batch, its header included, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.0[0].len() as u64
    }

    /// One of them; any number names one.
    pub fn get(&self, number: u64) -> Bytes {
        self.0[(number % self.0.len() as u64) as usize].clone()
    }
}

/// One batch of that shape.
pub fn batch_of(shape: Shape, random: &SimulatedRandom) -> anyhow::Result<Bytes> {
    let mut builder = BatchBuilder::new(Timestamp(0));
    let mut value = vec![0_u8; shape.record_size_bytes];
    for _ in 0..shape.records_per_batch {
        fill_with_random(&mut value, random);
        builder.push(&Record {
            timestamp: Timestamp(0),
            key: None,
            value: Some(&value),
            headers: &[],
        })?;
    }
    Ok(builder.finish())
}

/// Fills `bytes` with what no compression makes smaller.
pub fn fill_with_random(bytes: &mut [u8], random: &SimulatedRandom) {
    for part in bytes.chunks_mut(size_of::<u64>()) {
        part.copy_from_slice(&random.next_u64().to_le_bytes()[..part.len()]);
    }
}

/// A new topic with a first batch in each partition, flushed: its folders and files are there.
pub fn prepared_topic(
    log: &Log,
    name: &str,
    partitions: u32,
    batches: &Batches,
) -> anyhow::Result<Vec<Partition>> {
    let spec = TopicSpec {
        partitions,
        ..TopicSpec::default()
    };
    let topic = log.create_topic(name, &spec).context("creating the topic")?;
    let mut window = VecDeque::new();
    for (number, partition) in (0..).zip(&topic.partitions) {
        append_one(partition, &batches.get(number), &mut window)?;
    }
    wait_for_all(window)?;
    log.flush().context("flushing the first batches")?;
    Ok(topic.partitions.clone())
}

/// Appends `count` batches from `shape.writers` threads and returns when all are durable.
pub fn append(partitions: &[Partition], shape: Shape, batches: &Batches, count: u64) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..shape.writers)
            .map(|writer| {
                let own = share_of(partitions, writer, shape.writers);
                let own_count =
                    count / shape.writers as u64 + u64::from((writer as u64) < count % shape.writers as u64);
                scope.spawn(move || append_share(&own, batches, writer as u64, own_count, shape.in_flight))
            })
            .collect();
        let ends = writers.into_iter().map(|writer| {
            writer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // All threads end before the first error is returned.
        ends.collect::<Vec<anyhow::Result<()>>>().into_iter().collect()
    })
}

/// The partitions of one writer: every `writers`-th, and at least one.
fn share_of(partitions: &[Partition], writer: usize, writers: usize) -> Vec<Partition> {
    let first = writer % partitions.len();
    partitions.iter().skip(first).step_by(writers).cloned().collect()
}

fn append_share(
    partitions: &[Partition],
    batches: &Batches,
    writer: u64,
    count: u64,
    in_flight: usize,
) -> anyhow::Result<()> {
    let mut window = VecDeque::with_capacity(in_flight);
    for (number, partition) in (0..count).zip(partitions.iter().cycle()) {
        if window.len() >= in_flight {
            release(&mut window)?;
        }
        // Writers begin at different batches, so that they do not share what their core has cached.
        append_one(partition, &batches.get(number + writer * 31), &mut window)?;
    }
    wait_for_all(window)
}

fn append_one(partition: &Partition, batch: &Bytes, window: &mut VecDeque<Append>) -> anyhow::Result<()> {
    loop {
        match partition.append(batch.clone()) {
            Ok(append) => {
                window.push_back(append);
                return Ok(());
            }
            // The log's queue is full: an append that is waited for makes room.
            Err(AppendError::Overloaded { .. }) if !window.is_empty() => release(window)?,
            Err(AppendError::Overloaded { .. }) => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for the oldest append, and lets go of all that became durable with it.
fn release(window: &mut VecDeque<Append>) -> anyhow::Result<()> {
    if let Some(oldest) = window.pop_front() {
        oldest.wait()?;
    }
    while window.front().is_some_and(Append::is_durable) {
        if let Some(durable) = window.pop_front() {
            durable.wait()?;
        }
    }
    Ok(())
}

fn wait_for_all(window: VecDeque<Append>) -> anyhow::Result<()> {
    for append in window {
        append.wait()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster::log::{LogOptions, Offset};

    #[test]
    fn every_record_is_appended_whatever_the_number_of_writers() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let log = Log::open(folder.path().join("log"), LogOptions::default()).unwrap();
        for (number, (partitions, writers, in_flight)) in [(1, 1, 1), (3, 2, 5), (2, 7, 3), (7, 3, 1)]
            .into_iter()
            .enumerate()
        {
            let shape = Shape {
                partitions,
                writers,
                in_flight,
                records_per_batch: 3,
                record_size_bytes: 10,
            };
            let batches = Batches::of(shape).unwrap();
            let topic = prepared_topic(&log, &format!("t{number}"), partitions, &batches).unwrap();
            let prepared = 3 * u64::from(partitions);
            append(&topic, shape, &batches, 41).unwrap();
            let ends = topic.iter().map(Partition::high_watermark);
            assert_eq!(
                ends.map(|Offset(end)| end).sum::<u64>(),
                prepared + 3 * 41,
                "{shape:?}"
            );
        }
        log.close().unwrap();
    }
}
