//! `doorbuster bench holds`: one shard with millions of live holds: memory, start, snapshots, and expiry under load.
//!
//! The shard is filled, each hold with a customer of its own. Then reservations come at a steady rate while a snapshot
//! is made in the background, some of them with a short life, so that expiries come at the same rate. Then a process of
//! its own opens the shard again, first from the snapshot and once more by replay of the whole log.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::builder::RangedU64ValueParser;
use doorbuster::commerce::inventory::{
    CartPolicy, Command, EVENTS_TOPIC, Inventory, InventoryOptions, Line, Outcome, SnapshotFile,
    for_each_event,
};
use doorbuster::commerce::load::latency::{Latencies, Percentiles};
use doorbuster::commerce::store::LogStore;
use doorbuster::log::{Log, LogOptions, Offset};
use serde::Serialize;
use uuid::Uuid;

use super::Place;
use super::folder::ScratchFolder;
use super::holds_child::{self, Started};
use super::samples::Samples;
use super::written::Counters;
use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-holds.v1";

/// Articles, each with as many units as can be.
const ARTICLES: u64 = 10_000;

/// The shard is filled in batches of this many.
const FILL_BATCH: u64 = 8_000;
const FILL_IN_FLIGHT: usize = 2;

/// Holds last longer than any run. 20 hours, in milliseconds.
const HOLD_MS: u32 = 20 * 60 * 60 * 1_000;

/// Reservations of one call under load, and how long the short ones live, in milliseconds.
const LOAD_BATCH: u64 = 50;
const SHORT_HOLD_MS: u32 = 1_000;

/// Arguments of `doorbuster bench holds`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Live holds of the shard
    #[arg(long, default_value_t = 10_000_000, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=16_000_000))]
    holds: u64,
    /// Reservations per second while a snapshot is made; each of them ends by itself a second later
    #[arg(long, default_value_t = 50_000, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<u64>::new().range(50..=10_000_000))]
    rate: u64,
    /// Seconds of that load
    #[arg(long, default_value_t = 15, value_name = "SECONDS",
          value_parser = RangedU64ValueParser::<u64>::new().range(3..=3_600))]
    seconds: u64,
    #[command(flatten)]
    place: Place,
}

/// One run.
#[derive(Debug)]
struct Run {
    fill_per_second: f64,
    written_bytes_per_reservation: f64,
    load: Load,
    snapshot_bytes: u64,
    from_snapshot: Started,
    from_zero: Started,
}

/// What the steady load came to.
#[derive(Debug)]
struct Load {
    /// Calls without and with a snapshot on its way, from the intended start to the durable answer.
    alone: Percentiles,
    beside_snapshot: Percentiles,
    snapshot_seconds: f64,
    /// From a hold's end to the log's time of its expiry, in milliseconds.
    lag_ms: [u64; 3],
}

/// The result of `doorbuster bench holds`; every figure is the median of the runs with its spread.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    runs: usize,
    holds: u64,
    rate: u64,
    /// Reservations per second while the shard was filled.
    fill_per_second: Samples,
    /// Bytes that this process made the kernel write for each of them, the journal and the segments.
    written_bytes_per_reservation: Samples,
    /// Memory of a process with the shard open beyond that with only the log open, for each live hold.
    memory_bytes_per_hold: Samples,
    snapshot_bytes_per_hold: Samples,
    /// From the call that opens the shard to its return, milliseconds.
    start_ms: Samples,
    /// The same, without a snapshot.
    replay_ms: Samples,
    /// Calls under load, microseconds.
    alone_p50_us: Samples,
    alone_p99_9_us: Samples,
    beside_snapshot_p50_us: Samples,
    beside_snapshot_p99_9_us: Samples,
    snapshot_seconds: Samples,
    /// Expiry behind the end of the hold, milliseconds.
    lag_p50_ms: Samples,
    lag_p99_ms: Samples,
    lag_max_ms: Samples,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.place.runs;
    let mut runs = Vec::new();
    for number in 1..=count {
        output::status(&format!("bench holds: run {number} of {count}"));
        let folder = ScratchFolder::create(&arguments.place.data_dir)?;
        runs.push(measure(folder.path(), arguments)?);
    }
    let report = Report::new(&runs, arguments);
    if arguments.place.json {
        output::json(&report)
    } else {
        output::result(&report)
    }
}

fn measure(folder: &Path, arguments: &Arguments) -> anyhow::Result<Run> {
    let (data, snapshots) = (folder.join("log"), folder.join("snapshots"));
    let log = Log::open(&data, LogOptions::default()).context("opening the log")?;
    let options = InventoryOptions {
        snapshot_dir: Some(snapshots.clone()),
        // A second of load is decided before the snapshot begins.
        snapshot_after_events: arguments.holds + ARTICLES + arguments.rate,
        ..InventoryOptions::default()
    };
    let inventory = Inventory::open(&log, options).context("opening the shard")?;
    let stock = (0..ARTICLES).map(|n| Command::Receive {
        id: Uuid::from_u64_pair(u64::MAX, n),
        sku: sku(n),
        location: String::new(),
        quantity: u32::MAX,
    });
    inventory.submit_batch(stock.collect())?;
    let before = Counters::settled(folder)?;
    let start = Instant::now();
    fill(&inventory, arguments.holds)?;
    let fill_per_second = arguments.holds as f64 / start.elapsed().as_secs_f64();
    let written = Counters::settled(folder)?.since(&before);
    let written_bytes_per_reservation = written.process_written_bytes as f64 / arguments.holds as f64;
    let file = SnapshotFile::new(&snapshots, 0);
    let load = load(&inventory, &log, &file, arguments)?;
    inventory.close();
    log.close().context("closing the log")?;

    let snapshot_bytes = fs::metadata(file.path())
        .context("looking at the snapshot")?
        .len();
    let from_snapshot = holds_child::start(&data, &snapshots)?;
    fs::remove_file(file.path()).context("removing the snapshot")?;
    let from_zero = holds_child::start(&data, &snapshots)?;
    ensure!(
        from_snapshot.hash == from_zero.hash && from_snapshot.live_holds == from_zero.live_holds,
        "a start from the snapshot gives {from_snapshot:?}, one by replay {from_zero:?}"
    );
    Ok(Run {
        fill_per_second,
        written_bytes_per_reservation,
        load,
        snapshot_bytes,
        from_snapshot,
        from_zero,
    })
}

fn fill(inventory: &Inventory, holds: u64) -> anyhow::Result<()> {
    let mut in_flight = VecDeque::with_capacity(FILL_IN_FLIGHT);
    let mut next = 0;
    while next < holds || !in_flight.is_empty() {
        if next < holds && in_flight.len() < FILL_IN_FLIGHT {
            let last = holds.min(next + FILL_BATCH);
            let commands = (next..last).map(|number| reserve(number, HOLD_MS));
            in_flight.push_back(inventory.submit_many(commands.collect()));
            next = last;
        } else if let Some(answer) = in_flight.pop_front() {
            all_reserved(&answer.wait()?)?;
        }
    }
    Ok(())
}

/// Reserves at a steady rate, one call in flight, and counts from the moment at which each call should have begun.
fn load(
    inventory: &Inventory,
    log: &Log,
    file: &SnapshotFile,
    arguments: &Arguments,
) -> anyhow::Result<Load> {
    let topic = log.topic(EVENTS_TOPIC).context("the events topic is gone")?;
    let before = topic.partitions[0].high_watermark();
    let new = file.path().with_extension("snapshot.new");
    let (mut alone, mut beside) = (Latencies::new(), Latencies::new());
    let mut snapshot = Duration::ZERO;
    let calls = arguments.rate * arguments.seconds / LOAD_BATCH;
    let between = Duration::from_secs(arguments.seconds) / u32::try_from(calls).context("counting calls")?;
    let start = Instant::now();
    let mut intended = Duration::ZERO;
    for call in 0..calls {
        if let Some(rest) = intended.checked_sub(start.elapsed()) {
            std::thread::sleep(rest);
        }
        let first = arguments.holds + call * LOAD_BATCH;
        let commands = (first..first + LOAD_BATCH).map(|number| reserve(number, SHORT_HOLD_MS));
        all_reserved(&inventory.submit_batch(commands.collect())?)?;
        let latency = start.elapsed().saturating_sub(intended);
        if new.exists() {
            beside.record(latency);
            snapshot += between;
        } else {
            alone.record(latency);
        }
        intended += between;
    }
    ensure!(
        file.path().exists() || new.exists(),
        "no snapshot was begun; ask for more --seconds"
    );
    let store = LogStore::new(topic.id, topic.partitions[0].clone());
    Ok(Load {
        alone: alone.percentiles(),
        beside_snapshot: beside.percentiles(),
        snapshot_seconds: snapshot.as_secs_f64(),
        lag_ms: expiry_lag(&store, before)?,
    })
}

/// How far the expiries in the log are behind the ends of their holds: median, 99th percentile and maximum.
fn expiry_lag(store: &LogStore, from: Offset) -> anyhow::Result<[u64; 3]> {
    let mut ends = HashMap::new();
    let mut lags = Vec::new();
    for_each_event(store, from, |_, event| {
        match event.outcome {
            Outcome::Reserved { expires_at_ms, .. } => {
                ends.insert(event.reservation, expires_at_ms);
            }
            Outcome::ReservationExpired => {
                if let Some(end_ms) = ends.remove(&event.reservation) {
                    lags.push(u64::try_from(event.at_ms - end_ms).unwrap_or(0));
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    ensure!(!lags.is_empty(), "no hold ended; ask for more --seconds");
    lags.sort_unstable();
    let last = lags.len() - 1;
    Ok([last / 2, last * 99 / 100, last].map(|at| lags[at]))
}

fn all_reserved(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let refused = outcomes
        .iter()
        .find(|outcome| !matches!(outcome, Outcome::Reserved { .. }));
    ensure!(refused.is_none(), "a reservation came to {refused:?}");
    Ok(())
}

fn reserve(number: u64, ttl_ms: u32) -> Command {
    // The multiplier spreads ids as random ones are spread: 2⁶⁴ divided by the golden ratio.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let reservation = Uuid::from_u64_pair(number, spread);
    Command::Reserve {
        id: reservation,
        reservation,
        customer: format!("customer-{number}"),
        lines: vec![Line {
            sku: sku((spread >> 20) % ARTICLES),
            location: String::new(),
            quantity: 1,
        }],
        // Holds end over hours, as those of a day do.
        ttl_ms: ttl_ms - (spread >> 40) as u32 % (ttl_ms / 4),
        policy: CartPolicy::All,
        split: None,
    }
}

fn sku(number: u64) -> String {
    format!("sku-{number:06}")
}

impl Report {
    fn new(runs: &[Run], arguments: &Arguments) -> Report {
        let of = |figure: &dyn Fn(&Run) -> f64| Samples::of(runs.iter().map(figure));
        let holds = |run: &Run| run.from_snapshot.live_holds.max(1) as f64;
        Report {
            schema: SCHEMA,
            runs: runs.len(),
            holds: arguments.holds,
            rate: arguments.rate,
            fill_per_second: of(&|run| run.fill_per_second),
            written_bytes_per_reservation: of(&|run| run.written_bytes_per_reservation),
            memory_bytes_per_hold: of(&|run| run.from_snapshot.memory_bytes as f64 / holds(run)),
            snapshot_bytes_per_hold: of(&|run| run.snapshot_bytes as f64 / holds(run)),
            start_ms: of(&|run| run.from_snapshot.open_ms),
            replay_ms: of(&|run| run.from_zero.open_ms),
            alone_p50_us: of(&|run| run.load.alone.p50 as f64),
            alone_p99_9_us: of(&|run| run.load.alone.p99_9 as f64),
            beside_snapshot_p50_us: of(&|run| run.load.beside_snapshot.p50 as f64),
            beside_snapshot_p99_9_us: of(&|run| run.load.beside_snapshot.p99_9 as f64),
            snapshot_seconds: of(&|run| run.load.snapshot_seconds),
            lag_p50_ms: of(&|run| run.load.lag_ms[0] as f64),
            lag_p99_ms: of(&|run| run.load.lag_ms[1] as f64),
            lag_max_ms: of(&|run| run.load.lag_ms[2] as f64),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} live holds in one shard; median of {} runs (lowest to highest)",
            self.holds, self.runs
        )?;
        writeln!(f, "  filled, per second      {}", self.fill_per_second)?;
        writeln!(
            f,
            "  bytes per reservation   {}   written",
            self.written_bytes_per_reservation
        )?;
        writeln!(
            f,
            "  bytes per live hold     {}   in memory",
            self.memory_bytes_per_hold
        )?;
        writeln!(
            f,
            "                          {}   in the snapshot",
            self.snapshot_bytes_per_hold
        )?;
        writeln!(f, "  start  ms, snapshot     {}", self.start_ms)?;
        writeln!(f, "         ms, replay       {}", self.replay_ms)?;
        writeln!(
            f,
            "  {} reservations and expiries per second, {LOAD_BATCH} a call",
            self.rate
        )?;
        writeln!(f, "    call     p50 us       {}", self.alone_p50_us)?;
        writeln!(f, "             p99.9 us     {}", self.alone_p99_9_us)?;
        writeln!(f, "    while a snapshot is made")?;
        writeln!(f, "             p50 us       {}", self.beside_snapshot_p50_us)?;
        writeln!(f, "             p99.9 us     {}", self.beside_snapshot_p99_9_us)?;
        writeln!(f, "             seconds      {}", self.snapshot_seconds)?;
        writeln!(f, "    expiry   p50 ms late  {}", self.lag_p50_ms)?;
        writeln!(f, "             p99 ms       {}", self.lag_p99_ms)?;
        write!(f, "             max ms       {}", self.lag_max_ms)
    }
}
