//! `doorbuster bench append`: the log's durable appends beside the raw device.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use clap::builder::RangedU64ValueParser;
use doorbuster::commerce::load::latency::{Latencies, Percentiles};
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::{Append, AppendError, Log, LogOptions, Partition, Timestamp, TopicSpec};
use serde::Serialize;

use super::Place;
use super::device::{self, DeviceFigures};
use super::folder::ScratchFolder;
use super::samples::Samples;
use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-append.v1";

/// Size of a record of a large batch, and records of one batch: 64 KiB together.
const LARGE_RECORD_SIZE_BYTES: usize = 1024;
const LARGE_BATCH_RECORDS: usize = 64;

/// Partitions, each with a writer thread of its own, and batches that one writer has on their way.
const WRITERS: usize = 4;
const IN_FLIGHT_PER_WRITER: usize = 32;

/// Size of a record that is appended alone, and how many are.
const SMALL_RECORD_SIZE_BYTES: usize = 100;
const SMALL_APPENDS: usize = 3_000;

/// Arguments of `doorbuster bench append`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bytes of records that each run appends in large batches
    #[arg(long, default_value_t = 6 * 1024 * 1024 * 1024, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 40))]
    total_bytes: u64,
    #[command(flatten)]
    place: Place,
}

/// One run.
#[derive(Debug)]
struct Run {
    device: DeviceFigures,
    megabytes_per_second: f64,
    alone: Percentiles,
    alone_per_second: f64,
    write_path: String,
}

/// The result of `doorbuster bench append`; every figure is the median of the runs with its spread.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    runs: usize,
    total_bytes: u64,
    write_path: String,
    /// Durable 256 KiB writes to the device, 4 in flight, MB/s.
    device_megabytes_per_second: Samples,
    /// Durable 64 KiB batches of 1 KiB records through the log, MB/s.
    megabytes_per_second: Samples,
    /// The log's throughput as a share of the device's.
    throughput_ratio: Samples,
    /// One durable 4 KiB write to the device, one in flight, microseconds.
    device_p50_us: Samples,
    device_p99_us: Samples,
    /// One 100-byte record through the log, one in flight, microseconds.
    alone_p50_us: Samples,
    alone_p99_us: Samples,
    /// The log's median latency as a multiple of the device's.
    latency_ratio: Samples,
    /// 100-byte records per second, one in flight.
    alone_per_second: Samples,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.place.runs;
    let mut runs = Vec::new();
    for number in 1..=count {
        output::status(&format!("bench append: run {number} of {count}"));
        let folder = ScratchFolder::create(&arguments.place.data_dir)?;
        runs.push(measure(folder.path(), arguments.total_bytes)?);
    }
    let report = Report::new(&runs, arguments.total_bytes);
    if arguments.place.json {
        output::json(&report)
    } else {
        output::result(&report)
    }
}

fn measure(folder: &Path, total_bytes: u64) -> anyhow::Result<Run> {
    let device = device::measure(folder)?;
    let log = Log::open(folder.join("log"), LogOptions::default()).context("opening the log")?;
    let spec = TopicSpec {
        partitions: WRITERS as u32,
        ..TopicSpec::default()
    };
    let topic = log.create_topic("bench", &spec).context("creating the topic")?;
    let partitions = &topic.partitions;

    let alone = append_alone(&partitions[0])?;
    let batch = batch_of(LARGE_BATCH_RECORDS, LARGE_RECORD_SIZE_BYTES)?;
    let batch_count = total_bytes.div_ceil(batch.len() as u64);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let writers: Vec<_> = partitions
            .iter()
            .zip(0..WRITERS as u64)
            .map(|(partition, number)| {
                let share = batch_count / WRITERS as u64 + u64::from(number < batch_count % WRITERS as u64);
                let batch = batch.clone();
                scope.spawn(move || append_many(partition, &batch, share))
            })
            .collect();
        let ends = writers.into_iter().map(|writer| {
            writer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ends.collect::<anyhow::Result<Vec<()>>>()
    })?;
    // Nothing is left to do later: what the flusher still has to move counts as well.
    log.flush().context("flushing the log")?;
    let seconds = start.elapsed().as_secs_f64();
    let write_path = log.status().write_path.to_string();
    log.close().context("closing the log")?;
    Ok(Run {
        device,
        megabytes_per_second: (batch_count * batch.len() as u64) as f64 / 1e6 / seconds,
        alone: alone.percentiles(),
        alone_per_second: 1e6 / alone.mean_us(),
        write_path,
    })
}

/// Appends one small record at a time and waits for each.
fn append_alone(partition: &Partition) -> anyhow::Result<Latencies> {
    let batch = batch_of(1, SMALL_RECORD_SIZE_BYTES)?;
    let mut latencies = Latencies::new();
    for _ in 0..SMALL_APPENDS {
        let start = Instant::now();
        partition.append(batch.clone())?.wait()?;
        latencies.record(start.elapsed());
    }
    Ok(latencies)
}

/// Appends `count` batches, several on their way.
fn append_many(partition: &Partition, batch: &Bytes, count: u64) -> anyhow::Result<()> {
    let mut in_flight: VecDeque<Append> = VecDeque::with_capacity(IN_FLIGHT_PER_WRITER);
    let mut appended = 0;
    while appended < count {
        if in_flight.len() >= IN_FLIGHT_PER_WRITER
            && let Some(first) = in_flight.pop_front()
        {
            first.wait()?;
        }
        match partition.append(batch.clone()) {
            Ok(append) => {
                in_flight.push_back(append);
                appended += 1;
            }
            // The journal's queue is full: an append that waits makes room.
            Err(AppendError::Overloaded { .. }) => match in_flight.pop_front() {
                Some(first) => drop(first.wait()?),
                None => std::thread::yield_now(),
            },
            Err(error) => return Err(error.into()),
        }
    }
    for append in in_flight {
        append.wait()?;
    }
    Ok(())
}

fn batch_of(records: usize, size_bytes: usize) -> anyhow::Result<Bytes> {
    let mut builder = BatchBuilder::new(Timestamp(0));
    let mut value = vec![0_u8; size_bytes];
    for number in 0..records {
        for (position, byte) in value.iter_mut().enumerate() {
            *byte = (position * 31 + number * 17) as u8;
        }
        let record = Record {
            timestamp: Timestamp(0),
            key: None,
            value: Some(&value),
            headers: &[],
        };
        builder.push(&record)?;
    }
    Ok(builder.finish())
}

impl Report {
    fn new(runs: &[Run], total_bytes: u64) -> Report {
        let of = |figure: fn(&Run) -> f64| Samples::of(runs.iter().map(figure));
        Report {
            schema: SCHEMA,
            runs: runs.len(),
            total_bytes,
            write_path: runs.first().map(|run| run.write_path.clone()).unwrap_or_default(),
            device_megabytes_per_second: of(|run| run.device.large_megabytes_per_second),
            megabytes_per_second: of(|run| run.megabytes_per_second),
            throughput_ratio: of(|run| run.megabytes_per_second / run.device.large_megabytes_per_second),
            device_p50_us: of(|run| run.device.block_p50_us),
            device_p99_us: of(|run| run.device.block_p99_us),
            alone_p50_us: of(|run| run.alone.p50 as f64),
            alone_p99_us: of(|run| run.alone.p99 as f64),
            latency_ratio: of(|run| run.alone.p50 as f64 / run.device.block_p50_us),
            alone_per_second: of(|run| run.alone_per_second),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "durable appends, {}; median of {} runs (lowest to highest)",
            self.write_path, self.runs
        )?;
        writeln!(
            f,
            "  1 KiB records in 64 KiB batches, {WRITERS} partitions, {IN_FLIGHT_PER_WRITER} in flight each"
        )?;
        writeln!(f, "    log      MB/s  {}", self.megabytes_per_second)?;
        writeln!(
            f,
            "    device   MB/s  {}   256 KiB writes, 4 in flight",
            self.device_megabytes_per_second
        )?;
        writeln!(f, "    ratio          {}", self.throughput_ratio)?;
        writeln!(f, "  one 100-byte record at a time")?;
        writeln!(f, "    log      p50 us{}", self.alone_p50_us)?;
        writeln!(f, "             p99 us{}", self.alone_p99_us)?;
        writeln!(
            f,
            "    device   p50 us{}   4 KiB writes, one in flight",
            self.device_p50_us
        )?;
        writeln!(f, "             p99 us{}", self.device_p99_us)?;
        writeln!(f, "    ratio of p50   {}", self.latency_ratio)?;
        write!(f, "    records per s  {}", self.alone_per_second)
    }
}
