//! The raw device, measured through the very calls that make the log durable.
//!
//! Overwrites of a file that was written before: no filesystem metadata changes, as in the journal.

use std::fmt;
use std::io::IoSlice;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use doorbuster::commerce::load::latency::{Latencies, Percentiles};
use doorbuster::log::io::aligned::BufferPool;
use doorbuster::log::io::sim::SimulatedRandom;
use doorbuster::log::io::{BLOCK_SIZE_BYTES, Disk, DurableWriter, Environment, FileSlot, OpenMode};
use serde::Serialize;

use super::load::fill_with_random;
use super::samples::Samples;

/// Largest file that is overwritten. 256 MiB, as large as the journal.
const FILE_SIZE_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Size of the large writes, and how many are in flight.
const LARGE_SIZE_BYTES: usize = 256 * 1024;
const LARGE_IN_FLIGHT: usize = 4;

/// How much is written.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Single blocks, one at a time.
    pub block_writes: u64,
    /// Bytes in large writes; rounded up to whole writes.
    pub large_bytes: u64,
}

impl Default for Probe {
    /// About half a second each.
    fn default() -> Probe {
        Probe {
            block_writes: 5_000,
            large_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// What the device does.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFigures {
    /// One durable 4 KiB write, one in flight.
    pub block: Percentiles,
    /// Durable 256 KiB writes, four in flight, in MB/s.
    pub large_megabytes_per_second: f64,
}

impl DeviceFigures {
    /// The mean of two measurements, number by number.
    pub fn mean(&self, other: &DeviceFigures) -> DeviceFigures {
        let (a, b) = (self.block, other.block);
        DeviceFigures {
            block: Percentiles {
                p50: u64::midpoint(a.p50, b.p50),
                p90: u64::midpoint(a.p90, b.p90),
                p99: u64::midpoint(a.p99, b.p99),
                p99_9: u64::midpoint(a.p99_9, b.p99_9),
                max: a.max.max(b.max),
            },
            large_megabytes_per_second: f64::midpoint(
                self.large_megabytes_per_second,
                other.large_megabytes_per_second,
            ),
        }
    }
}

/// The device in a report: median of the runs, with the spread.
#[derive(Debug, Serialize)]
pub struct DeviceReport {
    /// Durable 256 KiB overwrites, 4 in flight, MB/s.
    pub large_megabytes_per_second: Samples,
    /// One durable 4 KiB overwrite, one in flight, microseconds.
    pub block_p50_us: Samples,
    /// The same: 99 % are at most this.
    pub block_p99_us: Samples,
    /// The same: 99.9 % are at most this.
    pub block_p99_9_us: Samples,
}

impl DeviceReport {
    /// Sums up the figures of several runs, at least one.
    pub fn of(figures: &[DeviceFigures]) -> DeviceReport {
        let of = |figure: fn(&DeviceFigures) -> f64| Samples::of(figures.iter().map(figure));
        DeviceReport {
            large_megabytes_per_second: of(|figures| figures.large_megabytes_per_second),
            block_p50_us: of(|figures| figures.block.p50 as f64),
            block_p99_us: of(|figures| figures.block.p99 as f64),
            block_p99_9_us: of(|figures| figures.block.p99_9 as f64),
        }
    }
}

impl fmt::Display for DeviceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device: durable overwrites")?;
        let large = &self.large_megabytes_per_second;
        writeln!(f, "    MB/s           {large}   256 KiB, 4 in flight")?;
        writeln!(
            f,
            "    p50 us         {}   4 KiB, one in flight",
            self.block_p50_us
        )?;
        writeln!(f, "    p99 us         {}", self.block_p99_us)?;
        write!(f, "    p99.9 us       {}", self.block_p99_9_us)
    }
}

/// Measures the device below `folder`.
pub fn measure(folder: &Path, probe: Probe) -> anyhow::Result<DeviceFigures> {
    let large_writes = probe.large_bytes.div_ceil(LARGE_SIZE_BYTES as u64).max(1);
    let file_size_bytes = (large_writes * LARGE_SIZE_BYTES as u64).min(FILE_SIZE_MAX_BYTES);
    let disk = Environment::machine(false).disk;
    let path = folder.join("device-probe");
    fill(&*disk, &path, file_size_bytes).with_context(|| format!("filling {}", path.display()))?;
    let writer = disk
        .durable_writer(LARGE_IN_FLIGHT)
        .context("opening the way for durable writes")?;
    let slot = writer
        .attach(&path)
        .with_context(|| format!("opening {} for durable writes", path.display()))?;
    let target = Target {
        writer: &*writer,
        slot,
        file_size_bytes,
    };
    let block = target
        .write_blocks(probe.block_writes)
        .context("durable 4 KiB writes")?;
    let took = target
        .write_large(large_writes)
        .context("durable 256 KiB writes")?;
    writer.detach(slot);
    disk.remove_file(&path)
        .with_context(|| format!("removing {}", path.display()))?;
    let written_bytes = large_writes * LARGE_SIZE_BYTES as u64;
    Ok(DeviceFigures {
        block: block.percentiles(),
        large_megabytes_per_second: written_bytes as f64 / 1e6 / took.as_secs_f64(),
    })
}

fn fill(disk: &dyn Disk, path: &Path, size_bytes: u64) -> std::io::Result<()> {
    let file = disk.open(path, OpenMode::CreateNew)?;
    let zeros = vec![0; LARGE_SIZE_BYTES];
    for position in (0..size_bytes).step_by(LARGE_SIZE_BYTES) {
        file.write_at(&[IoSlice::new(&zeros)], position)?;
    }
    file.sync()
}

/// The file that is overwritten.
struct Target<'a> {
    writer: &'a dyn DurableWriter,
    slot: FileSlot,
    file_size_bytes: u64,
}

impl Target<'_> {
    fn write_blocks(&self, count: u64) -> std::io::Result<Latencies> {
        let data = random_bytes(BLOCK_SIZE_BYTES);
        let mut latencies = Latencies::new();
        let mut completions = Vec::with_capacity(1);
        for number in 0..count {
            let position = number * BLOCK_SIZE_BYTES as u64 % self.file_size_bytes;
            let start = Instant::now();
            self.writer.submit(self.slot, position, data.clone(), number)?;
            self.writer.wait(&mut completions)?;
            latencies.record(start.elapsed());
            for completion in completions.drain(..) {
                completion.result?;
            }
        }
        Ok(latencies)
    }

    fn write_large(&self, count: u64) -> std::io::Result<Duration> {
        let data: Vec<Bytes> = (0..LARGE_IN_FLIGHT)
            .map(|_| random_bytes(LARGE_SIZE_BYTES))
            .collect();
        let mut completions = Vec::with_capacity(LARGE_IN_FLIGHT);
        let (mut submitted, mut in_flight) = (0, 0);
        let start = Instant::now();
        while submitted < count || in_flight > 0 {
            while submitted < count && in_flight < LARGE_IN_FLIGHT {
                let position = submitted * LARGE_SIZE_BYTES as u64 % self.file_size_bytes;
                let data = data[submitted as usize % LARGE_IN_FLIGHT].clone();
                self.writer.submit(self.slot, position, data, submitted)?;
                submitted += 1;
                in_flight += 1;
            }
            self.writer.wait(&mut completions)?;
            for completion in completions.drain(..) {
                completion.result?;
                in_flight -= 1;
            }
        }
        Ok(start.elapsed())
    }
}

/// Bytes that do not compress, in memory that direct writes accept.
fn random_bytes(size_bytes: usize) -> Bytes {
    let mut bytes = vec![0; size_bytes];
    fill_with_random(&mut bytes, &SimulatedRandom::new(1));
    let mut buffer = BufferPool::new(0).take(size_bytes);
    buffer.extend_from_slice(&bytes);
    buffer.freeze()
}
