//! Copies a store, or some of its topics, into a new one, and checks every batch on the way.
//!
//! Topics keep their names, identities and configurations, records their offsets; partitions get new numbers,
//! and the copy is a store of its own. What is in the journal of the original is in segments of the copy.

use std::path::Path;

use super::adopt::{Target, create_topics};
use super::dump::Dump;
use super::{DataFolder, InspectError, Severity};
use crate::log::TopicSpec;
use crate::log::io::Environment;
use crate::log::recovery::STORE_FILE;

/// What was copied or taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Topics.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Batches.
    pub batches: u64,
    /// Bytes of batches.
    pub bytes: u64,
}

impl CopyReport {
    pub(super) fn add(&mut self, (batches, bytes): (u64, u64)) {
        self.partitions += 1;
        self.batches += batches;
        self.bytes += bytes;
    }
}

/// Copies the topics with these names, or all if there are none, to the folder `target`, which has no store.
///
/// # Errors
/// At the first damage; then the copy is not complete and must not be used.
pub fn copy(
    folder: &DataFolder,
    environment: &Environment,
    target: &Path,
    topics: &[String],
) -> Result<CopyReport, InspectError> {
    let has_store = environment
        .disk
        .open(&target.join(STORE_FILE), crate::log::io::OpenMode::Read);
    if has_store.is_ok() {
        let path = target.to_path_buf();
        return Err(InspectError::TargetExists { path });
    }
    let mut dump = Dump::open(folder)?;
    if let Some(finding) = std::mem::take(&mut dump.outline.findings)
        .into_iter()
        .find(|finding| finding.problem.severity() > Severity::Derived)
    {
        return Err(InspectError::Damaged {
            file: finding.file,
            problem: Box::new(finding.problem),
        });
    }
    let found = &dump.outline;
    for topic in topics {
        if !found.catalog.topics.contains_key(topic) {
            let topic = topic.clone();
            return Err(InspectError::UnknownTopic { topic });
        }
    }
    let is_meant = |name: &String| topics.is_empty() || topics.contains(name);
    let meant: Vec<_> = found
        .catalog
        .topics
        .iter()
        .filter(|(name, _)| is_meant(name))
        .collect();
    let specs = meant.iter().map(|(name, topic)| {
        let spec = TopicSpec {
            partitions: topic.partitions.len() as u32,
            configs: topic.configs.clone(),
        };
        (name.as_str(), spec, Some(topic.id))
    });
    let created = create_topics(environment, target, specs)?;
    let mut report = CopyReport {
        topics: created.len() as u64,
        ..CopyReport::default()
    };
    let mut target = Target::open(environment, target)?;
    let pairs = meant.iter().zip(&created);
    for (from, to) in pairs.flat_map(|((_, topic), created)| topic.partitions.iter().zip(created)) {
        let log_start = found.partitions.get(from).map(|partition| partition.log_start);
        let taken = target.fill(*to, log_start.unwrap_or_default(), |draft| {
            let mut taken = Ok(());
            let problems = dump.batches(*from, log_start.unwrap_or_default(), |batch| {
                if taken.is_ok() {
                    taken = draft.push(&batch.header, &batch.bytes);
                }
            })?;
            taken?;
            match problems.into_iter().next() {
                Some((file, problem)) => Err(InspectError::Damaged {
                    file,
                    problem: Box::new(problem),
                }),
                None => Ok(()),
            }
        })?;
        report.add(taken);
    }
    target.finish()?;
    Ok(report)
}
