//! To everybody outside the engine is one shop where one thing happens after the other, each between its call and its
//! answer; and the log has them in such an order.
//!
//! Short histories of real threads, against the library and against the daemon under `kill -9`, are judged by a checker
//! of linearizability that knows nothing of the engine. Histories with faults in them show that it can say no.

mod daemon;

#[path = "linearizability/door.rs"]
mod door;
#[path = "linearizability/history.rs"]
mod history;
#[path = "linearizability/order.rs"]
mod order;
#[path = "linearizability/resp.rs"]
mod resp;
#[path = "linearizability/shop.rs"]
mod shop;

use std::sync::{Arc, Barrier, Mutex};

use doorbuster::commerce::inventory::{EVENTS_TOPIC, Event, Inventory, InventoryOptions, for_each_event};
use doorbuster::commerce::store::LogStore;
use doorbuster::log::{Log, LogOptions, Offset};
use uuid::Uuid;

use daemon::{Daemon, Random, free_address};
use door::Phase;
use history::{Moments, Span, is_linearizable};
use order::{Fault, check};
use shop::{Answer, Counter, Shelf, Step, answer_of, seen};

/// Threads of one history, and steps of each; the checker's work grows with what overlaps.
const THREADS: usize = 4;
const STEPS: usize = 6;

/// Reservations that they fight over.
const RESERVATIONS: u64 = 5;

/// Histories against the library.
const HISTORIES: u32 = 200;

/// Histories against the daemon; it is killed in the middle of each.
const KILLS: u32 = 5;

/// Id of a command, which tells its history.
fn command_id(history: u32, number: u64) -> Uuid {
    Uuid::from_u128(2 << 100 | u128::from(history) << 64 | u128::from(number))
}

fn history_of(id: Uuid) -> u32 {
    (id.as_u128() >> 64) as u32
}

fn step(random: &mut Random) -> Step {
    let reservation = random.between(0, RESERVATIONS) as u8;
    match random.between(0, 12) {
        0 => Step::Receive {
            units: random.between(1, 4) as u32,
        },
        1..=5 => Step::Reserve { reservation },
        6 | 7 => Step::Commit { reservation },
        8 | 9 => Step::Release { reservation },
        _ => Step::Look,
    }
}

#[test]
fn the_library_is_one_shop_to_all_threads() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let log = Log::open(folder.path().join("log"), LogOptions::default()).expect("a log");
    let inventory = Inventory::open(&log, InventoryOptions::default()).expect("a shard");
    let (moments, mut random) = (Moments::default(), Random::new(5));
    let mut all = Vec::new();
    for history in 0..HISTORIES {
        let (barrier, spans) = (Barrier::new(THREADS), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (barrier, spans, moments, inventory) = (&barrier, &spans, &moments, &inventory);
                let mut random = random.fork();
                scope.spawn(move || {
                    barrier.wait();
                    for number in 0..STEPS {
                        // Units come first in one of the threads; the others may be faster.
                        let step = match (thread, number) {
                            (0, 0) => Step::Receive { units: 3 },
                            _ => step(&mut random),
                        };
                        let id = command_id(history, (thread * STEPS + number) as u64);
                        let span = ask(inventory, moments, Counter(history), id, step);
                        spans.lock().expect("no thread panicked").push(span);
                    }
                });
            }
        });
        let spans = spans.into_inner().expect("no thread panicked");
        assert!(is_linearizable(&spans), "history {history}: {spans:#?}");
        all.extend(spans);
    }
    inventory.close();
    let events = events_of(&log);
    assert_eq!(check(&all, &events, history_of), Ok(()));
    log.close().expect("a clean close");
}

fn ask(inventory: &Inventory, moments: &Moments, counter: Counter, id: Uuid, step: Step) -> Span {
    let called = moments.next();
    let answer = if let Some(command) = counter.command(id, step) {
        answer_of(&inventory.submit(command).wait().expect("an open shard"))
    } else {
        let view = inventory.stock(&counter.sku()).wait().expect("an open shard");
        seen(view.as_ref())
    };
    Span {
        id,
        step,
        called,
        heard: Some((answer, moments.next())),
    }
}

fn events_of(log: &Log) -> Vec<Event> {
    let topic = log.topic(EVENTS_TOPIC).expect("events");
    let store = LogStore::new(topic.id, topic.partitions[0].clone());
    let mut events = Vec::new();
    for_each_event(&store, Offset::ZERO, |_, event| {
        events.push(event);
        Ok(())
    })
    .expect("readable events");
    events
}

#[test]
fn the_daemon_is_one_shop_across_kill_nine() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (data, address) = (folder.path().join("data"), free_address());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (moments, mut random) = (Arc::new(Moments::default()), Random::new(6));
    let mut daemon = Daemon::start(&data, &address);
    let (mut all, mut unknown) = (Vec::new(), 0);
    for history in 0..KILLS {
        let mut spans = Vec::new();
        // Nobody knows what became of the commands that were on their way when the daemon died.
        let answers_max = random.between(3, 14) as usize;
        for (first, answers_max) in [(0, answers_max), (1 << 32, usize::MAX)] {
            let phase = Phase {
                address: address.clone(),
                moments: Arc::clone(&moments),
                counter: Counter(history),
                first_id: command_id(history, first),
                answers_max,
            };
            spans.extend(runtime.block_on(phase.run(&mut random)));
            if first == 0 {
                daemon.kill_nine();
                daemon = Daemon::start(&data, &address);
            }
        }
        unknown += spans.iter().filter(|span| span.heard.is_none()).count();
        assert!(is_linearizable(&spans), "history {history}: {spans:#?}");
        all.extend(spans);
    }
    let events = runtime.block_on(door::all_events(&address));
    assert_eq!(check(&all, &events, history_of), Ok(()));
    // Otherwise nothing was learned about crashes.
    assert!(unknown > 0, "every answer was heard");
    daemon.kill_nine();
}

#[test]
fn the_redis_door_is_the_same_shop_across_kill_nine() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (data, address, resp_address) = (folder.path().join("data"), free_address(), free_address());
    let start = || {
        let mut command = daemon::serve();
        command.args(["--listen", &address, "--resp", &resp_address]);
        Daemon::started_by(command.arg("--data-dir").arg(&data))
    };
    let (moments, mut random) = (Moments::default(), Random::new(8));
    let mut running = start();
    let (mut all, mut unknown) = (Vec::new(), 0);
    for history in 0..KILLS {
        let phase = |first| resp::Phase {
            address: &resp_address,
            moments: &moments,
            counter: Counter(history),
            first_id: command_id(history, first),
        };
        let answers_max = random.between(3, 18) as usize;
        let mut spans = phase(0).run(&mut random, answers_max, || running.kill_nine());
        running = start();
        spans.extend(phase(1 << 32).run(&mut random, usize::MAX, || {}));
        unknown += spans.iter().filter(|span| span.heard.is_none()).count();
        assert!(is_linearizable(&spans), "history {history}: {spans:#?}");
        all.extend(spans);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let events = runtime.expect("a runtime").block_on(door::all_events(&address));
    assert_eq!(check(&all, &events, history_of), Ok(()));
    assert!(unknown > 0, "every answer was heard");
    running.kill_nine();
}

fn span(number: u64, step: Step, called: u64, heard: Option<(Answer, u64)>) -> Span {
    Span {
        id: command_id(0, number),
        step,
        called,
        heard,
    }
}

const RECEIVE_ONE: Step = Step::Receive { units: 1 };

fn reserve(reservation: u8) -> Step {
    Step::Reserve { reservation }
}

#[test]
fn a_unit_that_is_granted_twice_is_noticed() {
    let receive = span(0, RECEIVE_ONE, 0, Some((Answer::Received, 1)));
    let first = span(1, reserve(0), 2, Some((Answer::Reserved, 4)));
    let second = |answer| span(2, reserve(2), 3, Some((answer, 5)));
    assert!(is_linearizable(&[
        receive,
        first,
        second(Answer::SoldOut { available: 0 })
    ]));
    assert!(!is_linearizable(&[receive, first, second(Answer::Reserved)]));
}

#[test]
fn an_answer_that_was_out_of_date_when_it_was_asked_for_is_noticed() {
    let receive = span(0, RECEIVE_ONE, 0, Some((Answer::Received, 1)));
    let sold = span(1, reserve(0), 2, Some((Answer::Reserved, 4)));
    let look = |called| {
        let shelf = Shelf {
            sellable: 1,
            held: 0,
            sold: 0,
        };
        span(2, Step::Look, called, Some((Answer::Seen(Some(shelf)), 9)))
    };
    assert!(is_linearizable(&[receive, sold, look(3)]));
    assert!(!is_linearizable(&[receive, sold, look(5)]));
}

#[test]
fn a_hold_that_a_crash_forgot_is_noticed_and_one_that_nobody_heard_of_may_be_either() {
    let receive = span(0, RECEIVE_ONE, 0, Some((Answer::Received, 1)));
    let heard = span(1, reserve(0), 2, Some((Answer::Reserved, 3)));
    let unheard = span(1, reserve(0), 2, None);
    let after = |answer| span(2, reserve(2), 4, Some((answer, 5)));
    let sold_out = Answer::SoldOut { available: 0 };
    assert!(!is_linearizable(&[receive, heard, after(Answer::Reserved)]));
    assert!(is_linearizable(&[receive, heard, after(sold_out)]));
    assert!(is_linearizable(&[receive, unheard, after(Answer::Reserved)]));
    assert!(is_linearizable(&[receive, unheard, after(sold_out)]));
    // But not both, one after the other.
    let later = |answer| span(3, reserve(4), 6, Some((answer, 7)));
    let release = span(
        4,
        Step::Release { reservation: 0 },
        4,
        Some((Answer::Released, 5)),
    );
    assert!(!is_linearizable(&[
        receive,
        unheard,
        after(Answer::Reserved),
        later(Answer::Reserved)
    ]));
    assert!(is_linearizable(&[
        receive,
        unheard,
        release,
        later(Answer::Reserved)
    ]));
}

/// A shop that looks and then takes, as shops without an engine do.
#[test]
fn a_shop_that_looks_before_it_takes_is_noticed() {
    let (moments, left) = (Moments::default(), Mutex::new(1_u64));
    let both_looked = Barrier::new(2);
    let receive = span(
        0,
        RECEIVE_ONE,
        moments.next(),
        Some((Answer::Received, moments.next())),
    );
    let shopper = |reservation: u8| {
        let called = moments.next();
        let available = *left.lock().expect("no thread panicked");
        both_looked.wait();
        let answer = if available > 0 {
            let mut left = left.lock().expect("no thread panicked");
            *left = left.saturating_sub(1);
            Answer::Reserved
        } else {
            Answer::SoldOut { available }
        };
        let heard = Some((answer, moments.next()));
        span(1 + u64::from(reservation), reserve(reservation), called, heard)
    };
    let spans = std::thread::scope(|scope| {
        let shoppers = [0, 2].map(|reservation| scope.spawn(move || shopper(reservation)));
        shoppers.map(|shopper| shopper.join().expect("no thread panicked"))
    });
    assert!(!is_linearizable(&[receive, spans[0], spans[1]]));
}

#[test]
fn a_log_that_does_not_fit_what_was_heard_is_noticed() {
    let heard = |number, step, called, answer| span(number, step, called, Some((answer, called + 1)));
    let receive = heard(0, RECEIVE_ONE, 0, Answer::Received);
    let first = heard(1, reserve(0), 2, Answer::Reserved);
    let second = heard(2, reserve(2), 4, Answer::SoldOut { available: 0 });
    let spans = [receive, first, second];
    let event = |number: u64, json: &str| {
        let json = format!(r#"{{{json},"command":"{}","at_ms":1}}"#, command_id(0, number));
        Event::from_json(json.as_bytes()).expect("an event")
    };
    let received = event(0, r#""type":"received","sku":"s","quantity":1"#);
    let reserved = |number| {
        let lines = r#""lines":[{"sku":"s","quantity":1}],"ttl_ms":1,"expires_at_ms":1"#;
        event(number, &format!(r#""type":"reserved","customer":"c",{lines}"#))
    };
    let sold_out = |number| event(number, r#""type":"sold_out","sku":"s","available":0"#);
    let verdict = |events: &[Event]| check(&spans, events, history_of);
    let (one, two) = (command_id(0, 1), command_id(0, 2));
    assert_eq!(verdict(&[received.clone(), reserved(1), sold_out(2)]), Ok(()));
    assert_eq!(
        verdict(&[received.clone(), reserved(1)]),
        Err(Fault::Lost { command: two })
    );
    assert_eq!(
        verdict(&[received.clone(), reserved(1), reserved(1)]),
        Err(Fault::Twice { command: one })
    );
    assert_eq!(
        verdict(&[received.clone(), reserved(1), reserved(2)]),
        Err(Fault::Impossible {
            command: two,
            logged: Answer::Reserved,
            follows: Answer::SoldOut { available: 0 }
        })
    );
    assert_eq!(
        verdict(&[received.clone(), reserved(2), sold_out(1)]),
        Err(Fault::OutOfOrder {
            earlier: two,
            later: one
        })
    );
    assert_eq!(
        verdict(&[received.clone(), sold_out(9)]),
        Err(Fault::Unasked {
            command: command_id(0, 9)
        })
    );
    let differs = [receive, heard(1, reserve(0), 2, Answer::Exists)];
    assert_eq!(
        check(&differs, &[received, reserved(1)], history_of),
        Err(Fault::Differs {
            command: one,
            heard: Answer::Exists,
            logged: Answer::Reserved
        })
    );
}
