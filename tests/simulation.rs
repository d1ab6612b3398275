//! Lives of a log on a disk that fails, from seeds; `doorbuster simulate` runs more of them.

use doorbuster::log::simulation::{Settings, exhaust, replay, simulate};

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[test]
fn no_seed_loses_or_lies() {
    let report = simulate(Settings {
        from: 0,
        seeds: 3_000,
        threads: threads(),
        repeat_every: 10,
    });
    assert_eq!(report.failure, None);
    assert_eq!((report.seeds, report.repeated), (3_000, 300));
    for (name, count) in report.faults().iter() {
        assert!(count > 0, "{name} never happened");
    }
}

#[test]
fn every_crash_of_every_workload_of_two_operations_is_recovered() {
    let report = exhaust(2, threads());
    assert_eq!(report.failure, None);
    assert_eq!(report.workloads, 6 + 36);
    assert!(report.images > 2_000, "{} images", report.images);
}

#[test]
fn a_seed_tells_its_steps_and_tells_them_again() {
    let (steps, violation) = replay(7);
    assert_eq!(violation, None);
    assert!(steps.len() > 5, "{steps:?}");
    assert_eq!(replay(7), (steps, None));
}
