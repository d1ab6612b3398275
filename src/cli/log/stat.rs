//! `doorbuster log stat`: counts what a data folder holds.

use std::collections::BTreeMap;
use std::process::ExitCode;

use doorbuster::log::inspect::{self, PartitionStat, StoreStat};
use serde::Serialize;

use super::Reading;
use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.log-stat.v1";

/// Arguments of `doorbuster log stat`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    reading: Reading,
}

/// What a data folder holds.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// The store's identity, 16 hexadecimal digits.
    store: Option<String>,
    /// The newest intact checkpoint's number.
    checkpoint: Option<u64>,
    /// The last group of the journal that is in segments.
    checkpoint_lsn: Option<u64>,
    /// The last intact group of the journal.
    journal_lsn: u64,
    journal_files: usize,
    /// Files whose groups are still needed.
    journal_files_needed: usize,
    journal_bytes: u64,
    /// Bytes of groups that are still needed.
    journal_bytes_needed: u64,
    topics: usize,
    bytes_by_kind: BTreeMap<String, u64>,
    partitions: Vec<PartitionReport>,
    /// What was wrong in what was read.
    findings: usize,
}

/// What a partition holds.
#[derive(Debug, Serialize)]
struct PartitionReport {
    /// The partition's number in the log.
    partition: u32,
    /// The topic; none for the log's own metadata.
    topic: Option<String>,
    /// The index in the topic.
    index: u32,
    log_start: u64,
    /// Offset behind the last record in segments.
    flushed_end: u64,
    /// Offset behind the last record.
    end: u64,
    segments: usize,
    size_bytes: u64,
}

impl From<StoreStat> for Report {
    fn from(stat: StoreStat) -> Report {
        Report {
            schema: SCHEMA,
            store: stat.store.map(|store| format!("{:016x}", store.0)),
            checkpoint: stat.checkpoint.map(|(number, _)| number),
            checkpoint_lsn: stat.checkpoint.map(|(_, lsn)| lsn),
            journal_lsn: stat.journal_lsn,
            journal_files: stat.journal_files.0,
            journal_files_needed: stat.journal_files.1,
            journal_bytes: stat.journal_bytes.0,
            journal_bytes_needed: stat.journal_bytes.1,
            topics: stat.topics,
            bytes_by_kind: stat.bytes_by_kind,
            partitions: stat.partitions.into_iter().map(PartitionReport::from).collect(),
            findings: stat.findings,
        }
    }
}

impl From<PartitionStat> for PartitionReport {
    fn from(stat: PartitionStat) -> PartitionReport {
        PartitionReport {
            partition: stat.id.0,
            topic: stat.topic,
            index: stat.index,
            log_start: stat.log_start.0,
            flushed_end: stat.flushed_end.0,
            end: stat.end.0,
            segments: stat.segments,
            size_bytes: stat.size_bytes,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = Report::from(inspect::stat(&arguments.reading.open()?)?);
    if arguments.reading.place.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &Report) -> anyhow::Result<()> {
    let number = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
    let store = report.store.as_deref().unwrap_or("unknown");
    output::result(&format!("store       {store}"))?;
    let (checkpoint, lsn) = (number(report.checkpoint), number(report.checkpoint_lsn));
    output::result(&format!("checkpoint  {checkpoint}, through group {lsn}"))?;
    output::result(&format!(
        "journal     through group {}; {} of {} files and {} of {} bytes are needed",
        report.journal_lsn,
        report.journal_files_needed,
        report.journal_files,
        report.journal_bytes_needed,
        report.journal_bytes
    ))?;
    for (kind, size_bytes) in &report.bytes_by_kind {
        output::result(&format!("{size_bytes:>15} bytes of {kind}"))?;
    }
    output::result(&format!("{} topics", report.topics))?;
    for partition in &report.partitions {
        let topic = partition.topic.as_deref().unwrap_or("(metadata)");
        output::result(&format!(
            "{topic}-{}: offsets {}..{}, in segments through {}; {} segments, {} bytes",
            partition.index,
            partition.log_start,
            partition.end,
            partition.flushed_end,
            partition.segments,
            partition.size_bytes
        ))?;
    }
    if report.findings > 0 {
        output::status(&format!(
            "{} findings; run `doorbuster log verify`",
            report.findings
        ));
    }
    Ok(())
}
