//! `doorbuster log`: the program over real folders; exit codes, and JSON as whole values.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::{Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};
use serde_json::{Value, json};

fn options() -> LogOptions {
    LogOptions {
        batch_size_max_bytes: 4096,
        journal_file_size_bytes: 16 * 1024,
        segment_size_max_bytes: 400,
        flush_interval: Duration::from_hours(1),
        plain_writes: true,
        ..LogOptions::default()
    }
}

fn append(partition: &Partition, values: &[&str]) {
    let mut builder = BatchBuilder::new(Timestamp(1_000));
    for value in values {
        builder
            .push(&Record::of_value(Timestamp(1_000), value.as_bytes()))
            .unwrap();
    }
    partition.append(builder.finish()).unwrap().wait().unwrap();
}

/// A closed store with topic `orders`: three segments of two batches of two records.
fn store(folder: &Path) {
    let log = Log::open(folder, options()).unwrap();
    let topic = log
        .create_topic("orders", &TopicSpec::with_partitions(1))
        .unwrap();
    for number in 0..6 {
        let value = format!("{number:0>60}");
        append(&topic.partitions[0], &[&value, &value]);
    }
    log.close().unwrap();
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn run(arguments: &[&str], folders: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doorbuster"))
        .arg("log")
        .args(arguments)
        .args(folders)
        .output()
        .unwrap()
}

/// Exit code and the JSON lines of standard output.
fn json_of(arguments: &[&str], folders: &[&Path]) -> (i32, Vec<Value>) {
    let output = run(&[arguments, &["--json"]].concat(), folders);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (output.status.code().unwrap(), lines)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder.join("partitions/0000000001"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "log"))
        .collect();
    found.sort();
    found
}

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The records of `orders`, offset and first value byte that differs.
fn records(folder: &Path) -> Vec<(u64, String)> {
    let log = Log::open(folder, options()).unwrap();
    let topic = log.topic("orders").unwrap();
    let partition = &topic.partitions[0];
    let read = partition.reader_from(partition.log_start()).map(|record| {
        let record = record.unwrap();
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        (record.offset.0, value.trim_start_matches('0').to_owned())
    });
    let records = read.collect();
    log.close().unwrap();
    records
}

#[test]
fn a_sound_store_is_verified_and_counted() {
    let folder = scratch();
    store(folder.path());
    let verdict = json!({"schema": "doorbuster.log-verify.v1", "is_sound": true, "findings": 0, "partitions": 2,
        "lost": [], "fenced": []});
    assert_eq!(json_of(&["verify"], &[folder.path()]), (0, vec![verdict]));
    let (code, lines) = json_of(&["stat"], &[folder.path()]);
    assert_eq!((code, lines.len()), (0, 1));
    let stat = &lines[0];
    assert_eq!(
        (&stat["schema"], &stat["topics"]),
        (&json!("doorbuster.log-stat.v1"), &json!(1))
    );
    let size_bytes: u64 = segments(folder.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    let orders = json!({"partition": 1, "topic": "orders", "index": 0, "log_start": 0, "flushed_end": 12,
        "end": 12, "segments": segments(folder.path()).len(), "size_bytes": size_bytes});
    assert_eq!(stat["partitions"][1], orders);
}

#[test]
fn batches_and_records_are_shown_from_an_offset() {
    let folder = scratch();
    store(folder.path());
    let dump = [
        "dump",
        "--topic",
        "orders",
        "--partition",
        "0",
        "--from",
        "11",
        "--records",
    ];
    let (code, lines) = json_of(&dump, &[folder.path()]);
    assert_eq!((code, lines.len()), (0, 3));
    assert_eq!(lines[0]["base_offset"], 10);
    let value = format!("{:0>60}", 5);
    let record = |offset: u64| {
        json!({"schema": "doorbuster.log-record.v1", "offset": offset, "timestamp": 1000, "key": null,
            "value": value, "headers": []})
    };
    assert_eq!(lines[1..], [record(10), record(11)]);
    let (code, groups) = json_of(&["dump", "--journal"], &[folder.path()]);
    assert_eq!(code, 0);
    let lsns: Vec<_> = groups
        .iter()
        .map(|group| group["lsn"].as_u64().unwrap())
        .collect();
    let first = lsns[0];
    assert_eq!(lsns, (first..first + lsns.len() as u64).collect::<Vec<_>>());
    let output = run(&["dump", "--topic", "nothing"], &[folder.path()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "doorbuster: there is no topic \"nothing\"\n"
    );
}

#[test]
fn a_store_that_is_in_use_is_left_alone() {
    let folder = scratch();
    let log = Log::open(folder.path(), options()).unwrap();
    for tool in ["verify", "stat", "dump", "repair"] {
        let output = run(&[tool], &[folder.path()]);
        assert_eq!(output.status.code(), Some(2), "{tool}");
        let expected = format!(
            "doorbuster: data folder {} is in use: held by process {}; stop that process, or look into a copy of the \
             folder\n",
            folder.path().display(),
            std::process::id()
        );
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected, "{tool}");
    }
    assert_eq!(
        run(&["stat", "--unlocked"], &[folder.path()]).status.code(),
        Some(0)
    );
    log.close().unwrap();
    let nothing = scratch();
    let output = run(&["verify"], &[nothing.path()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        fs::read_dir(nothing.path()).unwrap().count(),
        0,
        "nothing is made"
    );
}

#[test]
fn damage_is_found_and_repaired_with_a_visible_gap() {
    let folder = scratch();
    store(folder.path());
    let segment = segments(folder.path()).remove(1);
    let base: u64 = segment.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    flip(&segment, 80);
    let file = segment.strip_prefix(folder.path()).unwrap();

    let (code, lines) = json_of(&["verify"], &[folder.path()]);
    assert_eq!((code, lines.len()), (1, 2), "{lines:?}");
    let mut finding = lines[0].clone();
    let what = finding["what"].take();
    assert!(
        what.as_str()
            .unwrap()
            .starts_with(&format!("offsets {base}..{} cannot be read", base + 2))
    );
    let expected = json!({"schema": "doorbuster.log-finding.v1", "file": file, "position": 0, "partition": 1,
        "kind": "batch", "severity": "loss", "what": null,
        "advice": "restore the file from a copy; without one, `repair` fences the offsets and the rest is served"});
    assert_eq!(finding, expected);
    let lost = json!([{"topic": "orders", "index": 0, "start": base, "end": base + 2}]);
    assert_eq!((&lines[1]["is_sound"], &lines[1]["lost"]), (&json!(false), &lost));

    let (code, lines) = json_of(&["repair"], &[folder.path()]);
    assert_eq!(
        (code, &lines[0]["is_applied"], &lines[0]["lost"]),
        (1, &json!(false), &lost)
    );
    assert!(
        !folder.path().join("quarantine").exists(),
        "a plan changes nothing"
    );
    let (code, lines) = json_of(&["repair", "--apply"], &[folder.path()]);
    assert_eq!(
        (code, &lines[0]["is_applied"], &lines[0]["lost"]),
        (0, &json!(true), &lost)
    );
    let quarantine = PathBuf::from(lines[0]["quarantine"].as_str().unwrap());
    assert!(quarantine.join(file).exists());

    let verdict = json!({"schema": "doorbuster.log-verify.v1", "is_sound": true, "findings": 0, "partitions": 2,
        "lost": [], "fenced": lost});
    assert_eq!(json_of(&["verify"], &[folder.path()]), (0, vec![verdict]));
    let kept: Vec<_> = (0..12_u64)
        .filter(|offset| !(base..base + 2).contains(offset))
        .map(|offset| (offset, (offset / 2).to_string().replace('0', "")))
        .collect();
    assert_eq!(records(folder.path()), kept);
}

#[test]
fn a_copy_is_another_store_with_the_same_records() {
    let folder = scratch();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    store(&from);
    let (code, lines) = json_of(&["copy"], &[&from, &to]);
    let bytes: u64 = segments(&from)
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    let report = json!({"schema": "doorbuster.log-copy.v1", "topics": 1, "partitions": 1, "batches": 6,
        "bytes": bytes});
    assert_eq!((code, lines), (0, vec![report]));
    assert_eq!(run(&["verify"], &[&to]).status.code(), Some(0));
    assert_eq!(records(&to), records(&from));
    assert_eq!(
        run(&["copy"], &[&from, &to]).status.code(),
        Some(2),
        "the target has a store"
    );
    flip(&segments(&from)[0], 80);
    let other = folder.path().join("other");
    assert_eq!(
        run(&["copy"], &[&from, &other]).status.code(),
        Some(2),
        "damage is not copied"
    );
}

#[test]
fn a_topic_of_kafka_comes_with_its_offsets() {
    let folder = scratch();
    let (from, kafka, to) = (
        folder.path().join("from"),
        folder.path().join("kafka"),
        folder.path().join("to"),
    );
    store(&from);
    // Kafka's files are these; the first segment was deleted by retention.
    let partition = kafka.join("purchases-0");
    fs::create_dir_all(&partition).unwrap();
    for segment in &segments(&from)[1..] {
        fs::copy(segment, partition.join(segment.file_name().unwrap())).unwrap();
    }
    let first: u64 = segments(&from)[1]
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let kafka_argument = kafka.to_str().unwrap();
    let (code, lines) = json_of(
        &["copy", "--from-kafka", kafka_argument, "--topic", "orders"],
        &[&to],
    );
    assert_eq!((code, &lines[0]["batches"]), (0, &json!(6 - first / 2)));
    assert_eq!(run(&["verify"], &[&to]).status.code(), Some(0));
    let log = Log::open(&to, options()).unwrap();
    let topic = log.topic("orders").unwrap();
    assert_eq!(
        (
            topic.partitions[0].log_start(),
            topic.partitions[0].high_watermark()
        ),
        (Offset(first), Offset(12))
    );
    append(&topic.partitions[0], &["more"]);
    log.close().unwrap();
    assert_eq!(
        records(&to)[..12 - first as usize],
        records(&from)[first as usize..]
    );
    let again = run(
        &["copy", "--from-kafka", kafka_argument, "--topic", "orders"],
        &[&to],
    );
    assert_eq!(again.status.code(), Some(2), "the topic exists");
    fs::rename(&partition, kafka.join("purchases-1")).unwrap();
    let gap = run(
        &["copy", "--from-kafka", kafka_argument, "--topic", "other"],
        &[&to],
    );
    assert_eq!(gap.status.code(), Some(2), "partition 0 is missing");
}
