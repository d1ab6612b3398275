//! `doorbuster log verify`: reads everything and tells what is wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use doorbuster::log::inspect::{Finding, LostRange, Severity, Survey, survey};
use serde::Serialize;

use super::{EXIT_DAMAGE, Reading};
use crate::cli::output;

/// Name and version of the JSON form of a finding.
const FINDING_SCHEMA: &str = "doorbuster.log-finding.v1";
/// Name and version of the JSON form of the last line.
const VERDICT_SCHEMA: &str = "doorbuster.log-verify.v1";

/// Arguments of `doorbuster log verify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    reading: Reading,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub struct FindingReport {
    schema: &'static str,
    /// The file, relative to the data folder.
    file: PathBuf,
    /// The byte in it, where there is one.
    position: Option<u64>,
    /// The partition's number in the log, where it is one's.
    partition: Option<u32>,
    /// A short name that does not change.
    kind: &'static str,
    /// `derived`, `doubt`, `identity` or `loss`.
    severity: &'static str,
    /// What is wrong.
    what: String,
    /// What to do.
    advice: &'static str,
}

/// Offsets of a partition whose records are gone.
#[derive(Debug, Serialize)]
pub struct RangeReport {
    /// The topic; none for the log's own metadata.
    topic: Option<String>,
    /// The partition's index in the topic.
    index: u32,
    /// The first offset.
    start: u64,
    /// The offset behind the last.
    end: u64,
}

/// The last line of `verify --json`.
#[derive(Debug, Serialize)]
struct Verdict {
    schema: &'static str,
    is_sound: bool,
    findings: usize,
    partitions: usize,
    /// Offsets whose records are lost or damaged.
    lost: Vec<RangeReport>,
    /// Offsets that earlier repairs gave up; no damage.
    fenced: Vec<RangeReport>,
}

impl FindingReport {
    /// The report of a finding.
    pub fn of(finding: &Finding) -> FindingReport {
        FindingReport {
            schema: FINDING_SCHEMA,
            file: finding.file.clone(),
            position: finding.position,
            partition: finding.partition.map(|partition| partition.0),
            kind: finding.problem.kind(),
            severity: match finding.problem.severity() {
                Severity::Derived => "derived",
                Severity::Doubt => "doubt",
                Severity::Identity => "identity",
                Severity::Loss => "loss",
            },
            what: finding.problem.to_string(),
            advice: finding.problem.advice(),
        }
    }

    /// Shows it.
    pub fn show(&self) -> anyhow::Result<()> {
        let at = self
            .position
            .map_or(String::new(), |position| format!(" at byte {position}"));
        let Self {
            severity,
            what,
            advice,
            ..
        } = self;
        output::result(&format!(
            "{severity}: {}{at}: {what}\n  {advice}",
            self.file.display()
        ))
    }
}

impl RangeReport {
    /// The report of a range.
    pub fn of(lost: &LostRange) -> RangeReport {
        RangeReport {
            topic: lost.topic.clone(),
            index: lost.index,
            start: lost.offsets.start.0,
            end: lost.offsets.end.0,
        }
    }

    /// Shows it behind `what` became of it.
    pub fn show(&self, what: &str) -> anyhow::Result<()> {
        let Self {
            index, start, end, ..
        } = self;
        let topic = self.topic.as_deref().unwrap_or("(the log's metadata)");
        output::result(&format!(
            "{what}: topic {topic} partition {index} offsets {start}..{end}"
        ))
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let found = survey(&arguments.reading.open()?)?;
    if arguments.reading.place.json {
        for finding in &found.findings {
            output::json(&FindingReport::of(finding))?;
        }
        output::json(&verdict(&found))?;
    } else {
        show(&found)?;
    }
    Ok(if found.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_DAMAGE)
    })
}

fn verdict(found: &Survey) -> Verdict {
    Verdict {
        schema: VERDICT_SCHEMA,
        is_sound: found.findings.is_empty(),
        findings: found.findings.len(),
        partitions: found.partitions.len(),
        lost: found.lost().iter().map(RangeReport::of).collect(),
        fenced: found.fenced().iter().map(RangeReport::of).collect(),
    }
}

fn show(found: &Survey) -> anyhow::Result<()> {
    for finding in &found.findings {
        FindingReport::of(finding).show()?;
    }
    for lost in found.lost() {
        RangeReport::of(&lost).show("lost")?;
    }
    for fenced in found.fenced() {
        RangeReport::of(&fenced).show("given up by an earlier repair")?;
    }
    match (found.findings.len(), found.partitions.len()) {
        (0, partitions) => output::result(&format!("sound: {partitions} partitions")),
        (count, _) => output::result(&format!("{count} findings")),
    }
}
