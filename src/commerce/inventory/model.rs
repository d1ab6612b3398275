//! A naive engine, slow and obviously right, and the tests that hold the real one against it.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::snapshot::{Snapshot, SnapshotFile};
use super::*;

const SKUS: [&str; 3] = ["tv", "phone", "ps5"];
const CUSTOMERS: [&str; 3] = ["ann", "bob", ""];

/// What the model knows of a reservation.
#[derive(Clone, Debug)]
struct Cart {
    customer: String,
    units: BTreeMap<String, u64>,
    ttl_ms: u32,
    created_at_ms: i64,
    expires_at_ms: i64,
    status: CartStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CartStatus {
    Held,
    Committed,
    Released,
    Expired,
    Refused(FailureReason),
}

/// Everything is recomputed from the carts at every question.
#[derive(Debug, Default)]
struct Model {
    received: BTreeMap<String, u64>,
    limits: HashMap<String, u32>,
    carts: HashMap<Uuid, Cart>,
    done: HashSet<Uuid>,
}

impl Model {
    fn taken(&self, sku: &str, status: CartStatus) -> u64 {
        let carts = self.carts.values().filter(|cart| cart.status == status);
        carts.filter_map(|cart| cart.units.get(sku)).sum()
    }

    fn sellable(&self, sku: &str) -> u64 {
        self.received[sku] - self.taken(sku, CartStatus::Held) - self.taken(sku, CartStatus::Committed)
    }

    fn bought(&self, customer: &str, sku: &str) -> u64 {
        let counts = |cart: &&Cart| {
            cart.customer == customer && matches!(cart.status, CartStatus::Held | CartStatus::Committed)
        };
        self.carts
            .values()
            .filter(counts)
            .filter_map(|cart| cart.units.get(sku))
            .sum()
    }

    fn tick(&mut self, now_ms: i64) {
        for cart in self.carts.values_mut() {
            if cart.status == CartStatus::Held && cart.expires_at_ms <= now_ms {
                cart.status = CartStatus::Expired;
            }
        }
    }

    fn decide(&mut self, command: &Command, now_ms: i64) -> Outcome {
        match command {
            Command::Receive {
                id, sku, quantity, ..
            } => {
                if self.done.contains(id) {
                    return Outcome::Exists { expires_at_ms: None };
                }
                if *quantity == 0 {
                    return Outcome::Invalid {
                        reason: InvalidReason::ZeroQuantity,
                    };
                }
                self.done.insert(*id);
                *self.received.entry(sku.clone()).or_default() += u64::from(*quantity);
                Outcome::Received {
                    sku: sku.clone(),
                    quantity: *quantity,
                    location: String::new(),
                }
            }
            Command::SetPolicy {
                id,
                sku,
                limit_per_customer,
                ..
            } => {
                if self.done.contains(id) {
                    return Outcome::Exists { expires_at_ms: None };
                }
                self.done.insert(*id);
                self.received.entry(sku.clone()).or_default();
                match limit_per_customer {
                    Change::Set(limit) => drop(self.limits.insert(sku.clone(), *limit)),
                    Change::Clear => drop(self.limits.remove(sku)),
                    Change::Keep => {}
                }
                Outcome::PolicySet {
                    sku: sku.clone(),
                    limit_per_customer: self.limits.get(sku).copied(),
                    low_stock: None,
                    location: String::new(),
                    safety: 0,
                    backorder_cap: 0,
                }
            }
            Command::Reserve {
                reservation,
                customer,
                lines,
                ttl_ms,
                ..
            } => self.reserve(*reservation, customer, lines, *ttl_ms, now_ms),
            Command::Extend {
                id,
                reservation,
                ttl_ms,
            } => {
                if let Some(refusal) = self.not_live(*reservation) {
                    return refusal;
                }
                let done = self.done.contains(id);
                let cart = self.carts.get_mut(reservation).unwrap();
                if done {
                    return Outcome::Exists {
                        expires_at_ms: Some(cart.expires_at_ms),
                    };
                }
                if *ttl_ms == 0 {
                    return Outcome::Invalid {
                        reason: InvalidReason::TtlTooShort,
                    };
                }
                if *ttl_ms > HOLD_TTL_MAX_MS {
                    return Outcome::Invalid {
                        reason: InvalidReason::TtlTooLong,
                    };
                }
                self.done.insert(*id);
                let wanted = up_to_tick(now_ms + i64::from(*ttl_ms));
                let latest = up_to_tick(cart.created_at_ms + HOLD_TOTAL_MAX_MS);
                cart.expires_at_ms = cart.expires_at_ms.max(wanted.min(latest));
                Outcome::Extended {
                    expires_at_ms: cart.expires_at_ms,
                }
            }
            Command::Commit { reservation, .. } => {
                self.finish(*reservation, CartStatus::Committed, Outcome::Committed)
            }
            Command::Release { reservation, .. } => {
                self.finish(*reservation, CartStatus::Released, Outcome::Released)
            }
            _ => Outcome::Invalid {
                reason: InvalidReason::Malformed,
            },
        }
    }

    fn finish(&mut self, reservation: Uuid, status: CartStatus, outcome: Outcome) -> Outcome {
        if let Some(refusal) = self.not_live(reservation) {
            return refusal;
        }
        self.carts.get_mut(&reservation).unwrap().status = status;
        outcome
    }

    fn not_live(&self, reservation: Uuid) -> Option<Outcome> {
        Some(match self.carts.get(&reservation).map(|cart| cart.status) {
            None => Outcome::UnknownReservation,
            Some(CartStatus::Held) => return None,
            Some(CartStatus::Committed) => Outcome::AlreadyCommitted,
            Some(CartStatus::Released) => Outcome::AlreadyReleased,
            Some(CartStatus::Expired) => Outcome::Expired,
            Some(CartStatus::Refused(reason)) => Outcome::AlreadyFailed { reason },
        })
    }

    fn reserve(
        &mut self,
        reservation: Uuid,
        customer: &str,
        lines: &[Line],
        ttl_ms: u32,
        now_ms: i64,
    ) -> Outcome {
        let mut units = BTreeMap::new();
        let mut order: Vec<String> = Vec::new();
        for line in lines {
            *units.entry(line.sku.clone()).or_insert(0) += u64::from(line.quantity);
            if !order.contains(&line.sku) {
                order.push(line.sku.clone());
            }
        }
        if let Some(cart) = self.carts.get(&reservation) {
            return match self.not_live(reservation) {
                Some(refusal) => refusal,
                None if cart.customer != customer => Outcome::ExistsDifferent {
                    field: Field::Customer,
                },
                None if cart.units != units || lines.len() > LINES_MAX => {
                    Outcome::ExistsDifferent { field: Field::Lines }
                }
                None if cart.ttl_ms != ttl_ms => Outcome::ExistsDifferent { field: Field::TtlMs },
                None => Outcome::Exists {
                    expires_at_ms: Some(cart.expires_at_ms),
                },
            };
        }
        let refusal = self.refusal(customer, lines, ttl_ms, &units, &order);
        let expires_at_ms = up_to_tick(now_ms + i64::from(ttl_ms));
        let status = match &refusal {
            None => CartStatus::Held,
            Some(Outcome::SoldOut { .. }) => CartStatus::Refused(FailureReason::SoldOut),
            Some(Outcome::CustomerLimit { .. }) => CartStatus::Refused(FailureReason::CustomerLimit),
            Some(Outcome::UnknownSku { .. }) => CartStatus::Refused(FailureReason::UnknownSku),
            Some(_) => CartStatus::Refused(FailureReason::Invalid),
        };
        let merged = order
            .iter()
            .map(|sku| Line {
                sku: sku.clone(),
                quantity: units[sku] as u32,
                location: String::new(),
            })
            .collect();
        let customer = customer.to_owned();
        let cart = Cart {
            customer: customer.clone(),
            units,
            ttl_ms,
            created_at_ms: now_ms,
            expires_at_ms,
            status,
        };
        self.carts.insert(reservation, cart);
        refusal.unwrap_or(Outcome::Reserved {
            customer,
            lines: merged,
            ttl_ms,
            expires_at_ms,
            cart: None,
        })
    }

    fn refusal(
        &self,
        customer: &str,
        lines: &[Line],
        ttl_ms: u32,
        units: &BTreeMap<String, u64>,
        order: &[String],
    ) -> Option<Outcome> {
        let invalid = |reason| Some(Outcome::Invalid { reason });
        if customer.is_empty() {
            return invalid(InvalidReason::CustomerLength);
        }
        if lines.is_empty() {
            return invalid(InvalidReason::EmptyCart);
        }
        if lines.len() > LINES_MAX {
            return invalid(InvalidReason::TooManyLines);
        }
        if lines.iter().any(|line| line.quantity == 0) {
            return invalid(InvalidReason::ZeroQuantity);
        }
        if ttl_ms == 0 {
            return invalid(InvalidReason::TtlTooShort);
        }
        if ttl_ms > HOLD_TTL_MAX_MS {
            return invalid(InvalidReason::TtlTooLong);
        }
        if units.values().any(|sum| *sum > u64::from(u32::MAX)) {
            return invalid(InvalidReason::QuantityOverflow);
        }
        order.iter().find_map(|sku| {
            if !self.received.contains_key(sku) {
                return Some(Outcome::UnknownSku { sku: sku.clone() });
            }
            let available = self.sellable(sku);
            if units[sku] > available {
                return Some(Outcome::SoldOut {
                    sku: sku.clone(),
                    available,
                });
            }
            let limit = *self.limits.get(sku)?;
            let remaining = u64::from(limit).saturating_sub(self.bought(customer, sku));
            (units[sku] > remaining).then(|| Outcome::CustomerLimit {
                sku: sku.clone(),
                remaining: remaining as u32,
            })
        })
    }
}

fn up_to_tick(instant_ms: i64) -> i64 {
    if instant_ms % 10 == 0 {
        instant_ms
    } else {
        instant_ms / 10 * 10 + 10
    }
}

fn ids(count: u128) -> impl Strategy<Value = Uuid> {
    (1..=count).prop_map(Uuid::from_u128)
}

fn skus() -> impl Strategy<Value = String> {
    prop::sample::select(&SKUS[..]).prop_map(str::to_owned)
}

fn carts() -> impl Strategy<Value = Vec<Line>> {
    let quantity = prop_oneof![8 => 1..4u32, 1 => Just(0), 1 => Just(u32::MAX)];
    let line = (skus(), quantity).prop_map(|(sku, quantity)| Line {
        sku,
        quantity,
        location: String::new(),
    });
    prop_oneof![
        20 => prop::collection::vec(line, 0..4),
        1 => Just(vec![Line { sku: "tv".into(), quantity: 1, location: String::new() }; LINES_MAX]),
        1 => Just(vec![Line { sku: "tv".into(), quantity: 1, location: String::new() }; LINES_MAX + 1]),
    ]
}

fn ttls() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => prop::sample::select(vec![1, 10, 15, 50]),
        1 => Just(0),
        1 => Just(HOLD_TTL_MAX_MS),
        1 => Just(HOLD_TTL_MAX_MS + 1),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    let quantity = prop_oneof![8 => 1..6u32, 1 => Just(0), 1 => Just(200)];
    prop_oneof![
        2 => (ids(6), skus(), quantity)
            .prop_map(|(id, sku, quantity)| Command::Receive { id, sku, quantity, location: String::new() }),
        1 => (ids(6), skus(), prop::option::of(0..4u32)).prop_map(|(id, sku, limit_per_customer)| {
            Command::limit(id, sku, limit_per_customer)
        }),
        8 => (ids(9), prop::sample::select(&CUSTOMERS[..]), carts(), ttls()).prop_map(
            |(reservation, customer, lines, ttl_ms)| Command::Reserve {
                id: reservation,
                reservation,
                customer: customer.to_owned(),
                lines,
                ttl_ms, policy: CartPolicy::All, split: None }
        ),
        2 => (ids(12), ids(9), ttls())
            .prop_map(|(id, reservation, ttl_ms)| Command::Extend { id, reservation, ttl_ms }),
        2 => (ids(99), ids(9)).prop_map(|(id, reservation)| Command::Commit { id, reservation, lines: Vec::new() }),
        2 => (ids(99), ids(9)).prop_map(|(id, reservation)| Command::Release { id, reservation }),
    ]
}

/// Applies what is due and then one command, as a shard does.
fn step(state: &mut State, log: &mut Vec<Event>, command: Command, now_ms: i64) -> Outcome {
    for event in state.due(now_ms, usize::MAX) {
        state.apply(&event).unwrap();
        log.push(event);
    }
    let event = decide(state, command, now_ms);
    state.apply(&event).unwrap();
    log.push(event.clone());
    event.outcome
}

fn assert_same_stock(state: &State, model: &Model) {
    for sku in SKUS {
        let want = model.received.get(sku).map(|received| StockView {
            received: *received,
            reserved: model.taken(sku, CartStatus::Held),
            allocated: model.taken(sku, CartStatus::Committed),
            sellable: model.sellable(sku),
            limit_per_customer: model.limits.get(sku).copied(),
        });
        assert_eq!(state.stock(sku), want, "{sku}");
    }
    let held = model
        .carts
        .values()
        .filter(|cart| cart.status == CartStatus::Held)
        .count();
    assert_eq!(state.live_holds(), held);
}

fn replayed(log: &[Event]) -> State {
    let mut state = State::default();
    for event in log {
        let mut value = Vec::new();
        event.write_compact(&mut value);
        state.apply(&Event::decode(&value).unwrap()).unwrap();
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_engine_is_the_model(
        steps in prop::collection::vec((commands(), prop_oneof![4 => 0..12i64, 1 => 0..200i64]), 1..60),
        cut in 0..60usize,
    ) {
        let (mut state, mut model, mut log) = (State::default(), Model::default(), Vec::new());
        let mut audit = Audit::new();
        let mut now_ms = 1_000;
        for (command, wait_ms) in steps {
            now_ms += wait_ms;
            model.tick(now_ms);
            let want = model.decide(&command, now_ms);
            prop_assert_eq!(step(&mut state, &mut log, command, now_ms), want);
            assert_same_stock(&state, &model);
        }
        prop_assert_eq!(replayed(&log).hash(), state.hash());
        for event in &log {
            audit.event(event);
        }
        let report = audit.report();
        prop_assert!(report.is_clean(), "{:?}", report);
        for (sku, count) in &report.articles {
            let stock = state.stock(sku).unwrap();
            prop_assert_eq!((count.received, count.held, count.committed), (stock.received, stock.reserved, stock.allocated));
        }

        let cut = cut.min(log.len());
        let dir = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(dir.path(), 0);
        let before = replayed(&log[..cut]);
        Snapshot::save(&file, [7; 16], crate::log::Offset(cut as u64), &before).unwrap();
        let mut loaded = Snapshot::load(file.path(), &Limits::default()).unwrap().unwrap();
        prop_assert_eq!((loaded.identity, loaded.position.0 as usize), ([7; 16], cut));
        prop_assert_eq!(loaded.state.hash(), before.hash());
        for event in &log[cut..] {
            loaded.state.apply(event).unwrap();
        }
        prop_assert_eq!(loaded.state.hash(), state.hash());
    }

    #[test]
    fn every_change_changes_the_hash(
        steps in prop::collection::vec(commands(), 1..40),
    ) {
        let (mut state, mut log) = (State::default(), Vec::new());
        for command in steps {
            let before = (state.hash(), log.len());
            step(&mut state, &mut log, command, 1_000);
            let changed = log[before.1..].iter().any(Event::changes_state);
            let refused_known = log[before.1..].iter().all(|event| matches!(event.outcome, Outcome::Invalid { .. }));
            if !refused_known && before.1 > 0 {
                prop_assert_eq!(changed, state.hash() != before.0, "{:?}", &log[before.1..]);
            }
        }
    }
}

fn reserve(n: u128, lines: &[(&str, u32)], ttl_ms: u32) -> Command {
    let lines = lines.iter().map(|(sku, quantity)| Line {
        sku: (*sku).into(),
        quantity: *quantity,
        location: String::new(),
    });
    let (id, customer) = (Uuid::from_u128(n), "ann".to_owned());
    Command::Reserve {
        id,
        reservation: id,
        customer,
        lines: lines.collect(),
        ttl_ms,
        policy: CartPolicy::All,
        split: None,
    }
}

fn receive(n: u128, sku: &str, quantity: u32) -> Command {
    Command::Receive {
        id: Uuid::from_u128(n),
        sku: sku.into(),
        quantity,
        location: String::new(),
    }
}

/// A state with the outcomes of `commands`, all at 1,000 ms.
fn after(limits: Limits, commands: Vec<Command>) -> (State, Vec<Outcome>) {
    let mut state = State::new(limits);
    let outcomes = commands
        .into_iter()
        .map(|command| step(&mut state, &mut Vec::new(), command, 1_000));
    let outcomes = outcomes.collect();
    (state, outcomes)
}

#[test]
fn a_refused_id_stays_refused_when_stock_arrives() {
    let (_, outcomes) = after(
        Limits::default(),
        vec![
            receive(1, "tv", 1),
            reserve(10, &[("tv", 2)], 50),
            receive(2, "tv", 9),
            reserve(10, &[("tv", 2)], 50),
            reserve(11, &[("tv", 2)], 50),
        ],
    );
    assert_eq!(
        outcomes[1],
        Outcome::SoldOut {
            sku: "tv".into(),
            available: 1
        }
    );
    assert_eq!(
        outcomes[3],
        Outcome::AlreadyFailed {
            reason: FailureReason::SoldOut
        }
    );
    assert!(matches!(outcomes[4], Outcome::Reserved { .. }));
}

#[test]
fn the_same_article_on_two_lines_counts_against_the_same_stock() {
    let (state, outcomes) = after(
        Limits::default(),
        vec![
            receive(1, "tv", 3),
            reserve(10, &[("tv", 2), ("tv", 2)], 50),
            reserve(11, &[("tv", 1), ("tv", 2)], 50),
            reserve(11, &[("tv", 3)], 50),
        ],
    );
    assert_eq!(
        outcomes[1],
        Outcome::SoldOut {
            sku: "tv".into(),
            available: 3
        }
    );
    assert!(matches!(outcomes[2], Outcome::Reserved { .. }));
    assert_eq!(
        outcomes[3],
        Outcome::Exists {
            expires_at_ms: Some(1_050)
        }
    );
    assert_eq!(state.stock("tv").unwrap().sellable, 0);
}

#[test]
fn stock_returns_at_the_tick_and_a_due_hold_is_over_before_its_expiry_is_logged() {
    let (mut state, _) = after(
        Limits::default(),
        vec![receive(1, "tv", 1), reserve(10, &[("tv", 1)], 15)],
    );
    let hold = Uuid::from_u128(10);
    let commit = Command::Commit {
        id: hold,
        reservation: hold,
        lines: Vec::new(),
    };
    assert_eq!(state.due(1_019, 9), vec![]);
    assert_eq!(decide(&state, commit.clone(), 1_019).outcome, Outcome::Committed);
    for late in [
        commit,
        Command::Release {
            id: hold,
            reservation: hold,
        },
        reserve(10, &[("tv", 1)], 15),
    ] {
        assert_eq!(decide(&state, late, 1_020).outcome, Outcome::Expired);
    }
    assert_eq!(
        decide(&state, reserve(11, &[("tv", 1)], 15), 1_020).outcome,
        Outcome::SoldOut {
            sku: "tv".into(),
            available: 0
        }
    );
    let due = state.due(1_020, 9);
    assert_eq!(due.len(), 1);
    state.apply(&due[0]).unwrap();
    assert_eq!(state.stock("tv").unwrap().sellable, 1);
    assert_eq!(state.reservation(hold), Some(ReservationView::Expired));
}

#[test]
fn an_extension_ends_at_the_total_maximum() {
    let (mut state, _) = after(
        Limits::default(),
        vec![receive(1, "tv", 1), reserve(10, &[("tv", 1)], HOLD_TTL_MAX_MS)],
    );
    let outcomes = (1..=4u32).map(|n| {
        let (id, reservation) = (Uuid::from_u128(100 + u128::from(n)), Uuid::from_u128(10));
        let now_ms = 1_000 + i64::from(n) * 23 * 3_600_000;
        let event = decide(
            &state,
            Command::Extend {
                id,
                reservation,
                ttl_ms: HOLD_TTL_MAX_MS,
            },
            now_ms,
        );
        state.apply(&event).unwrap();
        event.outcome
    });
    let extended_to = |hours: i64| Outcome::Extended {
        expires_at_ms: 1_000 + hours * 3_600_000,
    };
    let expected = [
        extended_to(47),
        extended_to(70),
        extended_to(72),
        Outcome::Expired,
    ];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
}

#[test]
fn full_tables_throttle_and_forget_nothing() {
    let limits = Limits {
        live_holds: 1,
        articles: 1,
        ..Limits::default()
    };
    let throttled = Outcome::Throttled {
        retry_after_ms: THROTTLE_RETRY_MS,
    };
    let (mut state, outcomes) = after(
        limits,
        vec![
            receive(1, "tv", 5),
            receive(2, "phone", 5),
            Command::SetPolicy {
                id: Uuid::from_u128(3),
                sku: "phone".into(),
                limit_per_customer: Change::Clear,
                low_stock: Change::Keep,
                location: String::new(),
                safety: None,
                backorder_cap: None,
            },
            reserve(10, &[("tv", 1)], 50),
            reserve(11, &[("tv", 1)], 50),
            reserve(10, &[("tv", 1)], 50),
        ],
    );
    assert_eq!(outcomes[1..3], [throttled.clone(), throttled.clone()]);
    assert_eq!(
        outcomes[4..],
        [
            throttled,
            Outcome::Exists {
                expires_at_ms: Some(1_050)
            }
        ]
    );
    let outcome = step(&mut state, &mut Vec::new(), reserve(11, &[("tv", 1)], 50), 1_050);
    assert!(
        matches!(outcome, Outcome::Reserved { .. }),
        "a throttled id is not refused for good"
    );
}

#[test]
fn a_full_table_of_totals_throttles_limited_articles_only() {
    let policy = Command::SetPolicy {
        id: Uuid::from_u128(3),
        sku: "tv".into(),
        limit_per_customer: Change::Set(9),
        low_stock: Change::Keep,
        location: String::new(),
        safety: None,
        backorder_cap: None,
    };
    let limits = Limits {
        customer_totals: LINES_MAX,
        ..Limits::default()
    };
    let (_, outcomes) = after(
        limits,
        vec![
            receive(1, "tv", 5),
            receive(2, "phone", 5),
            policy,
            reserve(10, &[("phone", 1)], 50),
            reserve(11, &[("tv", 1)], 50),
            reserve(12, &[("phone", 1)], 50),
        ],
    );
    assert!(matches!(outcomes[3], Outcome::Reserved { .. }));
    assert_eq!(
        outcomes[4],
        Outcome::Throttled {
            retry_after_ms: THROTTLE_RETRY_MS
        }
    );
    assert!(matches!(outcomes[5], Outcome::Reserved { .. }));
}

#[test]
fn the_window_forgets_the_oldest_ended_ids() {
    let limits = Limits {
        remembered: 2,
        commands_remembered: 1,
        ..Limits::default()
    };
    let (_, outcomes) = after(
        limits,
        vec![
            receive(1, "tv", 1),
            receive(2, "tv", 1),
            receive(1, "tv", 1),
            receive(1, "tv", 1),
            reserve(10, &[("tv", 9)], 50),
            reserve(11, &[("tv", 9)], 50),
            reserve(12, &[("tv", 9)], 50),
            reserve(12, &[("tv", 9)], 50),
            reserve(10, &[("tv", 1)], 50),
        ],
    );
    assert_eq!(
        outcomes[2],
        Outcome::Received {
            sku: "tv".into(),
            quantity: 1,
            location: String::new()
        },
        "id 1 was forgotten"
    );
    assert_eq!(outcomes[3], Outcome::Exists { expires_at_ms: None });
    assert_eq!(
        outcomes[7],
        Outcome::AlreadyFailed {
            reason: FailureReason::SoldOut
        }
    );
    assert!(
        matches!(outcomes[8], Outcome::Reserved { .. }),
        "id 10 was forgotten"
    );
}

#[test]
fn events_that_cannot_follow_are_told() {
    let (mut state, _) = after(
        Limits::default(),
        vec![receive(1, "tv", 1), reserve(10, &[("tv", 1)], 50)],
    );
    let hold = Uuid::from_u128(10);
    let event = |outcome, reservation| Event {
        outcome,
        command: hold,
        reservation,
        command_offset: None,
        at_ms: 1_000,
    };
    let reserved = |sku: &str, quantity| Outcome::Reserved {
        customer: "ann".into(),
        lines: vec![Line {
            sku: sku.into(),
            quantity,
            location: String::new(),
        }],
        ttl_ms: 50,
        expires_at_ms: 1_050,
        cart: None,
    };
    let other = Uuid::from_u128(11);
    for (event, misfit) in [
        (
            event(Outcome::Committed, None),
            Misfit::NoReservation { command: hold },
        ),
        (
            event(Outcome::Committed, Some(other)),
            Misfit::NotHeld { reservation: other },
        ),
        (
            event(reserved("tv", 1), Some(hold)),
            Misfit::Known { reservation: hold },
        ),
        (
            event(reserved("car", 1), Some(other)),
            Misfit::UnknownArticle {
                reservation: other,
                sku: "car".into(),
            },
        ),
        (
            event(reserved("tv", 1), Some(other)),
            Misfit::Oversold {
                reservation: other,
                sku: "tv".into(),
                quantity: 1,
                sellable: 0,
            },
        ),
    ] {
        assert_eq!(state.apply(&event), Err(misfit));
    }
}
