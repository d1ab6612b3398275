//! The broker and the reservation engine over one log, in this process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use doorbuster::broker::{Broker, BrokerConfig, BrokerError};
use doorbuster::commerce::doors::http::{HttpConfig, HttpDoor};
use doorbuster::commerce::doors::resp::{RespConfig, RespDoor};
use doorbuster::commerce::inventory::{
    COMMANDS_TOPIC, EVENTS_TOPIC, Router, Service, ServiceOptions, ServiceStopped,
};
use doorbuster::log::Log;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Folder for snapshots inside the data folder.
const SNAPSHOT_FOLDER: &str = "inventory-snapshots";

/// How often the engine is looked at. A second: an idle daemon stays near zero CPU.
const ENGINE_WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for a door to end, and how often it is looked at. A little longer than a door gives its commands.
const DOOR_CLOSE_MAX: Duration = Duration::from_secs(6);
const DOOR_CLOSE_BEAT: Duration = Duration::from_millis(5);

/// A running broker with the reservation engine attached to its log.
#[derive(Debug)]
pub struct Daemon {
    runtime: Runtime,
    broker: JoinHandle<Result<(), BrokerError>>,
    stop: CancellationToken,
    address: SocketAddr,
    http: Option<(SocketAddr, JoinHandle<()>)>,
    resp: Option<RespDoor>,
    service: Service,
    log: Log,
}

/// Which doors of the reservation engine open, and where, beside its topics.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// Address of the HTTP door.
    pub http: Option<String>,
    /// Address of the RESP door.
    pub resp: Option<String>,
    /// Most connections of each door that the process has file descriptors for.
    pub connections_max: usize,
}

impl Daemon {
    /// Starts the engine and the broker; clients can connect when this returns.
    pub fn start(log: Log, mut config: BrokerConfig, doors: Doors) -> anyhow::Result<Daemon> {
        // The engine believes its events: whoever could write there could add units that nobody has.
        config.read_only_topics.push(EVENTS_TOPIC.to_owned());
        config.kept_topics.push(COMMANDS_TOPIC.to_owned());
        let options = ServiceOptions {
            snapshot_dir: Some(log.status().folder.join(SNAPSHOT_FOLDER)),
            ..ServiceOptions::default()
        };
        let service = Service::start(&log, &options).context("starting the reservation engine")?;
        let router = Router::new(service.shards());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("broker")
            .build()
            .context("starting the broker's threads")?;
        let broker = runtime
            .block_on(Broker::bind(log.clone(), config))
            .context("starting the broker")?;
        let address = broker.local_addr();
        let resp = doors
            .resp
            .map(|listen| open_resp(listen, doors.connections_max, router.clone()))
            .transpose()?;
        let http = doors
            .http
            .map(|listen| runtime.block_on(bind_http(listen, doors.connections_max, router)))
            .transpose()?;
        let stop = CancellationToken::new();
        let broker = runtime.spawn(broker.run(stop.clone()));
        let http = http.map(|door| (door.local_addr(), runtime.spawn(door.run(stop.clone()))));
        Ok(Daemon {
            runtime,
            broker,
            stop,
            address,
            http,
            resp,
            service,
            log,
        })
    }

    /// The address that clients can connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The open doors: name and address.
    pub fn doors(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let resp = self.resp.as_ref().map(|door| ("RESP", door.local_addr()));
        let http = self.http.as_ref().map(|(address, _)| ("HTTP", *address));
        http.into_iter().chain(resp)
    }

    /// Runs `until` on the broker's threads, at most as long as the broker serves and the engine decides.
    ///
    /// # Errors
    /// When the broker or the engine stopped first.
    pub fn run_until<T>(&mut self, until: impl Future<Output = T>) -> anyhow::Result<T> {
        let broker = &mut self.broker;
        let (service, http, resp) = (&self.service, &self.http, &self.resp);
        self.runtime.block_on(async {
            tokio::select! {
                value = until => Ok(value),
                stopped = engine_stopped(service) => Err(stopped).context(
                    "the reservation engine stopped; commands are durable and decided after a restart",
                ),
                () = ended(|| {
                    http.as_ref().is_some_and(|(_, task)| task.is_finished())
                        || resp.as_ref().is_some_and(RespDoor::has_ended)
                }) => anyhow::bail!("a door of the reservation engine failed"),
                ended = broker => match ended {
                    Ok(Ok(())) => anyhow::bail!("the broker stopped by itself"),
                    Ok(Err(error)) => Err(error).context("the broker stopped"),
                    Err(error) => Err(error).context("the broker failed"),
                },
            }
        })
    }

    /// Ends the requests in progress, closes the engine, flushes and closes the log.
    pub fn stop(self) -> anyhow::Result<()> {
        let Daemon {
            runtime,
            broker,
            stop,
            http,
            resp,
            service,
            log,
            ..
        } = self;
        stop.cancel();
        if let Some(resp) = &resp {
            resp.begin_close();
        }
        let served = if broker.is_finished() {
            Ok(Ok(()))
        } else {
            runtime.block_on(broker)
        };
        if let Some((_, task)) = http
            && let Err(error) = runtime.block_on(task)
        {
            tracing::error!(%error, "the HTTP door failed");
        }
        runtime.shutdown_background();
        // First the door, so that what it took is answered; but not for ever, if the engine cannot decide.
        let mut beat = DOOR_CLOSE_MAX;
        while resp.as_ref().is_some_and(|door| !door.has_ended()) && !beat.is_zero() {
            std::thread::sleep(DOOR_CLOSE_BEAT);
            beat = beat.saturating_sub(DOOR_CLOSE_BEAT);
        }
        service.stop();
        drop(resp);
        log.close().context("closing the log")?;
        served
            .context("stopping the broker")?
            .context("stopping the broker")
    }
}

fn open_resp(listen: String, connections_max: usize, router: Router) -> anyhow::Result<RespDoor> {
    let defaults = RespConfig::default();
    let config = RespConfig {
        connections_max: defaults.connections_max.min(connections_max),
        listen,
        ..defaults
    };
    let address = config.listen.clone();
    RespDoor::open(config, router).with_context(|| format!("opening the RESP door on {address}"))
}

async fn bind_http(listen: String, connections_max: usize, router: Router) -> anyhow::Result<HttpDoor> {
    let defaults = HttpConfig::default();
    let config = HttpConfig {
        connections_max: defaults.connections_max.min(connections_max),
        listen,
        ..defaults
    };
    let address = config.listen.clone();
    HttpDoor::bind(config, router)
        .await
        .with_context(|| format!("opening the HTTP door on {address}"))
}

/// Waits until something is seen to have ended.
async fn ended(has_ended: impl Fn() -> bool) {
    let mut beat = tokio::time::interval(ENGINE_WATCH_INTERVAL);
    while !has_ended() {
        beat.tick().await;
    }
}

/// Waits until a shard no longer decides: commands must not go on being acknowledged that nobody decides.
async fn engine_stopped(service: &Service) -> ServiceStopped {
    let mut beat = tokio::time::interval(ENGINE_WATCH_INTERVAL);
    loop {
        beat.tick().await;
        if let Some(stopped) = service.stopped() {
            return stopped;
        }
    }
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes both signals over; must be called inside a runtime.
    pub fn new() -> anyhow::Result<StopSignals> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(StopSignals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
