//! Compacts one partition: reads it, decides, and replaces its closed segments.

use std::sync::Arc;

use super::{Filter, Gap, KEYS_MAX, Kept, OffsetMap, Plan, groups, note_keys, plan};
use crate::log::Offset;
use crate::log::batch::{self, BatchHeader};
use crate::log::io::Environment;
use crate::log::partition_state::PartitionState;
use crate::log::producers::ProducerTable;
use crate::log::segment::{Committed, Rewrite, SegmentError, SegmentSummary, Segments};

/// Read at once. 1 MiB: near the disk's rate, and small beside the map of keys.
const READ_SIZE_BYTES: usize = 1024 * 1024;

/// What a compaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// There was nothing to do, or nothing that is worth it yet.
    Nothing,
    /// Everything below the offset was compacted.
    Below(Offset),
    /// The topic was deleted, or the log closes.
    GivenUp,
}

/// Why a partition was not compacted.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// A segment could not be read or rewritten. Those that are there are as they were.
    #[error("could not compact")]
    Segment(#[from] SegmentError),
    /// What the disk has is not known: nothing may be replaced before the next start.
    #[error("could not replace segments")]
    Unknown(#[source] SegmentError),
}

/// Compacts `partition` if that is worth it. `goes_on` is asked now and then.
pub fn compact(
    partition: &Arc<PartitionState>,
    environment: &Environment,
    goes_on: &dyn Fn() -> bool,
) -> Result<Compacted, CompactionError> {
    let (policy, now) = (partition.policy(), environment.clock.now());
    if !policy.compacts {
        return Ok(Compacted::Nothing);
    }
    let segments = partition.segments()?;
    let summaries = segments.summaries(now)?;
    let (cleaned, closed_below) = (partition.cleaned(), partition.checkpointed_segment());
    let Some(plan) = plan(&summaries, &policy, now, cleaned, closed_below) else {
        return Ok(Compacted::Nothing);
    };
    let random = &environment.random;
    let mut map = OffsetMap::new(KEYS_MAX, [random.next_u64(), random.next_u64()]);
    let Some(end) = note_all(segments, &mut map, plan, goes_on)? else {
        return Ok(Compacted::GivenUp);
    };
    let pass = Pass {
        segments,
        filter: Filter {
            map: &map,
            end,
            now,
            tombstone_retention: policy.tombstone_retention,
        },
        producers: partition.producers(),
        goes_on,
    };
    let count = summaries.partition_point(|segment| segment.base_offset < end);
    for group in groups(&summaries[..count], partition.segment_size_max_bytes()) {
        if !pass.rewrite(group)? {
            return Ok(Compacted::GivenUp);
        }
    }
    Ok(Compacted::Below(end))
}

/// Notes the keys of what is dirty, and tells up to where the map had room for them; none if it was given up.
fn note_all(
    segments: &Segments,
    map: &mut OffsetMap,
    plan: Plan,
    goes_on: &dyn Fn() -> bool,
) -> Result<Option<Offset>, SegmentError> {
    let mut next = plan.dirty;
    while next < plan.end {
        if !goes_on() {
            return Ok(None);
        }
        for (header, bytes) in read(segments, next)? {
            // The batch that holds the first dirty offset may begin before it.
            if header.next_offset() > plan.end || note_keys(map, &header, &bytes).is_err() {
                return Ok(Some(header.base_offset.max(plan.dirty)));
            }
            next = header.next_offset();
        }
    }
    Ok(Some(next))
}

/// Some batches from the one that holds `from`.
fn read(segments: &Segments, from: Offset) -> Result<Vec<(BatchHeader, bytes::Bytes)>, SegmentError> {
    let runs = segments.read(from, READ_SIZE_BYTES)?;
    let batches: Vec<_> = runs.iter().flat_map(batch::batches).flatten().collect();
    if batches.is_empty() {
        return Err(SegmentError::OutOfRange {
            offset: from,
            first: segments.first_offset(),
            next: segments.flushed().next_offset,
        });
    }
    Ok(batches)
}

struct Pass<'a> {
    segments: &'a Segments,
    filter: Filter<'a>,
    producers: ProducerTable,
    goes_on: &'a dyn Fn() -> bool,
}

impl Pass<'_> {
    /// Replaces neighbouring segments by what is left of them; false if it was given up.
    fn rewrite(&self, group: &[SegmentSummary]) -> Result<bool, CompactionError> {
        let bases: Vec<Offset> = group.iter().map(|segment| segment.base_offset).collect();
        let Some(mut rewrite) = Rewrite::begin(self.segments, &bases)? else {
            return Ok(true);
        };
        let (first, end) = (group[0].base_offset, group[group.len() - 1].next_offset);
        let filled = self.fill(&mut rewrite, first, end);
        match filled {
            Ok(Filled::Changed) => {}
            // One that is as it was is not worth replacing; several become one all the same.
            Ok(Filled::Same) if group.len() > 1 => {}
            Ok(Filled::Same) => {
                rewrite.discard();
                return Ok(true);
            }
            Ok(Filled::GivenUp) => {
                rewrite.discard();
                return Ok(false);
            }
            Err(error) => {
                rewrite.discard();
                return Err(error.into());
            }
        }
        match rewrite.commit() {
            Ok(()) => Ok(true),
            Err(Committed::Failed(error)) => Err(error.into()),
            Err(Committed::Unknown(error)) => Err(CompactionError::Unknown(error)),
        }
    }

    fn fill(&self, rewrite: &mut Rewrite<'_>, first: Offset, end: Offset) -> Result<Filled, SegmentError> {
        let (mut next, mut gap, mut filled) = (first, Gap::default(), Filled::Same);
        while next < end {
            if !(self.goes_on)() {
                return Ok(Filled::GivenUp);
            }
            for (header, bytes) in read(self.segments, next)? {
                // A read goes on over the end of a segment.
                if header.base_offset >= end {
                    break;
                }
                next = header.next_offset();
                match self.filter.apply(&header, &bytes) {
                    Kept::Whole => push(rewrite, &mut gap, &bytes)?,
                    Kept::Part(batch) => {
                        filled = Filled::Changed;
                        push(rewrite, &mut gap, &batch)?;
                    }
                    // Without it a producer that comes back would seem to be new.
                    Kept::Nothing if self.producers.ends_with(&header) => {
                        let batch = header.emptied().encode(&[]);
                        if header.record_count > 0 {
                            filled = Filled::Changed;
                        }
                        push(rewrite, &mut gap, &batch)?;
                    }
                    Kept::Nothing => {
                        if header.record_count > 0 || gap.is_open() {
                            filled = Filled::Changed;
                        }
                        gap.extend(header.base_offset, header.next_offset());
                    }
                }
            }
        }
        push_gap(rewrite, &mut gap)?;
        Ok(filled)
    }
}

enum Filled {
    /// Some records are gone, or some batches became one.
    Changed,
    /// Everything is as it was.
    Same,
    /// The pass was given up.
    GivenUp,
}

fn push(rewrite: &mut Rewrite<'_>, gap: &mut Gap, batch: &[u8]) -> Result<(), SegmentError> {
    push_gap(rewrite, gap)?;
    push_batch(rewrite, batch)
}

fn push_gap(rewrite: &mut Rewrite<'_>, gap: &mut Gap) -> Result<(), SegmentError> {
    gap.take().iter().try_for_each(|batch| push_batch(rewrite, batch))
}

fn push_batch(rewrite: &mut Rewrite<'_>, batch: &[u8]) -> Result<(), SegmentError> {
    let corrupt = |source| SegmentError::CorruptBatch {
        path: rewrite.path().to_owned(),
        position: rewrite.position(),
        source,
    };
    let header = BatchHeader::parse_whole(batch).map_err(corrupt)?;
    rewrite.push(&header, batch)
}
