//! Embedded logs that people use beside doorbuster's, on one disk, each synced before a commit returns.
//!
//! Every peer does every workload for the same time, in turn, several times; the table gives medians and what
//! doorbuster does as a multiple of each. `scripts/bench-log-peers` builds and runs this.

mod chronicle;
mod device;
mod doorbuster_log;
mod okay;
mod peer;
mod raft;
mod report;
#[cfg(feature = "rocksdb")]
mod rocks;
mod run;
mod workload;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

use crate::peer::PeerName;
use crate::report::Report;
use crate::workload::WORKLOADS;

/// Measures embedded logs beside each other.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder to measure in; a new folder is made inside it and removed afterwards
    #[arg(long, default_value = ".", value_name = "DIR")]
    data_dir: PathBuf,
    /// How long each peer does each workload, seconds
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,
    /// How often; the median is reported, with the spread
    #[arg(long, default_value_t = 3, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Who takes part, several separated by commas [default: all that this program was built with]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    peers: Vec<PeerName>,
    /// Only workloads whose name, as the table gives it, contains this
    #[arg(long, value_name = "TEXT")]
    workload: Option<String>,
    /// The command that runs Chronicle Queue's part, its words separated by spaces; without it that peer is left out
    #[arg(long, value_name = "COMMAND")]
    chronicle: Option<String>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut peers = match arguments.peers.as_slice() {
        [] => PeerName::built_in(),
        chosen => chosen.to_vec(),
    };
    if arguments.chronicle.is_none() {
        peers.retain(|peer| *peer != PeerName::ChronicleQueue);
    }
    let folder = arguments
        .data_dir
        .join(format!("doorbuster-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let folder = Removed(folder);
    let mut workloads = WORKLOADS.to_vec();
    if let Some(text) = &arguments.workload {
        workloads.retain(|workload| workload.to_string().contains(text));
    }
    let mut report = Report::new(arguments.runs, arguments.seconds);
    for number in 1..=arguments.runs {
        for workload in workloads.iter().copied() {
            for peer in &peers {
                if !peer.can_do(workload) {
                    continue;
                }
                eprintln!("peers: run {number} of {}: {workload}: {peer}", arguments.runs);
                let data = folder.0.join("data");
                let place = run::Place {
                    folder: &data,
                    seconds: arguments.seconds,
                    chronicle: arguments.chronicle.as_deref(),
                };
                let outcome = run::measure(*peer, workload, &place)
                    .with_context(|| format!("{peer} failed at {workload}"))?;
                report.add(workload, *peer, outcome);
                std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
            }
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&report.summary())?);
    } else {
        print!("{}", report.summary());
    }
    Ok(())
}

/// A folder that is removed in the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("peers: cannot remove {}: {error}", self.0.display());
        }
    }
}
