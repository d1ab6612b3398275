//! librdkafka on a compacted topic: batches without records in the way of a consumer, at every place of a fetch.

#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod broker_support;

use std::path::Path;
use std::time::{Duration, Instant};

use broker_support::RunningBroker;
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::{Log, LogOptions, Timestamp, TopicSpec};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

const TOPIC: &str = "compacted";
const PATIENCE: Duration = Duration::from_secs(30);
/// Batches before and behind the ones that stay, all of which are replaced by later records.
const REPLACED: usize = 60;

/// Makes a compacted topic whose records at offsets below the last ones are mostly gone, and returns the offsets of
/// those that are left and the end.
fn compacted_topic(folder: &Path) -> (Vec<i64>, i64) {
    let options = LogOptions {
        segment_size_max_bytes: 1024,
        // Reads are to come from segments.
        tail_retained_max_bytes: 0,
        ..LogOptions::default()
    };
    let log = Log::open(folder, options).unwrap();
    let configs = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    let spec = TopicSpec {
        partitions: 1,
        configs: configs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let partition = log.create_topic(TOPIC, &spec).unwrap().partitions[0].clone();
    let append = |builder: &mut BatchBuilder, key: &str| {
        let record = Record {
            timestamp: Timestamp(1_700_000_000_000),
            key: Some(key.as_bytes()),
            value: Some(&[7; 300]),
            headers: &[],
        };
        builder.push(&record).unwrap();
        partition.append(builder.finish()).unwrap().wait().unwrap().0 as i64
    };
    let plain = || BatchBuilder::new(Timestamp(1_700_000_000_000));
    let mut kept = Vec::new();
    let mut producer = plain().producer(1, 0, 0);
    for part in ["first", "second"] {
        for _ in 0..REPLACED {
            append(&mut plain(), "often");
        }
        // The last batch of a producer stays as a batch without records.
        append(&mut producer, "often");
        kept.push(append(&mut plain(), part));
    }
    for _ in 0..REPLACED {
        append(&mut plain(), "often");
    }
    // The last segment, which is not compacted.
    kept.push(append(&mut plain(), "often"));
    log.flush().unwrap();
    log.clean().unwrap();
    let end = partition.high_watermark().0 as i64;
    let mut left = Vec::new();
    let mut next = partition.log_start();
    while next < partition.high_watermark() {
        for batch in partition
            .read(next, 1 << 20)
            .unwrap()
            .iter()
            .flat_map(doorbuster::log::batch::batches)
        {
            let (header, bytes) = batch.unwrap();
            next = header.next_offset();
            let records = doorbuster::log::batch::records(&bytes).unwrap();
            left.extend(records.map(|record| record.unwrap().offset.0 as i64));
        }
    }
    assert!(
        kept.iter().all(|offset| left.contains(offset)),
        "{left:?} lacks some of {kept:?}"
    );
    assert!(left.len() < 10, "{left:?}");
    log.close().unwrap();
    (left, end)
}

fn consumed(broker: &RunningBroker, from: i64, fetch_bytes: &str, count: usize) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address.to_string())
        .set("broker.address.family", "v4")
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", fetch_bytes)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Offset(from)).unwrap();
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut offsets = Vec::new();
    while offsets.len() < count {
        assert!(Instant::now() < deadline, "{offsets:?} from {from}, of {count}");
        if let Some(message) = consumer.poll(Duration::from_millis(50)) {
            offsets.push(message.unwrap().offset());
        }
    }
    offsets
}

#[test]
fn a_consumer_passes_batches_without_records() {
    let folder = tempfile::tempdir().unwrap();
    let (left, end) = compacted_topic(folder.path());
    let broker = RunningBroker::start(folder.path());
    // A fetch of 70 bytes is one batch, often one without records.
    for fetch_bytes in ["70", "1000000"] {
        for from in [0, 1, left[0], left[0] + 1, REPLACED as i64 + 5, end - 2] {
            let expected: Vec<i64> = left.iter().copied().filter(|offset| *offset >= from).collect();
            assert_eq!(
                consumed(&broker, from, fetch_bytes, expected.len()),
                expected,
                "from {from}"
            );
        }
    }
}
