//! `doorbuster log repair`: saves what is left of a damaged store.

use std::path::PathBuf;
use std::process::ExitCode;

use doorbuster::log::inspect::repair::{self, Action, RepairReport};
use doorbuster::log::inspect::{Access, DataFolder};
use doorbuster::log::io::Clock;
use doorbuster::log::io::linux::SystemClock;
use serde::Serialize;

use super::verify::{FindingReport, RangeReport};
use super::{EXIT_DAMAGE, Place};
use crate::cli::output;

/// Name and version of the JSON form.
const SCHEMA: &str = "doorbuster.log-repair.v1";

/// Arguments of `doorbuster log repair`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Do it; without this, only say what would be done
    #[arg(long)]
    apply: bool,
}

/// What a repair did, or would do.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    is_applied: bool,
    findings: Vec<FindingReport>,
    actions: Vec<ActionReport>,
    /// Offsets whose records are gone; batches without records stand in their place.
    lost: Vec<RangeReport>,
    /// Where damaged files went, or would go; none if nothing is wrong.
    quarantine: Option<PathBuf>,
}

/// One step, by its name and the file, relative to the data folder.
#[derive(Debug, Serialize)]
struct ActionReport {
    /// `quarantine`, `write-segment`, `save-from-journal`, `write-indexes`, `write-checkpoint`,
    /// `write-store` or `write-anchor`.
    action: &'static str,
    file: Option<PathBuf>,
    /// Batches that are saved from the journal.
    batches: Option<usize>,
}

impl From<&Action> for ActionReport {
    fn from(action: &Action) -> ActionReport {
        let report = |action, file: Option<&PathBuf>, batches| ActionReport {
            action,
            file: file.cloned(),
            batches,
        };
        match action {
            Action::Quarantine { file } => report("quarantine", Some(file), None),
            Action::WriteSegment { file } => report("write-segment", Some(file), None),
            Action::SaveFromJournal { file, batches } => {
                report("save-from-journal", Some(file), Some(*batches))
            }
            Action::WriteIndexes { file } => report("write-indexes", Some(file), None),
            Action::WriteCheckpoint => report("write-checkpoint", None, None),
            Action::WriteStore => report("write-store", None, None),
            Action::WriteAnchor => report("write-anchor", None, None),
        }
    }
}

/// Runs the command. Exit code 1 without `--apply` if there is anything to do.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = DataFolder::open(super::disk(), &arguments.place.folder, Access::Locked)?;
    let now = SystemClock::default().now();
    let done = if arguments.apply {
        repair::apply(&folder, now)?
    } else {
        repair::plan(&folder, now)?
    };
    let report = report_of(&done, arguments.apply);
    if arguments.place.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(if report.findings.is_empty() || arguments.apply {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_DAMAGE)
    })
}

fn report_of(done: &RepairReport, is_applied: bool) -> Report {
    Report {
        schema: SCHEMA,
        is_applied,
        findings: done.survey.findings.iter().map(FindingReport::of).collect(),
        actions: done.actions.iter().map(ActionReport::from).collect(),
        lost: done.lost.iter().map(RangeReport::of).collect(),
        quarantine: (!done.survey.findings.is_empty()).then(|| done.quarantine.clone()),
    }
}

fn show(report: &Report) -> anyhow::Result<()> {
    for finding in &report.findings {
        finding.show()?;
    }
    for action in &report.actions {
        let file = action
            .file
            .as_ref()
            .map_or(String::new(), |file| format!(" {}", file.display()));
        let batches = action
            .batches
            .map_or(String::new(), |count| format!(" ({count} batches)"));
        output::result(&format!("{}{file}{batches}", action.action))?;
    }
    for lost in &report.lost {
        lost.show("lost for good")?;
    }
    match (&report.quarantine, report.is_applied) {
        (None, _) => output::result(&"sound: there is nothing to repair"),
        (Some(quarantine), true) => output::result(&format!(
            "repaired; what was moved away is in {}",
            quarantine.display()
        )),
        (Some(quarantine), false) => output::result(&format!(
            "nothing was changed; with --apply, damaged files move to {}",
            quarantine.display()
        )),
    }
}
