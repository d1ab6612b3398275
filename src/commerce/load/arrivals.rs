//! When shoppers come: an open-loop schedule of intended start times, the same for the same seed.
//!
//! A late answer never delays an arrival (no coordinated omission). The arrivals are a Poisson process
//! whose intensity starts with a rush when the doors open and decays to a steady rate:
//!
//! ```text
//! intensity(t)  = base * (1 + RUSH * e^(-t / RUSH_DECAY))
//! cumulated(t)  = base * (t + RUSH * RUSH_DECAY * (1 - e^(-t / RUSH_DECAY)))
//! ```
//!
//! `base` is chosen so that all shoppers are expected within `count / rate` seconds. Times are drawn by
//! inverting the cumulated intensity at the points of a unit Poisson process.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How many times the steady rate comes on top of it in the moment the doors open (an invented number).
const RUSH_FACTOR: f64 = 3.0;

/// Time in which the rush falls to 1/e, in seconds (an invented number).
const RUSH_DECAY_SECONDS: f64 = 2.0;

/// Newton steps per arrival; the function is smooth and close to linear, 8 reach the float's precision.
const INVERSION_STEPS_MAX: usize = 8;

/// The intended start times of a number of shoppers, measured from the opening of the doors.
#[derive(Debug)]
pub struct Arrivals {
    random: StdRng,
    base_per_second: f64,
    /// Point reached in the unit Poisson process.
    cumulated: f64,
    /// The last time drawn; the next inversion starts there.
    seconds: f64,
    remaining: u32,
}

impl Arrivals {
    /// A schedule of `count` arrivals at `rate_per_second` on average.
    ///
    /// # Panics
    /// When the rate is not a positive number.
    pub fn new(seed: u64, count: u32, rate_per_second: f64) -> Arrivals {
        assert!(
            rate_per_second.is_finite() && rate_per_second > 0.0,
            "arrival rate must be positive"
        );
        let seconds = f64::from(count) / rate_per_second;
        let base_per_second = if count == 0 {
            rate_per_second
        } else {
            f64::from(count) / weighted_seconds(seconds)
        };
        Arrivals {
            random: StdRng::seed_from_u64(seed),
            base_per_second,
            cumulated: 0.0,
            seconds: 0.0,
            remaining: count,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.remaining = self.remaining.checked_sub(1)?;
        let uniform: f64 = self.random.random();
        // 1 - uniform is in (0, 1], so that the logarithm is finite.
        self.cumulated -= (1.0 - uniform).ln();
        let target = self.cumulated / self.base_per_second;
        let mut seconds = self.seconds;
        for _ in 0..INVERSION_STEPS_MAX {
            let step = (weighted_seconds(seconds) - target)
                / RUSH_FACTOR.mul_add((-seconds / RUSH_DECAY_SECONDS).exp(), 1.0);
            seconds -= step;
            if step.abs() < 1e-9 {
                break;
            }
        }
        self.seconds = seconds.max(self.seconds);
        Some(Duration::from_secs_f64(self.seconds))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
    }
}

/// The cumulated intensity at `seconds` for a base of one per second.
fn weighted_seconds(seconds: f64) -> f64 {
    let decayed = -(-seconds / RUSH_DECAY_SECONDS).exp_m1();
    (RUSH_FACTOR * RUSH_DECAY_SECONDS).mul_add(decayed, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let first: Vec<Duration> = Arrivals::new(7, 1_000, 500.0).collect();
        let second: Vec<Duration> = Arrivals::new(7, 1_000, 500.0).collect();
        assert_eq!(first, second);
        let other: Vec<Duration> = Arrivals::new(8, 1_000, 500.0).collect();
        assert_ne!(first, other);
    }

    #[test]
    fn times_never_go_back_and_count_is_exact() {
        let times: Vec<Duration> = Arrivals::new(1, 20_000, 5_000.0).collect();
        assert_eq!(times.len(), 20_000);
        assert!(times.is_sorted());
    }

    #[test]
    fn the_mean_rate_is_the_rate_asked_for() {
        let last = Arrivals::new(3, 50_000, 5_000.0).last().unwrap().as_secs_f64();
        assert!((9.5..10.5).contains(&last), "50,000 at 5,000/s took {last} s");
    }

    #[test]
    fn doors_open_with_a_rush() {
        let times: Vec<Duration> = Arrivals::new(3, 100_000, 5_000.0).collect();
        let within = |from: u64, to: u64| {
            times
                .iter()
                .filter(|t| (from..to).contains(&(t.as_millis() as u64)))
                .count()
        };
        let first = within(0, 500);
        let late = within(15_000, 15_500);
        assert!(first > 3 * late, "first half second {first}, a late one {late}");
    }

    #[test]
    fn no_shoppers_no_arrivals() {
        assert_eq!(Arrivals::new(1, 0, 100.0).next(), None);
        assert_eq!(Arrivals::new(1, 1, 100.0).count(), 1);
    }
}
