//! Retention, deletion of records and compaction on the simulated disk: a power cut at every operation, and what
//! must be there afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{Disk, Environment, Random};
use doorbuster::log::{Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};

const FOLDER: &str = "/data";
const STEPS: u32 = 60;

/// Topics and how they are cleaned.
const TOPICS: [(&str, &[(&str, &str)]); 3] = [
    ("aged", &[("retention.ms", "2000")]),
    (
        "compacted",
        &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("delete.retention.ms", "1500"),
        ],
    ),
    (
        "both",
        &[
            ("cleanup.policy", "compact,delete"),
            ("retention.bytes", "9000"),
            ("min.cleanable.dirty.ratio", "0.3"),
        ],
    ),
];

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 3 * 1024,
        journal_file_size_bytes: 16 * 1024,
        segment_size_max_bytes: 3 * 1024,
        // Reads are to come from segments.
        tail_retained_max_bytes: 0,
        ..LogOptions::default()
    }
}

fn machine(disk: &SimulatedDisk, now: Timestamp) -> (Environment, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(now));
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::clone(&clock) as _,
        random: Arc::new(SimulatedRandom::new(1)),
    };
    (environment, clock)
}

fn open(environment: &Environment) -> Result<Log, String> {
    Log::open_in(environment.clone(), Path::new(FOLDER), options()).map_err(|error| format!("{error:?}"))
}

/// A key with its value, or none for a tombstone.
type Entry = (Vec<u8>, Option<Vec<u8>>);

/// What was asked of one topic, and what was promised.
#[derive(Clone, Debug, Default)]
struct Model {
    exists: bool,
    /// All records that were submitted; the offset is the index.
    submitted: Vec<Entry>,
    /// How many of them were acknowledged.
    acknowledged: usize,
    /// The largest start that was acknowledged or seen.
    start: Offset,
}

#[derive(Clone, Debug)]
struct History {
    models: BTreeMap<&'static str, Model>,
    now: Timestamp,
}

fn create_topics(log: &Log, history: &mut History) -> Result<(), String> {
    for (name, configs) in TOPICS {
        let configs = configs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let spec = TopicSpec {
            partitions: 1,
            configs: configs.collect(),
        };
        log.create_topic(name, &spec).map_err(|error| error.to_string())?;
        history.models.entry(name).or_default().exists = true;
    }
    Ok(())
}

fn partition(log: &Log, name: &str) -> Partition {
    log.topic(name).unwrap().partitions[0].clone()
}

fn batch_of(entries: &[Entry], now: Timestamp) -> Bytes {
    let mut builder = BatchBuilder::new(now);
    for (key, value) in entries {
        builder
            .push(&Record {
                timestamp: now,
                key: Some(key),
                value: value.as_deref(),
                headers: &[],
            })
            .unwrap();
    }
    builder.finish()
}

/// Runs the seeded workload until it ends or the disk fails.
fn run(disk: &SimulatedDisk, seed: u64) -> History {
    let mut history = History {
        models: BTreeMap::new(),
        now: Timestamp(1_000_000),
    };
    // The error is the disk's, which the caller has planted.
    let _ = run_steps(disk, seed, &mut history);
    history
}

fn run_steps(disk: &SimulatedDisk, seed: u64, history: &mut History) -> Result<(), String> {
    let random = SimulatedRandom::new(seed ^ 0x5eed);
    let (environment, clock) = machine(disk, history.now);
    let mut log = open(&environment)?;
    create_topics(&log, history)?;
    for step in 0..STEPS {
        let (name, _) = TOPICS[(random.next_u64() % 3) as usize];
        match random.next_u64() % 12 {
            0..7 => append(&log, name, &random, step, history)?,
            7 => log.flush().map_err(|error| error.to_string())?,
            8 => {
                log.clean().map_err(|error| error.to_string())?;
                for (name, model) in &mut history.models {
                    model.start = partition(&log, name).log_start();
                }
            }
            9 => delete(&log, name, &random, history)?,
            10 => {
                clock.advance(Duration::from_millis(random.next_u64() % 1_000));
                history.now = environment.clock.now();
            }
            _ => {
                log.close().map_err(|error| error.to_string())?;
                log = open(&environment)?;
            }
        }
    }
    Ok(())
}

fn append(
    log: &Log,
    name: &'static str,
    random: &SimulatedRandom,
    step: u32,
    history: &mut History,
) -> Result<(), String> {
    let entry = |index: u64| {
        let key = format!("key-{}", random.next_u64() % 4).into_bytes();
        let is_tombstone = random.next_u64().is_multiple_of(5);
        let value = || {
            let mut value = format!("{step}.{index} ").into_bytes();
            value.resize(value.len() + (random.next_u64() % 600) as usize, 7);
            value
        };
        (key, (!is_tombstone).then(value))
    };
    let entries: Vec<Entry> = (0..=random.next_u64() % 3).map(entry).collect();
    let appended = partition(log, name).append(batch_of(&entries, history.now));
    let append = appended.map_err(|error| error.to_string())?;
    let model = history.models.get_mut(name).unwrap();
    assert_eq!(append.base_offset(), Offset(model.submitted.len() as u64));
    model.submitted.extend(entries);
    append.wait().map_err(|error| error.to_string())?;
    model.acknowledged = model.submitted.len();
    Ok(())
}

fn delete(log: &Log, name: &str, random: &SimulatedRandom, history: &mut History) -> Result<(), String> {
    let partition = partition(log, name);
    let (start, end) = (partition.log_start().0, partition.high_watermark().0);
    let offset = Offset(start + random.next_u64() % (end - start + 1) / 2);
    let deletion = partition.delete_records_before(offset);
    let moved = deletion.map_err(|error| error.to_string())?.wait();
    let model = history.models.get_mut(name).unwrap();
    model.start = moved.map_err(|error| error.to_string())?.max(model.start);
    Ok(())
}

/// The records of a partition by offset; batches follow one another.
fn read_all(partition: &Partition) -> Result<BTreeMap<u64, Entry>, String> {
    let mut found = BTreeMap::new();
    let (start, end) = (partition.log_start(), partition.high_watermark());
    let mut next = start;
    while next < end {
        let slices = partition
            .read(next, 2_000)
            .map_err(|error| format!("{error:?}"))?;
        let before = next;
        for batch in slices.iter().flat_map(batch::batches) {
            let (header, bytes) = batch.unwrap();
            batch::verify(&bytes).unwrap();
            if header.base_offset != next && (header.base_offset > next || next != start) {
                return Err(format!("a batch begins at {}, want {next}", header.base_offset));
            }
            next = header.next_offset();
            for record in batch::records(&bytes).unwrap() {
                let record = record.unwrap();
                let entry = (record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec));
                found.insert(record.offset.0, entry);
            }
        }
        if next == before {
            return Err(format!("nothing was read at {next} of {end}"));
        }
    }
    found.retain(|offset, _| *offset >= start.0);
    Ok(found)
}

/// Compares what a log holds with what was asked for and promised; the error names the difference.
fn check(log: &Log, history: &History) -> Result<(), String> {
    for (name, model) in history.models.iter().filter(|(_, model)| model.exists) {
        let partition = partition(log, name);
        let (start, end) = (partition.log_start(), partition.high_watermark().0 as usize);
        if start < model.start {
            return Err(format!(
                "{name} starts at {start}, and was cut off at {}",
                model.start
            ));
        }
        if end < model.acknowledged || end > model.submitted.len() {
            return Err(format!(
                "{name} ends at {end}, {} were acknowledged",
                model.acknowledged
            ));
        }
        let found = read_all(&partition).map_err(|error| format!("{name}: {error}"))?;
        if let Some((offset, _)) = found
            .iter()
            .find(|(offset, entry)| model.submitted[**offset as usize] != **entry)
        {
            return Err(format!("{name} has another record at {offset}"));
        }
        for offset in (start.0 as usize..end).filter(|offset| !found.contains_key(&(*offset as u64))) {
            let (key, value) = &model.submitted[offset];
            let is_replaced = model.submitted[offset + 1..end]
                .iter()
                .any(|(other, _)| other == key);
            if *name == "aged" || !(is_replaced || value.is_none()) {
                return Err(format!("{name} lacks the record at {offset}"));
            }
        }
    }
    Ok(())
}

/// Opens the log on what a power cut left, checks it, cleans it, goes on writing and checks again.
fn recover_and_check(image: &SimulatedDisk, history: &History) -> Result<(), String> {
    let (environment, clock) = machine(image, history.now);
    let log = open(&environment)?;
    check(&log, history)?;
    let mut history = history.clone();
    clock.advance(Duration::from_millis(900));
    history.now = environment.clock.now();
    history.models.retain(|_, model| model.exists);
    for (name, model) in &mut history.models {
        let partition = partition(&log, name);
        model.submitted.truncate(partition.high_watermark().0 as usize);
        model.start = partition.log_start();
        let entry: Entry = (b"key-0".to_vec(), Some(b"after the power cut".to_vec()));
        let batch = batch_of(std::slice::from_ref(&entry), history.now);
        partition.append(batch).unwrap().wait().unwrap();
        model.submitted.push(entry);
        model.acknowledged = model.submitted.len();
    }
    log.clean().unwrap();
    check(&log, &history).map_err(|error| format!("after cleaning: {error}"))?;
    drop(log);
    let log = open(&environment)?;
    check(&log, &history).map_err(|error| format!("after a second start: {error}"))?;
    log.close().map_err(|error| error.to_string())?;
    let names = image
        .list(Path::new("/data/partitions/0000000001"))
        .unwrap_or_default();
    if let Some(name) = names
        .iter()
        .find(|name| has_extension(name, "swap") || has_extension(name, "cleaned"))
    {
        return Err(format!("{name} was left behind"));
    }
    check(&open(&environment)?, &history).map_err(|error| format!("after a clean stop: {error}"))
}

fn operations_of(seed: u64) -> u64 {
    let disk = SimulatedDisk::new(seed);
    run(&disk, seed);
    disk.operations()
}

#[test]
fn a_power_cut_at_any_operation_keeps_what_must_stay_and_removes_what_was_deleted() {
    for seed in 1..=2 {
        for cut in 0..operations_of(seed) {
            let disk = SimulatedDisk::new(seed);
            disk.fail_at(cut, Fault::PowerCut);
            let history = run(&disk, seed);
            for (kept, image) in [
                ("nothing unsynced", disk.crash_keeping_none()),
                ("everything written", disk.crash_keeping_all()),
                ("some sectors", disk.crash_image(seed ^ cut)),
                ("other sectors", disk.crash_image(!(seed ^ cut))),
            ] {
                recover_and_check(&image, &history)
                    .unwrap_or_else(|error| panic!("seed {seed}, cut at {cut}, kept {kept}: {error}"));
            }
        }
    }
}

#[test]
fn a_power_cut_while_cleaning_after_a_power_cut_loses_nothing() {
    let seed = 4;
    for cut in (0..operations_of(seed)).step_by(31) {
        let disk = SimulatedDisk::new(seed);
        disk.fail_at(cut, Fault::PowerCut);
        let history = run(&disk, seed);
        let image = disk.crash_image(seed ^ cut);
        for second_cut in 0..90 {
            let again = image.crash_keeping_none();
            again.fail_at(again.operations() + second_cut, Fault::PowerCut);
            if let Ok(log) = open(&machine(&again, history.now).0) {
                // It fails where the power does.
                let _ = log.clean();
            }
            recover_and_check(&again.crash_image(second_cut), &history)
                .unwrap_or_else(|error| panic!("cut at {cut}, then at {second_cut}: {error}"));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes_of = |seed| {
        let disk = SimulatedDisk::new(seed);
        run(&disk, seed);
        (disk.operations(), disk.fingerprint())
    };
    assert_eq!(bytes_of(7), bytes_of(7));
}

/// A log with the topics of this test and `count` batches of two records in each, flushed.
fn filled(environment: &Environment, count: u64) -> Log {
    let mut history = History {
        models: BTreeMap::new(),
        now: environment.clock.now(),
    };
    let log = open(environment).unwrap();
    create_topics(&log, &mut history).unwrap();
    for (name, _) in TOPICS {
        for number in 0..count {
            let value = vec![number as u8; 500];
            let keys = [b"often".to_vec(), format!("once-{number}").into_bytes()];
            let entries = keys.map(|key| (key, Some(value.clone())));
            let batch = batch_of(&entries, environment.clock.now());
            partition(&log, name).append(batch).unwrap().wait().unwrap();
        }
    }
    log.flush().unwrap();
    log
}

#[test]
fn age_moves_the_start_and_frees_the_disk() {
    let disk = SimulatedDisk::new(1);
    let (environment, clock) = machine(&disk, Timestamp(1_000_000));
    let log = filled(&environment, 12);
    let partition = partition(&log, "aged");
    let segments = |disk: &SimulatedDisk| disk.list(Path::new("/data/partitions/0000000001")).unwrap();
    log.clean().unwrap();
    assert_eq!(partition.log_start(), Offset(0), "young records stay");
    clock.advance(Duration::from_millis(2_001));
    log.clean().unwrap();
    assert_eq!(
        (partition.log_start(), partition.high_watermark()),
        (Offset(24), Offset(24))
    );
    let found: Vec<_> = segments(&disk)
        .into_iter()
        .filter(|name| has_extension(name, "log"))
        .collect();
    assert_eq!(found, ["00000000000000000024.log"], "even the last segment went");
    assert!(matches!(
        partition.read(Offset(23), 1),
        Err(doorbuster::log::ReadError::OutOfRange {
            log_start: Offset(24),
            ..
        })
    ));
    let batch = batch_of(&[(b"k".to_vec(), None)], environment.clock.now());
    assert_eq!(partition.append(batch).unwrap().wait().unwrap(), Offset(24));
    drop((log, partition));
    let log = open(&environment).unwrap();
    assert_eq!(self::partition(&log, "aged").log_start(), Offset(24));
    assert_eq!(read_all(&self::partition(&log, "aged")).unwrap().len(), 1);
}

#[test]
fn compaction_keeps_the_newest_record_of_every_key_at_its_offset() {
    let disk = SimulatedDisk::new(1);
    let (environment, _) = machine(&disk, Timestamp(1_000_000));
    let log = filled(&environment, 12);
    let partition = partition(&log, "compacted");
    let before = read_all(&partition).unwrap();
    log.clean().unwrap();
    let after = read_all(&partition).unwrap();
    assert!(after.iter().all(|(offset, entry)| before[offset] == *entry));
    let offsets_of = |records: &BTreeMap<u64, Entry>, key: &[u8]| -> Vec<u64> {
        let of_key = records.iter().filter(|(_, (other, _))| other.starts_with(key));
        of_key.map(|(offset, _)| *offset).collect()
    };
    assert_eq!(offsets_of(&after, b"once"), offsets_of(&before, b"once"));
    let often = offsets_of(&after, b"often");
    // The last segment, with its two batches at most, is not compacted; the closed ones keep their newest.
    assert!(often.contains(&22) && often.len() <= 4, "{often:?}");
    let operations = disk.operations();
    log.clean().unwrap();
    let again = read_all(&partition).unwrap();
    assert_eq!(again, after);
    assert!(
        disk.operations() - operations <= 4,
        "there is nothing left to rewrite"
    );
}

#[test]
fn deleted_records_are_gone_at_once_and_their_files_after_the_next_pass() {
    let disk = SimulatedDisk::new(1);
    let (environment, _) = machine(&disk, Timestamp(1_000_000));
    let log = filled(&environment, 12);
    let partition = partition(&log, "aged");
    let used_bytes = disk.used_bytes();
    assert!(
        partition.delete_records_before(Offset(25)).is_err(),
        "above the high watermark"
    );
    let moved = partition
        .delete_records_before(Offset(11))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!((moved, partition.log_start()), (Offset(11), Offset(11)));
    let moved = partition
        .delete_records_before(Offset(3))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(
        (moved, partition.log_start()),
        (Offset(11), Offset(11)),
        "nothing comes back"
    );
    assert_eq!(*read_all(&partition).unwrap().first_key_value().unwrap().0, 11);
    log.clean().unwrap();
    assert!(disk.used_bytes() < used_bytes);
    assert_eq!(*read_all(&partition).unwrap().first_key_value().unwrap().0, 11);
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == extension)
}
