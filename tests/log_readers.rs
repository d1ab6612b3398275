//! Readers beside writers: every record once and in order, blocking and async, in memory and in segments.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use bytes::Bytes;
use doorbuster::log::batch::{BatchBuilder, OwnedRecord, Record};
use doorbuster::log::{Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};

const WRITERS: u64 = 4;
const BATCHES_PER_WRITER: u64 = 150;
const RECORDS_PER_BATCH: u64 = 3;
const RECORDS: u64 = WRITERS * BATCHES_PER_WRITER * RECORDS_PER_BATCH;

/// Small segments, so that following crosses their borders.
fn options() -> LogOptions {
    LogOptions {
        segment_size_max_bytes: 8 * 1024,
        batch_size_max_bytes: 4 * 1024,
        flush_size_bytes: 4 * 1024,
        ..LogOptions::default()
    }
}

fn batch(writer: u64, number: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1));
    for index in 0..RECORDS_PER_BATCH {
        let value = [writer, number * RECORDS_PER_BATCH + index]
            .map(u64::to_be_bytes)
            .concat();
        builder.push(&Record::of_value(Timestamp(1), &value)).unwrap();
    }
    builder.finish()
}

/// What a reader must see: offsets without a hole, and each writer's numbers in order.
#[derive(Default)]
struct Seen {
    next_offset: u64,
    next_numbers: [u64; WRITERS as usize],
}

impl Seen {
    #[track_caller]
    fn take(&mut self, record: &OwnedRecord) {
        assert_eq!(record.offset, Offset(self.next_offset));
        self.next_offset += 1;
        let value = record.value.as_deref().unwrap();
        let number_at = |at: usize| u64::from_be_bytes(value[at..at + 8].try_into().unwrap());
        let expected = &mut self.next_numbers[number_at(0) as usize];
        assert_eq!(number_at(8), *expected, "of writer {}", number_at(0));
        *expected += 1;
    }

    fn is_complete(&self) -> bool {
        self.next_offset == RECORDS
    }
}

fn write(partition: &Partition, writer: u64) {
    for number in 0..BATCHES_PER_WRITER {
        partition.append(batch(writer, number)).unwrap().wait().unwrap();
    }
}

fn follow(partition: &Partition) -> Seen {
    let mut seen = Seen::default();
    for record in partition.reader_from(Offset::ZERO).follow() {
        seen.take(&record.unwrap());
    }
    seen
}

async fn stream(partition: &Partition) -> Seen {
    let mut seen = Seen::default();
    let mut stream = partition.reader_from(Offset::ZERO).stream();
    while let Some(record) = stream.next().await {
        seen.take(&record.unwrap());
    }
    seen
}

/// Polls in one thread, parked while nothing is ready: the smallest executor there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn followers_see_every_record_once_and_in_order_while_writers_append() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = Log::open(folder.path(), options()).unwrap();
    let topic = log.create_topic("t", &TopicSpec::with_partitions(1)).unwrap();
    let partition = &topic.partitions[0];
    thread::scope(|scope| {
        let blocking: Vec<_> = (0..2).map(|_| scope.spawn(|| follow(partition))).collect();
        let streaming = scope.spawn(|| block_on(stream(partition)));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write(partition, writer)))
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        // Closing is what ends those who follow, behind the last record.
        log.close().unwrap();
        for seen in blocking.into_iter().chain([streaming]) {
            assert!(seen.join().unwrap().is_complete());
        }
    });
    let log = Log::open(folder.path(), options()).unwrap();
    let mut seen = Seen::default();
    for record in log.topic("t").unwrap().partitions[0].reader_from(Offset::ZERO) {
        seen.take(&record.unwrap());
    }
    assert!(seen.is_complete(), "from segments alone");
}
