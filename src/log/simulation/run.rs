//! One run: a log, its disk and the model side by side, through the steps that the seed chooses.

use std::fmt::Display;
use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;

use super::Violation;
use super::check::Chain;
use super::dice::Dice;
use super::model::{Existence, Model, Moment, Trust};
use super::report::Tally;
use super::shape::Shape;
use super::step::Step;
use crate::log::io::Environment;
use crate::log::io::sim::{FaultCounts, FaultKind, SimulatedClock, SimulatedDisk, SimulatedRandom};
use crate::log::{Append, AppendError, Log, LogFailed, Partition, Timestamp};

/// The data folder on the simulated disk.
pub(super) const FOLDER: &str = "/data";

/// Where the clock begins, in milliseconds.
const START: Timestamp = Timestamp(1_700_000_000_000);

/// A log's life.
pub(super) struct Run {
    pub(super) seed: u64,
    pub(super) dice: Dice,
    pub(super) shape: Shape,
    pub(super) clock: Arc<SimulatedClock>,
    random: Arc<SimulatedRandom>,
    pub(super) disk: SimulatedDisk,
    /// The open log; none while the process is down.
    pub(super) log: Option<Log>,
    pub(super) model: Model,
    /// Appends that nobody waited for yet, in order.
    pub(super) pending: Vec<Pending>,
    /// What the log can know of its end: less after silent damage.
    pub(super) trust: Trust,
    /// Whether reads may fail: content is damaged, or a read went wrong without a word.
    pub(super) may_refuse: bool,
    /// Whether the log has said that it stopped.
    pub(super) is_stopped: bool,
    /// The disk's errors when the log was opened, and its silent faults when they were last looked at.
    pub(super) errors_at_open: u64,
    pub(super) silent_seen: u64,
    /// An earlier state of the disk: where stale files come from.
    pub(super) backup: Option<SimulatedDisk>,
    /// The disk of a copy that went its own way: where files of another history come from.
    pub(super) copy: Option<SimulatedDisk>,
    /// Numbers what is appended, so that no two batches are alike.
    pub(super) stamp: u64,
    pub(super) tally: Tally,
    /// The steps in words, for a run that is replayed.
    trace: Option<Vec<String>>,
}

/// An append on its way.
pub(super) struct Pending {
    pub(super) append: Append,
    pub(super) partition: usize,
    pub(super) base: u64,
    pub(super) next: u64,
    pub(super) enqueued: Moment,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The log was there to the last step.
    Served,
    /// It refused to open after damage.
    Halted,
    /// History was lost where nothing can tell.
    KnownLoss,
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Ended, Violation>,
    pub(super) tally: Tally,
    /// A hash of all that was durable at the end and of how it came about.
    pub(super) fingerprint: u64,
    pub(super) trace: Vec<String>,
}

/// Runs `seed`, with its steps in words if they are wanted.
pub(super) fn run(seed: u64, is_traced: bool) -> Outcome {
    let mut run = Run::new(seed, is_traced);
    let result = run.live();
    run.tally_disk();
    let fingerprint = run.fingerprint();
    Outcome {
        result,
        tally: run.tally,
        fingerprint,
        trace: run.trace.unwrap_or_default(),
    }
}

/// Runs `seed` and returns its steps in words, with the violation that ended it, if one did.
pub fn replay(seed: u64) -> (Vec<String>, Option<Violation>) {
    let outcome = super::many::quietly(|| super::many::guarded(seed, true));
    (outcome.trace, outcome.result.err())
}

impl Run {
    fn new(seed: u64, is_traced: bool) -> Run {
        let dice = Dice::new(seed);
        let shape = Shape::of(&dice);
        let disk = SimulatedDisk::new(seed);
        disk.set_slow(shape.is_slow);
        Run {
            seed,
            dice,
            shape,
            clock: Arc::new(SimulatedClock::new(START)),
            random: Arc::new(SimulatedRandom::new(!seed)),
            disk,
            log: None,
            model: Model::default(),
            pending: Vec::new(),
            trust: Trust::Everything,
            may_refuse: false,
            is_stopped: false,
            errors_at_open: 0,
            silent_seen: 0,
            backup: None,
            copy: None,
            stamp: 0,
            tally: Tally::default(),
            trace: is_traced.then(Vec::new),
        }
    }

    fn live(&mut self) -> Result<Ended, Violation> {
        let shape = self.shape.clone();
        self.note(|| format!("{shape:?}"));
        if let Some(ended) = self.recover()? {
            return Ok(ended);
        }
        for _ in 0..self.shape.steps {
            let step = Step::choose(&self.dice, &self.shape);
            self.note(|| format!("{step:?}"));
            self.tally.steps += 1;
            if let Some(ended) = self.take(step)? {
                return Ok(ended);
            }
            self.look_for_silent_faults();
            if !self.disk.is_powered() || self.is_stopped {
                self.check_stopped()?;
                if let Some(ended) = self.crash(None)? {
                    return Ok(ended);
                }
            }
            self.check_watermarks()?;
        }
        self.disk.clear_faults();
        self.end()
    }

    /// Ends with a crash and two recoveries, or with a clean close and one.
    fn end(&mut self) -> Result<Ended, Violation> {
        if let Some(ended) = self.crash(None)? {
            return Ok(ended);
        }
        self.disk.clear_faults();
        if let Some(ended) = self.close_and_open()? {
            return Ok(ended);
        }
        Ok(Ended::Served)
    }

    /// The outside world of one process.
    pub(super) fn environment(&self, disk: &SimulatedDisk) -> Environment {
        Environment {
            disk: Arc::new(disk.clone()),
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.random) as _,
        }
    }

    pub(super) fn open_on(&self, disk: &SimulatedDisk) -> Result<Log, crate::log::OpenError> {
        Log::open_in(
            self.environment(disk),
            Path::new(FOLDER),
            self.shape.options.clone(),
        )
    }

    /// The handle of a partition of the model, if its topic is there.
    pub(super) fn handle(&self, index: usize) -> Option<Partition> {
        let topic = self
            .model
            .topics
            .iter()
            .find(|topic| topic.partitions.contains(&index))?;
        let handle = self.log.as_ref()?.topic(&topic.name)?;
        handle.partitions.get(index - topic.partitions.start).cloned()
    }

    /// The log said that it stopped: only a fault is a reason.
    pub(super) fn failed(&mut self, failed: &LogFailed) -> Result<(), Violation> {
        self.is_stopped = true;
        self.note(|| format!("  log stopped: {}", failed.reason));
        if self.has_excuse() {
            return Ok(());
        }
        Err(Violation::new(format!(
            "the log stopped without a fault: {}",
            failed.reason
        )))
    }

    /// Whether the disk did anything wrong since the log was opened.
    pub(super) fn has_excuse(&self) -> bool {
        !self.disk.is_powered()
            || self.disk.errors_returned() > self.errors_at_open
            || self.trust > Trust::Everything
            || self.may_refuse
    }

    /// An append was refused for a reason that the model does not know of.
    pub(super) fn refused(&mut self, error: &AppendError) -> Result<(), Violation> {
        match error {
            AppendError::Failed(failed) => self.failed(failed),
            AppendError::StorageFull if self.has_excuse() => Ok(()),
            error => Err(Violation::new(format!("an append was refused: {}", Chain(error)))),
        }
    }

    /// A log that stopped acknowledges nothing more.
    fn check_stopped(&mut self) -> Result<(), Violation> {
        if !self.is_stopped {
            return Ok(());
        }
        let Some(partition) = self
            .model
            .present()
            .first()
            .map(|topic| self.model.topics[*topic].partitions.start)
        else {
            return Ok(());
        };
        let Some(handle) = self.handle(partition) else {
            return Ok(());
        };
        let (batch, _) = self.batch(40, 1, None);
        if handle.append(batch).is_ok_and(|append| append.wait().is_ok()) {
            return Err(Violation::new(
                "a log that stopped acknowledged an append".to_owned(),
            ));
        }
        Ok(())
    }

    /// What every partition shows is a promise.
    fn check_watermarks(&mut self) -> Result<(), Violation> {
        for topic in self.model.present() {
            for index in self.model.topics[topic].partitions.clone() {
                let Some(handle) = self.handle(index) else {
                    return Err(Violation::new(format!(
                        "topic {} vanished",
                        self.model.topics[topic].name
                    )));
                };
                let end = handle.high_watermark().0;
                let known = &self.model.partitions[index];
                if end > known.end() || end < known.floor {
                    let (floor, submitted) = (known.floor, known.end());
                    return Err(Violation::new(format!(
                        "partition {index} shows end {end} with {floor} acknowledged and {submitted} submitted"
                    )));
                }
                self.model.promise(index, end);
            }
        }
        Ok(())
    }

    /// Silent faults lower what can be asked of the log.
    pub(super) fn look_for_silent_faults(&mut self) {
        let fired = self.disk.faults_fired();
        let silent = silent(&fired);
        if silent > self.silent_seen {
            self.note(|| "  a silent fault happened".to_owned());
            // A misplaced write spoils two places.
            let is_double = silent > self.silent_seen + 1 || fired.of(FaultKind::MisplacedWrite) > 0;
            self.silent_seen = silent;
            self.distrust(if is_double {
                Trust::Nothing
            } else {
                Trust::Checkpoints
            });
        }
    }

    /// Content is damaged from here on. A second damage may hit what tells of the first.
    pub(super) fn distrust(&mut self, trust: Trust) {
        self.trust = if self.trust == Trust::Everything {
            trust
        } else {
            Trust::Nothing
        };
        self.may_refuse = true;
    }

    /// Drops the process: what it holds in memory is gone.
    pub(super) fn drop_process(&mut self) {
        self.pending.clear();
        self.log = None;
        self.is_stopped = false;
    }

    /// Goes on with another disk: an image of the one before.
    pub(super) fn move_to(&mut self, image: SimulatedDisk) {
        self.tally_disk();
        self.disk = image;
        self.silent_seen = silent(&self.disk.faults_fired());
    }

    fn tally_disk(&mut self) {
        self.tally.faults.merge(&self.disk.faults_fired());
        self.tally.operations += self.disk.operations();
    }

    /// Writes a line of the trace, if there is one.
    pub(super) fn note<T: Display>(&mut self, line: impl FnOnce() -> T) {
        if let Some(trace) = &mut self.trace {
            trace.push(line().to_string());
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hash = std::hash::DefaultHasher::new();
        hash.write_u64(self.disk.fingerprint());
        hash.write_u64(self.disk.visible_fingerprint());
        hash.write_u64(self.tally.operations);
        hash.write_u64(self.tally.recoveries);
        for partition in &self.model.partitions {
            hash.write_u64(partition.floor);
            hash.write_u64(partition.end());
        }
        for topic in &self.model.topics {
            hash.write_u8(u8::from(matches!(topic.existence, Existence::Present(_))));
        }
        hash.finish()
    }
}

/// Faults that no operation told of.
pub(super) fn silent(counts: &FaultCounts) -> u64 {
    let kinds = [
        FaultKind::MisplacedWrite,
        FaultKind::LostFlush,
        FaultKind::MisplacedRead,
        FaultKind::BitFlip,
        FaultKind::DamagedFile,
        FaultKind::ForeignFile,
    ];
    kinds.iter().map(|kind| counts.of(*kind)).sum()
}
