//! Any commands, and any bytes as commands: the engine never panics, never sells a unit twice, and its state is
//! the fold of its events, as an audit that shares no code with it recounts.

#![no_main]

use bytes::Bytes;
use doorbuster::commerce::inventory::{Audit, Command, Event, Limits, Line, State, commands_in, decide};
use doorbuster::log::batch::BatchHeader;
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

/// Few names and ids, so that commands meet.
#[derive(Arbitrary, Debug)]
enum Step {
    Receive { id: u8, sku: u8, quantity: u8 },
    SetPolicy { id: u8, sku: u8, limit: Option<u8> },
    Reserve { id: u8, customer: u8, lines: Vec<(u8, u32)>, ttl_ms: u16 },
    Extend { id: u8, reservation: u8, ttl_ms: u16 },
    Commit { reservation: u8 },
    Release { reservation: u8 },
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
        let decided = match command(step) {
            Some(command) => {
                audit.command(offset, Some(&command));
                let event = Event { command_offset: Some(offset), ..decide(&state, command, now_ms) };
                offset += 1;
                vec![event]
            }
            None => state.due(now_ms, 16),
        };
        for event in decided {
            state.apply(&event).expect("a decided event follows");
            audit.event(&event);
            events.push(event);
        }
    }
    let report = audit.report();
    assert!(report.oversold == 0 && report.lost == 0 && report.duplicated == 0, "{report:?}");

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

fn command(step: Step) -> Option<Command> {
    let uuid = |kind: u128, id: u8| Uuid::from_u128(kind << 8 | u128::from(id));
    let sku = |sku: u8| format!("sku-{}", sku % 4);
    Some(match step {
        Step::Receive { id, sku: of, quantity } => {
            Command::Receive { id: uuid(1, id), sku: sku(of), quantity: quantity.into() }
        }
        Step::SetPolicy { id, sku: of, limit } => {
            Command::SetPolicy { id: uuid(2, id), sku: sku(of), limit_per_customer: limit.map(u32::from) }
        }
        Step::Reserve { id, customer, lines, ttl_ms } => Command::Reserve {
            id: uuid(3, id),
            reservation: uuid(3, id),
            customer: format!("customer-{}", customer % 4),
            lines: lines.into_iter().map(|(of, quantity)| Line { sku: sku(of), quantity }).collect(),
            ttl_ms: ttl_ms.into(),
        },
        Step::Extend { id, reservation, ttl_ms } => {
            Command::Extend { id: uuid(4, id), reservation: uuid(3, reservation), ttl_ms: ttl_ms.into() }
        }
        Step::Commit { reservation } => Command::Commit { id: uuid(5, reservation), reservation: uuid(3, reservation) },
        Step::Release { reservation } => {
            Command::Release { id: uuid(6, reservation), reservation: uuid(3, reservation) }
        }
        Step::Json(bytes) => Command::from_json(&bytes).ok()?,
        Step::Wait { .. } | Step::Due => return None,
    })
}
