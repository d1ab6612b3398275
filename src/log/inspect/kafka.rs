//! Takes the partitions of a topic from a folder of Kafka: batches verbatim, with the offsets that they have.
//!
//! The folder is one of `log.dirs` of a broker that was shut down, or a copy: a folder `<topic>-<index>` for each
//! partition, with segments `<base offset>.log` of v2 batches. Kafka's indexes and snapshots are not looked at.
//! Offsets that compaction took out become batches without records; leader epochs, which mean nothing here,
//! become 0.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::adopt::{Target, create_topics};
use super::copy::CopyReport;
use super::finding::Problem;
use super::segment::{Bounds, walk};
use super::{InspectError, adopt::PartitionDraft};
use crate::log::io::{Disk, Environment};
use crate::log::segment::base_offset_of;
use crate::log::{Offset, TopicSpec};

/// Where Kafka keeps how far records were deleted.
const START_FILE: &str = "log-start-offset-checkpoint";

/// Makes the new topic `topic` in the store at `target`, which is created if it is not there, from the partitions
/// in `source`: those of the topic with the same name, or those of the only topic there is.
///
/// # Errors
/// At the first damage; then the new topic is there and empty.
pub fn import(
    environment: &Environment,
    source: &Path,
    target: &Path,
    topic: &str,
) -> Result<CopyReport, InspectError> {
    let disk = &*environment.disk;
    let partitions = find_partitions(disk, source, topic)?;
    let starts = read_starts(disk, source);
    let spec = TopicSpec::with_partitions(partitions.len() as u32);
    let created = create_topics(environment, target, [(topic, spec, None)])?;
    let mut target = Target::open(environment, target)?;
    let mut report = CopyReport {
        topics: 1,
        ..CopyReport::default()
    };
    for (dir, id) in partitions.iter().zip(created.into_iter().flatten()) {
        let bases = segments(disk, dir)?;
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let first = bases.first().copied().unwrap_or_default();
        let log_start = starts.get(name).copied().unwrap_or_default().max(first);
        let taken = target.fill(id, log_start, |draft| take(disk, dir, &bases, draft))?;
        report.add(taken);
    }
    target.finish()?;
    Ok(report)
}

/// Folders of the partitions, by index.
fn find_partitions(disk: &dyn Disk, source: &Path, topic: &str) -> Result<Vec<PathBuf>, InspectError> {
    let names = disk.list(source).map_err(InspectError::io("list", source))?;
    let mut topics: BTreeMap<&str, BTreeMap<u32, &str>> = BTreeMap::new();
    for name in &names {
        if let Some((of, index)) = name.rsplit_once('-')
            && let Ok(index) = index.parse()
            && disk.list(&source.join(name)).is_ok()
        {
            topics.entry(of).or_default().insert(index, name);
        }
    }
    let found = topics.values().flat_map(|partitions| partitions.values());
    let wrong = || InspectError::KafkaPartitions {
        path: source.to_path_buf(),
        found: found.clone().map(ToString::to_string).collect(),
    };
    let only = if topics.len() == 1 {
        topics.values().next()
    } else {
        None
    };
    let Some(partitions) = topics.get(topic).or(only) else {
        return Err(if topics.is_empty() {
            let path = source.to_path_buf();
            InspectError::NoKafkaPartitions { path }
        } else {
            wrong()
        });
    };
    if partitions.keys().copied().ne(0..partitions.len() as u32) {
        return Err(wrong());
    }
    Ok(partitions.values().map(|name| source.join(name)).collect())
}

fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Offset>, InspectError> {
    let names = disk.list(dir).map_err(InspectError::io("list", dir))?;
    let mut bases: Vec<_> = names.iter().filter_map(|name| base_offset_of(name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

fn take(
    disk: &dyn Disk,
    dir: &Path,
    bases: &[Offset],
    draft: &mut PartitionDraft,
) -> Result<(), InspectError> {
    for (index, base_offset) in bases.iter().enumerate() {
        let path = crate::log::segment::SegmentPaths::new(dir, *base_offset).log;
        let bounds = Bounds {
            base_offset: *base_offset,
            next_offset: bases.get(index + 1).copied(),
            end: None,
            has_holes: true,
        };
        let mut taken = Ok(());
        let walked = walk(disk, &path, &bounds, |_, header, bytes| {
            if taken.is_ok() {
                taken = draft.push(header, bytes);
            }
        })?;
        taken?;
        let problems = walked.into_iter().flat_map(|walk| walk.problems);
        let is_damage = |problem: &Problem| !matches!(problem, Problem::LeaderEpoch { .. });
        if let Some((position, problem)) = problems.into_iter().find(|(_, problem)| is_damage(problem)) {
            return Err(InspectError::KafkaSegment {
                path,
                position,
                problem: Box::new(problem),
            });
        }
    }
    Ok(())
}

/// The log starts by name of the partition's folder: lines of topic, index and offset behind a version and a count.
fn read_starts(disk: &dyn Disk, source: &Path) -> BTreeMap<String, Offset> {
    let read = || {
        let file = disk
            .open(&source.join(START_FILE), crate::log::io::OpenMode::Read)
            .ok()?;
        let mut bytes = vec![0; file.len().ok()? as usize];
        file.read_at(&mut bytes, 0).ok()?;
        String::from_utf8(bytes).ok()
    };
    let text = read().unwrap_or_default();
    let starts = text.lines().skip(2).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (topic, index, offset) = (words.next()?, words.next()?, words.next()?);
        Some((format!("{topic}-{index}"), Offset(offset.parse().ok()?)))
    });
    starts.collect()
}
