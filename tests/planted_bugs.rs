//! Every bug that is planted into the log is found by the simulator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod other_history;

use doorbuster::log::planted::{self, Bug};
use doorbuster::log::simulation::{Hunt, hunt_all};

/// Seeds in which a bug must show itself.
const SEEDS_MAX: u64 = 60_000;

/// Needs a journal of a copy that went its own way with the very same groups: seldom enough that no number of seeds
/// is sure to meet it. It is shown directly below.
const SELDOM: Bug = Bug::IgnoreChecksumChain;

#[test]
fn every_planted_bug_is_found() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let hunts = hunt_all(0, SEEDS_MAX, threads);
    for Hunt {
        bug,
        seeds,
        violation,
    } in &hunts
    {
        match violation {
            Some(violation) => println!("{bug:?} found in seed {seeds}: {violation}"),
            None => println!("{bug:?} NOT FOUND in {seeds} seeds"),
        }
    }
    let missed: Vec<_> = hunts
        .iter()
        .filter(|hunt| hunt.violation.is_none() && hunt.bug != SELDOM)
        .map(|hunt| hunt.bug)
        .collect();
    assert_eq!(missed, []);
}

#[test]
fn frames_that_need_not_follow_one_another_serve_another_history() {
    let last = other_history::VALUES.len() - 1;
    let right = &other_history::VALUES[..last];
    assert_eq!(other_history::served_with_foreign_group(last).unwrap(), right);
    let served = planted::with(SELDOM, || other_history::served_with_foreign_group(last));
    assert_ne!(served.unwrap(), right, "the test of damage would not notice");
}
