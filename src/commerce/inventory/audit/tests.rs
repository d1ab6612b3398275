//! The audit finds what is planted, and nothing else.

use std::collections::BTreeMap;

use super::*;
use crate::commerce::inventory::Outcome;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// An event for the command with number `offset` at that offset.
fn event(offset: u64, reservation: Option<u128>, outcome: Outcome) -> Event {
    Event {
        outcome,
        command: id(u128::from(offset)),
        reservation: reservation.map(id),
        command_offset: Some(offset),
        at_ms: 1_000,
    }
}

fn received(quantity: u32) -> Outcome {
    Outcome::Received {
        sku: "tv".into(),
        quantity,
        location: String::new(),
    }
}

fn reserved(quantity: u32) -> Outcome {
    let lines = vec![Line::new("tv", quantity)];
    Outcome::Reserved {
        customer: "c".into(),
        lines,
        ttl_ms: 10,
        expires_at_ms: 1_010,
        cart: None,
    }
}

fn audit(events: &[Event], commands: u64) -> AuditReport {
    let mut audit = Audit::new();
    for offset in 0..commands {
        let answer = events.iter().find(|event| event.command_offset == Some(offset));
        audit.command(offset, Some(&command(offset, answer)));
    }
    for event in events {
        audit.event(event);
    }
    audit.report()
}

/// The command with number `offset` that asks for what `answer` grants.
fn command(offset: u64, answer: Option<&Event>) -> Command {
    let id = id(u128::from(offset));
    let reservation = answer.and_then(|event| event.reservation).unwrap_or(id);
    match answer.map(|event| event.outcome.clone()) {
        Some(Outcome::Received { sku, quantity, .. }) => Command::Receive {
            id,
            sku,
            quantity,
            location: String::new(),
        },
        Some(Outcome::PolicySet {
            sku,
            limit_per_customer,
            ..
        }) => Command::limit(id, sku, limit_per_customer),
        Some(Outcome::Reserved {
            customer,
            lines,
            ttl_ms,
            ..
        }) => Command::Reserve {
            id,
            reservation,
            customer,
            lines,
            ttl_ms,
            policy: CartPolicy::All,
            split: None,
        },
        Some(Outcome::Released) => Command::Release { id, reservation },
        Some(Outcome::Extended { .. }) => Command::Extend {
            id,
            reservation,
            ttl_ms: 10,
        },
        _ => Command::Commit {
            id,
            reservation,
            lines: Vec::new(),
        },
    }
}

#[test]
fn a_good_log_is_clean_and_every_unit_is_counted() {
    let events = [
        event(0, None, received(5)),
        event(1, Some(1), reserved(2)),
        event(2, Some(2), reserved(3)),
        event(
            3,
            Some(3),
            Outcome::SoldOut {
                sku: "tv".into(),
                available: 0,
            },
        ),
        event(4, Some(1), Outcome::Committed),
        event(5, Some(2), Outcome::Released),
        event(6, Some(4), reserved(1)),
        Event {
            command_offset: None,
            command: id(0),
            at_ms: 1_010,
            ..event(6, Some(4), Outcome::ReservationExpired)
        },
        Event {
            at_ms: 1_010,
            ..event(7, Some(5), reserved(2))
        },
    ];
    let report = audit(&events, 8);
    assert!(report.is_clean(), "{report:?}");
    let count = ArticleCount {
        received: 5,
        reserved: 8,
        committed: 2,
        released: 3,
        expired: 1,
        held: 2,
        on_hand: 5,
        ..ArticleCount::default()
    };
    assert_eq!(report.articles, BTreeMap::from([("tv".to_owned(), count)]));
    assert_eq!((report.commands, report.events), (8, 9));
}

#[test]
fn finds_a_planted_oversell_even_if_it_heals() {
    let events = [
        event(0, None, received(5)),
        event(1, Some(1), reserved(3)),
        event(2, Some(2), reserved(4)),
        event(3, Some(2), Outcome::Released),
    ];
    let report = audit(&events, 4);
    assert_eq!((report.oversold, report.is_clean()), (2, false));
    assert_eq!((report.lost, report.duplicated, report.unmatched), (0, 0, 0));
}

#[test]
fn finds_a_planted_loss() {
    let report = audit(&[event(0, None, received(5)), event(2, Some(1), reserved(1))], 3);
    assert_eq!((report.lost, report.is_clean()), (1, false));
    assert_eq!((report.oversold, report.duplicated, report.unmatched), (0, 0, 0));
}

#[test]
fn finds_a_planted_duplicate() {
    let twice_answered = [
        event(0, None, received(5)),
        event(1, Some(1), reserved(1)),
        event(1, Some(1), Outcome::Exists { expires_at_ms: None }),
    ];
    assert_eq!(audit(&twice_answered, 2).duplicated, 1);
    let twice_taken = [
        event(0, None, received(5)),
        event(1, Some(1), reserved(1)),
        event(2, Some(1), reserved(1)),
    ];
    let report = audit(&twice_taken, 3);
    assert_eq!((report.duplicated, report.is_clean()), (1, false));
    assert_eq!(report.articles["tv"].held, 2);
}

#[test]
fn finds_a_double_release_a_stray_answer_and_an_answer_to_somebody_else() {
    let events = [
        event(0, None, received(5)),
        event(1, Some(1), reserved(1)),
        event(2, Some(1), Outcome::Released),
        event(3, Some(1), Outcome::Released),
        event(9, Some(9), Outcome::UnknownReservation),
        Event {
            command: id(77),
            ..event(10, Some(9), Outcome::UnknownReservation)
        },
    ];
    let mut audit = Audit::new();
    for offset in [0, 1, 2, 3, 10] {
        let answer = events.iter().find(|event| event.command_offset == Some(offset));
        audit.command(offset, Some(&command(offset, answer)));
    }
    for event in &events {
        audit.event(event);
    }
    let report = audit.report();
    assert_eq!((report.unmatched, report.lost), (3, 0));
}

#[test]
fn finds_time_that_falls_and_holds_that_never_end() {
    let late = |offset, at_ms, outcome| Event {
        at_ms,
        ..event(offset, None, outcome)
    };
    let events = [
        late(0, 1_000, received(5)),
        event(1, Some(1), reserved(1)),
        late(3, 2_011, received(1)),
        late(2, 2_011, received(1)),
        late(4, 2_010, received(1)),
    ];
    let report = audit(&events, 5);
    assert_eq!((report.out_of_order, report.overdue), (2, 1));
}

#[test]
fn records_that_are_no_commands_need_no_outcome() {
    let mut audit = Audit::new();
    audit.command(0, None);
    assert!(audit.report().is_clean());
}

/// What the audit says about `answers` to `asked`, which follow on 5 units.
fn found(asked: &[Command], answers: Vec<(u64, Option<u128>, i64, Outcome)>) -> AuditReport {
    let mut audit = Audit::new();
    audit.command(0, Some(&command(0, Some(&event(0, None, received(5))))));
    audit.event(&event(0, None, received(5)));
    for (offset, command) in (1..).zip(asked) {
        audit.command(offset, Some(command));
    }
    for (offset, reservation, at_ms, outcome) in answers {
        audit.event(&Event {
            at_ms,
            ..event(offset, reservation, outcome)
        });
    }
    audit.report()
}

fn asks(offset: u64, reservation: u128, outcome: Outcome) -> Command {
    command(offset, Some(&event(offset, Some(reservation), outcome)))
}

#[test]
fn finds_a_grant_of_something_else_than_was_asked_for() {
    let unmatched = |asked: Command, answer: Outcome| {
        let reservation = asked.reservation().map(|id| id.as_u128());
        found(&[asked], vec![(1, reservation, 1_000, answer)]).unmatched
    };
    assert_eq!(unmatched(asks(1, 1, reserved(2)), reserved(2)), 0);
    assert_eq!(unmatched(asks(1, 1, reserved(2)), reserved(1)), 1);
    assert_eq!(
        unmatched(asks(1, 1, reserved(2)), Outcome::Throttled { retry_after_ms: 1 }),
        0
    );
    let line = || Line::new("tv", 1);
    let split = Command::reserve(id(1), "c", vec![line(), line()], 10);
    assert_eq!(unmatched(split.clone(), reserved(2)), 0, "two lines count as one");
    assert_eq!(unmatched(split, reserved(1)), 1);
    let more = command(1, Some(&event(1, None, received(7))));
    assert_eq!(unmatched(more.clone(), received(7)), 0);
    assert_eq!(unmatched(more, received(8)), 1, "units out of thin air");
    let held = |outcome| {
        let asked = [asks(1, 1, reserved(1)), asks(2, 1, Outcome::Released)];
        found(
            &asked,
            vec![(1, Some(1), 1_000, reserved(1)), (2, Some(1), 1_000, outcome)],
        )
        .unmatched
    };
    assert_eq!((held(Outcome::Released), held(Outcome::Committed)), (0, 1));
    let asked = [asks(1, 1, Outcome::Committed)];
    assert_eq!(
        found(&asked, vec![(1, Some(2), 1_000, Outcome::UnknownReservation)]).unmatched,
        1
    );
}

#[test]
fn finds_a_hold_that_is_given_back_or_extended_after_its_time_or_ends_before_it() {
    let unmatched = |at_ms, outcome: Outcome| {
        let asked = [asks(1, 1, reserved(1)), asks(2, 1, outcome.clone())];
        let answers = vec![(1, Some(1), 1_000, reserved(1)), (2, Some(1), at_ms, outcome)];
        found(&asked, answers).unmatched
    };
    let extended = || Outcome::Extended { expires_at_ms: 2_000 };
    for outcome in [Outcome::Released, extended()] {
        assert_eq!(unmatched(1_009, outcome.clone()), 0, "{outcome:?}");
        assert_eq!(unmatched(1_010, outcome.clone()), 1, "{outcome:?}");
    }
    let expired = |at_ms| {
        let mut audit = Audit::new();
        audit.event(&event(0, None, received(5)));
        audit.event(&event(1, Some(1), reserved(1)));
        audit.event(&Event {
            at_ms,
            command_offset: None,
            ..event(2, Some(1), Outcome::ReservationExpired)
        });
        // Both answers are to commands that were not fed.
        audit.report().unmatched - 2
    };
    assert_eq!((expired(1_009), expired(1_010)), (1, 0));
}

#[test]
fn a_late_sale_is_a_fault_only_if_the_units_were_gone() {
    let expiry = Event {
        at_ms: 1_010,
        command_offset: None,
        ..event(2, Some(1), Outcome::ReservationExpired)
    };
    let late = |offset, reservation, outcome| Event {
        at_ms: 1_010,
        ..event(offset, Some(reservation), outcome)
    };
    let until_expiry = [
        event(0, None, received(5)),
        event(1, Some(1), reserved(3)),
        expiry,
    ];
    let commit = late(3, 1, Outcome::Committed);
    let sold = |other: &[Event]| {
        let events = [&until_expiry[..], other, std::slice::from_ref(&commit)].concat();
        let mut audit = Audit::new();
        for event in &events {
            audit.event(event);
        }
        let report = audit.report();
        (report.oversold, report.articles["tv"].committed)
    };
    assert_eq!(sold(&[]), (0, 3));
    assert_eq!(sold(&[late(4, 2, reserved(2))]), (0, 3));
    assert_eq!(sold(&[late(4, 2, reserved(4))]), (2, 3));
}

#[test]
fn finds_a_command_that_takes_effect_twice() {
    let twice = |outcome: Outcome, reservation| {
        let again = Event {
            command: id(2),
            ..event(3, reservation, outcome.clone())
        };
        let events = [
            event(0, None, received(5)),
            event(1, Some(1), reserved(1)),
            event(2, reservation, outcome),
            again,
        ];
        audit(&events, 0).duplicated
    };
    assert_eq!(twice(received(1), None), 1);
    assert_eq!(twice(Outcome::Extended { expires_at_ms: 2_000 }, Some(1)), 1);
    assert_eq!(twice(Outcome::Exists { expires_at_ms: None }, None), 0);
}

#[test]
fn finds_units_beyond_the_limit_of_a_customer() {
    let limit = |limit| Outcome::PolicySet {
        sku: "tv".into(),
        limit_per_customer: Some(limit),
        low_stock: None,
        location: String::new(),
        safety: 0,
        backorder_cap: 0,
    };
    let over = |events: &[Event]| {
        let report = audit(events, events.len() as u64);
        assert_eq!(report.is_clean(), report.over_limit == 0, "{report:?}");
        report.over_limit
    };
    let start = [event(0, None, received(9)), event(1, None, limit(2))];
    let then = |more: &[Event]| over(&[&start[..], more].concat());
    assert_eq!(then(&[event(2, Some(1), reserved(2))]), 0);
    assert_eq!(then(&[event(2, Some(1), reserved(3))]), 1);
    let first = event(2, Some(1), reserved(2));
    let ended = |outcome| event(3, Some(1), outcome);
    let second = event(4, Some(2), reserved(2));
    let after = |outcome| then(&[first.clone(), ended(outcome), second.clone()]);
    assert_eq!((after(Outcome::Committed), after(Outcome::Released)), (2, 0));
    let lowered = [
        event(0, None, received(9)),
        event(1, Some(1), reserved(5)),
        event(2, None, limit(2)),
    ];
    assert_eq!(over(&lowered), 0);
    assert_eq!(
        over(&[&lowered[..], &[event(3, Some(2), reserved(1))]].concat()),
        1
    );
}

#[test]
fn finds_a_refusal_though_there_was_stock() {
    let sold_out = |available| Outcome::SoldOut {
        sku: "tv".into(),
        available,
    };
    let unmatched = |outcome: Outcome| {
        let asked = [asks(1, 1, reserved(3)), asks(2, 2, reserved(3))];
        found(
            &asked,
            vec![(1, Some(1), 1_000, reserved(3)), (2, Some(2), 1_000, outcome)],
        )
        .unmatched
    };
    assert_eq!((unmatched(sold_out(2)), unmatched(sold_out(0))), (0, 1));
    let unknown = |sku: &str| Outcome::UnknownSku { sku: sku.into() };
    assert_eq!((unmatched(unknown("ps5")), unmatched(unknown("tv"))), (0, 1));
}
