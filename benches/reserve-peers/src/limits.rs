//! The machine's own limits, measured in the same run: a round trip over loopback, and a durable write.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use doorbuster::commerce::load::latency::Latencies;
use serde::Serialize;

use crate::cli_bench::device::{self, Probe};

/// Size of the message that goes back and forth.
const MESSAGE_SIZE_BYTES: usize = 64;

/// How long messages go back and forth.
const ROUND_TRIPS_FOR: Duration = Duration::from_millis(500);

/// Durable writes of 4 KiB, one at a time.
const BLOCK_WRITES: u64 = 5_000;

/// Large writes are not of interest here; the probe makes one.
const LARGE_BYTES: u64 = 64 * 1024 * 1024;

/// What the machine does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MachineLimits {
    /// 64 bytes to a blocking thread over loopback TCP and back, p50, microseconds.
    pub round_trip_p50_us: f64,
    /// One durable 4 KiB overwrite, one in flight, p50, microseconds.
    pub durable_write_p50_us: f64,
    /// The same: 99 % took at most this.
    pub durable_write_p99_us: f64,
}

/// Measures the machine, and the device below `folder`.
pub fn measure(folder: &Path) -> anyhow::Result<MachineLimits> {
    let probe = Probe {
        block_writes: BLOCK_WRITES,
        large_bytes: LARGE_BYTES,
    };
    let device = device::measure(folder, probe).context("measuring the device")?;
    Ok(MachineLimits {
        round_trip_p50_us: round_trips().context("measuring round trips")?,
        durable_write_p50_us: device.block.p50 as f64,
        durable_write_p99_us: device.block.p99 as f64,
    })
}

fn round_trips() -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    near.set_nodelay(true)?;
    let (mut far, _) = listener.accept()?;
    far.set_nodelay(true)?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut message = [0; MESSAGE_SIZE_BYTES];
            while far.read_exact(&mut message).is_ok() && far.write_all(&message).is_ok() {}
        });
        let mut latencies = Latencies::new();
        let mut message = [7; MESSAGE_SIZE_BYTES];
        let start = Instant::now();
        while start.elapsed() < ROUND_TRIPS_FOR {
            let sent = Instant::now();
            near.write_all(&message)?;
            near.read_exact(&mut message)?;
            latencies.record(sent.elapsed());
        }
        near.shutdown(std::net::Shutdown::Both)?;
        Ok(latencies.percentiles().p50 as f64)
    })
}
