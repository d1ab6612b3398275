//! Kills the daemon again and again, at any moment, and looks for what it had promised.
//!
//! Producers, shoppers and one consumer live through all rounds, so that their retries meet the restarted
//! daemon; another producer lives for one round. After every second restart a fresh consumer reads what is new:
//! every acknowledged record is there once, at the offset of its acknowledgement, in its producer's order;
//! nothing is there that was not sent; nothing that was shown is gone; every command has one outcome; and the
//! stock, counted again from the events, was never oversold.
//!
//! `DOORBUSTER_KILL_ROUNDS` sets the number of rounds, `DOORBUSTER_KILL_SEED` the seed, which is printed.

mod daemon;

#[path = "kill_nine/audit.rs"]
mod audit;
#[path = "kill_nine/lane.rs"]
mod lane;
#[path = "kill_nine/ledger.rs"]
mod ledger;
#[path = "kill_nine/passing_topics.rs"]
mod passing_topics;
#[path = "kill_nine/reader.rs"]
mod reader;
#[path = "kill_nine/recount.rs"]
mod recount;
#[path = "kill_nine/shopper.rs"]
mod shopper;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::Consumer;
use rdkafka::metadata::MetadataPartition;

use audit::{Audit, COMMANDS, EVENTS};
use daemon::{Daemon, Random, ask_metadata, create_topic, free_address, serve, signal_named};
use lane::{Lane, LaneKind, Stop};
use ledger::{Ledger, Place, PlaceIndex};
use passing_topics::PassingTopics;
use reader::{LiveView, consumer};

/// Rounds without `DOORBUSTER_KILL_ROUNDS`.
const ROUNDS: u64 = 50;

/// The promise: from the start of the process to the first answer, also after a kill. A build without
/// optimisation gets more time for the same work.
const START_MAX: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(10)
} else {
    Duration::from_secs(1)
};

/// Time for what is in flight to be acknowledged, or decided, once the daemon stays.
const SETTLE_MAX: Duration = Duration::from_mins(1);

/// Topics that records go to, with their partitions.
const TOPICS: [(&str, i32); 3] = [("ledger.one", 1), ("ledger.three", 3), ("ledger.four", 4)];

/// The lasting lanes; the last one is the shoppers'.
const LASTING: u32 = 3;

const COMPRESSIONS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kill_nine() {
    let rounds = number_of("DOORBUSTER_KILL_ROUNDS").unwrap_or(ROUNDS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed = number_of("DOORBUSTER_KILL_SEED").unwrap_or(now.as_nanos() as u64);
    println!("seed {seed}, {rounds} rounds");
    let folder = tempfile::Builder::new()
        .prefix("kill-nine-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder").keep();
    let data = folder.join("data");
    let mut run = Run::begin(seed, &data);
    for round in 1..=rounds {
        if let Err(fault) = run.round(round) {
            panic!(
                "seed {seed} round {round}: {fault}; the data is in {}",
                folder.display()
            );
        }
    }
    if let Err(fault) = run.end() {
        panic!(
            "seed {seed}, after round {rounds}: {fault}; the data is in {}",
            folder.display()
        );
    }
    // What is left after a failure is evidence.
    std::fs::remove_dir_all(&folder).expect("the test's own folder");
}

/// A disk that forgets what it had flushed is what the audit is for: it must notice.
#[test]
fn an_older_copy_of_the_data_folder_is_noticed() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (data, older) = (folder.path().join("data"), folder.path().join("older"));
    let mut run = Run::begin(1, &data);
    run.live
        .wait(Duration::from_millis(300))
        .expect("nothing is wrong");
    run.daemon.take().expect("a daemon").kill_nine();
    copy_folder(&data, &older);
    run.start().expect("a restart");
    run.live
        .wait(Duration::from_millis(300))
        .expect("nothing is wrong");
    run.stop_lasting().expect("every record is acknowledged");
    run.audit
        .verify(&run.address, &run.live)
        .expect("nothing is wrong");
    run.daemon.take().expect("a daemon").kill_nine();
    std::fs::remove_dir_all(&data).expect("the test's own folder");
    std::fs::rename(&older, &data).expect("the test's own folder");
    run.start().expect("the older copy is a whole one");
    let noticed = run.audit.verify(&run.address, &run.live);
    let fault = noticed.expect_err("records are missing");
    assert!(
        fault.contains("was shown before") || fault.contains("committed"),
        "{fault}"
    );
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a readable folder");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// One test run: what lives through the rounds.
struct Run {
    random: Random,
    data: PathBuf,
    address: String,
    places: Arc<[Place]>,
    ledger: Arc<Ledger>,
    audit: Audit,
    live: LiveView,
    topics: PassingTopics,
    lasting: Vec<Worker>,
    daemon: Option<Daemon>,
    starts: Vec<Duration>,
}

/// A lane and its thread.
struct Worker {
    lane: Arc<Lane>,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl Run {
    /// The first start, on an empty folder: makes the topics and starts what lasts.
    fn begin(seed: u64, data: &Path) -> Run {
        let mut random = Random::new(seed);
        let address = free_address();
        let daemon = Daemon::start(data, &address);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        for (topic, partitions) in TOPICS {
            runtime.block_on(create_topic(&address, topic, partitions));
        }
        let places: Arc<[Place]> = places(&address).into();
        let ledger = Arc::new(Ledger::default());
        let live = LiveView::start(&address, &places);
        let audit = Audit::new(Arc::clone(&ledger), Arc::clone(&places));
        let mut run = Run {
            data: data.to_path_buf(),
            lasting: Vec::new(),
            topics: PassingTopics::default(),
            starts: Vec::new(),
            daemon: Some(daemon),
            random: random.fork(),
            address,
            places,
            ledger,
            audit,
            live,
        };
        for id in 0..LASTING {
            let kind = LaneKind {
                idempotent: true,
                compression: COMPRESSIONS[id as usize * 2],
            };
            let worker = run.worker(id, kind, id == LASTING - 1);
            run.lasting.push(worker);
        }
        run
    }

    /// Kills the daemon after a while, starts it again, and sometimes looks at what it has.
    fn round(&mut self, round: u64) -> Result<(), String> {
        let kind = LaneKind {
            idempotent: self.random.one_in(2),
            compression: COMPRESSIONS[round as usize % COMPRESSIONS.len()],
        };
        let passing = self.worker(LASTING + round as u32, kind, false);
        self.topics.turn(&self.address, round);
        let until_kill = Duration::from_millis(self.random.between(50, 800));
        self.live.wait(until_kill)?;
        self.daemon.take().expect("a daemon").kill_nine();
        end_early(passing);
        if self.random.one_in(5) {
            self.kill_while_starting();
        }
        self.start()?;
        // In the other rounds the next kill may come right after the recovery.
        if round.is_multiple_of(2) {
            self.topics.check(&self.address)?;
            self.audit.verify(&self.address, &self.live)?;
        }
        Ok(())
    }

    /// Lets everything settle, and checks the whole of it.
    fn end(mut self) -> Result<(), String> {
        self.settle()?;
        self.stop_lasting()?;
        self.settle()?;
        self.audit.read_all_again(&self.address)?;
        let stopped = self
            .daemon
            .take()
            .expect("a daemon")
            .stop(signal_named("SIGTERM"));
        if stopped.code != Some(0) {
            return Err(format!("stopping came to {stopped:?}"));
        }
        self.start()?;
        self.audit.read_all_again(&self.address)?;
        let (slowest, sum) = (self.starts.iter().max(), self.starts.iter().sum::<Duration>());
        #[expect(clippy::print_stdout, reason = "the measured times are a result")]
        let () = println!(
            "{} records and events verified; {} starts, mean {:?}, slowest {slowest:?}; outcomes: {:?}",
            self.audit.len(),
            self.starts.len(),
            sum / self.starts.len() as u32,
            self.audit.event_types(),
        );
        Ok(())
    }

    /// Stops the lasting lanes; every record of theirs must be acknowledged in the end.
    fn stop_lasting(&mut self) -> Result<(), String> {
        for worker in std::mem::take(&mut self.lasting) {
            worker.stop.stop();
            worker
                .thread
                .join()
                .map_err(|_| "a lasting lane panicked".to_owned())?;
            worker.lane.finish(SETTLE_MAX);
        }
        let given_up = self.ledger.take_given_up();
        let lasting = given_up.iter().find(|(sent, _)| sent.lane < LASTING);
        lasting.map_or(Ok(()), |given_up| {
            Err(format!("an idempotent producer gave up: {given_up:?}"))
        })
    }

    /// Verifies until every command that was read has its outcome.
    fn settle(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            self.audit.verify(&self.address, &self.live)?;
            let open = self.audit.unanswered();
            if open.is_empty() || !self.lasting.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > SETTLE_MAX {
                return Err(format!("commands without an outcome, by shard: {open:?}"));
            }
        }
    }

    /// Starts the daemon, with one way of writing or the other, and measures the time to its first answer.
    fn start(&mut self) -> Result<(), String> {
        let mut command = self.command();
        if self.random.one_in(3) {
            command.arg("--plain-writes");
        }
        let started = Instant::now();
        self.daemon = Some(Daemon::started_by(&mut command));
        ask_metadata(&self.address).map_err(|error| format!("no metadata after the ready line: {error}"))?;
        let took = started.elapsed();
        self.starts.push(took);
        if took > START_MAX {
            return Err(format!("the start took {took:?}, promised are {START_MAX:?}"));
        }
        Ok(())
    }

    /// A crash during the recovery from a crash.
    fn kill_while_starting(&mut self) {
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let moment = Instant::now() + Duration::from_micros(self.random.between(0, 60_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        child.kill().expect("the daemon runs");
        child.wait().expect("the daemon ended");
    }

    fn command(&self) -> Command {
        let mut command = serve();
        command.arg("--listen").arg(&self.address);
        command.arg("--data-dir").arg(&self.data);
        command
    }

    fn worker(&mut self, id: u32, kind: LaneKind, shopper: bool) -> Worker {
        let lane = Arc::new(Lane::new(id, &self.address, kind, &self.ledger, &self.places));
        let stop = Arc::new(Stop::default());
        let is_command = |(_, place): &(PlaceIndex, &Place)| place.topic == COMMANDS;
        let (commands, rest): (Vec<_>, Vec<_>) = self.places.iter().enumerate().partition(is_command);
        let rest = rest.into_iter().filter(|(_, place)| place.topic != EVENTS);
        let commands: Vec<PlaceIndex> = commands.into_iter().map(|(index, _)| index).collect();
        let rest: Vec<PlaceIndex> = rest.map(|(index, _)| index).collect();
        let (random, own_lane, own_stop) = (self.random.fork(), Arc::clone(&lane), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            if shopper {
                shopper::storm(&own_lane, &commands, random, &own_stop);
            } else {
                produce(&own_lane, &rest, random, &own_stop);
            }
        });
        Worker { lane, stop, thread }
    }
}

/// Sends bursts of records of all sizes to all places.
fn produce(lane: &Lane, places: &[PlaceIndex], mut random: Random, stop: &Stop) {
    while !stop.is_stopped() {
        for _ in 0..random.between(1, 60) {
            let size = match random.between(0, 400) {
                0 => random.between(1, 300_000),
                1..=40 => random.between(1, 8_000),
                _ => random.between(0, 300),
            };
            let key = random.one_in(2).then(|| random.bytes(9));
            let value = random.bytes(size as usize);
            if !lane.send(*random.pick(places), key.as_deref(), &value, stop) {
                return;
            }
        }
        stop.pause(Duration::from_millis(random.between(0, 20)));
    }
}

/// Ends a lane of one round; what is in flight stays unknown.
fn end_early(worker: Worker) {
    worker.stop.stop();
    worker.thread.join().expect("the lane's thread");
    drop(worker.lane);
}

/// All partitions of this test's topics and of the engine's.
fn places(address: &str) -> Vec<Place> {
    let metadata = consumer(address, "kill-nine-places")
        .fetch_metadata(None, SETTLE_MAX)
        .expect("metadata");
    let partitions = |topic: &'static str| {
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let found = found.unwrap_or_else(|| panic!("no topic {topic}"));
        let mut ids: Vec<i32> = found.partitions().iter().map(MetadataPartition::id).collect();
        ids.sort_unstable();
        ids.into_iter().map(move |partition| Place { topic, partition })
    };
    let topics = TOPICS
        .into_iter()
        .map(|(topic, _)| topic)
        .chain([COMMANDS, EVENTS]);
    topics.flat_map(partitions).collect()
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={value} is no number")),
    )
}
