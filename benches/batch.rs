//! What each record batch costs the processor on its way in and out: built, checked on append, verified on read,
//! and walked over.

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster::log::Timestamp;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::Random;
use doorbuster::log::io::sim::SimulatedRandom;

const SEED: u64 = 7;

/// Bytes of batches that one walk goes over: one read of a consumer.
const READ_SIZE_BYTES: usize = 1024 * 1024;

/// Records of one batch, and the size of a record's value.
const SHAPES: [(usize, usize); 4] = [(1, 100), (1, 1024), (16, 1024), (256, 1024)];

fn values(records: usize, size_bytes: usize) -> Vec<Vec<u8>> {
    let random = SimulatedRandom::new(SEED);
    let value = |_| (0..size_bytes).map(|_| random.next_u64() as u8).collect();
    (0..records).map(value).collect()
}

fn build(values: &[Vec<u8>]) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1));
    for value in values {
        let record = Record {
            timestamp: Timestamp(1),
            key: None,
            value: Some(value),
            headers: &[],
        };
        builder.push(&record).expect("the batch is within its limit");
    }
    builder.finish()
}

/// As many whole batches as one read gives.
fn read_of(batch: &Bytes) -> Bytes {
    let mut bytes = BytesMut::with_capacity(READ_SIZE_BYTES);
    while bytes.len() + batch.len() <= READ_SIZE_BYTES {
        bytes.extend_from_slice(batch);
    }
    bytes.freeze()
}

fn batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    for (records, size_bytes) in SHAPES {
        let shape = format!("{records} records of {size_bytes} B");
        let values = values(records, size_bytes);
        let whole = build(&values);
        group.throughput(Throughput::Bytes(whole.len() as u64));
        group.bench_function(BenchmarkId::new("build", &shape), |b| {
            b.iter(|| build(black_box(&values)));
        });
        group.bench_function(BenchmarkId::new("validate", &shape), |b| {
            b.iter(|| batch::validate(black_box(&whole)).expect("the batch is whole"));
        });
        group.bench_function(BenchmarkId::new("verify", &shape), |b| {
            b.iter(|| batch::verify(black_box(&whole)).expect("the batch is whole"));
        });
        let read = read_of(&whole);
        group.throughput(Throughput::Bytes(read.len() as u64));
        group.bench_function(BenchmarkId::new("walk", &shape), |b| {
            b.iter(|| {
                let batches = batch::batches(black_box(&read));
                batches
                    .map(|found| found.expect("batches are whole").1.len())
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, batch);
criterion_main!(benches);
