//! What `doorbuster bench open` lets processes of their own do: append until killed, and open.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::{Subcommand, ValueHint};
use doorbuster::log::io::sim::SimulatedRandom;
use doorbuster::log::{Log, LogOptions, Partition};
use serde::{Deserialize, Serialize};

use super::load::{self, Batches, Shape};
use crate::cli::{descriptors, output};

/// The topic that is opened.
pub const TOPIC: &str = "bench";

/// Size of a record's value.
const RECORD_SIZE_BYTES: usize = 1024;

/// How the load is appended.
const LOAD_WRITERS: usize = 4;
const LOAD_IN_FLIGHT: usize = 64;

/// Records are told of after this many bytes. 32 MiB, one journal file.
const TELL_BYTES: u64 = 32 * 1024 * 1024;

/// The load ends by itself after this many bytes, should nobody kill it. 64 GiB.
const LOAD_MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Arguments of `doorbuster bench open-child`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Append until killed; each line of output is the number of records that the log holds for sure
    Load {
        /// The data folder
        #[arg(value_hint = ValueHint::DirPath)]
        data: PathBuf,
        /// Size of a batch
        #[arg(long, default_value_t = 16 * 1024)]
        batch_bytes: usize,
    },
    /// Open the log, append one record, close it, and tell how long that took
    Open {
        /// The data folder
        #[arg(value_hint = ValueHint::DirPath)]
        data: PathBuf,
    },
}

/// What opening came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// The call that opens the log, milliseconds.
    pub open_ms: f64,
    /// From the same start until a record that was appended is durable, milliseconds.
    pub first_append_ms: f64,
    /// Largest resident memory of the process by then, in bytes.
    pub peak_memory_bytes: u64,
    /// Batches that were read back from the journal.
    pub recovered_batches: u64,
    /// Records that the log held when it was open.
    pub records: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    descriptors::connections_allowed();
    match &arguments.work {
        Work::Load { data, batch_bytes } => load_until_killed(data, *batch_bytes),
        Work::Open { data } => output::json(&open(data)?),
    }
}

fn load_until_killed(data: &PathBuf, batch_bytes: usize) -> anyhow::Result<()> {
    let log = Log::open(data, LogOptions::default()).context("opening the log")?;
    let topic = log.topic(TOPIC).context("the topic is gone")?;
    let shape = Shape {
        partitions: u32::try_from(topic.partitions.len()).context("counting partitions")?,
        writers: LOAD_WRITERS,
        in_flight: LOAD_IN_FLIGHT,
        records_per_batch: (batch_bytes / RECORD_SIZE_BYTES).max(1),
        record_size_bytes: RECORD_SIZE_BYTES,
    };
    let batches = Batches::of(shape)?;
    let step = TELL_BYTES.div_ceil(batches.size_bytes());
    for _ in 0..LOAD_MAX_BYTES / TELL_BYTES {
        output::result(&records_in(&topic.partitions))?;
        load::append(&topic.partitions, shape, &batches, step)?;
    }
    Err(anyhow!("nobody ended this process"))
}

fn open(data: &PathBuf) -> anyhow::Result<Opened> {
    let shape = Shape {
        partitions: 1,
        writers: 1,
        in_flight: 1,
        records_per_batch: 1,
        record_size_bytes: RECORD_SIZE_BYTES,
    };
    let one = load::batch_of(shape, &SimulatedRandom::new(1))?;
    let start = Instant::now();
    let log = Log::open(data, LogOptions::default()).context("opening the log")?;
    let opened = start.elapsed();
    let topic = log.topic(TOPIC).context("the topic is gone")?;
    let records = records_in(&topic.partitions);
    topic.partitions[0].append(one)?.wait()?;
    let appended = start.elapsed();
    let told = Opened {
        open_ms: opened.as_secs_f64() * 1e3,
        first_append_ms: appended.as_secs_f64() * 1e3,
        peak_memory_bytes: peak_memory_bytes()?,
        recovered_batches: log.status().recovered_batches as u64,
        records,
    };
    log.close().context("closing the log")?;
    Ok(told)
}

fn records_in(partitions: &[Partition]) -> u64 {
    partitions
        .iter()
        .map(|partition| partition.high_watermark().0)
        .sum()
}

/// The largest resident set of this process so far.
fn peak_memory_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .ok_or_else(|| anyhow!("/proc/self/status has no VmHWM"))?;
    let kibibytes: u64 = kibibytes
        .trim()
        .parse()
        .with_context(|| format!("{kibibytes:?} is no number"))?;
    Ok(kibibytes * 1024)
}
