//! Many partitions in one flush: one sync of the filesystem, and a power cut anywhere around it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::io::Environment;
use doorbuster::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};

/// More than a flush syncs one by one.
const PARTITIONS: u32 = 300;

fn open(disk: &SimulatedDisk) -> Log {
    try_open(disk).unwrap()
}

fn try_open(disk: &SimulatedDisk) -> Option<Log> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    let options = LogOptions {
        batch_size_max_bytes: 16 * 1024,
        journal_file_size_bytes: 128 * 1024,
        ..LogOptions::default()
    };
    Log::open_in(environment, Path::new("/data"), options).ok()
}

fn batch_of(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1));
    let record = Record {
        timestamp: Timestamp(1),
        key: None,
        value: Some(value),
        headers: &[],
    };
    builder.push(&record).unwrap();
    builder.finish()
}

/// One acknowledged record in every partition, twice, with a flush behind each; the number of records that are
/// acknowledged in all.
fn run(disk: &SimulatedDisk) -> Option<u64> {
    let log = try_open(disk)?;
    let spec = TopicSpec {
        partitions: PARTITIONS,
        ..TopicSpec::default()
    };
    let topic = log.create_topic("many", &spec).ok()?;
    let mut acknowledged = 0;
    for round in 1..=2 {
        for partition in &topic.partitions {
            let append = partition.append(batch_of(b"one")).ok();
            if append.and_then(|append| append.wait().ok()).is_none() {
                return Some(acknowledged);
            }
        }
        acknowledged = round;
        if log.flush().is_err() {
            break;
        }
    }
    Some(acknowledged)
}

#[test]
fn a_power_cut_around_a_flush_of_many_partitions_loses_nothing() {
    let disk = SimulatedDisk::new(1);
    assert_eq!(run(&disk), Some(2));
    let operations = disk.operations();
    let last = (operations - 40..operations).collect::<Vec<_>>();
    for cut in (0..operations).step_by(151).chain(last) {
        let disk = SimulatedDisk::new(1);
        disk.fail_at(cut, Fault::PowerCut);
        let acknowledged = run(&disk).unwrap_or(0);
        for image in [disk.crash_keeping_none(), disk.crash_image(cut)] {
            let log = open(&image);
            let Some(topic) = log.topic("many") else {
                assert_eq!(acknowledged, 0, "cut at {cut}");
                continue;
            };
            for partition in &topic.partitions {
                let end = partition.high_watermark();
                assert!(end >= Offset(acknowledged), "cut at {cut}: {end}");
                let mut next = Offset(0);
                while next < end {
                    assert_eq!(partition.read(next, 1).unwrap().len(), 1);
                    next = next.plus(1);
                }
            }
        }
    }
}

#[test]
fn what_a_flush_of_many_partitions_synced_reads_back_from_the_segments() {
    let disk = SimulatedDisk::new(1);
    run(&disk);
    let log = open(&disk.crash_keeping_none());
    let size_bytes = 2 * batch_of(b"one").len();
    for partition in &log.topic("many").unwrap().partitions {
        assert!(!partition.is_in_memory(Offset(0)));
        assert_eq!(partition.high_watermark(), Offset(2));
        let slices = partition.read(Offset(0), 1 << 20).unwrap();
        assert_eq!(slices.concat().len(), size_bytes);
    }
}
