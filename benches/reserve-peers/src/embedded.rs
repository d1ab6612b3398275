//! doorbuster as a library: the generator's own process is the server, so each cell runs in a child of its own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use doorbuster::commerce::inventory::{Command, Inventory, InventoryOptions, Line};
use doorbuster::log::{Log, LogOptions};
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::measured::{Measured, Meter};
use crate::peer::Stock;
use crate::process::{Usage, cpu_seconds, memory_bytes};
use crate::shop::verdict_of_outcome;
use crate::work::{self, HOLD_MS, Names, Reservation, Shoppers};

/// Arguments of the child.
#[derive(Debug, clap::Args)]
pub struct ChildArguments {
    /// Data folder, which exists.
    #[arg(long)]
    folder: PathBuf,
    /// The cell as JSON.
    #[arg(long)]
    cell: String,
}

/// What a child prints.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ChildReport {
    /// What was counted.
    pub measured: Measured,
    /// What the stock says.
    pub stock: Stock,
    /// Bytes of memory that came while the cell ran.
    pub memory_bytes: u64,
}

/// Runs a cell on `folder` in a child process.
pub fn run_in_child(folder: &Path, cell: &Cell) -> anyhow::Result<ChildReport> {
    let own = std::env::current_exe().context("looking for this program")?;
    // The child dies with this process.
    let output = Program::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(own)
        .arg("embedded-child")
        .arg("--folder")
        .arg(folder)
        .args(["--cell", &serde_json::to_string(cell)?])
        .stderr(Stdio::inherit())
        .output()
        .context("running the embedded engine")?;
    ensure!(
        output.status.success(),
        "the embedded engine ended with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("reading what the embedded engine printed")
}

/// The child's side.
pub fn run_child(arguments: &ChildArguments) -> anyhow::Result<ChildReport> {
    let cell: Cell = serde_json::from_str(&arguments.cell).context("reading the cell")?;
    let log = Log::open(&arguments.folder, LogOptions::default()).context("opening the log")?;
    let inventory = Inventory::open(&log, InventoryOptions::default()).context("opening the shard")?;
    let (names, mut shoppers) = (Names::new(), Shoppers::new(cell.workload)?);
    let own = [std::process::id()];
    let memory_before = memory_bytes(&own);
    let usage = || {
        Ok(Usage {
            client_cpu_seconds: None,
            server_cpu_seconds: cpu_seconds(&[std::process::id()]),
        })
    };
    let mut meter = Meter::new(cell.warm_up, cell.measured, &usage)?;
    if cell.batch == 1 {
        one_by_one(&inventory, &cell, &names, &mut shoppers, &mut meter)?;
    } else {
        in_batches(&inventory, &cell, &names, &mut shoppers, &mut meter)?;
    }
    let measured = meter.result()?;
    let memory_bytes = memory_bytes(&own).saturating_sub(memory_before);
    let left = (0..=work::SCARCE).map(|article| {
        let sku = work::sku(article);
        let view = inventory
            .stock(&sku)
            .wait()?
            .with_context(|| format!("{sku} is unknown"))?;
        Ok(i64::try_from(view.sellable)?)
    });
    let stock = Stock::of_left(&left.collect::<anyhow::Result<Vec<_>>>()?);
    inventory.close();
    log.close().context("closing the log")?;
    Ok(ChildReport {
        measured,
        stock,
        memory_bytes,
    })
}

fn one_by_one(
    inventory: &Inventory,
    cell: &Cell,
    names: &Names,
    shoppers: &mut Shoppers,
    meter: &mut Meter<'_>,
) -> anyhow::Result<()> {
    let mut left = cell.reservations_max.unwrap_or(u64::MAX);
    let mut calls = VecDeque::with_capacity(cell.in_flight);
    loop {
        while calls.len() < cell.in_flight && left > 0 && meter.goes_on(Instant::now())? {
            left -= 1;
            let command = command(&shoppers.next(), names);
            calls.push_back((Instant::now(), inventory.submit(command)));
        }
        let Some((begun, answer)) = calls.pop_front() else {
            return meter.finish(Instant::now());
        };
        let outcome = answer.wait()?;
        meter.answer(verdict_of_outcome(&outcome)?);
        meter.call(begun, Instant::now());
    }
}

fn in_batches(
    inventory: &Inventory,
    cell: &Cell,
    names: &Names,
    shoppers: &mut Shoppers,
    meter: &mut Meter<'_>,
) -> anyhow::Result<()> {
    let mut left = cell.reservations_max.unwrap_or(u64::MAX);
    let mut calls = VecDeque::with_capacity(cell.in_flight);
    loop {
        while calls.len() < cell.in_flight && left > 0 && meter.goes_on(Instant::now())? {
            let count = (cell.batch as u64).min(left);
            left -= count;
            let begun = Instant::now();
            let commands = (0..count).map(|_| command(&shoppers.next(), names)).collect();
            calls.push_back((begun, inventory.submit_many(commands)));
        }
        let Some((begun, answer)) = calls.pop_front() else {
            return meter.finish(Instant::now());
        };
        for outcome in answer.wait()? {
            meter.answer(verdict_of_outcome(&outcome)?);
        }
        meter.call(begun, Instant::now());
    }
}

fn command(reservation: &Reservation, names: &Names) -> Command {
    let line = Line::new(names.sku(reservation), 1);
    Command::reserve(reservation.id, names.customer(reservation), vec![line], HOLD_MS)
}
