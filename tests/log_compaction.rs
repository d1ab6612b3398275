//! Compaction against a model that knows every record, and the cleaner beside appends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{Disk, DurableWriter, Environment, File, Lock, OpenMode};
use doorbuster::log::{Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};
use proptest::prelude::*;

const FOLDER: &str = "/data";
const PARTITION_FOLDER: &str = "/data/partitions/0000000001";
const TOMBSTONE_RETENTION_MS: i64 = 100;

fn machine(disk: Arc<dyn Disk>) -> (Environment, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(Timestamp(1_000)));
    let environment = Environment {
        disk,
        clock: Arc::clone(&clock) as _,
        random: Arc::new(SimulatedRandom::new(1)),
    };
    (environment, clock)
}

fn open(environment: &Environment) -> Log {
    let options = LogOptions {
        batch_size_max_bytes: 2 * 1024,
        journal_file_size_bytes: 32 * 1024,
        segment_size_max_bytes: 700,
        // Reads are to come from segments.
        tail_retained_max_bytes: 0,
        ..LogOptions::default()
    };
    Log::open_in(environment.clone(), Path::new(FOLDER), options).unwrap()
}

fn create_topic(log: &Log) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("delete.retention.ms", "100"),
    ];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let spec = TopicSpec {
        partitions: 1,
        configs: configs.into(),
    };
    log.create_topic("compacted", &spec).unwrap();
}

fn partition(log: &Log) -> Partition {
    log.topic("compacted").unwrap().partitions[0].clone()
}

/// A key, and a value or none for a tombstone.
type Entry = (u8, Option<u8>);

fn batch_of(entries: &[Entry], timestamp: Timestamp) -> Bytes {
    let mut builder = BatchBuilder::new(timestamp);
    for (key, value) in entries {
        let value = value.map(|value| vec![value; usize::from(value)]);
        builder
            .push(&Record {
                timestamp,
                key: Some(&[*key]),
                value: value.as_deref(),
                headers: &[],
            })
            .unwrap();
    }
    builder.finish()
}

/// The records of the partition by offset; every batch begins where the one before ended.
fn read_all(partition: &Partition) -> BTreeMap<u64, Entry> {
    let mut found = BTreeMap::new();
    let mut next = partition.log_start();
    while next < partition.high_watermark() {
        for batch in partition.read(next, 500).unwrap().iter().flat_map(batch::batches) {
            let (header, bytes) = batch.unwrap();
            batch::verify(&bytes).unwrap();
            assert_eq!(header.base_offset, next);
            next = header.next_offset();
            for record in batch::records(&bytes).unwrap().map(Result::unwrap) {
                let value = record.value.map(|value| value.first().copied().unwrap_or(0));
                found.insert(record.offset.0, (record.key.unwrap()[0], value));
            }
        }
    }
    found
}

/// One batch as the model keeps it.
struct ModelBatch {
    base_offset: u64,
    /// Records that are left, by offset.
    records: BTreeMap<u64, Entry>,
    /// From when on its tombstones go.
    horizon: Option<i64>,
}

/// All records, and the plainest way to compact them.
#[derive(Default)]
struct Model {
    batches: Vec<ModelBatch>,
    end: u64,
    /// What was compacted before; without anything new, nothing happens.
    cleaned: u64,
}

impl Model {
    fn append(&mut self, entries: &[Entry]) {
        let records = (self.end..).zip(entries.iter().copied()).collect();
        self.batches.push(ModelBatch {
            base_offset: self.end,
            records,
            horizon: None,
        });
        self.end += entries.len() as u64;
    }

    /// Compacts what is below `end`.
    fn clean(&mut self, end: u64, now: i64) {
        if end == self.cleaned {
            return;
        }
        self.cleaned = end;
        let closed = self
            .batches
            .iter_mut()
            .take_while(|batch| batch.base_offset < end);
        let mut closed: Vec<_> = closed.collect();
        let mut newest = BTreeMap::new();
        for (offset, (key, _)) in closed.iter().flat_map(|batch| &batch.records) {
            newest.insert(*key, *offset);
        }
        for batch in &mut closed {
            let is_over = batch.horizon.is_some_and(|horizon| horizon <= now);
            batch
                .records
                .retain(|offset, (key, value)| newest[key] == *offset && (value.is_some() || !is_over));
            let has_tombstone = batch.records.values().any(|(_, value)| value.is_none());
            if has_tombstone && batch.horizon.is_none() {
                batch.horizon = Some(now + TOMBSTONE_RETENTION_MS);
            }
        }
    }

    fn records(&self) -> BTreeMap<u64, Entry> {
        let records = self.batches.iter().flat_map(|batch| &batch.records);
        records.map(|(offset, entry)| (*offset, *entry)).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    Clean,
    Advance(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![1 => Just(None), 3 => (1_u8..200).prop_map(Some)];
    let entries = prop::collection::vec((0_u8..6, value), 1..4);
    let step = prop_oneof![
        12 => entries.prop_map(Step::Append),
        3 => Just(Step::Clean),
        2 => (1_u8..120).prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..80)
}

/// Base offset of the segment that is appended to.
fn last_segment(disk: &SimulatedDisk) -> u64 {
    let names = disk.list(Path::new(PARTITION_FOLDER)).unwrap_or_default();
    let bases = names
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok());
    bases.max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn compaction_leaves_what_the_model_leaves(steps in steps()) {
        let disk = SimulatedDisk::new(1);
        let (environment, clock) = machine(Arc::new(disk.clone()));
        let mut log = open(&environment);
        create_topic(&log);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append(entries) => {
                    let batch = batch_of(&entries, environment.clock.now());
                    partition(&log).append(batch).unwrap().wait().unwrap();
                    model.append(&entries);
                }
                Step::Clean => {
                    log.flush().unwrap();
                    log.clean().unwrap();
                    model.clean(last_segment(&disk), environment.clock.now().0);
                }
                Step::Advance(milliseconds) => clock.advance(Duration::from_millis(milliseconds.into())),
                Step::Reopen => {
                    log.close().unwrap();
                    log = open(&environment);
                }
            }
            prop_assert_eq!(read_all(&partition(&log)), model.records());
            prop_assert_eq!(partition(&log).high_watermark(), Offset(model.end));
        }
    }
}

/// A disk on which the first to give a file the name of a decided replacement says so and waits to be let go.
#[derive(Debug)]
struct StoppingDisk {
    disk: SimulatedDisk,
    stop: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Disk for StoppingDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.disk.open(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to.to_str().is_some_and(|to| to.ends_with(".log.swap"))
            && let Some((reached, go_on)) = self.stop.lock().unwrap().take()
        {
            reached.send(()).unwrap();
            go_on.recv().unwrap();
        }
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn sync_all(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_all(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
    fn durable_writer(&self, depth: usize) -> io::Result<Box<dyn DurableWriter>> {
        self.disk.durable_writer(depth)
    }
}

#[test]
fn appends_and_reads_go_on_while_the_cleaner_stands_still() {
    let (reached, stopped) = channel();
    let (let_go, go_on) = channel();
    let (environment, _) = machine(Arc::new(StoppingDisk {
        disk: SimulatedDisk::new(1),
        stop: Mutex::new(Some((reached, go_on))),
    }));
    let log = open(&environment);
    create_topic(&log);
    let partition = partition(&log);
    for number in 1..20 {
        let batch = batch_of(&[(1, Some(100)), (number + 1, Some(100))], Timestamp(1_000));
        partition.append(batch).unwrap().wait().unwrap();
    }
    log.flush().unwrap();
    let before = read_all(&partition);
    std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| log.clean());
        stopped.recv().unwrap();
        // The cleaner is in the middle of a replacement and holds whatever it holds.
        let batch = batch_of(&[(1, Some(1))], Timestamp(1_000));
        assert_eq!(partition.append(batch).unwrap().wait().unwrap(), Offset(38));
        assert_eq!(partition.high_watermark(), Offset(39));
        assert_eq!(partition.read(Offset(38), 1).unwrap().len(), 1);
        let_go.send(()).unwrap();
        cleaner.join().unwrap().unwrap();
    });
    let after = read_all(&partition);
    assert!(after.len() < before.len());
    assert_eq!(after[&38], (1, Some(1)));
}
