//! Ten thousand partitions with few descriptors, on the simulated disk and on a real one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::Environment;
use doorbuster::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::{Log, LogOptions, Offset, Timestamp, Topic, TopicSpec};

const FOLDER: &str = "/data";
const OPEN_SEGMENTS_MAX: usize = 64;

/// Files that are open beside segments: checkpoints, journal, one index, one file before it is counted.
const OTHER_FILES_MAX: usize = 16;

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 64 * 1024,
        journal_file_size_bytes: 1024 * 1024,
        segment_size_max_bytes: 128 * 1024,
        open_segments_max: OPEN_SEGMENTS_MAX,
        ..LogOptions::default()
    }
}

fn open(disk: &SimulatedDisk) -> Log {
    open_with(disk, options())
}

fn open_with(disk: &SimulatedDisk, options: LogOptions) -> Log {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1_000))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    Log::open_in(environment, Path::new(FOLDER), options).unwrap()
}

fn batch_of(partition: usize, round: usize, size: usize) -> Bytes {
    let mut value = vec![0; size];
    value[..16].copy_from_slice(&((partition as u128) << 64 | round as u128).to_be_bytes());
    let mut builder = BatchBuilder::new(Timestamp(1_000));
    let record = Record {
        timestamp: Timestamp(1_000),
        key: None,
        value: Some(&value),
        headers: &[],
    };
    builder.push(&record).unwrap();
    builder.finish()
}

/// Appends to each partition in turn, so that none of the files is used twice in a row.
fn append_round(topic: &Topic, round: usize, size: usize) {
    let appends: Vec<_> = topic
        .partitions
        .iter()
        .enumerate()
        .map(|(index, partition)| partition.append(batch_of(index, round, size)).unwrap())
        .collect();
    for append in appends {
        assert_eq!(append.wait().unwrap(), Offset(round as u64));
    }
}

fn check(topic: &Topic, rounds: usize, size: usize) {
    for (index, partition) in topic.partitions.iter().enumerate() {
        let mut round = 0;
        while round < rounds {
            let slices = partition.read(Offset(round as u64), 1 << 20).unwrap();
            for slice in &slices {
                for (_, bytes) in batch::batches(slice).map(Result::unwrap) {
                    let value = batch::records(&bytes)
                        .unwrap()
                        .next()
                        .unwrap()
                        .unwrap()
                        .value
                        .unwrap();
                    let name = ((index as u128) << 64 | round as u128).to_be_bytes();
                    assert_eq!((value.len(), &value[..16]), (size, &name[..]));
                    round += 1;
                }
            }
        }
        assert_eq!(partition.high_watermark(), Offset(rounds as u64));
    }
}

#[test]
fn ten_thousand_partitions_share_sixty_four_open_segments() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let spec = TopicSpec {
        partitions: 10_000,
        ..TopicSpec::default()
    };
    let topic = log.create_topic("many", &spec).unwrap();
    for round in 0..3 {
        append_round(&topic, round, 100);
        log.flush().unwrap();
    }
    check(&topic, 3, 100);
    assert!(
        disk.open_files_most() <= OPEN_SEGMENTS_MAX + OTHER_FILES_MAX,
        "{}",
        disk.open_files_most()
    );
    // What was flushed is durable although most files were closed since.
    let image = disk.crash_keeping_none();
    let log = open(&image);
    check(&log.topic("many").unwrap(), 3, 100);
    assert!(
        image.open_files_most() <= OPEN_SEGMENTS_MAX + OTHER_FILES_MAX,
        "{}",
        image.open_files_most()
    );
}

#[test]
fn many_closed_segments_in_one_flush_share_them_too() {
    let disk = SimulatedDisk::new(1);
    let options = LogOptions {
        batch_size_max_bytes: 6 * 1024,
        segment_size_max_bytes: 8 * 1024,
        ..options()
    };
    let log = open_with(&disk, options);
    let spec = TopicSpec {
        partitions: 4,
        ..TopicSpec::default()
    };
    let topic = log.create_topic("few", &spec).unwrap();
    for round in 0..200 {
        append_round(&topic, round, 5_000);
    }
    log.flush().unwrap();
    check(&topic, 200, 5_000);
    assert!(
        disk.open_files_most() <= OPEN_SEGMENTS_MAX + OTHER_FILES_MAX,
        "{}",
        disk.open_files_most()
    );
}

#[test]
fn an_error_while_files_are_closed_early_loses_nothing() {
    let spec = TopicSpec {
        partitions: 200,
        ..TopicSpec::default()
    };
    let mut failed = 0;
    for operation in 0.. {
        let disk = SimulatedDisk::new(1);
        let log = open(&disk);
        let topic = log.create_topic("many", &spec).unwrap();
        for (index, partition) in topic.partitions.iter().enumerate() {
            partition.append(batch_of(index, 0, 100)).unwrap().wait().unwrap();
        }
        let at = disk.operations() + operation * 7;
        disk.fail_at(at, Fault::WriteError);
        failed += usize::from(log.flush().is_err());
        if disk.operations() <= at {
            break;
        }
        drop((topic, log));
        // A failed sync that nobody saw would have lost what the checkpoint says is there.
        let log = open(&disk.crash_keeping_none());
        check(&log.topic("many").unwrap(), 1, 100);
    }
    assert!(failed > 20, "{failed}");
}

/// The environment variable that makes this program the process with few descriptors.
#[cfg(target_os = "linux")]
const CHILD_FOLDER: &str = "DOORBUSTER_FEW_DESCRIPTORS";

#[cfg(target_os = "linux")]
#[test]
fn a_process_with_few_descriptors_serves_a_thousand_partitions() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    const DESCRIPTORS: u64 = 128;
    const PARTITIONS: u32 = 1_000;
    if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
        let few = Rlimit {
            current: Some(DESCRIPTORS),
            maximum: Some(DESCRIPTORS),
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let options = LogOptions {
            segment_size_max_bytes: 64 * 1024,
            ..LogOptions::default()
        };
        let log = Log::open(Path::new(&folder), options).unwrap();
        let spec = TopicSpec {
            partitions: PARTITIONS,
            ..TopicSpec::default()
        };
        let topic = log.create_topic("many", &spec).unwrap();
        for round in 0..3 {
            // Past the page cache, too, which takes a second descriptor.
            append_round(&topic, round, 40_000);
            log.flush().unwrap();
        }
        check(&topic, 3, 40_000);
        drop(topic);
        log.close().unwrap();
        return;
    }
    let folder = tempfile::tempdir_in(".").unwrap();
    let name = "a_process_with_few_descriptors_serves_a_thousand_partitions";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env(CHILD_FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
