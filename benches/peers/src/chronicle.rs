//! Chronicle Queue, in a Java process of its own that does the same work and tells the same numbers.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::run::{Outcome, Place};
use crate::workload::Workload;

/// Lets the Java program do `workload`.
pub fn measure(workload: Workload, place: &Place<'_>) -> anyhow::Result<Outcome> {
    let command = place
        .chronicle
        .context("no command runs Chronicle Queue's part")?;
    let mut words = command.split_ascii_whitespace();
    let program = words.next().context("the command has no words")?;
    let output = Command::new(program)
        .args(words)
        .arg(place.folder.join("chronicle"))
        .args(
            [
                workload.threads,
                workload.records_per_commit,
                workload.record_size_bytes,
            ]
            .map(|n| n.to_string()),
        )
        .arg(place.seconds.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(output.status.success(), "{program} ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    // The library says a word about itself on standard output; the numbers are the last line.
    let line = text.lines().last().context("the program told nothing")?;
    serde_json::from_str(line).with_context(|| format!("{line:?} is no outcome"))
}
