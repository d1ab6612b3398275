//! What one flash sale is like: everything that a seed does not decide.

use std::time::Duration;

/// The shard that the sale takes place in.
pub const PARTITION: i32 = 0;

/// A flash sale.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Decides arrivals, habits, carts and think times.
    pub seed: u64,
    /// How many come.
    pub shoppers: u32,
    /// Units of each article at the opening of the doors.
    pub units: u32,
    /// Shoppers per second on average; the first seconds are a rush.
    pub rate_per_second: f64,
    /// How long units are held for a shopper who does not pay.
    pub hold_time: Duration,
    /// Connections that commands are sent over.
    pub connections: usize,
}

impl Scenario {
    /// Time within which everybody is expected to have come.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.shoppers) / self.rate_per_second)
    }
}
