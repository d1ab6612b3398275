//! Faults that come one at a time while a log flushes, stops and starts again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{Disk, Environment, OpenMode};
use doorbuster::log::{
    Append, AppendError, Log, LogOptions, Offset, OpenError, Partition, ReadError, Timestamp, TopicSpec,
};

const FOLDER: &str = "/data";
const PARTITIONS: u32 = 3;

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 6 * 1024,
        journal_file_size_bytes: 12 * 1024,
        segment_size_max_bytes: 4 * 1024,
        ..LogOptions::default()
    }
}

fn open(disk: &SimulatedDisk) -> Result<Log, OpenError> {
    open_with(disk, options())
}

fn open_with(disk: &SimulatedDisk, options: LogOptions) -> Result<Log, OpenError> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    Log::open_in(environment, Path::new(FOLDER), options)
}

fn batch_of(builder: BatchBuilder, value: &[u8]) -> Bytes {
    let mut builder = builder;
    builder
        .push(&Record {
            timestamp: Timestamp(1),
            key: None,
            value: Some(value),
            headers: &[],
        })
        .unwrap();
    builder.finish()
}

/// A batch of 1.5 KB that is told from others by `number` alone.
fn plain(number: u64) -> Bytes {
    let mut value = vec![number as u8; 1_500];
    value[..8].copy_from_slice(&number.to_be_bytes());
    batch_of(BatchBuilder::new(Timestamp(1)), &value)
}

/// The only batch of the producer `number`.
fn produced(number: u64) -> Bytes {
    let mut value = vec![number as u8; 1_500];
    value[..8].copy_from_slice(&number.to_be_bytes());
    batch_of(
        BatchBuilder::new(Timestamp(1)).producer(number as i64, 0, 0),
        &value,
    )
}

fn create(log: &Log) -> Vec<Partition> {
    let spec = TopicSpec {
        partitions: PARTITIONS,
        ..TopicSpec::default()
    };
    log.create_topic("t", &spec).unwrap().partitions.clone()
}

fn one_partition() -> TopicSpec {
    TopicSpec {
        partitions: 1,
        ..TopicSpec::default()
    }
}

fn numbers(partition: &Partition) -> Vec<u64> {
    let mut numbers = Vec::new();
    while Offset(numbers.len() as u64) < partition.high_watermark() {
        for slice in partition.read(Offset(numbers.len() as u64), 1 << 20).unwrap() {
            for found in batch::batches(&slice) {
                let (_, bytes) = found.unwrap();
                batch::verify(&bytes).unwrap();
                numbers.extend(batch::records(&bytes).unwrap().map(|record| {
                    let value = record.unwrap().value.unwrap();
                    u64::from_be_bytes(value[..8].try_into().unwrap())
                }));
            }
        }
    }
    numbers
}

/// A log with four batches in every partition, each of another producer, none of them flushed.
fn unflushed(disk: &SimulatedDisk) -> Log {
    let roomy = LogOptions {
        journal_file_size_bytes: 256 * 1024,
        ..options()
    };
    let log = open_with(disk, roomy).unwrap();
    for (index, partition) in create(&log).iter().enumerate() {
        for number in 0..4 {
            let batch = produced(index as u64 * 100 + number);
            partition.append(batch).unwrap().wait().unwrap();
        }
    }
    log
}

fn check_four_in_each(log: &Log, case: &str) {
    for (index, partition) in log.topic("t").unwrap().partitions.iter().enumerate() {
        let expected: Vec<_> = (0..4).map(|number| index as u64 * 100 + number).collect();
        assert_eq!(numbers(partition), expected, "{case}, partition {index}");
        for number in 0..4 {
            let again = produced(index as u64 * 100 + number);
            let offset = partition.append(again).unwrap().wait().unwrap();
            assert_eq!(
                offset,
                Offset(number),
                "{case}, partition {index}: a retry is known"
            );
        }
    }
}

#[test]
fn a_flush_that_found_no_space_comes_back_to_every_partition() {
    let disk = SimulatedDisk::new(1);
    let log = unflushed(&disk);
    // The first partition of several meets the full disk; the others do not get their turn.
    disk.set_capacity(disk.used_bytes());
    log.flush().unwrap();
    disk.set_capacity(u64::MAX);
    log.flush().unwrap();
    drop(log);
    check_four_in_each(&open(&disk.crash_keeping_none()).unwrap(), "after a full disk");
}

#[test]
fn a_disk_that_is_full_at_any_operation_of_a_flush_loses_neither_batches_nor_producers() {
    let operations = {
        let disk = SimulatedDisk::new(1);
        let log = unflushed(&disk);
        let before = disk.operations();
        log.flush().unwrap();
        before..disk.operations()
    };
    let mut retried = 0;
    for failing in operations {
        let case = format!("no space at operation {failing}");
        let disk = SimulatedDisk::new(1);
        let log = unflushed(&disk);
        disk.fail_at(failing, Fault::Enospc);
        // A sync that failed stops the log; everything else is tried again.
        if log.flush().is_ok() {
            log.flush().unwrap();
            retried += 1;
        }
        drop(log);
        check_four_in_each(&open(&disk.crash_keeping_none()).unwrap(), &case);
    }
    assert!(retried > 20, "{retried} flushes were tried again");
}

#[test]
fn a_checkpoint_that_finds_no_space_refuses_appends_until_there_is_some() {
    let disk = SimulatedDisk::new(1);
    let log = unflushed(&disk);
    let before = disk.operations();
    log.flush().unwrap();
    // The last two operations of a flush write and sync the checkpoint.
    let write = disk.operations() - before - 2;
    let disk = SimulatedDisk::new(1);
    let log = unflushed(&disk);
    for _ in 0..2 {
        disk.fail_at(disk.operations() + write, Fault::Enospc);
        if log.flush().is_err() {
            break;
        }
    }
    let partition = log.topic("t").unwrap().partitions[0].clone();
    log.flush().unwrap();
    partition.append(plain(4)).unwrap().wait().unwrap();
    drop(log);
    let log = open(&disk.crash_keeping_none()).unwrap();
    assert_eq!(numbers(&log.topic("t").unwrap().partitions[0]), [0, 1, 2, 3, 4]);
}

#[test]
fn a_kill_then_a_restart_then_a_power_cut_loses_nothing() {
    let first_run = |disk: &SimulatedDisk| -> (bool, u64) {
        let Ok(log) = open(disk) else { return (false, 0) };
        let Ok(topic) = log.create_topic("t", &one_partition()) else {
            return (false, 0);
        };
        for number in 0..6 {
            let append = topic.partitions[0].append(plain(number));
            if append.map_or(true, |append| append.wait().is_err()) {
                return (true, number);
            }
            if number % 3 == 1 && log.flush().is_err() {
                return (true, number + 1);
            }
        }
        (true, 6)
    };
    let total = {
        let disk = SimulatedDisk::new(7);
        first_run(&disk);
        disk.operations()
    };
    for kill in 0..total {
        let disk = SimulatedDisk::new(7);
        disk.fail_at(kill, Fault::PowerCut);
        let (has_topic, acknowledged) = first_run(&disk);
        let killed = disk.crash_keeping_all();
        let log = open(&killed).unwrap_or_else(|error| panic!("killed at {kill}: {error:?}"));
        let topic = log.topic("t").unwrap_or_else(|| {
            assert!(!has_topic, "killed at {kill}");
            log.create_topic("t", &one_partition()).unwrap()
        });
        let mut expected = numbers(&topic.partitions[0]);
        assert!(expected.len() as u64 >= acknowledged, "killed at {kill}");
        // Enough to write over every file that the checkpoint set free.
        for number in 100..110 {
            topic.partitions[0].append(plain(number)).unwrap().wait().unwrap();
            expected.push(number);
        }
        drop((log, topic));
        let log = open(&killed.crash_keeping_none())
            .unwrap_or_else(|error| panic!("killed at {kill}, then a power cut: {error:?}"));
        let topic = log.topic("t");
        assert!(topic.is_some(), "killed at {kill}, then a power cut: no topic");
        assert_eq!(
            numbers(&topic.unwrap().partitions[0]),
            expected,
            "killed at {kill}, then a power cut"
        );
    }
}

#[test]
fn a_journal_size_between_blocks_is_rounded_up() {
    let disk = SimulatedDisk::new(1);
    let log = open_with(
        &disk,
        LogOptions {
            journal_file_size_bytes: 50_000,
            ..options()
        },
    )
    .unwrap();
    let partitions = create(&log);
    // Groups of three batches, which fill more than a block.
    for number in (0..60).step_by(3) {
        let group: Vec<_> = (number..number + 3)
            .map(|number| partitions[0].append(plain(number)).unwrap())
            .collect();
        for append in group {
            append.wait().unwrap();
        }
    }
    drop((log, partitions));
    let log = open(&disk.crash_keeping_none()).unwrap();
    let expected: Vec<_> = (0..60).collect();
    assert_eq!(numbers(&log.topic("t").unwrap().partitions[0]), expected);
    for name in disk.list(Path::new("/data/journal")).unwrap() {
        let file = disk.open(&Path::new("/data/journal").join(name), OpenMode::Read);
        assert_eq!(file.unwrap().len().unwrap(), 53_248);
    }
}

#[test]
fn damage_at_the_end_of_the_last_segment_is_no_torn_write_when_the_journal_has_no_copy() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).unwrap();
    let partitions = create(&log);
    for number in 0..2 {
        partitions[0].append(plain(number)).unwrap().wait().unwrap();
    }
    // The journal's files with these batches are used again for others.
    for number in 0..40 {
        partitions[1].append(plain(number)).unwrap().wait().unwrap();
        log.flush().unwrap();
    }
    drop((log, partitions));
    let disk = disk.crash_keeping_none();
    let damage = |path: &str, position: u64, bytes: &[u8]| {
        let file = disk.open(Path::new(path), OpenMode::ReadWrite).unwrap();
        file.write_at(&[std::io::IoSlice::new(bytes)], position).unwrap();
        file.sync().unwrap();
    };
    for checkpoint in ["/data/checkpoint.0", "/data/checkpoint.1"] {
        damage(checkpoint, 0, b"lost");
    }
    assert!(
        open(&disk.crash_keeping_none()).is_ok(),
        "a lost checkpoint alone is made again"
    );
    damage(
        "/data/partitions/0000000001/00000000000000000000.log",
        2_000,
        b"rot",
    );
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Segment { .. }), "{error:?}");
}

#[test]
fn a_full_disk_does_not_keep_a_log_from_opening_and_leaves_no_drafts() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).unwrap();
    let partitions = create(&log);
    let mut number = 0;
    let disk = loop {
        partitions[0].append(plain(number)).unwrap().wait().unwrap();
        number += 1;
        // Until all files are needed, so that opening wants one more.
        let image = disk.crash_keeping_none();
        let before = image.operations();
        drop(open(&image).unwrap());
        let names = image.list(Path::new("/data/journal")).unwrap();
        if image.operations() > before && names.len() > disk.list(Path::new("/data/journal")).unwrap().len() {
            break disk.crash_keeping_none();
        }
        assert!(number < 100, "the journal never filled up");
    };
    disk.set_capacity(disk.used_bytes());
    for _ in 0..3 {
        let log = open(&disk).unwrap();
        let partition = &log.topic("t").unwrap().partitions[0];
        assert_eq!(numbers(partition).len() as u64, number);
        let refused = partition.append(plain(number)).map(Append::wait);
        assert!(
            matches!(refused, Ok(Err(_)) | Err(AppendError::StorageFull)),
            "{refused:?}"
        );
    }
    let names = disk.list(Path::new("/data/journal")).unwrap();
    assert!(names.iter().all(|name| name.ends_with(".journal")), "{names:?}");
    disk.set_capacity(u64::MAX);
    let log = open(&disk).unwrap();
    let partition = &log.topic("t").unwrap().partitions[0];
    partition.append(plain(number)).unwrap().wait().unwrap();
}

#[test]
fn a_partition_of_a_deleted_topic_says_so() {
    let disk = SimulatedDisk::new(1);
    let log = unflushed(&disk);
    let partition = log.topic("t").unwrap().partitions[0].clone();
    log.flush().unwrap();
    log.delete_topic("t").unwrap();
    let read = partition.read(Offset(0), 1 << 20);
    assert!(matches!(read, Err(ReadError::Deleted)), "{read:?}");
    let append = partition.append(plain(9));
    assert!(matches!(append, Err(AppendError::Deleted)), "{append:?}");
}

/// A log whose large batches go straight to segments, for which space is reserved ahead, with a topic of those and
/// one of others.
fn hot_and_other(disk: &SimulatedDisk) -> (Log, Partition, Partition) {
    let options = LogOptions {
        batch_size_max_bytes: 512 * 1024,
        journal_file_size_bytes: 1024 * 1024,
        extent_size_min_bytes: 16 * 1024,
        ..LogOptions::default()
    };
    let log = open_with(disk, options).unwrap();
    let partition = |name| log.create_topic(name, &one_partition()).unwrap().partitions[0].clone();
    let (hot, other) = (partition("hot"), partition("other"));
    (log, hot, other)
}

fn append_large(partition: &Partition, size_bytes: usize) -> Result<Append, AppendError> {
    partition.append(batch_of(BatchBuilder::new(Timestamp(1)), &vec![7; size_bytes]))
}

#[test]
fn space_that_is_reserved_for_one_partition_is_no_full_disk_for_another() {
    let disk = SimulatedDisk::new(1);
    let (log, hot, other) = hot_and_other(&disk);
    append_large(&hot, 40_000).unwrap().wait().unwrap();
    log.flush().unwrap();
    disk.set_capacity(disk.used_bytes() + 600 * 1024);
    for round in 0..6 {
        append_large(&other, 300_000)
            .unwrap_or_else(|error| panic!("round {round}: {error}"))
            .wait()
            .unwrap();
        log.flush().unwrap();
    }
    assert_eq!(other.high_watermark(), Offset(6));
    append_large(&hot, 40_000).unwrap().wait().unwrap();
}

#[test]
fn space_that_was_just_reserved_is_given_back_in_the_same_flush() {
    let disk = SimulatedDisk::new(1);
    let (log, hot, other) = hot_and_other(&disk);
    append_large(&hot, 40_000).unwrap().wait().unwrap();
    for _ in 0..3 {
        append_large(&other, 500_000).unwrap().wait().unwrap();
    }
    // Enough for the tails of both, or for what is reserved behind the first and not the second's tail.
    disk.set_capacity(disk.used_bytes() + 5 * 1024 * 1024);
    log.flush().unwrap();
    append_large(&other, 1_000).unwrap().wait().unwrap();
    assert_eq!(other.high_watermark(), Offset(4));
    assert!(other.size_bytes().unwrap() > 1_500_000, "flushed");
}
