//! `doorbuster bench read`: a partition from its start to its end, cold and warm, beside device and memory.
//!
//! [`Partition::read`] checks the CRC-32C of every batch of a segment, so every byte is touched; the reader itself
//! walks the batches' headers. Cold means that the page cache has nothing of the files when the log is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::builder::RangedU64ValueParser;
use doorbuster::log::{Log, LogOptions, Offset, Partition};
use serde::Serialize;

use super::folder::ScratchFolder;
use super::follow::{self, Checks};
use super::load::{self, Batches, Shape};
use super::samples::Samples;
use super::written::Counters;
use super::{Place, cold, device_read, memory};
use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-read.v1";

/// Size of a record's value, and batches on their way while the log is filled.
const RECORD_SIZE_BYTES: usize = 1024;
const FILL_IN_FLIGHT: usize = 32;

/// Arguments of `doorbuster bench read`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bytes of 1 KiB records that are read; they must fit into the page cache
    #[arg(long, default_value_t = 4_000_000_000, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 40))]
    total_bytes: u64,
    /// Size of a batch
    #[arg(long, default_value_t = 256 * 1024, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=3 * 1024 * 1024))]
    batch_bytes: usize,
    #[command(flatten)]
    place: Place,
}

/// One run, everything in MB/s but `device_read_share`.
#[derive(Debug)]
struct Run {
    device: f64,
    memory: f64,
    cold: f64,
    warm: f64,
    device_read_share: f64,
}

/// The result of `doorbuster bench read`; every figure is the median of the runs with its spread.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    runs: usize,
    total_bytes: u64,
    batch_bytes: usize,
    /// The segment files read with `O_DIRECT`, 1 MiB at a time, 8 in flight; the mean of before and after the cold read.
    device_megabytes_per_second: Samples,
    /// Memory copied out of the processor's caches.
    memory_copy_megabytes_per_second: Samples,
    /// Through the log, from the start to the end, nothing in the page cache before.
    cold_megabytes_per_second: Samples,
    /// The same a second time.
    warm_megabytes_per_second: Samples,
    /// Cold as a share of the device.
    cold_ratio: Samples,
    /// Warm as a share of the memory copy.
    warm_ratio: Samples,
    /// Bytes that the device was read for during the cold read, for each byte: 1 when it was cold.
    cold_device_bytes_per_byte: Samples,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let place = &arguments.place;
    let folder = ScratchFolder::create(&place.data_dir)?;
    let data = folder.path().join("log");
    output::status(&"bench read: filling");
    fill(&data, arguments)?;
    let mut runs = Vec::new();
    for number in 1..=place.runs {
        output::status(&format!("bench read: run {number} of {}", place.runs));
        runs.push(measure(&data)?);
    }
    let report = Report::new(&runs, arguments);
    if place.json {
        output::json(&report)
    } else {
        output::result(&report)
    }
}

fn fill(data: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let shape = Shape {
        partitions: 1,
        writers: 1,
        in_flight: FILL_IN_FLIGHT,
        records_per_batch: (arguments.batch_bytes / RECORD_SIZE_BYTES).max(1),
        record_size_bytes: RECORD_SIZE_BYTES,
    };
    let batches = Batches::of(shape)?;
    let log = Log::open(data, LogOptions::default()).context("opening the log")?;
    let partitions = load::prepared_topic(&log, TOPIC, shape.partitions, &batches)?;
    let count = arguments.total_bytes.div_ceil(batches.size_bytes());
    load::append(&partitions, shape, &batches, count)?;
    log.close().context("closing the log")
}

/// The topic that is read.
const TOPIC: &str = "bench";

fn measure(data: &Path) -> anyhow::Result<Run> {
    let segments = segment_files(data)?;
    cold::forget(data)?;
    let device_before = device_read::megabytes_per_second(&segments)?;
    let log = Log::open(data, LogOptions::default()).context("opening the log")?;
    let topic = log.topic(TOPIC).context("the topic is gone")?;
    let partition = &topic.partitions[0];

    let counted = Counters::now(data)?;
    let (cold, read_bytes) = read(partition)?;
    let counted = Counters::now(data)?.since(&counted);
    let (warm, warm_bytes) = read(partition)?;
    ensure!(
        read_bytes == warm_bytes,
        "{read_bytes} bytes were read, then {warm_bytes}"
    );
    log.close().context("closing the log")?;
    let device_after = device_read::megabytes_per_second(&segments)?;
    Ok(Run {
        device: f64::midpoint(device_before, device_after),
        memory: memory::copy_megabytes_per_second(read_bytes),
        cold,
        warm,
        device_read_share: counted.process_read_bytes as f64 / read_bytes as f64,
    })
}

fn segment_files(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = cold::files_below(&data.join("partitions"))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    Ok(files)
}

/// Reads everything; MB/s, and the bytes.
fn read(partition: &Partition) -> anyhow::Result<(f64, u64)> {
    let start = Instant::now();
    let read_bytes = follow::read_to_end(partition, Offset(0), Checks::Headers)?;
    Ok((
        read_bytes as f64 / 1e6 / start.elapsed().as_secs_f64(),
        read_bytes,
    ))
}

impl Report {
    fn new(runs: &[Run], arguments: &Arguments) -> Report {
        let of = |figure: fn(&Run) -> f64| Samples::of(runs.iter().map(figure));
        Report {
            schema: SCHEMA,
            runs: runs.len(),
            total_bytes: arguments.total_bytes,
            batch_bytes: arguments.batch_bytes,
            device_megabytes_per_second: of(|run| run.device),
            memory_copy_megabytes_per_second: of(|run| run.memory),
            cold_megabytes_per_second: of(|run| run.cold),
            warm_megabytes_per_second: of(|run| run.warm),
            cold_ratio: of(|run| run.cold / run.device),
            warm_ratio: of(|run| run.warm / run.memory),
            cold_device_bytes_per_byte: of(|run| run.device_read_share),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "one partition read to its end, {} MB in batches of {} KiB, every checksum verified; median of {} runs \
             (lowest to highest)",
            self.total_bytes / 1_000_000,
            self.batch_bytes / 1024,
            self.runs
        )?;
        writeln!(f, "  cold")?;
        writeln!(f, "    log      MB/s  {}", self.cold_megabytes_per_second)?;
        let in_flight = device_read::READS_IN_FLIGHT;
        let device = &self.device_megabytes_per_second;
        writeln!(
            f,
            "    device   MB/s  {device}   O_DIRECT, 1 MiB, {in_flight} in flight, the same files"
        )?;
        writeln!(f, "    ratio          {}", self.cold_ratio)?;
        let share = &self.cold_device_bytes_per_byte;
        writeln!(
            f,
            "    device B per B {share}   read from the device for each byte"
        )?;
        writeln!(f, "  warm")?;
        writeln!(f, "    log      MB/s  {}", self.warm_megabytes_per_second)?;
        let memory = &self.memory_copy_megabytes_per_second;
        writeln!(
            f,
            "    memory   MB/s  {memory}   copied out of the processor's caches"
        )?;
        write!(f, "    ratio          {}", self.warm_ratio)
    }
}
