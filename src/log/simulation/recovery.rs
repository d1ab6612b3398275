//! Crashes and what comes after them: images, recoveries that fail, and the judgement of what was found.

use super::Violation;
use super::check::{Chain, Found, Terms, verify};
use super::model::{Existence, Trust};
use super::run::{Ended, Run};
use super::shape::Weather;
use crate::log::io::sim::{Fault, FaultKind, ReadFault, SimulatedDisk};
use crate::log::{Log, OpenError};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `kill -9`: the machine goes on.
    Kill,
    /// The power fails, and nothing unsynced survives.
    LoseAll,
    /// The power fails, and chance decides.
    LoseSome,
}

/// Most crashes in recoveries that follow one another.
const NESTED_MAX: u32 = 3;

/// Operations of a recovery among which a fault is armed.
const RECOVERY_REACH: u64 = 40;

impl Run {
    /// Ends the process, as `end` says or the seed, and recovers.
    pub(super) fn crash(&mut self, end: Option<End>) -> Result<Option<Ended>, Violation> {
        self.end_process(end);
        if self.shape.weather == Weather::Damage {
            self.damage_at_rest();
        }
        self.recover()
    }

    fn end_process(&mut self, end: Option<End>) {
        self.look_for_silent_faults();
        let end = end.unwrap_or_else(|| {
            self.dice
                .weighted(&[(End::Kill, 3), (End::LoseAll, 2), (End::LoseSome, 4)])
        });
        self.tally.crashes += 1;
        self.note(|| format!("crash: {end:?}"));
        let image = match end {
            End::Kill => self.disk.crash_keeping_all(),
            End::LoseAll => self.disk.crash_keeping_none(),
            End::LoseSome => self.disk.crash_image(self.dice.number()),
        };
        if end != End::Kill {
            self.model.lose_power();
        }
        // The image comes first: a process that ends lets its writes in flight arrive.
        self.drop_process();
        self.move_to(image);
    }

    /// Opens the log, through crashes in between, and compares it with the model.
    pub(super) fn recover(&mut self) -> Result<Option<Ended>, Violation> {
        for depth in 0.. {
            if depth < NESTED_MAX {
                self.arm_recovery();
            }
            let errors = self.disk.errors_returned();
            let before = (self.shape.weather == Weather::Damage)
                .then(|| (self.disk.fingerprint(), self.disk.visible_fingerprint()));
            self.errors_at_open = errors;
            let opened = self.open_on(&self.disk);
            self.look_for_silent_faults();
            match opened {
                // What is left over may stay, so a log can open although the power fails meanwhile.
                opened if !self.disk.is_powered() => {
                    drop(opened);
                    self.tally.faults.add(if depth == 0 {
                        FaultKind::CrashInRecovery
                    } else {
                        FaultKind::NestedCrash
                    });
                    self.end_process(None);
                }
                Ok(log) => {
                    self.disk.clear_faults();
                    self.tally.recoveries += 1;
                    self.log = Some(log);
                    break;
                }
                Err(error) => {
                    self.note(|| format!("not opened: {}", Chain(&error)));
                    if self.disk.errors_returned() > errors {
                        // An error that comes once: the next attempt finds everything.
                        self.disk.clear_faults();
                        self.disk.set_capacity(u64::MAX);
                        if depth < 2 * NESTED_MAX {
                            continue;
                        }
                    }
                    return self.halted(&error, before);
                }
            }
        }
        self.judge()
    }

    /// Faults during recovery, in some of all cases.
    fn arm_recovery(&mut self) {
        if self.shape.weather == Weather::Calm || !self.dice.chance(30) {
            return;
        }
        let at = self.disk.operations() + self.dice.below(RECOVERY_REACH);
        let fault = match self.shape.weather {
            Weather::Errors => self.dice.weighted(&[
                (Some(Fault::WriteError), 3),
                (Some(Fault::Enospc), 2),
                (Some(Fault::PowerCut), 1),
                (None, 3),
            ]),
            Weather::Damage => {
                self.dice
                    .weighted(&[(Some(Fault::LostFlush), 1), (None, 2), (Some(Fault::PowerCut), 1)])
            }
            _ => Some(self.dice.weighted(&[(Fault::PowerCut, 3), (Fault::TornWrite, 1)])),
        };
        let Some(fault) = fault else {
            let read = self.disk.reads() + self.dice.below(12);
            let read_fault = if self.shape.weather == Weather::Damage && self.dice.chance(50) {
                ReadFault::BitFlip
            } else {
                ReadFault::Error
            };
            self.note(|| format!("  {read_fault:?} at read {read} of the recovery"));
            self.disk.fail_read_at(read, read_fault);
            return;
        };
        self.note(|| format!("  {fault:?} at operation {at} of the recovery"));
        self.disk.fail_at(at, fault);
    }

    /// The log refused to open: only damage is a reason, and nothing may have been written.
    fn halted(&mut self, error: &OpenError, before: Option<(u64, u64)>) -> Result<Option<Ended>, Violation> {
        let Some(before) = before.filter(|_| self.trust > Trust::Everything) else {
            let cause = Chain(error);
            return Err(Violation::new(format!(
                "the log does not open, and nothing is damaged: {cause}"
            )));
        };
        let after = (self.disk.fingerprint(), self.disk.visible_fingerprint());
        if before != after {
            let cause = Chain(error);
            return Err(Violation::new(format!(
                "a log that refused to open has written: {cause}"
            )));
        }
        self.disk.clear_faults();
        match self.open_on(&self.disk) {
            // A read that went wrong on its way may be right the next time.
            Ok(log) => {
                self.tally.recoveries += 1;
                self.log = Some(log);
                self.judge()
            }
            Err(_) => Ok(Some(Ended::Halted)),
        }
    }

    /// Compares what was recovered with the model, which then goes on from there.
    fn judge(&mut self) -> Result<Option<Ended>, Violation> {
        let Some(log) = self.log.clone() else {
            return Ok(None);
        };
        let found = verify(&log, &self.model, self.terms())?;
        self.tally.refusals += found.refusals;
        self.tally.known_losses += found.known_losses;
        self.tally.known_strangers += found.known_strangers;
        self.note(|| format!("recovered {:?}", found.ends));
        if found.known_losses > 0 {
            // What was lost may come back, where a read and not the disk was wrong: nothing more can be asked.
            return Ok(Some(Ended::KnownLoss));
        }
        self.settle(&found);
        if self.dice.chance(25) {
            self.recover_twice(&found)?;
        }
        if self.shape.weather == Weather::Damage {
            self.keep_copies();
        }
        Ok(None)
    }

    fn terms(&self) -> Terms {
        Terms {
            trust: self.trust,
            may_refuse: self.may_refuse,
            step_bytes: [1, 3_000, 1 << 20][(self.seed % 3) as usize],
        }
    }

    /// Takes over what a recovery found.
    fn settle(&mut self, found: &Found) {
        for (index, is_there) in found.topics.iter().enumerate() {
            let existence = self.model.topics[index].existence;
            let now = self.model.tick();
            self.model.topics[index].existence = match (existence, is_there) {
                (Existence::Creating | Existence::Deleting, true) => Existence::Present(now),
                (Existence::Creating | Existence::Present(_), false) => Existence::Gone,
                (Existence::Deleting, false) => Existence::Deleted(now),
                (existence, _) => existence,
            };
        }
        for index in 0..found.ends.len() {
            self.model.settle(index, found.starts[index], found.ends[index]);
        }
        // Recovery makes durable what it found, and says so apart from the journal.
        self.model.checkpoint();
    }

    /// The process ends at once and comes back: it must find the same.
    fn recover_twice(&mut self, found: &Found) -> Result<(), Violation> {
        let image = self.disk.crash_keeping_none();
        let again = self.open_on(&image).map_err(|error| {
            let cause = Chain(&error);
            Violation::new(format!(
                "the log opened, and after a power cut it does not: {cause}"
            ))
        });
        let log = match again {
            Ok(log) => log,
            // Damage may be found by either.
            Err(_) if self.trust > Trust::Everything => return Ok(()),
            Err(violation) => return Err(violation),
        };
        let twice = verify(&log, &self.model, self.terms())?;
        self.tally.recoveries += 1;
        let is_same = (&twice.starts, &twice.ends) == (&found.starts, &found.ends);
        if self.trust == Trust::Everything && !is_same {
            return Err(Violation::new(format!(
                "opened twice, partitions end at {:?} and then at {:?}",
                found.ends, twice.ends
            )));
        }
        Ok(())
    }

    /// What a crash at this point would leave, without one.
    pub(super) fn probe(&mut self) -> Result<(), Violation> {
        if self.log.is_none() || !self.disk.is_powered() {
            return Ok(());
        }
        let seed = self.dice.number();
        let image = match seed % 3 {
            0 => self.disk.crash_keeping_none(),
            1 => self.disk.crash_keeping_all(),
            _ => self.disk.crash_image(seed),
        };
        let log = match self.open_probe(&image) {
            Ok(log) => log,
            Err(_) if self.trust > Trust::Everything => return Ok(()),
            Err(violation) => return Err(violation),
        };
        self.tally.recoveries += 1;
        let mut model = self.model.clone();
        if seed % 3 != 1 {
            model.lose_power();
        }
        let found = verify(&log, &model, self.terms());
        found
            .map(drop)
            .map_err(|violation| violation.at("after a crash at this point"))
    }

    fn open_probe(&self, image: &SimulatedDisk) -> Result<Log, Violation> {
        image.set_capacity(u64::MAX);
        self.open_on(image).map_err(|error| {
            let cause = Chain(&error);
            Violation::new(format!(
                "a crash at this point leaves a log that does not open: {cause}"
            ))
        })
    }

    /// Closes the log and opens it again.
    pub(super) fn close_and_open(&mut self) -> Result<Option<Ended>, Violation> {
        let Some(log) = self.log.take() else {
            return self.recover();
        };
        let errors = self.disk.errors_returned();
        let closed = log.close();
        self.closed(closed, errors)?;
        if !self.disk.is_powered() || self.is_stopped {
            return self.crash(None);
        }
        self.drop_process();
        self.look_for_silent_faults();
        self.recover()
    }
}
