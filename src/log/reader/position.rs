//! A place in a partition from which records are read in order.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Follower, ReaderError, RecordStream};
use crate::log::batch::{self, BatchHeader, Compression, OwnedRecord, OwnedRecords};
use crate::log::{Offset, Partition, ReadError, Timestamp};

/// Read at once. 1 MiB: one look for the place pays for many records, and the disk reads ahead.
const READ_SIZE_BYTES: usize = 1024 * 1024;

/// Reads the records of one partition in order, from [`Partition::reader_from`] or
/// [`Partition::reader_from_time`].
///
/// As an iterator it ends at the high watermark, and goes on when it is asked again after the partition has
/// grown. After an error it ends until [`Reader::seek`].
///
/// ```
/// # use doorbuster::log::batch::{BatchBuilder, Record};
/// # use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let log = Log::open(folder.path(), LogOptions::default())?;
/// # let orders = log.create_topic("orders", &TopicSpec::with_partitions(1))?.partitions[0].clone();
/// # let mut builder = BatchBuilder::new(Timestamp(1));
/// for value in ["a book", "two lamps", "a chair"] {
///     builder.push(&Record::of_value(Timestamp(1), value.as_bytes()))?;
/// }
/// orders.append(builder.finish())?.wait()?;
///
/// let mut values = Vec::new();
/// for record in orders.reader_from(Offset(1)) {
///     values.extend(record?.value);
/// }
/// assert_eq!(values, ["two lamps", "a chair"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    pub(super) partition: Partition,
    /// The offset below which everything was given.
    next: Offset,
    /// What was read and not looked at yet; each slice is a run of whole batches.
    slices: VecDeque<Bytes>,
    /// The batch that is being read, and the offset behind it.
    current: Option<(BatchHeader, OwnedRecords)>,
    has_failed: bool,
}

impl Partition {
    /// A reader whose first record is the first one at or behind `offset`.
    ///
    /// An offset outside of the partition is an error of the first read.
    pub fn reader_from(&self, offset: Offset) -> Reader {
        Reader {
            partition: self.clone(),
            next: offset,
            slices: VecDeque::new(),
            current: None,
            has_failed: false,
        }
    }

    /// A reader whose first record is the first one at or behind `timestamp`, or the next one that is appended
    /// if there is none.
    ///
    /// Later records may be older: timestamps are the producers' and need not rise. In a compressed batch that
    /// this build does not decode, the reader stands at the begin of the batch.
    pub fn reader_from_time(&self, timestamp: Timestamp) -> Result<Reader, ReaderError> {
        // Before the search: what is appended during it is behind this.
        let end = self.high_watermark();
        let Some(bytes) = self.batch_at_time(timestamp)? else {
            return Ok(self.reader_from(end));
        };
        let malformed = |source| ReaderError::Malformed { offset: end, source };
        let header = BatchHeader::parse(&bytes).map_err(malformed)?;
        let mut offset = header.base_offset;
        if header.compression() == Compression::None {
            let at_or_behind = |record: &OwnedRecord| record.timestamp >= timestamp;
            let records = OwnedRecords::new(&bytes).map_err(malformed)?;
            offset = records
                .flatten()
                .find(at_or_behind)
                .map_or(offset, |record| record.offset);
        }
        Ok(self.reader_from(offset.max(self.log_start())))
    }
}

impl Reader {
    /// The offset below which every record was given: where a reader must begin to go on from here.
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Goes to `offset`, also after an error: to pass a damaged batch, seek to the offset behind it.
    pub fn seek(&mut self, offset: Offset) {
        self.next = offset;
        self.slices.clear();
        self.current = None;
        self.has_failed = false;
    }

    /// The rest of the batch that is being read, or the next one, as it is stored; none at the end.
    ///
    /// A batch may begin before the offset that was asked for, and may be compressed. Mixed with reading
    /// records, it may hold some that were given already.
    pub fn next_batch(&mut self) -> Result<Option<(BatchHeader, Bytes)>, ReaderError> {
        self.current = None;
        if self.has_failed {
            return Ok(None);
        }
        let batch = self.take_batch();
        self.has_failed = batch.is_err();
        let batch = batch?;
        if let Some((header, _)) = &batch {
            self.next = header.next_offset();
        }
        Ok(batch)
    }

    /// The next record; none at the end.
    pub fn next_record(&mut self) -> Result<Option<OwnedRecord>, ReaderError> {
        if self.has_failed {
            return Ok(None);
        }
        let record = self.advance();
        self.has_failed = record.is_err();
        record
    }

    /// Goes on behind the end of the partition: an iterator that blocks until there is more.
    pub fn follow(self) -> Follower {
        Follower::new(self)
    }

    /// Goes on behind the end of the partition: the same as [`Reader::follow`] for async code.
    pub fn stream(self) -> RecordStream {
        RecordStream::new(self)
    }

    fn advance(&mut self) -> Result<Option<OwnedRecord>, ReaderError> {
        loop {
            if let Some((header, records)) = &mut self.current {
                for record in records {
                    let record = record.map_err(|source| ReaderError::Malformed {
                        offset: header.base_offset,
                        source,
                    })?;
                    if record.offset >= self.next {
                        self.next = record.offset.plus(1);
                        return Ok(Some(record));
                    }
                }
                self.next = header.next_offset();
                self.current = None;
            }
            let Some((header, bytes)) = self.take_batch()? else {
                return Ok(None);
            };
            self.current = Some((header, open(&header, &bytes)?));
        }
    }

    /// The next batch with records that clients see, from what was read or from the partition.
    fn take_batch(&mut self) -> Result<Option<(BatchHeader, Bytes)>, ReaderError> {
        loop {
            if let Some(slice) = self.slices.front_mut() {
                let next = batch::batches(slice).next();
                let Some(batch) = next else {
                    self.slices.pop_front();
                    continue;
                };
                let (header, bytes) = batch.map_err(|source| ReaderError::Malformed {
                    offset: self.next,
                    source,
                })?;
                bytes::Buf::advance(slice, bytes.len());
                // A slice may begin with batches in front of the one that holds the offset.
                let is_behind = header.next_offset() <= self.next;
                if !is_behind && !header.is_control() && header.record_count > 0 {
                    return Ok(Some((header, bytes)));
                }
                self.next = self.next.max(header.next_offset());
                continue;
            }
            let slices = self.partition.read(self.next, READ_SIZE_BYTES)?;
            if slices.is_empty() {
                return Ok(None);
            }
            self.slices.extend(slices);
        }
    }

    /// Whether an error ended the reader.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Ends the reader until it is sought.
    pub(super) fn fail(&mut self) {
        self.has_failed = true;
    }

    /// Ends a wait in vain: the topic was deleted or the log has stopped. `Ok(true)` if it was closed.
    pub(super) fn check_growing(&self) -> Result<bool, ReaderError> {
        if self.partition.state.is_deleted() {
            return Err(ReadError::Deleted.into());
        }
        match self.partition.core.check_running() {
            Ok(()) => Ok(false),
            Err(failed) if &*failed.reason == crate::log::log::CLOSED => Ok(true),
            Err(failed) => Err(failed.into()),
        }
    }
}

/// The records of a batch. The one place that would decompress.
fn open(header: &BatchHeader, bytes: &Bytes) -> Result<OwnedRecords, ReaderError> {
    let offset = header.base_offset;
    if header.compression() != Compression::None {
        return Err(ReaderError::Compressed {
            offset,
            compression: header.compression(),
        });
    }
    OwnedRecords::new(bytes).map_err(|source| ReaderError::Malformed { offset, source })
}

impl Iterator for Reader {
    type Item = Result<OwnedRecord, ReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}
