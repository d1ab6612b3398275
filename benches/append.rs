//! How fast batches become durable: one at a time, many in flight, into one partition and many.
//!
//! Every iteration ends when all its batches are on stable storage. The data folder is on the disk of the
//! working directory, because a memory filesystem has no sync worth measuring.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::io::Random;
use doorbuster::log::io::sim::SimulatedRandom;
use doorbuster::log::{Append, Log, LogOptions, Partition, Timestamp, TopicSpec};
use tempfile::TempDir;

const SEED: u64 = 7;
const VALUE_SIZE_BYTES: usize = 256;

/// What one benchmark appends.
#[derive(Clone, Copy)]
struct Load {
    partitions: u32,
    in_flight: usize,
    records_per_batch: usize,
}

/// A batch of values of incompressible bytes.
fn batch_of(records: usize) -> Bytes {
    let random = SimulatedRandom::new(SEED);
    let mut builder = BatchBuilder::new(Timestamp(1));
    for _ in 0..records {
        let value: Vec<u8> = (0..VALUE_SIZE_BYTES / size_of::<u64>())
            .flat_map(|_| random.next_u64().to_le_bytes())
            .collect();
        let record = Record {
            timestamp: Timestamp(1),
            key: None,
            value: Some(&value),
            headers: &[],
        };
        builder.push(&record).expect("the batch is within its limit");
    }
    builder.finish()
}

/// A new log with one topic; the folder goes away with the first part.
fn log_with(partitions: u32) -> (TempDir, Log, Vec<Partition>) {
    let folder = tempfile::tempdir_in(".").expect("the working directory is writable");
    let log = Log::open(folder.path(), LogOptions::default()).expect("a new log opens");
    let spec = TopicSpec {
        partitions,
        ..TopicSpec::default()
    };
    let topic = log.create_topic("bench", &spec).expect("a new log has no topic");
    let partitions = topic.partitions.clone();
    (folder, log, partitions)
}

fn append_all(partitions: &[Partition], load: Load, batch: &Bytes) {
    let appends: Vec<Append> = (0..load.in_flight)
        .map(|index| {
            partitions[index % partitions.len()]
                .append(batch.clone())
                .expect("the log takes it")
        })
        .collect();
    for append in appends {
        black_box(append.wait().expect("the disk takes it"));
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    for load in [
        Load {
            partitions: 1,
            in_flight: 1,
            records_per_batch: 1,
        },
        Load {
            partitions: 1,
            in_flight: 64,
            records_per_batch: 1,
        },
        Load {
            partitions: 64,
            in_flight: 64,
            records_per_batch: 1,
        },
        Load {
            partitions: 1,
            in_flight: 1,
            records_per_batch: 64,
        },
        Load {
            partitions: 1,
            in_flight: 64,
            records_per_batch: 64,
        },
        Load {
            partitions: 64,
            in_flight: 64,
            records_per_batch: 64,
        },
        Load {
            partitions: 1,
            in_flight: 8,
            records_per_batch: 1024,
        },
        Load {
            partitions: 8,
            in_flight: 8,
            records_per_batch: 1024,
        },
        Load {
            partitions: 1,
            in_flight: 4,
            records_per_batch: 4096,
        },
    ] {
        let (folder, log, partitions) = log_with(load.partitions);
        let batch = batch_of(load.records_per_batch);
        let id = format!(
            "{} partitions, {} in flight, {} records of {VALUE_SIZE_BYTES} B",
            load.partitions, load.in_flight, load.records_per_batch
        );
        group.throughput(Throughput::Bytes((load.in_flight * batch.len()) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(id), &load, |b, load| {
            b.iter(|| append_all(&partitions, *load, &batch));
        });
        log.close().expect("the log closes");
        drop(folder);
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
