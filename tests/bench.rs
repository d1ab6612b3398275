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

#[track_caller]
fn assert_measured(report: &serde_json::Value, figures: &[&str]) {
    assert_eq!(report["runs"], 1);
    for figure in figures {
        let median = report[figure]["median"].as_f64();
        assert!(median.is_some_and(|median| median > 0.0), "{figure}: {report}");
    }
}

#[test]
fn appends_are_measured_beside_the_device() {
    let report = bench(&["append", "--total-bytes", "4000000"]);
    assert_eq!(report["schema"], "doorbuster.bench-append.v1");
    let figures = [
        "device_megabytes_per_second",
        "megabytes_per_second",
        "throughput_ratio",
        "device_p50_us",
        "device_p99_us",
        "alone_p50_us",
        "alone_p99_us",
        "latency_ratio",
        "alone_per_second",
    ];
    assert_measured(&report, &figures);
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
