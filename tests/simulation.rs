//! Lives of a log on a disk that fails, from seeds; `doorbuster simulate` runs more of them.

use doorbuster::log::simulation::{Settings, simulate};

#[test]
fn no_seed_loses_or_lies() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let report = simulate(Settings {
        from: 0,
        seeds: 3_000,
        threads,
        repeat_every: 10,
    });
    assert_eq!(report.failure, None);
    assert_eq!((report.seeds, report.repeated), (3_000, 300));
    for (name, count) in report.faults().iter() {
        assert!(count > 0, "{name} never happened");
    }
}
