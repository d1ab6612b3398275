//! How far a run is: what the live view shows.

use std::time::Duration;

use super::latency::Percentiles;

/// What a run is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The shelves are filled.
    Stocking,
    /// Shoppers come.
    Open,
    /// Everybody has come; answers are outstanding.
    Draining,
    /// Everything is answered; holds that nobody paid for run out.
    Expiring,
    /// The log is read again and recounted.
    Auditing,
}

impl Phase {
    /// A word for the live view.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Stocking => "stocking",
            Phase::Open => "open",
            Phase::Draining => "draining",
            Phase::Expiring => "expiring",
            Phase::Auditing => "auditing",
        }
    }
}

/// A moment of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What the run is busy with.
    pub phase: Phase,
    /// Time since the doors opened.
    pub elapsed: Duration,
    /// Reserve attempts sent so far.
    pub attempted: u64,
    /// Reserve attempts answered so far.
    pub answered: u64,
    /// Reserve attempts answered per second since the last report.
    pub answers_per_second: f64,
    /// Latencies of reserve attempts since the last report, from the intended start.
    pub latency_us: Percentiles,
    /// Units of the doorbuster that nobody holds or has paid for.
    pub doorbuster_left: i64,
    /// Holds that are live.
    pub live_holds: usize,
}
