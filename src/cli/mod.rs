//! The command line: arguments in, exit codes out. One file for each command; `output` alone prints.
//!
//! Exit codes: 0 success, 1 a checked negative (a flash sale that came out wrong, a seed with a violation),
//! 2 usage or failure.

mod bench;
mod config;
mod daemon;
mod descriptors;
mod flash_sale;
mod live_view;
mod output;
mod serve;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Exit code of a usage error or a failure.
const EXIT_FAILURE: u8 = 2;

/// What `--help` says of the log level.
const LOG_LEVEL_HELP: &str = "What is logged to standard error: error, warn, info, debug, trace, or a filter \
     such as warn,doorbuster::broker=debug [default: RUST_LOG, or warn]";

/// A durable event log that speaks the Kafka protocol, with an inventory-reservation engine inside.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    /// What is logged to standard error.
    #[arg(long, global = true, value_name = "LEVEL", help = LOG_LEVEL_HELP, display_order = 1_000)]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker and the reservation engine until SIGTERM or SIGINT
    Serve(serve::Arguments),
    /// Let a crowd storm the shop, and check that not one unit was sold twice
    FlashSale(flash_sale::Arguments),
    /// Measure durable throughput and latency beside what the raw device does
    Bench(bench::Arguments),
    /// Live many lives of a log on a disk that fails, and check that it lost nothing and told no lie
    Simulate(simulate::Arguments),
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let finished = start_logging(arguments.log_level.as_deref()).and_then(|()| match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::FlashSale(arguments) => flash_sale::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
    });
    match finished {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error);
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn start_logging(level: Option<&str>) -> anyhow::Result<()> {
    let filter = match level
        .map(str::to_owned)
        .or_else(|| std::env::var("RUST_LOG").ok())
    {
        Some(filter) => EnvFilter::try_new(&filter)
            .map_err(|error| anyhow::anyhow!("log level {filter:?} is not understood: {error}"))?,
        None => EnvFilter::new("warn"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_argument_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for arguments in [
            &["doorbuster"][..],
            &["doorbuster", "steal"],
            &["doorbuster", "serve", "--listen"],
            &["doorbuster", "flash-sale", "--shoppers", "-1"],
            &["doorbuster", "flash-sale", "--shoppers", "0"],
            &["doorbuster", "flash-sale", "--units", "0"],
            &["doorbuster", "flash-sale", "--rate", "0"],
            &["doorbuster", "flash-sale", "--rate", "NaN"],
            &["doorbuster", "bench"],
            &["doorbuster", "simulate", "--seeds", "0"],
            &["doorbuster", "simulate", "--seed", "1", "--from", "2"],
        ] {
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
