//! `doorbuster flash-sale`: a crowd storms the shop, and the log must account for every unit.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::RangedU64ValueParser;
use doorbuster::broker::BrokerConfig;
use doorbuster::commerce::load::driver::SHOPPERS_MAX;
use doorbuster::commerce::load::ids::RunId;
use doorbuster::commerce::load::plant::Plant;
use doorbuster::commerce::load::report::{Report, Verdict};
use doorbuster::commerce::load::sale;
use doorbuster::commerce::load::scenario::Scenario;
use doorbuster::log::{Log, LogOptions};
use tokio::sync::mpsc;

use super::daemon::{Daemon, Doors, StopSignals};
use super::live_view::LiveView;
use super::output;

/// How long a shopper's hold lasts, in milliseconds. 5 s: long enough for every think time, short enough
/// that a default run, until the last hold has run out, takes half a minute.
const HOLD_MS: u32 = 5_000;

/// Connections of the generator that carry commands.
const CONNECTIONS: usize = 2;

/// Moments of progress that may wait to be shown; more are dropped.
const QUEUED_MOMENTS: usize = 4;

/// Exit code of a sale that came out wrong.
const EXIT_INCORRECT: u8 = 1;

/// What `doorbuster flash-sale --help` says below the options.
const MORE_HELP: &str = "\
Without --bootstrap, the broker and the reservation engine run in this process, with a real TCP listener \
on a free port, and the crowd comes over TCP. At the end the log is read again and recounted: nothing may \
be oversold, lost or done twice.

Latency is counted from the moment a shopper meant to act, so that a shop that falls behind cannot hide it.

Exit codes: 0 the sale was correct, 1 it was not, 2 it could not be held.";

/// Arguments of `doorbuster flash-sale`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MORE_HELP)]
pub struct Arguments {
    /// Decides who comes when and does what; the same seed is the same crowd
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// How many shoppers come
    #[arg(long, default_value_t = 100_000, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=u64::from(SHOPPERS_MAX)))]
    shoppers: u32,
    /// Units of each article: of the doorbuster that most come for, and of the 100 behind it
    #[arg(long, default_value_t = 1_000, value_name = "COUNT",
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000_000))]
    units: u32,
    /// Shoppers per second on average; the doors open with a rush of about three times that
    #[arg(long, default_value_t = 5_000.0, value_name = "PER_SECOND", value_parser = positive)]
    rate: f64,
    /// How long units are held for a shopper who does not pay, in milliseconds
    #[arg(long, default_value_t = HOLD_MS, value_name = "MILLISECONDS",
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=600_000))]
    hold_ms: u32,
    /// Hold the sale at a running doorbuster instead of in this process
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "data_dir")]
    bootstrap: Option<String>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Data folder, kept afterwards [default: a new one in the current folder, removed if the sale was correct]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Plant a fault into what was recorded: the verdict must find it (a self-test; exits with 1)
    #[arg(long, value_name = "FAULT")]
    plant: Option<PlantArgument>,
}

/// The faults that `--plant` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PlantArgument {
    /// A reservation of more units than there are
    Oversell,
    /// An answer that is missing from the log
    Loss,
    /// A reservation granted twice
    Duplicate,
}

/// What is to be done, decided from the arguments alone.
#[derive(Debug, PartialEq)]
struct Plan {
    scenario: Scenario,
    shop: Shop,
    json: bool,
    plant: Option<Plant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Shop {
    /// In this process, with a data folder that is kept, or one of its own.
    Embedded { data_dir: Option<PathBuf> },
    /// Somewhere else.
    At(String),
}

impl Arguments {
    fn resolve(self) -> Plan {
        Plan {
            scenario: Scenario {
                seed: self.seed,
                shoppers: self.shoppers,
                units: self.units,
                rate_per_second: self.rate,
                hold_time: Duration::from_millis(u64::from(self.hold_ms)),
                connections: CONNECTIONS,
            },
            shop: match self.bootstrap {
                Some(address) => Shop::At(address),
                None => Shop::Embedded {
                    data_dir: self.data_dir,
                },
            },
            json: self.json,
            plant: self.plant.map(|plant| match plant {
                PlantArgument::Oversell => Plant::Oversell,
                PlantArgument::Loss => Plant::Loss,
                PlantArgument::Duplicate => Plant::Duplicate,
            }),
        }
    }
}

/// Runs the command.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let plan = arguments.resolve();
    let report = match &plan.shop {
        Shop::At(address) => hold_sale(&plan, address.clone(), None)?,
        Shop::Embedded { data_dir } => hold_embedded_sale(&plan, data_dir.clone())?,
    };
    if plan.json {
        output::json(&report)?;
    } else {
        output::result(&report)?;
    }
    Ok(match report.verdict {
        Verdict::Correct => ExitCode::SUCCESS,
        Verdict::Incorrect => ExitCode::from(EXIT_INCORRECT),
    })
}

fn hold_embedded_sale(plan: &Plan, data_dir: Option<PathBuf>) -> anyhow::Result<Report> {
    let is_temporary = data_dir.is_none();
    let folder = data_dir.unwrap_or_else(|| {
        PathBuf::from(format!(
            "doorbuster-flash-sale-{:012x}",
            rand::random::<u64>() >> 16
        ))
    });
    let sold = Log::open(&folder, LogOptions::default())
        .with_context(|| format!("opening data folder {}", folder.display()))
        .and_then(|log| {
            let write_path = log.status().write_path.to_string();
            let listen = "127.0.0.1:0".to_owned();
            let daemon = Daemon::start(
                log,
                BrokerConfig {
                    listen,
                    ..BrokerConfig::default()
                },
                Doors::default(),
            )?;
            let report = hold_sale(plan, daemon.address().to_string(), Some(write_path));
            let stopped = daemon.stop();
            report.and_then(|report| stopped.map(|()| report))
        });
    let is_evidence = plan.plant.is_none()
        && sold
            .as_ref()
            .is_ok_and(|report| report.verdict == Verdict::Incorrect);
    match (is_temporary, is_evidence) {
        (true, true) => output::status(&format!("the log is kept in {} for a look", folder.display())),
        (true, false) => remove_folder(&folder),
        (false, _) => {}
    }
    sold
}

fn remove_folder(folder: &std::path::Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        output::status(&format!(
            "cannot remove {}: {error}; remove it by hand",
            folder.display()
        ));
    }
}

/// Holds the sale on a thread of its own, so that the crowd and the shop share no runtime.
fn hold_sale(plan: &Plan, address: String, write_path: Option<String>) -> anyhow::Result<Report> {
    let (moments, mut shown) = mpsc::channel(QUEUED_MOMENTS);
    let scenario = plan.scenario.clone();
    let plant = plan.plant;
    let run = RunId::from_random(rand::random());
    let crowd = std::thread::Builder::new()
        .name("crowd".to_owned())
        .spawn(move || -> anyhow::Result<_> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let signals = runtime.block_on(async { StopSignals::new() })?;
            runtime.block_on(async {
                let mut signals = signals;
                let mut tell = |moment: &_| {
                    // A view that lags behind misses a moment.
                    let _ = moments.try_send(Clone::clone(moment));
                };
                tokio::select! {
                    sold = sale::hold(&address, &scenario, run, plant, &mut tell) => {
                        sold.with_context(|| format!("flash sale at {address}"))
                    }
                    signal = signals.next() => anyhow::bail!("interrupted by {signal}"),
                }
            })
        })
        .context("starting the crowd's thread")?;
    let mut view = LiveView::new();
    while let Some(moment) = shown.blocking_recv() {
        view.show(&moment);
    }
    drop(view);
    let sold = crowd
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(Report::new(
        &plan.scenario,
        &sold.tally,
        &sold.findings,
        write_path,
    ))
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("must be a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Harness {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn resolve(arguments: &[&str]) -> Plan {
        let all = std::iter::once("flash-sale").chain(arguments.iter().copied());
        Harness::try_parse_from(all).unwrap().arguments.resolve()
    }

    #[test]
    fn the_default_is_a_hundred_thousand_shoppers_in_this_process() {
        let plan = resolve(&[]);
        let scenario = Scenario {
            seed: 1,
            shoppers: 100_000,
            units: 1_000,
            rate_per_second: 5_000.0,
            hold_time: Duration::from_secs(5),
            connections: 2,
        };
        let shop = Shop::Embedded { data_dir: None };
        assert_eq!(
            plan,
            Plan {
                scenario,
                shop,
                json: false,
                plant: None
            }
        );
    }

    #[test]
    fn another_shop_has_its_own_data_folder() {
        assert_eq!(
            resolve(&["--bootstrap", "shop:9092"]).shop,
            Shop::At("shop:9092".to_owned())
        );
        let both = ["flash-sale", "--bootstrap", "shop:9092", "--data-dir", "/tmp/x"];
        assert!(Harness::try_parse_from(both).is_err());
    }

    #[test]
    fn faults_can_be_planted() {
        for (name, plant) in [
            ("oversell", Plant::Oversell),
            ("loss", Plant::Loss),
            ("duplicate", Plant::Duplicate),
        ] {
            assert_eq!(resolve(&["--plant", name]).plant, Some(plant));
        }
    }
}
