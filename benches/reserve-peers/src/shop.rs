//! doorbuster's daemon, and its store before and after.
//!
//! Every cell runs on a copy of one store that has been in use: its journal has all the files that it will ever have,
//! so that no cell pays for making them.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use doorbuster::commerce::inventory::{
    Command, EVENTS_TOPIC, Limits, Outcome, Service, ServiceOptions, SnapshotFile, State, recover,
};
use doorbuster::commerce::store::LogStore;
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::{AppendError, Log, LogOptions, Timestamp, TopicSpec};
use rustix::process::Signal;
use uuid::Uuid;

use crate::cell::Cell;
use crate::measured::Verdict;
use crate::peer::Stock;
use crate::process::{Server, copy_folder, free_port};
use crate::resp;
use crate::wire::{Protocol, Seen};
use crate::work::{self, Names, Reservation};

/// Folder for snapshots inside the data folder, as the daemon has it.
const SNAPSHOT_FOLDER: &str = "inventory-snapshots";

/// What is appended to a new store so that its journal grows to its full size: more than it holds, in batches that go
/// through it.
const AGING_BYTES: usize = 512 * 1024 * 1024;
const AGING_BATCH_BYTES: usize = 64 * 1024;

/// Makes the stocked store that others are copied from.
pub fn prepare(folder: &Path) -> anyhow::Result<()> {
    let log = Log::open(folder, LogOptions::default()).context("opening a new log")?;
    age(&log)?;
    let options = ServiceOptions {
        snapshot_dir: Some(folder.join(SNAPSHOT_FOLDER)),
        ..ServiceOptions::default()
    };
    let service = Service::start(&log, &options).context("starting the engine")?;
    let mut commands = Vec::new();
    for article in 0..=work::SCARCE {
        let units = if article == work::SCARCE {
            work::SCARCE_UNITS
        } else {
            work::UNITS
        };
        let (id, sku) = (Uuid::from_u128(u128::from(article) + 1), work::sku(article));
        let receive = format!(r#"{{"type":"receive","id":"{id}","sku":"{sku}","quantity":{units}}}"#);
        commands.push(Command::from_json(receive.as_bytes())?);
        let (id, limit) = (
            Uuid::from_u128((1 << 64) + u128::from(article)),
            work::LIMIT_PER_CUSTOMER,
        );
        let policy =
            format!(r#"{{"type":"set_policy","id":"{id}","sku":"{sku}","limit_per_customer":{limit}}}"#);
        commands.push(Command::from_json(policy.as_bytes())?);
    }
    let outcomes = service.shards()[0].submit_batch(commands)?;
    let refused = outcomes.iter().find(|outcome| !outcome.is_granted());
    ensure!(refused.is_none(), "the stock was refused: {refused:?}");
    service.stop();
    log.close().context("closing the log")
}

/// Lets the journal grow.
fn age(log: &Log) -> anyhow::Result<()> {
    const TOPIC: &str = "aging";
    let topic = log.create_topic(TOPIC, &TopicSpec::with_partitions(1))?;
    let mut builder = BatchBuilder::new(Timestamp(0));
    let value = vec![0x5a; AGING_BATCH_BYTES];
    builder.push(&Record {
        timestamp: Timestamp(0),
        key: None,
        value: Some(&value),
        headers: &[],
    })?;
    let batch = builder.finish();
    let mut window = std::collections::VecDeque::new();
    for _ in 0..AGING_BYTES / AGING_BATCH_BYTES {
        loop {
            match topic.partitions[0].append(batch.clone()) {
                Ok(append) => break window.push_back(append),
                Err(AppendError::Overloaded { .. }) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        if window.len() >= 64
            && let Some(append) = window.pop_front()
        {
            append.wait()?;
        }
    }
    for append in window {
        append.wait()?;
    }
    log.delete_topic(TOPIC).context("deleting what aged the log")
}

/// What a store at rest says of all articles: recovered, as the next start would.
pub fn stock_at_rest(folder: &Path) -> anyhow::Result<Stock> {
    let log = Log::open(folder, LogOptions::default()).context("opening the log")?;
    let topic = log.topic(EVENTS_TOPIC).context("there are no events")?;
    let store = LogStore::new(topic.id, topic.partitions[0].clone());
    let snapshot = SnapshotFile::new(&folder.join(SNAPSHOT_FOLDER), 0);
    let recovered = recover(&store, &Limits::default(), Some(&snapshot)).context("recovering the shard")?;
    let stock = stock_of(&recovered.state)?;
    let live = recovered.state.live_holds() as u64;
    ensure!(
        live == stock.taken,
        "{live} holds are live, but {} units are taken",
        stock.taken
    );
    log.close().context("closing the log")?;
    Ok(stock)
}

fn stock_of(state: &State) -> anyhow::Result<Stock> {
    let left = (0..=work::SCARCE).map(|article| {
        let sku = work::sku(article);
        let view = state.stock(&sku).with_context(|| format!("{sku} is unknown"))?;
        Ok(i64::try_from(view.sellable)?)
    });
    Ok(Stock::of_left(&left.collect::<anyhow::Result<Vec<_>>>()?))
}

/// A running daemon.
#[derive(Debug)]
pub struct Shop {
    server: Server,
    port: u16,
    resp_port: Option<u16>,
}

impl Shop {
    /// Starts a daemon on a copy of the template.
    pub fn start(template: &Path, folder: &Path, program: &Path, resp: bool) -> anyhow::Result<Shop> {
        copy_folder(template, folder)?;
        let (port, resp_port) = (free_port()?, resp.then(free_port).transpose()?);
        let log = folder.with_extension("log");
        let mut arguments: Vec<String> = vec![
            "serve".to_owned(),
            "--listen".to_owned(),
            format!("127.0.0.1:{port}"),
        ];
        arguments.extend(["--data-dir".to_owned(), folder.display().to_string()]);
        if let Some(port) = resp_port {
            arguments.extend(["--resp".to_owned(), format!("127.0.0.1:{port}")]);
        }
        let mut server = Server::start(program, &arguments, None, Signal::TERM, &log)?;
        server.wait_for_port(port, &log)?;
        if let Some(port) = resp_port {
            server.wait_for_port(port, &log)?;
        }
        Ok(Shop {
            server,
            port,
            resp_port,
        })
    }

    /// Whether this build has the Redis door.
    pub fn has_resp(program: &Path) -> anyhow::Result<bool> {
        let help = std::process::Command::new(program)
            .args(["serve", "--help"])
            .output();
        let help = help.with_context(|| format!("running {}", program.display()))?;
        Ok(String::from_utf8_lossy(&help.stdout).contains("--resp"))
    }

    /// Its processes.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where its Kafka door is.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Port of its Redis door.
    pub fn resp_port(&self) -> Option<u16> {
        self.resp_port
    }

    /// Connections to the Redis door for a cell.
    pub fn resp_connections(
        &self,
        cell: &Cell,
        names: &Arc<Names>,
    ) -> anyhow::Result<Vec<(TcpStream, ShopCalls)>> {
        let port = self.resp_port.context("the Redis door is closed")?;
        let connection = |_| {
            let stream = TcpStream::connect(("127.0.0.1", port)).context("connecting to the Redis door")?;
            Ok((
                stream,
                ShopCalls {
                    names: Arc::clone(names),
                    batch: cell.batch,
                    answered: 0,
                },
            ))
        };
        (0..cell.connections()).map(connection).collect()
    }

    /// Stops it; its data is written out.
    pub fn stop(self) -> anyhow::Result<()> {
        self.server.stop()
    }
}

/// Reservations as commands of the Redis door.
#[derive(Debug)]
pub struct ShopCalls {
    names: Arc<Names>,
    batch: usize,
    answered: usize,
}

impl Protocol for ShopCalls {
    fn encode(&mut self, call: &[Reservation], out: &mut Vec<u8>) {
        let mut digits = [0; uuid::fmt::Hyphenated::LENGTH];
        let ttl_ms = work::HOLD_MS.to_string();
        for reservation in call {
            let id = reservation.id.hyphenated().encode_lower(&mut digits).as_bytes();
            let (customer, sku) = (self.names.customer(reservation), self.names.sku(reservation));
            let (customer, sku) = (customer.as_bytes(), sku.as_bytes());
            resp::command(out, &[b"RESERVE", id, customer, ttl_ms.as_bytes(), sku, b"1"]);
        }
    }

    fn decode(&mut self, input: &[u8]) -> anyhow::Result<Option<Seen>> {
        let Some(size_bytes) = resp::reply_size_bytes(input)? else {
            return Ok(None);
        };
        let verdict = verdict_of(&input[..size_bytes])?;
        self.answered += 1;
        let ends_call = self.answered == self.batch;
        if ends_call {
            self.answered = 0;
        }
        Ok(Some(Seen {
            size_bytes,
            verdict: Some(verdict),
            ends_call,
        }))
    }
}

/// What a reply of the Redis door means: the first word of it, whatever its form.
fn verdict_of(reply: &[u8]) -> anyhow::Result<Verdict> {
    let words = reply.split(|byte| !byte.is_ascii_alphabetic() && *byte != b'_');
    let word = words
        .into_iter()
        .find(|word| !word.is_empty())
        .unwrap_or_default();
    Ok(match word {
        b"RESERVED" => Verdict::Granted,
        b"EXISTS" => Verdict::Exists,
        b"SOLD_OUT" | b"ALREADY_FAILED" => Verdict::SoldOut,
        _ => bail!("doorbuster answered {:?}", String::from_utf8_lossy(reply)),
    })
}

/// What an outcome of the library means.
pub fn verdict_of_outcome(outcome: &Outcome) -> anyhow::Result<Verdict> {
    Ok(match outcome {
        Outcome::Reserved { .. } => Verdict::Granted,
        Outcome::Exists { .. } => Verdict::Exists,
        Outcome::SoldOut { .. } | Outcome::AlreadyFailed { .. } => Verdict::SoldOut,
        other => bail!("a reservation came to {other:?}"),
    })
}

/// The version that runs.
pub fn version(program: &Path) -> anyhow::Result<String> {
    let output = std::process::Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("running {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
