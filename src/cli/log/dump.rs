//! `doorbuster log dump`: shows what is stored.

use std::path::PathBuf;
use std::process::ExitCode;

use doorbuster::log::Offset;
use doorbuster::log::batch::records;
use doorbuster::log::inspect::JournalGroup;
use doorbuster::log::inspect::dump::{Dump, DumpedBatch};
use serde::Serialize;

use super::{EXIT_DAMAGE, Reading};
use crate::cli::output;

/// Arguments of `doorbuster log dump`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    reading: Reading,
    /// Show this topic; without it, the log's own metadata
    #[arg(long)]
    topic: Option<String>,
    /// Show only the topic's partition with this index
    #[arg(long, requires = "topic")]
    partition: Option<u32>,
    /// Begin with the batch that holds this offset
    #[arg(long, default_value_t = 0, value_name = "OFFSET")]
    from: u64,
    /// Show the records of batches that are not compressed
    #[arg(long)]
    records: bool,
    /// Show the groups of the journal instead
    #[arg(long, conflicts_with_all = ["topic", "records", "from"])]
    journal: bool,
}

/// A line of `dump --journal --json`.
#[derive(Debug, Serialize)]
struct GroupReport {
    schema: &'static str,
    file: PathBuf,
    position: u64,
    incarnation: u64,
    lsn: u64,
    /// The last group that was durable when this one was written.
    durable_upto: u64,
    size_bytes: u64,
    entries: u32,
}

/// A line of `dump --json`.
#[derive(Debug, Serialize)]
struct BatchReport {
    schema: &'static str,
    /// The topic; none for the log's own metadata.
    topic: Option<String>,
    /// The index in the topic.
    index: u32,
    /// The file, relative to the data folder; none for a batch that is in the journal only.
    file: Option<PathBuf>,
    position: Option<u64>,
    base_offset: u64,
    next_offset: u64,
    size_bytes: usize,
    records: i32,
    compression: String,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    is_transactional: bool,
    is_control: bool,
    /// Whether it stands for records that a repair gave up.
    is_lost: bool,
}

/// A line of `dump --records --json`, behind the batch that it belongs to. Bytes that are not UTF-8 are replaced.
#[derive(Debug, Serialize)]
struct RecordReport {
    schema: &'static str,
    offset: u64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = arguments.reading.open()?;
    let dump = Dump::open(&folder)?;
    if arguments.journal {
        for group in dump.journal() {
            show_group(group, arguments.reading.place.json)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut is_damaged = false;
    for (index, id) in dump.partitions(arguments.topic.as_deref(), arguments.partition)? {
        is_damaged |= show_partition(arguments, &dump, index, id)?;
    }
    Ok(if is_damaged {
        output::status(&"damage was passed over; run `doorbuster log verify`");
        ExitCode::from(EXIT_DAMAGE)
    } else {
        ExitCode::SUCCESS
    })
}

/// Shows one partition; true if it is damaged.
fn show_partition(
    arguments: &Arguments,
    dump: &Dump<'_>,
    index: u32,
    id: doorbuster::log::PartitionId,
) -> anyhow::Result<bool> {
    let mut shown = Ok(());
    let problems = dump.batches(id, Offset(arguments.from), |batch| {
        if shown.is_ok() {
            shown = show_batch(arguments, index, &batch);
        }
    })?;
    shown.map(|()| !problems.is_empty())
}

fn show_group(group: &JournalGroup, json: bool) -> anyhow::Result<()> {
    let report = GroupReport {
        schema: "doorbuster.log-group.v1",
        file: group.file.clone(),
        position: group.position,
        incarnation: group.incarnation,
        lsn: group.lsn,
        durable_upto: group.durable_upto,
        size_bytes: group.size_bytes,
        entries: group.entry_count,
    };
    if json {
        return output::json(&report);
    }
    output::result(&format!(
        "{} at {}: group {} of run {}, {} entries, {} bytes, durable through {}",
        report.file.display(),
        report.position,
        report.lsn,
        report.incarnation,
        report.entries,
        report.size_bytes,
        report.durable_upto
    ))
}

fn show_batch(arguments: &Arguments, index: u32, batch: &DumpedBatch) -> anyhow::Result<()> {
    let header = &batch.header;
    let report = BatchReport {
        schema: "doorbuster.log-batch.v1",
        topic: arguments.topic.clone(),
        index,
        file: batch.file.clone(),
        position: batch.position,
        base_offset: header.base_offset.0,
        next_offset: header.next_offset().0,
        size_bytes: header.size_bytes(),
        records: header.record_count,
        compression: format!("{:?}", header.compression()).to_lowercase(),
        max_timestamp: header.max_timestamp.0,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        is_transactional: header.is_transactional(),
        is_control: header.is_control(),
        is_lost: header.is_lost(),
    };
    if arguments.reading.place.json {
        output::json(&report)?;
    } else {
        show_report(&report)?;
    }
    if !arguments.records || header.is_control() {
        return Ok(());
    }
    // A compressed batch shows itself only.
    for record in records(&batch.bytes).into_iter().flatten() {
        let record = record?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let report = RecordReport {
            schema: "doorbuster.log-record.v1",
            offset: record.offset.0,
            timestamp: record.timestamp.0,
            key: record.key.map(text),
            value: record.value.map(text),
            headers: record
                .headers
                .map(|(name, value)| (name.to_owned(), value.map(text)))
                .collect(),
        };
        if arguments.reading.place.json {
            output::json(&report)?;
        } else {
            let (key, value) = (report.key.as_deref(), report.value.as_deref());
            let null = "null";
            output::result(&format!(
                "  {} at {}: {} = {}",
                report.offset,
                report.timestamp,
                key.unwrap_or(null),
                value.unwrap_or(null)
            ))?;
        }
    }
    Ok(())
}

fn show_report(report: &BatchReport) -> anyhow::Result<()> {
    let place = match (&report.file, report.position) {
        (Some(file), Some(position)) => format!("{} at {position}", file.display()),
        _ => "journal".to_owned(),
    };
    let what = if report.is_lost {
        "records that were lost".to_owned()
    } else {
        format!(
            "{} records, {} bytes, {}",
            report.records, report.size_bytes, report.compression
        )
    };
    output::result(&format!(
        "{place}: partition {} offsets {}..{}: {what}",
        report.index, report.base_offset, report.next_offset
    ))
}
