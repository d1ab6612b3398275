//! The log on the simulated disk: a power cut at every operation, and what must come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{
    Completion, Disk, DurableWriter, Environment, File, FileSlot, Lock, OpenMode, Random, WritePath,
};
use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};

const FOLDER: &str = "/data";
const PARTITIONS: u32 = 3;
const STEPS: u32 = 40;

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 24 * 1024,
        journal_file_size_bytes: 64 * 1024,
        segment_size_max_bytes: 128 * 1024,
        extent_size_min_bytes: 8 * 1024,
        ..LogOptions::default()
    }
}

fn environment(disk: Arc<dyn Disk>, seed: u64) -> Environment {
    let clock = Arc::new(SimulatedClock::new(Timestamp(1_000)));
    Environment {
        disk,
        clock,
        random: Arc::new(SimulatedRandom::new(seed)),
    }
}

/// What the workload asked for and what it was told, per topic and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct History {
    /// Topics whose creation was acknowledged.
    topics: Vec<String>,
    /// All values that were submitted, in order.
    submitted: BTreeMap<(String, u32), Vec<Vec<u8>>>,
    /// How many of them were acknowledged.
    acknowledged: BTreeMap<(String, u32), usize>,
}

fn batch_of(values: &[Vec<u8>]) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1_000));
    for value in values {
        builder
            .push(&Record {
                timestamp: Timestamp(1_000),
                key: None,
                value: Some(value),
                headers: &[],
            })
            .unwrap();
    }
    builder.finish()
}

/// Runs the seeded workload until it ends or the disk fails.
fn run(disk: Arc<dyn Disk>, seed: u64) -> History {
    let random = SimulatedRandom::new(seed ^ 0x5eed);
    let mut history = History::default();
    let environment = environment(disk, seed);
    let Ok(mut log) = Log::open_in(environment.clone(), Path::new(FOLDER), options()) else {
        return history;
    };
    for name in ["orders", "payments"] {
        let spec = TopicSpec {
            partitions: PARTITIONS,
            ..TopicSpec::default()
        };
        if log.create_topic(name, &spec).is_err() {
            return history;
        }
        history.topics.push(name.to_owned());
    }
    for step in 0..STEPS {
        // Segments are made ready for large batches by a flush.
        let appends = if seed.is_multiple_of(2) { 6 } else { 8 };
        let ended = match random.next_u64() % 10 {
            kind if kind < appends => append_some(&log, &random, step, seed.is_multiple_of(2), &mut history),
            kind if kind < 9 => log.flush().is_err(),
            _ => {
                let reopened = log.close().map_err(drop).and_then(|()| {
                    Log::open_in(environment.clone(), Path::new(FOLDER), options()).map_err(drop)
                });
                let Ok(reopened) = reopened else { return history };
                log = reopened;
                false
            }
        };
        if ended {
            break;
        }
    }
    history
}

/// Appends one to four batches, then waits for some of them; true if the log stopped.
fn append_some(
    log: &Log,
    random: &SimulatedRandom,
    step: u32,
    large_batches: bool,
    history: &mut History,
) -> bool {
    let mut appends = Vec::new();
    for index in 0..=random.next_u64() % 4 {
        let topic = history.topics[(random.next_u64() % 2) as usize].clone();
        let count = random.next_u64() % 3 + 1;
        // Batches of even seeds are large enough to go straight to their segments.
        let (size_max, partitions) = if large_batches {
            (7_500, 1)
        } else {
            (1_500, PARTITIONS)
        };
        let size = (random.next_u64() % size_max) as usize;
        let partition = (random.next_u64() % u64::from(partitions)) as u32;
        let value = |record| {
            let mut value = format!("{step}.{index}.{record} ").into_bytes();
            value.resize(value.len() + size, record as u8);
            value
        };
        let values: Vec<_> = (0..count).map(value).collect();
        let Some(handle) = log
            .topic(&topic)
            .map(|topic| topic.partitions[partition as usize].clone())
        else {
            return true;
        };
        let Ok(append) = handle.append(batch_of(&values)) else {
            return true;
        };
        let key = (topic, partition);
        let submitted = history.submitted.entry(key.clone()).or_default();
        assert_eq!(append.base_offset(), Offset(submitted.len() as u64));
        submitted.extend(values);
        appends.push((append, key, submitted.len()));
    }
    for (append, key, count) in appends {
        if random.next_u64().is_multiple_of(4) {
            drop(append);
            continue;
        }
        if append.wait().is_err() {
            return true;
        }
        let acknowledged = history.acknowledged.entry(key).or_default();
        *acknowledged = count.max(*acknowledged);
    }
    false
}

fn read_all(log: &Log, topic: &str, partition: u32) -> Vec<Vec<u8>> {
    let partition = log.topic(topic).unwrap().partitions[partition as usize].clone();
    let mut values: Vec<Vec<u8>> = Vec::new();
    while Offset(values.len() as u64) < partition.high_watermark() {
        for slice in partition.read(Offset(values.len() as u64), 4_096).unwrap() {
            for found in batch::batches(&slice) {
                let (header, bytes) = found.unwrap();
                batch::verify(&bytes).unwrap();
                assert_eq!(header.base_offset, Offset(values.len() as u64));
                values.extend(
                    batch::records(&bytes)
                        .unwrap()
                        .map(|record| record.unwrap().value.unwrap().to_vec()),
                );
            }
        }
    }
    values
}

/// Compares what a log holds with what was asked for and promised; the error names the difference.
fn check(log: &Log, history: &History) -> Result<(), String> {
    for name in &history.topics {
        if log.topic(name).is_none() {
            return Err(format!("topic {name} was acknowledged and is gone"));
        }
    }
    for topic in log.topics() {
        for index in 0..topic.partitions.len() as u32 {
            let key = (topic.name.clone(), index);
            let found = read_all(log, &topic.name, index);
            let submitted = history.submitted.get(&key).map_or(&[][..], Vec::as_slice);
            let acknowledged = history.acknowledged.get(&key).copied().unwrap_or(0);
            if found.len() < acknowledged {
                return Err(format!(
                    "{key:?} holds {} records, {acknowledged} were acknowledged",
                    found.len()
                ));
            }
            if submitted.get(..found.len()) != Some(&found[..]) {
                return Err(format!(
                    "{key:?} holds records that were not submitted in this order"
                ));
            }
        }
    }
    Ok(())
}

/// Opens the log on what a power cut left, checks it, goes on writing and checks again after a clean stop.
fn recover_and_check(image: &SimulatedDisk, seed: u64, history: &History) -> Result<(), String> {
    let environment = environment(Arc::new(image.clone()), seed ^ 0xacc);
    let open = || {
        Log::open_in(environment.clone(), Path::new(FOLDER), options()).map_err(|error| format!("{error:?}"))
    };
    let log = open()?;
    check(&log, history)?;
    let mut extended = History {
        topics: history.topics.clone(),
        ..History::default()
    };
    for topic in log.topics() {
        for index in 0..topic.partitions.len() as u32 {
            let mut values = read_all(&log, &topic.name, index);
            let value = b"after the power cut".to_vec();
            topic.partitions[index as usize]
                .append(batch_of(std::slice::from_ref(&value)))
                .unwrap()
                .wait()
                .unwrap();
            values.push(value);
            extended
                .acknowledged
                .insert((topic.name.clone(), index), values.len());
            extended.submitted.insert((topic.name.clone(), index), values);
        }
    }
    check(&log, &extended)?;
    drop(log);
    let log = open()?;
    check(&log, &extended)?;
    log.close().map_err(|error| error.to_string())?;
    check(&open()?, &extended)
}

fn operations_of(seed: u64) -> u64 {
    let disk = SimulatedDisk::new(seed);
    run(Arc::new(disk.clone()), seed);
    disk.operations()
}

/// One run of `seed` with the power cut at operation `cut`; checks every kind of image.
fn cut_and_check(seed: u64, cut: u64) -> Result<(), String> {
    let disk = SimulatedDisk::new(seed);
    disk.fail_at(cut, Fault::PowerCut);
    let history = run(Arc::new(disk.clone()), seed);
    let images = [
        ("nothing unsynced", disk.crash_keeping_none()),
        ("everything written", disk.crash_keeping_all()),
        ("some sectors", disk.crash_image(seed ^ cut)),
        ("other sectors", disk.crash_image(!(seed ^ cut))),
    ];
    for (kept, image) in images {
        let described = |error| format!("seed {seed}, cut at {cut}, kept {kept}: {error}");
        recover_and_check(&image, seed, &history).map_err(described)?;
    }
    Ok(())
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    for seed in 1..=2 {
        for cut in 0..operations_of(seed) {
            cut_and_check(seed, cut).unwrap();
        }
    }
}

#[test]
fn a_power_cut_during_recovery_loses_nothing_acknowledged() {
    for seed in [3, 4] {
        let total = operations_of(seed);
        for cut in (0..total).step_by(7) {
            let disk = SimulatedDisk::new(seed);
            disk.fail_at(cut, Fault::PowerCut);
            let history = run(Arc::new(disk.clone()), seed);
            let image = disk.crash_image(seed ^ cut);
            for second_cut in 0..60 {
                let again = image.crash_keeping_none();
                again.fail_at(again.operations() + second_cut, Fault::PowerCut);
                let environment = environment(Arc::new(again.clone()), seed);
                drop(Log::open_in(environment, Path::new(FOLDER), options()));
                let twice = again.crash_image(second_cut);
                recover_and_check(&twice, seed, &history)
                    .unwrap_or_else(|error| panic!("cut at {cut}, then at {second_cut}: {error}"));
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes_of = |seed| {
        let disk = SimulatedDisk::new(seed);
        let history = run(Arc::new(disk.clone()), seed);
        (disk.operations(), disk.fingerprint(), history)
    };
    assert_eq!(bytes_of(11), bytes_of(11));
    assert_ne!(bytes_of(11).1, bytes_of(12).1);
}

#[test]
fn a_write_error_stops_the_log_and_a_restart_has_all_that_was_acknowledged() {
    for seed in [5, 6] {
        for failing in (0..operations_of(seed)).step_by(3) {
            for fault in [Fault::WriteError, Fault::TornWrite] {
                let disk = SimulatedDisk::new(seed);
                disk.fail_at(failing, fault);
                let history = run(Arc::new(disk.clone()), seed);
                recover_and_check(&disk.crash_keeping_none(), seed, &history)
                    .unwrap_or_else(|error| panic!("{fault:?} at {failing}: {error}"));
            }
        }
    }
}

/// A disk that reports success before anything is durable: what a checker must notice.
#[derive(Debug)]
struct LyingDisk {
    disk: SimulatedDisk,
    lie: Lie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Journal writes are acknowledged and never made.
    Journal,
    /// `sync` of a file does nothing.
    FileSync,
}

impl Disk for LyingDisk {
    fn create_dir_all(&self, path: &Path) -> std::io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode)?;
        Ok(if self.lie == Lie::FileSync {
            Arc::new(UnsyncedFile(file))
        } else {
            file
        })
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
    fn durable_writer(&self, depth: usize) -> std::io::Result<Box<dyn DurableWriter>> {
        let writer = self.disk.durable_writer(depth)?;
        Ok(if self.lie == Lie::Journal {
            Box::new(ForgetfulWriter::default())
        } else {
            writer
        })
    }
}

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn File>);

impl File for UnsyncedFile {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> std::io::Result<()> {
        self.0.read_at(buffer, position)
    }
    fn write_at(&self, buffers: &[std::io::IoSlice<'_>], position: u64) -> std::io::Result<()> {
        self.0.write_at(buffers, position)
    }
    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn allocate(&self, size_bytes: u64) -> std::io::Result<()> {
        self.0.allocate(size_bytes)
    }
    fn extend(&self, size_bytes: u64) -> std::io::Result<()> {
        self.0.extend(size_bytes)
    }
    fn truncate(&self, size_bytes: u64) -> std::io::Result<()> {
        self.0.truncate(size_bytes)
    }
    fn slice(&self, range: std::ops::Range<u64>) -> std::io::Result<Bytes> {
        self.0.slice(range)
    }
}

#[derive(Debug, Default)]
struct ForgetfulWriter {
    tokens: std::sync::Mutex<Vec<u64>>,
}

impl DurableWriter for ForgetfulWriter {
    fn path(&self) -> WritePath {
        WritePath::Simulated
    }
    fn attach(&self, _path: &Path) -> std::io::Result<FileSlot> {
        Ok(FileSlot(0))
    }
    fn detach(&self, _slot: FileSlot) {}
    fn submit(&self, _slot: FileSlot, _position: u64, _data: Bytes, token: u64) -> std::io::Result<()> {
        self.tokens.lock().unwrap().push(token);
        Ok(())
    }
    fn submit_unsynced(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> std::io::Result<()> {
        self.submit(slot, position, data, token)
    }
    fn wait(&self, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        let ended = |token| Completion {
            token,
            result: Ok(()),
        };
        completions.extend(self.tokens.lock().unwrap().drain(..).map(ended));
        Ok(())
    }
}

#[test]
fn the_checker_notices_a_disk_that_lies() {
    for lie in [Lie::Journal, Lie::FileSync] {
        let found = (1..=20).any(|seed| {
            let disk = SimulatedDisk::new(seed);
            let history = run(
                Arc::new(LyingDisk {
                    disk: disk.clone(),
                    lie,
                }),
                seed,
            );
            recover_and_check(&disk.crash_keeping_none(), seed, &history).is_err()
        });
        assert!(found, "{lie:?} went unnoticed");
    }
}
