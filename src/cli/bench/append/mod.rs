//! `doorbuster bench append`: the log's durable appends beside the raw device.

mod report;
mod scenario;

use std::path::Path;

use anyhow::Context;
use clap::builder::RangedU64ValueParser;

use self::report::Report;
use self::scenario::{Measured, Scenario, ScenarioName};
use super::Place;
use super::device::{self, DeviceFigures, Probe};
use super::folder::ScratchFolder;
use super::written;
use crate::cli::{descriptors, output};

/// Least and most bytes that the device itself is measured with.
const PROBE_MIN_BYTES: u64 = 4 * 1024 * 1024;
const PROBE_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Arguments of `doorbuster bench append`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to measure, several separated by commas [default: everything]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    scenario: Vec<ScenarioName>,
    // Before those with headings: a heading holds for all that follow.
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    large: Large,
    #[command(flatten)]
    single: Single,
    #[command(flatten)]
    writers: ManyWriters,
    #[command(flatten)]
    partitions: ManyPartitions,
}

/// Scenarios `large-1` and `large-8`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Large batches into 1 and 8 partitions, one writer for each partition")]
struct Large {
    /// Bytes of batches that each scenario appends
    #[arg(long, default_value_t = 20_000_000_000, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 42))]
    total_bytes: u64,
    /// Size of a batch of 1 KiB records
    #[arg(long, default_value_t = 256 * 1024, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=3 * 1024 * 1024))]
    batch_bytes: usize,
    /// Batches that all writers together have on their way
    #[arg(long, default_value_t = 32, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    in_flight: usize,
}

/// Scenario `single`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "One 100-byte record at a time, waited for")]
struct Single {
    /// Records that are appended one after the other; as many 4 KiB blocks are written to the device
    #[arg(long, default_value_t = 20_000, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=100_000_000))]
    appends: u64,
}

/// Scenarios `writers`, `writers-batched` and `writers-waiting`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "100-byte records from many writers")]
struct ManyWriters {
    /// Threads that append
    #[arg(long, default_value_t = 64, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    writers: usize,
    /// Partitions that they share
    #[arg(long, default_value_t = 8, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    writer_partitions: u32,
    /// Batches of one record that each writer has on their way before it waits (scenario writers)
    #[arg(long, default_value_t = 256, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    writer_in_flight: usize,
    /// Records that a writer puts into a batch before it appends and waits (scenario writers-batched)
    #[arg(long, default_value_t = 100, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    writer_batch_records: usize,
    /// Records of all writers together; a fiftieth of them where each writer waits for each record
    #[arg(long, default_value_t = 10_000_000, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=10_000_000_000))]
    writer_records: u64,
}

/// Scenario `partitions`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The same load into many partitions and into one, from 4 writers")]
struct ManyPartitions {
    /// The larger number of partitions
    #[arg(long, default_value_t = 10_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(2..=100_000))]
    partitions: u32,
    /// Bytes of batches into each number of partitions
    #[arg(long, default_value_t = 4_000_000_000, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 42))]
    partitions_bytes: u64,
    /// Size of a batch of 1 KiB records; 16 KiB is what Kafka's producers send by default
    #[arg(long, default_value_t = 16 * 1024, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=3 * 1024 * 1024))]
    partitions_batch_bytes: usize,
    /// Batches that all writers together have on their way
    #[arg(long, default_value_t = 256, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    partitions_in_flight: usize,
}

/// One run: the device before and after, and each scenario.
#[derive(Debug)]
struct Run {
    device: DeviceFigures,
    measured: Vec<Measured>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    descriptors::connections_allowed();
    let scenarios = scenario::chosen(arguments);
    let probe = Probe {
        block_writes: arguments.single.appends,
        large_bytes: arguments
            .large
            .total_bytes
            .clamp(PROBE_MIN_BYTES, PROBE_MAX_BYTES),
    };
    let count = arguments.place.runs;
    let mut runs = Vec::new();
    for number in 1..=count {
        let say = |what: &str| output::status(&format!("bench append: run {number} of {count}: {what}"));
        let folder = ScratchFolder::create(&arguments.place.data_dir)?;
        runs.push(measure(folder.path(), &scenarios, probe, say)?);
    }
    let report = Report::new(&scenarios, &runs);
    if arguments.place.json {
        output::json(&report)
    } else {
        output::result(&report)
    }
}

fn measure(folder: &Path, scenarios: &[Scenario], probe: Probe, say: impl Fn(&str)) -> anyhow::Result<Run> {
    say("device");
    let before = device::measure(folder, probe)?;
    let mut measured = Vec::new();
    for scenario in scenarios {
        say(&scenario.to_string());
        let log = folder.join("log");
        measured.push(scenario.measure(&log)?);
        std::fs::remove_dir_all(&log).with_context(|| format!("removing {}", log.display()))?;
        // What the filesystem does for the removed files is not the next scenario's.
        written::settle(folder)?;
    }
    // A shared device drifts within a run.
    say("device again");
    let after = device::measure(folder, probe)?;
    Ok(Run {
        device: before.mean(&after),
        measured,
    })
}
