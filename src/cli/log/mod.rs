//! `doorbuster log`: tools for a data folder that no process has open.

mod copy;
mod dump;
mod repair;
mod stat;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use doorbuster::log::inspect::{Access, DataFolder};
use doorbuster::log::io::Disk;
use doorbuster::log::io::linux::LinuxDisk;

/// Exit code where damage was found, or would stay.
const EXIT_DAMAGE: u8 = 1;

/// Arguments of `doorbuster log`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Show batches, records, or groups of the journal
    Dump(dump::Arguments),
    /// Count topics, partitions, segments and bytes
    Stat(stat::Arguments),
    /// Read everything and find whatever is not as the log wrote it; exit code 1 if there is anything
    Verify(verify::Arguments),
    /// Say how to save what is left of a damaged store, and do it with --apply; nothing is deleted
    Repair(repair::Arguments),
    /// Copy a store, or take the partitions of a topic from a folder of Kafka; checks every batch
    Copy(copy::Arguments),
}

/// The data folder, and in which form to tell of it: what every tool takes.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The data folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// What the tools that only read take beside it.
#[derive(Clone, Debug, Args)]
struct Reading {
    #[command(flatten)]
    place: Place,
    /// Do not take the folder's lock, and write nothing to it: for a copy, or a read-only disk. In a folder that
    /// is in use, what is found is meaningless
    #[arg(long)]
    unlocked: bool,
}

impl Reading {
    fn open(&self) -> anyhow::Result<DataFolder> {
        let access = if self.unlocked {
            Access::Unlocked
        } else {
            Access::Locked
        };
        Ok(DataFolder::open(disk(), &self.place.folder, access)?)
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(LinuxDisk::default())
}

/// Runs the command.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.tool {
        Tool::Dump(arguments) => dump::run(&arguments),
        Tool::Stat(arguments) => stat::run(&arguments),
        Tool::Verify(arguments) => verify::run(&arguments),
        Tool::Repair(arguments) => repair::run(&arguments),
        Tool::Copy(arguments) => copy::run(&arguments),
    }
}
