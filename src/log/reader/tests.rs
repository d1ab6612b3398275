//! Edges of reading record by record: holes, codecs, damage, ends and wakers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::log::batch::{BatchBuilder, BatchHeader, Compression, Record, write_base_offset};
use crate::log::io::Environment;
use crate::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use crate::log::{Log, LogOptions, Offset, Partition, ReadError, Timestamp, TopicSpec};

const CODEC_ZSTD: u8 = 4;
const CONTROL: u8 = 1 << 5;

fn log() -> (Log, Partition) {
    let environment = Environment {
        disk: Arc::new(SimulatedDisk::new(1)),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    let log = Log::open_in(environment, Path::new("/data"), LogOptions::default()).unwrap();
    let topic = log.create_topic("t", &TopicSpec::with_partitions(1)).unwrap();
    (log, topic.partitions[0].clone())
}

/// A batch of records at these times.
fn batch(times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1));
    for time in times {
        builder.push(&Record::of_value(Timestamp(*time), b"v")).unwrap();
    }
    builder.finish()
}

/// A batch of two records whose attributes' low byte is `attributes`.
fn batch_with(attributes: u8) -> Bytes {
    let mut bytes = batch(&[1, 1]).to_vec();
    bytes[22] = attributes;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

fn append(partition: &Partition, batch: Bytes) {
    partition.append(batch).unwrap().wait().unwrap();
}

/// Puts a batch without records into the partition, as compaction leaves them behind.
fn restore_empty(partition: &Partition, count: i32) {
    let mut bytes = batch(&[1])[..61].to_vec();
    bytes[8..12].copy_from_slice(&49_i32.to_be_bytes());
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&0_i32.to_be_bytes());
    write_base_offset(&mut bytes, partition.high_watermark(), 0);
    let header = BatchHeader::parse(&bytes).unwrap();
    partition
        .state
        .restore(Bytes::from(bytes), &header, None)
        .unwrap();
}

fn offsets(reader: &mut Reader) -> Vec<u64> {
    reader.map(|record| record.unwrap().offset.0).collect()
}

#[test]
fn a_reader_begins_within_a_batch_and_goes_on_when_there_is_more() {
    for flushed in [false, true] {
        let (log, partition) = log();
        append(&partition, batch(&[1, 1, 1]));
        append(&partition, batch(&[1]));
        if flushed {
            log.flush().unwrap();
        }
        let mut reader = partition.reader_from(Offset(1));
        assert_eq!(offsets(&mut reader), [1, 2, 3]);
        assert_eq!((reader.position(), offsets(&mut reader)), (Offset(4), vec![]));
        append(&partition, batch(&[1, 1]));
        assert_eq!(offsets(&mut reader), [4, 5]);
        reader.seek(Offset(3));
        assert_eq!(offsets(&mut reader), [3, 4, 5]);
    }
}

#[test]
fn batches_come_whole_and_records_go_on_behind_them() {
    let (_log, partition) = log();
    append(&partition, batch(&[1, 1]));
    append(&partition, batch(&[1, 1]));
    let mut reader = partition.reader_from(Offset(1));
    let (header, bytes) = reader.next_batch().unwrap().unwrap();
    assert_eq!(
        (header.base_offset, header.size_bytes()),
        (Offset(0), bytes.len())
    );
    assert_eq!(offsets(&mut reader), [2, 3]);
    assert!(reader.next_batch().unwrap().is_none());
}

#[test]
fn control_batches_and_batches_without_records_only_move_the_position() {
    let (_log, partition) = log();
    append(&partition, batch_with(CONTROL));
    append(&partition, batch(&[1]));
    restore_empty(&partition, 7);
    append(&partition, batch(&[1]));
    restore_empty(&partition, 1);
    let mut reader = partition.reader_from(Offset(0));
    assert_eq!(offsets(&mut reader), [2, 10]);
    assert_eq!(reader.position(), Offset(12));
    let mut inside_the_hole = partition.reader_from(Offset(5));
    assert_eq!(offsets(&mut inside_the_hole), [10]);
}

#[test]
fn a_codec_is_an_error_that_can_be_passed() {
    let (_log, partition) = log();
    append(&partition, batch(&[1]));
    append(&partition, batch_with(CODEC_ZSTD));
    append(&partition, batch(&[1]));
    let mut reader = partition.reader_from(Offset(0));
    assert_eq!(reader.next_record().unwrap().unwrap().offset, Offset(0));
    let error = reader.next_record().unwrap_err();
    let ReaderError::Compressed { offset, compression } = error else {
        panic!("{error:?}")
    };
    assert_eq!((offset, compression), (Offset(1), Compression::Zstd));
    assert!(reader.next().is_none(), "it ends after an error");
    reader.seek(Offset(3));
    assert_eq!(offsets(&mut reader), [3]);
    reader.seek(Offset(1));
    let (header, _) = reader.next_batch().unwrap().unwrap();
    assert_eq!(
        header.compression(),
        Compression::Zstd,
        "batches are given as they are"
    );
}

#[test]
fn an_offset_outside_of_the_partition_is_an_error() {
    let (_log, partition) = log();
    append(&partition, batch(&[1]));
    assert!(partition.reader_from(Offset(1)).next().is_none());
    let error = partition.reader_from(Offset(2)).next().unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            ReaderError::Read(ReadError::OutOfRange {
                offset: Offset(2),
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn a_time_leads_to_the_first_record_that_is_not_older() {
    let (_log, partition) = log();
    append(&partition, batch(&[10, 30, 20]));
    append(&partition, batch(&[15, 40]));
    let offset = |time| partition.reader_from_time(Timestamp(time)).unwrap().position().0;
    assert_eq!(
        [0, 10, 11, 20, 30, 31, 40, 41].map(offset),
        [0, 0, 1, 1, 1, 4, 4, 5]
    );
    append(&partition, batch(&[50]));
    let mut behind = partition.reader_from_time(Timestamp(60)).unwrap();
    append(&partition, batch(&[5]));
    assert_eq!(
        offsets(&mut behind),
        [6],
        "the next that is appended, whatever its time"
    );
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(stream: &mut RecordStream, count: &Arc<Count>) -> Poll<Option<Result<u64, ReaderError>>> {
    let waker = Waker::from(Arc::clone(count));
    let polled = stream.poll_next(&mut Context::from_waker(&waker));
    polled.map(|found| found.map(|record| record.map(|record| record.offset.0)))
}

#[test]
fn a_stream_waits_and_is_woken_by_appends_and_by_the_end() {
    let (log, partition) = log();
    let mut stream = partition.reader_from(Offset(0)).stream();
    let count = Arc::new(Count::default());
    for _ in 0..100 {
        assert!(poll(&mut stream, &count).is_pending());
    }
    assert!(
        Arc::strong_count(&count) <= 4,
        "polling again keeps no more wakers"
    );
    append(&partition, batch(&[1]));
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(matches!(poll(&mut stream, &count), Poll::Ready(Some(Ok(0)))));
    assert!(poll(&mut stream, &count).is_pending());
    append(&partition, batch(&[1]));
    log.close().unwrap();
    assert!(count.0.load(Ordering::Relaxed) >= 2);
    assert!(
        matches!(poll(&mut stream, &count), Poll::Ready(Some(Ok(1)))),
        "durable before the end"
    );
    assert!(matches!(poll(&mut stream, &count), Poll::Ready(None)));
    drop(stream);
    assert_eq!(Arc::strong_count(&count), 1, "nobody keeps the waker");
}

#[test]
fn a_deletion_and_a_failure_end_those_who_follow() {
    let (log, partition) = log();
    let count = Arc::new(Count::default());
    let mut stream = partition.reader_from(Offset(0)).stream();
    assert!(poll(&mut stream, &count).is_pending());
    log.delete_topic("t").unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Some(Err(ReaderError::Read(ReadError::Deleted)))) = poll(&mut stream, &count) else {
        panic!("a deleted topic")
    };
    assert!(matches!(poll(&mut stream, &count), Poll::Ready(None)));

    let topic = log.create_topic("u", &TopicSpec::with_partitions(1)).unwrap();
    let mut stream = topic.partitions[0].reader_from(Offset(0)).stream();
    assert!(poll(&mut stream, &count).is_pending());
    partition.core.progress().fail("planted");
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
    let Poll::Ready(Some(Err(ReaderError::Failed(failed)))) = poll(&mut stream, &count) else {
        panic!("a log that failed")
    };
    assert_eq!(&*failed.reason, "planted");
    assert!(matches!(poll(&mut stream, &count), Poll::Ready(None)));
}

#[test]
fn a_timeout_ends_a_follower_only_for_now() {
    let (_log, partition) = log();
    append(&partition, batch(&[1]));
    let mut follower = partition
        .reader_from(Offset(0))
        .follow()
        .with_timeout(Duration::ZERO);
    assert_eq!(follower.next().unwrap().unwrap().offset, Offset(0));
    assert!(follower.next().is_none());
    append(&partition, batch(&[1]));
    assert_eq!(follower.next().unwrap().unwrap().offset, Offset(1));
    assert_eq!(follower.position(), Offset(2));
}
