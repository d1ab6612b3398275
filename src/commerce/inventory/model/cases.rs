//! The engine in single cases, whole outcomes compared.

use uuid::Uuid;

use super::super::*;
use super::properties::step;

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
    assert_eq!(
        decide(&state, commit, 1_020).outcome,
        Outcome::Committed,
        "its units are still there"
    );
    for late in [
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
