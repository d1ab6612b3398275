//! `doorbuster flash-sale`: the verdict of the whole program, and that it can fail.
#![cfg(feature = "daemon")]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

mod daemon;

use std::path::Path;
use std::process::{Command, Output};

use daemon::{Daemon, signal_named};
use doorbuster::commerce::load::report::{Report, Verdict};

/// A sale that is over in a few seconds, also in a debug build on a busy machine.
const SMALL: [&str; 8] = [
    "--shoppers",
    "400",
    "--units",
    "20",
    "--rate",
    "400",
    "--hold-ms",
    "1500",
];

fn doorbuster(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doorbuster"))
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .args(arguments)
        .output()
        .unwrap()
}

/// A folder on the disk that the build is on: a durable log needs a filesystem with direct writes.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn sale(arguments: &[&str]) -> (Report, Option<i32>) {
    let folder = folder();
    let all = [&["flash-sale", "--json"][..], &SMALL, arguments].concat();
    let output = doorbuster(folder.path(), &all);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("no report: {error}; {stderr}"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}; {stderr}");
    (report, output.status.code())
}

#[test]
fn a_small_sale_is_correct_and_accounts_for_every_attempt() {
    let (report, code) = sale(&["--seed", "7"]);
    assert_eq!((report.verdict, code), (Verdict::Correct, Some(0)), "{report}");
    let refused: u64 = report.refused.values().sum();
    assert_eq!(
        report.attempted,
        report.reserved + report.repeated + refused,
        "{report}"
    );
    assert_eq!(
        report.reserved,
        report.committed + report.released + report.expired,
        "{report}"
    );
    assert!(report.refused["sold_out"] > 0, "{report}");
    for (what, count) in [
        ("reserved", report.reserved),
        ("repeated", report.repeated),
        ("committed", report.committed),
        ("expired", report.expired),
        ("p50", report.latency_us.p50),
    ] {
        assert!(count > 0, "no {what}: {report}");
    }
    let faults = [
        report.oversold,
        report.lost,
        report.duplicated,
        report.unanswered,
        report.stuck,
    ];
    assert_eq!((faults, report.contradictions), ([0; 5], 0), "{report}");
    assert_eq!(
        (report.seed, report.shoppers, report.units, report.hold_ms),
        (7, 400, 20, 1_500)
    );
}

#[test]
fn the_same_seed_sends_the_same_attempts() {
    let (first, _) = sale(&["--seed", "11"]);
    let (second, _) = sale(&["--seed", "11"]);
    let (other, _) = sale(&["--seed", "12"]);
    assert_eq!(first.attempted, second.attempted);
    assert_ne!(first.attempted, other.attempted);
}

#[track_caller]
fn check_planted(fault: &str, count: fn(&Report) -> u64) {
    let (report, code) = sale(&["--plant", fault]);
    assert_eq!(
        (report.verdict, code),
        (Verdict::Incorrect, Some(1)),
        "{fault}: {report}"
    );
    assert!(count(&report) > 0, "{fault} was not counted: {report}");
}

#[test]
fn a_planted_oversell_is_found() {
    check_planted("oversell", |report| report.oversold);
}

#[test]
fn a_planted_loss_is_found() {
    check_planted("loss", |report| report.lost);
}

#[test]
fn a_planted_duplicate_is_found() {
    check_planted("duplicate", |report| report.duplicated);
}

#[test]
fn the_table_is_for_people_and_the_live_view_is_on_standard_error() {
    let folder = folder();
    let output = doorbuster(folder.path(), &[&["flash-sale"][..], &SMALL].concat());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("flash sale, seed 1\n"), "{stdout}");
    assert!(stdout.ends_with("verdict: correct\n"), "{stdout}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("doorbusters left"), "{stderr}");
}

#[test]
fn a_given_data_folder_is_kept() {
    let folder = folder();
    let all = [&["flash-sale", "--json", "--data-dir", "kept"][..], &SMALL].concat();
    let output = doorbuster(folder.path(), &all);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(folder.path().join("kept").is_dir());
    // A second sale goes on in the same log.
    let again = doorbuster(folder.path(), &all);
    let report: Report = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report.verdict, Verdict::Correct, "{report}");
}

#[test]
fn sales_at_a_running_daemon_are_correct_one_after_the_other() {
    let folder = folder();
    let daemon = Daemon::start(&folder.path().join("data"), "127.0.0.1:0");
    let address = daemon.address();
    for seed in ["1", "2"] {
        let all = [
            &["flash-sale", "--json", "--bootstrap", &address, "--seed", seed][..],
            &SMALL,
        ]
        .concat();
        let output = doorbuster(folder.path(), &all);
        let report: Report = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (report.verdict, output.status.code()),
            (Verdict::Correct, Some(0)),
            "{report}"
        );
    }
    assert_eq!(daemon.stop(signal_named("SIGTERM")).code, Some(0));
}

#[test]
fn nobody_at_the_address_is_a_failure_that_names_it() {
    let folder = folder();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let output = doorbuster(folder.path(), &["flash-sale", "--bootstrap", &address, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(&address) && stderr.contains("cannot connect"),
        "{stderr}"
    );
}
