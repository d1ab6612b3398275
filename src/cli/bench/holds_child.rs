//! What `doorbuster bench holds` lets a process of its own do: open the shard, and tell time and memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use clap::ValueHint;
use doorbuster::commerce::inventory::{EVENTS_TOPIC, Limits, SnapshotFile, recover};
use doorbuster::commerce::store::LogStore;
use doorbuster::log::{Log, LogOptions};
use serde::{Deserialize, Serialize};

use super::cold;
use crate::cli::output;

/// Arguments of `doorbuster bench holds-child`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The data folder
    #[arg(value_hint = ValueHint::DirPath)]
    data: PathBuf,
    /// The folder of snapshots
    #[arg(value_hint = ValueHint::DirPath)]
    snapshots: PathBuf,
}

/// What a start came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The recovery of the shard's state, milliseconds.
    pub open_ms: f64,
    /// Resident memory after it, beyond that before.
    pub memory_bytes: u64,
    /// Live holds then.
    pub live_holds: u64,
    /// Digest of the state.
    pub hash: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let log = Log::open(&arguments.data, LogOptions::default()).context("opening the log")?;
    let topic = log.topic(EVENTS_TOPIC).context("the events topic is gone")?;
    let store = LogStore::new(topic.id, topic.partitions[0].clone());
    let file = SnapshotFile::new(&arguments.snapshots, 0);
    let before = resident_bytes()?;
    let start = Instant::now();
    let recovered = recover(&store, &Limits::default(), Some(&file)).context("recovering the shard")?;
    let open_ms = start.elapsed().as_secs_f64() * 1e3;
    let memory_bytes = resident_bytes()?.saturating_sub(before);
    output::json(&Started {
        open_ms,
        memory_bytes,
        live_holds: recovered.state.live_holds() as u64,
        hash: recovered.state.hash(),
    })
}

/// Opens the shard in a new process, with nothing of it in the page cache.
pub fn start(data: &Path, snapshots: &Path) -> anyhow::Result<Started> {
    cold::forget(data)?;
    cold::forget(snapshots)?;
    let program = std::env::current_exe().context("finding this program")?;
    let told = Command::new(program)
        .args(["bench", "holds-child"])
        .args([data, snapshots])
        .output()
        .context("starting a process")?;
    ensure!(
        told.status.success(),
        "the process that opens the shard failed: {}",
        String::from_utf8_lossy(&told.stderr)
    );
    serde_json::from_slice(&told.stdout).context("reading what the process tells")
}

fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"))
        .ok_or_else(|| anyhow!("/proc/self/status has no RssAnon"))?;
    let kibibytes: u64 = kibibytes
        .trim()
        .parse()
        .with_context(|| format!("{kibibytes:?} is no number"))?;
    Ok(kibibytes * 1024)
}
