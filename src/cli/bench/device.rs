//! The raw device, measured through the very calls that make the log durable.
//!
//! Overwrites of a zeroed file: no filesystem metadata changes, as in the journal.

use std::io::IoSlice;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use doorbuster::commerce::load::latency::Latencies;
use doorbuster::log::io::aligned::BufferPool;
use doorbuster::log::io::{BLOCK_SIZE_BYTES, Disk, DurableWriter, Environment, FileSlot, OpenMode};

/// Size of the file that is overwritten. 64 MiB, as large as a few journal files.
const FILE_SIZE_BYTES: u64 = 64 * 1024 * 1024;

/// Single blocks written one at a time.
const BLOCK_WRITES: u32 = 2_000;

/// Size, number in flight and number of the large writes: 512 MiB together.
const LARGE_SIZE_BYTES: usize = 256 * 1024;
const LARGE_IN_FLIGHT: usize = 4;
const LARGE_WRITES: u64 = 2_048;

/// What the device does.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFigures {
    /// Median time of one durable 4 KiB write, one in flight, in microseconds.
    pub block_p50_us: f64,
    /// 99th percentile of the same.
    pub block_p99_us: f64,
    /// Durable 256 KiB writes, four in flight, in MB/s.
    pub large_megabytes_per_second: f64,
}

/// Measures the device below `folder`.
pub fn measure(folder: &Path) -> anyhow::Result<DeviceFigures> {
    let disk = Environment::machine(false).disk;
    let path = folder.join("device-probe");
    fill(&*disk, &path).with_context(|| format!("filling {}", path.display()))?;
    let writer = disk
        .durable_writer(LARGE_IN_FLIGHT)
        .context("opening the way for durable writes")?;
    let slot = writer
        .attach(&path)
        .with_context(|| format!("opening {} for durable writes", path.display()))?;
    let blocks = write_blocks(&*writer, slot).context("durable 4 KiB writes")?;
    let took = write_large(&*writer, slot).context("durable 256 KiB writes")?;
    writer.detach(slot);
    disk.remove_file(&path)
        .with_context(|| format!("removing {}", path.display()))?;
    let percentiles = blocks.percentiles();
    Ok(DeviceFigures {
        block_p50_us: percentiles.p50 as f64,
        block_p99_us: percentiles.p99 as f64,
        large_megabytes_per_second: (LARGE_WRITES * LARGE_SIZE_BYTES as u64) as f64
            / 1e6
            / took.as_secs_f64(),
    })
}

fn fill(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    let file = disk.open(path, OpenMode::CreateNew)?;
    let zeros = vec![0; LARGE_SIZE_BYTES];
    for position in (0..FILE_SIZE_BYTES).step_by(LARGE_SIZE_BYTES) {
        file.write_at(&[IoSlice::new(&zeros)], position)?;
    }
    file.sync()
}

fn write_blocks(writer: &dyn DurableWriter, slot: FileSlot) -> std::io::Result<Latencies> {
    let data = pattern(BLOCK_SIZE_BYTES);
    let mut latencies = Latencies::new();
    let mut completions = Vec::with_capacity(1);
    for number in 0..BLOCK_WRITES {
        let position = u64::from(number) * BLOCK_SIZE_BYTES as u64 % FILE_SIZE_BYTES;
        let start = Instant::now();
        writer.submit(slot, position, data.clone(), u64::from(number))?;
        writer.wait(&mut completions)?;
        latencies.record(start.elapsed());
        for completion in completions.drain(..) {
            completion.result?;
        }
    }
    Ok(latencies)
}

fn write_large(writer: &dyn DurableWriter, slot: FileSlot) -> std::io::Result<Duration> {
    let data = pattern(LARGE_SIZE_BYTES);
    let mut completions = Vec::with_capacity(LARGE_IN_FLIGHT);
    let (mut submitted, mut in_flight) = (0, 0);
    let start = Instant::now();
    while submitted < LARGE_WRITES || in_flight > 0 {
        while submitted < LARGE_WRITES && in_flight < LARGE_IN_FLIGHT {
            let position = submitted * LARGE_SIZE_BYTES as u64 % FILE_SIZE_BYTES;
            writer.submit(slot, position, data.clone(), submitted)?;
            submitted += 1;
            in_flight += 1;
        }
        writer.wait(&mut completions)?;
        for completion in completions.drain(..) {
            completion.result?;
            in_flight -= 1;
        }
    }
    Ok(start.elapsed())
}

/// Bytes that are not all zero, in memory that direct writes accept.
fn pattern(size_bytes: usize) -> Bytes {
    let mut buffer = BufferPool::new(0).take(size_bytes);
    let bytes: Vec<u8> = (0..size_bytes).map(|position| (position % 251) as u8).collect();
    buffer.extend_from_slice(&bytes);
    buffer.freeze()
}
