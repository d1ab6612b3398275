//! Many threads on one log of the machine's disk: nobody waits for ever, and what was acknowledged stays.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::{AppendError, Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};

const PARTITIONS: u32 = 4;
const WRITERS_PER_PARTITION: u64 = 2;
const BATCHES_PER_WRITER: u64 = 60;
/// Nobody waits that long unless somebody was forgotten.
const PATIENCE: Duration = Duration::from_mins(1);

/// Journal files of two small groups: the journal is full all the time.
fn options(plain_writes: bool) -> LogOptions {
    LogOptions {
        plain_writes,
        batch_size_max_bytes: 6 * 1024,
        journal_file_size_bytes: 12 * 1024,
        segment_size_max_bytes: 64 * 1024,
        flush_size_bytes: 32 * 1024,
        ..LogOptions::default()
    }
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    path
}

/// Fails the test, and does not block it, when `work` does not end.
fn within_patience<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("somebody waits for ever"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panicked) => std::panic::resume_unwind(panicked),
            Ok(_) => unreachable!("a worker that ends well sends its result"),
        },
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A batch of about 1.5 KB whose value begins with the writer's number and the batch's.
fn batch_of(writer: u64, number: u64) -> Bytes {
    let mut value = vec![writer as u8; 1_500];
    value[..8].copy_from_slice(&writer.to_be_bytes());
    value[8..16].copy_from_slice(&number.to_be_bytes());
    let mut builder = BatchBuilder::new(Timestamp(1));
    builder
        .push(&Record {
            timestamp: Timestamp(1),
            key: None,
            value: Some(&value),
            headers: &[],
        })
        .unwrap();
    builder.finish()
}

/// Writer and number of every record from `from` on, by offset.
fn read_from(partition: &Partition, from: Offset) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for slice in partition.read(from, 1 << 20).unwrap() {
        for item in batch::batches(&slice) {
            let (header, bytes) = item.unwrap();
            batch::verify(&bytes).unwrap();
            assert_eq!(header.base_offset, from.plus(found.len() as u64));
            found.extend(batch::records(&bytes).unwrap().map(|record| {
                let value = record.unwrap().value.unwrap();
                let number = |at: usize| u64::from_be_bytes(value[at..at + 8].try_into().unwrap());
                (number(0), number(8))
            }));
        }
    }
    found
}

fn read_all(partition: &Partition) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    while Offset(found.len() as u64) < partition.high_watermark() {
        let more = read_from(partition, Offset(found.len() as u64));
        assert!(!more.is_empty());
        found.extend(more);
    }
    found
}

/// Appends all batches of one writer and returns the offsets that were acknowledged.
fn write(partition: &Partition, writer: u64) -> BTreeMap<u64, (u64, u64)> {
    let mut acknowledged = BTreeMap::new();
    for number in 0..BATCHES_PER_WRITER {
        let append = loop {
            match partition.append(batch_of(writer, number)) {
                Err(AppendError::Overloaded { .. }) => thread::yield_now(),
                append => break append.unwrap(),
            }
        };
        let offset = if writer.is_multiple_of(2) {
            append.wait().unwrap()
        } else {
            block_on(append).unwrap()
        };
        assert!(partition.high_watermark() > offset, "acknowledged is readable");
        acknowledged.insert(offset.0, (writer, number));
    }
    acknowledged
}

/// Follows the tail until all records of the partition were seen.
fn follow(partition: &Partition) -> Vec<(u64, u64)> {
    let total = WRITERS_PER_PARTITION * BATCHES_PER_WRITER;
    let mut seen = Vec::new();
    while (seen.len() as u64) < total {
        let next = Offset(seen.len() as u64);
        assert!(partition.wait_above(next, PATIENCE), "nothing came behind {next}");
        seen.extend(read_from(partition, next));
    }
    seen
}

/// Creates and deletes topics, with data in them, until told to stop.
fn churn(log: &Log, stop: &AtomicBool) -> u64 {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("passing-{round}");
        let spec = TopicSpec {
            partitions: 2,
            ..TopicSpec::default()
        };
        let topic = log.create_topic(&name, &spec).unwrap();
        for partition in &topic.partitions {
            drop(partition.append(batch_of(round, 0)).unwrap());
            partition.append(batch_of(round, 1)).unwrap().wait().unwrap();
        }
        log.delete_topic(&name).unwrap();
        assert!(matches!(
            topic.partitions[0].append(batch_of(round, 2)),
            Err(AppendError::Deleted)
        ));
        round += 1;
    }
    round
}

/// With `flushes`, a thread flushes all the time; without, only a journal without space makes the flusher run.
fn stress(folder: &Path, plain_writes: bool, flushes: bool) {
    let log = Log::open(folder, options(plain_writes)).unwrap();
    let spec = TopicSpec {
        partitions: PARTITIONS,
        ..TopicSpec::default()
    };
    let topic = log.create_topic("orders", &spec).unwrap();
    let stop = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let churning = scope.spawn(|| churn(&log, &stop));
        let flushing = scope.spawn(|| {
            while flushes && !stop.load(Ordering::Relaxed) {
                log.flush().unwrap();
            }
        });
        let readers: Vec<_> = topic
            .partitions
            .iter()
            .map(|partition| scope.spawn(move || follow(partition)))
            .collect();
        let writers: Vec<Vec<_>> = topic
            .partitions
            .iter()
            .map(|partition| {
                (0..WRITERS_PER_PARTITION)
                    .map(|writer| scope.spawn(move || write(partition, writer)))
                    .collect()
            })
            .collect();
        let mut acknowledged = Vec::new();
        for (writers, reader) in writers.into_iter().zip(readers) {
            let mut all = BTreeMap::new();
            for writer in writers {
                all.append(&mut writer.join().unwrap());
            }
            let expected: Vec<_> = all.into_values().collect();
            assert_eq!(
                reader.join().unwrap(),
                expected,
                "a follower saw what was acknowledged"
            );
            acknowledged.push(expected);
        }
        stop.store(true, Ordering::Relaxed);
        flushing.join().unwrap();
        assert!(churning.join().unwrap() > 0);
        acknowledged
    });
    drop(topic);
    log.close().unwrap();

    let log = Log::open(folder, options(plain_writes)).unwrap();
    let names: Vec<_> = log.topics().iter().map(|topic| topic.name.clone()).collect();
    assert_eq!(names, ["orders"]);
    let topic = log.topic("orders").unwrap();
    for (partition, expected) in topic.partitions.iter().zip(acknowledged) {
        assert_eq!(read_all(partition), expected);
    }
    let folders = std::fs::read_dir(folder.join("partitions")).unwrap().count();
    assert_eq!(folders as u32, PARTITIONS + 1, "and the metadata partition");
}

#[test]
fn writers_followers_and_passing_topics_with_io_uring() {
    within_patience(|| stress(&folder("concurrency-uring"), false, false));
}

#[test]
fn writers_followers_and_passing_topics_with_plain_writes() {
    within_patience(|| stress(&folder("concurrency-plain"), true, false));
}

#[test]
fn writers_followers_and_passing_topics_amid_flushes() {
    within_patience(|| stress(&folder("concurrency-flushes"), false, true));
}

#[test]
fn a_log_that_closes_with_a_full_journal_and_a_long_queue_keeps_it_all() {
    let folder = folder("close-queued");
    let path = folder.clone();
    within_patience(move || {
        let log = Log::open(&path, options(false)).unwrap();
        let topic = log
            .create_topic(
                "orders",
                &TopicSpec {
                    partitions: 1,
                    ..TopicSpec::default()
                },
            )
            .unwrap();
        let appends: Vec<_> = (0..400)
            .map(|number| topic.partitions[0].append(batch_of(0, number)).unwrap())
            .collect();
        drop(topic);
        log.close().unwrap();
        for append in appends {
            append.wait().unwrap();
        }
    });
    let log = Log::open(&folder, options(false)).unwrap();
    let expected: Vec<_> = (0..400).map(|number| (0, number)).collect();
    assert_eq!(read_all(&log.topic("orders").unwrap().partitions[0]), expected);
}

#[test]
fn a_log_that_closes_while_others_append_ends_all_waits_and_keeps_what_it_acknowledged() {
    for round in 0..6 {
        let folder = folder("close-amid");
        let path = folder.clone();
        let acknowledged = within_patience(move || {
            let log = Log::open(&path, options(round % 2 == 1)).unwrap();
            let spec = TopicSpec {
                partitions: PARTITIONS,
                ..TopicSpec::default()
            };
            let topic = log.create_topic("orders", &spec).unwrap();
            let writers: Vec<_> = (0..8_u64)
                .map(|writer| {
                    let partition = topic.partitions[writer as usize % topic.partitions.len()].clone();
                    thread::spawn(move || append_until_closed(&partition, writer))
                })
                .collect();
            let partition = topic.partitions[0].clone();
            drop(topic);
            assert!(partition.wait_above(Offset(4 * round), PATIENCE));
            log.close().unwrap();
            let ends: Vec<Vec<_>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            ends.concat()
        });
        let log = Log::open(&folder, options(false)).unwrap();
        let topic = log.topic("orders").unwrap();
        let found: Vec<_> = topic.partitions.iter().map(read_all).collect();
        for (partition, offset, record) in acknowledged {
            assert_eq!(
                found[partition].get(offset as usize),
                Some(&record),
                "round {round}"
            );
        }
    }
}

/// Appends until the log is closed; returns partition index, offset and record of what was acknowledged.
fn append_until_closed(partition: &Partition, writer: u64) -> Vec<(usize, u64, (u64, u64))> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let Ok(append) = partition.append(batch_of(writer, number)) else {
            break;
        };
        let ended = if writer < 4 {
            append.wait()
        } else {
            block_on(append)
        };
        let Ok(offset) = ended else { break };
        acknowledged.push((writer as usize % PARTITIONS as usize, offset.0, (writer, number)));
    }
    acknowledged
}

#[test]
fn waiting_for_ever_is_a_timeout_too() {
    let log = Log::open(folder("for-ever"), options(false)).unwrap();
    let topic = log
        .create_topic(
            "orders",
            &TopicSpec {
                partitions: 1,
                ..TopicSpec::default()
            },
        )
        .unwrap();
    let partition = topic.partitions[0].clone();
    let follower = {
        let partition = partition.clone();
        thread::spawn(move || partition.wait_above(Offset::ZERO, Duration::MAX))
    };
    partition.append(batch_of(0, 0)).unwrap().wait().unwrap();
    assert!(follower.join().unwrap());
}
