//! `doorbuster simulate`: many lives of a log on a simulated disk with faults, from seeds.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Args;
use doorbuster::log::simulation::{self, Report, Settings};
use serde::Serialize;

use super::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.simulate.v1";

/// Exit code of a run that found a violation.
const EXIT_VIOLATION: u8 = 1;

/// One seed in so many is run twice, and must give the same bytes.
const REPEAT_EVERY: u64 = 32;

/// Arguments of `doorbuster simulate`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Seeds to run
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// Run this seed alone, and tell its steps
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Threads [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// The result of `doorbuster simulate`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    schema: &'static str,
    seeds: u64,
    seeds_run_twice: u64,
    seconds: f64,
    seeds_per_second: f64,
    steps: u64,
    disk_operations: u64,
    crashes: u64,
    recoveries: u64,
    halts_after_damage: u64,
    reads_refused_after_damage: u64,
    known_losses: u64,
    known_strangers: u64,
    faults: BTreeMap<&'static str, u64>,
    violations: u64,
    failing_seed: Option<u64>,
    violation: Option<String>,
    steps_of_failing_seed: &'a [String],
    replay: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(seed) = arguments.seed {
        return replay(seed);
    }
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => available_parallelism()?.get(),
    };
    let report = simulation::simulate(Settings {
        from: arguments.from,
        seeds: arguments.seeds,
        threads,
        repeat_every: REPEAT_EVERY,
    });
    if let Some(failure) = &report.failure {
        for step in &failure.steps {
            output::status(step);
        }
        output::status(&format!("seed {}: {}", failure.seed, failure.violation));
        output::status(&format!("replay it with: {}", replay_command(failure.seed)));
    }
    if arguments.json {
        output::json(&summary(&report))?;
    } else {
        output::result(&report)?;
    }
    Ok(exit_code(report.failure.is_some()))
}

fn replay(seed: u64) -> anyhow::Result<ExitCode> {
    let (steps, violation) = simulation::replay(seed);
    for step in &steps {
        output::result(step)?;
    }
    match &violation {
        Some(violation) => output::result(&format!("seed {seed}: {violation}"))?,
        None => output::result(&format!("seed {seed}: no violation"))?,
    }
    Ok(exit_code(violation.is_some()))
}

fn replay_command(seed: u64) -> String {
    format!("doorbuster simulate --seed {seed}")
}

fn exit_code(is_violated: bool) -> ExitCode {
    if is_violated {
        ExitCode::from(EXIT_VIOLATION)
    } else {
        ExitCode::SUCCESS
    }
}

fn summary(report: &Report) -> Summary<'_> {
    let seconds = report.elapsed.as_secs_f64();
    let failure = report.failure.as_ref();
    Summary {
        schema: SCHEMA,
        seeds: report.seeds,
        seeds_run_twice: report.repeated,
        seconds,
        seeds_per_second: report.seeds as f64 / seconds.max(1e-9),
        steps: report.steps(),
        disk_operations: report.operations(),
        crashes: report.crashes(),
        recoveries: report.recoveries(),
        halts_after_damage: report.halts(),
        reads_refused_after_damage: report.refusals(),
        known_losses: report.known_losses(),
        known_strangers: report.known_strangers(),
        faults: report.faults().iter().collect(),
        violations: u64::from(failure.is_some()),
        failing_seed: failure.map(|failure| failure.seed),
        violation: failure.map(|failure| failure.violation.to_string()),
        steps_of_failing_seed: failure.map_or(&[], |failure| &failure.steps),
        replay: failure.map(|failure| replay_command(failure.seed)),
    }
}
