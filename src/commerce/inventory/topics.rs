//! The service and the library over a log: restarts and power cuts, exactly once.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::commerce::store::{EventStore, LogStore};
use crate::log::batch::{BatchBuilder, Record, batches, records};
use crate::log::io::Environment;
use crate::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use crate::log::{Log, LogOptions, Offset, Timestamp};

fn open(disk: &SimulatedDisk) -> Log {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1_000))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    let options = LogOptions {
        batch_size_max_bytes: 1024 * 1024,
        journal_file_size_bytes: 4 * 1024 * 1024,
        ..LogOptions::default()
    };
    Log::open_in(environment, Path::new("/data"), options).unwrap()
}

fn start(log: &Log) -> Service {
    let clock = Arc::new(SimulatedClock::new(Timestamp(1_000)));
    Service::start(
        log,
        &ServiceOptions {
            clock: Some(clock),
            ..ServiceOptions::default()
        },
    )
    .unwrap()
}

fn store(log: &Log, topic: &str) -> LogStore {
    let topic = log.topic(topic).unwrap();
    LogStore::new(topic.id, topic.partitions[0].clone())
}

fn id(n: u64) -> Uuid {
    Uuid::from_u128(u128::from(n) + 1)
}

/// Command number `n` of an endless sale: units come in now and then, and every hold is committed or released.
fn command(n: u64) -> Command {
    let sku = || format!("sku-{}", n % 3);
    match n % 8 {
        0 => Command::Receive {
            id: id(n),
            sku: sku(),
            quantity: 3,
            location: String::new(),
        },
        6 => Command::Commit {
            id: id(n),
            reservation: id(n - 3),
            lines: Vec::new(),
        },
        7 => Command::Release {
            id: id(n),
            reservation: id(n - 3),
        },
        _ => Command::Reserve {
            id: id(n),
            reservation: id(n),
            customer: format!("customer-{}", n % 5),
            lines: vec![Line::new(sku(), 1 + (n % 2) as u32)],
            ttl_ms: 600_000,
            policy: CartPolicy::All,
            split: None,
        },
    }
}

fn batch_of(values: impl Iterator<Item = Vec<u8>>) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(1_000));
    for value in values {
        let (timestamp, value) = (Timestamp(1_000), Some(&value[..]));
        let headers: &[(&str, &[u8])] = &[("ce_correlationid", b"order-1"), ("ce_id", b"checkout-1")];
        builder
            .push(&Record {
                timestamp,
                key: None,
                value,
                headers,
            })
            .unwrap();
    }
    builder.finish()
}

fn send(log: &Log, commands: std::ops::Range<u64>) {
    let partition = &log.topic(COMMANDS_TOPIC).unwrap().partitions[0];
    partition
        .append(batch_of(commands.map(|n| command(n).to_json())))
        .unwrap()
        .wait()
        .unwrap();
}

/// Waits until every durable command has its durable outcome.
fn settle(log: &Log, service: &Service) {
    let commands = &log.topic(COMMANDS_TOPIC).unwrap().partitions[0];
    while Offset(service.shards()[0].next_command_offset().wait().unwrap()) < commands.high_watermark() {
        std::thread::yield_now();
    }
}

fn recounted(log: &Log) -> AuditReport {
    recount(&store(log, COMMANDS_TOPIC), &store(log, EVENTS_TOPIC)).unwrap()
}

#[test]
fn commands_in_outcomes_out() {
    let log = open(&SimulatedDisk::new(1));
    let service = start(&log);
    send(&log, 0..100);
    settle(&log, &service);
    let report = recounted(&log);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.commands, report.events), (100, 100));
    let events = store(&log, EVENTS_TOPIC).read(Offset(0), 1).unwrap();
    let (_, first) = batches(&events[0]).next().unwrap().unwrap();
    let record = records(&first).unwrap().next().unwrap().unwrap();
    let header = |wanted: &str| record.headers.clone().find(|(name, _)| *name == wanted)?.1;
    assert_eq!(header("ce_correlationid"), Some(&b"order-1"[..]));
    assert_eq!(header("ce_causationid"), Some(&b"checkout-1"[..]));
}

#[test]
fn records_that_are_no_commands_are_answered_and_stop_nothing() {
    let log = open(&SimulatedDisk::new(2));
    let service = start(&log);
    let partition = &log.topic(COMMANDS_TOPIC).unwrap().partitions[0];
    let values = [b"{".to_vec(), command(0).to_json(), Vec::new()];
    partition
        .append(batch_of(values.into_iter()))
        .unwrap()
        .wait()
        .unwrap();
    settle(&log, &service);
    let mut outcomes = Vec::new();
    for_each_event(&store(&log, EVENTS_TOPIC), Offset(0), |_, event| {
        outcomes.push((event.command_offset.unwrap(), event.outcome));
        Ok(())
    })
    .unwrap();
    let malformed = Outcome::Invalid {
        reason: InvalidReason::Malformed,
    };
    let received = Outcome::Received {
        sku: "sku-0".into(),
        quantity: 3,
        location: String::new(),
    };
    assert_eq!(
        outcomes,
        vec![(0, malformed.clone()), (1, received), (2, malformed)]
    );
}

#[test]
fn every_command_has_one_outcome_across_power_cuts() {
    let mut interrupted = 0;
    for seed in 0..12 {
        let mut disk = SimulatedDisk::new(seed);
        let mut sent = 0;
        for generation in 0..4 {
            let log = open(&disk);
            let service = start(&log);
            let undecided = service.shards()[0].next_command_offset().wait().unwrap() < sent;
            interrupted += u32::from(undecided);
            for _ in 0..5 + seed % 3 {
                send(&log, sent..sent + 40);
                sent += 40;
            }
            // The power fails while the service is somewhere in the middle of its work.
            disk = disk.crash_image(seed * 10 + generation);
            drop(service);
        }
        let log = open(&disk);
        let service = start(&log);
        settle(&log, &service);
        let hash = service.shards()[0].hash().wait().unwrap();
        service.stop();
        let report = recounted(&log);
        assert!(report.is_clean(), "seed {seed}: {report:?}");
        assert_eq!((report.commands, report.events), (sent, sent), "seed {seed}");
        let replayed = recover(&store(&log, EVENTS_TOPIC), &Limits::default(), None).unwrap();
        assert_eq!(replayed.state.hash(), hash, "seed {seed}");
    }
    assert!(
        interrupted > 0,
        "the power never failed before everything was decided"
    );
}

#[test]
fn the_library_finds_its_state_again_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = || InventoryOptions {
        snapshot_dir: Some(dir.path().join("snapshots")),
        ..InventoryOptions::default()
    };
    let mut hashes = Vec::new();
    for round in 0..3 {
        let log = Log::open(dir.path().join("log"), LogOptions::default()).unwrap();
        let inventory = Inventory::open(&log, options()).unwrap();
        hashes.push(inventory.hash().wait().unwrap());
        assert_eq!(hashes.first() == hashes.last(), round == 0);
        let outcomes = inventory
            .submit_batch((round * 1_000..(round + 1) * 1_000).map(command).collect())
            .unwrap();
        assert!(matches!(outcomes[0], Outcome::Received { .. }));
        let hash = inventory.hash().wait().unwrap();
        inventory.close();
        let recovered = recover(&store(&log, EVENTS_TOPIC), &Limits::default(), None).unwrap();
        assert_eq!(recovered.state.hash(), hash);
        log.close().unwrap();
    }
}

#[test]
fn commands_of_another_topic_than_the_decided_ones_are_not_passed_over() {
    let log = open(&SimulatedDisk::new(3));
    let service = start(&log);
    send(&log, 0..10);
    settle(&log, &service);
    service.stop();
    log.delete_topic(COMMANDS_TOPIC).unwrap();
    // The new topic's offsets 0 to 9 would count as decided.
    let refused = Service::start(&log, &ServiceOptions::default()).unwrap_err();
    assert!(matches!(
        refused,
        ServiceError::CommandsGone {
            partition: 0,
            decided: Offset(10),
            end: Offset(0)
        }
    ));
}

#[test]
fn a_log_whose_batches_are_too_small_for_events_is_refused_before_it_stops_the_shard() {
    let open_with = |batch_size_max_bytes| {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            batch_size_max_bytes,
            ..LogOptions::default()
        };
        let log = Log::open(dir.path(), options).unwrap();
        let opened = Inventory::open(&log, InventoryOptions::default());
        opened.map(|inventory| inventory.submit_batch((0..20_000).map(command).collect()))
    };
    assert!(matches!(
        open_with(512 * 1024 - 1),
        Err(InventoryOpenError::BatchesTooSmall {
            limit_bytes: 524_287,
            needed_bytes: 524_288
        })
    ));
    assert!(open_with(512 * 1024).unwrap().is_ok());
}

#[test]
fn a_service_tells_that_a_shard_stopped() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    let service = start(&log);
    send(&log, 0..2);
    settle(&log, &service);
    assert!(service.stopped().is_none());
    // Somebody else writes where only the shard may: its next append finds another end.
    let events = &log.topic(EVENTS_TOPIC).unwrap().partitions[0];
    let foreign = batch_of(std::iter::once(b"not an event".to_vec()));
    events.append(foreign).unwrap().wait().unwrap();
    send(&log, 2..3);
    while service.stopped().is_none() {
        std::thread::yield_now();
    }
    let stopped = service.stopped().unwrap();
    assert!(
        matches!(stopped, ServiceStopped::Shard { partition: 0, .. }),
        "{stopped:?}"
    );
}
