//! One peer doing one workload for some time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::chronicle;
use crate::peer::{Peer, PeerName};
use crate::workload::Workload;

/// Where, how long, and what one peer needs for it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// A folder that is not there yet.
    pub folder: &'a Path,
    /// How long commits are begun.
    pub seconds: f64,
    /// The command that runs Chronicle Queue's part.
    pub chronicle: Option<&'a str>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Records that were committed.
    pub records: u64,
    /// From the first commit until the log was closed.
    pub seconds: f64,
    /// One commit, microseconds.
    pub p50_us: f64,
    /// 99 % of the commits took at most this.
    pub p99_us: f64,
    /// 99.9 % of the commits took at most this.
    pub p99_9_us: f64,
}

/// Longest commit that is told apart. 1 minute, in nanoseconds.
const COMMIT_MAX_NANOSECONDS: u64 = 60_000_000_000;

/// Lets `peer` do `workload` in a new log.
pub fn measure(peer: PeerName, workload: Workload, place: &Place<'_>) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(place.folder).context("creating the folder")?;
    match peer.open(place.folder, workload)? {
        Some(log) => commit_for(log, workload, Duration::from_secs_f64(place.seconds)),
        None => chronicle::measure(workload, place),
    }
}

fn commit_for(log: Box<dyn Peer>, workload: Workload, duration: Duration) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let end = start + duration;
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workload.threads)
            .map(|thread| {
                let log = &*log;
                scope.spawn(move || commit_until(log, thread, workload, end))
            })
            .collect();
        let mut all = histogram()?;
        for thread in threads {
            let ended = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.add(ended?)?;
        }
        anyhow::Ok(all)
    })?;
    log.close()?;
    let microseconds = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Outcome {
        records: latencies.len() * workload.records_per_commit as u64,
        seconds: start.elapsed().as_secs_f64(),
        p50_us: microseconds(0.5),
        p99_us: microseconds(0.99),
        p99_9_us: microseconds(0.999),
    })
}

fn commit_until(
    log: &dyn Peer,
    thread: usize,
    workload: Workload,
    end: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let records = records(workload, thread as u64 + 1);
    let mut latencies = histogram()?;
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(latencies);
        }
        log.commit(thread, &records)?;
        latencies.saturating_record(start.elapsed().as_nanos() as u64);
    }
}

/// Records that do not compress.
fn records(workload: Workload, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed;
    let mut next = || {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let record = |_| (0..workload.record_size_bytes).map(|_| next()).collect();
    (0..workload.records_per_commit).map(record).collect()
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, COMMIT_MAX_NANOSECONDS, 3)?)
}
