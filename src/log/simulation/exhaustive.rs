//! All small workloads, with every crash image that the disk allows at every operation of each.
//!
//! Random lives reach deep; this reaches everywhere nearby. Workloads of up to four operations from a small alphabet
//! are run with the power cut at every operation of their last step (those before are the last steps of shorter
//! workloads), and every cut is looked at with nothing, everything, everything but one and only one of what is
//! pending, and with all subsets where there are few.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Violation;
use super::check::{Chain, Terms, verify};
use super::many::quietly;
use super::model::{Batch, Existence, Model, Trust};
use super::run::FOLDER;
use crate::log::batch::{BatchBuilder, Record, validate};
use crate::log::io::Environment;
use crate::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use crate::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};

/// Pending changes of which all subsets are tried. 10: 1,024 images; more are tried one by one.
const SUBSET_CHANGES_MAX: usize = 10;

/// Pending changes that are looked at one by one; behind these an image is taken of all or none.
const SINGLE_CHANGES_MAX: usize = 64;

/// An operation of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Appends a small batch and waits.
    AppendSmall,
    /// Appends a batch that goes straight to its segment where one is ready, and waits.
    AppendLarge,
    /// Appends two batches to two partitions, and waits for both.
    AppendTwo,
    /// Flushes.
    Flush,
    /// Closes and opens.
    Close,
    /// Ends the process and opens.
    Kill,
}

const ALPHABET: [Operation; 6] = [
    Operation::AppendSmall,
    Operation::AppendLarge,
    Operation::AppendTwo,
    Operation::Flush,
    Operation::Close,
    Operation::Kill,
];

/// The result of an exhaustive run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExhaustiveReport {
    /// Workloads.
    pub workloads: u64,
    /// Operations of the disk at which the power was cut.
    pub cuts: u64,
    /// Images that were recovered; equal ones of one cut are recovered once.
    pub images: u64,
    /// Seconds.
    pub seconds: f64,
    /// A workload in which something was wrong.
    pub failure: Option<ExhaustiveFailure>,
}

/// A workload in which the log did what it must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExhaustiveFailure {
    /// Its operations.
    pub workload: Vec<Operation>,
    /// The operation of the disk at which the power was cut.
    pub cut: u64,
    /// What happened.
    pub violation: Violation,
}

/// Runs every workload of up to `length` operations.
pub fn exhaust(length: u32, threads: usize) -> ExhaustiveReport {
    let start = Instant::now();
    let workloads: Vec<Vec<Operation>> = (1..=length).flat_map(workloads_of).collect();
    let threads = threads.max(1);
    let mut report = ExhaustiveReport::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let share = workloads.iter().skip(first).step_by(threads);
                scope.spawn(move || quietly(|| work(share)))
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(found) => report.merge(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    report.seconds = start.elapsed().as_secs_f64();
    report
}

fn workloads_of(length: u32) -> impl Iterator<Item = Vec<Operation>> {
    let count = ALPHABET.len().pow(length);
    (0..count).map(move |number| {
        let digit = |place: u32| number / ALPHABET.len().pow(place) % ALPHABET.len();
        (0..length).map(|place| ALPHABET[digit(place)]).collect()
    })
}

fn work<'a>(workloads: impl Iterator<Item = &'a Vec<Operation>>) -> ExhaustiveReport {
    let mut report = ExhaustiveReport::default();
    for workload in workloads {
        report.workloads += 1;
        if let Err((cut, violation)) = check(workload, &mut report) {
            report.failure = Some(ExhaustiveFailure {
                workload: workload.clone(),
                cut,
                violation,
            });
            break;
        }
    }
    report
}

/// Cuts the power at every operation of the last step of `workload`, and recovers every image.
fn check(workload: &[Operation], report: &mut ExhaustiveReport) -> Result<(), (u64, Violation)> {
    let (before, after) = {
        let mut life = Life::begin(None);
        for operation in &workload[..workload.len() - 1] {
            life.take(*operation);
        }
        let before = life.operations;
        life.take(workload[workload.len() - 1]);
        (before, life.count())
    };
    for cut in before..=after {
        let mut life = Life::begin(Some(cut));
        for operation in workload {
            life.take(*operation);
        }
        report.cuts += 1;
        let mut seen = BTreeSet::new();
        for image in images(&life.disk) {
            if seen.insert(image.fingerprint()) {
                report.images += 1;
                life.recover(&image).map_err(|violation| (cut, violation))?;
            }
        }
    }
    Ok(())
}

/// The disk after a power cut in all the ways that are tried.
fn images(disk: &SimulatedDisk) -> Vec<SimulatedDisk> {
    let mut count = 0;
    let all = disk.crash_picking(&mut || {
        count += 1;
        true
    });
    let picking = |picks: &dyn Fn(usize) -> bool| {
        let mut index = 0;
        disk.crash_picking(&mut || {
            index += 1;
            picks(index - 1)
        })
    };
    let mut images = vec![all, picking(&|_| false)];
    if count <= SUBSET_CHANGES_MAX {
        images.extend((1..1usize << count).map(|subset| picking(&|index| subset >> index & 1 == 1)));
    } else {
        for single in 0..count.min(SINGLE_CHANGES_MAX) {
            images.push(picking(&|index| index != single));
            images.push(picking(&|index| index == single));
        }
    }
    images
}

/// One run of a workload.
struct Life {
    disk: SimulatedDisk,
    log: Option<Log>,
    model: Model,
    /// Operations of disks that were left behind.
    operations: u64,
    cut: Option<u64>,
    stamp: u64,
}

impl Life {
    /// A log with one topic of two partitions; the power fails at operation `cut`, counted over all disks.
    fn begin(cut: Option<u64>) -> Life {
        let mut life = Life {
            disk: SimulatedDisk::new(0),
            log: None,
            model: Model::default(),
            operations: 0,
            cut,
            stamp: 0,
        };
        life.log = life.open(&life.disk).ok();
        let spec = TopicSpec {
            partitions: 2,
            ..TopicSpec::default()
        };
        let topic = life.model.add_topic("t0", 2, false);
        if let Some(log) = &life.log
            && log.create_topic("t0", &spec).is_ok()
        {
            life.model.topics[topic].existence = Existence::Present(0);
        }
        // Cuts before this are none of a workload's.
        life.operations = life.disk.operations();
        life.arm();
        life
    }

    fn open(&self, disk: &SimulatedDisk) -> Result<Log, crate::log::OpenError> {
        let environment = Environment {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimulatedClock::new(Timestamp(1))),
            random: Arc::new(SimulatedRandom::new(self.stamp)),
        };
        let options = LogOptions {
            batch_size_max_bytes: 20 * 1024,
            journal_file_size_bytes: 28 * 1024,
            segment_size_max_bytes: 32 * 1024,
            extent_size_min_bytes: 8 * 1024,
            ..LogOptions::default()
        };
        Log::open_in(environment, Path::new(FOLDER), options)
    }

    /// Operations so far, over all disks.
    fn count(&self) -> u64 {
        self.operations
    }

    fn arm(&self) {
        if let Some(left) = self.cut.and_then(|cut| cut.checked_sub(self.operations)) {
            self.disk.fail_at(self.disk.operations() + left, Fault::PowerCut);
        }
    }

    /// Does `operation`, unless the power has failed.
    fn take(&mut self, operation: Operation) {
        let before = self.disk.operations();
        match operation {
            Operation::AppendSmall => self.append(&[(0, 40)]),
            Operation::AppendLarge => self.append(&[(0, 14 * 1024)]),
            Operation::AppendTwo => self.append(&[(0, 600), (1, 40)]),
            Operation::Flush => {
                if let Some(log) = &self.log {
                    let _ = log.flush();
                }
            }
            Operation::Close => {
                if let Some(log) = self.log.take()
                    && log.close().is_ok()
                {
                    self.log = self.open(&self.disk).ok();
                }
            }
            Operation::Kill => {
                if self.disk.is_powered() {
                    let killed = self.disk.crash_keeping_all();
                    self.log = None;
                    self.operations += self.disk.operations() - before;
                    self.disk = killed;
                    self.arm();
                    self.log = self.open(&self.disk).ok();
                    self.operations += self.disk.operations();
                    return;
                }
            }
        }
        self.operations += self.disk.operations() - before;
    }

    fn append(&mut self, sizes: &[(usize, usize)]) {
        let Some(topic) = self.log.as_ref().and_then(|log| log.topic("t0")) else {
            return;
        };
        let mut appends = Vec::new();
        for (partition, size) in sizes {
            self.stamp += 1;
            let mut value = vec![self.stamp as u8; 8 + size];
            value[..8].copy_from_slice(&self.stamp.to_be_bytes());
            let mut builder = BatchBuilder::new(Timestamp(1));
            let record = Record {
                timestamp: Timestamp(1),
                key: None,
                value: Some(&value),
                headers: &[],
            };
            builder
                .push(&record)
                .expect("the value is smaller than the largest batch");
            let bytes = builder.finish();
            let header = validate(&bytes).expect("the builder makes whole batches");
            let Ok(append) = topic.partitions[*partition].append(bytes.clone()) else {
                return;
            };
            let known = &mut self.model.partitions[*partition];
            let batch = Batch::new(known.end(), bytes, &header);
            let next = batch.next;
            known.batches.push(batch);
            appends.push((append, *partition, next));
        }
        for (append, partition, next) in appends {
            if append.wait().is_ok_and(|offset| offset < Offset(next)) {
                self.model.promise(partition, next);
            }
        }
    }

    fn recover(&self, image: &SimulatedDisk) -> Result<(), Violation> {
        let log = self.open(image).map_err(|error| {
            let cause = Chain(&error);
            Violation::new(format!("the log does not open: {cause}"))
        })?;
        let terms = Terms {
            trust: Trust::Everything,
            may_refuse: false,
            step_bytes: 1 << 20,
        };
        verify(&log, &self.model, terms).map(drop)
    }
}

impl fmt::Display for ExhaustiveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "workloads    {} in {:.1} s", self.workloads, self.seconds)?;
        writeln!(f, "power cuts   {}, images recovered {}", self.cuts, self.images)?;
        match &self.failure {
            None => write!(f, "violations   0"),
            Some(failure) => write!(
                f,
                "violations   {:?}, cut at operation {}: {}",
                failure.workload, failure.cut, failure.violation
            ),
        }
    }
}

impl ExhaustiveReport {
    fn merge(&mut self, other: ExhaustiveReport) {
        self.workloads += other.workloads;
        self.cuts += other.cuts;
        self.images += other.images;
        self.failure = self.failure.take().or(other.failure);
    }
}
