//! What the log must hold, in memory: naive, and the only judge.
//!
//! Per partition three offsets are kept apart: what was acknowledged or seen (the *floor*), what a later frame
//! of the journal claims to be durable, and what a checkpoint claims. Without silent damage the floor must be there
//! after any crash. With silent damage the end of the journal may be indistinguishable from one that was
//! never written, so only what is claimed elsewhere must be there, or the log must say that it is not.

use std::ops::{Range, RangeInclusive};

use bytes::Bytes;

use crate::log::Timestamp;
use crate::log::batch::BatchHeader;

/// A moment in the order of everything that was enqueued or acknowledged.
pub(super) type Moment = u64;

/// All topics that ever were.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) topics: Vec<Topic>,
    pub(super) partitions: Vec<Partition>,
    /// Batches that were sent and are in no history: they were never acknowledged, and a crash took them.
    dropped: Vec<Batch>,
    now: Moment,
    /// Everything acknowledged before is claimed by a frame of the journal.
    claimed_before: Moment,
    /// Everything acknowledged before is claimed by a checkpoint.
    checkpointed_before: Moment,
}

/// How far a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existence {
    /// It was asked for, and the answer was lost.
    Creating,
    /// Its creation was acknowledged at that moment.
    Present(Moment),
    /// Its deletion was asked for, and the answer was lost.
    Deleting,
    /// Its deletion was acknowledged at that moment.
    Deleted(Moment),
    /// It never was, or nothing is known of it any more.
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) existence: Existence,
    /// Its partitions in [`Model::partitions`].
    pub(super) partitions: Range<usize>,
}

/// What was submitted to a partition, and what is promised.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) batches: Vec<Batch>,
    /// The begin: what was acknowledged to what was asked for.
    pub(super) start: RangeInclusive<u64>,
    /// Whether an acknowledgement survives the process only, and a power cut once a later group was synced.
    pub(super) is_os: bool,
    /// Offset behind all that was acknowledged or seen.
    pub(super) floor: u64,
    /// When which floor was reached; rising.
    reached: Vec<(Moment, u64)>,
}

/// A batch at its place.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) base: u64,
    pub(super) next: u64,
    pub(super) max_timestamp: Timestamp,
    /// As it was sent.
    pub(super) bytes: Bytes,
    pub(super) producer: Option<Produced>,
}

/// The producer's side of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Produced {
    pub(super) id: i64,
    pub(super) epoch: i16,
    pub(super) first: i32,
    pub(super) last: i32,
}

/// What the log must answer to a batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Append,
    Duplicate { base: u64, next: u64 },
    OutOfOrder,
    Fenced,
}

/// Batches of a producer that the log remembers.
const REMEMBERED: usize = 5;

impl Model {
    /// Lets a moment pass.
    pub(super) fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    /// A group that was enqueued at `enqueued` is durable: it claims all that was acknowledged before.
    pub(super) fn claim(&mut self, enqueued: Moment) {
        self.claimed_before = self.claimed_before.max(enqueued);
    }

    /// A checkpoint is durable that covers everything that was acknowledged.
    pub(super) fn checkpoint(&mut self) {
        let now = self.tick();
        self.claim(now);
        self.checkpointed_before = now;
    }

    /// Everything below `next` was acknowledged or seen.
    pub(super) fn promise(&mut self, partition: usize, next: u64) {
        let now = self.tick();
        let partition = &mut self.partitions[partition];
        if next > partition.floor {
            partition.floor = next;
            partition.reached.push((now, next));
        }
    }

    /// The part of a partition's floor that must be there or be missed by the log, under `trust`.
    pub(super) fn floor(&self, partition: usize, trust: Trust) -> u64 {
        let partition = &self.partitions[partition];
        // Of what the operating system acknowledged, the newest checkpoint alone may know.
        if partition.is_os && trust > Trust::Everything {
            return 0;
        }
        self.floor_before(partition, trust)
    }

    fn floor_before(&self, partition: &Partition, trust: Trust) -> u64 {
        let Some(before) = self.horizon(trust) else {
            return partition.floor;
        };
        let count = partition.reached.partition_point(|(moment, _)| *moment < before);
        partition.reached[..count].last().map_or(0, |(_, next)| *next)
    }

    /// Whether what was acknowledged at `moment` must be there or be missed by the log, under `trust`.
    pub(super) fn must_know(&self, moment: Moment, trust: Trust) -> bool {
        self.horizon(trust).is_none_or(|before| moment < before)
    }

    fn horizon(&self, trust: Trust) -> Option<Moment> {
        match trust {
            Trust::Everything => None,
            Trust::Frames => Some(self.claimed_before),
            Trust::Checkpoints => Some(self.checkpointed_before),
            Trust::Nothing => Some(0),
        }
    }

    /// The power fails: what was acknowledged by the operating system alone is no promise any more. Every group
    /// that is synced claims all before it, so what is claimed is synced.
    pub(super) fn lose_power(&mut self) {
        for index in 0..self.partitions.len() {
            if self.partitions[index].is_os {
                let floor = self.floor_before(&self.partitions[index], Trust::Frames);
                let partition = &mut self.partitions[index];
                partition.floor = floor;
                for (_, next) in &mut partition.reached {
                    *next = (*next).min(floor);
                }
            }
        }
    }

    /// Takes over what a recovery found of a partition: the rest was never promised, or its loss is known.
    pub(super) fn settle(&mut self, partition: usize, start: u64, end: u64) {
        let state = &mut self.partitions[partition];
        state.start = start..=start;
        let kept = state.batches.partition_point(|batch| batch.next <= end);
        self.dropped.extend(state.batches.drain(kept..));
        state.floor = state.floor.min(end);
        for (_, next) in &mut state.reached {
            *next = (*next).min(end);
        }
        // Recovery makes durable what it found before it shows it.
        self.promise(partition, end);
    }

    /// Whether `stored` is a batch that was sent at all, whatever became of it.
    pub(super) fn was_sent(&self, stored: &[u8]) -> bool {
        let known = self.partitions.iter().flat_map(|partition| &partition.batches);
        known.chain(&self.dropped).any(|batch| batch.is_stored_as(stored))
    }

    /// Indices of the topics that can be used.
    pub(super) fn present(&self) -> Vec<usize> {
        let is_present = |topic: &Topic| matches!(topic.existence, Existence::Present(_));
        (0..self.topics.len())
            .filter(|index| is_present(&self.topics[*index]))
            .collect()
    }

    /// Adds a topic that was asked for.
    pub(super) fn add_topic(&mut self, name: &str, partitions: u64, is_os: bool) -> usize {
        let start = self.partitions.len();
        let end = start + partitions as usize;
        let empty = || Partition {
            is_os,
            ..Partition::default()
        };
        self.partitions.resize_with(end, empty);
        self.topics.push(Topic {
            name: name.to_owned(),
            existence: Existence::Creating,
            partitions: start..end,
        });
        self.topics.len() - 1
    }
}

/// How much of the journal's end can be told from an end that was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// All of it: nothing was damaged without a word.
    Everything,
    /// What a later frame claims: a frame was damaged.
    Frames,
    /// What a checkpoint claims: a write was lost, or a whole file is another one.
    Checkpoints,
    /// Nothing: journal and checkpoint may both be damaged.
    Nothing,
}

impl Default for Partition {
    fn default() -> Partition {
        Partition {
            batches: Vec::new(),
            start: 0..=0,
            is_os: false,
            floor: 0,
            reached: Vec::new(),
        }
    }
}

impl Partition {
    /// Offset behind the last submitted record.
    pub(super) fn end(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    /// Index of the batch that holds `offset`, or the number of batches.
    pub(super) fn index_of(&self, offset: u64) -> usize {
        self.batches.partition_point(|batch| batch.next <= offset)
    }

    /// Whether a batch ends at `offset`, or nothing does and it is 0.
    pub(super) fn is_boundary(&self, offset: u64) -> bool {
        offset == 0 || self.batches.iter().any(|batch| batch.next == offset)
    }

    /// What the log must answer to a batch of a producer, from all batches that it has of it.
    pub(super) fn answer(&self, produced: &Produced) -> Answer {
        let of_producer = |batch: &&Batch| batch.producer.is_some_and(|known| known.id == produced.id);
        let Some(newest) = self
            .batches
            .iter()
            .rev()
            .find(of_producer)
            .and_then(|batch| batch.producer)
        else {
            return Answer::Append;
        };
        if produced.epoch < newest.epoch {
            return Answer::Fenced;
        }
        if produced.epoch > newest.epoch {
            return if produced.first == 0 {
                Answer::Append
            } else {
                Answer::OutOfOrder
            };
        }
        let of_epoch = |batch: &&Batch| batch.producer.is_some_and(|known| known.epoch == newest.epoch);
        let remembered = self.batches.iter().rev().filter(of_producer).take_while(of_epoch);
        for batch in remembered.take(REMEMBERED) {
            if batch.producer == Some(*produced) {
                let (base, next) = (batch.base, batch.next);
                return Answer::Duplicate { base, next };
            }
        }
        if produced.first == newest.last + 1 {
            Answer::Append
        } else {
            Answer::OutOfOrder
        }
    }

    /// Epoch and next sequence of a producer.
    pub(super) fn next_of(&self, id: i64) -> (i16, i32) {
        let newest = self.batches.iter().rev().filter_map(|batch| batch.producer);
        newest
            .into_iter()
            .find(|known| known.id == id)
            .map_or((0, 0), |known| (known.epoch, known.last + 1))
    }
}

impl Batch {
    /// A batch that was given `base`.
    pub(super) fn new(base: u64, bytes: Bytes, header: &BatchHeader) -> Batch {
        let produced = Produced::of(header);
        Batch {
            base,
            next: base + header.record_count as u64,
            max_timestamp: header.max_timestamp,
            bytes,
            producer: produced,
        }
    }

    /// Whether `stored` is this batch with its offset in place: base offset and leader epoch are the log's.
    pub(super) fn is_stored_as(&self, stored: &[u8]) -> bool {
        stored.len() == self.bytes.len()
            && stored[..8] == self.base.to_be_bytes()
            && stored[8..12] == self.bytes[8..12]
            && stored[12..16] == [0; 4]
            && stored[16..] == self.bytes[16..]
    }
}

impl Produced {
    pub(super) fn of(header: &BatchHeader) -> Option<Produced> {
        header.has_producer().then(|| Produced {
            id: header.producer_id,
            epoch: header.producer_epoch,
            first: header.base_sequence,
            last: header.base_sequence + header.last_offset_delta,
        })
    }
}
