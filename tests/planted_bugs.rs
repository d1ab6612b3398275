//! Every bug that is planted into the log is found by the simulator.

use doorbuster::log::simulation::{Hunt, hunt_all};

/// Seeds in which a bug must show itself.
const SEEDS_MAX: u64 = 6_000;

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
        .filter(|hunt| hunt.violation.is_none())
        .map(|hunt| hunt.bug)
        .collect();
    assert_eq!(missed, []);
}
