//! A disk with room for one journal file only: it is begun again and again, and the power may go at any time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{Disk, Environment};
use doorbuster::log::{Append, AppendError, Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};

const FOLDER: &str = "/data";
const JOURNAL: &str = "/data/journal";
const JOURNAL_FILE_SIZE_BYTES: u64 = 64 * 1024;

/// Enough for one journal file and what else there is, not enough for two journal files.
const CAPACITY_BYTES: u64 = 2 * JOURNAL_FILE_SIZE_BYTES;

/// Batches of the workload: each takes a block of the journal, which has sixteen, so that it is begun again twice.
const BATCHES: usize = 36;

fn open(disk: &SimulatedDisk) -> Result<Log, String> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1_000))),
        random: Arc::new(SimulatedRandom::new(7)),
    };
    let options = LogOptions {
        batch_size_max_bytes: 6 * 1024,
        journal_file_size_bytes: JOURNAL_FILE_SIZE_BYTES,
        segment_size_max_bytes: 16 * 1024,
        ..LogOptions::default()
    };
    Log::open_in(environment, Path::new(FOLDER), options).map_err(|error| format!("{error:?}"))
}

fn value(number: usize) -> Vec<u8> {
    format!("value {number}").into_bytes()
}

fn batch_of(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1_000));
    let record = Record {
        timestamp: Timestamp(1_000),
        key: None,
        value: Some(value),
        headers: &[],
    };
    builder.push(&record).unwrap();
    builder.finish()
}

fn partition(log: &Log) -> Option<Partition> {
    Some(log.topic("orders")?.partitions[0].clone())
}

/// Runs the workload until its end, or until the power goes; the number of acknowledged batches.
fn run(disk: &SimulatedDisk) -> usize {
    disk.set_capacity(CAPACITY_BYTES);
    let Ok(log) = open(disk) else { return 0 };
    let spec = TopicSpec {
        partitions: 1,
        ..TopicSpec::default()
    };
    if log.create_topic("orders", &spec).is_err() {
        return 0;
    }
    let orders = partition(&log).unwrap();
    let append = |number: &usize| {
        orders
            .append(batch_of(&value(*number)))
            .is_ok_and(|append| append.wait().is_ok())
    };
    (0..BATCHES).take_while(append).count()
}

fn read_all(partition: &Partition) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    while Offset(values.len() as u64) < partition.high_watermark() {
        for slice in partition.read(Offset(values.len() as u64), 4_096).unwrap() {
            for found in batch::batches(&slice) {
                let (_, bytes) = found.unwrap();
                let records = batch::records(&bytes).unwrap();
                values.extend(records.map(|record| record.unwrap().value.unwrap().to_vec()));
            }
        }
    }
    values
}

fn check(log: &Log, acknowledged: usize) -> Result<usize, String> {
    let Some(orders) = partition(log) else {
        return if acknowledged == 0 {
            Ok(0)
        } else {
            Err("the topic is gone".to_owned())
        };
    };
    let found = read_all(&orders);
    let submitted: Vec<Vec<u8>> = (0..found.len()).map(value).collect();
    if found != submitted || found.len() < acknowledged {
        return Err(format!(
            "{acknowledged} were acknowledged, found {}: {found:?}",
            found.len()
        ));
    }
    Ok(found.len())
}

/// Opens what a power cut left, writes the journal full once more, and opens that.
fn recover_and_check(image: &SimulatedDisk, acknowledged: usize) -> Result<(), String> {
    let log = open(image)?;
    let found = check(&log, acknowledged)?;
    let Some(orders) = partition(&log) else {
        return Ok(());
    };
    for number in found..found + 16 {
        let append = orders
            .append(batch_of(&value(number)))
            .map_err(|error| error.to_string())?;
        append.wait().map_err(|error| error.to_string())?;
    }
    drop((orders, log));
    check(&open(image)?, found + 16).map(drop)
}

#[test]
fn the_only_journal_file_is_begun_again_and_a_power_cut_loses_nothing() {
    let whole = SimulatedDisk::new(1);
    assert_eq!(run(&whole), BATCHES);
    let names = whole.list(Path::new(JOURNAL)).unwrap();
    assert_eq!(
        names,
        ["0000.journal"],
        "one file, and no draft that found no room"
    );
    for cut in 0..whole.operations() {
        let disk = SimulatedDisk::new(1);
        disk.fail_at(cut, Fault::PowerCut);
        let acknowledged = run(&disk);
        let images = [
            disk.crash_keeping_none(),
            disk.crash_keeping_all(),
            disk.crash_image(cut),
        ];
        for (kind, image) in images.iter().enumerate() {
            image.set_capacity(CAPACITY_BYTES);
            recover_and_check(image, acknowledged)
                .unwrap_or_else(|error| panic!("cut at {cut}, image {kind}: {error}"));
        }
    }
}

#[test]
fn a_full_disk_is_an_error_for_records_and_room_makes_them_welcome_again() {
    let disk = SimulatedDisk::new(1);
    assert_eq!(run(&disk), BATCHES);
    let log = open(&disk).unwrap();
    let orders = partition(&log).unwrap();
    // Somebody else takes what is left.
    disk.set_capacity(disk.used_bytes());
    let mut taken = BATCHES;
    let refusal = loop {
        match orders.append(batch_of(&value(taken))) {
            Ok(append) => append.wait().unwrap(),
            Err(error) => break error,
        };
        taken += 1;
        assert!(log.flush().is_ok(), "a full disk stopped the log");
        assert!(taken < 1_000, "the disk never became full");
    };
    assert!(matches!(refusal, AppendError::StorageFull), "{refusal:?}");
    assert_eq!(check(&log, taken), Ok(taken), "reading goes on");
    // What must go on does, as long as the journal has room.
    let reserved = orders
        .clone()
        .with_reserve()
        .append(batch_of(&value(taken)))
        .map(Append::wait);
    assert!(
        matches!(reserved, Ok(Ok(_)) | Err(AppendError::StorageFull)),
        "{reserved:?}"
    );
    disk.set_capacity(u64::MAX);
    log.flush().unwrap();
    let next = orders
        .append(batch_of(&value(orders.high_watermark().0 as usize)))
        .unwrap();
    let offset = next.wait().unwrap();
    drop((orders, log));
    let log = open(&disk.crash_keeping_none()).unwrap();
    assert_eq!(check(&log, offset.0 as usize + 1), Ok(offset.0 as usize + 1));
}
