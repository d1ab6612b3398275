//! Snapshots in the background: a thread writes a frozen state while its shard goes on.
//!
//! A frozen state shares every chunk of its tables with the state that goes on, until that changes the chunk. To freeze
//! therefore takes a millisecond or two, and more where many wait or many holds have just expired: those tables are copied
//! whole. At worst, if all of ten million holds change while one snapshot is
//! written, memory doubles for that time. A snapshot that ends behind the log's end would be of no use: the shard hands
//! a frozen state over only when its last event is durable, as it does with answers.

use std::thread::JoinHandle;

use super::State;
use super::snapshot::Snapshot;
use super::snapshot_file::SnapshotFile;
use crate::log::Offset;

/// A snapshot is due after so many events. 4,000,000: a start that finds as many behind the snapshot replays them in
/// two or three seconds, and one snapshot of ten million holds takes about as long to write.
pub const SNAPSHOT_AFTER_EVENTS: u64 = 4_000_000;

/// A state that stays as it is, and where in the log it was true.
#[derive(Debug)]
pub(super) struct Frozen {
    state: State,
    position: Offset,
}

impl State {
    /// A copy that stays as it is, to be read whole: it finds nothing by name or id.
    fn frozen(&mut self) -> State {
        State {
            limits: self.limits.clone(),
            now_ms: self.now_ms,
            next_command_offset: self.next_command_offset,
            articles: self.articles.frozen(),
            totals: self.totals.frozen(),
            reservations: self.reservations.frozen(),
            holds: self.holds.frozen(),
            commands: self.commands.frozen(),
            asked: self.asked.clone(),
            expired: self.expired.clone(),
            waitlists: self.waitlists.clone(),
            pending: Vec::new(),
        }
    }
}

/// What makes the snapshots of one shard.
#[derive(Debug)]
pub(super) struct SnapshotMaker {
    file: SnapshotFile,
    identity: [u8; 16],
    after_events: u64,
    /// Events since the newest snapshot.
    events: u64,
    /// A state is frozen and waits until it is durable.
    is_frozen: bool,
    /// Tells whether the snapshot was written.
    thread: Option<JoinHandle<bool>>,
}

impl SnapshotMaker {
    /// Makes a snapshot after every `after_events` events; `events` came after the newest one.
    pub(super) fn new(file: SnapshotFile, identity: [u8; 16], after_events: u64, events: u64) -> Self {
        SnapshotMaker {
            file,
            identity,
            after_events,
            events,
            is_frozen: false,
            thread: None,
        }
    }

    /// Counts events, and freezes the state behind them if a snapshot is due and none is on its way.
    pub(super) fn count(&mut self, events: u64, state: &mut State, position: Offset) -> Option<Frozen> {
        self.events += events;
        let is_writing = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if self.events < self.after_events || self.is_frozen || is_writing {
            return None;
        }
        self.events = 0;
        self.is_frozen = true;
        let state = state.frozen();
        Some(Frozen { state, position })
    }

    /// Writes a frozen state whose events are durable, without waiting for it.
    pub(super) fn make(&mut self, frozen: Frozen) {
        self.is_frozen = false;
        let (file, identity) = (self.file.clone(), self.identity);
        let thread = std::thread::Builder::new()
            .name("inventory-snapshot".into())
            .spawn(move || save(&file, identity, frozen.position, &frozen.state));
        match thread {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => tracing::warn!(%error, "thread for an inventory snapshot was not started"),
        }
    }

    /// Waits for a snapshot on its way, and then writes one of `state` unless that is what the last one holds.
    pub(super) fn finish(mut self, state: &State, position: Offset) {
        let failed = self.wait() == Some(false);
        if failed || self.is_frozen || self.events > 0 {
            save(&self.file, self.identity, position, state);
        }
    }

    /// Waits for a snapshot on its way, and tells whether it was written.
    pub(super) fn wait(&mut self) -> Option<bool> {
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or(false))
    }
}

/// Without a snapshot the next start only takes longer.
fn save(file: &SnapshotFile, identity: [u8; 16], position: Offset, state: &State) -> bool {
    let saved = Snapshot::save(file, identity, position, state);
    if let Err(error) = &saved {
        let cause = std::error::Error::source(error);
        tracing::warn!(%error, cause, "inventory snapshot was not written");
    }
    saved.is_ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::{CartPolicy, Command, Event, KitPart, Limits, Line, decide};
    use super::*;

    fn step(state: &mut State, command: Command, now_ms: i64) -> Vec<Event> {
        let mut events = state.due(now_ms, usize::MAX);
        for event in &events {
            state.apply(event).unwrap();
        }
        events.push(decide(state, command, now_ms));
        state.apply(&events[events.len() - 1]).unwrap();
        while let Some(event) = state.follow_up(now_ms) {
            state.apply(&event).unwrap();
            events.push(event);
        }
        events
    }

    /// A command of every kind in turn, over a few articles and customers.
    fn command(n: u64) -> Command {
        let id = Uuid::from_u64_pair(7, n);
        let sku = format!("sku-{}", n % 7);
        let customer = format!("customer {} with a name that is longer than most", n % 50);
        let location = ["", "", "north"][n as usize % 3].to_owned();
        let reservation = Uuid::from_u64_pair(7, n / 2);
        match n % 8 {
            _ if n < 14 => Command::Receive {
                id,
                sku,
                location: ["", "north"][usize::from(n >= 7)].to_owned(),
                quantity: 1_000,
            },
            _ if n == 14 => Command::DefineKit {
                id,
                sku: "kit".into(),
                parts: vec![KitPart {
                    sku: "sku-1".into(),
                    quantity: 1,
                }],
            },
            _ if n.is_multiple_of(40) => Command::JoinWaitlist {
                id,
                reservation: id,
                customer,
                sku: "scarce".into(),
                quantity: 2,
                offer_ttl_ms: 100,
            },
            _ if n.is_multiple_of(41) => Command::Receive {
                id,
                sku: "scarce".into(),
                location,
                quantity: 1,
            },
            1 => Command::Commit {
                id,
                reservation,
                lines: Vec::new(),
            },
            2 => Command::Release { id, reservation },
            3 => Command::Extend {
                id,
                reservation,
                ttl_ms: 900,
            },
            _ => Command::Reserve {
                id,
                reservation: id,
                customer,
                lines: (0..=(n % 3))
                    .map(|line| Line {
                        sku: format!("sku-{line}"),
                        location: location.clone(),
                        quantity: 1,
                    })
                    .collect(),
                ttl_ms: 300,
                policy: [CartPolicy::All, CartPolicy::Partial, CartPolicy::PerLine][n as usize % 3],
                split: None,
            },
        }
    }

    #[test]
    fn a_snapshot_is_of_its_moment_though_the_state_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(dir.path(), 0);
        let mut maker = SnapshotMaker::new(file.clone(), [3; 16], 1, 0);
        let (mut state, mut now_ms) = (State::default(), 1_000);
        for round in 0..4_u64 {
            for n in round * 3_000..(round + 1) * 3_000 {
                now_ms += i64::try_from(n % 3).unwrap();
                step(&mut state, command(n), now_ms);
            }
            let (hash, position) = (state.hash(), Offset(round));
            let frozen = maker.count(1, &mut state, position).unwrap();
            assert!(maker.count(1, &mut state, position).is_none(), "one at a time");
            assert_eq!(state.hash(), hash);
            for n in (round + 10) * 3_000..(round + 11) * 3_000 {
                now_ms += 1;
                step(&mut state, command(n), now_ms);
            }
            assert_ne!(state.hash(), hash);
            maker.make(frozen);
            assert_eq!(maker.wait(), Some(true));
            let loaded = Snapshot::load(file.path(), &Limits::default()).unwrap().unwrap();
            assert_eq!(
                (loaded.identity, loaded.position, loaded.state.hash()),
                ([3; 16], position, hash)
            );
        }
    }

    #[test]
    fn a_loaded_state_goes_on_as_the_one_that_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(dir.path(), 0);
        let mut state = State::default();
        for n in 0..5_000 {
            step(&mut state, command(n), 1_000 + n as i64);
        }
        Snapshot::save(&file, [3; 16], Offset(1), &state).unwrap();
        let mut loaded = Snapshot::load(file.path(), &Limits::default())
            .unwrap()
            .unwrap()
            .state;
        for n in 5_000..10_000 {
            // Holds that end at the same tick end in any order.
            let mut events = step(&mut state, command(n), 1_000 + n as i64);
            let mut again = step(&mut loaded, command(n), 1_000 + n as i64);
            events.sort_by_key(|event| event.reservation);
            again.sort_by_key(|event| event.reservation);
            assert_eq!(events, again);
        }
        assert_eq!(state.live_holds(), loaded.live_holds());
    }

    #[test]
    fn a_crash_at_any_step_of_writing_leaves_the_old_snapshot_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = SnapshotFile::new(dir.path(), 0);
        let new = file.path().with_extension("snapshot.new");
        let load = || {
            let loaded = Snapshot::load(file.path(), &Limits::default()).unwrap();
            loaded.map(|loaded| (loaded.position, loaded.state.hash()))
        };
        let mut state = State::default();
        (0..20).for_each(|n| drop(step(&mut state, command(n), 1_000)));
        let old_hash = state.hash();
        Snapshot::save(&file, [3; 16], Offset(20), &state).unwrap();
        let old = std::fs::read(file.path()).unwrap();
        (20..40).for_each(|n| drop(step(&mut state, command(n), 1_000)));
        Snapshot::save(&file, [3; 16], Offset(40), &state).unwrap();
        let whole = std::fs::read(file.path()).unwrap();
        assert_eq!(load(), Some((Offset(40), state.hash())));

        // Everything up to the renaming is in the other file, as far as it was written.
        std::fs::write(file.path(), &old).unwrap();
        for size in (0..whole.len()).step_by(13).chain([whole.len()]) {
            std::fs::write(&new, &whole[..size]).unwrap();
            assert_eq!(load(), Some((Offset(20), old_hash)));
        }
        // What a crash left is no obstacle to the next snapshot.
        Snapshot::save(&file, [3; 16], Offset(40), &state).unwrap();
        assert_eq!(load(), Some((Offset(40), state.hash())));
        assert!(!new.exists());
        // A write that fails leaves the old one.
        std::fs::create_dir(&new).unwrap();
        assert!(Snapshot::save(&file, [3; 16], Offset(99), &State::default()).is_err());
        assert_eq!(load(), Some((Offset(40), state.hash())));
        // Each truncation and each flipped byte is found.
        for at in 0..whole.len() {
            std::fs::write(file.path(), &whole[..at]).unwrap();
            assert!(
                Snapshot::load(file.path(), &Limits::default()).is_err(),
                "cut at {at}"
            );
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(file.path(), &flipped).unwrap();
            assert!(
                Snapshot::load(file.path(), &Limits::default()).is_err(),
                "byte {at}"
            );
        }
    }
}
