//! Reservations at doorbuster's doors, beside what shops use today: one generator, the same work, one run.
//!
//! Every cell runs on a fresh store and is checked afterwards: what the peer's own stock says was taken is what the
//! generator was granted, and nothing is below zero. Before anything is measured each peer sells out under double
//! clicks. `scripts/bench-reserve-peers` builds and runs this.

mod cell;
#[allow(
    dead_code,
    reason = "the probes of `doorbuster bench`, of which this uses some"
)]
#[path = "../../../src/cli/bench"]
mod cli_bench {
    pub mod device;
    pub mod load;
    pub mod samples;
    pub mod written;
}
mod check;
mod embedded;
mod kafka;
mod limits;
mod measured;
mod peer;
mod plan;
mod plot;
mod postgres;
mod process;
mod redis;
mod redis_benchmark;
mod report;
mod resp;
mod shop;
mod table;
mod wire;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

use crate::cell::Cell;
use crate::peer::{Peer, Place};
use crate::plan::{CONNECTIONS_MAX, Plan, Wanted};
use crate::report::{Holds, Record, Records};
use crate::table::Table;
use crate::work::Names;

/// Measures reservations beside Redis and PostgreSQL.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    work: Option<Work>,
    /// Folder to measure in, on the disk that is meant; a new folder is made inside it and removed afterwards
    #[arg(long, default_value = ".", value_name = "DIR")]
    data_dir: PathBuf,
    /// Folder for report.json, report.md and report.svg
    #[arg(long, default_value = "bench-reserve-peers", value_name = "DIR")]
    output: PathBuf,
    /// The program `doorbuster`
    #[arg(long, default_value = "target/release/doorbuster", value_name = "FILE")]
    doorbuster: PathBuf,
    /// A minute instead of a quarter of an hour: one run of short cells, for looking whether everything works
    #[arg(long)]
    quick: bool,
    /// How long each cell is measured, seconds [default: 1.5, quick 0.2]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// How often; the median is reported, with the spread [default: 3, quick 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: Option<u32>,
    /// Most connections that calls in flight are spread over; the rest is pipelined
    #[arg(long, default_value_t = CONNECTIONS_MAX, value_name = "COUNT",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    connections: usize,
    /// Who takes part, several separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    peers: Vec<Peer>,
    /// Only cells whose name contains this, such as "hot" or "128 in flight"
    #[arg(long, value_name = "TEXT")]
    cell: Option<String>,
    /// Leave redis-benchmark out
    #[arg(long)]
    without_redis_benchmark: bool,
    /// Print the report as one JSON object instead of markdown
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// The embedded engine in a process of its own
    #[command(hide = true)]
    EmbeddedChild(embedded::ChildArguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Work::EmbeddedChild(arguments)) = arguments.work {
        println!("{}", serde_json::to_string(&embedded::run_child(&arguments)?)?);
        return Ok(());
    }
    let doorbuster = arguments.doorbuster.canonicalize();
    let doorbuster = doorbuster.with_context(|| format!("looking for {}", arguments.doorbuster.display()))?;
    let peers = taking_part(&arguments.peers, &doorbuster)?;
    let folder = Scratch::create(&arguments.data_dir)?;
    let place = Place {
        folder: folder.0.clone(),
        doorbuster,
        names: Arc::new(Names::new()),
    };
    let wanted = Wanted {
        quick: arguments.quick,
        runs: arguments.runs,
        seconds: arguments.seconds,
        connections_max: arguments.connections,
    };
    let plan = Plan::new(&wanted, arguments.cell.as_deref());
    eprintln!("preparing stores");
    place.prepare(&peers)?;
    for peer in peers.iter().copied() {
        eprintln!("check: {peer}: selling out under double clicks");
        check::sells_out(&place, peer)?;
    }
    let mut records = Records::default();
    for run in 1..=plan.runs {
        measure(&place, &peers, &plan, run, &mut records)?;
    }
    for peer in peers.iter().copied() {
        let Some(cell) = plan.holds.filter(|cell| peer.can_do(cell)) else {
            continue;
        };
        eprintln!("{peer}: {cell}");
        let outcome = place.run(peer, &cell)?;
        records
            .holds
            .extend(outcome.memory_bytes.map(|memory_bytes| Holds {
                peer,
                holds: outcome.measured.answers.granted,
                memory_bytes,
                written_bytes: outcome.written_bytes,
            }));
    }
    if !arguments.without_redis_benchmark {
        eprintln!("redis-benchmark");
        records.benchmarks = redis_benchmark::run(&place, &peers, plan.redis_benchmark_requests)?;
    }
    let mut versions = vec![redis::version()?, postgres::version()?];
    versions.push(shop::version(&place.doorbuster)?);
    let report = records.report(versions, plan.runs, plan.measured.as_secs_f64());
    let json = serde_json::to_string_pretty(&report)?;
    let markdown = Table(&report).to_string();
    let output = &arguments.output;
    std::fs::create_dir_all(output).with_context(|| format!("creating {}", output.display()))?;
    write(&output.join("report.json"), &json)?;
    write(&output.join("report.md"), &markdown)?;
    plot::write(&report, &output.join("report.svg"))?;
    println!("{}", if arguments.json { json } else { markdown });
    eprintln!(
        "report.json, report.md and report.svg are in {}",
        output.display()
    );
    Ok(())
}

fn measure(
    place: &Place,
    peers: &[Peer],
    plan: &Plan,
    run: u32,
    records: &mut Records,
) -> anyhow::Result<()> {
    let runs = plan.runs;
    records.limits.push(limits::measure(&place.folder)?);
    let mut one = |peer: Peer, cell: Cell| -> anyhow::Result<f64> {
        let outcome = place.run(peer, &cell)?;
        let rate = outcome.measured.reservations as f64 / outcome.measured.seconds;
        eprintln!(
            "run {run} of {runs}: {cell}: {peer}: {rate:.0} a second, p50 {:.0} us",
            outcome.measured.latency.p50_us
        );
        ensure!(
            outcome.measured.calls > 0,
            "{peer}: {cell}: no call ended in the measured time"
        );
        records.records.push(Record {
            run,
            peer,
            cell,
            outcome,
        });
        Ok(rate)
    };
    let mut best = vec![0.0_f64; peers.len()];
    for cell in &plan.cells {
        for (peer, best) in peers.iter().zip(&mut best).filter(|(peer, _)| peer.can_do(cell)) {
            let rate = one(*peer, *cell)?;
            if cell.batch == 1 {
                *best = best.max(rate);
            }
        }
    }
    for (peer, best) in peers.iter().zip(best) {
        if let Some(cell) = plan
            .at_half_of(best)
            .filter(|cell| peer.is_durable() && peer.can_do(cell))
        {
            one(*peer, cell)?;
        }
    }
    Ok(())
}

/// Those that were asked for, or all; doorbuster's Redis door only where the program has one.
fn taking_part(asked: &[Peer], doorbuster: &Path) -> anyhow::Result<Vec<Peer>> {
    let mut peers = match asked {
        [] => <Peer as clap::ValueEnum>::value_variants().to_vec(),
        asked => asked.to_vec(),
    };
    if peers.contains(&Peer::DoorbusterResp) && !shop::Shop::has_resp(doorbuster)? {
        ensure!(asked.is_empty(), "{} has no Redis door", doorbuster.display());
        eprintln!(
            "{}: left out, {} has none",
            Peer::DoorbusterResp,
            doorbuster.display()
        );
        peers.retain(|peer| *peer != Peer::DoorbusterResp);
    }
    Ok(peers)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// A folder that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn create(parent: &Path) -> anyhow::Result<Scratch> {
        let parent = parent
            .canonicalize()
            .with_context(|| format!("looking for {}", parent.display()))?;
        let path = parent.join(format!("reserve-peers-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
