//! Many reservations of all kinds against a daemon that is killed again and again; then everything is added up.
//!
//! The commands go through the Kafka door, and every event is compared with a book of the test's own as it is shown. Each
//! generation has a data folder of its own, which bounds the disk: when its commands are done and the daemon is stopped,
//! the state that the next start would have must be what the events add up to; the log at rest must be what was shown,
//! event for event; and the engine's independent recount must find nothing. Then the folder goes, and the next
//! generation begins.
//!
//! `scripts/soak-reservations` runs this for longer. `DOORBUSTER_SOAK_OPERATIONS` sets the number of commands,
//! `DOORBUSTER_SOAK_GENERATION` those of one generation, `DOORBUSTER_SOAK_KILLS` the kills in each, and
//! `DOORBUSTER_SOAK_SEED` the seed. With `DOORBUSTER_SOAK_FOLDER` the generations that are done are noted there, and a run
//! that was broken off goes on behind them.

mod daemon;

#[path = "soak_reservations/drive.rs"]
mod drive;
#[path = "soak_reservations/ledger.rs"]
mod ledger;
#[path = "soak_reservations/plan.rs"]
mod plan;
#[path = "soak_reservations/progress.rs"]
mod progress;

use std::path::{Path, PathBuf};
use std::time::Instant;

use doorbuster::commerce::inventory::{
    COMMANDS_TOPIC, Command, EVENTS_TOPIC, Event, Limits, Outcome, SnapshotFile, State, decide,
    for_each_event, recount, recover,
};
use doorbuster::commerce::store::LogStore;
use doorbuster::log::{Log, LogOptions, Offset};

use daemon::{Random, free_address, signal_named};
use drive::{Driven, Generation, digest};
use ledger::{Faults, Ledger};
use plan::{Plan, command_of};
use progress::Progress;

/// What the test suite runs; a build without optimisation gets less of it.
const OPERATIONS: u64 = if cfg!(debug_assertions) { 30_000 } else { 100_000 };
const KILLS: u64 = 4;

/// Commands of a generation unless said otherwise: about 2.5 GB on the disk, and 1 GB of memory for the recount.
const GENERATION: u64 = 2_000_000;

#[test]
fn nothing_is_oversold_lost_or_doubled_however_often_the_daemon_is_killed() {
    let operations = number_of("DOORBUSTER_SOAK_OPERATIONS").unwrap_or(OPERATIONS);
    let of_each = number_of("DOORBUSTER_SOAK_GENERATION").unwrap_or(GENERATION);
    let kills = number_of("DOORBUSTER_SOAK_KILLS").unwrap_or(KILLS);
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let kept = std::env::var_os("DOORBUSTER_SOAK_FOLDER").map(PathBuf::from);
    let folder = kept.unwrap_or_else(|| scratch.path().to_path_buf());
    std::fs::create_dir_all(&folder).expect("a folder");
    let seed = number_of("DOORBUSTER_SOAK_SEED").unwrap_or(1);
    let mut progress = Progress::load(&folder, seed, operations);
    while progress.operations < operations {
        let commands = of_each.min(operations - progress.operations);
        // What a run that was broken off left behind is no evidence.
        let data = folder.join("data");
        let _ = std::fs::remove_dir_all(&data);
        let plan = Plan {
            seed: seed.wrapping_add(progress.generations),
        };
        let faults = generation(plan, commands, kills, &data, &mut progress);
        progress.save(&folder);
        progress.tell(operations);
        assert_eq!(faults, Faults::default(), "the data is in {}", data.display());
        std::fs::remove_dir_all(&data).expect("the test's own folder");
    }
}

fn generation(plan: Plan, commands: u64, kills: u64, data: &Path, progress: &mut Progress) -> Faults {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let generation = Generation {
        plan,
        commands,
        kills,
        folder: data,
        address: &free_address(),
    };
    let mut random = Random::new(plan.seed);
    let (driven, daemon) = runtime
        .expect("a runtime")
        .block_on(generation.drive(&mut random));
    let stopped = daemon.stop(signal_named("SIGTERM"));
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    progress.add(commands, &driven, began.elapsed());
    let faults = at_rest(data, driven);
    progress.verified(&faults, began.elapsed());
    faults
}

/// Looks at what the generation left on the disk.
fn at_rest(data: &Path, driven: Driven) -> Faults {
    let log = Log::open(data, LogOptions::default()).expect("a log that was closed");
    let store = |topic: &str| {
        let topic = log.topic(topic).expect("the engine's topic");
        LogStore::new(topic.id, topic.partitions[0].clone())
    };
    let events = store(EVENTS_TOPIC);
    let snapshot = SnapshotFile::new(&data.join("inventory-snapshots"), 0);
    let recovered = recover(&events, &Limits::default(), Some(&snapshot)).expect("a state");
    let Driven {
        mut ledger,
        events: shown_count,
        shown,
        ..
    } = driven;
    let (mut count, mut found) = (0, 0);
    for_each_event(&events, Offset::ZERO, |_, event| {
        count += 1;
        if count <= shown_count {
            found = digest(found, &event);
        } else {
            // Holds end by themselves until the daemon has stopped.
            ledger.event(&event);
        }
        Ok(())
    })
    .expect("readable events");
    assert!(
        count >= shown_count,
        "{shown_count} events were shown, {count} are there"
    );
    assert_eq!(found, shown, "the log at rest is not what was shown");
    let mut faults = ledger.close(&recovered.state);
    let report = recount(&store(COMMANDS_TOPIC), &events).expect("a recount");
    assert!(report.is_clean(), "the recount found {report:#?}");
    faults.oversold += report.oversold;
    log.close().expect("a clean close");
    faults
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

/// Commands of a planted history: articles sell out, holds end by themselves.
const PLANTED: u64 = 20_000;

const PLAN: Plan = Plan { seed: 7 };

/// What the engine makes of the plan without a daemon or a crash: its events and its state.
fn folded() -> (Vec<Event>, State) {
    let (mut state, mut events, mut json) = (State::new(Limits::default()), Vec::new(), String::new());
    for number in 0..PLANTED {
        let now_ms = number as i64;
        for expired in state.due(now_ms, usize::MAX) {
            state.apply(&expired).expect("an expiry fits");
            events.push(expired);
        }
        PLAN.write_json(number, &mut json);
        let command = Command::from_json(json.as_bytes()).expect("a command");
        let mut event = decide(&state, command, now_ms);
        event.command_offset = Some(number);
        state.apply(&event).expect("a decision fits");
        events.push(event);
    }
    (events, state)
}

fn faults_of(events: &[Event], state: &State) -> Faults {
    let mut ledger = Ledger::new(PLAN, PLANTED);
    for event in events {
        ledger.event(event);
    }
    ledger.close(state)
}

fn position(events: &[Event], is_wanted: impl Fn(&Outcome) -> bool) -> usize {
    let found = events.iter().position(|event| is_wanted(&event.outcome));
    found.expect("the plan brings every kind about")
}

#[test]
fn the_book_agrees_with_what_is_right() {
    let (events, state) = folded();
    assert_eq!(faults_of(&events, &state), Faults::default());
    // Otherwise it would agree with little.
    position(&events, |outcome| matches!(outcome, Outcome::SoldOut { .. }));
    position(&events, |outcome| matches!(outcome, Outcome::Extended { .. }));
    position(&events, |outcome| *outcome == Outcome::ReservationExpired);
    position(&events, |outcome| *outcome == Outcome::Released);
}

#[test]
fn a_lost_outcome_is_found() {
    let (mut events, state) = folded();
    let lost = position(&events, |outcome| *outcome == Outcome::AlreadyCommitted);
    events.remove(lost);
    let found = faults_of(&events, &state);
    assert_eq!(
        (found.lost, found.oversold, found.double, found.wrong),
        (1, 0, 0, 0)
    );
}

#[test]
fn units_that_are_taken_twice_are_found() {
    let (mut events, state) = folded();
    let reserved = position(&events, |outcome| matches!(outcome, Outcome::Reserved { .. }));
    let Outcome::Reserved { lines, .. } = &events[reserved].outcome else {
        unreachable!("it was looked for")
    };
    let units: u64 = lines.iter().map(|line| u64::from(line.quantity)).sum();
    events.insert(reserved + 1, events[reserved].clone());
    let found = faults_of(&events, &state);
    assert_eq!((found.double, found.lost, found.oversold), (units, 0, 0));
}

#[test]
fn a_unit_that_was_sold_and_not_there_is_found() {
    let (mut events, state) = folded();
    let refused = position(&events, |outcome| matches!(outcome, Outcome::SoldOut { .. }));
    let number = command_of(events[refused].command).expect("a command");
    let mut json = String::new();
    PLAN.write_json(number, &mut json);
    // An engine with more units would have granted it.
    let command = Command::from_json(json.as_bytes()).expect("a command");
    let mut rich = State::new(Limits::default());
    for article in 0..plan::ARTICLES {
        let id = uuid::Uuid::from_u128(u128::from(article));
        let json = format!(
            r#"{{"type":"receive","id":"{id}","sku":"{}","quantity":9}}"#,
            plan::sku(article)
        );
        let receive = Command::from_json(json.as_bytes()).expect("a command");
        let received = decide(&rich, receive, 0);
        rich.apply(&received).expect("a decision fits");
    }
    let at_ms = events[refused].at_ms;
    events[refused] = Event {
        command_offset: events[refused].command_offset,
        ..decide(&rich, command, at_ms)
    };
    let found = faults_of(&events, &state);
    assert!(found.oversold > 0, "{found:?}");
}

#[test]
fn a_state_that_the_events_do_not_add_up_to_is_found() {
    let (events, _) = folded();
    let found = faults_of(&events, &State::new(Limits::default()));
    assert_eq!(found.unreconciled, u64::from(plan::ARTICLES));
}
