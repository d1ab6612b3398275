//! Compares a log with the model: right bytes, in order, nothing missing that was promised.

use bytes::Bytes;

use super::Violation;
use super::model::{Batch, Existence, Model, Partition, Trust};
use crate::log::batch;
use crate::log::{self, Log, Offset};

/// How strict a log is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What the log can know of its end.
    pub(super) trust: Trust,
    /// Whether reads may fail.
    pub(super) may_refuse: bool,
    /// Most bytes of one read.
    pub(super) step_bytes: usize,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// For each topic of the model, whether it is there.
    pub(super) topics: Vec<bool>,
    /// For each partition of the model, its first offset, and the one behind its last record.
    pub(super) starts: Vec<u64>,
    pub(super) ends: Vec<u64>,
    /// Promises that were not kept where nothing can tell.
    pub(super) known_losses: u64,
    /// Reads that the log refused.
    pub(super) refusals: u64,
    /// Strangers that were served: see [`check_batch`].
    pub(super) known_strangers: u64,
}

/// Reads everything that `log` holds and compares it with `model`.
pub(super) fn verify(log: &Log, model: &Model, terms: Terms) -> Result<Found, Violation> {
    let mut found = Found {
        topics: vec![false; model.topics.len()],
        starts: vec![0; model.partitions.len()],
        ends: vec![0; model.partitions.len()],
        ..Found::default()
    };
    for topic in log.topics() {
        let known = model.topics.iter().any(|known| known.name == topic.name);
        if !known {
            return Err(Violation::new(format!(
                "topic {} was never asked for",
                topic.name
            )));
        }
    }
    for (index, topic) in model.topics.iter().enumerate() {
        let handle = log.topic(&topic.name);
        found.topics[index] = handle.is_some();
        match (topic.existence, handle) {
            (Existence::Present(moment), None) => {
                if model.must_know(moment, terms.trust) {
                    return Err(Violation::new(format!(
                        "topic {} was created and is gone",
                        topic.name
                    )));
                }
                found.known_losses += 1;
            }
            (Existence::Deleted(moment), Some(_)) => {
                if model.must_know(moment, terms.trust) {
                    return Err(Violation::new(format!(
                        "topic {} was deleted and is there",
                        topic.name
                    )));
                }
                // Its files were removed: what it shows of them is no history.
                found.known_losses += 1;
            }
            (Existence::Present(_) | Existence::Deleting | Existence::Creating, Some(handle)) => {
                check_partitions(&handle, model, index, terms, &mut found)?;
            }
            (Existence::Gone, Some(_)) => {
                return Err(Violation::new(format!("topic {} came back", topic.name)));
            }
            (_, None) => {}
        }
    }
    Ok(found)
}

fn check_partitions(
    handle: &log::Topic,
    model: &Model,
    topic: usize,
    terms: Terms,
    found: &mut Found,
) -> Result<(), Violation> {
    let topic = &model.topics[topic];
    if handle.partitions.len() != topic.partitions.len() {
        return Err(Violation::new(format!(
            "topic {} has another number of partitions",
            topic.name
        )));
    }
    for (number, (index, partition)) in topic.partitions.clone().zip(&handle.partitions).enumerate() {
        let known = &model.partitions[index];
        let place = || format!("partition {number} of {}", topic.name);
        let end =
            read_all(partition, known, model, terms, found).map_err(|violation| violation.at(&place()))?;
        let floor = model.floor(index, terms.trust);
        if end < floor {
            return Err(Violation::new(format!(
                "{} ends at {end}, and everything below {floor} was promised",
                place()
            )));
        }
        if end < known.floor {
            found.known_losses += 1;
        }
        found.ends[index] = end;
        found.starts[index] = partition.log_start().0;
    }
    Ok(())
}

/// Reads a partition from its beginning to its high watermark, and returns that.
fn read_all(
    partition: &log::Partition,
    known: &Partition,
    model: &Model,
    terms: Terms,
    found: &mut Found,
) -> Result<u64, Violation> {
    let (start, end) = (partition.log_start().0, partition.high_watermark().0);
    // Where the end of the journal may be missing, so may a move of the start.
    let is_moved_back = terms.trust > Trust::Everything && start < *known.start.start();
    found.known_losses += u64::from(is_moved_back);
    if !known.start.contains(&start) && !is_moved_back {
        return Err(Violation::new(format!(
            "begins at {start}, want {:?}",
            known.start
        )));
    }
    if end > known.end() || !known.is_boundary(end) {
        let submitted = known.end();
        return Err(Violation::new(format!(
            "ends at {end}, and {submitted} was submitted"
        )));
    }
    let strangers_of = terms.may_refuse.then_some(model);
    let mut next = start;
    while next < end {
        match partition.read(Offset(next), terms.step_bytes) {
            Ok(slices) => {
                let (after, strangers) = check_slices(&slices, known, next, end, strangers_of)?;
                found.known_strangers += strangers;
                next = after;
            }
            Err(_) if terms.may_refuse => {
                found.refusals += 1;
                next = known.batches[known.index_of(next)].next;
            }
            Err(error) => {
                return Err(Violation::new(format!(
                    "cannot be read at {next}: {}",
                    Chain(&error)
                )));
            }
        }
    }
    Ok(end)
}

/// Compares what a read from `from` gave with what was submitted; returns the offset behind it, and how many
/// batches are those of another partition.
pub(super) fn check_slices(
    slices: &[Bytes],
    known: &Partition,
    from: u64,
    high_watermark: u64,
    strangers_of: Option<&Model>,
) -> Result<(u64, u64), Violation> {
    let (mut next, mut strangers) = (from, 0);
    let mut index = known.index_of(from);
    for slice in slices {
        for found in batch::batches(slice) {
            let (_, bytes) = found.map_err(|error| Violation::new(format!("read at {next}: {error}")))?;
            let Some(expected) = known.batches.get(index) else {
                return Err(Violation::new(format!(
                    "serves a batch at {next} that was never sent"
                )));
            };
            strangers += u64::from(check_batch(expected, &bytes, strangers_of)?);
            next = expected.next;
            index += 1;
        }
    }
    if next == from {
        return Err(Violation::new(format!(
            "serves nothing at {from}, below its end {high_watermark}"
        )));
    }
    if next > high_watermark {
        return Err(Violation::new(format!(
            "serves up to {next}, above its end {high_watermark}"
        )));
    }
    Ok((next, strangers))
}

/// Compares a batch with the one that was sent; true if it is a stranger of the same offset.
///
/// A batch does not name its partition or its history, and a segment that is not sealed is nothing but its
/// batches: where one is misplaced from the same offset of another partition, nothing can tell.
pub(super) fn check_batch(
    expected: &Batch,
    found: &[u8],
    strangers_of: Option<&Model>,
) -> Result<bool, Violation> {
    if expected.is_stored_as(found) {
        return Ok(false);
    }
    if strangers_of.is_some_and(|model| model.was_sent(found)) {
        return Ok(true);
    }
    let base = expected.base;
    Err(Violation::new(format!(
        "serves other bytes at {base} than were sent"
    )))
}

/// An error with its causes, in one line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
