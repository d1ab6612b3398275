//! `doorbuster serve`: the broker and the reservation engine, until a signal.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use doorbuster::broker::BrokerConfig;
use doorbuster::log::{Log, LogFailed, LogOptions};
use tokio::sync::oneshot;

use super::config::{Layer, ServeConfig};
use super::daemon::{Daemon, Doors, StopSignals};
use super::descriptors::connections_allowed;
use super::{EXIT_FAILURE, output};

/// What `doorbuster serve --help` says below the options.
const MORE_HELP: &str = "\
Every key of the configuration file can also be set by an environment variable: DOORBUSTER_ and the key \
in capitals, such as DOORBUSTER_DATA_DIR. Flags win over the environment, which wins over the file.

Keys: listen, advertised, http, resp, data_dir, insecure, plain_writes, auto_create_topics, default_partitions, \
group_initial_rebalance_delay_ms, connections_max, frame_size_max_bytes, fetch_size_max_bytes.

The reservation engine takes commands from the topic inventory.commands and answers on inventory.events; \
with --http as JSON (GET /openapi.json describes it), with --resp from any Redis client (RESERVE, COMMIT, \
RELEASE, EXTEND, RECEIVE, STOCK).

The first SIGTERM or SIGINT ends the requests in progress, flushes and exits with 0; a second one exits \
at once. What was acknowledged is durable either way.";

/// Arguments of `doorbuster serve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MORE_HELP)]
pub struct Arguments {
    /// Address to listen on [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address that clients are told to connect to [default: the one they connected to]
    #[arg(long, value_name = "HOST:PORT")]
    advertised: Option<String>,
    /// Address on which the reservation engine takes HTTP requests [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Address on which the reservation engine takes commands of Redis clients [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    resp: Option<String>,
    /// Data folder; created if it is not there [default: ./doorbuster-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file in TOML
    #[arg(long, value_name = "FILE", env = "DOORBUSTER_CONFIG")]
    config: Option<PathBuf>,
    /// Listen on an address that other machines can reach, without encryption or authentication
    #[arg(long)]
    insecure: bool,
    /// Write with plain system calls even where io_uring is available
    #[arg(long)]
    plain_writes: bool,
    /// Start although the device lost writes that were durable: acknowledged records are gone. For this start
    /// only
    #[arg(long)]
    accept_lost_writes: bool,
}

impl Arguments {
    /// What the flags say, and the configuration file to read.
    fn layer(self) -> (Layer, Option<PathBuf>) {
        let layer = Layer {
            listen: self.listen,
            advertised: self.advertised,
            http: self.http,
            resp: self.resp,
            data_dir: self.data_dir,
            insecure: self.insecure.then_some(true),
            plain_writes: self.plain_writes.then_some(true),
            ..Layer::default()
        };
        (layer, self.config)
    }
}

/// Runs the command.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let accept_lost_writes = arguments.accept_lost_writes;
    let (flags, file) = arguments.layer();
    let file = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
    let environment = Layer::from_environment(std::env::vars())?;
    let config = flags.or(environment).or(file).resolve()?;
    check_reach(&config)?;
    serve(config, accept_lost_writes)
}

fn read_file(path: &Path) -> anyhow::Result<Layer> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading configuration file {}", path.display()))?;
    Layer::from_toml(&path.display().to_string(), &text)
}

/// Refuses to be reached from other machines unless that is intended.
fn check_reach(config: &ServeConfig) -> anyhow::Result<()> {
    let doors = [Some(&config.listen), config.http.as_ref(), config.resp.as_ref()];
    for listen in doors.into_iter().flatten() {
        let addresses: Vec<SocketAddr> = listen
            .to_socket_addrs()
            .with_context(|| format!("resolving the address to listen on, {listen}"))?
            .collect();
        if !config.insecure && addresses.iter().any(|address| !address.ip().is_loopback()) {
            bail!(
                "refusing to listen on {listen}: other machines could reach it, and there is no encryption or \
                 authentication; give --insecure if that is intended, or listen on 127.0.0.1"
            );
        }
    }
    Ok(())
}

fn serve(config: ServeConfig, accept_lost_writes: bool) -> anyhow::Result<ExitCode> {
    let folder = config.data_dir.clone();
    // The broker and the doors share what the log leaves.
    let listeners = 1 + usize::from(config.http.is_some()) + usize::from(config.resp.is_some());
    let connections_allowed = (connections_allowed() / listeners).max(1);
    let log = Log::open(
        &folder,
        LogOptions {
            plain_writes: config.plain_writes,
            accept_lost_writes,
            ..LogOptions::default()
        },
    )
    .with_context(|| format!("opening data folder {}", folder.display()))?;
    let write_path = log.status().write_path;
    let failed = watch(&log)?;
    let doors = Doors {
        http: config.http.clone(),
        resp: config.resp.clone(),
        connections_max: connections_allowed,
    };
    let mut broker_config = broker_config(config);
    if broker_config.connections_max > connections_allowed {
        tracing::info!(
            connections_allowed,
            "the limit of open files allows fewer connections"
        );
        broker_config.connections_max = connections_allowed;
    }
    let mut daemon = Daemon::start(log, broker_config, doors)?;
    // Before the ready line: whoever reads it may send a signal at once.
    let mut signals = daemon.run_until(async { StopSignals::new() })??;
    for (door, address) in daemon.doors() {
        output::status(&format!("{door} door opens on {address}"));
    }
    output::status(&format!(
        "ready: listening on {}, data in {}, written by {write_path}",
        daemon.address(),
        folder.display(),
    ));
    let name = daemon.run_until(async {
        tokio::select! {
            name = signals.next() => Ok(name),
            Ok(failure) = failed => Err(failure).context(
                "the log stopped after a failed write; nothing more is acknowledged: \
                 look at the disk, then start again",
            ),
        }
    })??;
    output::status(&format!(
        "{name}: ending requests in progress, flushing; once more to exit at once"
    ));
    exit_at_next(signals);
    daemon.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// A watchdog thread that tells when the log has stopped.
fn watch(log: &Log) -> anyhow::Result<oneshot::Receiver<LogFailed>> {
    let (sender, receiver) = oneshot::channel();
    let log = log.clone();
    std::thread::Builder::new()
        .name("log-watchdog".to_owned())
        .spawn(move || {
            // Nobody listens any more when the log is closed because the daemon stops.
            let _ = sender.send(log.wait_stopped());
        })
        .context("starting the log's watchdog")?;
    Ok(receiver)
}

/// From here on a signal ends the process at once; what was acknowledged is durable.
fn exit_at_next(mut signals: StopSignals) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let name = runtime.block_on(signals.next());
            output::status(&format!("{name} again: exiting at once"));
            std::process::exit(i32::from(EXIT_FAILURE));
        }
    });
}

fn broker_config(config: ServeConfig) -> BrokerConfig {
    let defaults = BrokerConfig::default();
    BrokerConfig {
        listen: config.listen,
        advertised: config.advertised,
        auto_create_topics: config.auto_create_topics.unwrap_or(defaults.auto_create_topics),
        default_partitions: config.default_partitions.unwrap_or(defaults.default_partitions),
        group_initial_rebalance_delay: config
            .group_initial_rebalance_delay
            .unwrap_or(defaults.group_initial_rebalance_delay),
        connections_max: config.connections_max.unwrap_or(defaults.connections_max),
        frame_size_max_bytes: config
            .frame_size_max_bytes
            .unwrap_or(defaults.frame_size_max_bytes),
        fetch_size_max_bytes: config
            .fetch_size_max_bytes
            .unwrap_or(defaults.fetch_size_max_bytes),
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str, insecure: bool) -> ServeConfig {
        let layer = Layer {
            listen: Some(listen.to_owned()),
            insecure: Some(insecure),
            ..Layer::default()
        };
        layer.resolve().unwrap()
    }

    #[test]
    fn only_loopback_without_insecure() {
        for listen in ["127.0.0.1:9092", "127.8.8.8:0", "[::1]:9092", "localhost:9092"] {
            assert!(check_reach(&config(listen, false)).is_ok(), "{listen}");
        }
        for listen in ["0.0.0.0:9092", "[::]:9092", "192.0.2.1:9092"] {
            assert!(check_reach(&config(listen, false)).is_err(), "{listen}");
            assert!(check_reach(&config(listen, true)).is_ok(), "{listen}");
            let mut with_door = config("127.0.0.1:9092", false);
            with_door.http = Some(listen.to_owned());
            assert!(check_reach(&with_door).is_err(), "http {listen}");
            (with_door.http, with_door.resp) = (None, Some(listen.to_owned()));
            assert!(check_reach(&with_door).is_err(), "resp {listen}");
            with_door.insecure = true;
            assert!(check_reach(&with_door).is_ok(), "{listen}");
        }
    }

    #[test]
    fn what_is_not_configured_is_the_brokers_default() {
        let listen = "127.0.0.1:9092".to_owned();
        let expected = BrokerConfig {
            listen: listen.clone(),
            ..BrokerConfig::default()
        };
        assert_eq!(broker_config(config(&listen, false)), expected);
    }
}
