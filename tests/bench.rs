//! `doorbuster bench`: that it measures, reports and cleans up; never how fast.
#![cfg(feature = "daemon")]

use std::process::Command;

/// Runs a benchmark once in a folder of its own and returns its JSON.
fn bench(arguments: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_doorbuster"))
        .current_dir(folder.path())
        .arg("bench")
        .args(arguments)
        .args(["--runs", "1", "--json"])
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("the folder").count(),
        0,
        "left behind; {stderr}"
    );
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Whether a figure is there with its spread, in order and above zero.
#[track_caller]
fn assert_samples(of: &serde_json::Value, figures: &[&str]) {
    for figure in figures {
        let number = |name: &str| of[figure][name].as_f64().unwrap_or(-1.0);
        let (lowest, median, highest) = (number("lowest"), number("median"), number("highest"));
        assert!(
            0.0 < lowest && lowest <= median && median <= highest,
            "{figure}: {of}"
        );
    }
}

#[track_caller]
fn assert_measured(report: &serde_json::Value, figures: &[&str]) {
    assert_eq!(report["runs"], 1);
    assert_samples(report, figures);
}

const DEVICE_FIGURES: [&str; 4] = [
    "large_megabytes_per_second",
    "block_p50_us",
    "block_p99_us",
    "block_p99_9_us",
];

#[test]
fn appends_are_measured_beside_the_device() {
    let report = bench(&[
        "append",
        "--total-bytes=4000000",
        "--appends=20",
        "--writers=5",
        "--writer-partitions=2",
        "--writer-in-flight=3",
        "--writer-batch-records=7",
        "--writer-records=1000",
        "--partitions=20",
        "--partitions-bytes=1000000",
    ]);
    assert_eq!(report["schema"], "doorbuster.bench-append.v2");
    assert_eq!(report["runs"], 1);
    assert_samples(&report["device"], &DEVICE_FIGURES);
    let rows = report["rows"].as_array().expect("rows");
    // Name, partitions, writers, in flight, records per batch and size, records.
    let shapes = rows.iter().map(|row| {
        let number = |name: &str| row[name].as_u64().expect("a number");
        let name = row["scenario"].as_str().expect("a name");
        (
            name,
            number("partitions"),
            number("writers"),
            number("in_flight"),
            (number("records_per_batch"), number("record_size_bytes")),
            number("records"),
        )
    });
    let wanted = [
        ("large-1", 1, 1, 32, (256, 1024), 16 * 256),
        ("large-8", 8, 8, 4, (256, 1024), 16 * 256),
        ("single", 1, 1, 1, (1, 100), 20),
        ("writers", 2, 5, 3, (1, 100), 1000),
        ("writers-batched", 2, 5, 1, (7, 100), 143 * 7),
        ("writers-waiting", 2, 5, 1, (1, 100), 20),
        ("partitions-one", 1, 4, 64, (16, 1024), 62 * 16),
        ("partitions-many", 20, 4, 64, (16, 1024), 62 * 16),
    ];
    assert_eq!(shapes.collect::<Vec<_>>(), wanted);
    for row in rows {
        let figures = [
            "records_per_second",
            "megabytes_per_second",
            "acknowledged_megabytes_per_second",
            "process_bytes_per_byte",
        ];
        assert_samples(row, &figures);
        let name = row["scenario"].as_str().expect("a name");
        assert_eq!(
            row["device_ratio"].is_object(),
            name.starts_with("large-"),
            "{row}"
        );
        assert_eq!(
            row["one_partition_ratio"].is_object(),
            name == "partitions-many",
            "{row}"
        );
        assert_eq!(row["latency"].is_object(), name == "single", "{row}");
    }
    let latency = ["p50_us", "p99_us", "p99_9_us", "p50_ratio", "p99_9_ratio"];
    assert_samples(&rows[2]["latency"], &latency);
    assert_samples(&rows[0], &["device_ratio"]);
    assert_samples(&rows[7], &["one_partition_ratio"]);
}

#[test]
fn scenarios_of_appends_are_chosen_by_name() {
    let report = bench(&[
        "append",
        "--scenario=single,large-8",
        "--appends=5",
        "--total-bytes=1",
        "--batch-bytes=1",
    ]);
    let names = report["rows"].as_array().expect("rows").iter();
    let names: Vec<_> = names.map(|row| (&row["scenario"], &row["records"])).collect();
    assert_eq!(
        names,
        [(&"single".into(), &5.into()), (&"large-8".into(), &1.into())]
    );
}

#[test]
fn reads_are_measured_beside_device_and_memory() {
    let report = bench(&["read", "--total-bytes=5000000"]);
    assert_eq!(report["schema"], "doorbuster.bench-read.v1");
    let figures = [
        "device_megabytes_per_second",
        "memory_copy_megabytes_per_second",
        "cold_megabytes_per_second",
        "warm_megabytes_per_second",
        "cold_ratio",
        "warm_ratio",
    ];
    assert_measured(&report, &figures);
}

#[test]
fn appends_are_measured_with_a_reader_at_the_end() {
    let report = bench(&[
        "tail",
        "--total-bytes=5000000",
        "--batch-bytes=20000",
        "--in-flight=3",
    ]);
    assert_eq!(report["schema"], "doorbuster.bench-tail.v1");
    assert_eq!(report["records_per_batch"], 19);
    let figures = [
        "alone_megabytes_per_second",
        "followed_megabytes_per_second",
        "ratio",
    ];
    assert_measured(&report, &figures);
}

#[test]
fn opening_is_measured_after_a_kill_and_after_a_stop() {
    let report = bench(&[
        "open",
        "--total-bytes=5000000",
        "--partitions=20",
        "--load-bytes=1000000",
    ]);
    assert_eq!(report["schema"], "doorbuster.bench-open.v1");
    assert_measured(&report, &["device_journal_ms", "journal_ratio"]);
    let figures = ["open_ms", "first_append_ms", "peak_memory_megabytes"];
    for way in ["after_kill", "after_close"] {
        assert_samples(&report[way], &figures);
        // How many depends on when the last flush was.
        assert!(report[way]["recovered_batches"].is_object(), "{report}");
    }
}

#[test]
fn reservations_are_measured_beside_the_device() {
    let report = bench(&["reserve", "--reservations", "5000"]);
    assert_eq!(report["schema"], "doorbuster.bench-reserve.v1");
    let figures = [
        "batched_per_second",
        "batch_p50_us",
        "batch_p99_us",
        "alone_per_second",
        "alone_p50_us",
        "alone_p99_us",
        "device_p50_us",
        "device_p99_us",
        "latency_ratio",
        "device_megabytes_per_second",
    ];
    assert_measured(&report, &figures);
}

#[test]
fn a_shard_of_many_holds_is_measured() {
    let report = bench(&["holds", "--holds=2000", "--rate=200", "--seconds=3"]);
    assert_eq!(report["schema"], "doorbuster.bench-holds.v1");
    assert_eq!(report["holds"], 2_000);
    let figures = [
        "fill_per_second",
        "written_bytes_per_reservation",
        "memory_bytes_per_hold",
        "snapshot_bytes_per_hold",
        "start_ms",
        "replay_ms",
        "alone_p50_us",
        "alone_p99_9_us",
    ];
    assert_measured(&report, &figures);
}
