//! What `doorbuster bench append` prints.

use std::fmt;

use doorbuster::commerce::load::latency::Percentiles;
use serde::Serialize;

use super::Run;
use super::scenario::{Kind, Measured, Scenario};
use crate::cli::bench::device::{DeviceFigures, DeviceReport};
use crate::cli::bench::load::Shape;
use crate::cli::bench::samples::Samples;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-append.v2";

/// The result of `doorbuster bench append`; every figure is the median of the runs with its spread.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    runs: usize,
    write_path: String,
    /// The mean of before and after the scenarios of each run.
    device: DeviceReport,
    rows: Vec<Row>,
}

/// One scenario. Rates are taken until the log is flushed and closed, but for `acknowledged_…`.
#[derive(Debug, Serialize)]
struct Row {
    scenario: &'static str,
    #[serde(flatten)]
    shape: Shape,
    /// Records of each run.
    records: u64,
    /// Bytes of batches of each run, their headers included.
    appended_bytes: u64,
    records_per_second: Samples,
    /// Of the batches' bytes.
    megabytes_per_second: Samples,
    /// Of the batches' bytes, until the last append was durable; flushing and closing come after it.
    acknowledged_megabytes_per_second: Samples,
    /// Throughput as a share of the device's durable 256 KiB writes; of the large scenarios.
    device_ratio: Option<Samples>,
    /// Throughput as a share of the same load into one partition; of the scenario with many.
    one_partition_ratio: Option<Samples>,
    /// One append, waited for alone; of the scenario `single`.
    latency: Option<Latency>,
    /// Bytes that the kernel wrote to the folder's block device, for everybody on the machine and with the
    /// filesystem's own, for each byte of batches; none where the folder is on no block device.
    device_bytes_per_byte: Option<Samples>,
    /// Bytes that the kernel charged to this process, for each byte of batches.
    process_bytes_per_byte: Samples,
}

/// Microseconds of one append, and as multiples of the device's durable 4 KiB write.
#[derive(Debug, Serialize)]
struct Latency {
    p50_us: Samples,
    p99_us: Samples,
    p99_9_us: Samples,
    p50_ratio: Samples,
    p99_9_ratio: Samples,
}

impl Report {
    /// Sums up `runs`, which all measured `scenarios`.
    pub fn new(scenarios: &[Scenario], runs: &[Run]) -> Report {
        let devices: Vec<DeviceFigures> = runs.iter().map(|run| run.device).collect();
        let first = runs.iter().flat_map(|run| &run.measured).next();
        let rows = scenarios.iter().enumerate();
        Report {
            schema: SCHEMA,
            runs: runs.len(),
            write_path: first
                .map(|measured| measured.write_path.clone())
                .unwrap_or_default(),
            device: DeviceReport::of(&devices),
            rows: rows
                .map(|(index, scenario)| Row::new(index, scenario, runs))
                .collect(),
        }
    }
}

impl Row {
    fn new(index: usize, scenario: &Scenario, runs: &[Run]) -> Row {
        let of =
            |figure: fn(&Measured) -> f64| Samples::of(runs.iter().map(|run| figure(&run.measured[index])));
        let is = |kind: Kind| scenario.kind == kind;
        let measured = &runs[0].measured[index];
        let device_bytes: Option<Vec<f64>> = runs
            .iter()
            .map(|run| written_to_device(&run.measured[index]))
            .collect();
        Row {
            scenario: scenario.name,
            shape: scenario.shape,
            records: measured.records,
            appended_bytes: measured.appended_bytes,
            records_per_second: of(|measured| measured.records as f64 / measured.closed.as_secs_f64()),
            megabytes_per_second: of(throughput),
            acknowledged_megabytes_per_second: of(|measured| {
                measured.appended_bytes as f64 / 1e6 / measured.acknowledged.as_secs_f64()
            }),
            device_ratio: is(Kind::Large).then(|| {
                Samples::of(
                    runs.iter()
                        .map(|run| throughput(&run.measured[index]) / run.device.large_megabytes_per_second),
                )
            }),
            // The scenario before it is the same load into one partition.
            one_partition_ratio: is(Kind::ManyPartitions).then(|| {
                Samples::of(
                    runs.iter()
                        .map(|run| throughput(&run.measured[index]) / throughput(&run.measured[index - 1])),
                )
            }),
            latency: is(Kind::Single).then(|| Latency::new(index, runs)),
            device_bytes_per_byte: device_bytes.map(Samples::of),
            process_bytes_per_byte: of(|measured| {
                measured.written.process_written_bytes as f64 / measured.appended_bytes as f64
            }),
        }
    }
}

/// Bytes of batches, MB/s, until nothing was left to do.
fn throughput(measured: &Measured) -> f64 {
    measured.appended_bytes as f64 / 1e6 / measured.closed.as_secs_f64()
}

fn written_to_device(measured: &Measured) -> Option<f64> {
    let written = measured.written.device_written_bytes?;
    Some(written as f64 / measured.appended_bytes as f64)
}

impl Run {
    /// Percentiles of a scenario that has them; zeros of one that has not.
    fn latency(&self, index: usize) -> Percentiles {
        self.measured[index].latency.unwrap_or_default()
    }
}

impl Latency {
    fn new(index: usize, runs: &[Run]) -> Latency {
        let of = |figure: fn(&Run, usize) -> f64| Samples::of(runs.iter().map(|run| figure(run, index)));
        Latency {
            p50_us: of(|run, index| run.latency(index).p50 as f64),
            p99_us: of(|run, index| run.latency(index).p99 as f64),
            p99_9_us: of(|run, index| run.latency(index).p99_9 as f64),
            p50_ratio: of(|run, index| run.latency(index).p50 as f64 / run.device.block.p50 as f64),
            p99_9_ratio: of(|run, index| run.latency(index).p99_9 as f64 / run.device.block.p99_9 as f64),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, runs) = (&self.write_path, self.runs);
        writeln!(
            f,
            "durable appends, {path}; median of {runs} runs (lowest to highest)"
        )?;
        writeln!(f, "rates of batches' bytes until the log is flushed and closed")?;
        write!(f, "{}", self.device)?;
        for row in &self.rows {
            write!(f, "\n{row}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.scenario, self.shape)?;
        writeln!(f, "    records/s      {}", self.records_per_second)?;
        writeln!(f, "    MB/s           {}", self.megabytes_per_second)?;
        let acknowledged = &self.acknowledged_megabytes_per_second;
        writeln!(
            f,
            "    MB/s to ack    {acknowledged}   the last append durable, not yet closed"
        )?;
        if let Some(ratio) = &self.device_ratio {
            writeln!(f, "    of the device  {ratio}")?;
        }
        if let Some(ratio) = &self.one_partition_ratio {
            writeln!(f, "    of 1 partition {ratio}")?;
        }
        if let Some(latency) = &self.latency {
            writeln!(f, "    p50 us         {}", latency.p50_us)?;
            writeln!(f, "    p99 us         {}", latency.p99_us)?;
            writeln!(f, "    p99.9 us       {}", latency.p99_9_us)?;
            writeln!(
                f,
                "    p50 ratio      {}   to the device's 4 KiB write",
                latency.p50_ratio
            )?;
            writeln!(f, "    p99.9 ratio    {}", latency.p99_9_ratio)?;
        }
        if let Some(device) = &self.device_bytes_per_byte {
            writeln!(
                f,
                "    device B per B {device}   written to the device, by everybody"
            )?;
        }
        write!(
            f,
            "    own B per B    {}   written by this process",
            self.process_bytes_per_byte
        )
    }
}
