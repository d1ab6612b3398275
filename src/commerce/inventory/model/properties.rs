//! What must hold after any commands at all.

use std::collections::HashSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::generate::{SKUS, commands};
use super::{CartStatus, Model};
use crate::commerce::inventory::snapshot::Snapshot;
use crate::commerce::inventory::snapshot_file::SnapshotFile;
use crate::commerce::inventory::*;

/// Applies an event and what follows from it, as a shard does; returns what followed.
fn advance(state: &mut State, log: &mut Vec<Event>, event: Event) -> Vec<Event> {
    let now_ms = event.at_ms;
    state.apply(&event).unwrap();
    log.push(event);
    let mut followed = Vec::new();
    while let Some(event) = state.follow_up(now_ms) {
        state.apply(&event).unwrap();
        log.push(event.clone());
        followed.push(event);
    }
    followed
}

/// Applies what is due and then one command, as a shard does.
pub(super) fn step(state: &mut State, log: &mut Vec<Event>, command: Command, now_ms: i64) -> Outcome {
    for event in state.due(now_ms, usize::MAX) {
        advance(state, log, event);
    }
    let event = decide(state, command, now_ms);
    let outcome = event.outcome.clone();
    advance(state, log, event);
    outcome
}

/// The same follow-ups, in whatever order of the articles.
fn assert_same_follow_ups(followed: &[Event], model: &Model) {
    let text = |(outcome, reservation): (&Outcome, &Option<Uuid>)| format!("{outcome:?} {reservation:?}");
    let mut got: Vec<String> = followed
        .iter()
        .map(|event| text((&event.outcome, &event.reservation)))
        .collect();
    let mut want: Vec<String> = model
        .follow_ups
        .iter()
        .map(|(outcome, reservation)| text((outcome, reservation)))
        .collect();
    got.sort();
    want.sort();
    assert_eq!(got, want);
}

fn assert_same(state: &State, model: &Model) {
    for sku in SKUS {
        let view = state.stock(sku);
        assert_eq!(view.is_some(), model.rules.contains_key(sku), "{sku}");
        let Some(view) = view else { continue };
        let rules = &model.rules[sku];
        assert_eq!(view.limit_per_customer, rules.limit_per_customer);
        assert_eq!(view.low_stock, rules.low_stock);
        assert_eq!(view.opens_at_ms, rules.window.map(|window| window.0));
        assert_eq!(view.closes_at_ms, rules.window.and_then(|window| window.1));
        assert_eq!(view.waiting as usize, rules.queue.len());
        assert_eq!(view.parts, rules.kit.clone().unwrap_or_default());
        if rules.kit.is_some() {
            continue;
        }
        let places: Vec<_> = model.places.iter().filter(|place| place.0 == sku).collect();
        let want: Vec<LocationStock> = places
            .iter()
            .map(|place| {
                let bin = &model.bins[*place];
                assert_eq!(
                    bin.received + bin.returned + bin.adjusted + bin.transferred,
                    bin.on_hand + bin.shipped
                );
                assert!(model.sellable(place) >= 0);
                LocationStock {
                    location: place.1.clone(),
                    on_hand: bin.on_hand as u64,
                    reserved: model.held(place) as u64,
                    allocated: bin.allocated as u64,
                    sellable: model.sellable(place) as u64,
                    safety: bin.safety as u32,
                    backorder_cap: bin.backorder_cap as u32,
                    incoming: bin.incoming as u64,
                    received: bin.received as u64,
                    returned: bin.returned as u64,
                    shipped: bin.shipped as u64,
                    adjusted: bin.adjusted,
                    transferred: bin.transferred,
                    version: bin.version,
                }
            })
            .collect();
        assert_eq!(view.locations, want, "{sku}");
        assert_eq!(
            view.sellable,
            want.iter().map(|place| place.sellable).sum::<u64>()
        );
    }
    let held = model
        .carts
        .values()
        .filter(|cart| cart.status == CartStatus::Held);
    assert_eq!(state.live_holds(), held.count());
}

/// The ledger of every article is balanced behind every event, and ends where the engine is.
fn assert_ledgers_balance(log: &[Event], state: &State) {
    for sku in SKUS {
        let mut ledger = Ledger::new(sku);
        for (offset, event) in (0..).zip(log) {
            let entries = ledger.take(crate::log::Offset(offset), event);
            assert!(ledger.is_balanced(), "{sku} after {event:?}: {entries:?}");
        }
        // A kit has no units; a policy may have been set before it was one.
        let Some(view) = state.stock(sku).filter(|view| view.parts.is_empty()) else {
            continue;
        };
        for (location, line, _) in ledger.places() {
            let known = view.locations.iter().find(|known| known.location == location);
            let known = known.unwrap();
            let want = LedgerLine {
                on_hand: known.on_hand as i64,
                reserved: known.reserved as i64,
                allocated: known.allocated as i64,
                safety: known.safety.into(),
                backorder_cap: known.backorder_cap.into(),
                incoming: known.incoming as i64,
                sellable: known.sellable as i64,
            };
            assert_eq!(*line, want, "{sku} at {location:?}");
        }
    }
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
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn the_engine_is_the_model(
        steps in prop::collection::vec((commands(), prop_oneof![4 => 0..12i64, 1 => 0..200i64]), 1..80),
        cut in 0..80usize,
    ) {
        let (mut state, mut model, mut log) = (State::default(), Model::default(), Vec::new());
        let mut audit = Audit::new();
        let mut now_ms = 1_000;
        for (offset, (command, wait_ms)) in (0..).zip(steps) {
            now_ms += wait_ms;
            let due = state.due(now_ms, usize::MAX);
            let ids: HashSet<Uuid> = due.iter().filter_map(|event| event.reservation).collect();
            prop_assert_eq!(ids, model.due(now_ms));
            for event in due {
                model.expire(event.reservation.unwrap(), now_ms);
                assert_same_follow_ups(&advance(&mut state, &mut log, event), &model);
            }
            audit.command(offset, Some(&command));
            let want = model.decide(&command, now_ms);
            let event = Event { command_offset: Some(offset), ..decide(&state, command, now_ms) };
            prop_assert_eq!(&event.outcome, &want);
            assert_same_follow_ups(&advance(&mut state, &mut log, event), &model);
            assert_same(&state, &model);
        }
        prop_assert_eq!(replayed(&log).hash(), state.hash());
        assert_ledgers_balance(&log, &state);
        for event in &log {
            audit.event(event);
        }
        let report = audit.report();
        prop_assert!(report.is_clean(), "{:?}", report);
        for (sku, count) in &report.articles {
            let stock = state.stock(sku).unwrap();
            prop_assert_eq!((count.on_hand, count.held), (stock.on_hand, stock.reserved));
            prop_assert_eq!(count.committed - count.shipped - count.cancelled, stock.allocated);
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
            // A refusal of a command about a known reservation says nothing new, and is not worth a look.
            let refused_known = log[before.1..].iter().all(|event| matches!(event.outcome, Outcome::Invalid { .. }));
            if !refused_known && before.1 > 0 {
                prop_assert_eq!(changed, state.hash() != before.0, "{:?}", &log[before.1..]);
            }
        }
    }
}
