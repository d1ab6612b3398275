//! A small store with everything in it: each flipped bit is found, or lies where nothing is.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::log::batch::{BatchBuilder, Record};
use crate::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use crate::log::io::{Disk, Environment, OpenMode};
use crate::log::{
    EXTENT_SIZE_LIMIT_BYTES, Log, LogOptions, Offset, Partition, PartitionId, Timestamp, TopicSpec,
};

pub(super) const FOLDER: &str = "/data";

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 12 * 1024,
        journal_file_size_bytes: 20 * 1024,
        extent_size_min_bytes: EXTENT_SIZE_LIMIT_BYTES,
        segment_size_max_bytes: 20 * 1024,
        ..LogOptions::default()
    }
}

pub(super) fn open_log(disk: &SimulatedDisk) -> Log {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    Log::open_in(environment, Path::new(FOLDER), options()).unwrap()
}

pub(super) fn folder(disk: &SimulatedDisk) -> DataFolder {
    DataFolder::open(Arc::new(disk.clone()), Path::new(FOLDER), Access::Locked).unwrap()
}

pub(super) fn batch(time: i64, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(time));
    for value in values {
        builder.push(&Record::of_value(Timestamp(time), value)).unwrap();
    }
    builder.finish()
}

pub(super) fn append(partition: &Partition, time: i64, values: &[&[u8]]) {
    partition.append(batch(time, values)).unwrap().wait().unwrap();
}

/// Two topics; rolled segments with indexes, a segment that is not full, and a journal behind the checkpoint.
pub(super) fn store() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let log = open_log(&disk);
    let orders = log
        .create_topic("orders", &TopicSpec::with_partitions(2))
        .unwrap();
    let stock = log.create_topic("stock", &TopicSpec::with_partitions(1)).unwrap();
    let [first, second] = &orders.partitions[..] else {
        panic!("two partitions")
    };
    append(first, 10, &[b"0", b"1"]);
    for _ in 0..4 {
        append(first, 30, &[&[7; 4200]]);
    }
    append(first, 20, &[b"3"]);
    append(second, 11, &[b"0"]);
    log.flush().unwrap();
    append(first, 31, &[&[8; 4200], b"5"]);
    append(first, 32, &[b"6"]);
    append(&stock.partitions[0], 40, &[b"0", b"1", b"2"]);
    // A large write asks for a segment to go to, and the next one goes there.
    append(&stock.partitions[0], 41, &[&[9; 8_400]]);
    log.flush().unwrap();
    append(&stock.partitions[0], 42, &[&[9; 8_500], b"5"]);
    append(first, 33, &[b"7", b"8"]);
    append(second, 41, &[b"1"]);
    append(first, 34, &[b"9"]);
    drop((log, orders, stock));
    disk.crash_keeping_none()
}

pub(super) fn files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let root = Path::new(FOLDER);
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for name in disk.list(&folder).unwrap() {
            let path = folder.join(name);
            if disk.list(&path).is_ok() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

pub(super) fn read(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub(super) fn flip(disk: &SimulatedDisk, path: &Path, position: u64, mask: u8) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[IoSlice::new(&[byte[0] ^ mask])], position)
        .unwrap();
}

#[track_caller]
pub(super) fn assert_sound(disk: &SimulatedDisk) -> Survey {
    let found = survey(&folder(disk)).unwrap();
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
    found
}

#[test]
fn a_sound_store_has_no_findings_and_is_counted_whole() {
    let disk = store();
    let found = assert_sound(&disk);
    assert_eq!(found.journal.extents.len(), 1, "a large write is in the journal");
    let ends: Vec<_> = found
        .partitions
        .iter()
        .map(|(id, partition)| {
            let ends = (partition.log_start.0, partition.flushed_end.0, partition.end.0);
            (id.0, partition.topic.as_deref(), partition.index, ends)
        })
        .collect();
    assert_eq!(
        ends,
        [
            (0, None, 0, (0, 2, 2)),
            (1, Some("orders"), 0, (0, 10, 13)),
            (2, Some("orders"), 1, (0, 1, 2)),
            (3, Some("stock"), 0, (0, 4, 6)),
        ]
    );
    let counted = stat(&folder(&disk)).unwrap();
    assert_eq!((counted.topics, counted.checkpoint.unwrap().0), (2, 3));
    assert_eq!(counted.partitions[1].segments, 2);
}

/// Bytes from which on a run of equal bytes is thinned out: padding and large values.
const RUN_BYTES: usize = 24;

/// The bits to flip at `position`: all, but within runs of equal bytes and in free areas one in every 16th byte.
fn bits(bytes: &[u8], position: usize, is_free: bool) -> Vec<u8> {
    let around = bytes.get(position.saturating_sub(RUN_BYTES)..position + RUN_BYTES);
    let in_run = around.is_some_and(|around| around.iter().all(|byte| *byte == bytes[position]));
    match in_run || is_free {
        true if position.is_multiple_of(16) => vec![1 << (position / 16 % 8)],
        true => Vec::new(),
        false => (0..8).map(|bit| 1 << bit).collect(),
    }
}

/// Flips bits in the files that `is_meant`, one at a time: each is found, or lies where nothing is.
#[track_caller]
fn flip_bits(is_meant: impl Fn(&Path) -> bool) -> usize {
    let disk = store();
    let free: BTreeSet<(PathBuf, u64)> = assert_sound(&disk)
        .free
        .into_iter()
        .flat_map(|area| area.range.map(move |position| (area.file.clone(), position)))
        .collect();
    let mut count = 0;
    for path in files(&disk) {
        let file = path.strip_prefix(FOLDER).unwrap().to_path_buf();
        // The lock's content is the pid of whoever held it last.
        if file == Path::new("lock") || !is_meant(&file) {
            continue;
        }
        let bytes = read(&disk, &path);
        for position in 0..bytes.len() {
            let is_free = free.contains(&(file.clone(), position as u64));
            for mask in bits(&bytes, position, is_free) {
                flip(&disk, &path, position as u64, mask);
                let found = survey(&folder(&disk)).unwrap().findings;
                flip(&disk, &path, position as u64, mask);
                let place = format!("{} position {position} mask {mask}", file.display());
                assert_eq!(found.is_empty(), is_free, "{place}: {found:?}");
                count += 1;
            }
        }
    }
    assert_sound(&disk);
    count
}

#[test]
fn every_flipped_bit_of_the_journal_is_found_or_lies_in_a_free_area() {
    assert!(flip_bits(|file| file.starts_with("journal")) > 10_000);
}

#[test]
fn every_flipped_bit_of_segments_and_their_indexes_is_found() {
    assert!(flip_bits(|file| file.starts_with("partitions")) > 5_000);
}

#[test]
fn every_flipped_bit_of_the_identity_and_of_both_checkpoints_is_found() {
    assert!(flip_bits(|file| file.components().count() == 1) > 3_000);
}

#[test]
fn a_log_start_that_moved_in_the_journal_is_known_and_no_damage() {
    let disk = store();
    let log = open_log(&disk);
    let orders = log.topic("orders").unwrap().partitions[0].clone();
    orders.delete_records_before(Offset(4)).unwrap().wait().unwrap();
    drop((log, orders));
    let disk = disk.crash_keeping_none();
    let found = assert_sound(&disk);
    let orders = &found.partitions[&PartitionId(1)];
    assert_eq!((orders.log_start, orders.end), (Offset(4), Offset(13)));
}

#[test]
fn the_blocks_of_a_large_write_that_are_damaged_are_told_with_their_offsets() {
    let disk = store();
    let (path, range) = assert_sound(&disk).journal.extents.remove(0);
    flip(&disk, &path, range.start + 100, 1);
    let found = survey(&folder(&disk)).unwrap();
    let kinds: Vec<_> = found
        .findings
        .iter()
        .map(|finding| finding.problem.kind())
        .collect();
    assert_eq!(kinds, ["extent"]);
    let lost: Vec<_> = found
        .lost()
        .into_iter()
        .map(|lost| (lost.topic, lost.offsets))
        .collect();
    assert_eq!(lost, [(Some("stock".to_owned()), Offset(4)..Offset(6))]);
}
