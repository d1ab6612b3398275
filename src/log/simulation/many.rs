//! Many seeds, on all cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Violation;
use super::report::{Failure, Report};
use super::run::{Outcome, run};

/// Which seeds are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Threads that share them.
    pub threads: usize,
    /// Every so many seeds one is run twice and must give the same bytes; 0 for none.
    pub repeat_every: u64,
}

/// Seeds that a thread takes at a time.
const SHARE: u64 = 64;

/// Runs seeds until all are done or one fails; of several failures the one with the smallest seed is told.
pub fn simulate(settings: Settings) -> Report {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let mut report = Report::default();
    let worker = || quietly(|| work(settings, &next, &failed));
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..settings.threads.max(1))
            .map(|_| scope.spawn(worker))
            .collect();
        report.merge(worker());
        for other in others {
            // A panic inside a run is caught there; one of the simulator's own must not be hidden.
            match other.join() {
                Ok(found) => report.merge(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    report.elapsed = start.elapsed();
    report
}

fn work(settings: Settings, next: &AtomicU64, failed: &AtomicU64) -> Report {
    let mut report = Report::default();
    loop {
        let share = next.fetch_add(SHARE, Ordering::Relaxed);
        if share >= settings.seeds {
            return report;
        }
        for index in share..settings.seeds.min(share + SHARE) {
            // Seeds before a failure are still run, so that the smallest one is found whatever the threads do.
            if index >= failed.load(Ordering::Relaxed) {
                return report;
            }
            let seed = settings.from.wrapping_add(index);
            let is_repeated = settings.repeat_every > 0 && index.is_multiple_of(settings.repeat_every);
            if let Err(violation) = run_one(seed, is_repeated, &mut report) {
                failed.fetch_min(index, Ordering::Relaxed);
                let steps = guarded(seed, true).trace;
                report.failure = Some(Failure {
                    seed,
                    violation,
                    steps,
                });
                return report;
            }
        }
    }
}

fn run_one(seed: u64, is_repeated: bool, report: &mut Report) -> Result<(), Violation> {
    let outcome = guarded(seed, false);
    report.take(&outcome.tally, &outcome.result);
    outcome.result?;
    if is_repeated {
        let again = guarded(seed, false);
        if again.fingerprint != outcome.fingerprint {
            return Err(Violation::new("the same seed gave other bytes".to_owned()));
        }
        report.repeated += 1;
    }
    Ok(())
}

/// Runs a seed; a panic is a violation.
pub(super) fn guarded(seed: u64, is_traced: bool) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, is_traced)));
    outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Outcome {
            result: Err(Violation::new(format!(
                "panic: {}",
                text.unwrap_or("without a message")
            ))),
            tally: super::report::Tally::default(),
            fingerprint: 0,
            trace: Vec::new(),
        }
    })
}

/// Runs `work` without the log's own messages: it tells of every fault, as it should.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), work)
}
