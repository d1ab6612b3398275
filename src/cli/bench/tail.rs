//! `doorbuster bench tail`: appends at full load, alone and with a reader that follows the end.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::builder::RangedU64ValueParser;
use doorbuster::log::{Log, LogOptions, Partition};
use serde::Serialize;

use super::Place;
use super::folder::ScratchFolder;
use super::follow::{self, Checks};
use super::load::{self, Batches, Shape};
use super::samples::Samples;
use super::written;
use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-tail.v1";

/// Size of a record's value.
const RECORD_SIZE_BYTES: usize = 1024;

/// Arguments of `doorbuster bench tail`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bytes of 1 KiB records that are appended, once without the reader and once with it
    #[arg(long, default_value_t = 8_000_000_000, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 40))]
    total_bytes: u64,
    /// Size of a batch
    #[arg(long, default_value_t = 256 * 1024, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=3 * 1024 * 1024))]
    batch_bytes: usize,
    /// Batches that the writer has on their way
    #[arg(long, default_value_t = 32, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    in_flight: usize,
    #[command(flatten)]
    place: Place,
}

/// One run.
#[derive(Debug)]
struct Run {
    alone_megabytes_per_second: f64,
    followed_megabytes_per_second: f64,
    behind: Duration,
}

/// The result of `doorbuster bench tail`; every figure is the median of the runs with its spread.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    runs: usize,
    total_bytes: u64,
    #[serde(flatten)]
    shape: Shape,
    /// Appends without a reader, until the log is flushed and closed.
    alone_megabytes_per_second: Samples,
    /// Appends with a reader that verifies the checksum of every batch, until both have ended and the log is closed.
    followed_megabytes_per_second: Samples,
    /// The second as a share of the first.
    ratio: Samples,
    /// From the last acknowledgement until the reader had everything, milliseconds.
    reader_behind_ms: Samples,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let place = &arguments.place;
    let shape = Shape {
        partitions: 1,
        writers: 1,
        in_flight: arguments.in_flight,
        records_per_batch: (arguments.batch_bytes / RECORD_SIZE_BYTES).max(1),
        record_size_bytes: RECORD_SIZE_BYTES,
    };
    let batches = Batches::of(shape)?;
    let load = Load {
        shape,
        count: arguments.total_bytes.div_ceil(batches.size_bytes()),
        batches,
    };
    let mut runs = Vec::new();
    for number in 1..=place.runs {
        output::status(&format!("bench tail: run {number} of {}", place.runs));
        let folder = ScratchFolder::create(&place.data_dir)?;
        // Each goes first in turn: the second finds what the first left to the filesystem.
        let alone_first = number % 2 == 1;
        let first = load.measure(folder.path(), !alone_first)?;
        let second = load.measure(folder.path(), alone_first)?;
        let (alone, followed) = if alone_first {
            (first, second)
        } else {
            (second, first)
        };
        runs.push(Run {
            alone_megabytes_per_second: alone.megabytes_per_second,
            followed_megabytes_per_second: followed.megabytes_per_second,
            behind: followed.behind,
        });
    }
    let report = Report::new(&runs, arguments, shape);
    if place.json {
        output::json(&report)
    } else {
        output::result(&report)
    }
}

/// What is appended.
#[derive(Debug)]
struct Load {
    shape: Shape,
    batches: Batches,
    count: u64,
}

#[derive(Debug)]
struct Measured {
    megabytes_per_second: f64,
    behind: Duration,
}

impl Load {
    fn measure(&self, folder: &Path, followed: bool) -> anyhow::Result<Measured> {
        let data = folder.join("log");
        let log = Log::open(&data, LogOptions::default()).context("opening the log")?;
        let partitions = load::prepared_topic(&log, "bench", self.shape.partitions, &self.batches)?;
        written::settle(folder)?;
        let start = Instant::now();
        let behind = if followed {
            self.append_followed(&partitions)?
        } else {
            load::append(&partitions, self.shape, &self.batches, self.count)?;
            Duration::ZERO
        };
        log.close().context("closing the log")?;
        let appended_bytes = self.count * self.batches.size_bytes();
        let megabytes_per_second = appended_bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
        std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
        written::settle(folder)?;
        Ok(Measured {
            megabytes_per_second,
            behind,
        })
    }

    /// How long the reader took from the last acknowledgement to the end.
    fn append_followed(&self, partitions: &[Partition]) -> anyhow::Result<Duration> {
        let ended = AtomicBool::new(false);
        let partition = &partitions[0];
        let from = partition.high_watermark();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| follow::follow(partition, from, Checks::Checksums, &ended));
            let appended = load::append(partitions, self.shape, &self.batches, self.count);
            let acknowledged = Instant::now();
            ended.store(true, Ordering::Release);
            let joined = reader.join();
            let followed = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            appended?;
            let followed = followed?;
            let (read_bytes, want_bytes) = (followed.read_bytes, self.count * self.batches.size_bytes());
            ensure!(
                read_bytes == want_bytes,
                "the reader got {read_bytes} bytes of {want_bytes}"
            );
            Ok(followed.reached.saturating_duration_since(acknowledged))
        })
    }
}

impl Report {
    fn new(runs: &[Run], arguments: &Arguments, shape: Shape) -> Report {
        let of = |figure: fn(&Run) -> f64| Samples::of(runs.iter().map(figure));
        Report {
            schema: SCHEMA,
            runs: runs.len(),
            total_bytes: arguments.total_bytes,
            shape,
            alone_megabytes_per_second: of(|run| run.alone_megabytes_per_second),
            followed_megabytes_per_second: of(|run| run.followed_megabytes_per_second),
            ratio: of(|run| run.followed_megabytes_per_second / run.alone_megabytes_per_second),
            reader_behind_ms: of(|run| run.behind.as_secs_f64() * 1e3),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.total_bytes / 1_000_000;
        writeln!(
            f,
            "durable appends of {megabytes} MB; median of {} runs (lowest to highest)",
            self.runs
        )?;
        writeln!(f, "  {}", self.shape)?;
        writeln!(f, "    alone    MB/s  {}", self.alone_megabytes_per_second)?;
        let followed = &self.followed_megabytes_per_second;
        writeln!(
            f,
            "    followed MB/s  {followed}   by a reader that verifies every checksum"
        )?;
        writeln!(f, "    ratio          {}", self.ratio)?;
        write!(
            f,
            "    behind   ms    {}   from the last acknowledgement to the reader's end",
            self.reader_behind_ms
        )
    }
}
