//! What other systems get wrong, each as the shop sees it, through the public library on a real log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use doorbuster::commerce::inventory::{
    Adjust, AsOf, CancelAllocated, CartPolicy, Change, Command, FailureReason, Inventory, InventoryOptions,
    KitPart, Line, LineFailure, LineRefusal, Movement, Outcome, Point, ReservationView, Split, StockView,
};
use doorbuster::log::io::Clock;
use doorbuster::log::{Log, LogOptions, Offset, Timestamp};
use uuid::Uuid;

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

/// A shop in a folder of its own, at 1,000 ms.
struct Shop {
    inventory: Inventory,
    clock: Arc<HandClock>,
    log: Log,
    commands: std::cell::Cell<u128>,
    _dir: tempfile::TempDir,
}

const TTL_MS: u32 = 10_000;

impl Shop {
    fn open() -> Shop {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogOptions::default()).unwrap();
        let clock = Arc::new(HandClock(AtomicI64::new(1_000)));
        let options = InventoryOptions {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..InventoryOptions::default()
        };
        Shop {
            inventory: Inventory::open(&log, options).unwrap(),
            clock,
            log,
            commands: std::cell::Cell::new(1 << 64),
            _dir: dir,
        }
    }

    /// A shop with that many televisions.
    fn with(units: u32) -> Shop {
        let shop = Shop::open();
        shop.receive("tv", units, "");
        shop
    }

    fn id(&self) -> Uuid {
        self.commands.set(self.commands.get() + 1);
        Uuid::from_u128(self.commands.get())
    }

    fn submit(&self, command: Command) -> Outcome {
        self.inventory.submit(command).wait().unwrap()
    }

    fn receive(&self, sku: &str, quantity: u32, location: &str) {
        let outcome = self.submit(Command::Receive {
            id: self.id(),
            sku: sku.into(),
            quantity,
            location: location.into(),
        });
        assert!(outcome.is_granted(), "{outcome:?}");
    }

    fn reserve(&self, reservation: u128, customer: &str, lines: &[(&str, u32)]) -> Outcome {
        let lines = lines.iter().map(|(sku, quantity)| Line::new(*sku, *quantity));
        self.submit(Command::reserve(
            id(reservation),
            customer,
            lines.collect(),
            TTL_MS,
        ))
    }

    fn reserve_cart(
        &self,
        reservation: u128,
        lines: Vec<Line>,
        policy: CartPolicy,
        split: Option<Split>,
    ) -> Outcome {
        self.submit(Command::Reserve {
            id: id(reservation),
            reservation: id(reservation),
            customer: "ann".into(),
            lines,
            ttl_ms: TTL_MS,
            policy,
            split: split.map(Box::new),
        })
    }

    fn commit(&self, reservation: u128) -> Outcome {
        self.submit(Command::commit(id(reservation)))
    }

    fn release(&self, reservation: u128) -> Outcome {
        self.submit(Command::release(id(reservation)))
    }

    fn wait(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn stock(&self, sku: &str) -> StockView {
        self.inventory.stock(sku).wait().unwrap().unwrap()
    }

    fn view(&self, reservation: u128) -> Option<ReservationView> {
        self.inventory.get(id(reservation)).wait().unwrap()
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn held_lines(outcome: &Outcome) -> &[Line] {
    match outcome {
        Outcome::Reserved { lines, .. } => lines,
        other => panic!("not held: {other:?}"),
    }
}

fn sold_out(sku: &str, available: u64) -> Outcome {
    let sku = sku.to_owned();
    Outcome::SoldOut { sku, available }
}

#[test]
fn two_carts_race_for_the_last_unit_and_one_wins() {
    let shop = Shop::with(1);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16_u128)
            .map(|n| {
                let inventory = shop.inventory.clone();
                let command =
                    Command::reserve(id(n), format!("customer-{n}"), vec![Line::new("tv", 1)], TTL_MS);
                scope.spawn(move || inventory.submit(command).wait().unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Outcome::is_granted);
    assert_eq!((won.len(), lost), (1, vec![sold_out("tv", 0); 15]));
}

#[test]
fn the_same_article_on_two_lines_counts_once_against_the_same_stock() {
    let shop = Shop::with(3);
    assert_eq!(shop.reserve(1, "ann", &[("tv", 2), ("tv", 2)]), sold_out("tv", 3));
    let held = shop.reserve(2, "ann", &[("tv", 2), ("tv", 1)]);
    assert_eq!(held_lines(&held), [Line::new("tv", 3)]);
    assert_eq!(shop.stock("tv").sellable, 0);
}

#[test]
fn a_counter_never_drifts_below_zero() {
    let shop = Shop::with(5);
    assert!(shop.reserve(1, "ann", &[("tv", 3)]).is_granted());
    let adjust = |delta, on_hand| {
        shop.submit(Command::Adjust(Box::new(Adjust {
            id: shop.id(),
            sku: "tv".into(),
            location: String::new(),
            delta,
            expected_on_hand: Some(on_hand),
            expected_version: None,
            reason: "count".into(),
        })))
    };
    let insufficient = Outcome::Insufficient {
        sku: "tv".into(),
        location: String::new(),
        available: 2,
    };
    assert_eq!(adjust(-3, 5), insufficient, "three of them are promised");
    let conflict = Outcome::Conflict {
        sku: "tv".into(),
        location: String::new(),
        on_hand: 5,
        version: 1,
    };
    assert_eq!(adjust(-1, 4), conflict, "somebody counted something else");
    assert!(adjust(-2, 5).is_granted());
    assert_eq!(shop.stock("tv").sellable, 0);
    let policy = Command::SetPolicy {
        id: shop.id(),
        sku: "tv".into(),
        limit_per_customer: Change::Keep,
        low_stock: Change::Keep,
        location: String::new(),
        safety: Some(1),
        backorder_cap: None,
    };
    assert!(matches!(
        shop.submit(policy),
        Outcome::Insufficient { available: 0, .. }
    ));
}

#[test]
fn a_release_counts_once() {
    let shop = Shop::with(2);
    shop.reserve(1, "ann", &[("tv", 2)]);
    assert_eq!(shop.release(1), Outcome::Released);
    assert_eq!(shop.release(1), Outcome::AlreadyReleased);
    assert_eq!(shop.stock("tv").sellable, 2);
    shop.reserve(2, "ann", &[("tv", 2)]);
    assert_eq!(shop.commit(2), Outcome::Committed);
    let cancel = Command::CancelAllocated(Box::new(CancelAllocated {
        id: id(77),
        sku: "tv".into(),
        quantity: 1,
        location: String::new(),
        customer: Some("ann".into()),
        for_reservation: Some(id(2)),
    }));
    assert!(matches!(
        shop.submit(cancel.clone()),
        Outcome::AllocationCancelled { .. }
    ));
    assert_eq!(shop.submit(cancel), Outcome::Exists { expires_at_ms: None });
    assert_eq!((shop.stock("tv").sellable, shop.stock("tv").allocated), (1, 1));
}

#[test]
fn the_shoppers_own_hold_does_not_block_the_retry() {
    let shop = Shop::with(1);
    assert!(shop.reserve(1, "ann", &[("tv", 1)]).is_granted());
    let exists = Outcome::Exists {
        expires_at_ms: Some(11_000),
    };
    assert_eq!(shop.reserve(1, "ann", &[("tv", 1)]), exists);
    let nearest = Split::Nearest {
        near: Point {
            latitude: 1.0.into(),
            longitude: 2.0.into(),
        },
    };
    shop.receive("tv", 2, "berlin");
    let cart = || vec![Line::new("tv", 3)];
    let again = || shop.reserve_cart(2, cart(), CartPolicy::Partial, Some(nearest.clone()));
    assert!(again().is_granted());
    assert_eq!(again(), exists, "a cart that was held in part is known again too");
}

#[test]
fn an_expired_hold_is_not_renewed_after_somebody_else_bought_the_unit() {
    let shop = Shop::with(1);
    shop.reserve(1, "ann", &[("tv", 1)]);
    shop.wait(i64::from(TTL_MS));
    assert!(shop.reserve(2, "bob", &[("tv", 1)]).is_granted());
    assert_eq!(shop.commit(2), Outcome::Committed);
    let extend = Command::Extend {
        id: shop.id(),
        reservation: id(1),
        ttl_ms: TTL_MS,
    };
    assert_eq!(shop.submit(extend), Outcome::Expired);
    assert_eq!(shop.reserve(1, "ann", &[("tv", 1)]), Outcome::Expired);
    assert_eq!(shop.commit(1), Outcome::Expired);
}

#[test]
fn a_hold_outlives_an_off_site_payment() {
    let shop = Shop::with(2);
    shop.reserve(1, "ann", &[("tv", 1)]);
    shop.wait(9_000);
    let extend = Command::Extend {
        id: shop.id(),
        reservation: id(1),
        ttl_ms: 60_000,
    };
    assert_eq!(
        shop.submit(extend),
        Outcome::Extended {
            expires_at_ms: 70_000
        }
    );
    shop.wait(50_000);
    assert_eq!(shop.commit(1), Outcome::Committed);

    shop.reserve(2, "bob", &[("tv", 1)]);
    shop.wait(2 * i64::from(TTL_MS));
    assert_eq!(shop.stock("tv").sellable, 1, "bob's time is over");
    assert_eq!(shop.commit(2), Outcome::Committed, "and the unit still there");
    assert_eq!((shop.stock("tv").sellable, shop.stock("tv").allocated), (0, 2));
    assert_eq!(shop.commit(2), Outcome::AlreadyCommitted);
}

#[test]
fn a_hold_can_be_given_back_early() {
    let shop = Shop::with(1);
    shop.reserve(1, "ann", &[("tv", 1)]);
    assert_eq!(shop.reserve(2, "bob", &[("tv", 1)]), sold_out("tv", 0));
    assert_eq!(shop.release(1), Outcome::Released);
    assert!(shop.reserve(3, "bob", &[("tv", 1)]).is_granted());
}

#[test]
fn no_order_is_left_without_a_reservation() {
    let shop = Shop::with(1);
    assert_eq!(shop.reserve(1, "ann", &[("tv", 2)]), sold_out("tv", 1));
    let failed = Outcome::AlreadyFailed {
        reason: FailureReason::SoldOut,
    };
    assert_eq!(shop.commit(1), failed, "there is nothing to pay for");
    shop.receive("tv", 5, "");
    assert_eq!(
        shop.reserve(1, "ann", &[("tv", 2)]),
        failed,
        "a retry cannot flip the outcome"
    );
    assert_eq!(shop.commit(9), Outcome::UnknownReservation);
}

#[test]
fn an_expired_hold_is_not_shown_as_pending() {
    let shop = Shop::with(1);
    shop.reserve(1, "ann", &[("tv", 1)]);
    shop.wait(i64::from(TTL_MS) - 1);
    assert!(matches!(shop.view(1), Some(ReservationView::Held { .. })));
    shop.wait(1);
    assert_eq!(shop.view(1), Some(ReservationView::Expired));
    assert_eq!(shop.stock("tv").reserved, 0);
    let mut movements = Vec::new();
    let ledger = shop.inventory.ledger("tv", AsOf::End, |entry| {
        movements.push((entry.at_ms, entry.movement));
    });
    assert!(ledger.unwrap().is_balanced());
    assert_eq!(
        movements,
        [
            (1_000, Movement::Received),
            (1_000, Movement::Reserved),
            (11_000, Movement::Expired)
        ]
    );
}

#[test]
fn counter_and_ledger_are_one_log() {
    let shop = Shop::with(5);
    shop.reserve(1, "ann", &[("tv", 2)]);
    shop.wait(10);
    shop.reserve(2, "bob", &[("tv", 3)]);
    let before = shop
        .inventory
        .stock_as_of("tv", AsOf::Offset(Offset(2)))
        .unwrap()
        .unwrap();
    assert_eq!((before.reserved, before.sellable), (2, 3));
    let then = shop
        .inventory
        .stock_as_of("tv", AsOf::Time(1_009))
        .unwrap()
        .unwrap();
    assert_eq!(then, before);
    assert_eq!(
        shop.inventory.stock_as_of("tv", AsOf::Offset(Offset(0))).unwrap(),
        None
    );
    let now = shop.inventory.stock_as_of("tv", AsOf::End).unwrap().unwrap();
    assert_eq!(now, shop.stock("tv"));
    let ledger = shop.inventory.ledger("tv", AsOf::End, |_| ()).unwrap();
    let (_, line, sums) = ledger.places().next().unwrap();
    assert_eq!((line.on_hand, line.reserved, sums.held), (5, 5, 5));
    shop.inventory.close();
    shop.log.close().unwrap();
}

#[test]
fn a_part_is_sold_and_the_rest_goes_back() {
    let shop = Shop::with(3);
    shop.receive("phone", 1, "");
    shop.reserve(1, "ann", &[("tv", 3), ("phone", 1)]);
    let part = |lines: &[Line]| {
        shop.submit(Command::Commit {
            id: shop.id(),
            reservation: id(1),
            lines: lines.to_vec(),
        })
    };
    assert!(matches!(part(&[Line::new("tv", 4)]), Outcome::Invalid { .. }));
    let lines = vec![Line::new("tv", 2)];
    assert_eq!(part(&lines), Outcome::CommittedPart { lines: lines.clone() });
    let (tv, phone) = (shop.stock("tv"), shop.stock("phone"));
    assert_eq!((tv.allocated, tv.reserved, tv.sellable), (2, 0, 1));
    assert_eq!((phone.allocated, phone.reserved, phone.sellable), (0, 0, 1));
    assert_eq!(part(&lines), Outcome::AlreadyCommitted);
}

#[test]
fn freed_units_go_to_whoever_waited_longest_and_to_nobody_else() {
    let shop = Shop::with(1);
    shop.reserve(1, "ann", &[("tv", 1)]);
    let join = |reservation, customer: &str| {
        shop.submit(Command::JoinWaitlist {
            id: id(reservation),
            reservation: id(reservation),
            customer: customer.into(),
            sku: "tv".into(),
            quantity: 1,
            offer_ttl_ms: 500,
        })
    };
    assert!(matches!(join(2, "bob"), Outcome::Waiting { position: 1, .. }));
    assert!(matches!(join(3, "eve"), Outcome::Waiting { position: 2, .. }));
    assert_eq!(join(2, "bob"), Outcome::Exists { expires_at_ms: None });
    assert_eq!(shop.commit(3), Outcome::StillWaiting { position: 2 });
    assert_eq!(shop.release(1), Outcome::Released);
    assert!(matches!(shop.view(2), Some(ReservationView::Held { .. })));
    assert_eq!(shop.reserve(4, "mallory", &[("tv", 1)]), sold_out("tv", 0));
    shop.wait(500);
    // Bob's offer is over: it is Eve's turn, and Bob cannot come back to it.
    assert!(matches!(shop.view(3), Some(ReservationView::Held { .. })));
    assert_eq!(shop.commit(2), Outcome::Expired);
    assert_eq!(shop.commit(3), Outcome::Committed);
}

#[test]
fn a_cart_comes_from_where_the_units_are() {
    let shop = Shop::open();
    for (location, latitude, units) in [("berlin", 52.5, 2), ("paris", 48.9, 3), ("madrid", 40.4, 9)] {
        shop.receive("tv", units, location);
        shop.submit(Command::SetLocation {
            id: shop.id(),
            location: location.into(),
            point: Point {
                latitude: latitude.into(),
                longitude: 5.0.into(),
            },
        });
    }
    let near = Point {
        latitude: 50.0.into(),
        longitude: 5.0.into(),
    };
    let held = shop.reserve_cart(
        1,
        vec![Line::new("tv", 4)],
        CartPolicy::All,
        Some(Split::Nearest { near }),
    );
    let at = |quantity, location: &str| Line::new("tv", quantity).at(location);
    assert_eq!(held_lines(&held), [at(3, "paris"), at(1, "berlin")]);
    let most = shop.reserve_cart(
        2,
        vec![Line::new("tv", 10)],
        CartPolicy::All,
        Some(Split::MostStock),
    );
    assert_eq!(held_lines(&most), [at(9, "madrid"), at(1, "berlin")]);
    let fixed = Split::Fixed {
        locations: vec!["berlin".into(), "madrid".into()],
    };
    let sold_out = shop.reserve_cart(3, vec![Line::new("tv", 1)], CartPolicy::All, Some(fixed));
    assert_eq!(sold_out, self::sold_out("tv", 0));
}

#[test]
fn a_cart_may_be_held_in_part() {
    let shop = Shop::with(2);
    let lines = || {
        vec![
            Line::new("tv", 5),
            Line::new("car", 1),
            Line::new("tv", 1).at("mars"),
        ]
    };
    let partial = shop.reserve_cart(1, lines(), CartPolicy::Partial, None);
    assert_eq!(held_lines(&partial), [Line::new("tv", 2)]);
    let Outcome::Reserved { cart: Some(cart), .. } = partial else {
        panic!("a cart that is held in part says so: {partial:?}")
    };
    let failed = |index, refusal| LineFailure { index, refusal };
    let gone = [
        failed(0, LineRefusal::SoldOut { available: 2 }),
        failed(1, LineRefusal::UnknownSku),
        failed(2, LineRefusal::SoldOut { available: 0 }),
    ];
    assert_eq!(cart.failed, gone);
    let gone = vec![failed(0, LineRefusal::SoldOut { available: 0 }), gone[1], gone[2]];
    let nothing = shop.reserve_cart(2, lines(), CartPolicy::PerLine, None);
    assert_eq!(nothing, Outcome::LineFailed { failed: gone });
}

#[test]
fn a_kit_is_sold_by_its_parts() {
    let shop = Shop::with(5);
    shop.receive("cable", 4, "");
    let kit = |sku: &str, part: &str| {
        let parts = [(part, 1), ("cable", 2)].map(|(sku, quantity)| KitPart {
            sku: sku.into(),
            quantity,
        });
        shop.submit(Command::DefineKit {
            id: shop.id(),
            sku: sku.into(),
            parts: parts.into(),
        })
    };
    assert!(kit("set", "tv").is_granted());
    assert!(
        matches!(kit("sets", "set"), Outcome::Invalid { .. }),
        "no kits of kits"
    );
    assert_eq!(shop.stock("set").sellable, 2);
    let held = shop.reserve(1, "ann", &[("set", 1), ("cable", 1)]);
    assert_eq!(held_lines(&held), [Line::new("tv", 1), Line::new("cable", 3)]);
    assert_eq!(shop.reserve(2, "bob", &[("set", 1)]), sold_out("set", 0));
}

#[test]
fn a_sale_has_its_hours() {
    let shop = Shop::with(5);
    let open = |opens_at_ms, closes_at_ms| {
        shop.submit(Command::OpenSale {
            id: shop.id(),
            sku: "tv".into(),
            opens_at_ms: Some(opens_at_ms),
            closes_at_ms,
        })
    };
    assert!(open(2_000, Some(3_000)).is_granted());
    let early = Outcome::NotOpen {
        sku: "tv".into(),
        opens_at_ms: 2_000,
    };
    assert_eq!(shop.reserve(1, "ann", &[("tv", 1)]), early);
    shop.wait(1_000);
    assert!(shop.reserve(2, "ann", &[("tv", 1)]).is_granted());
    shop.wait(1_000);
    let late = Outcome::Closed {
        sku: "tv".into(),
        closed_at_ms: 3_000,
    };
    assert_eq!(shop.reserve(3, "ann", &[("tv", 1)]), late);
    assert_eq!(shop.commit(2), Outcome::Committed, "a hold outlives the sale");
}

#[test]
fn live_holds_are_listed_in_pages() {
    let shop = Shop::with(5);
    for n in 1..=3 {
        shop.reserve(n, "ann", &[("tv", 1)]);
    }
    shop.release(2);
    let first = shop.inventory.live_page(0, 1).wait().unwrap();
    let second = shop.inventory.live_page(first.next.unwrap(), 9).wait().unwrap();
    let mut listed: Vec<Uuid> = first
        .holds
        .iter()
        .chain(&second.holds)
        .map(|(id, _)| *id)
        .collect();
    listed.sort_unstable();
    assert_eq!((listed, second.next), (vec![id(1), id(3)], None));
}
