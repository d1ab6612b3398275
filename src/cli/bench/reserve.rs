//! `doorbuster bench reserve`: durable reservations beside the raw device.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::builder::RangedU64ValueParser;
use doorbuster::commerce::inventory::{Command, Inventory, InventoryOptions, Line, Outcome};
use doorbuster::commerce::load::latency::{Latencies, Percentiles};
use doorbuster::log::{Log, LogOptions};
use serde::Serialize;
use uuid::Uuid;

use super::Place;
use super::device::{self, DeviceFigures, Probe};
use super::folder::ScratchFolder;
use super::samples::Samples;
use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-reserve.v1";

/// Reservations of one batch, and batches on their way.
const BATCH_COMMANDS: u64 = 1_000;
const BATCHES_IN_FLIGHT: usize = 4;

/// Reservations made one at a time.
const ALONE: u64 = 3_000;

/// Holds last longer than any run. 1 hour, in milliseconds.
const HOLD_MS: u32 = 60 * 60 * 1_000;

/// Arguments of `doorbuster bench reserve`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Reservations that each run makes in batches; all of one article
    #[arg(long, default_value_t = 500_000, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=4_000_000))]
    reservations: u64,
    #[command(flatten)]
    place: Place,
}

/// One run.
#[derive(Debug)]
struct Run {
    device: DeviceFigures,
    batched_per_second: f64,
    batch: Percentiles,
    alone: Percentiles,
    alone_per_second: f64,
    write_path: String,
}

/// The result of `doorbuster bench reserve`; every figure is the median of the runs with its spread.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    runs: usize,
    reservations: u64,
    write_path: String,
    /// Reservations per second, batches of 1,000, 4 in flight.
    batched_per_second: Samples,
    /// From the call to the durable answer of a batch of 1,000, microseconds.
    batch_p50_us: Samples,
    batch_p99_us: Samples,
    /// Reservations per second, one in flight.
    alone_per_second: Samples,
    /// One reservation, one in flight, microseconds.
    alone_p50_us: Samples,
    alone_p99_us: Samples,
    /// One durable 4 KiB write to the device, one in flight, microseconds.
    device_p50_us: Samples,
    device_p99_us: Samples,
    /// The median latency of one reservation as a multiple of the device's.
    latency_ratio: Samples,
    /// Durable 256 KiB writes to the device, 4 in flight, MB/s.
    device_megabytes_per_second: Samples,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.place.runs;
    let mut runs = Vec::new();
    for number in 1..=count {
        output::status(&format!("bench reserve: run {number} of {count}"));
        let folder = ScratchFolder::create(&arguments.place.data_dir)?;
        runs.push(measure(folder.path(), arguments.reservations)?);
    }
    let report = Report::new(&runs, arguments.reservations);
    if arguments.place.json {
        output::json(&report)
    } else {
        output::result(&report)
    }
}

fn measure(folder: &Path, reservations: u64) -> anyhow::Result<Run> {
    let device = device::measure(folder, Probe::default())?;
    let log = Log::open(folder.join("log"), LogOptions::default()).context("opening the log")?;
    let inventory = Inventory::open(&log, InventoryOptions::default()).context("opening the shard")?;
    inventory.receive(Uuid::from_u128(1), SKU, u32::MAX)?;

    let alone = reserve_alone(&inventory)?;
    let start = Instant::now();
    let batches = reserve_batches(&inventory, reservations)?;
    let seconds = start.elapsed().as_secs_f64();
    let write_path = log.status().write_path.to_string();
    inventory.close();
    log.close().context("closing the log")?;
    Ok(Run {
        device,
        batched_per_second: reservations as f64 / seconds,
        batch: batches.percentiles(),
        alone: alone.percentiles(),
        alone_per_second: 1e6 / alone.mean_us(),
        write_path,
    })
}

/// The article of the bench.
const SKU: &str = "doorbuster";

fn reserve_alone(inventory: &Inventory) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    for number in 0..ALONE {
        let command = reserve(number);
        let start = Instant::now();
        let outcome = inventory.submit(command).wait()?;
        latencies.record(start.elapsed());
        ensure!(
            matches!(outcome, Outcome::Reserved { .. }),
            "reservation {number} came to {outcome:?}"
        );
    }
    Ok(latencies)
}

fn reserve_batches(inventory: &Inventory, reservations: u64) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    let mut in_flight = VecDeque::with_capacity(BATCHES_IN_FLIGHT);
    let end = ALONE + reservations;
    let mut next = ALONE;
    while next < end || !in_flight.is_empty() {
        if next < end && in_flight.len() < BATCHES_IN_FLIGHT {
            let last = end.min(next + BATCH_COMMANDS);
            let commands = (next..last).map(reserve).collect();
            in_flight.push_back((Instant::now(), inventory.submit_many(commands)));
            next = last;
        } else if let Some((start, answer)) = in_flight.pop_front() {
            let outcomes = answer.wait()?;
            latencies.record(start.elapsed());
            let refused = outcomes
                .iter()
                .find(|outcome| !matches!(outcome, Outcome::Reserved { .. }));
            ensure!(refused.is_none(), "a reservation came to {refused:?}");
        }
    }
    Ok(latencies)
}

fn reserve(number: u64) -> Command {
    let reservation = Uuid::from_u128(u128::from(number) + 1_000);
    let lines = vec![Line::new(SKU, 1)];
    Command::reserve(reservation, format!("c{number}"), lines, HOLD_MS)
}

impl Report {
    fn new(runs: &[Run], reservations: u64) -> Report {
        let of = |figure: fn(&Run) -> f64| Samples::of(runs.iter().map(figure));
        Report {
            schema: SCHEMA,
            runs: runs.len(),
            reservations,
            write_path: runs.first().map(|run| run.write_path.clone()).unwrap_or_default(),
            batched_per_second: of(|run| run.batched_per_second),
            batch_p50_us: of(|run| run.batch.p50 as f64),
            batch_p99_us: of(|run| run.batch.p99 as f64),
            alone_per_second: of(|run| run.alone_per_second),
            alone_p50_us: of(|run| run.alone.p50 as f64),
            alone_p99_us: of(|run| run.alone.p99 as f64),
            device_p50_us: of(|run| run.device.block.p50 as f64),
            device_p99_us: of(|run| run.device.block.p99 as f64),
            latency_ratio: of(|run| run.alone.p50 as f64 / run.device.block.p50 as f64),
            device_megabytes_per_second: of(|run| run.device.large_megabytes_per_second),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "durable reservations, {}; median of {} runs (lowest to highest)",
            self.write_path, self.runs
        )?;
        writeln!(f, "  batches of {BATCH_COMMANDS}, {BATCHES_IN_FLIGHT} in flight")?;
        writeln!(f, "    per second     {}", self.batched_per_second)?;
        writeln!(f, "    batch    p50 us{}", self.batch_p50_us)?;
        writeln!(f, "             p99 us{}", self.batch_p99_us)?;
        writeln!(f, "  one at a time")?;
        writeln!(f, "    per second     {}", self.alone_per_second)?;
        writeln!(f, "    engine   p50 us{}", self.alone_p50_us)?;
        writeln!(f, "             p99 us{}", self.alone_p99_us)?;
        writeln!(
            f,
            "    device   p50 us{}   4 KiB writes, one in flight",
            self.device_p50_us
        )?;
        writeln!(f, "             p99 us{}", self.device_p99_us)?;
        writeln!(f, "    ratio of p50   {}", self.latency_ratio)?;
        write!(
            f,
            "  device     MB/s  {}   256 KiB writes, 4 in flight",
            self.device_megabytes_per_second
        )
    }
}
