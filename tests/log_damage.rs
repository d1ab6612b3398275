//! Damage in the journal: history that was acknowledged is never shortened in silence.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod other_history;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{Fault, SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{Disk, Environment, OpenMode};
use doorbuster::log::{JournalError, Log, LogOptions, Offset, OpenError, Partition, Timestamp, TopicSpec};

const BLOCK: u64 = 4096;

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 6 * 1024,
        journal_file_size_bytes: 64 * 1024,
        ..LogOptions::default()
    }
}

fn open(disk: &SimulatedDisk) -> Result<Log, OpenError> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    Log::open_in(environment, Path::new("/data"), options())
}

fn batch_of(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1));
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

/// A store whose journal holds the topic's creation in block 1 and five acknowledged one-block groups behind.
fn store_with_five_groups() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).unwrap();
    let topic = log
        .create_topic(
            "t",
            &TopicSpec {
                partitions: 1,
                ..TopicSpec::default()
            },
        )
        .unwrap();
    for value in [b"a", b"b", b"c", b"d", b"e"] {
        topic.partitions[0]
            .append(batch_of(value))
            .unwrap()
            .wait()
            .unwrap();
    }
    drop(topic);
    drop(log);
    disk.crash_keeping_none()
}

fn values(partition: &Partition) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    while Offset(values.len() as u64) < partition.high_watermark() {
        for slice in partition.read(Offset(values.len() as u64), 1 << 20).unwrap() {
            for found in batch::batches(&slice) {
                let (_, bytes) = found.unwrap();
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

fn journal_file(disk: &SimulatedDisk) -> PathBuf {
    let folder = Path::new("/data/journal");
    let names = disk.list(folder).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    folder.join(&names[0])
}

fn flip(disk: &SimulatedDisk, path: &Path, position: u64) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[IoSlice::new(&[byte[0] ^ 1])], position).unwrap();
    file.sync().unwrap();
}

#[test]
fn a_damaged_group_before_an_acknowledged_one_halts_and_changes_nothing() {
    for group in 1..=5 {
        let disk = store_with_five_groups();
        let path = journal_file(&disk);
        flip(&disk, &path, group * BLOCK + 80);
        let before = disk.fingerprint();
        let error = open(&disk).unwrap_err();
        let OpenError::Journal(JournalError::Damaged {
            path: named,
            position,
            lsn,
        }) = error
        else {
            panic!("group {group}: {error:?}")
        };
        assert_eq!((named, position, lsn), (path, group * BLOCK, group));
        assert_eq!(disk.fingerprint(), before, "a refused start changes nothing");
    }
}

#[test]
fn a_torn_last_group_is_cut() {
    let disk = store_with_five_groups();
    flip(&disk, &journal_file(&disk), 6 * BLOCK + 80);
    let log = open(&disk).unwrap();
    assert_eq!(log.topic("t").unwrap().partitions[0].high_watermark(), Offset(4));
}

#[test]
fn a_missing_journal_halts() {
    let disk = store_with_five_groups();
    let log = open(&disk).unwrap();
    log.close().unwrap();
    for name in disk.list(Path::new("/data/journal")).unwrap() {
        disk.remove_file(&Path::new("/data/journal").join(name)).unwrap();
    }
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(error, OpenError::Journal(JournalError::Missing { .. })),
        "{error:?}"
    );
}

#[test]
fn a_journal_of_another_store_is_refused() {
    let disk = store_with_five_groups();
    let other = SimulatedDisk::new(2);
    let environment = Environment {
        disk: Arc::new(other.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(99)),
    };
    drop(Log::open_in(environment, Path::new("/data"), options()).unwrap());
    let from = disk.open(&journal_file(&disk), OpenMode::Read).unwrap();
    let mut bytes = vec![0; from.len().unwrap() as usize];
    from.read_at(&mut bytes, 0).unwrap();
    let to = other.open(&journal_file(&other), OpenMode::ReadWrite).unwrap();
    to.write_at(&[IoSlice::new(&bytes)], 0).unwrap();
    to.sync().unwrap();
    let error = open(&other).unwrap_err();
    assert!(
        matches!(error, OpenError::Journal(JournalError::Foreign { .. })),
        "{error:?}"
    );
}

#[test]
fn a_lost_checkpoint_is_made_again_from_segments_and_journal() {
    for flush_before in [false, true] {
        let disk = store_with_five_groups();
        let log = open(&disk).unwrap();
        if flush_before {
            log.flush().unwrap();
        }
        let partition = log.topic("t").unwrap().partitions[0].clone();
        partition.append(batch_of(b"f")).unwrap().wait().unwrap();
        drop((log, partition));
        let disk = disk.crash_keeping_none();
        for name in ["/data/checkpoint.0", "/data/checkpoint.1"] {
            disk.open(Path::new(name), OpenMode::ReadWrite)
                .unwrap()
                .truncate(0)
                .unwrap();
        }
        let log = open(&disk).unwrap();
        let partition = log.topic("t").unwrap().partitions[0].clone();
        assert_eq!(
            partition.high_watermark(),
            Offset(6),
            "flush_before = {flush_before}"
        );
        assert_eq!(
            values(&partition),
            [b"a", b"b", b"c", b"d", b"e", b"f"],
            "flush_before = {flush_before}"
        );
    }
}

#[test]
fn a_full_disk_refuses_appends_and_loses_nothing() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).unwrap();
    let topic = log
        .create_topic(
            "t",
            &TopicSpec {
                partitions: 1,
                ..TopicSpec::default()
            },
        )
        .unwrap();
    let partition = &topic.partitions[0];
    partition.append(batch_of(b"before")).unwrap().wait().unwrap();
    disk.set_capacity(disk.used_bytes());
    log.flush().unwrap();
    let refused = partition.append(batch_of(b"refused")).unwrap_err();
    assert!(
        matches!(refused, doorbuster::log::AppendError::StorageFull),
        "{refused:?}"
    );
    assert_eq!(
        partition.read(Offset(0), 1 << 20).unwrap().len(),
        1,
        "reads go on"
    );
    disk.set_capacity(u64::MAX);
    log.flush().unwrap();
    assert_eq!(
        partition.append(batch_of(b"after")).unwrap().wait().unwrap(),
        Offset(1)
    );
}

#[test]
fn a_refused_start_makes_no_checkpoint_file() {
    let disk = store_with_five_groups();
    disk.remove_file(Path::new("/data/checkpoint.0")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    flip(&disk, &journal_file(&disk), 2 * BLOCK + 80);
    let before = (disk.fingerprint(), disk.visible_fingerprint());
    assert!(matches!(open(&disk), Err(OpenError::Journal(_))));
    assert_eq!((disk.fingerprint(), disk.visible_fingerprint()), before);
}

#[test]
fn a_journal_file_whose_header_is_lost_is_no_unused_file() {
    let disk = store_with_five_groups();
    let path = journal_file(&disk);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_at(&[IoSlice::new(&[0; 512])], 0).unwrap();
    file.sync().unwrap();
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(&error, OpenError::Journal(JournalError::Damaged { path: named, lsn: 1, .. }) if *named == path),
        "{error:?}"
    );
}

#[test]
fn two_journal_files_of_one_number_halt() {
    let disk = store_with_five_groups();
    let path = journal_file(&disk);
    let twin = path.with_file_name("0007.journal");
    let file = disk.open(&twin, OpenMode::CreateNew).unwrap();
    file.write_at(&[IoSlice::new(&[0; 512])], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/data/journal")).unwrap();
    assert!(disk.replace_file(&twin, &disk.crash_keeping_none(), &path));
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(&error, OpenError::Journal(JournalError::Damaged { .. })),
        "{error:?}"
    );
}

#[test]
fn a_checkpoint_whose_sync_failed_is_written_again_before_it_is_believed() {
    let disk = store_with_five_groups();
    let log = open(&disk).unwrap();
    let image = disk.crash_keeping_all();
    log.flush().unwrap();
    let syncs = disk.operations();
    drop(log);
    for failing in image.operations()..image.operations() + syncs {
        let disk = image.crash_keeping_all();
        let log = open(&disk).unwrap();
        disk.fail_at(failing, Fault::WriteError);
        let flushed = log.flush();
        let killed = disk.crash_keeping_all();
        drop(log);
        let log = open(&killed).unwrap();
        log.flush().unwrap();
        let partition = log.topic("t").unwrap().partitions[0].clone();
        for value in 0..40_u8 {
            partition
                .append(batch_of(&[value; 3_000]))
                .unwrap()
                .wait()
                .unwrap();
        }
        drop((log, partition));
        let log = open(&killed.crash_keeping_none())
            .unwrap_or_else(|error| panic!("{flushed:?} at {failing}, then a power cut: {error:?}"));
        let partition = log.topic("t").unwrap().partitions[0].clone();
        assert_eq!(values(&partition).len(), 45, "{flushed:?} at {failing}");
    }
}

#[test]
fn a_group_of_another_history_of_the_same_store_never_follows() {
    use other_history::{VALUES, served_with_foreign_group};
    for group in 0..VALUES.len() {
        let served = served_with_foreign_group(group);
        let is_last = group + 1 == VALUES.len();
        // A later group says that all but the last were durable.
        let expected = is_last.then(|| VALUES[..group].to_vec());
        assert_eq!(served, expected, "group {group}");
    }
}
