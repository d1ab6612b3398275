//! What many runs came to.

use std::fmt;
use std::time::Duration;

use super::Violation;
use super::run::Ended;
use crate::log::io::sim::FaultCounts;

/// What is counted during runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) operations: u64,
    pub(super) crashes: u64,
    pub(super) recoveries: u64,
    pub(super) halts: u64,
    pub(super) refusals: u64,
    pub(super) known_losses: u64,
    pub(super) known_strangers: u64,
    pub(super) faults: FaultCounts,
}

impl Tally {
    pub(super) fn merge(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.recoveries += other.recoveries;
        self.halts += other.halts;
        self.refusals += other.refusals;
        self.known_losses += other.known_losses;
        self.known_strangers += other.known_strangers;
        self.faults.merge(&other.faults);
    }
}

/// A seed in which the log did what it must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What happened.
    pub violation: Violation,
    /// The steps that led to it.
    pub steps: Vec<String>,
}

/// The result of a simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Seeds that were run to their end.
    pub seeds: u64,
    /// Seeds that were run twice, with the same bytes each time.
    pub repeated: u64,
    /// Wall-clock time.
    pub elapsed: Duration,
    pub(super) tally: Tally,
    /// The seed with the smallest number in which something was wrong.
    pub failure: Option<Failure>,
}

impl Report {
    /// Steps that were taken.
    pub fn steps(&self) -> u64 {
        self.tally.steps
    }

    /// Operations of the simulated disks that could change them.
    pub fn operations(&self) -> u64 {
        self.tally.operations
    }

    /// Kills and power cuts.
    pub fn crashes(&self) -> u64 {
        self.tally.crashes
    }

    /// Times that a log was opened and compared with the model.
    pub fn recoveries(&self) -> u64 {
        self.tally.recoveries
    }

    /// Runs that ended with a log that refused to open, after damage.
    pub fn halts(&self) -> u64 {
        self.tally.halts
    }

    /// Reads that were refused because of damage.
    pub fn refusals(&self) -> u64 {
        self.tally.refusals
    }

    /// Partitions and topics that silently ended earlier where nothing on the disk could tell.
    pub fn known_losses(&self) -> u64 {
        self.tally.known_losses
    }

    /// Batches of another partition that were served where nothing on the disk could tell.
    pub fn known_strangers(&self) -> u64 {
        self.tally.known_strangers
    }

    /// The faults that happened.
    pub fn faults(&self) -> &FaultCounts {
        &self.tally.faults
    }

    pub(super) fn take(&mut self, tally: &Tally, result: &Result<Ended, Violation>) {
        self.seeds += 1;
        self.tally.merge(tally);
        self.tally.halts += u64::from(matches!(result, Ok(Ended::Halted)));
    }

    /// Takes in what another thread found.
    pub(super) fn merge(&mut self, other: Report) {
        self.seeds += other.seeds;
        self.repeated += other.repeated;
        self.tally.merge(&other.tally);
        let failures = [self.failure.take(), other.failure];
        self.failure = failures.into_iter().flatten().min_by_key(|failure| failure.seed);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.seeds as f64 / seconds.max(1e-9);
        writeln!(
            f,
            "seeds        {} in {seconds:.1} s ({rate:.0}/s), {} of them twice",
            self.seeds, self.repeated
        )?;
        writeln!(
            f,
            "steps        {}, disk operations {}",
            self.steps(),
            self.operations()
        )?;
        writeln!(
            f,
            "crashes      {}, recoveries {}",
            self.crashes(),
            self.recoveries()
        )?;
        writeln!(
            f,
            "after damage {} halts, {} refused reads, {} known losses, {} known strangers",
            self.halts(),
            self.refusals(),
            self.known_losses(),
            self.known_strangers()
        )?;
        writeln!(f, "faults")?;
        for (name, count) in self.faults().iter() {
            writeln!(f, "  {name:<20} {count}")?;
        }
        match &self.failure {
            None => write!(f, "violations   0"),
            Some(failure) => write!(f, "violations   seed {}: {}", failure.seed, failure.violation),
        }
    }
}
