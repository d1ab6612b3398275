//! Seeded random numbers (`SplitMix64`: Steele, Lea, Flood, OOPSLA 2014).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::io::Random;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of randomness that a seed determines.
#[derive(Debug)]
pub struct SimulatedRandom {
    state: AtomicU64,
}

impl SimulatedRandom {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> SimulatedRandom {
        SimulatedRandom {
            state: AtomicU64::new(seed),
        }
    }
}

impl Random for SimulatedRandom {
    fn next_u64(&self) -> u64 {
        mix(self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA))
    }
}

/// The choices of one simulated disk, or of one crash.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    state: u64,
}

impl Choices {
    pub(super) fn new(seed: u64) -> Choices {
        Choices { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number in `0..count`; `count` is at least 1.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
