//! `doorbuster log copy`: a new store from one that is at rest, or from a folder of Kafka.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use doorbuster::log::inspect::copy::{self, CopyReport};
use doorbuster::log::inspect::{Access, DataFolder, kafka};
use doorbuster::log::io::Environment;
use serde::Serialize;

use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.log-copy.v1";

/// Arguments of `doorbuster log copy`.
#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true)]
pub struct Arguments {
    /// The data folder to copy from
    #[arg(
        value_name = "FROM",
        required_unless_present = "from_kafka",
        conflicts_with = "from_kafka"
    )]
    from: Option<PathBuf>,
    /// The data folder to make; with --from-kafka it may exist, and gets one more topic
    #[arg(value_name = "TO", required = true)]
    to: PathBuf,
    /// Copy only this topic; may be given several times. With --from-kafka, the name of the new topic
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Take the folders `<topic>-<index>` of a Kafka broker that was shut down, or of a copy of its disk
    #[arg(long, value_name = "DIR", requires = "topic")]
    from_kafka: Option<PathBuf>,
    /// Do not take the lock of FROM, and write nothing to it: for a copy, or a read-only disk
    #[arg(long, conflicts_with = "from_kafka")]
    unlocked: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What was copied.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    topics: u64,
    partitions: u64,
    batches: u64,
    bytes: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let environment = Environment::machine(false);
    let to = &arguments.to;
    let CopyReport {
        topics,
        partitions,
        batches,
        bytes,
    } = match (&arguments.from_kafka, &arguments.from) {
        (Some(source), _) => {
            let [topic] = &arguments.topic[..] else {
                anyhow::bail!("--from-kafka makes one topic; give --topic once");
            };
            kafka::import(&environment, source, to, topic)?
        }
        (None, from) => {
            let from = from.as_ref().context("no data folder to copy from")?;
            let access = if arguments.unlocked {
                Access::Unlocked
            } else {
                Access::Locked
            };
            let folder = DataFolder::open(super::disk(), from, access)?;
            copy::copy(&folder, &environment, to, &arguments.topic)?
        }
    };
    let report = Report {
        schema: SCHEMA,
        topics,
        partitions,
        batches,
        bytes,
    };
    if arguments.json {
        output::json(&report)?;
    } else {
        output::result(&format!(
            "copied {topics} topics, {partitions} partitions, {batches} batches, {bytes} bytes to {}",
            to.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
