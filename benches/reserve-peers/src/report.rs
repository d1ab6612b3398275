//! What everything came to: medians with their spread, ratios within a run, and the bars.

use serde::Serialize;

use crate::cell::Cell;
use crate::cli_bench::samples::Samples;
use crate::limits::MachineLimits;
use crate::peer::{Outcome, Peer};
use crate::redis_benchmark::Benchmark;
use crate::work::Workload;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.bench-reserve-peers.v1";

/// One cell of one peer in one run.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Number of the run.
    pub run: u32,
    /// Who.
    pub peer: Peer,
    /// What.
    pub cell: Cell,
    /// What came of it.
    pub outcome: Outcome,
}

/// Everything as it came.
#[derive(Debug, Default)]
pub struct Records {
    /// The machine in each run.
    pub limits: Vec<MachineLimits>,
    /// All cells.
    pub records: Vec<Record>,
    /// Memory of live holds.
    pub holds: Vec<Holds>,
    /// `redis-benchmark` at Redis and at doorbuster.
    pub benchmarks: Vec<Benchmark>,
}

/// Memory of live holds, looked at once.
#[derive(Clone, Debug, Serialize)]
pub struct Holds {
    /// Who.
    pub peer: Peer,
    /// How many are live.
    pub holds: u64,
    /// Bytes of memory for each, buffers included.
    pub memory_bytes: f64,
    /// Bytes written to the device for each; none where the folder has no device of its own.
    pub written_bytes: Option<f64>,
}

/// What is printed; in JSON the same.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    /// Versions of the peers.
    pub versions: Vec<String>,
    /// Processors that client and server share.
    pub cores: usize,
    /// How often everything was measured.
    pub runs: usize,
    /// How long each cell was measured, after its warm-up.
    pub seconds: f64,
    /// The machine's own limits.
    pub machine: Machine,
    /// Every peer at every cell.
    pub rows: Vec<Row>,
    /// What is asked of doorbuster.
    pub bars: Vec<Bar>,
    /// Memory of live holds.
    pub holds: Vec<Holds>,
    /// `redis-benchmark`, unmodified.
    pub redis_benchmark: Vec<Benchmark>,
}

/// The machine's own limits; medians of the runs.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub round_trip_p50_us: Samples,
    pub durable_write_p50_us: Samples,
    pub durable_write_p99_us: Samples,
}

/// One peer at one cell; medians of the runs.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Who.
    pub peer: Peer,
    /// Whether an answer means stable storage.
    pub durable: bool,
    /// What is wanted.
    pub workload: Workload,
    /// Reservations of one call.
    pub batch: usize,
    /// Calls on their way.
    pub in_flight: usize,
    /// Calls a second that were begun whatever the answers, if so; latencies are from when a call was due.
    pub at_rate: Option<Samples>,
    /// Reservations a second.
    pub per_second: Samples,
    /// One call, microseconds.
    pub p50_us: Samples,
    /// 99 % of the calls took at most this.
    pub p99_us: Samples,
    /// 99.9 % of the calls took at most this.
    pub p99_9_us: Samples,
    /// 99.99 % of the calls took at most this.
    pub p99_99_us: Samples,
    /// Seconds on processors of the generator for a million reservations.
    pub client_cpu_seconds_per_million: Option<Samples>,
    /// Seconds on processors of the server for a million reservations; embedded, of both.
    pub server_cpu_seconds_per_million: Samples,
    /// Bytes written to the device for each reservation.
    pub written_bytes_per_reservation: Option<Samples>,
    /// The rate as a multiple of that of Redis with `appendfsync always` in the same run.
    pub times_redis_always: Option<Samples>,
}

/// One demand, and whether it is met.
#[derive(Debug, Serialize)]
pub struct Bar {
    /// What is measured.
    pub measure: String,
    /// What is asked.
    pub bar: String,
    /// What was found.
    pub found: Samples,
    /// Whether the median meets it.
    pub met: bool,
}

impl Records {
    /// Sums everything up.
    pub fn report(&self, versions: Vec<String>, runs: u32, seconds: f64) -> Report {
        let machine = |figure: fn(&MachineLimits) -> f64| Samples::of(self.limits.iter().map(figure));
        let mut rows: Vec<Row> = Vec::new();
        let mut seen: Vec<(Peer, Cell)> = Vec::new();
        for record in &self.records {
            let known = seen
                .iter()
                .any(|(peer, cell)| *peer == record.peer && same(cell, &record.cell));
            if !known {
                seen.push((record.peer, record.cell));
                rows.push(self.row(record.peer, &record.cell));
            }
        }
        Report {
            schema: SCHEMA,
            versions,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            runs: runs as usize,
            seconds,
            machine: Machine {
                round_trip_p50_us: machine(|limits| limits.round_trip_p50_us),
                durable_write_p50_us: machine(|limits| limits.durable_write_p50_us),
                durable_write_p99_us: machine(|limits| limits.durable_write_p99_us),
            },
            rows,
            bars: self.bars(),
            holds: self.holds.clone(),
            redis_benchmark: self.benchmarks.clone(),
        }
    }

    fn of(&self, peer: Peer, cell: &Cell) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |record| record.peer == peer && same(&record.cell, cell))
    }

    fn row(&self, peer: Peer, cell: &Cell) -> Row {
        let of = |figure: fn(&Record) -> f64| Samples::of(self.of(peer, cell).map(figure));
        let some = |figure: fn(&Record) -> Option<f64>| samples(self.of(peer, cell).filter_map(figure));
        Row {
            peer,
            durable: peer.is_durable(),
            workload: cell.workload,
            batch: cell.batch,
            in_flight: cell.in_flight,
            at_rate: some(|record| record.cell.per_second),
            per_second: of(rate),
            p50_us: of(|record| record.outcome.measured.latency.p50_us),
            p99_us: of(|record| record.outcome.measured.latency.p99_us),
            p99_9_us: of(|record| record.outcome.measured.latency.p99_9_us),
            p99_99_us: of(|record| record.outcome.measured.latency.p99_99_us),
            client_cpu_seconds_per_million: some(|record| {
                let seconds = record.outcome.measured.client_cpu_seconds?;
                Some(seconds * 1e6 / record.outcome.measured.reservations as f64)
            }),
            server_cpu_seconds_per_million: of(|record| {
                let measured = record.outcome.measured;
                measured.server_cpu_seconds * 1e6 / measured.reservations as f64
            }),
            written_bytes_per_reservation: some(|record| record.outcome.written_bytes),
            times_redis_always: self.ratio((peer, cell), (Peer::RedisAlways, cell)),
        }
    }

    /// The rates of one as multiples of those of the other, run by run.
    fn ratio(&self, one: (Peer, &Cell), other: (Peer, &Cell)) -> Option<Samples> {
        samples(self.of(one.0, one.1).filter_map(|record| {
            let other = self.of(other.0, other.1).find(|other| other.run == record.run)?;
            Some(rate(record) / rate(other))
        }))
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        let mut add = |measure: &str, bar: &str, found: Option<Samples>, met: &dyn Fn(f64) -> bool| {
            // Who took no part has no bar.
            bars.extend(found.map(|found| Bar {
                measure: measure.to_owned(),
                bar: bar.to_owned(),
                met: met(found.median),
                found,
            }));
        };
        let resp = Peer::DoorbusterResp;
        let cell = |workload, batch, in_flight| self.cell(workload, batch, in_flight);
        if let Some(alone) = cell(Workload::Hot, 1, 1) {
            let own = self.of(resp, &alone).filter_map(|record| {
                let limits = self.limits.get(record.run as usize - 1)?;
                let least_us = limits.round_trip_p50_us + limits.durable_write_p50_us;
                Some(record.outcome.measured.latency.p50_us / least_us)
            });
            add(
                "1 in flight, p50 / (round trip + durable 4 KiB write)",
                "<= 1.2",
                samples(own),
                &|found| found <= 1.2,
            );
            let against_redis = self.of(resp, &alone).filter_map(|record| {
                let redis = self
                    .of(Peer::RedisAlways, &alone)
                    .find(|redis| redis.run == record.run)?;
                Some(record.outcome.measured.latency.p50_us / redis.outcome.measured.latency.p50_us)
            });
            add(
                "1 in flight, p50 / that of Redis always",
                "< 1",
                samples(against_redis),
                &|found| found < 1.0,
            );
        }
        for workload in [Workload::Hot, Workload::Zipf] {
            for in_flight in [16, 128, 1_024] {
                if let Some(cell) = cell(workload, 1, in_flight) {
                    let found = self.ratio((resp, &cell), (Peer::RedisAlways, &cell));
                    let measure = format!("{cell}, rate / that of Redis always");
                    add(&measure, ">= 3", found, &|found| found >= 3.0);
                }
            }
        }
        if let Some(cell) = cell(Workload::Hot, 8_000, 4) {
            let found = samples(self.of(Peer::DoorbusterKafka, &cell).map(rate));
            add(
                "batches of 8,000 over the Kafka door, a second",
                ">= 1,500,000",
                found,
                &|found| found >= 1.5e6,
            );
        }
        if let Some(cell) = cell(Workload::Hot, 1_000, 4) {
            let found = samples(self.of(Peer::DoorbusterEmbedded, &cell).map(rate));
            add(
                "embedded, batches of 1,000, a second",
                ">= 2,000,000",
                found,
                &|found| found >= 2e6,
            );
            let written = self
                .of(Peer::DoorbusterEmbedded, &cell)
                .filter_map(|record| record.outcome.written_bytes);
            add(
                "embedded, batches of 1,000, bytes written each",
                "<= 200",
                samples(written),
                &|found| found <= 200.0,
            );
        }
        for in_flight in [16, 128, 1_024] {
            if let (Some(hot), Some(zipf)) = (
                cell(Workload::Hot, 1, in_flight),
                cell(Workload::Zipf, 1, in_flight),
            ) {
                let found = self.ratio((resp, &hot), (resp, &zipf));
                let measure = format!("{in_flight} in flight, hot / zipf");
                add(&measure, "0.9 to 1.11", found, &|found| {
                    (0.9..=1.0 / 0.9).contains(&found)
                });
            }
        }
        let paced = self
            .records
            .iter()
            .filter(|record| record.peer == resp && record.cell.per_second.is_some());
        let found = samples(paced.map(|record| record.outcome.measured.latency.p99_9_us / 1e3));
        add("p99.9 at half of the maximum rate, ms", "<= 5", found, &|found| {
            found <= 5.0
        });
        bars
    }

    fn cell(&self, workload: Workload, batch: usize, in_flight: usize) -> Option<Cell> {
        let cells = self.records.iter().map(|record| record.cell);
        cells.into_iter().find(|cell| {
            let shape = (cell.workload, cell.batch, cell.in_flight);
            shape == (workload, batch, in_flight) && cell.per_second.is_none()
        })
    }
}

/// The same cell in different runs: a rate is set anew in each.
fn same(one: &Cell, other: &Cell) -> bool {
    (one.workload, one.batch, one.in_flight, one.per_second.is_some())
        == (
            other.workload,
            other.batch,
            other.in_flight,
            other.per_second.is_some(),
        )
}

fn rate(record: &Record) -> f64 {
    record.outcome.measured.reservations as f64 / record.outcome.measured.seconds
}

fn samples(figures: impl Iterator<Item = f64>) -> Option<Samples> {
    let figures: Vec<f64> = figures.collect();
    (!figures.is_empty()).then(|| Samples::of(figures))
}
