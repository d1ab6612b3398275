//! Whatever is damaged in a store: after a repair it opens, serves what is left, and gives no offset twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::inspect::repair::{self, RepairReport};
use doorbuster::log::inspect::{Access, DataFolder, survey};
use doorbuster::log::io::Environment;
use doorbuster::log::io::linux::LinuxDisk;
use doorbuster::log::{EXTENT_SIZE_LIMIT_BYTES, Log, LogOptions, Offset, Timestamp, TopicSpec};

const TOPICS: [(&str, u32); 2] = [("orders", 2), ("stock", 1)];
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 16 * 1024,
        journal_file_size_bytes: 48 * 1024,
        segment_size_max_bytes: 24 * 1024,
        extent_size_min_bytes: EXTENT_SIZE_LIMIT_BYTES,
        flush_interval: Duration::from_hours(1),
        plain_writes: true,
        ..LogOptions::default()
    }
}

fn value(topic: &str, partition: usize, offset: u64) -> Vec<u8> {
    let mut value = format!("{topic}-{partition} at {offset} ").into_bytes();
    // Some are large writes, which go straight to their segment.
    let padding = if offset % 6 == 5 {
        9_000
    } else {
        (offset as usize % 6) * 200
    };
    value.resize(value.len() + padding, b'.');
    value
}

/// Appends batches of one to three records to every partition.
fn append(log: &Log, rounds: u64) {
    for round in 0..rounds {
        for (name, _) in TOPICS {
            for (index, partition) in log.topic(name).unwrap().partitions.iter().enumerate() {
                let base = partition.high_watermark().0;
                let mut builder = BatchBuilder::new(NOW);
                for offset in base..=base + round % 3 {
                    let value = value(name, index, offset);
                    builder.push(&Record::of_value(NOW, &value)).unwrap();
                }
                partition.append(builder.finish()).unwrap().wait().unwrap();
            }
        }
    }
}

/// A store with rolled segments and a journal behind the checkpoint, as a killed process leaves it.
fn store(folder: &Path) -> BTreeMap<(String, usize), u64> {
    let live = folder.join("live");
    // Without threads, nothing is written while the folder is copied; dropped, it is not closed.
    let log = Log::open_in(Environment::machine(true), &live, options()).unwrap();
    for (name, partitions) in TOPICS {
        log.create_topic(name, &TopicSpec::with_partitions(partitions))
            .unwrap();
    }
    append(&log, 12);
    log.flush().unwrap();
    append(&log, 8);
    log.flush().unwrap();
    append(&log, 3);
    let ends = ends(&log);
    drop(log);
    copy_folder(&live, &folder.join("whole"));
    ends
}

fn ends(log: &Log) -> BTreeMap<(String, usize), u64> {
    let topics = log.topics();
    let partitions = topics.iter().flat_map(|topic| {
        let of = |(index, partition): (usize, &doorbuster::log::Partition)| {
            ((topic.name.clone(), index), partition.high_watermark().0)
        };
        topic.partitions.iter().enumerate().map(of).collect::<Vec<_>>()
    });
    partitions.collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

fn open(folder: &Path) -> DataFolder {
    DataFolder::open(Arc::new(LinuxDisk::default()), folder, Access::Locked).unwrap()
}

/// Repairs the folder and checks what it serves against what was appended.
#[track_caller]
fn check_repair(folder: &Path, ends: &BTreeMap<(String, usize), u64>, what: &str) -> RepairReport {
    let report = repair::apply(&open(folder), NOW).unwrap();
    let again = survey(&open(folder)).unwrap();
    assert!(again.findings.is_empty(), "{what}: {:#?}", again.findings);
    let lost: BTreeMap<_, Vec<_>> = report.lost.iter().fold(BTreeMap::new(), |mut lost, range| {
        let key = (range.topic.clone().unwrap_or_default(), range.index as usize);
        lost.entry(key)
            .or_insert_with(Vec::new)
            .push(range.offsets.clone());
        lost
    });
    let log = Log::open(folder, options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    for ((name, index), end) in ends {
        let Some(topic) = log.topic(name) else {
            let catalog = lost.contains_key(&(String::new(), 0));
            assert!(catalog, "{what}: topic {name} is gone in silence");
            continue;
        };
        let partition = &topic.partitions[*index];
        let none = Vec::new();
        let lost = lost.get(&(name.clone(), *index)).unwrap_or(&none);
        let mut seen = partition.reader_from(partition.log_start());
        let found: Vec<_> = seen.by_ref().map(|record| record.unwrap()).collect();
        for record in &found {
            let expected = value(name, *index, record.offset.0);
            assert_eq!(record.value.as_deref(), Some(&expected[..]), "{what}");
        }
        let offsets: Vec<_> = found.iter().map(|record| record.offset.0).collect();
        let expected: Vec<_> = (0..partition.high_watermark().0)
            .filter(|offset| !lost.iter().any(|range| range.contains(&Offset(*offset))))
            .collect();
        assert_eq!(offsets, expected, "{what}: {name}-{index}, lost {lost:?}");
        // Only what was the very end of a damaged journal can be unknown to everybody.
        let reached = partition.high_watermark().0;
        assert!(reached <= *end, "{what}: {name}-{index} has {reached} of {end}");
        assert!(
            reached + 3 >= *end || what.contains("journal"),
            "{what}: {name}-{index} ends at {reached} of {end}"
        );
    }
    if log.topics().len() == TOPICS.len() {
        append(&log, 1);
    }
    log.close().unwrap();
    report
}

fn damage(kind: &str, ends: &BTreeMap<(String, usize), u64>, folder: &Path, spoil: impl Fn(&Path) -> bool) {
    let whole = folder.join("whole");
    for path in files(&whole) {
        let file = path.strip_prefix(&whole).unwrap();
        if file == Path::new("lock") {
            continue;
        }
        let spoilt = folder.join("spoilt");
        copy_folder(&whole, &spoilt);
        if spoil(&spoilt.join(file)) {
            check_repair(&spoilt, ends, &format!("{kind} {}", file.display()));
        }
        fs::remove_dir_all(&spoilt).unwrap();
    }
}

#[test]
fn a_store_is_repaired_from_a_flipped_bit_anywhere() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ends = store(folder.path());
    // So that headers, middles and ends are met.
    for part in [0, 3, 6] {
        damage(
            &format!("bit flipped in part {part} of"),
            &ends,
            folder.path(),
            |path| {
                let mut bytes = fs::read(path).unwrap();
                let position = bytes.len() * part / 7 + 11 * part;
                let Some(byte) = bytes.get_mut(position) else {
                    return false;
                };
                *byte ^= 1 << part;
                fs::write(path, bytes).unwrap();
                true
            },
        );
    }
}

#[test]
fn a_store_is_repaired_from_a_cut_file_and_from_a_missing_one() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ends = store(folder.path());
    damage("missing", &ends, folder.path(), |path| {
        fs::remove_file(path).unwrap();
        true
    });
    damage("cut to half", &ends, folder.path(), |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        true
    });
}

#[test]
fn a_plan_changes_nothing_and_says_what_is_done_then() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    store(folder.path());
    let whole = folder.path().join("whole");
    let segment = files(&whole)
        .into_iter()
        .find(|path| path.extension().is_some_and(|suffix| suffix == "log"));
    let segment = segment.unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[70] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let content = |path: &PathBuf| (path.clone(), fs::read(path).unwrap());
    let before: Vec<_> = files(&whole)
        .iter()
        .filter(|path| !path.ends_with("lock"))
        .map(content)
        .collect();
    let planned = repair::plan(&open(&whole), NOW).unwrap();
    let after: Vec<_> = files(&whole)
        .iter()
        .filter(|path| !path.ends_with("lock"))
        .map(content)
        .collect();
    assert_eq!(after, before);
    let done = repair::apply(&open(&whole), NOW).unwrap();
    assert_eq!((done.actions, &done.lost), (planned.actions, &planned.lost));
    let kept = done.quarantine.join(segment.strip_prefix(&whole).unwrap());
    assert_eq!(
        fs::read(kept).unwrap(),
        bytes,
        "the damaged file is in quarantine"
    );
    let second = repair::apply(&open(&whole), NOW).unwrap();
    assert_eq!(second.actions, [], "a repaired store needs no repair");
}
