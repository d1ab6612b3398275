//! The shard as its callers see it: races, durability, failures, restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::commerce::store::{EventStore, MemoryStore};
use crate::log::io::Clock;
use crate::log::{Offset, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Debug)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst) as u64)
    }
}

const TTL: Duration = Duration::from_mins(10);

fn options(clock: &Arc<HandClock>) -> InventoryOptions {
    InventoryOptions {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..InventoryOptions::default()
    }
}

fn clock() -> Arc<HandClock> {
    Arc::new(HandClock(AtomicI64::new(1_000)))
}

fn open(store: &MemoryStore) -> Inventory {
    Inventory::open_store(store.clone(), options(&clock())).unwrap()
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn one(sku: &str, quantity: u32) -> Vec<Line> {
    vec![Line::new(sku, quantity)]
}

fn reserve(n: u128) -> Command {
    let (id, customer) = (id(n), format!("customer-{n}"));
    Command::Reserve {
        id,
        reservation: id,
        customer,
        lines: one("tv", 1),
        ttl_ms: 600_000,
        policy: CartPolicy::All,
        split: None,
    }
}

fn events(store: &MemoryStore) -> Vec<Event> {
    let mut events = Vec::new();
    for_each_event(store, Offset::ZERO, |_, event| {
        events.push(event);
        Ok(())
    })
    .unwrap();
    events
}

fn audit(store: &MemoryStore) -> AuditReport {
    let mut audit = Audit::new();
    for event in &events(store) {
        audit.event(event);
    }
    audit.report()
}

fn poll<T>(answer: &mut Answer<T>) -> Poll<Result<T, Stopped>> {
    std::pin::Pin::new(answer).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn sixteen_threads_race_for_a_thousand_units() {
    let store = MemoryStore::new();
    let inventory = open(&store);
    inventory.receive(id(1), "tv", 1_000).unwrap();
    let won = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 1..=16u128 {
            let (inventory, won) = (inventory.clone(), &won);
            scope.spawn(move || {
                for n in 0..80u128 {
                    let outcome = inventory
                        .reserve(id(thread << 64 | n), "crowd", one("tv", 1), TTL)
                        .unwrap();
                    match outcome {
                        Outcome::Reserved { .. } => won.fetch_add(1, Ordering::Relaxed),
                        Outcome::SoldOut { available: 0, .. } => 0,
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    assert_eq!(won.load(Ordering::Relaxed), 1_000);
    let stock = inventory.stock("tv").wait().unwrap().unwrap();
    assert_eq!(
        (stock.received, stock.reserved, stock.sellable),
        (1_000, 1_000, 0)
    );
    inventory.close();
    let report = audit(&store);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.events, report.articles["tv"].held), (1 + 16 * 80, 1_000));
}

#[test]
fn a_cart_is_held_whole_or_not_at_all() {
    let inventory = open(&MemoryStore::new());
    inventory.receive(id(1), "tv", 1).unwrap();
    inventory.receive(id(2), "ps5", 1).unwrap();
    let both = vec![Line::new("tv", 1), Line::new("ps5", 2)];
    assert_eq!(
        inventory.reserve(id(10), "ann", both, TTL).unwrap(),
        Outcome::SoldOut {
            sku: "ps5".into(),
            available: 1
        }
    );
    assert_eq!(inventory.stock("tv").wait().unwrap().unwrap().sellable, 1);
}

#[test]
fn a_double_click_and_a_double_release_count_once() {
    let inventory = open(&MemoryStore::new());
    inventory.receive(id(1), "tv", 3).unwrap();
    inventory.receive(id(1), "tv", 3).unwrap();
    let reserve = || inventory.reserve(id(10), "ann", one("tv", 2), TTL).unwrap();
    assert!(matches!(reserve(), Outcome::Reserved { .. }));
    assert_eq!(
        reserve(),
        Outcome::Exists {
            expires_at_ms: Some(601_000)
        }
    );
    assert_eq!(inventory.stock("tv").wait().unwrap().unwrap().sellable, 1);
    assert_eq!(inventory.release(id(10)).unwrap(), Outcome::Released);
    assert_eq!(inventory.release(id(10)).unwrap(), Outcome::AlreadyReleased);
    assert_eq!(inventory.commit(id(10)).unwrap(), Outcome::AlreadyReleased);
    assert_eq!(reserve(), Outcome::AlreadyReleased);
    assert_eq!(inventory.stock("tv").wait().unwrap().unwrap().sellable, 3);
    assert_eq!(
        inventory.get(id(10)).wait().unwrap(),
        Some(ReservationView::Released)
    );
    assert_eq!(inventory.get(id(11)).wait().unwrap(), None);
}

#[test]
fn an_expiry_is_an_event_at_its_tick() {
    let (store, clock) = (MemoryStore::new(), clock());
    let inventory = Inventory::open_store(store.clone(), options(&clock)).unwrap();
    inventory.receive(id(1), "tv", 1).unwrap();
    inventory
        .reserve(id(10), "ann", one("tv", 1), Duration::from_millis(11))
        .unwrap();
    clock.0.store(1_019, Ordering::SeqCst);
    assert_eq!(inventory.stock("tv").wait().unwrap().unwrap().sellable, 0);
    clock.0.store(1_020, Ordering::SeqCst);
    assert_eq!(inventory.stock("tv").wait().unwrap().unwrap().sellable, 1);
    let expiry = Event {
        outcome: Outcome::ReservationExpired,
        command: Uuid::nil(),
        reservation: Some(id(10)),
        command_offset: None,
        at_ms: 1_020,
    };
    assert_eq!(events(&store).last(), Some(&expiry));
}

#[test]
fn nothing_is_told_before_it_is_durable() {
    let store = MemoryStore::new();
    let inventory = open(&store);
    inventory.receive(id(1), "tv", 1).unwrap();
    store.pause();
    let mut winner = inventory.submit(reserve(10));
    let mut again = inventory.submit(reserve(10));
    let mut stock = inventory.stock("tv");
    let mut loser = inventory.submit(reserve(11));
    // The shard has decided once the winner's event is there; only then is silence meaningful.
    while store.appended() < Offset(2) {
        std::thread::yield_now();
    }
    assert!(poll(&mut winner).is_pending());
    assert!(poll(&mut again).is_pending());
    assert!(poll(&mut stock).is_pending());
    assert!(poll(&mut loser).is_pending());
    assert_eq!(events(&store).len(), 1);
    store.resume();
    assert!(matches!(winner.wait().unwrap(), Outcome::Reserved { .. }));
    assert_eq!(
        again.wait().unwrap(),
        Outcome::Exists {
            expires_at_ms: Some(601_000)
        }
    );
    assert_eq!(stock.wait().unwrap().unwrap().sellable, 0);
    assert_eq!(
        loser.wait().unwrap(),
        Outcome::SoldOut {
            sku: "tv".into(),
            available: 0
        }
    );
}

#[test]
fn a_power_cut_takes_only_what_was_not_answered() {
    let store = MemoryStore::new();
    let inventory = open(&store);
    inventory.receive(id(1), "tv", 5).unwrap();
    inventory.submit(reserve(10)).wait().unwrap();
    store.pause();
    let unanswered = inventory.submit(reserve(11));
    while store.appended() < Offset(3) {
        std::thread::yield_now();
    }
    let left = store.after_power_cut();
    store.fail();
    assert!(unanswered.wait().is_err());
    let inventory = open(&left);
    assert!(matches!(
        inventory.get(id(10)).wait().unwrap(),
        Some(ReservationView::Held { .. })
    ));
    assert_eq!(inventory.get(id(11)).wait().unwrap(), None);
    assert!(matches!(
        inventory.submit(reserve(11)).wait().unwrap(),
        Outcome::Reserved { .. }
    ));
    assert_eq!(inventory.stock("tv").wait().unwrap().unwrap().reserved, 2);
}

#[test]
fn a_failed_log_stops_the_shard_and_every_caller_hears_it() {
    let store = MemoryStore::new();
    let inventory = open(&store);
    store.pause();
    let waiting = inventory.submit(Command::Receive {
        id: id(1),
        sku: "tv".into(),
        quantity: 1,
        location: String::new(),
    });
    while store.appended() < Offset(1) {
        std::thread::yield_now();
    }
    store.fail();
    assert!(matches!(*waiting.wait().unwrap_err().cause, StopCause::Failed(_)));
    assert!(matches!(
        *inventory.receive(id(2), "tv", 1).unwrap_err().cause,
        StopCause::Failed(_)
    ));
    assert!(inventory.stock("tv").wait().is_err());
    assert!(inventory.stopped().is_some());
}

#[test]
fn a_busy_store_is_asked_again() {
    let store = MemoryStore::new();
    let inventory = open(&store);
    store.refuse(3);
    assert!(matches!(
        inventory.receive(id(1), "tv", 1).unwrap(),
        Outcome::Received { .. }
    ));
    assert_eq!(events(&store).len(), 1);
}

#[test]
fn a_second_writer_stops_the_first() {
    let store = MemoryStore::new();
    let (first, second) = (open(&store), open(&store));
    second.receive(id(1), "tv", 1).unwrap();
    let stopped = first.receive(id(2), "tv", 1).unwrap_err();
    assert!(matches!(
        *stopped.cause,
        StopCause::Store(crate::commerce::store::StoreError::AnotherWriter {
            expected: Offset(0),
            found: Offset(1)
        })
    ));
    assert!(second.receive(id(3), "tv", 1).is_ok());
}

#[test]
fn a_full_queue_throttles() {
    let store = MemoryStore::new();
    let options = InventoryOptions {
        queued_commands_max: 4,
        ..options(&clock())
    };
    let inventory = Inventory::open_store(store.clone(), options).unwrap();
    inventory.receive(id(1), "tv", 1_000).unwrap();
    store.pause();
    // With syncs held back the shard stops to drain once its appends in flight are used up.
    let throttled = Outcome::Throttled {
        retry_after_ms: THROTTLE_RETRY_MS,
    };
    let mut answers = Vec::new();
    let refused = loop {
        let n = 100 * answers.len() as u128;
        let mut answer = inventory.submit_many((0..4).map(|more| reserve(n + more)).collect());
        match poll(&mut answer) {
            Poll::Ready(outcomes) => break outcomes.unwrap(),
            Poll::Pending => answers.push(answer),
        }
    };
    assert_eq!(refused, vec![throttled; 4]);
    store.resume();
    for answer in answers {
        let outcomes = answer.wait().unwrap();
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Reserved { .. }))
        );
    }
}

#[test]
fn a_batch_of_many_kilobytes_is_answered_in_order() {
    let store = MemoryStore::new();
    let inventory = open(&store);
    inventory.receive(id(1), "tv", 10_000).unwrap();
    let outcomes = inventory
        .submit_batch((0..20_000).map(|n| reserve(100 + n)).collect())
        .unwrap();
    assert_eq!(outcomes.len(), 20_000);
    assert!(
        outcomes[..10_000]
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Reserved { .. }))
    );
    assert!(
        outcomes[10_000..]
            .iter()
            .all(|outcome| matches!(outcome, Outcome::SoldOut { .. }))
    );
    assert_eq!(inventory.submit_batch(Vec::new()).unwrap(), Vec::new());
    inventory.close();
    assert!(store.batches() > 2, "one batch would exceed the target size");
    assert!(audit(&store).is_clean());
}

#[test]
fn every_kind_of_start_gives_the_same_state() {
    let (store, dir) = (MemoryStore::new(), tempfile::tempdir().unwrap());
    let with_snapshot = || InventoryOptions {
        snapshot_dir: Some(dir.path().to_owned()),
        ..options(&clock())
    };
    let file = SnapshotFile::new(dir.path(), 0);
    let first = Inventory::open_store(store.clone(), with_snapshot()).unwrap();
    first.receive(id(1), "tv", 5).unwrap();
    first.submit(reserve(10)).wait().unwrap();
    first.close();
    assert!(file.path().exists());
    let second = open(&store);
    second.submit(reserve(11)).wait().unwrap();
    second.commit(id(10)).unwrap();
    let hash = second.hash().wait().unwrap();
    second.close();
    let recovered = |file| recover(&store, &Limits::default(), file).unwrap();

    let replayed = recovered(None);
    assert_eq!(
        (replayed.state.hash(), replayed.snapshot, replayed.replayed),
        (hash, None, 4)
    );
    let from_snapshot = recovered(Some(&file));
    assert_eq!(
        (
            from_snapshot.state.hash(),
            from_snapshot.snapshot,
            from_snapshot.replayed
        ),
        (hash, Some(Offset(2)), 2)
    );

    let good = std::fs::read(file.path()).unwrap();
    for flipped in [0, 9, 15, good.len() - 1] {
        let mut bad = good.clone();
        bad[flipped] ^= 1;
        std::fs::write(file.path(), &bad).unwrap();
        let recovered = recovered(Some(&file));
        assert_eq!(
            (recovered.state.hash(), recovered.snapshot),
            (hash, None),
            "byte {flipped}"
        );
        assert!(!file.path().exists(), "byte {flipped}");
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        4,
        "the bad ones are kept for a look"
    );
    std::fs::write(file.path(), &good[..10]).unwrap();
    assert_eq!(recovered(Some(&file)).snapshot, None);
    let elsewhere = Snapshot::save(&file, [1; 16], Offset(1), &State::default());
    elsewhere.unwrap();
    assert_eq!(
        recovered(Some(&file)).snapshot,
        None,
        "a snapshot of another store"
    );
    Snapshot::save(&file, store.identity(), Offset(99), &State::default()).unwrap();
    assert_eq!(
        recovered(Some(&file)).snapshot,
        None,
        "a snapshot from behind the end"
    );
}

#[test]
fn cloud_events_are_written_and_read_back() {
    let store = MemoryStore::new();
    let format = EventFormat::CloudEvents { partition: 3 };
    let inventory = Inventory::open_store(
        store.clone(),
        InventoryOptions {
            format,
            ..options(&clock())
        },
    )
    .unwrap();
    inventory.receive(id(1), "tv", 5).unwrap();
    inventory.submit(reserve(10)).wait().unwrap();
    let hash = inventory.hash().wait().unwrap();
    inventory.close();
    assert_eq!(
        recover(&store, &Limits::default(), None).unwrap().state.hash(),
        hash
    );
    let batch = &store.read(Offset(1), 1).unwrap()[0];
    let record = crate::log::batch::records(batch)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(record.value.map(|value| value[0]), Some(b'{'));
    assert_eq!(record.key, Some(id(10).to_string().as_bytes()));
    let headers: Vec<(&str, &str)> = record
        .headers
        .map(|(name, value)| (name, std::str::from_utf8(value.unwrap()).unwrap()))
        .collect();
    assert_eq!(
        headers,
        vec![
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_id", "00000000-03e8-7003-8000-000000000001"),
            ("ce_source", "/doorbuster/inventory/3"),
            ("ce_type", "doorbuster.inventory.InventoryReserved.v1"),
            ("ce_time", "1970-01-01T00:00:01.000Z"),
            ("ce_subject", "00000000-0000-0000-0000-00000000000a"),
            ("ce_causationid", "00000000-0000-0000-0000-00000000000a"),
        ]
    );
}

#[test]
fn a_writer_that_was_overtaken_answers_nothing_from_its_old_state() {
    let store = MemoryStore::new();
    let (overtaken, writer) = (open(&store), open(&store));
    writer.receive(id(1), "tv", 1).unwrap();
    let stopped = overtaken.stock("tv").wait().unwrap_err();
    assert!(matches!(
        *stopped.cause,
        StopCause::Store(crate::commerce::store::StoreError::AnotherWriter {
            expected: Offset(0),
            found: Offset(1)
        })
    ));
}

#[test]
fn a_shard_whose_thread_panics_leaves_nobody_waiting() {
    /// A clock that fails once it is told to.
    #[derive(Debug)]
    struct BrokenClock(std::sync::atomic::AtomicBool);

    impl Clock for BrokenClock {
        fn now(&self) -> Timestamp {
            assert!(!self.0.load(Ordering::SeqCst), "broken on purpose");
            Timestamp(1_000)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    let clock = Arc::new(BrokenClock(false.into()));
    let options = InventoryOptions {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..InventoryOptions::default()
    };
    let inventory = Inventory::open_store(MemoryStore::new(), options).unwrap();
    inventory.receive(id(1), "tv", 1).unwrap();
    clock.0.store(true, Ordering::SeqCst);
    assert!(inventory.receive(id(2), "tv", 1).is_err());
    let mut late = inventory.submit(reserve(10));
    inventory.close();
    assert!(matches!(poll(&mut late), Poll::Ready(Err(_))));
}

#[test]
fn holds_end_though_the_wall_clock_was_set_back() {
    /// Wall clock and monotonic clock, apart.
    #[derive(Debug)]
    struct TwoClocks(AtomicI64, AtomicI64);

    impl Clock for TwoClocks {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.1.load(Ordering::SeqCst) as u64)
        }
    }

    let (store, clock) = (
        MemoryStore::new(),
        Arc::new(TwoClocks(AtomicI64::new(1_000), AtomicI64::new(0))),
    );
    let start = || {
        let options = InventoryOptions {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..InventoryOptions::default()
        };
        Inventory::open_store(store.clone(), options).unwrap()
    };
    let sellable = |inventory: &Inventory| inventory.stock("tv").wait().unwrap().unwrap().sellable;
    let inventory = start();
    inventory.receive(id(1), "tv", 2).unwrap();
    for n in [10, 11] {
        let ttl = Duration::from_millis(20 * (n - 9));
        let held = inventory.reserve(id(u128::from(n)), "ann", one("tv", 1), ttl);
        assert!(matches!(held.unwrap(), Outcome::Reserved { .. }));
    }
    clock.0.store(5, Ordering::SeqCst);
    clock.1.store(19, Ordering::SeqCst);
    assert_eq!(sellable(&inventory), 0);
    clock.1.store(20, Ordering::SeqCst);
    assert_eq!(sellable(&inventory), 1);
    inventory.close();
    // Another start knows of time only what the log tells: 1,020.
    let inventory = start();
    assert_eq!(sellable(&inventory), 1);
    clock.1.store(39, Ordering::SeqCst);
    assert_eq!(sellable(&inventory), 1);
    clock.1.store(40, Ordering::SeqCst);
    assert_eq!(sellable(&inventory), 2);
    let times: Vec<i64> = events(&store).iter().map(|event| event.at_ms).collect();
    assert_eq!(times, vec![1_000, 1_000, 1_000, 1_020, 1_040]);
}

#[test]
fn a_log_written_with_a_shorter_memory_is_replayed_with_a_longer_one() {
    let store = MemoryStore::new();
    let limits = Limits {
        remembered: 1,
        ..Limits::default()
    };
    let options = InventoryOptions {
        limits: limits.clone(),
        ..options(&clock())
    };
    let inventory = Inventory::open_store(store.clone(), options).unwrap();
    inventory.receive(id(1), "tv", 5).unwrap();
    for n in [10, 11, 10] {
        assert!(matches!(
            inventory.submit(reserve(n)).wait().unwrap(),
            Outcome::Reserved { .. }
        ));
        if n == 11 {
            assert_eq!(inventory.release(id(11)).unwrap(), Outcome::Released);
        } else {
            assert_eq!(inventory.commit(id(10)).unwrap(), Outcome::Committed);
        }
    }
    inventory.submit(reserve(11)).wait().unwrap();
    let hash = inventory.hash().wait().unwrap();
    inventory.close();
    assert_eq!(recover(&store, &limits, None).unwrap().state.hash(), hash);
    let inventory = open(&store);
    assert!(matches!(
        inventory.get(id(11)).wait().unwrap(),
        Some(ReservationView::Held { .. })
    ));
    assert_eq!(inventory.release(id(11)).unwrap(), Outcome::Released);
    let stock = inventory.stock("tv").wait().unwrap().unwrap();
    assert_eq!((stock.reserved, stock.allocated), (0, 2));
}

#[test]
fn a_customer_with_more_units_than_a_limit_can_tell_is_still_counted() {
    let inventory = open(&MemoryStore::new());
    for n in 1..4 {
        inventory.receive(id(n), "tv", u32::MAX).unwrap();
    }
    for n in [10, 11] {
        let held = inventory.reserve(id(n), "ann", one("tv", u32::MAX), TTL);
        assert!(matches!(held.unwrap(), Outcome::Reserved { .. }));
    }
    inventory.release(id(10)).unwrap();
    inventory.set_policy(id(4), "tv", Some(1)).unwrap();
    assert_eq!(
        inventory.reserve(id(12), "ann", one("tv", 1), TTL).unwrap(),
        Outcome::CustomerLimit {
            sku: "tv".into(),
            remaining: 0
        }
    );
}
