//! Who takes part, and one cell of one peer from a fresh store to an empty folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::cli_bench::written::Counters;
use crate::measured::{Measured, Meter};
use crate::postgres::Postgres;
use crate::process::{Server, Usage, cpu_seconds, memory_bytes};
use crate::redis::Redis;
use crate::shop::{self, Shop};
use crate::work::{self, Names, Shoppers, Workload};
use crate::{embedded, kafka, wire};

/// Who takes part, and with which durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Redis and a script, synced before the answer
    RedisAlways,
    /// Redis and a script, synced every second: not durable
    RedisEverysec,
    /// PostgreSQL and one statement, synced before the answer
    PostgresOn,
    /// PostgreSQL and one statement, synced later: not durable
    PostgresOff,
    /// doorbuster's Redis door
    DoorbusterResp,
    /// doorbuster's Kafka door: commands to inventory.commands, outcomes from inventory.events
    DoorbusterKafka,
    /// doorbuster as a library, in the generator's process
    DoorbusterEmbedded,
}

impl Peer {
    /// Whether an answer means that the reservation is on stable storage.
    pub fn is_durable(self) -> bool {
        !matches!(self, Peer::RedisEverysec | Peer::PostgresOff)
    }

    /// Whether it is one of ours.
    pub fn is_doorbuster(self) -> bool {
        matches!(
            self,
            Peer::DoorbusterResp | Peer::DoorbusterKafka | Peer::DoorbusterEmbedded
        )
    }

    /// Whether it can do that cell.
    pub fn can_do(self, cell: &Cell) -> bool {
        match self {
            // Each update of a row in one transaction goes past all versions that the transaction made before.
            Peer::PostgresOn | Peer::PostgresOff => {
                cell.batch <= 1_000 && cell.workload != Workload::Hot || cell.batch <= 100
            }
            Peer::DoorbusterKafka | Peer::DoorbusterEmbedded => cell.per_second.is_none(),
            _ => true,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::RedisAlways => "Redis, always",
            Peer::RedisEverysec => "Redis, everysec",
            Peer::PostgresOn => "PostgreSQL, on",
            Peer::PostgresOff => "PostgreSQL, off",
            Peer::DoorbusterResp => "doorbuster, RESP",
            Peer::DoorbusterKafka => "doorbuster, Kafka",
            Peer::DoorbusterEmbedded => "doorbuster, embedded",
        })
    }
}

/// What a peer's own stock says after a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Units that were taken, of all articles.
    pub taken: u64,
    /// The fewest units that are left of any article; below zero it was oversold.
    pub lowest: i64,
}

impl Stock {
    /// From what is left of every article, the scarce one last.
    pub fn of_left(left: &[i64]) -> Stock {
        let taken = (0..).zip(left).map(|(article, left)| {
            let units = if article == work::SCARCE {
                work::SCARCE_UNITS
            } else {
                work::UNITS
            };
            i64::from(units) - left
        });
        Stock {
            taken: taken.sum::<i64>().max(0) as u64,
            lowest: left.iter().copied().min().unwrap_or(0),
        }
    }
}

/// What a cell came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// What the generator saw.
    pub measured: Measured,
    /// What the peer's stock says.
    pub stock: Stock,
    /// Bytes written to the device for each granted unit, from the first call until the server had stopped; none where the
    /// folder has no device of its own.
    pub written_bytes: Option<f64>,
    /// Bytes of memory that came with each live hold, buffers included; none where holds are on the disk.
    pub memory_bytes: Option<f64>,
}

/// Where everybody runs.
#[derive(Debug)]
pub struct Place {
    /// The folder of this run.
    pub folder: PathBuf,
    /// The program `doorbuster`.
    pub doorbuster: PathBuf,
    /// Names of articles and customers.
    pub names: Arc<Names>,
}

impl Place {
    fn template(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes what the stores of `peers` are copied from.
    pub fn prepare(&self, peers: &[Peer]) -> anyhow::Result<()> {
        if peers
            .iter()
            .any(|peer| matches!(peer, Peer::PostgresOn | Peer::PostgresOff))
        {
            Postgres::prepare(&self.template("postgres")).context("preparing PostgreSQL")?;
        }
        if peers.iter().any(|peer| peer.is_doorbuster()) {
            shop::prepare(&self.template("doorbuster")).context("preparing doorbuster")?;
        }
        Ok(())
    }

    /// Runs one cell of one peer on a fresh store, and checks that nothing was oversold, lost or done twice.
    pub fn run(&self, peer: Peer, cell: &Cell) -> anyhow::Result<Outcome> {
        let folder = self.folder.join("data");
        let outcome = match peer {
            Peer::RedisAlways => self.redis(&folder, "always", cell),
            Peer::RedisEverysec => self.redis(&folder, "everysec", cell),
            Peer::PostgresOn => self.postgres(&folder, true, cell),
            Peer::PostgresOff => self.postgres(&folder, false, cell),
            Peer::DoorbusterResp => self.resp(&folder, cell),
            Peer::DoorbusterKafka => self.kafka(&folder, cell),
            Peer::DoorbusterEmbedded => self.embedded(&folder, cell),
        };
        let outcome = outcome.with_context(|| format!("{peer}: {cell}"))?;
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        let (granted, stock) = (outcome.measured.answers.granted, outcome.stock);
        ensure!(
            stock.lowest >= 0,
            "{peer}: {cell}: oversold, {} units are left of an article",
            stock.lowest
        );
        ensure!(
            granted == stock.taken,
            "{peer}: {cell}: {granted} units were granted, {} are taken",
            stock.taken
        );
        Ok(outcome)
    }

    fn redis(&self, folder: &Path, appendfsync: &str, cell: &Cell) -> anyhow::Result<Outcome> {
        let redis = Redis::start(folder, appendfsync)?;
        let watch = Watch::begin(folder, redis.server())?;
        let connections = redis.connections(cell, &self.names)?;
        let measured = over_the_wire(redis.server(), connections, cell)?;
        let memory = watch.memory(redis.server());
        let stock = redis.stock()?;
        redis.stop()?;
        watch.end(measured, stock, memory)
    }

    fn postgres(&self, folder: &Path, synchronous_commit: bool, cell: &Cell) -> anyhow::Result<Outcome> {
        let postgres = Postgres::start(&self.template("postgres"), folder, synchronous_commit)?;
        let watch = Watch::begin(folder, postgres.server())?;
        let connections = postgres.connections(cell, &self.names)?;
        let measured = over_the_wire(postgres.server(), connections, cell)?;
        let stock = postgres.stock()?;
        postgres.stop()?;
        // Its holds are rows on the disk; the memory of its buffers is configured.
        watch.end(measured, stock, 0)
    }

    fn resp(&self, folder: &Path, cell: &Cell) -> anyhow::Result<Outcome> {
        let shop = Shop::start(&self.template("doorbuster"), folder, &self.doorbuster, true)?;
        let watch = Watch::begin(folder, shop.server())?;
        let connections = shop.resp_connections(cell, &self.names)?;
        let measured = over_the_wire(shop.server(), connections, cell)?;
        let memory = watch.memory(shop.server());
        shop.stop()?;
        let stock = shop::stock_at_rest(folder)?;
        watch.end(measured, stock, memory)
    }

    fn kafka(&self, folder: &Path, cell: &Cell) -> anyhow::Result<Outcome> {
        let shop = Shop::start(&self.template("doorbuster"), folder, &self.doorbuster, false)?;
        let watch = Watch::begin(folder, shop.server())?;
        let measured = measure(shop.server(), cell, |shoppers, meter| {
            kafka::drive(&shop.address(), cell, &self.names, shoppers, meter)
        })?;
        let memory = watch.memory(shop.server());
        shop.stop()?;
        let stock = shop::stock_at_rest(folder)?;
        watch.end(measured, stock, memory)
    }

    fn embedded(&self, folder: &Path, cell: &Cell) -> anyhow::Result<Outcome> {
        crate::process::copy_folder(&self.template("doorbuster"), folder)?;
        let before = Counters::settled(folder)?;
        let report = embedded::run_in_child(folder, cell)?;
        let watch = Watch {
            before,
            memory: 0,
            folder: folder.to_path_buf(),
        };
        watch.end(report.measured, report.stock, report.memory_bytes)
    }
}

fn over_the_wire<P: wire::Protocol>(
    server: &Server,
    connections: Vec<(std::net::TcpStream, P)>,
    cell: &Cell,
) -> anyhow::Result<Measured> {
    measure(server, cell, |shoppers, meter| {
        wire::drive(connections, cell, shoppers, meter)
    })
}

/// Lets `drive` run the cell, and reads what the processes used meanwhile.
fn measure(
    server: &Server,
    cell: &Cell,
    drive: impl FnOnce(&mut Shoppers, &mut Meter<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Measured> {
    let usage = || {
        Ok(Usage {
            client_cpu_seconds: Some(cpu_seconds(&[std::process::id()])),
            server_cpu_seconds: cpu_seconds(&server.pids()),
        })
    };
    let mut shoppers = Shoppers::new(cell.workload)?;
    let mut meter = Meter::new(cell.warm_up, cell.measured, &usage)?;
    drive(&mut shoppers, &mut meter)?;
    meter.result()
}

/// What was there before the first call.
struct Watch {
    folder: PathBuf,
    before: Counters,
    memory: u64,
}

impl Watch {
    fn begin(folder: &Path, server: &Server) -> anyhow::Result<Watch> {
        Ok(Watch {
            folder: folder.to_path_buf(),
            before: Counters::settled(folder)?,
            memory: memory_bytes(&server.pids()),
        })
    }

    fn memory(&self, server: &Server) -> u64 {
        memory_bytes(&server.pids()).saturating_sub(self.memory)
    }

    /// The outcome, once the server has stopped.
    fn end(self, measured: Measured, stock: Stock, memory: u64) -> anyhow::Result<Outcome> {
        let written = Counters::settled(&self.folder)?.since(&self.before);
        let granted = measured.answers.granted;
        let written_bytes = written.device_written_bytes.filter(|_| granted > 0);
        Ok(Outcome {
            measured,
            stock,
            written_bytes: written_bytes.map(|bytes| bytes as f64 / granted as f64),
            memory_bytes: (granted > 0 && memory > 0).then(|| memory as f64 / granted as f64),
        })
    }
}
