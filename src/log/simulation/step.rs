//! The steps of a run: what a seed lets the log, and the world, do next.

use bytes::Bytes;

use super::Violation;
use super::check::{self, Chain};
use super::dice::Dice;
use super::model::{Answer, Batch, Existence, Produced};
use super::run::{Ended, Pending, Run};
use super::shape::{Shape, Weather};
use crate::log::batch::{BatchBuilder, BatchHeader, Record, validate};
use crate::log::io::sim::{Fault, FaultKind, ReadFault};
use crate::log::{AppendError, LogFailed, Offset, Timestamp, TopicError, TopicSpec};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    CreateTopic,
    DeleteTopic,
    /// Moves the begin of a partition.
    DeleteRecords,
    /// Appends some batches without waiting.
    Append,
    /// Sends a batch of a producer again.
    Retry,
    /// Waits for an append, and so for all before it.
    Wait,
    /// Stops caring for an append.
    Forget,
    Flush,
    /// Does what an idle log does.
    Idle,
    Read,
    ReadTime,
    /// Closes the log and opens it again.
    Close,
    /// Ends the process or the power.
    Crash,
    /// Looks at what a crash at this point would leave, and goes on.
    Probe,
    /// Opens the folder a second time.
    OpenTwice,
    /// Lets an operation to come meet a fault.
    ArmFault,
    /// Lets a read to come meet a fault.
    ArmReadFault,
    /// Takes the disk's free space away, or gives it back.
    Capacity,
    ClockJump,
}

/// Operations from here in which a fault is armed: about one or two steps.
const FAULT_REACH: u64 = 24;

/// Producers of a partition.
const PRODUCERS: u64 = 3;

impl Step {
    pub(super) fn choose(dice: &Dice, shape: &Shape) -> Step {
        let crashes = u64::from(shape.weather != Weather::Calm);
        let errors = u64::from(shape.weather == Weather::Errors);
        let damage = u64::from(shape.weather == Weather::Damage);
        dice.weighted(&[
            (Step::CreateTopic, 3),
            (Step::DeleteTopic, 1),
            (Step::DeleteRecords, 2),
            (Step::Append, 30),
            (Step::Retry, 6),
            (Step::Wait, 22),
            (Step::Forget, 2),
            (Step::Flush, shape.flush_weight),
            (Step::Idle, 3),
            (Step::Read, 8),
            (Step::ReadTime, 2),
            (Step::Close, 3),
            (Step::Crash, 3 + crashes),
            (Step::Probe, 2 + 2 * crashes),
            (Step::OpenTwice, 1),
            (Step::ArmFault, 12 * crashes + 3 * errors),
            (Step::ArmReadFault, 2 * errors + 3 * damage),
            (Step::Capacity, 3 * errors),
            (Step::ClockJump, 2),
        ])
    }
}

impl Run {
    /// Does `step` to the log, the disk and the model; tells if the run ends with it.
    pub(super) fn take(&mut self, step: Step) -> Result<Option<Ended>, Violation> {
        let changes_more = matches!(
            step,
            Step::CreateTopic
                | Step::DeleteTopic
                | Step::DeleteRecords
                | Step::Flush
                | Step::Idle
                | Step::Close
        );
        if changes_more {
            // The twin does nothing but append.
            self.end_twin();
        }
        match step {
            Step::CreateTopic => self.create_topic()?,
            Step::DeleteTopic => self.delete_topic()?,
            Step::DeleteRecords => self.delete_records()?,
            Step::Append => self.append_some()?,
            Step::Retry => self.retry()?,
            Step::Wait => self.wait_for_one()?,
            Step::Forget => {
                if !self.pending.is_empty() {
                    let index = self.dice.index(self.pending.len());
                    self.pending.remove(index);
                }
            }
            Step::Flush => self.flush()?,
            Step::Idle => self.idle()?,
            Step::Read => self.read()?,
            Step::ReadTime => self.read_time()?,
            Step::Close => return self.close_and_open(),
            Step::Crash => return self.crash(None),
            Step::Probe => self.probe()?,
            Step::OpenTwice => self.open_twice()?,
            Step::ArmFault => self.arm_fault(),
            Step::ArmReadFault => self.arm_read_fault(),
            Step::Capacity => self.change_capacity(),
            Step::ClockJump => self.jump(),
        }
        Ok(None)
    }

    fn create_topic(&mut self) -> Result<(), Violation> {
        let Some(log) = self.log.clone() else {
            return Ok(());
        };
        if self.model.present().len() >= 3 {
            return Ok(());
        }
        let name = format!("t{}", self.model.topics.len());
        let partitions = 1 + self.dice.below(self.shape.partitions_max);
        let is_os = self.dice.chance(25);
        let index = self.model.add_topic(&name, partitions, is_os);
        let enqueued = self.model.tick();
        let mut spec = TopicSpec {
            partitions: partitions as u32,
            ..TopicSpec::default()
        };
        if is_os {
            spec.configs.insert("durability".to_owned(), "os".to_owned());
        }
        match log.create_topic(&name, &spec) {
            Ok(_) => {
                self.model.claim(enqueued);
                let now = self.model.tick();
                self.model.topics[index].existence = Existence::Present(now);
                Ok(())
            }
            Err(error) => {
                self.note(|| format!("  not created: {}", Chain(&error)));
                // Where nothing was stored the name stays unused: it must not be there later either.
                let is_unknown = matches!(
                    error,
                    TopicError::Failed(_) | TopicError::Append(AppendError::Failed(_))
                );
                if !is_unknown {
                    self.model.topics[index].existence = Existence::Gone;
                }
                self.topic_refused(&error)
            }
        }
    }

    fn delete_topic(&mut self) -> Result<(), Violation> {
        let Some(log) = self.log.clone() else {
            return Ok(());
        };
        let present = self.model.present();
        if present.is_empty() {
            return Ok(());
        }
        let index = present[self.dice.index(present.len())];
        let name = self.model.topics[index].name.clone();
        let enqueued = self.model.tick();
        let before = self.model.topics[index].existence;
        self.model.topics[index].existence = Existence::Deleting;
        match log.delete_topic(&name) {
            Ok(()) => {
                self.model.claim(enqueued);
                let now = self.model.tick();
                self.model.topics[index].existence = Existence::Deleted(now);
                Ok(())
            }
            Err(error) => {
                self.note(|| format!("  not deleted: {}", Chain(&error)));
                if !matches!(
                    error,
                    TopicError::Failed(_) | TopicError::Append(AppendError::Failed(_))
                ) {
                    self.model.topics[index].existence = before;
                }
                self.topic_refused(&error)
            }
        }
    }

    fn delete_records(&mut self) -> Result<(), Violation> {
        let Some(partition) = self.pick_partition() else {
            return Ok(());
        };
        let Some(handle) = self.handle(partition) else {
            return Ok(());
        };
        let end = self.model.partitions[partition].end();
        let offset = self.dice.below(end + 2);
        let enqueued = self.model.tick();
        let known = &mut self.model.partitions[partition];
        let before = known.start.clone();
        if offset <= end {
            known.start = *before.start()..=offset.max(*before.end());
        }
        let deletion = handle.delete_records_before(Offset(offset));
        match deletion.and_then(|deletion| Ok(deletion.wait()?)) {
            Ok(_) if offset <= end => {
                let is_new = offset > *before.end();
                let known = &mut self.model.partitions[partition];
                known.start = offset.max(*before.start())..=*known.start.end();
                if is_new {
                    self.model.claim(enqueued);
                }
                Ok(())
            }
            Ok(_) => Err(Violation::new(format!(
                "records below {offset} were deleted, the end is {end}"
            ))),
            Err(AppendError::UnexpectedEnd { .. }) if offset > end => Ok(()),
            Err(error) => {
                self.note(|| format!("  records not deleted: {error}"));
                self.refused(&error)
            }
        }
    }

    fn topic_refused(&mut self, error: &TopicError) -> Result<(), Violation> {
        match error {
            TopicError::Failed(failed) => self.failed(failed),
            TopicError::Append(error) => self.refused(error),
            error => Err(Violation::new(format!(
                "a change of topics was refused: {}",
                Chain(error)
            ))),
        }
    }

    /// A partition of a topic that is there.
    fn pick_partition(&self) -> Option<usize> {
        let present = self.model.present();
        if present.is_empty() {
            return None;
        }
        let partitions = &self.model.topics[present[self.dice.index(present.len())]].partitions;
        Some(partitions.start + self.dice.index(partitions.len()))
    }

    fn append_some(&mut self) -> Result<(), Violation> {
        for _ in 0..=self.dice.below(4) {
            let Some(partition) = self.pick_partition() else {
                return Ok(());
            };
            let size = self.dice.weighted(&self.shape.value_sizes);
            let records = if size > 1_000 { 1 } else { 1 + self.dice.below(3) };
            let producer = self.dice.chance(35).then(|| {
                let id = self.dice.below(PRODUCERS) as i64;
                let (epoch, next) = self.model.partitions[partition].next_of(id);
                // Now and then a producer begins anew.
                if self.dice.chance(10) {
                    (id, epoch + 1, 0)
                } else {
                    (id, epoch, next)
                }
            });
            let (batch, header) = self.batch(1 + self.dice.below(size), records, producer);
            let expected = self.dice.chance(15);
            self.append(partition, batch, &header, expected)?;
            if self.is_stopped {
                break;
            }
        }
        Ok(())
    }

    /// A batch that no other is like.
    pub(super) fn batch(
        &mut self,
        size: u64,
        records: u64,
        producer: Option<(i64, i16, i32)>,
    ) -> (Bytes, BatchHeader) {
        use crate::log::io::Clock;
        let now = self.clock.now();
        let mut builder = BatchBuilder::new(now);
        if let Some((id, epoch, sequence)) = producer {
            builder = builder.producer(id, epoch, sequence);
        }
        for record in 0..records {
            self.stamp += 1;
            let mut value = vec![(self.stamp ^ self.seed) as u8; 12 + size as usize];
            value[..8].copy_from_slice(&self.stamp.to_be_bytes());
            value[8..12].copy_from_slice(&(self.seed as u32).to_be_bytes());
            let record = Record {
                timestamp: Timestamp(now.0 + record as i64),
                key: None,
                value: Some(&value),
                headers: &[],
            };
            builder
                .push(&record)
                .expect("the value is smaller than the largest batch");
        }
        let batch = builder.finish();
        let header = validate(&batch).expect("the builder makes whole batches");
        (batch, header)
    }

    fn append(
        &mut self,
        partition: usize,
        batch: Bytes,
        header: &BatchHeader,
        is_compared: bool,
    ) -> Result<(), Violation> {
        let Some(mut handle) = self.handle(partition) else {
            return Ok(());
        };
        if self.dice.chance(20) {
            handle = handle.with_reserve();
        }
        let known = &self.model.partitions[partition];
        let base = known.end();
        let answer = Produced::of(header).map_or(Answer::Append, |produced| known.answer(&produced));
        if is_compared && answer == Answer::Append {
            self.expect_other_end(&handle, base, &batch)?;
        }
        let enqueued = self.model.tick();
        let appended = if is_compared {
            handle.append_at(Offset(base), batch.clone())
        } else {
            handle.append(batch.clone())
        };
        match (appended, answer) {
            (Ok(append), Answer::Append) => {
                if append.base_offset() != Offset(base) {
                    let found = append.base_offset();
                    return Err(Violation::new(format!("a batch got offset {found}, want {base}")));
                }
                let twin = self.append_to_twin(partition, &batch);
                let batch = Batch::new(base, batch, header);
                let next = batch.next;
                self.model.partitions[partition].batches.push(batch);
                self.pending.push(Pending {
                    append,
                    twin,
                    partition,
                    base,
                    next,
                    enqueued,
                });
                Ok(())
            }
            (Ok(append), Answer::Duplicate { base, next }) => {
                if append.base_offset() != Offset(base) {
                    let found = append.base_offset();
                    return Err(Violation::new(format!("a retry got offset {found}, want {base}")));
                }
                // It claims nothing: nothing is written for it.
                self.pending.push(Pending {
                    append,
                    twin: None,
                    partition,
                    base,
                    next,
                    enqueued: 0,
                });
                Ok(())
            }
            (Ok(append), answer) => Err(Violation::new(format!(
                "a batch that the producer must not send ({answer:?}) got offset {}",
                append.base_offset()
            ))),
            (Err(AppendError::OutOfOrderSequence { .. }), Answer::OutOfOrder)
            | (Err(AppendError::ProducerFenced { .. }), Answer::Fenced) => Ok(()),
            (Err(error), _) => {
                self.note(|| format!("  refused: {error}"));
                self.refused(&error)
            }
        }
    }

    /// Compare-and-append with a wrong offset must tell the right one.
    fn expect_other_end(
        &mut self,
        handle: &crate::log::Partition,
        base: u64,
        batch: &Bytes,
    ) -> Result<(), Violation> {
        let wrong = base + 1 + self.dice.below(3);
        match handle.append_at(Offset(wrong), batch.clone()) {
            Err(AppendError::UnexpectedEnd { found, .. }) if found == Offset(base) => Ok(()),
            Err(AppendError::Failed(failed)) => self.failed(&failed),
            Err(AppendError::StorageFull) => Ok(()),
            other => Err(Violation::new(format!(
                "an append at {wrong} instead of {base} gave {other:?}"
            ))),
        }
    }

    fn retry(&mut self) -> Result<(), Violation> {
        let Some(partition) = self.pick_partition() else {
            return Ok(());
        };
        let produced: Vec<&Batch> = {
            let batches = &self.model.partitions[partition].batches;
            let of_producers = batches.iter().rev().filter(|batch| batch.producer.is_some());
            of_producers.take(8).collect()
        };
        if produced.is_empty() {
            return Ok(());
        }
        let bytes = produced[self.dice.index(produced.len())].bytes.clone();
        let header = validate(&bytes).expect("it was sent before");
        self.append(partition, bytes, &header, false)
    }

    fn wait_for_one(&mut self) -> Result<(), Violation> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let index = if self.dice.chance(70) {
            self.pending.len() - 1
        } else {
            self.dice.index(self.pending.len())
        };
        let pending = self.pending.remove(index);
        self.wait(pending).map(drop)
    }

    /// Waits for an append; true if it was acknowledged.
    fn wait(&mut self, pending: Pending) -> Result<bool, Violation> {
        let Pending {
            append,
            partition,
            base,
            next,
            enqueued,
            twin,
        } = pending;
        let waited = append.wait();
        if twin.is_some_and(|twin| twin.wait().is_err()) {
            self.end_twin();
        }
        match waited {
            Ok(offset) if offset == Offset(base) => {
                if self.is_stopped {
                    return Err(Violation::new(format!(
                        "a log that stopped acknowledged offset {base}"
                    )));
                }
                self.note(|| format!("  partition {partition} acknowledged below {next}"));
                if !self.model.partitions[partition].is_os {
                    self.model.claim(enqueued);
                }
                self.model.promise(partition, next);
                Ok(true)
            }
            Ok(offset) => Err(Violation::new(format!(
                "offset {base} was acknowledged as {offset}"
            ))),
            Err(failed) => self.failed(&failed).map(|()| false),
        }
    }

    /// Everything that is pending was committed: waiting must not fail.
    pub(super) fn settle_pending(&mut self) -> Result<(), Violation> {
        for pending in std::mem::take(&mut self.pending) {
            if !self.wait(pending)? {
                return Err(Violation::new(
                    "a committed append was not acknowledged".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Violation> {
        let Some(log) = self.log.clone() else {
            return Ok(());
        };
        let errors = self.disk.errors_returned();
        match log.flush() {
            Ok(()) => {
                self.settle_pending()?;
                if self.disk.errors_returned() == errors {
                    self.model.checkpoint();
                }
                Ok(())
            }
            Err(failed) => self.failed(&failed),
        }
    }

    fn idle(&mut self) -> Result<(), Violation> {
        let Some(log) = self.log.clone() else {
            return Ok(());
        };
        let errors = self.disk.errors_returned();
        match log.idle() {
            Ok(is_said) => {
                self.settle_pending()?;
                if is_said && self.disk.errors_returned() == errors {
                    self.model.checkpoint();
                }
                Ok(())
            }
            Err(failed) => self.failed(&failed),
        }
    }

    /// After a clean close everything is in the segments.
    pub(super) fn closed(&mut self, closed: Result<(), LogFailed>, errors: u64) -> Result<(), Violation> {
        match closed {
            Ok(()) => {
                self.settle_pending()?;
                if self.disk.errors_returned() == errors {
                    self.model.checkpoint();
                }
                Ok(())
            }
            Err(failed) => self.failed(&failed),
        }
    }

    fn read(&mut self) -> Result<(), Violation> {
        let Some(partition) = self.pick_partition() else {
            return Ok(());
        };
        let Some(handle) = self.handle(partition) else {
            return Ok(());
        };
        let end = handle.high_watermark().0;
        let start = handle.log_start().0;
        let from = self.dice.below(end + 2);
        let size = [0, 100, 2_000, 1 << 20][self.dice.index(4)];
        let errors = self.disk.errors_returned();
        match handle.read(Offset(from), size) {
            Ok(slices) if start <= from && from < end => {
                let strangers_of = self.may_refuse.then_some(&self.model);
                let known = &self.model.partitions[partition];
                let (next, strangers) = check::check_slices(&slices, known, from, end, strangers_of)
                    .map_err(|violation| violation.at(&format!("partition {partition}")))?;
                self.tally.known_strangers += strangers;
                self.model.promise(partition, next);
                Ok(())
            }
            Ok(slices) if from == end && slices.is_empty() => Ok(()),
            Ok(_) => Err(Violation::new(format!(
                "partition {partition} serves {from}, its end is {end}"
            ))),
            Err(_) if from > end || from < start => Ok(()),
            Err(error) => self.read_refused(partition, from, errors, &error),
        }
    }

    fn read_refused(
        &mut self,
        partition: usize,
        from: u64,
        errors: u64,
        error: &crate::log::ReadError,
    ) -> Result<(), Violation> {
        self.note(|| {
            format!(
                "  read of partition {partition} at {from} refused: {}",
                Chain(error)
            )
        });
        self.look_for_silent_faults();
        if self.may_refuse || self.disk.errors_returned() > errors || !self.disk.is_powered() {
            return Ok(());
        }
        let cause = Chain(error);
        Err(Violation::new(format!(
            "partition {partition} cannot be read at {from}: {cause}"
        )))
    }

    fn read_time(&mut self) -> Result<(), Violation> {
        let Some(partition) = self.pick_partition() else {
            return Ok(());
        };
        let Some(handle) = self.handle(partition) else {
            return Ok(());
        };
        let known = &self.model.partitions[partition];
        // Behind a moved start the answer may be a batch before it or not.
        if known.batches.is_empty() || *known.start.end() > 0 {
            return Ok(());
        }
        let end = handle.high_watermark().0;
        let picked = known.batches[self.dice.index(known.batches.len())].max_timestamp;
        let timestamp = Timestamp(picked.0 + self.dice.below(3) as i64 - 1);
        let expected = known
            .batches
            .iter()
            .take_while(|batch| batch.next <= end)
            .find(|batch| batch.max_timestamp >= timestamp)
            .cloned();
        let errors = self.disk.errors_returned();
        let found = handle.batch_at_time(timestamp);
        self.look_for_silent_faults();
        match (found, expected) {
            (Ok(None), None) => Ok(()),
            (Ok(Some(found)), Some(expected)) => {
                let strangers_of = self.may_refuse.then_some(&self.model);
                let strangers = check::check_batch(&expected, &found, strangers_of).map_err(|violation| {
                    violation.at(&format!("partition {partition} at time {}", timestamp.0))
                })?;
                self.tally.known_strangers += u64::from(strangers);
                Ok(())
            }
            // Times are looked up in headers, whose checksums cover their records as well and are not read.
            (Ok(_), _) if self.may_refuse => {
                self.tally.known_strangers += 1;
                Ok(())
            }
            (Ok(found), expected) => Err(Violation::new(format!(
                "partition {partition} has {} at time {}, want {:?}",
                if found.is_some() { "a batch" } else { "nothing" },
                timestamp.0,
                expected.map(|batch| batch.base)
            ))),
            (Err(error), _) => self.read_refused(partition, 0, errors, &error),
        }
    }

    fn open_twice(&mut self) -> Result<(), Violation> {
        if self.log.is_none() || !self.disk.is_powered() {
            return Ok(());
        }
        match self.open_on(&self.disk) {
            Err(crate::log::OpenError::Locked { .. }) => Ok(()),
            Err(_) if !self.disk.is_powered() => Ok(()),
            // A fault that was armed may be met before the lock.
            Err(error) if self.has_excuse() => {
                self.note(|| format!("  opened twice: {}", Chain(&error)));
                Ok(())
            }
            Err(error) => Err(Violation::new(format!("opened twice: {}", Chain(&error)))),
            Ok(_) => Err(Violation::new("the folder was opened twice".to_owned())),
        }
    }

    fn arm_fault(&mut self) {
        let at = self.disk.operations() + self.dice.below(FAULT_REACH);
        let fault = match self.shape.weather {
            Weather::Calm => return,
            Weather::Crashes => self.dice.weighted(&[
                (Fault::PowerCut, 4),
                (Fault::TornWrite, 3),
                (Fault::ShortWrite, 2),
            ]),
            Weather::Errors => self.dice.weighted(&[
                (Fault::WriteError, 5),
                (Fault::Enospc, 4),
                (Fault::ShortWrite, 1),
                (Fault::PowerCut, 1),
            ]),
            Weather::Damage => self.dice.weighted(&[
                (Fault::MisplacedWrite, 3),
                (Fault::LostFlush, 3),
                (Fault::PowerCut, 2),
            ]),
        };
        self.note(|| format!("  {fault:?} at operation {at}"));
        self.disk.fail_at(at, fault);
    }

    fn arm_read_fault(&mut self) {
        let at = self.disk.reads() + self.dice.below(8);
        let fault = match self.shape.weather {
            Weather::Damage => self.dice.weighted(&[
                (ReadFault::Misplaced, 2),
                (ReadFault::BitFlip, 2),
                (ReadFault::Error, 1),
            ]),
            _ => ReadFault::Error,
        };
        self.note(|| format!("  {fault:?} at read {at}"));
        self.disk.fail_read_at(at, fault);
    }

    fn change_capacity(&mut self) {
        if self.dice.chance(50) {
            self.disk
                .set_capacity(self.disk.used_bytes() + self.dice.below(16) * 4096);
        } else {
            self.disk.set_capacity(u64::MAX);
        }
    }

    fn jump(&mut self) {
        use crate::log::io::Clock;
        let days = 1 + self.dice.below(400) as i64;
        let by = days * 24 * 3_600 * 1_000;
        let now = self.clock.now();
        self.clock.set(Timestamp(if self.dice.chance(50) {
            now.0 + by
        } else {
            now.0 - by
        }));
        self.tally.faults.add(FaultKind::ClockJump);
    }
}
