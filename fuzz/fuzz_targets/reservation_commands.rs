//! Any commands, and any bytes as commands: the engine never panics, never sells a unit twice, and its state is
//! the fold of its events, as an audit that shares no code with it recounts.

#![no_main]

use bytes::Bytes;
use doorbuster::commerce::inventory::{
    Adjust, Audit, CancelAllocated, CartPolicy, Change, Command, Event, KitPart, Ledger, Limits, Line, Split, State, commands_in, decide,
};
use doorbuster::log::Offset;
use doorbuster::log::batch::BatchHeader;
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

/// Few names and ids, so that commands meet.
#[derive(Arbitrary, Debug)]
enum Step {
    Receive { id: u8, sku: u8, location: u8, quantity: u8 },
    Adjust { id: u8, sku: u8, location: u8, delta: i8, expected_on_hand: u8 },
    Transfer { id: u8, sku: u8, from: u8, to: u8, quantity: u8 },
    Ship { id: u8, sku: u8, location: u8, quantity: u8 },
    Cancel { id: u8, sku: u8, location: u8, quantity: u8, customer: Option<u8> },
    SetPolicy { id: u8, sku: u8, location: u8, limit: Option<u8>, low_stock: Option<u8>, safety: u8, backorder_cap: u8 },
    OpenSale { id: u8, sku: u8, opens_in: Option<i8>, closes_in: Option<u8> },
    DefineKit { id: u8, sku: u8, parts: Vec<(u8, u8)> },
    Reserve { id: u8, customer: u8, lines: Vec<(u8, u8, u32)>, ttl_ms: u16, policy: u8, split: u8 },
    Extend { id: u8, reservation: u8, ttl_ms: u16 },
    Commit { reservation: u8, lines: Vec<(u8, u8, u8)> },
    Release { reservation: u8 },
    Join { reservation: u8, customer: u8, sku: u8, quantity: u8, ttl_ms: u16 },
    Leave { reservation: u8 },
    Wait { milliseconds: u16 },
    Due,
    Json(Vec<u8>),
}

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = BatchHeader::parse(data) {
        let _ = commands_in(&header, &Bytes::copy_from_slice(data));
    }
    if let Ok(steps) = Vec::<Step>::arbitrary_take_rest(Unstructured::new(data)) {
        run(steps);
    }
});

fn run(steps: Vec<Step>) {
    let mut state = State::new(Limits::default());
    let mut events: Vec<Event> = Vec::new();
    let mut audit = Audit::new();
    let mut now_ms = 1_000;
    let mut offset = 0;
    for step in steps {
        if let Step::Wait { milliseconds } = step {
            now_ms += i64::from(milliseconds);
            continue;
        }
        let decided = match command(step, now_ms) {
            Some(command) => {
                audit.command(offset, Some(&command));
                let event = Event { command_offset: Some(offset), ..decide(&state, command, now_ms) };
                offset += 1;
                vec![event]
            }
            None => state.due(now_ms, 16),
        };
        for event in decided {
            let mut next = Some(event);
            while let Some(event) = next {
                state.apply(&event).expect("a decided event follows");
                audit.event(&event);
                events.push(event);
                next = state.follow_up(now_ms);
            }
        }
    }
    let report = audit.report();
    assert!(report.oversold == 0 && report.lost == 0 && report.duplicated == 0, "{report:?}");
    let mut ledger = Ledger::new("sku-0");
    for (offset, event) in (0..).zip(&events) {
        ledger.take(Offset(offset), event);
    }
    assert!(ledger.is_balanced(), "{ledger:?}");

    let mut folded = State::new(Limits::default());
    for event in &events {
        let mut bytes = Vec::new();
        event.write_compact(&mut bytes);
        let read = Event::decode(&bytes).expect("what was written reads back");
        assert_eq!(&read, event);
        folded.apply(&read).expect("the same event follows again");
    }
    assert_eq!(folded.hash(), state.hash());
}

fn command(step: Step, now_ms: i64) -> Option<Command> {
    let uuid = |kind: u128, id: u8| Uuid::from_u128(kind << 8 | u128::from(id));
    let reservation_of = |id: u8| uuid(3, id);
    let sku = |sku: u8| format!("sku-{}", sku % 4);
    let location = |location: u8| ["", "a", "b"][usize::from(location % 3)].to_owned();
    let customer = |customer: u8| format!("customer-{}", customer % 4);
    let line = |of: u8, at: u8, quantity: u32| Line::new(sku(of), quantity).at(location(at));
    Some(match step {
        Step::Receive { id, sku: of, location: at, quantity } => {
            Command::Receive { id: uuid(1, id), sku: sku(of), quantity: quantity.into(), location: location(at) }
        }
        Step::Adjust { id, sku: of, location: at, delta, expected_on_hand } => Command::Adjust(Box::new(Adjust {
            id: uuid(7, id),
            sku: sku(of),
            location: location(at),
            delta: delta.into(),
            expected_on_hand: Some(expected_on_hand.into()),
            expected_version: None,
            reason: String::new(),
        })),
        Step::Transfer { id, sku: of, from, to, quantity } => Command::Transfer {
            id: uuid(8, id),
            sku: sku(of),
            from: location(from),
            to: location(to),
            quantity: quantity.into(),
        },
        Step::Ship { id, sku: of, location: at, quantity } => Command::Ship {
            id: uuid(9, id),
            sku: sku(of),
            quantity: quantity.into(),
            location: location(at),
            for_reservation: None,
        },
        Step::Cancel { id, sku: of, location: at, quantity, customer: by } => Command::CancelAllocated(Box::new(CancelAllocated {
            id: uuid(10, id),
            sku: sku(of),
            quantity: quantity.into(),
            location: location(at),
            customer: by.map(customer),
            for_reservation: None,
        })),
        Step::SetPolicy { id, sku: of, location: at, limit, low_stock, safety, backorder_cap } => Command::SetPolicy {
            id: uuid(2, id),
            sku: sku(of),
            limit_per_customer: limit.map(u32::from).into(),
            low_stock: low_stock.map_or(Change::Keep, |low_stock| Change::Set(low_stock.into())),
            location: location(at),
            safety: Some(safety.into()),
            backorder_cap: Some(backorder_cap.into()),
        },
        Step::OpenSale { id, sku: of, opens_in, closes_in } => Command::OpenSale {
            id: uuid(11, id),
            sku: sku(of),
            opens_at_ms: opens_in.map(|ms| now_ms + i64::from(ms)),
            closes_at_ms: closes_in.map(|ms| now_ms + i64::from(ms)),
        },
        Step::DefineKit { id, sku: of, parts } => Command::DefineKit {
            id: uuid(12, id),
            sku: sku(of),
            parts: parts.into_iter().map(|(of, quantity)| KitPart { sku: sku(of), quantity: quantity.into() }).collect(),
        },
        Step::Reserve { id, customer: by, lines, ttl_ms, policy, split } => Command::Reserve {
            id: reservation_of(id),
            reservation: reservation_of(id),
            customer: customer(by),
            lines: lines.into_iter().map(|(of, at, quantity)| line(of, at, quantity)).collect(),
            ttl_ms: ttl_ms.into(),
            policy: [CartPolicy::All, CartPolicy::Partial, CartPolicy::PerLine][usize::from(policy % 3)],
            split: match split % 3 {
                0 => None,
                1 => Some(Box::new(Split::MostStock)),
                _ => Some(Box::new(Split::Fixed { locations: vec![location(1), location(0)] })),
            },
        },
        Step::Extend { id, reservation, ttl_ms } => {
            Command::Extend { id: uuid(4, id), reservation: reservation_of(reservation), ttl_ms: ttl_ms.into() }
        }
        Step::Commit { reservation, lines } => Command::Commit {
            id: uuid(5, reservation),
            reservation: reservation_of(reservation),
            lines: lines.into_iter().map(|(of, at, quantity)| line(of, at, quantity.into())).collect(),
        },
        Step::Release { reservation } => Command::release(reservation_of(reservation)),
        Step::Join { reservation, customer: by, sku: of, quantity, ttl_ms } => Command::JoinWaitlist {
            id: uuid(6, reservation),
            reservation: reservation_of(reservation),
            customer: customer(by),
            sku: sku(of),
            quantity: quantity.into(),
            offer_ttl_ms: ttl_ms.into(),
        },
        Step::Leave { reservation } => {
            Command::LeaveWaitlist { id: uuid(6, reservation), reservation: reservation_of(reservation) }
        }
        Step::Json(bytes) => Command::from_json(&bytes).ok()?,
        Step::Wait { .. } | Step::Due => return None,
    })
}
