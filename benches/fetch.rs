//! How fast durable batches are read: from the tail, from segments in order, and at random places.
//!
//! Segments are read through the page cache; what is measured is the way to the bytes and their
//! verification, not the device.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::Random;
use doorbuster::log::io::sim::SimulatedRandom;
use doorbuster::log::{Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};
use tempfile::TempDir;

const SEED: u64 = 7;
const DATA_SIZE_BYTES: usize = 64 * 1024 * 1024;
const VALUE_SIZE_BYTES: usize = 256;

/// Appended before waiting: the log's queue is bounded.
const UNWAITED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Where the batches are that are read.
#[derive(Clone, Copy, Debug)]
enum Source {
    Tail,
    Segments,
}

/// A log with one partition full of batches, record n at millisecond n.
struct Filled {
    partition: Partition,
    log: Log,
    _folder: TempDir,
}

fn fill(records_per_batch: usize, source: Source) -> Filled {
    let folder = tempfile::tempdir_in(".").expect("the working directory is writable");
    let options = LogOptions {
        flush_size_bytes: 4 * DATA_SIZE_BYTES,
        flush_interval: Duration::from_hours(1),
        ..LogOptions::default()
    };
    let log = Log::open(folder.path(), options).expect("a new log opens");
    let spec = TopicSpec {
        partitions: 1,
        ..TopicSpec::default()
    };
    let topic = log.create_topic("bench", &spec).expect("a new log has no topic");
    let partition = topic.partitions[0].clone();
    let random = SimulatedRandom::new(SEED);
    let (mut size_bytes, mut unwaited_bytes, mut next_record) = (0, 0, 0);
    while size_bytes < DATA_SIZE_BYTES {
        let mut builder = BatchBuilder::new(Timestamp(next_record));
        for _ in 0..records_per_batch {
            let value = [random.next_u64() as u8; VALUE_SIZE_BYTES];
            let timestamp = Timestamp(next_record);
            let record = Record {
                timestamp,
                key: None,
                value: Some(&value),
                headers: &[],
            };
            builder.push(&record).expect("the batch is within its limit");
            next_record += 1;
        }
        let batch = builder.finish();
        size_bytes += batch.len();
        unwaited_bytes += batch.len();
        let append = partition.append(batch).expect("the log takes it");
        if unwaited_bytes > UNWAITED_MAX_BYTES {
            append.wait().expect("the disk takes it");
            unwaited_bytes = 0;
        }
    }
    while partition.high_watermark() < Offset(next_record as u64) {
        partition.wait_above(Offset(next_record as u64 - 1), Duration::from_secs(1));
    }
    if matches!(source, Source::Segments) {
        log.flush().expect("the disk takes it");
    }
    Filled {
        partition,
        log,
        _folder: folder,
    }
}

/// Reads the whole partition from its start; the number of bytes.
fn read_all(partition: &Partition, max_bytes: usize) -> usize {
    let (mut next, mut size_bytes) = (partition.log_start(), 0);
    while next < partition.high_watermark() {
        for slice in partition
            .read(next, max_bytes)
            .expect("the partition is readable")
        {
            for found in batch::batches(&slice) {
                let (header, bytes) = found.expect("batches are whole");
                size_bytes += bytes.len();
                next = header.next_offset();
            }
        }
    }
    size_bytes
}

fn fetch_in_order(c: &mut Criterion) {
    let mut group = c.benchmark_group("fetch in order");
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10);
    for source in [Source::Tail, Source::Segments] {
        for records_per_batch in [4, 256] {
            let filled = fill(records_per_batch, source);
            for max_bytes in [64 * 1024, 1024 * 1024] {
                let id = format!(
                    "{source:?}, {records_per_batch} records per batch, {} KiB per read",
                    max_bytes / 1024
                );
                group.throughput(Throughput::Bytes(read_all(&filled.partition, max_bytes) as u64));
                group.bench_function(BenchmarkId::from_parameter(id), |b| {
                    b.iter(|| black_box(read_all(&filled.partition, max_bytes)));
                });
            }
            filled.log.close().expect("the log closes");
        }
    }
    group.finish();
}

fn fetch_at_random(c: &mut Criterion) {
    let mut group = c.benchmark_group("fetch at random");
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    for source in [Source::Tail, Source::Segments] {
        let filled = fill(4, source);
        let records = filled.partition.high_watermark().0;
        let random = SimulatedRandom::new(SEED);
        group.bench_function(BenchmarkId::new("offset", format!("{source:?}")), |b| {
            b.iter(|| {
                filled
                    .partition
                    .read(Offset(random.next_u64() % records), 0)
                    .expect("readable")
            });
        });
        group.bench_function(BenchmarkId::new("time", format!("{source:?}")), |b| {
            b.iter(|| {
                let timestamp = Timestamp((random.next_u64() % records) as i64);
                filled.partition.batch_at_time(timestamp).expect("readable")
            });
        });
        filled.log.close().expect("the log closes");
    }
    group.finish();
}

criterion_group!(benches, fetch_in_order, fetch_at_random);
criterion_main!(benches);
