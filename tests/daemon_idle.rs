//! What a daemon costs that has nothing to do.

mod daemon;

use std::path::PathBuf;
use std::time::Duration;

use daemon::{Daemon, ask_metadata, free_address};

/// Resident memory of an idle daemon, in kibibytes: 40 MiB.
const RESIDENT_MAX_KIB: u64 = 40 * 1024;

/// How long it is watched. Idleness is time that passes: there is nothing else to wait for.
const WATCHED: Duration = Duration::from_secs(3);

/// After the start, the first spare journal file is filled in the background.
const SETTLING: Duration = Duration::from_secs(3);

/// Processor time of an idle daemon while it is watched: 1 percent of one core.
const BUSY_MAX: Duration = Duration::from_millis(30);

#[test]
fn an_idle_daemon_takes_little_memory_and_no_time() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let daemon = Daemon::start(&folder.path().join("data"), &free_address());
    ask_metadata(&daemon.address()).expect("metadata");
    std::thread::sleep(SETTLING);
    let before = busy(daemon.pid());
    std::thread::sleep(WATCHED);
    let busy = busy(daemon.pid()).saturating_sub(before);
    let resident_kib = resident_kib(daemon.pid());
    println!("idle: {resident_kib} KiB resident, {busy:?} busy in {WATCHED:?}");
    assert!(
        resident_kib < RESIDENT_MAX_KIB,
        "{resident_kib} KiB resident, want below {RESIDENT_MAX_KIB}"
    );
    assert!(
        busy < BUSY_MAX,
        "busy for {busy:?} of {WATCHED:?}, want below {BUSY_MAX:?}"
    );
}

/// Processor time of all threads so far.
fn busy(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let of_task = |task: PathBuf| {
        // Nanoseconds on a processor, nanoseconds waiting for one, number of turns.
        let schedule = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        schedule
            .split(' ')
            .next()
            .and_then(|running| running.parse().ok())
            .unwrap_or(0)
    };
    Duration::from_nanos(tasks.map_while(Result::ok).map(|task| of_task(task.path())).sum())
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a resident size");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}
