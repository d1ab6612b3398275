//! `doorbuster bench`: durable throughput and latency, beside what the raw device does in the same run.
//!
//! Every command measures the machine's own limit with the same calls in the same run, repeats everything, and
//! reports medians with their spread and the ratios to the limit.

mod append;
mod cold;
mod device;
mod device_read;
mod folder;
mod follow;
mod holds;
mod holds_child;
mod load;
mod memory;
mod open;
mod open_child;
mod read;
mod reserve;
mod samples;
mod tail;
mod written;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Times that everything is measured unless asked otherwise; the median is reported, with the spread.
const RUNS: u32 = 3;

/// Arguments of `doorbuster bench`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Append records to the log: large batches, single records, many writers, many partitions
    Append(append::Arguments),
    /// Read a partition from its start to its end, first cold and then warm
    Read(read::Arguments),
    /// Append at full load, without and with a reader that follows the end
    Tail(tail::Arguments),
    /// Open a large log after it was killed under load, and after it was closed
    Open(open::Arguments),
    /// Work of `open` in a process of its own
    #[command(hide = true)]
    OpenChild(open_child::Arguments),
    /// Reserve units: batches of 1,000 with several in flight, and one reservation at a time
    Reserve(reserve::Arguments),
    /// Fill a shard with live holds: memory, start, snapshots in the background, expiry under load
    Holds(holds::Arguments),
    /// Work of `holds` in a process of its own
    #[command(hide = true)]
    HoldsChild(holds_child::Arguments),
}

/// Where, how often, and in which form: what every benchmark takes.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Folder to measure in; a new folder is made inside it and removed afterwards
    #[arg(long, default_value = ".", value_name = "DIR")]
    data_dir: PathBuf,
    /// How often everything is measured; the median is reported, with the spread
    #[arg(long, default_value_t = RUNS, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.work {
        Work::Append(arguments) => append::run(&arguments)?,
        Work::Read(arguments) => read::run(&arguments)?,
        Work::Tail(arguments) => tail::run(&arguments)?,
        Work::Open(arguments) => open::run(&arguments)?,
        Work::OpenChild(arguments) => open_child::run(&arguments)?,
        Work::Reserve(arguments) => reserve::run(&arguments)?,
        Work::Holds(arguments) => holds::run(&arguments)?,
        Work::HoldsChild(arguments) => holds_child::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
