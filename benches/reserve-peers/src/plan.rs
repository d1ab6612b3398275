//! What is measured, how long and how often.

use std::time::Duration;

use crate::cell::Cell;
use crate::work::Workload;

/// Calls in flight, of one reservation each.
const IN_FLIGHT: [usize; 4] = [1, 16, 128, 1_024];

/// The same for a quick look.
const IN_FLIGHT_QUICK: [usize; 3] = [1, 128, 1_024];

/// Connections that calls in flight are spread over, unless asked otherwise; more only add to what the kernel does.
pub const CONNECTIONS_MAX: usize = 16;

/// Reservations of a batch, and batches in flight.
const BATCHES: [usize; 3] = [100, 1_000, 8_000];
const BATCHES_QUICK: [usize; 2] = [1_000, 8_000];
const BATCHES_IN_FLIGHT: usize = 4;

/// Live holds of which the memory is looked at, in batches of so many.
const HOLDS: u64 = 1_000_000;
const HOLDS_QUICK: u64 = 200_000;
const HOLDS_BATCH: usize = 1_000;

/// Longest time that a cell of a certain number of reservations may take.
const COUNTED_MAX: Duration = Duration::from_mins(5);

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
    /// What fills the memory, if that is wanted.
    pub holds: Option<Cell>,
    /// Whether the cell at half of the maximum rate is wanted.
    paced: bool,
    connections_max: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// One run of short cells.
    pub quick: bool,
    /// How often, if not as often as usual.
    pub runs: Option<u32>,
    /// How long each cell is measured, if not as long as usual.
    pub seconds: Option<f64>,
    /// Most connections that calls are spread over.
    pub connections_max: usize,
}

/// A cell of a certain number of reservations, however long that takes.
pub fn counted(workload: Workload, batch: usize, in_flight: usize, reservations: u64) -> Cell {
    Cell {
        workload,
        batch,
        in_flight,
        connections_max: CONNECTIONS_MAX,
        per_second: None,
        warm_up: Duration::ZERO,
        measured: COUNTED_MAX,
        reservations_max: Some(reservations),
    }
}

impl Plan {
    /// All cells, or those whose name contains `only`.
    pub fn new(wanted: &Wanted, only: Option<&str>) -> Plan {
        let (default_runs, default_seconds) = if wanted.quick { (1, 0.2) } else { (3, 1.5) };
        let measured = Duration::from_secs_f64(wanted.seconds.unwrap_or(default_seconds));
        let in_flight: &[usize] = if wanted.quick {
            &IN_FLIGHT_QUICK
        } else {
            &IN_FLIGHT
        };
        let batches: &[usize] = if wanted.quick { &BATCHES_QUICK } else { &BATCHES };
        let cell = |workload, batch, in_flight| Cell {
            workload,
            batch,
            in_flight,
            connections_max: wanted.connections_max,
            per_second: None,
            warm_up: measured.mul_f64(WARM_UP_PART),
            measured,
            reservations_max: None,
        };
        let workloads = [Workload::Hot, Workload::Zipf];
        let singles = |workload| {
            let in_flight = in_flight.iter();
            in_flight.map(move |in_flight| (workload, 1, *in_flight))
        };
        let batches = |workload| {
            let batches = batches.iter();
            batches.map(move |batch| (workload, *batch, BATCHES_IN_FLIGHT))
        };
        let shapes = workloads
            .into_iter()
            .flat_map(|workload| singles(workload).chain(batches(workload)));
        let mut plan = Plan {
            runs: wanted.runs.unwrap_or(default_runs),
            measured,
            cells: shapes
                .map(|(workload, batch, in_flight)| cell(workload, batch, in_flight))
                .collect(),
            redis_benchmark_requests: if wanted.quick { 20_000 } else { 200_000 },
            holds: None,
            paced: true,
            connections_max: wanted.connections_max,
        };
        let holds = if wanted.quick { HOLDS_QUICK } else { HOLDS };
        plan.holds = Some(counted(Workload::Hot, HOLDS_BATCH, BATCHES_IN_FLIGHT, holds));
        if let Some(text) = only {
            plan.paced = plan.paced_cell(1.0).to_string().contains(text);
            plan.holds = plan.holds.filter(|cell| cell.to_string().contains(text));
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
            connections_max: self.connections_max,
            per_second: Some(per_second),
            warm_up: self.measured.mul_f64(WARM_UP_PART),
            measured: self.measured,
            reservations_max: None,
        }
    }
}
