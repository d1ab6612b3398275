//! `doorbuster bench open`: how long a large log takes to open after `kill -9` under load, and after a clean stop.
//!
//! The log is filled once. In each run a process appends at full load until it is killed; then a second process opens
//! the log, appends one record and closes it; then a third opens it again. The page cache is emptied of the log's
//! files before each opening. No acknowledged record may be missing.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::builder::RangedU64ValueParser;
use doorbuster::log::{Log, LogOptions, TopicSpec};
use serde::Serialize;

use super::folder::ScratchFolder;
use super::load::{self, Batches, Shape};
use super::open_child::{Opened, TOPIC};
use super::samples::Samples;
use super::{Place, cold, device_read};
use crate::cli::{descriptors, output};

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-open.v1";

/// How the log is filled: 256 KiB batches of 1 KiB records.
const RECORD_SIZE_BYTES: usize = 1024;
const FILL_BATCH_RECORDS: usize = 256;
const FILL_WRITERS: usize = 4;
const FILL_IN_FLIGHT: usize = 8;

/// Room that is left on the disk: for the journal, and for others.
const SPARE_BYTES: u64 = 1024 * 1024 * 1024;

/// The load goes on for up to this long before the process is killed, so that the moment is any.
const KILL_DELAY_MAX_MS: u64 = 50;

/// Arguments of `doorbuster bench open`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bytes of records that the log is filled with
    #[arg(long, default_value_t = 50_000_000_000, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 42))]
    total_bytes: u64,
    /// Partitions that hold them
    #[arg(long, default_value_t = 1_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: u32,
    /// Bytes of records that are acknowledged before the process is killed; more than the journal holds, by default
    #[arg(long, default_value_t = 512_000_000, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 40))]
    load_bytes: u64,
    /// Size of the batches of that load
    #[arg(long, default_value_t = 16 * 1024, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=3 * 1024 * 1024))]
    load_batch_bytes: usize,
    #[command(flatten)]
    place: Place,
}

/// One run.
#[derive(Debug)]
struct Run {
    killed: Opened,
    closed: Opened,
    device_journal_ms: f64,
}

/// The result of `doorbuster bench open`; every figure is the median of the runs with its spread.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    runs: usize,
    total_bytes: u64,
    partitions: u32,
    load_bytes: u64,
    load_batch_bytes: usize,
    /// After `kill -9` under load.
    after_kill: OpenedReport,
    /// After a clean stop.
    after_close: OpenedReport,
    /// The journal's files read from the device with `O_DIRECT`, 1 MiB at a time, 8 in flight, milliseconds.
    device_journal_ms: Samples,
    /// Opening after `kill -9` as a multiple of that.
    journal_ratio: Samples,
}

/// One way of opening.
#[derive(Debug, Serialize)]
struct OpenedReport {
    /// The call that opens the log, milliseconds.
    open_ms: Samples,
    /// From the same start until a record that was appended is durable, milliseconds.
    first_append_ms: Samples,
    /// Largest resident memory of the process by then, in MB: all of it, program and mapped files included.
    peak_memory_megabytes: Samples,
    /// Batches that were read back from the journal.
    recovered_batches: Samples,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    descriptors::connections_allowed();
    let place = &arguments.place;
    let folder = ScratchFolder::create(&place.data_dir)?;
    let data = folder.path().join("log");
    check_space(folder.path(), arguments)?;
    output::status(&format!(
        "bench open: filling {} MB into {} partitions",
        arguments.total_bytes / 1_000_000,
        arguments.partitions
    ));
    fill(&data, arguments)?;
    let mut runs = Vec::new();
    for number in 1..=place.runs {
        output::status(&format!("bench open: run {number} of {}", place.runs));
        runs.push(measure(&data, arguments)?);
    }
    let report = Report::new(&runs, arguments);
    if place.json {
        output::json(&report)
    } else {
        output::result(&report)
    }
}

fn check_space(folder: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let filesystem = rustix::fs::statvfs(folder).context("looking at the free space")?;
    let free_bytes = filesystem.f_bavail * filesystem.f_frsize;
    let data_bytes = arguments.total_bytes + u64::from(arguments.place.runs) * 2 * arguments.load_bytes;
    // A twentieth for headers, indexes and what the filesystem takes.
    let wanted_bytes = data_bytes + data_bytes / 20 + SPARE_BYTES;
    ensure!(
        wanted_bytes <= free_bytes,
        "{wanted_bytes} bytes are needed in {}, {free_bytes} are free; choose another folder or a smaller \
         --total-bytes",
        folder.display()
    );
    Ok(())
}

fn fill(data: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let shape = Shape {
        partitions: arguments.partitions,
        writers: FILL_WRITERS,
        in_flight: FILL_IN_FLIGHT,
        records_per_batch: FILL_BATCH_RECORDS,
        record_size_bytes: RECORD_SIZE_BYTES,
    };
    let batches = Batches::of(shape)?;
    let log = Log::open(data, LogOptions::default()).context("opening the log")?;
    let spec = TopicSpec {
        partitions: arguments.partitions,
        ..TopicSpec::default()
    };
    let topic = log.create_topic(TOPIC, &spec).context("creating the topic")?;
    let count = arguments.total_bytes.div_ceil(batches.size_bytes());
    load::append(&topic.partitions, shape, &batches, count)?;
    log.close().context("closing the log")
}

fn measure(data: &Path, arguments: &Arguments) -> anyhow::Result<Run> {
    let acknowledged = load_and_kill(data, arguments)?;
    cold::forget(data)?;
    let journal = cold::files_below(&data.join("journal"))?;
    let device_journal_ms = device_read::milliseconds(&journal)?;
    let killed = open(data)?;
    ensure!(
        killed.records >= acknowledged,
        "{acknowledged} records were acknowledged before the process was killed, {} are there",
        killed.records
    );
    cold::forget(data)?;
    let closed = open(data)?;
    // The process that opened the log after the kill appended one record.
    ensure!(
        closed.records == killed.records + 1,
        "the log was closed with {} records, {} are there",
        killed.records + 1,
        closed.records
    );
    Ok(Run {
        killed,
        closed,
        device_journal_ms,
    })
}

/// Lets a process append until `load_bytes` are acknowledged, and kills it; the records that the log must hold.
fn load_and_kill(data: &Path, arguments: &Arguments) -> anyhow::Result<u64> {
    let batch_bytes = arguments.load_batch_bytes.to_string();
    let mut child = Ended(start_child("load", data, &["--batch-bytes", &batch_bytes])?);
    let stdout = child.0.stdout.take().context("the process has no output")?;
    let (mut before, mut acknowledged) = (None, 0);
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading what the process tells")?;
        acknowledged = line
            .parse::<u64>()
            .with_context(|| format!("{line:?} is no number of records"))?;
        let before = *before.get_or_insert(acknowledged);
        if (acknowledged - before) * RECORD_SIZE_BYTES as u64 >= arguments.load_bytes {
            std::thread::sleep(Duration::from_millis(rand::random::<u64>() % KILL_DELAY_MAX_MS));
            return Ok(acknowledged);
        }
    }
    Err(anyhow!(
        "the process that loads the log ended after {acknowledged} records"
    ))
}

/// A process that is killed, with the signal that it cannot catch, and waited for.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = killed {
            output::status(&format!("cannot kill process {}: {error}", self.0.id()));
        }
    }
}

fn open(data: &Path) -> anyhow::Result<Opened> {
    let child = start_child("open", data, &[])?;
    let output = child
        .wait_with_output()
        .context("waiting for the process that opens the log")?;
    ensure!(
        output.status.success(),
        "the process that opens the log failed: {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("reading what the process tells")
}

fn start_child(work: &str, data: &Path, arguments: &[&str]) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("looking for this program")?;
    Command::new(program)
        .args(["bench", "open-child", work])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a process")
}

impl Report {
    fn new(runs: &[Run], arguments: &Arguments) -> Report {
        let of = |figure: fn(&Run) -> f64| Samples::of(runs.iter().map(figure));
        Report {
            schema: SCHEMA,
            runs: runs.len(),
            total_bytes: arguments.total_bytes,
            partitions: arguments.partitions,
            load_bytes: arguments.load_bytes,
            load_batch_bytes: arguments.load_batch_bytes,
            after_kill: OpenedReport::of(&runs.iter().map(|run| &run.killed)),
            after_close: OpenedReport::of(&runs.iter().map(|run| &run.closed)),
            device_journal_ms: of(|run| run.device_journal_ms),
            journal_ratio: of(|run| run.killed.open_ms / run.device_journal_ms),
        }
    }
}

impl OpenedReport {
    fn of<'a>(opened: &(impl Iterator<Item = &'a Opened> + Clone)) -> OpenedReport {
        let of = |figure: fn(&Opened) -> f64| Samples::of(opened.clone().map(figure));
        OpenedReport {
            open_ms: of(|opened| opened.open_ms),
            first_append_ms: of(|opened| opened.first_append_ms),
            peak_memory_megabytes: of(|opened| opened.peak_memory_bytes as f64 / 1e6),
            recovered_batches: of(|opened| opened.recovered_batches as f64),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "opening {} MB in {} partitions, nothing of it in the page cache; median of {} runs (lowest to highest)",
            self.total_bytes / 1_000_000,
            self.partitions,
            self.runs
        )?;
        let (bytes, batch) = (self.load_bytes / 1_000_000, self.load_batch_bytes / 1024);
        writeln!(
            f,
            "  after kill -9, {bytes} MB into a load of {batch} KiB batches"
        )?;
        write!(f, "{}", self.after_kill)?;
        let device = &self.device_journal_ms;
        writeln!(
            f,
            "    device   ms    {device}   reads the journal's files, O_DIRECT"
        )?;
        writeln!(f, "    ratio          {}", self.journal_ratio)?;
        writeln!(f, "  after a clean stop")?;
        write!(f, "{}", self.after_close.to_string().trim_end())
    }
}

impl fmt::Display for OpenedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    open     ms    {}", self.open_ms)?;
        writeln!(
            f,
            "    append   ms    {}   from the same start until a record is durable",
            self.first_append_ms
        )?;
        writeln!(
            f,
            "    memory   MB    {}   largest resident set",
            self.peak_memory_megabytes
        )?;
        writeln!(
            f,
            "    batches        {}   read back from the journal",
            self.recovered_batches
        )
    }
}
