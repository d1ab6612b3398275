//! Segments over the simulated disk: a naive model, recovery from every power cut, and damage.

mod seals;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::batch::{self, BatchBuilder, Place, Record, StoredBatch};
use crate::log::io::sim::{Fault, SimulatedDisk};
use crate::log::io::{Disk, OpenMode};
use crate::log::{PartitionId, StoreId, Timestamp};

const DIR: &str = "data/7";

/// Small enough that a few batches roll, and a few index entries fall into each segment.
const OPTIONS: SegmentOptions = SegmentOptions {
    segment_size_max_bytes: 2_000,
    index_interval_bytes: 300,
};

const READ_ALL_BYTES: usize = 1 << 20;

/// A batch at `base_offset` with one record per value size.
fn stored(base_offset: u64, timestamp: i64, value_sizes: &[usize]) -> StoredBatch {
    let mut builder = BatchBuilder::new(Timestamp(timestamp));
    for size in value_sizes {
        let value = vec![base_offset as u8; *size];
        let record = Record {
            timestamp: Timestamp(timestamp),
            key: None,
            value: Some(&value),
            headers: &[],
        };
        builder.push(&record).unwrap();
    }
    let mut bytes = builder.finish().to_vec();
    batch::write_base_offset(&mut bytes, Offset(base_offset), 0);
    StoredBatch::parse(bytes.into(), Place::default()).unwrap()
}

/// Appends the batches at the places that the partition would have given them.
fn append(segments: &Segments, batches: &[StoredBatch]) -> Result<(), SegmentError> {
    segments.append(&placed(segments, batches))
}

/// The batches at the places behind the end of `segments`; those that are there keep any place.
fn placed(segments: &Segments, batches: &[StoredBatch]) -> Vec<StoredBatch> {
    let end = segments.flushed();
    let mut cursor = Cursor::from(end);
    let place = |batch: &StoredBatch| {
        let mut batch = batch.clone();
        if batch.next_offset > end.next_offset {
            let limit = segments.place.options.segment_size_max_bytes;
            batch.place = cursor.take(batch.base_offset, batch.next_offset, batch.bytes.len(), limit);
        }
        batch
    };
    batches.iter().map(place).collect()
}

/// `count` batches from offset 0 on, of different sizes and timestamps that go up and down.
fn many(count: u64) -> Vec<StoredBatch> {
    let mut next = 0;
    (0..count)
        .map(|index| {
            let sizes: Vec<usize> = (0..=index % 3)
                .map(|i| (index * 37 + i * 11) as usize % 200)
                .collect();
            let batch = stored(next, 1_000 + (index * 7 % 11 * 10 + index) as i64, &sizes);
            next = batch.next_offset.0;
            batch
        })
        .collect()
}

fn place(disk: &SimulatedDisk) -> SegmentPlace {
    SegmentPlace {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from(DIR),
        store: StoreId(1),
        partition: PartitionId(7),
        options: OPTIONS,
        cache: Arc::new(SegmentCache::new(2)),
    }
}

fn open(disk: &SimulatedDisk, flushed: Option<FlushedPosition>) -> Result<Segments, SegmentError> {
    Segments::open(place(disk), flushed)
}

fn empty(disk: &SimulatedDisk) -> Segments {
    disk.create_dir_all(Path::new("data")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    open(disk, None).unwrap()
}

fn concat(runs: &[Bytes]) -> Vec<u8> {
    runs.iter().flat_map(|run| run.iter().copied()).collect()
}

fn bytes_of(batches: &[StoredBatch]) -> Vec<u8> {
    batches
        .iter()
        .flat_map(|batch| batch.bytes.iter().copied())
        .collect()
}

/// Everything that the segments answer is what the list of batches answers.
fn check_model(segments: &Segments, batches: &[StoredBatch]) {
    let next = batches.last().map_or(Offset::ZERO, |batch| batch.next_offset);
    assert_eq!(segments.flushed().next_offset, next);
    assert_eq!(segments.first_offset(), Offset::ZERO);
    assert_eq!(segments.size_bytes(), bytes_of(batches).len() as u64);
    for offset in 0..next.0 {
        let first = batches.partition_point(|batch| batch.next_offset.0 <= offset);
        assert_eq!(
            segments.read(Offset(offset), 0).unwrap(),
            [batches[first].bytes.clone()]
        );
        let all = concat(&segments.read(Offset(offset), READ_ALL_BYTES).unwrap());
        assert!(bytes_of(&batches[first..]) == all, "from {offset}");
    }
    assert_eq!(segments.read(next, READ_ALL_BYTES).unwrap(), Vec::<Bytes>::new());
    let error = segments.read(next.plus(1), 0).unwrap_err();
    assert!(matches!(error, SegmentError::OutOfRange { .. }));
    for timestamp in 990..1_150 {
        let expected = batches.iter().find(|batch| batch.max_timestamp.0 >= timestamp);
        let found = segments.batch_at_time(Timestamp(timestamp), Offset(0)).unwrap();
        assert_eq!(found, expected.map(|batch| batch.bytes.clone()), "at {timestamp}");
    }
    let max = batches.iter().rev().max_by_key(|batch| batch.max_timestamp);
    assert_eq!(
        segments.batch_with_max_timestamp(Offset(0)).unwrap(),
        max.map(|batch| batch.bytes.clone())
    );
}

fn files(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .into_iter()
        .map(|name| (name.clone(), content(disk, &name)))
        .collect()
}

fn content(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&Path::new(DIR).join(name), OpenMode::Read).unwrap();
    file.slice(0..file.len().unwrap()).unwrap().to_vec()
}

fn is_log(name: &str) -> bool {
    name.strip_suffix(".log").is_some()
}

fn overwrite(disk: &SimulatedDisk, name: &str, position: u64, bytes: &[u8]) {
    let file = disk
        .open(&Path::new(DIR).join(name), OpenMode::ReadWrite)
        .unwrap();
    file.write_at(&[std::io::IoSlice::new(bytes)], position).unwrap();
}

fn remove(disk: &SimulatedDisk, suffix: &str) {
    for (name, _) in files(disk).iter().filter(|(name, _)| name.ends_with(suffix)) {
        disk.remove_file(&Path::new(DIR).join(name)).unwrap();
    }
}

#[test]
fn answers_as_a_list_of_batches_does() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    check_model(&segments, &[]);
    let batches = many(60);
    for (index, chunk) in batches.chunks(7).enumerate() {
        append(&segments, chunk).unwrap();
        check_model(&segments, &batches[..(index * 7 + chunk.len())]);
    }
    segments.sync().unwrap();
    let flushed = segments.flushed();
    assert!(
        disk.list(Path::new(DIR)).unwrap().len() >= 3 * 4,
        "several segments"
    );
    check_model(
        &open(&disk.crash_keeping_none(), Some(flushed)).unwrap(),
        &batches,
    );
    check_model(&open(&disk.crash_keeping_none(), None).unwrap(), &batches);
}

#[test]
fn what_is_in_one_segment_is_one_slice() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    let logs = files(&disk).into_iter().filter(|(name, _)| is_log(name));
    let expected: Vec<Bytes> = logs.map(|(_, bytes)| bytes.into()).collect();
    assert_eq!(segments.read(Offset::ZERO, READ_ALL_BYTES).unwrap(), expected);
}

#[test]
fn a_read_stops_before_the_batch_that_does_not_fit() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(40);
    append(&segments, &batches).unwrap();
    for first in 0..batches.len() {
        for count in 1..=batches.len() - first {
            let expected = bytes_of(&batches[first..first + count]);
            for extra in [0, 1] {
                let read = segments
                    .read(batches[first].base_offset, expected.len() + extra)
                    .unwrap();
                assert!(concat(&read) == expected, "{count} batches from {first}");
            }
        }
    }
}

#[test]
fn every_power_cut_leaves_what_was_synced_and_replay_gives_the_same_files() {
    let batches = many(30);
    let complete = {
        let disk = SimulatedDisk::new(1);
        let segments = empty(&disk);
        for chunk in batches.chunks(4) {
            append(&segments, chunk).unwrap();
        }
        segments.sync().unwrap();
        files(&disk)
    };
    for operation in 2.. {
        let disk = SimulatedDisk::new(1);
        let segments = empty(&disk);
        disk.fail_at(operation, Fault::PowerCut);
        let mut durable = segments.flushed();
        let result = batches.chunks(4).try_for_each(|chunk| {
            append(&segments, chunk)?;
            segments.sync()?;
            durable = segments.flushed();
            Ok::<(), SegmentError>(())
        });
        if result.is_ok() {
            return;
        }
        let images = (0..4).map(|seed| disk.crash_image(seed));
        for image in images.chain([disk.crash_keeping_none(), disk.crash_keeping_all()]) {
            let segments = open(&image, Some(durable)).unwrap();
            let count = batches.partition_point(|batch| batch.next_offset <= durable.next_offset);
            check_model(&segments, &batches[..count]);
            for chunk in batches[count..].chunks(4) {
                append(&segments, chunk).unwrap();
            }
            segments.sync().unwrap();
            assert!(files(&image) == complete, "cut at operation {operation}");
            // The last segment's indexes are not synced, and made again.
            let last = format!("{:020}", segments.flushed().segment.0);
            let synced = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
                let is_synced = |name: &str| is_log(name) || !name.starts_with(&last);
                files.into_iter().filter(|(name, _)| is_synced(name)).collect()
            };
            let durable = synced(files(&image.crash_keeping_none()));
            assert!(
                durable == synced(complete.clone()),
                "cut at operation {operation}"
            );
        }
    }
}

#[test]
fn without_a_checkpoint_a_torn_end_is_cut_and_damage_before_it_is_not() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(30);
    append(&segments, &batches).unwrap();
    let end = segments.flushed();
    let last_log = format!("{:020}.log", end.segment.0);
    let torn = disk.crash_keeping_all();
    overwrite(&torn, &last_log, end.position - 1, &[0xff]);
    let found = open(&torn, None).unwrap();
    check_model(&found, &batches[..batches.len() - 1]);
    append(&found, &batches[batches.len() - 1..]).unwrap();
    check_model(&found, &batches);

    let damaged = disk.crash_keeping_all();
    overwrite(&damaged, "00000000000000000000.log", 100, &[0xff]);
    let error = open(&damaged, None).unwrap_err();
    assert!(
        matches!(error, SegmentError::CorruptBatch { position: 68, .. }),
        "{error:?}"
    );
}

#[test]
fn the_first_sync_after_a_kill_makes_durable_what_was_found() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(30);
    append(&segments, &batches).unwrap();
    let killed = disk.crash_keeping_all();
    let segments = open(&killed, None).unwrap();
    segments.sync().unwrap();
    check_model(
        &open(&killed.crash_keeping_none(), Some(segments.flushed())).unwrap(),
        &batches,
    );
}

#[test]
fn indexes_are_rebuilt_when_missing_or_wrong() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let flushed = segments.flushed();
    let complete = files(&disk);
    let spoil: [&dyn Fn(&SimulatedDisk); 5] = [
        &|disk| remove(disk, "index"),
        &|disk| remove(disk, ".timeindex"),
        &|disk| overwrite(disk, "00000000000000000000.index", 0, &[0xff; 24]),
        &|disk| overwrite(disk, "00000000000000000000.index", 4, &[0, 0, 1, 0]),
        &|disk| overwrite(disk, "00000000000000000000.timeindex", 0, &[0x7f; 12]),
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let image = disk.crash_keeping_none();
        spoil(&image);
        check_model(&open(&image, Some(flushed)).unwrap(), &batches);
        if index < 2 {
            let active = format!("{:020}", flushed.segment.0);
            let closed = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
                files
                    .into_iter()
                    .filter(|(name, _)| !name.starts_with(&active))
                    .collect()
            };
            assert!(closed(files(&image)) == closed(complete.clone()), "stored again");
        }
    }
}

#[test]
fn index_files_hold_what_kafka_expects() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    let last = format!("{:020}", segments.flushed().segment.0);
    for (name, log) in files(&disk).into_iter().filter(|(name, _)| is_log(name)) {
        let stem = name.strip_suffix(".log").unwrap();
        let base: u64 = stem.parse().unwrap();
        let offset_entries = content(&disk, &format!("{stem}.index"));
        for entry in offset_entries.as_chunks::<8>().0 {
            let relative = u32::from_be_bytes(entry[..4].try_into().unwrap());
            let position = u32::from_be_bytes(entry[4..].try_into().unwrap());
            let header = batch::BatchHeader::parse(&log[position as usize..]).unwrap();
            assert_eq!(header.last_offset().0, base + u64::from(relative));
        }
        assert!(!offset_entries.is_empty() || stem == last);
        let mut previous = -1;
        for entry in content(&disk, &format!("{stem}.timeindex")).as_chunks::<12>().0 {
            let timestamp = i64::from_be_bytes(entry[..8].try_into().unwrap());
            let relative = u32::from_be_bytes(entry[8..].try_into().unwrap());
            let last_offset = Offset(base + u64::from(relative));
            let batch = batches
                .iter()
                .find(|batch| batch.next_offset == last_offset.plus(1))
                .unwrap();
            assert_eq!(batch.max_timestamp.0, timestamp);
            assert!(timestamp > previous);
            previous = timestamp;
        }
        let batches_here = batches.iter().filter(|batch| bytes_contain(&log, batch));
        let max = batches_here.map(|batch| batch.max_timestamp.0).max().unwrap();
        assert!(
            previous == max || stem == last,
            "the last entry of a closed segment is its maximum"
        );
    }
}

fn bytes_contain(log: &[u8], batch: &StoredBatch) -> bool {
    log.windows(batch.bytes.len()).any(|window| window == batch.bytes)
}

#[test]
fn a_full_disk_is_told_apart_and_the_append_can_be_repeated() {
    let batches = many(60);
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    append(&segments, &batches[..1]).unwrap();
    let mut failures = 0;
    for capacity_bytes in (disk.used_bytes()..).step_by(4096) {
        disk.set_capacity(capacity_bytes);
        match append(&segments, &batches) {
            Ok(()) => break,
            Err(error) => assert!(error.is_storage_full(), "{error:?}"),
        }
        failures += 1;
        let next = segments.flushed().next_offset;
        check_model(
            &segments,
            &batches[..batches.partition_point(|batch| batch.next_offset <= next)],
        );
    }
    assert!(failures > 5);
    check_model(&segments, &batches);
    segments.sync().unwrap();
    check_model(
        &open(&disk.crash_keeping_none(), Some(segments.flushed())).unwrap(),
        &batches,
    );
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    append(&segments, &many(1)).unwrap();
    disk.fail_at(disk.operations(), Fault::WriteError);
    let error = segments.sync().unwrap_err();
    assert!(matches!(
        error,
        SegmentError::Io {
            operation: FileOperation::Sync,
            ..
        }
    ));
    assert!(!error.is_storage_full());
    assert!(matches!(segments.sync(), Err(SegmentError::SyncFailed { .. })));
    assert!(matches!(
        append(&segments, &many(2)),
        Err(SegmentError::SyncFailed { .. })
    ));
}

#[test]
fn damage_of_an_unsealed_segment_is_an_error_for_its_batch_only() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let flushed = Some(segments.flushed());
    // The second batch of the second segment, and one bit in its records.
    let second = files(&disk)
        .into_iter()
        .filter(|(name, _)| is_log(name))
        .nth(1)
        .unwrap()
        .0;
    let base: u64 = second.strip_suffix(".log").unwrap().parse().unwrap();
    let index = batches.partition_point(|batch| batch.base_offset.0 < base) + 1;
    let position = batches[index - 1].bytes.len() as u64;

    let image = disk.crash_keeping_none();
    remove(&image, ".seal");
    overwrite(&image, &second, position + 70, &[0xee]);
    let segments = open(&image, flushed).unwrap();
    let before = segments.read(Offset::ZERO, READ_ALL_BYTES).unwrap();
    assert!(concat(&before) == bytes_of(&batches[..index]));
    let error = segments
        .read(batches[index].base_offset, READ_ALL_BYTES)
        .unwrap_err();
    assert!(
        matches!(&error, SegmentError::CorruptBatch { position: p, .. } if *p == position),
        "{error:?}"
    );
    let after = segments
        .read(batches[index + 1].base_offset, READ_ALL_BYTES)
        .unwrap();
    assert!(concat(&after) == bytes_of(&batches[index + 1..]));

    let image = disk.crash_keeping_none();
    remove(&image, ".seal");
    overwrite(&image, &second, position, &9_999_u64.to_be_bytes());
    let segments = open(&image, flushed).unwrap();
    let error = segments
        .read(batches[index].base_offset, READ_ALL_BYTES)
        .unwrap_err();
    match error {
        SegmentError::Damaged {
            segment,
            position: p,
            found,
            expected,
            ..
        } => {
            let expected_fields = (Offset(base), position, Offset(9_999), batches[index].base_offset);
            assert_eq!((segment, p, found, expected), expected_fields);
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn files_shorter_than_the_checkpoint_are_damage() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(3);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let flushed = segments.flushed();
    let file = disk
        .open(
            &Path::new(DIR).join("00000000000000000000.log"),
            OpenMode::ReadWrite,
        )
        .unwrap();
    file.truncate(flushed.position - 1).unwrap();
    let segments = open(&disk, Some(flushed)).unwrap();
    let found_bytes = flushed.position - 1;
    assert!(matches!(
        segments.read(Offset::ZERO, 0).unwrap_err(),
        SegmentError::TooShort { found_bytes: f, expected_bytes: e, .. }
            if f == found_bytes && e == flushed.position
    ));
    assert!(matches!(
        append(&segments, &many(4)),
        Err(SegmentError::TooShort { .. })
    ));
}

#[test]
fn a_gap_is_refused() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(3);
    let error = append(&segments, &batches[1..]).unwrap_err();
    assert!(matches!(
        error,
        SegmentError::NotContiguous {
            found: Offset(1),
            expected: Offset(0)
        }
    ));
    check_model(&segments, &[]);
}

#[test]
fn closed_segments_keep_no_reserved_space_and_only_a_few_stay_open() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    check_model(&segments, &batches);
    let blocks = |bytes: usize| bytes.next_multiple_of(4096) as u64;
    let data: u64 = files(&disk).iter().map(|(_, bytes)| blocks(bytes.len())).sum();
    assert_eq!(disk.used_bytes(), data);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_batches_in_any_chunks_after_any_crash(
        sizes in prop::collection::vec((prop::collection::vec(0_usize..400, 1..4), 1_000_i64..1_100), 1..40),
        chunk in 1_usize..10,
        syncs in any::<u64>(),
        seed in any::<u64>(),
    ) {
        let mut next = 0;
        let batches: Vec<_> = sizes.iter().map(|(sizes, timestamp)| {
            let batch = stored(next, *timestamp, sizes);
            next = batch.next_offset.0;
            batch
        }).collect();
        let disk = SimulatedDisk::new(seed);
        let segments = empty(&disk);
        let mut durable = segments.flushed();
        for (index, chunk) in batches.chunks(chunk).enumerate() {
            append(&segments, chunk).unwrap();
            if syncs >> (index % 64) & 1 == 1 {
                segments.sync().unwrap();
                durable = segments.flushed();
            }
        }
        check_model(&segments, &batches);
        let image = disk.crash_image(seed);
        let segments = open(&image, Some(durable)).unwrap();
        let count = batches.partition_point(|batch| batch.next_offset <= durable.next_offset);
        check_model(&segments, &batches[..count]);
        append(&segments, &batches[count..]).unwrap();
        check_model(&segments, &batches);
    }
}
