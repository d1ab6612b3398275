//! Latencies of a run in microseconds, and the five numbers that reports give of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart. 10 minutes, in microseconds; longer ones count as this.
const LATENCY_MAX_MICROSECONDS: u64 = 10 * 60 * 1_000_000;

/// Significant digits that the histogram keeps: an error below 0.1 %.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Recorded latencies.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: u64,
    /// 90 % are at most this.
    pub p90: u64,
    /// 99 % are at most this.
    pub p99: u64,
    /// 99.9 % are at most this.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

impl Latencies {
    /// Nothing recorded.
    ///
    /// # Panics
    /// Never: the constants of this module are valid bounds.
    pub fn new() -> Latencies {
        #[expect(
            clippy::unwrap_used,
            reason = "constant bounds, created by every test of this module"
        )]
        Latencies(Histogram::new_with_bounds(1, LATENCY_MAX_MICROSECONDS, SIGNIFICANT_DIGITS).unwrap())
    }

    /// Records one latency.
    pub fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Number of latencies recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The mean in microseconds; zero when nothing was recorded.
    pub fn mean_us(&self) -> f64 {
        self.0.mean()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The numbers for the report; all zero when nothing was recorded.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.0.value_at_quantile(0.5),
            p90: self.0.value_at_quantile(0.9),
            p99: self.0.value_at_quantile(0.99),
            p99_9: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latencies = Latencies::new();
        for microseconds in 1..=1_000 {
            latencies.record(Duration::from_micros(microseconds));
        }
        let expected = Percentiles {
            p50: 500,
            p90: 900,
            p99: 990,
            p99_9: 999,
            max: 1_000,
        };
        assert_eq!(latencies.percentiles(), expected);
        assert_eq!(latencies.count(), 1_000);
    }

    #[test]
    fn nothing_recorded_is_zero_and_too_long_is_the_longest() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.percentiles(), Percentiles::default());
        latencies.record(Duration::from_secs(100_000));
        assert!(latencies.percentiles().max >= LATENCY_MAX_MICROSECONDS);
        latencies.clear();
        assert_eq!(latencies.percentiles(), Percentiles::default());
    }
}
