//! PostgreSQL with one statement for a reservation: a conditional update of the stock and an insert under the
//! reservation's id, prepared, pipelined, one transaction for each call.
//!
//! There is no limit per customer and no end of a hold in it, which favours PostgreSQL. The client speaks the
//! protocol itself, so that the generator costs the same for every peer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use rustix::process::Signal;

use crate::cell::Cell;
use crate::measured::Verdict;
use crate::peer::Stock;
use crate::process::{Server, copy_folder, free_port};
use crate::wire::{Protocol, Seen};
use crate::work::{self, Names, Reservation};

/// The system's user that the server runs as; it refuses to run as root.
const USER: &str = "postgres";

const PREPARE: &str = "
CREATE TABLE stock (sku text PRIMARY KEY, available int NOT NULL CHECK (available >= 0)) WITH (fillfactor = 50);
CREATE TABLE reservation (id uuid PRIMARY KEY, customer text NOT NULL, sku text NOT NULL);
";

/// 1: granted; 2: it was there; 0: sold out. Two that race for one id come to an error of the second, which is the
/// same as 2.
const RESERVE: &str = "
WITH sold AS (
    UPDATE stock SET available = available - 1
    WHERE sku = $3 AND available >= 1 AND NOT EXISTS (SELECT FROM reservation WHERE id = $1)
    RETURNING sku),
made AS (INSERT INTO reservation (id, customer, sku) SELECT $1, $2, sku FROM sold RETURNING id)
SELECT CASE WHEN EXISTS (SELECT FROM made) THEN 1
    WHEN EXISTS (SELECT FROM reservation WHERE id = $1) THEN 2 ELSE 0 END";

/// Types of the statement's parameters: uuid, text, text. Source: pg_type.dat of PostgreSQL.
const PARAMETER_TYPES: [u32; 3] = [2950, 25, 25];

/// What the server says of a second insert under one id. Source: PostgreSQL, appendix A, unique_violation.
const UNIQUE_VIOLATION: &[u8] = b"C23505\0";

/// Where PostgreSQL's programs are.
pub fn programs() -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from("/usr/lib/postgresql/15/bin");
    ensure!(
        folder.join("postgres").exists(),
        "there is no {}/postgres",
        folder.display()
    );
    Ok(folder)
}

/// A PostgreSQL of its own.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    port: u16,
}

impl Postgres {
    /// Makes a stocked cluster that others are copied from.
    pub fn prepare(template: &Path) -> anyhow::Result<()> {
        std::fs::create_dir(template).with_context(|| format!("creating {}", template.display()))?;
        let chown = Command::new("chown")
            .arg(USER)
            .arg(template)
            .status()
            .context("running chown")?;
        ensure!(
            chown.success(),
            "user {USER} cannot be given {}",
            template.display()
        );
        let made = Command::new("setpriv")
            .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
            .arg(programs()?.join("initdb"))
            .args([
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--pgdata",
            ])
            .arg(template)
            .output()
            .context("running initdb")?;
        ensure!(
            made.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let postgres = Postgres::serve(template, true)?;
        let mut session = Session::connect(postgres.port)?;
        session.query(PREPARE)?;
        for (first, last, units) in [
            (0, work::ARTICLES, work::UNITS),
            (work::SCARCE, work::SCARCE + 1, work::SCARCE_UNITS),
        ] {
            let last = last - 1;
            session.query(&format!(
                "INSERT INTO stock SELECT 'sku-' || n, {units} FROM generate_series({first}, {last}) n"
            ))?;
        }
        session.query("VACUUM ANALYZE")?;
        postgres.stop()
    }

    /// Starts a copy of the template.
    pub fn start(template: &Path, folder: &Path, synchronous_commit: bool) -> anyhow::Result<Postgres> {
        copy_folder(template, folder)?;
        Postgres::serve(folder, synchronous_commit)
    }

    fn serve(folder: &Path, synchronous_commit: bool) -> anyhow::Result<Postgres> {
        let port = free_port()?;
        let log = folder.with_extension("log");
        let arguments: Vec<String> = [
            "-D",
            &folder.display().to_string(),
            "-c",
            &format!("port={port}"),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=on",
            "-c",
            "max_connections=1100",
            "-c",
            if synchronous_commit {
                "synchronous_commit=on"
            } else {
                "synchronous_commit=off"
            },
        ]
        .map(str::to_owned)
        .into();
        let program = programs()?.join("postgres");
        let mut server = Server::start(&program, &arguments, Some(USER), Signal::INT, &log)?;
        server.wait_for_port(port, &log)?;
        let postgres = Postgres { server, port };
        // It listens before it takes anybody in.
        let started = std::time::Instant::now();
        while let Err(error) = Session::connect(port) {
            if started.elapsed().as_secs() > 30 {
                return Err(error).context("PostgreSQL takes no connection");
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(postgres)
    }

    /// Its processes.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Connections for a cell, the statement prepared on each.
    pub fn connections(
        &self,
        cell: &Cell,
        names: &Arc<Names>,
    ) -> anyhow::Result<Vec<(TcpStream, PostgresCalls)>> {
        let connection = |_| {
            let mut session = Session::connect(self.port)?;
            session.prepare(RESERVE)?;
            Ok((
                session.stream,
                PostgresCalls {
                    names: Arc::clone(names),
                },
            ))
        };
        (0..cell.connections()).map(connection).collect()
    }

    /// What is left of all articles, against what was reserved.
    pub fn stock(&self) -> anyhow::Result<Stock> {
        let mut session = Session::connect(self.port)?;
        let rows = session.query("SELECT available FROM stock ORDER BY substr(sku, 5)::int")?;
        let left = rows
            .iter()
            .map(|row| Ok(std::str::from_utf8(row)?.parse()?))
            .collect::<anyhow::Result<Vec<i64>>>()?;
        let stock = Stock::of_left(&left);
        let kept = session.query("SELECT count(*) FROM reservation")?;
        let kept: u64 = std::str::from_utf8(kept.first().context("a count")?)?.parse()?;
        ensure!(
            kept == stock.taken,
            "{kept} reservations are kept, but {} units are taken",
            stock.taken
        );
        Ok(stock)
    }

    /// Stops it; its data is written out.
    pub fn stop(self) -> anyhow::Result<()> {
        self.server.stop()
    }
}

/// One session, before it is driven.
struct Session {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Session {
    fn connect(port: u16) -> anyhow::Result<Session> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("connecting to PostgreSQL")?;
        stream.set_nodelay(true)?;
        let mut session = Session {
            stream,
            input: Vec::new(),
        };
        let mut startup = Vec::new();
        startup.extend_from_slice(&196_608_u32.to_be_bytes());
        startup.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
        let length = (startup.len() as u32 + 4).to_be_bytes();
        session.stream.write_all(&[&length[..], &startup].concat())?;
        session.until_ready()?;
        Ok(session)
    }

    /// The first column of all rows, as text.
    fn query(&mut self, sql: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut out = Vec::new();
        message(&mut out, b'Q', |body| {
            body.extend_from_slice(sql.as_bytes());
            body.push(0);
        });
        self.stream.write_all(&out)?;
        self.until_ready()
    }

    fn prepare(&mut self, sql: &str) -> anyhow::Result<()> {
        let mut out = Vec::new();
        message(&mut out, b'P', |body| {
            body.extend_from_slice(b"reserve\0");
            body.extend_from_slice(sql.as_bytes());
            body.push(0);
            body.extend_from_slice(&(PARAMETER_TYPES.len() as u16).to_be_bytes());
            PARAMETER_TYPES
                .iter()
                .for_each(|kind| body.extend_from_slice(&kind.to_be_bytes()));
        });
        message(&mut out, b'S', |_| {});
        self.stream.write_all(&out)?;
        self.until_ready()?;
        ensure!(self.input.is_empty(), "PostgreSQL said more than was asked");
        Ok(())
    }

    fn until_ready(&mut self) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut rows = Vec::new();
        let mut error = None;
        let mut chunk = [0; 64 * 1024];
        loop {
            let Some((kind, size_bytes)) = header(&self.input) else {
                let received = self.stream.read(&mut chunk)?;
                ensure!(received > 0, "PostgreSQL closed the connection");
                self.input.extend_from_slice(&chunk[..received]);
                continue;
            };
            let body = &self.input[5..size_bytes];
            match kind {
                b'D' => rows.push(first_column(body)?.to_vec()),
                b'E' => error = Some(String::from_utf8_lossy(body).replace('\0', " ")),
                _ => {}
            }
            self.input.drain(..size_bytes);
            if let (b'E' | b'Z', Some(error)) = (kind, &error) {
                bail!("PostgreSQL refused: {error}");
            }
            if kind == b'Z' {
                return Ok(rows);
            }
        }
    }
}

/// Reservations as executions of the prepared statement.
#[derive(Debug)]
pub struct PostgresCalls {
    names: Arc<Names>,
}

impl Protocol for PostgresCalls {
    fn encode(&mut self, call: &[Reservation], out: &mut Vec<u8>) {
        for reservation in call {
            message(out, b'B', |body| {
                body.extend_from_slice(b"\0reserve\0");
                // Parameters and results are in binary form.
                body.extend_from_slice(&[0, 1, 0, 1, 0, 3]);
                let customer = self.names.customer(reservation).as_bytes();
                let sku = self.names.sku(reservation).as_bytes();
                for parameter in [reservation.id.as_bytes(), customer, sku] {
                    body.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
                    body.extend_from_slice(parameter);
                }
                body.extend_from_slice(&[0, 1, 0, 1]);
            });
            message(out, b'E', |body| body.extend_from_slice(&[0, 0, 0, 0, 0]));
        }
        message(out, b'S', |_| {});
    }

    fn decode(&mut self, input: &[u8]) -> anyhow::Result<Option<Seen>> {
        let Some((kind, size_bytes)) = header(input) else {
            return Ok(None);
        };
        let body = &input[5..size_bytes];
        let verdict = match kind {
            b'D' => Some(match first_column(body)? {
                [0, 0, 0, 0] => Verdict::SoldOut,
                [0, 0, 0, 1] => Verdict::Granted,
                [0, 0, 0, 2] => Verdict::Exists,
                other => bail!("PostgreSQL answered {other:?}"),
            }),
            b'E' if body
                .windows(UNIQUE_VIOLATION.len())
                .any(|part| part == UNIQUE_VIOLATION) =>
            {
                Some(Verdict::Exists)
            }
            b'E' => bail!(
                "PostgreSQL failed: {}",
                String::from_utf8_lossy(body).replace('\0', " ")
            ),
            _ => None,
        };
        // What a call did is durable when the server is ready for the next, not before.
        Ok(Some(Seen {
            size_bytes,
            verdict,
            ends_call: kind == b'Z',
        }))
    }
}

/// Appends a message of the protocol.
fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Kind and size of the message at the front of `input`; none if it is not whole.
fn header(input: &[u8]) -> Option<(u8, usize)> {
    let (kind, rest) = input.split_first()?;
    let size_bytes = 1 + u32::from_be_bytes(*rest.first_chunk()?) as usize;
    (size_bytes <= input.len()).then_some((*kind, size_bytes))
}

fn first_column(body: &[u8]) -> anyhow::Result<&[u8]> {
    let short = || anyhow!("a row without a column");
    let length = body
        .get(2..6)
        .and_then(|bytes| bytes.first_chunk())
        .ok_or_else(short)?;
    body.get(6..6 + u32::from_be_bytes(*length) as usize)
        .ok_or_else(short)
}

/// The version that runs.
pub fn version() -> anyhow::Result<String> {
    let output = Command::new(programs()?.join("postgres"))
        .arg("--version")
        .output();
    let output = output.context("running postgres --version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_length_and_cut_ones_wait() {
        let mut out = Vec::new();
        message(&mut out, b'Q', |body| body.extend_from_slice(b"SELECT 1\0"));
        assert_eq!(out, b"Q\0\0\0\x0dSELECT 1\0");
        assert_eq!(header(&out), Some((b'Q', out.len())));
        for cut in 0..out.len() {
            assert_eq!(header(&out[..cut]), None);
        }
    }

    #[test]
    fn an_answer_counts_as_durable_only_when_the_server_is_ready() {
        let mut calls = PostgresCalls {
            names: Arc::new(Names::new()),
        };
        let row = b"D\0\0\0\x0e\0\x01\0\0\0\x04\0\0\0\x01";
        let seen = calls.decode(row).unwrap().unwrap();
        assert_eq!(
            seen,
            Seen {
                size_bytes: 15,
                verdict: Some(Verdict::Granted),
                ends_call: false
            }
        );
        let seen = calls.decode(b"Z\0\0\0\x05I").unwrap().unwrap();
        assert_eq!(
            seen,
            Seen {
                size_bytes: 6,
                verdict: None,
                ends_call: true
            }
        );
        let twice = b"E\0\0\0\x0fSERROR\0C23505\0\0";
        let twice = [&twice[..1], &(twice.len() as u32 - 1).to_be_bytes(), &twice[5..]].concat();
        assert_eq!(
            calls.decode(&twice).unwrap().unwrap().verdict,
            Some(Verdict::Exists)
        );
    }
}
