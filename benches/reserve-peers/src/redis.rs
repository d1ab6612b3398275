//! Redis with the script that shops use: one reservation is one atomic script, its effects are in the append-only
//! file.
//!
//! Nothing is done for the end of a hold: a real shop also keeps a sorted set of expiries and a sweeper. Rewrites of
//! the append-only file and snapshots are off, which favours Redis.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use crate::cell::Cell;
use crate::measured::Verdict;
use crate::peer::Stock;
use crate::process::{Server, free_port};
use crate::resp;
use crate::wire::{Protocol, Seen};
use crate::work::{self, Names, Reservation};

/// 1: granted; 2: it was there; 0: sold out; 3: the customer has enough.
const SCRIPT: &str = "\
if redis.call('EXISTS', KEYS[1]) == 1 then return 2 end
if tonumber(redis.call('GET', KEYS[2]) or '0') < 1 then return 0 end
if redis.call('HINCRBY', KEYS[3], ARGV[1], 1) > tonumber(ARGV[3]) then
  redis.call('HINCRBY', KEYS[3], ARGV[1], -1)
  return 3
end
redis.call('DECR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[2])
return 1
";

/// A Redis of its own.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: u16,
    script: String,
}

impl Redis {
    /// Starts an empty Redis on `folder` and stocks it.
    pub fn start(folder: &Path, appendfsync: &str) -> anyhow::Result<Redis> {
        std::fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
        let port = free_port()?;
        let log = folder.join("server.log");
        let arguments: Vec<String> = [
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--dir",
            &folder.display().to_string(),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            appendfsync,
            "--auto-aof-rewrite-percentage",
            "0",
        ]
        .map(str::to_owned)
        .into();
        let mut server = Server::start(Path::new("redis-server"), &arguments, None, Signal::TERM, &log)?;
        server.wait_for_port(port, &log)?;
        let mut redis = Redis {
            server,
            port,
            script: String::new(),
        };
        redis.script = redis.load()?;
        Ok(redis)
    }

    /// Stocks all articles; returns the script's digest.
    fn load(&self) -> anyhow::Result<String> {
        let mut commands = Vec::new();
        resp::command(&mut commands, &[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()]);
        for article in 0..=work::SCARCE {
            let units = if article == work::SCARCE {
                work::SCARCE_UNITS
            } else {
                work::UNITS
            };
            let key = stock_key(&work::sku(article));
            resp::command(
                &mut commands,
                &[b"SET", key.as_bytes(), units.to_string().as_bytes()],
            );
        }
        let replies = resp::call(&mut self.connect()?, &commands, work::SCARCE as usize + 2)?;
        if let Some(refused) = replies.iter().find(|reply| reply.starts_with(b"-")) {
            bail!("Redis refused the stock: {}", String::from_utf8_lossy(refused));
        }
        let digest = String::from_utf8_lossy(&replies[0]);
        let digest = digest.split("\r\n").nth(1).context("a script's digest")?;
        Ok(digest.to_owned())
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port)).context("connecting to Redis")
    }

    /// Its processes.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Digest of the script.
    pub fn script(&self) -> &str {
        &self.script
    }

    /// Connections for a cell.
    pub fn connections(
        &self,
        cell: &Cell,
        names: &Arc<Names>,
    ) -> anyhow::Result<Vec<(TcpStream, RedisCalls)>> {
        let connection = |_| {
            let calls = RedisCalls {
                script: self.script.clone(),
                names: Arc::clone(names),
                batch: cell.batch,
                answered: 0,
            };
            Ok((self.connect()?, calls))
        };
        (0..cell.connections()).map(connection).collect()
    }

    /// What is left of all articles.
    pub fn stock(&self) -> anyhow::Result<Stock> {
        let mut commands = Vec::new();
        for article in 0..=work::SCARCE {
            resp::command(
                &mut commands,
                &[b"GET", stock_key(&work::sku(article)).as_bytes()],
            );
        }
        let replies = resp::call(&mut self.connect()?, &commands, work::SCARCE as usize + 1)?;
        let left = replies
            .iter()
            .map(|reply| resp::number(reply))
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Stock::of_left(&left))
    }

    /// Stops it.
    pub fn stop(self) -> anyhow::Result<()> {
        self.server.stop()
    }
}

fn stock_key(sku: &str) -> String {
    format!("stock:{sku}")
}

/// Reservations as calls of the script.
#[derive(Debug)]
pub struct RedisCalls {
    script: String,
    names: Arc<Names>,
    batch: usize,
    answered: usize,
}

impl Protocol for RedisCalls {
    fn encode(&mut self, call: &[Reservation], out: &mut Vec<u8>) {
        let (mut order, mut stock, mut buyers) = (Vec::new(), Vec::new(), Vec::new());
        let mut digits = [0; uuid::fmt::Hyphenated::LENGTH];
        let limit = work::LIMIT_PER_CUSTOMER.to_string();
        for reservation in call {
            let sku = self.names.sku(reservation).as_bytes();
            let id = reservation.id.hyphenated().encode_lower(&mut digits);
            for (key, prefix, name) in [
                (&mut order, &b"order:"[..], id.as_bytes()),
                (&mut stock, b"stock:", sku),
                (&mut buyers, b"buyers:", sku),
            ] {
                key.clear();
                key.extend_from_slice(prefix);
                key.extend_from_slice(name);
            }
            let customer = self.names.customer(reservation).as_bytes();
            let script = self.script.as_bytes();
            resp::command(
                out,
                &[
                    b"EVALSHA",
                    script,
                    b"3",
                    &order,
                    &stock,
                    &buyers,
                    customer,
                    sku,
                    limit.as_bytes(),
                ],
            );
        }
    }

    fn decode(&mut self, input: &[u8]) -> anyhow::Result<Option<Seen>> {
        // Answers are of four bytes; anything else is an error.
        let Some(answer) = input.first_chunk::<4>() else {
            return Ok(None);
        };
        let verdict = match answer {
            b":0\r\n" => Verdict::SoldOut,
            b":1\r\n" => Verdict::Granted,
            b":2\r\n" => Verdict::Exists,
            _ => bail!(
                "Redis answered {:?}",
                String::from_utf8_lossy(&input[..input.len().min(200)])
            ),
        };
        self.answered += 1;
        let ends_call = self.answered == self.batch;
        if ends_call {
            self.answered = 0;
        }
        Ok(Some(Seen {
            size_bytes: 4,
            verdict: Some(verdict),
            ends_call,
        }))
    }
}

/// The version that runs.
pub fn version() -> anyhow::Result<String> {
    let output = std::process::Command::new("redis-server")
        .arg("--version")
        .output();
    let output = output.context("running redis-server --version")?;
    ensure!(output.status.success(), "redis-server --version failed");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
