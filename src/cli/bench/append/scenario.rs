//! One load of the append table, and how it is measured.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use doorbuster::commerce::load::latency::{Latencies, Percentiles};
use doorbuster::log::{Log, LogOptions, Partition};

use super::Arguments;
use crate::cli::bench::load::{self, Batches, Shape};
use crate::cli::bench::written::Counters;

/// Size of the records of large batches, and of those of the many writers.
const LARGE_RECORD_SIZE_BYTES: usize = 1024;
const SMALL_RECORD_SIZE_BYTES: usize = 100;

/// Partitions of the second large scenario.
const LARGE_PARTITIONS: u32 = 8;

/// Writers of the many partitions.
const PARTITIONS_WRITERS: usize = 4;

/// Each record that is waited for takes a wait of its own: a fiftieth of the records is enough.
const WAITING_FRACTION: u64 = 50;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScenarioName {
    /// Large batches into one partition
    #[value(name = "large-1")]
    LargeOne,
    /// Large batches into eight partitions
    #[value(name = "large-8")]
    LargeEight,
    /// One small record at a time
    Single,
    /// Many writers; each appends records one by one and has several on their way
    Writers,
    /// Many writers; each appends a batch of records and waits for it
    WritersBatched,
    /// Many writers; each appends one record and waits for it
    WritersWaiting,
    /// The same load into one partition and into many
    Partitions,
}

/// How the appends of a scenario are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As many bytes as the device takes.
    Large,
    /// The time of each append.
    Single,
    /// As many records as the log takes.
    Writers,
    /// The load that other numbers of partitions are compared with.
    OnePartition,
    /// The same load as [`Kind::OnePartition`].
    ManyPartitions,
}

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in the report.
    pub name: &'static str,
    /// What is looked at.
    pub kind: Kind,
    /// The load.
    pub shape: Shape,
    /// Batches that are appended.
    pub batches: u64,
}

/// What one run of a scenario came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Records that were appended.
    pub records: u64,
    /// Bytes of the batches that were appended: what [`Partition::append`] was given, headers of batches included.
    pub appended_bytes: u64,
    /// Until the last append was acknowledged.
    pub acknowledged: Duration,
    /// Until the log was flushed and closed: nothing is left to do later.
    pub closed: Duration,
    /// The time of each append, where each was waited for alone.
    pub latency: Option<Percentiles>,
    /// What the kernel counted from the first append until the log was closed and the filesystem had nothing left.
    pub written: Counters,
    /// The system calls that made the appends durable.
    pub write_path: String,
}

/// The scenarios that `arguments` ask for, in the order of the table.
pub fn chosen(arguments: &Arguments) -> Vec<Scenario> {
    let names = match arguments.scenario.as_slice() {
        [] => ScenarioName::value_variants(),
        chosen => chosen,
    };
    names
        .iter()
        .flat_map(|name| scenarios(*name, arguments))
        .collect()
}

fn scenarios(name: ScenarioName, arguments: &Arguments) -> Vec<Scenario> {
    match name {
        ScenarioName::LargeOne => vec![large("large-1", 1, arguments)],
        ScenarioName::LargeEight => vec![large("large-8", LARGE_PARTITIONS, arguments)],
        ScenarioName::Single => vec![single(arguments)],
        ScenarioName::Writers => vec![writers(
            "writers",
            1,
            arguments.writers.writer_in_flight,
            1,
            arguments,
        )],
        ScenarioName::WritersBatched => {
            let records = arguments.writers.writer_batch_records;
            vec![writers("writers-batched", records, 1, 1, arguments)]
        }
        ScenarioName::WritersWaiting => vec![writers("writers-waiting", 1, 1, WAITING_FRACTION, arguments)],
        ScenarioName::Partitions => {
            let many = arguments.partitions.partitions;
            vec![
                partitions("partitions-one", Kind::OnePartition, 1, arguments),
                partitions("partitions-many", Kind::ManyPartitions, many, arguments),
            ]
        }
    }
}

fn large(name: &'static str, partitions: u32, arguments: &Arguments) -> Scenario {
    let large = &arguments.large;
    let shape = Shape {
        partitions,
        writers: partitions as usize,
        in_flight: (large.in_flight / partitions as usize).max(1),
        records_per_batch: records_in(large.batch_bytes),
        record_size_bytes: LARGE_RECORD_SIZE_BYTES,
    };
    Scenario::of_bytes(name, Kind::Large, shape, large.total_bytes)
}

fn single(arguments: &Arguments) -> Scenario {
    let shape = Shape {
        partitions: 1,
        writers: 1,
        in_flight: 1,
        records_per_batch: 1,
        record_size_bytes: SMALL_RECORD_SIZE_BYTES,
    };
    Scenario {
        name: "single",
        kind: Kind::Single,
        shape,
        batches: arguments.single.appends,
    }
}

fn writers(
    name: &'static str,
    records_per_batch: usize,
    in_flight: usize,
    fraction: u64,
    arguments: &Arguments,
) -> Scenario {
    let writers = &arguments.writers;
    let shape = Shape {
        partitions: writers.writer_partitions,
        writers: writers.writers,
        in_flight,
        records_per_batch,
        record_size_bytes: SMALL_RECORD_SIZE_BYTES,
    };
    let records = writers.writer_records.div_ceil(fraction);
    Scenario {
        name,
        kind: Kind::Writers,
        shape,
        batches: records.div_ceil(records_per_batch as u64),
    }
}

fn partitions(name: &'static str, kind: Kind, partitions: u32, arguments: &Arguments) -> Scenario {
    let load = &arguments.partitions;
    let shape = Shape {
        partitions,
        writers: PARTITIONS_WRITERS,
        in_flight: load.partitions_in_flight.div_ceil(PARTITIONS_WRITERS),
        records_per_batch: records_in(load.partitions_batch_bytes),
        record_size_bytes: LARGE_RECORD_SIZE_BYTES,
    };
    Scenario::of_bytes(name, kind, shape, load.partitions_bytes)
}

fn records_in(batch_bytes: usize) -> usize {
    (batch_bytes / LARGE_RECORD_SIZE_BYTES).max(1)
}

impl Scenario {
    /// As many batches as make `total_bytes` of values.
    fn of_bytes(name: &'static str, kind: Kind, shape: Shape, total_bytes: u64) -> Scenario {
        let batch_bytes = (shape.records_per_batch * shape.record_size_bytes) as u64;
        Scenario {
            name,
            kind,
            shape,
            batches: total_bytes.div_ceil(batch_bytes),
        }
    }

    /// Measures it once, with a new log in `folder`.
    pub fn measure(&self, folder: &Path) -> anyhow::Result<Measured> {
        let batches = Batches::of(self.shape)?;
        let log = Log::open(folder, LogOptions::default()).context("opening the log")?;
        let write_path = log.status().write_path.to_string();
        let partitions = load::prepared_topic(&log, "bench", self.shape.partitions, &batches)?;
        let before = Counters::settled(folder)?;

        let start = Instant::now();
        let latency = self.append(&partitions, &batches)?;
        let acknowledged = start.elapsed();
        log.close().context("closing the log")?;
        let closed = start.elapsed();
        Ok(Measured {
            records: self.batches * self.shape.records_per_batch as u64,
            appended_bytes: self.batches * batches.size_bytes(),
            acknowledged,
            closed,
            latency,
            written: Counters::settled(folder)?.since(&before),
            write_path,
        })
    }

    fn append(&self, partitions: &[Partition], batches: &Batches) -> anyhow::Result<Option<Percentiles>> {
        if self.kind != Kind::Single {
            load::append(partitions, self.shape, batches, self.batches)?;
            return Ok(None);
        }
        let mut latencies = Latencies::new();
        for number in 0..self.batches {
            let batch = batches.get(number);
            let start = Instant::now();
            partitions[0].append(batch)?.wait()?;
            latencies.record(start.elapsed());
        }
        Ok(Some(latencies.percentiles()))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shape)
    }
}
