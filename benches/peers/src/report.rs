//! The table: medians with their spread, and doorbuster's rate as a multiple of each peer's.

use std::fmt;

use serde::Serialize;

use crate::peer::PeerName;
use crate::run::Outcome;
use crate::workload::Workload;

/// Outcomes as they come.
#[derive(Debug)]
pub struct Report {
    runs: u32,
    seconds: f64,
    outcomes: Vec<(Workload, PeerName, Outcome)>,
}

/// What is printed; in JSON the same.
#[derive(Debug, Serialize)]
pub struct Summary {
    schema: &'static str,
    runs: u32,
    /// How long each peer did each workload in each run.
    seconds: f64,
    rows: Vec<Row>,
}

/// One peer at one workload; medians of the runs.
#[derive(Debug, Serialize)]
struct Row {
    workload: String,
    peer: String,
    threads: usize,
    records_per_commit: usize,
    record_size_bytes: usize,
    /// Until the log was closed.
    records_per_second: Samples,
    /// One commit, microseconds.
    p50_us: Samples,
    p99_us: Samples,
    p99_9_us: Samples,
    /// doorbuster's records per second as a multiple of this peer's, by medians; none where doorbuster took no part.
    doorbuster_ratio: Option<f64>,
}

/// Figures of several runs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Samples {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Samples {
    /// Sums up `figures`, of which there is at least one.
    fn of(figures: impl Iterator<Item = f64>) -> Samples {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        Samples {
            median: f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]),
            lowest: sorted[0],
            highest: sorted[count - 1],
        }
    }
}

impl Report {
    /// Nothing measured.
    pub fn new(runs: u32, seconds: f64) -> Report {
        Report {
            runs,
            seconds,
            outcomes: Vec::new(),
        }
    }

    /// Adds what one run came to.
    pub fn add(&mut self, workload: Workload, peer: PeerName, outcome: Outcome) {
        self.outcomes.push((workload, peer, outcome));
    }

    /// Sums everything up, in the order in which it came.
    pub fn summary(&self) -> Summary {
        let mut rows: Vec<Row> = Vec::new();
        let mut seen: Vec<(Workload, PeerName)> = Vec::new();
        for (workload, peer, _) in &self.outcomes {
            if !seen.contains(&(*workload, *peer)) {
                seen.push((*workload, *peer));
                rows.push(self.row(*workload, *peer));
            }
        }
        Summary {
            schema: "doorbuster.bench-log-peers.v1",
            runs: self.runs,
            seconds: self.seconds,
            rows,
        }
    }

    fn row(&self, workload: Workload, peer: PeerName) -> Row {
        let records_per_second = self.rate(workload, peer);
        let of = |figure: fn(&Outcome) -> f64| Samples::of(self.of(workload, peer).map(figure));
        let ours = self.of(workload, PeerName::Doorbuster).next().is_some();
        let ours = ours.then(|| self.rate(workload, PeerName::Doorbuster).median);
        Row {
            workload: workload.to_string(),
            peer: peer.to_string(),
            threads: workload.threads,
            records_per_commit: workload.records_per_commit,
            record_size_bytes: workload.record_size_bytes,
            records_per_second,
            p50_us: of(|outcome| outcome.p50_us),
            p99_us: of(|outcome| outcome.p99_us),
            p99_9_us: of(|outcome| outcome.p99_9_us),
            doorbuster_ratio: ours.map(|ours| ours / records_per_second.median),
        }
    }

    fn of(&self, workload: Workload, peer: PeerName) -> impl Iterator<Item = &Outcome> {
        let wanted = (workload, peer);
        let outcomes = self.outcomes.iter();
        outcomes
            .filter_map(move |(workload, peer, outcome)| ((*workload, *peer) == wanted).then_some(outcome))
    }

    fn rate(&self, workload: Workload, peer: PeerName) -> Samples {
        let outcomes = self.of(workload, peer);
        Samples::of(outcomes.map(|outcome| outcome.records as f64 / outcome.seconds))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "each commit synced before it returns, {} s each; median of {} runs (lowest to highest)",
            self.seconds, self.runs
        )?;
        let mut workload = "";
        for row in &self.rows {
            if row.workload != workload {
                workload = &row.workload;
                writeln!(f, "{workload}")?;
                writeln!(
                    f,
                    "  {:<16}{:>12}  {:<22}{:>10}{:>10}{:>10}{:>12}",
                    "", "records/s", "", "p50 us", "p99 us", "p99.9 us", "doorbuster"
                )?;
            }
            let rate = row.records_per_second;
            let spread = format!("({:.0} to {:.0})", rate.lowest, rate.highest);
            let (p50, p99, p99_9) = (row.p50_us.median, row.p99_us.median, row.p99_9_us.median);
            let ratio = row
                .doorbuster_ratio
                .map(|ratio| format!("{ratio:.2} x"))
                .unwrap_or_default();
            writeln!(
                f,
                "  {:<16}{:>12.0}  {spread:<22}{p50:>10.0}{p99:>10.0}{p99_9:>10.0}{ratio:>12}",
                row.peer, rate.median
            )?;
        }
        Ok(())
    }
}
