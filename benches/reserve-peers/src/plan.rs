//! What is measured, how long and how often.

use std::time::Duration;

use crate::cell::Cell;
use crate::work::Workload;

/// Calls in flight, of one reservation each.
const IN_FLIGHT: [usize; 4] = [1, 16, 128, 1_024];

/// Reservations of a batch, and batches in flight.
const BATCHES: [usize; 3] = [100, 1_000, 8_000];
const BATCHES_IN_FLIGHT: usize = 4;

/// How long a cell runs before it is measured, as a part of the measured time.
const WARM_UP_PART: f64 = 0.25;

/// The whole program.
#[derive(Debug)]
pub struct Plan {
    /// How often everything is measured.
    pub runs: u32,
    /// How long each cell is measured.
    pub measured: Duration,
    /// What is measured, in this order.
    pub cells: Vec<Cell>,
    /// Commands that `redis-benchmark` sends each time.
    pub redis_benchmark_requests: u64,
    /// Whether the cell at half of the maximum rate is wanted.
    paced: bool,
}

impl Plan {
    /// All cells, or those whose name contains `only`.
    pub fn new(quick: bool, runs: Option<u32>, seconds: Option<f64>, only: Option<&str>) -> Plan {
        let (default_runs, default_seconds) = if quick { (1, 0.2) } else { (3, 1.5) };
        let measured = Duration::from_secs_f64(seconds.unwrap_or(default_seconds));
        let cell = |workload, batch, in_flight| Cell {
            workload,
            batch,
            in_flight,
            per_second: None,
            warm_up: measured.mul_f64(WARM_UP_PART),
            measured,
            reservations_max: None,
        };
        let workloads = [Workload::Hot, Workload::Zipf];
        let singles = |workload| {
            IN_FLIGHT
                .into_iter()
                .map(move |in_flight| (workload, 1, in_flight))
        };
        let batches = |workload| {
            BATCHES
                .into_iter()
                .map(move |batch| (workload, batch, BATCHES_IN_FLIGHT))
        };
        let shapes = workloads
            .into_iter()
            .flat_map(|workload| singles(workload).chain(batches(workload)));
        let mut plan = Plan {
            runs: runs.unwrap_or(default_runs),
            measured,
            cells: shapes
                .map(|(workload, batch, in_flight)| cell(workload, batch, in_flight))
                .collect(),
            redis_benchmark_requests: if quick { 20_000 } else { 200_000 },
            paced: true,
        };
        if let Some(text) = only {
            plan.paced = plan.paced_cell(1.0).to_string().contains(text);
            plan.cells.retain(|cell| cell.to_string().contains(text));
        }
        plan
    }

    /// The cell at half of `maximum` calls a second; none if it is not wanted or the maximum is not known.
    pub fn at_half_of(&self, maximum: f64) -> Option<Cell> {
        (self.paced && maximum > 0.0).then(|| self.paced_cell(maximum / 2.0))
    }

    fn paced_cell(&self, per_second: f64) -> Cell {
        Cell {
            workload: Workload::Hot,
            batch: 1,
            in_flight: IN_FLIGHT[IN_FLIGHT.len() - 1],
            per_second: Some(per_second),
            warm_up: self.measured.mul_f64(WARM_UP_PART),
            measured: self.measured,
            reservations_max: None,
        }
    }
}
