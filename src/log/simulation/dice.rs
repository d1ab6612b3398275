//! The choices of one seed.

use crate::log::io::Random;
use crate::log::io::sim::SimulatedRandom;

/// A sequence of choices that a seed determines.
#[derive(Debug)]
pub(super) struct Dice(SimulatedRandom);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(SimulatedRandom::new(seed))
    }

    /// Any number.
    pub(super) fn number(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..count`; `count` is at least 1.
    pub(super) fn below(&self, count: u64) -> u64 {
        self.number() % count
    }

    /// A number in `0..count`, for an index.
    pub(super) fn index(&self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub(super) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `options`, by their weights.
    pub(super) fn weighted<T: Copy>(&self, options: &[(T, u64)]) -> T {
        let total: u64 = options.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(total.max(1));
        for (option, weight) in options {
            if left < *weight {
                return *option;
            }
            left -= weight;
        }
        options[options.len() - 1].0
    }
}
