//! What an acknowledgement means: by durability class, and on a device that lies about flushed writes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{Disk, Environment, OpenMode};
use doorbuster::log::{JournalError, Log, LogOptions, Offset, OpenError, Partition, Timestamp, TopicSpec};

const FOLDER: &str = "/data";
const JOURNAL: &str = "/data/journal/0000.journal";

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 64 * 1024,
        journal_file_size_bytes: 256 * 1024,
        extent_size_min_bytes: 16 * 1024,
        ..LogOptions::default()
    }
}

fn open_with(disk: &SimulatedDisk, options: LogOptions) -> Result<Log, OpenError> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    Log::open_in(environment, Path::new(FOLDER), options)
}

fn open(disk: &SimulatedDisk) -> Log {
    open_with(disk, options()).unwrap()
}

fn create(log: &Log, name: &str, configs: &[(&str, &str)]) -> Partition {
    let configs = configs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<BTreeMap<_, _>>();
    let spec = TopicSpec {
        partitions: 1,
        configs,
    };
    log.create_topic(name, &spec).unwrap().partitions[0].clone()
}

fn partition(log: &Log, name: &str) -> Partition {
    log.topic(name).unwrap().partitions[0].clone()
}

fn batch_of(size_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1));
    let value = vec![7; size_bytes];
    let record = Record {
        timestamp: Timestamp(1),
        key: None,
        value: Some(&value),
        headers: &[],
    };
    builder.push(&record).unwrap();
    builder.finish()
}

fn append(partition: &Partition, size_bytes: usize) {
    partition.append(batch_of(size_bytes)).unwrap().wait().unwrap();
}

fn read_file(disk: &SimulatedDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn write_file(disk: &SimulatedDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(Path::new(path), OpenMode::ReadWrite).unwrap();
    file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
    file.sync().unwrap();
}

#[test]
fn an_append_to_an_os_topic_survives_the_process_and_not_the_power() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let fast = create(&log, "fast", &[("durability", "os")]);
    append(&fast, 10);
    assert_eq!(fast.high_watermark(), Offset(1), "readable when acknowledged");
    let (killed, unplugged) = (disk.crash_keeping_all(), disk.crash_keeping_none());
    assert_eq!(partition(&open(&killed), "fast").high_watermark(), Offset(1));
    assert_eq!(partition(&open(&unplugged), "fast").high_watermark(), Offset(0));
}

#[test]
fn a_synced_append_makes_the_os_appends_before_it_durable() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let fast = create(&log, "fast", &[("durability", "os")]);
    let safe = create(&log, "safe", &[]);
    append(&fast, 10);
    append(&safe, 10);
    let unplugged = open(&disk.crash_keeping_none());
    assert_eq!(partition(&unplugged, "fast").high_watermark(), Offset(1));
    assert_eq!(partition(&unplugged, "safe").high_watermark(), Offset(1));
}

#[test]
fn a_flush_of_an_os_topic_outlives_the_journal_that_was_never_synced() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let fast = create(&log, "fast", &[("durability", "os")]);
    for _ in 0..3 {
        append(&fast, 10);
    }
    log.flush().unwrap();
    for image in [
        disk.crash_keeping_none(),
        disk.crash_image(7),
        disk.crash_keeping_all(),
    ] {
        let log = open(&image);
        assert_eq!(partition(&log, "fast").high_watermark(), Offset(3));
        log.close().unwrap();
        assert_eq!(partition(&open(&image), "fast").high_watermark(), Offset(3));
    }
}

#[test]
fn large_appends_to_an_os_topic_are_synced() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let fast = create(&log, "fast", &[("durability", "os")]);
    for _ in 0..4 {
        append(&fast, 40_000);
        log.flush().unwrap();
    }
    append(&fast, 40_000);
    let unplugged = open(&disk.crash_keeping_none());
    assert_eq!(partition(&unplugged, "fast").high_watermark(), Offset(5));
}

/// A store with topic `t` and three acknowledged records, which a later deletion of another topic made known to
/// be durable, and the journal as it was before them.
fn store_and_old_journal() -> (SimulatedDisk, Vec<u8>) {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let t = create(&log, "t", &[]);
    create(&log, "passing", &[]);
    let old = read_file(&disk, JOURNAL);
    for _ in 0..3 {
        append(&t, 10);
    }
    log.delete_topic("passing").unwrap();
    drop((log, t));
    (disk.crash_keeping_none(), old)
}

#[test]
fn a_device_that_lost_flushed_writes_is_refused_until_the_loss_is_accepted() {
    let (disk, old) = store_and_old_journal();
    write_file(&disk, JOURNAL, &old);
    let before = disk.fingerprint();
    let refused = open_with(&disk, options()).unwrap_err();
    let OpenError::LostWrites { found, expected, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (found, expected),
        (2, 7),
        "two topics; three records, a deletion, the claim"
    );
    assert_eq!(disk.fingerprint(), before, "nothing was changed");
    let accepting = LogOptions {
        accept_lost_writes: true,
        ..options()
    };
    let log = open_with(&disk, accepting).unwrap();
    assert_eq!(partition(&log, "t").high_watermark(), Offset(0));
    append(&partition(&log, "t"), 10);
    drop(log);
    assert_eq!(partition(&open(&disk), "t").high_watermark(), Offset(1));
}

#[test]
fn a_missing_anchor_is_damage() {
    let (disk, _) = store_and_old_journal();
    disk.remove_file(Path::new("/data/anchor")).unwrap();
    let refused = open_with(&disk, options()).unwrap_err();
    assert!(matches!(refused, OpenError::Anchor(_)), "{refused:?}");
}

#[test]
fn silent_damage_to_the_last_group_with_records_is_found_once_it_was_claimed() {
    let (disk, _) = store_and_old_journal();
    let bytes = read_file(&disk, JOURNAL);
    let frames = bytes.chunks(4096).filter(|block| block[..4] == *b"DBF2").count();
    assert_eq!(frames, 7, "six groups and the claim");
    for block in 1..=6 {
        let disk = disk.crash_keeping_none();
        let mut bad = bytes.clone();
        bad[block * 4096 + 100] ^= 1;
        write_file(&disk, JOURNAL, &bad);
        let refused = open_with(&disk, options()).unwrap_err();
        let OpenError::Journal(JournalError::Damaged { lsn, .. }) = refused else {
            panic!("block {block}: {refused:?}")
        };
        assert_eq!(lsn, block as u64);
    }
}

#[test]
fn a_damaged_extent_halts_where_it_was_durable_and_is_cut_where_it_was_not() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let t = create(&log, "t", &[]);
    create(&log, "passing", &[]);
    append(&t, 40_000);
    log.flush().unwrap();
    append(&t, 40_000);
    let segment = "/data/partitions/0000000001/00000000000000000000.log";
    // The second batch begins in the tenth block, so the one behind is whole and went straight to the segment.
    let flip = |disk: &SimulatedDisk| {
        let mut bytes = read_file(disk, segment);
        bytes[12 * 4096] ^= 1;
        write_file(disk, segment, &bytes);
    };
    let unclaimed = disk.crash_keeping_none();
    flip(&unclaimed);
    assert_eq!(partition(&open(&unclaimed), "t").high_watermark(), Offset(1));
    log.delete_topic("passing").unwrap();
    let claimed = disk.crash_keeping_none();
    assert_eq!(
        partition(&open(&claimed.crash_keeping_none()), "t").high_watermark(),
        Offset(2)
    );
    flip(&claimed);
    let refused = open_with(&claimed, options()).unwrap_err();
    let OpenError::Extent { first, next, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((first, next), (Offset(1), Offset(2)));
}
