//! One cell of the table: which work, in which shape, for how long.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::work::Workload;

/// How the generator sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// What is wanted.
    pub workload: Workload,
    /// Reservations of one call.
    pub batch: usize,
    /// Calls on their way; with a rate, there is no bound but the generator's own.
    pub in_flight: usize,
    /// Most connections that calls are spread over.
    pub connections_max: usize,
    /// Calls per second that are begun whatever the answers; none for as many as `in_flight` allows.
    pub per_second: Option<f64>,
    /// How long calls are begun before anything is counted.
    pub warm_up: Duration,
    /// How long is measured.
    pub measured: Duration,
    /// Most reservations, if not as many as the time allows.
    pub reservations_max: Option<u64>,
}

impl Cell {
    /// Connections to use: batches share one, so that a peer that commits a whole batch at once cannot lock itself
    /// up with another.
    pub fn connections(&self) -> usize {
        if self.batch > 1 {
            1
        } else {
            self.in_flight.clamp(1, self.connections_max)
        }
    }

    /// Calls on their way on each connection.
    pub fn window(&self) -> usize {
        self.in_flight.div_ceil(self.connections())
    }

    /// What the cell is called in the table.
    pub fn name(&self) -> String {
        if let Some(reservations) = self.reservations_max {
            return format!("{reservations} live holds");
        }
        match (self.per_second, self.batch) {
            (Some(_), _) => "half of the maximum rate".to_owned(),
            (None, 1) => format!("{} in flight", self.in_flight),
            (None, batch) => format!("batches of {batch}, {} in flight", self.in_flight),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.workload, self.name())
    }
}
