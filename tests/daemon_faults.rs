//! What goes wrong around a daemon: it says so clearly, and loses nothing.

mod daemon;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use daemon::{
    Client, Daemon, Ended, Random, SmallDisk, ask_metadata, fetch, free_address, serve, signal_named,
    snapshot,
};

/// Exit code of a failure.
const FAILED: Option<i32> = Some(2);

/// A start after a clean stop.
const START_MAX: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(5)
} else {
    Duration::from_secs(1)
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn refused(folder: &Path, listen: &str) -> Ended {
    Daemon::refused_by(serve().arg("--listen").arg(listen).arg("--data-dir").arg(folder))
}

#[track_caller]
fn assert_refused(ended: &Ended, says: &[&str]) {
    assert_eq!(ended.code, FAILED, "{ended:?}");
    for part in says {
        assert!(ended.stderr.contains(part), "want {part:?} in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = folder();
    let ended = refused(&folder.path().join("data"), &address);
    assert_refused(&ended, &[&address, "in use"]);
    // The folder is free again for the next attempt.
    let daemon = Daemon::start(&folder.path().join("data"), "127.0.0.1:0");
    ask_metadata(&daemon.address()).expect("metadata");
}

#[test]
fn a_folder_in_use_is_refused_with_the_holders_process_id() {
    let folder = folder();
    let first = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&first.address());
    client.create_topic("held", 1);
    assert_eq!(client.produce("held", 0, b"before"), Ok(0));
    let before = snapshot(&folder.path().join("partitions"));
    let second = refused(folder.path(), "127.0.0.1:0");
    assert_refused(
        &second,
        &[
            "in use",
            &first.pid().to_string(),
            &folder.path().display().to_string(),
        ],
    );
    assert_eq!(snapshot(&folder.path().join("partitions")), before);
    assert_eq!(client.produce("held", 0, b"after"), Ok(1));
    // The lock ends with its holder, however that ends.
    first.kill_nine();
    let third = Daemon::start(folder.path(), "127.0.0.1:0");
    let values = Client::new(&third.address()).read_all("held", 0);
    assert_eq!(values, [b"before".to_vec(), b"after".to_vec()]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("a file");
    let inside = file.join("data");
    assert_refused(
        &refused(&inside, "127.0.0.1:0"),
        &[&inside.display().to_string(), "create"],
    );
    assert_refused(&refused(&file, "127.0.0.1:0"), &[&file.display().to_string()]);
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "not a folder");
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("journal")).expect("a folder");
    std::fs::write(folder.path().join("journal/0000.journal"), "a diary").expect("a file");
    let before = snapshot(folder.path());
    let ended = refused(folder.path(), "127.0.0.1:0");
    assert_refused(
        &ended,
        &[&folder.path().display().to_string(), "nothing was changed"],
    );
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn a_damaged_journal_stops_the_start_and_nothing_is_changed() {
    let folder = folder();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    client.create_topic("precious", 1);
    let values: Vec<Vec<u8>> = (0..20)
        .map(|number| format!("precious {number}").into_bytes())
        .collect();
    for (offset, value) in values.iter().enumerate() {
        assert_eq!(client.produce("precious", 0, value), Ok(offset as i64));
    }
    daemon.kill_nine();
    let damaged = Damage::of_frame_with(folder.path(), &values[10]);
    damaged.apply();
    let before = snapshot(folder.path());
    for _ in 0..2 {
        let ended = refused(folder.path(), "127.0.0.1:0");
        let journal = damaged.file.display().to_string();
        assert_refused(&ended, &["damaged", &journal, "nothing was changed"]);
        assert_eq!(snapshot(folder.path()), before);
    }
    // An operator who puts the right bytes back gets everything back.
    damaged.undo();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    assert_eq!(Client::new(&daemon.address()).read_all("precious", 0), values);
}

#[test]
fn a_torn_end_of_the_journal_is_cut_and_everything_before_it_stays() {
    let folder = folder();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    client.create_topic("torn", 1);
    for value in [&b"one"[..], b"two", b"three"] {
        client.produce("torn", 0, value).expect("an acknowledgement");
    }
    daemon.kill_nine();
    // The last frame, of which no other frame says that it was durable, stands for a write that was cut short.
    Damage::of_frame_with(folder.path(), b"three").apply();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    assert_eq!(client.read_all("torn", 0), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(client.produce("torn", 0, b"again"), Ok(2));
    daemon.kill_nine();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let values = Client::new(&daemon.address()).read_all("torn", 0);
    assert_eq!(values, [b"one".to_vec(), b"two".to_vec(), b"again".to_vec()]);
}

#[test]
fn a_damaged_segment_is_an_error_for_its_records_only() {
    let folder = folder();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    for topic in ["rotten", "sound"] {
        client.create_topic(topic, 1);
        client
            .produce(topic, 0, format!("first of {topic}").as_bytes())
            .expect("an acknowledgement");
    }
    let stopped = daemon.stop(signal_named("SIGTERM"));
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    Damage::in_files(&folder.path().join("partitions"), "log", b"first of rotten").apply();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let rotten = fetch(&daemon.address(), "rotten", 0, 0).expect("an answer");
    let (storage_error, corrupt_message) = (56, 2);
    assert!(
        [storage_error, corrupt_message].contains(&rotten.error_code),
        "{rotten:?}"
    );
    assert!(rotten.records.is_empty(), "damaged bytes were served: {rotten:?}");
    let sound = Client::new(&daemon.address());
    assert_eq!(sound.read_all("sound", 0), [b"first of sound".to_vec()]);
    assert_eq!(sound.produce("sound", 0, b"second"), Ok(1));
}

#[test]
fn sigterm_and_sigint_end_with_success_and_the_next_start_is_fast() {
    let folder = folder();
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for signal in ["SIGTERM", "SIGINT", "SIGTERM"] {
        let begun = Instant::now();
        let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
        let took = begun.elapsed();
        assert!(took < START_MAX, "start took {took:?}");
        let client = Client::new(&daemon.address());
        if expected.is_empty() {
            client.create_topic("kept", 1);
        }
        for number in 0..5 {
            let value = format!("{signal} {number}").into_bytes();
            assert_eq!(client.produce("kept", 0, &value), Ok(expected.len() as i64));
            expected.push(value);
        }
        assert_eq!(client.read_all("kept", 0), expected);
        let stopped = daemon.stop(signal_named(signal));
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        assert!(stopped.stderr.contains(signal), "{stopped:?}");
        assert!(stopped.took < Duration::from_secs(6), "{stopped:?}");
    }
}

#[test]
fn a_signal_right_after_the_ready_line_ends_with_success() {
    let folder = folder();
    for _ in 0..5 {
        let stopped = Daemon::start(folder.path(), "127.0.0.1:0").stop(signal_named("SIGTERM"));
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
    }
}

#[test]
fn a_crowd_of_idle_connections_leaves_the_log_its_files() {
    let folder = folder();
    let daemon = Daemon::started_by(&mut serve_with_descriptors(folder.path(), 128));
    let client = Client::new(&daemon.address());
    for number in 0..10 {
        client.create_topic(&format!("during-{number}"), 1);
    }
    assert_eq!(client.produce("during-0", 0, b"before"), Ok(0));
    let connect = || TcpStream::connect(daemon.address());
    let crowd: Vec<TcpStream> = (0..300).map_while(|_| connect().ok()).collect();
    assert_eq!(crowd.len(), 300);
    // Each partition needs files when its records are flushed.
    for number in 1..10 {
        assert_eq!(client.produce(&format!("during-{number}"), 0, b"during"), Ok(0));
    }
    let stopped = daemon.stop(signal_named("SIGTERM"));
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    drop(crowd);
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    assert_eq!(client.read_all("during-0", 0), [b"before".to_vec()]);
    for number in 1..10 {
        assert_eq!(
            client.read_all(&format!("during-{number}"), 0),
            [b"during".to_vec()]
        );
    }
}

#[test]
fn a_partition_with_data_takes_one_file_descriptor() {
    const PARTITIONS: i32 = 60;
    let folder = folder();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    client.create_topic("many", PARTITIONS);
    for partition in 0..PARTITIONS {
        // More than the interval of the index, so that its files are written too.
        assert_eq!(client.produce("many", partition, &[7; 10_000]), Ok(0));
        assert_eq!(client.produce("many", partition, &[7; 10_000]), Ok(1));
    }
    let open = || {
        let links = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("a running process");
        let files = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        files
            .filter(|file| file.components().any(|part| part.as_os_str() == "partitions"))
            .count()
    };
    let begun = Instant::now();
    while open() < PARTITIONS as usize {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the records are never flushed"
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
    // Beside them, the partitions of the catalog, of the broker's state and of the engine's topics.
    let limit = PARTITIONS as usize + 6;
    assert!(
        open() <= limit,
        "{} files of partitions are open, want at most {limit}",
        open()
    );
}

/// A daemon that may open that many files and connections together.
fn serve_with_descriptors(folder: &Path, count: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n $0 && exec \"$@\"", &count.to_string()]);
    let daemon = serve();
    command.arg(daemon.get_program()).args(daemon.get_args());
    command
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder);
    command
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = folder();
    let config = folder.path().join("doorbuster.toml");
    let (file, environment, flag) = (free_address(), free_address(), free_address());
    let data = folder.path().join("data");
    std::fs::write(&config, format!("listen = {file:?}\ndata_dir = {data:?}\n")).expect("a file");
    let with = |environment: Option<&str>, flag: Option<&str>| {
        let mut command = serve();
        command.arg("--config").arg(&config);
        environment.map(|address| command.env("DOORBUSTER_LISTEN", address));
        flag.map(|address| command.arg("--listen").arg(address));
        let daemon = Daemon::started_by(&mut command);
        ask_metadata(&daemon.address()).expect("metadata");
        daemon.address()
    };
    assert_eq!(with(None, None), file);
    assert_eq!(with(Some(&environment), None), environment);
    assert_eq!(with(Some(&environment), Some(&flag)), flag);
    assert!(data.join("journal").is_dir(), "the folder of the file was used");
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let folder = folder();
    let config = folder.path().join("shop.toml");
    std::fs::write(
        &config,
        "data_dir = \"unused\"\nlisten_adress = \"127.0.0.1:0\"\n",
    )
    .expect("a file");
    let ended = Daemon::refused_by(serve().arg("--config").arg(&config));
    assert_refused(&ended, &[&config.display().to_string(), "listen_adress"]);
    let missing = folder.path().join("missing.toml");
    let ended = Daemon::refused_by(serve().arg("--config").arg(&missing));
    assert_refused(&ended, &[&missing.display().to_string()]);
}

#[test]
fn other_machines_are_let_in_only_when_that_is_said() {
    let folder = folder();
    let data = folder.path().join("data");
    assert_refused(&refused(&data, "0.0.0.0:0"), &["0.0.0.0:0", "--insecure"]);
    assert!(!data.exists(), "nothing was written");
    let open = Daemon::started_by(
        serve()
            .args(["--listen", "0.0.0.0:0", "--insecure", "--data-dir"])
            .arg(&data),
    );
    let port = open
        .address()
        .rsplit_once(':')
        .map(|(_, port)| port.to_owned())
        .expect("a port");
    ask_metadata(&format!("127.0.0.1:{port}")).expect("metadata");
}

#[test]
fn a_full_disk_refuses_records_keeps_reading_and_recovers() {
    const DISK_SIZE_BYTES: u64 = 64 * 1024 * 1024;
    let disk = SmallDisk::ext4(DISK_SIZE_BYTES).or_else(|why| {
        eprintln!("NO LOOP FILESYSTEM ({why}): the full disk is tried on tmpfs instead");
        SmallDisk::tmpfs(DISK_SIZE_BYTES)
    });
    match disk {
        Ok(disk) => fill_and_free(disk.path()),
        Err(why) => {
            eprintln!("NOTHING CAN BE MOUNTED ({why}): the full disk is NOT TRIED with the real kernel");
        }
    }
}

fn fill_and_free(disk: &Path) {
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![0xba; 12 * 1024 * 1024]).expect("a ballast");
    let data = disk.join("data");
    let daemon = Daemon::start(&data, "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    client.create_topic("filling", 1);
    assert_eq!(client.commit("early", "filling", 0, 0), Ok(()));
    let mut random = Random::new(64);
    let (acknowledged, error) = fill(&client, &mut random);
    // Kafka calls this error retriable: producers that are set up to do so keep trying.
    let storage_error = KafkaError::MessageProduction(RDKafkaErrorCode::KafkaStorageError);
    assert_eq!(error, storage_error);
    assert_eq!(
        client.produce("filling", 0, &random.bytes(100_000)),
        Err(storage_error)
    );

    assert_eq!(client.read_all("filling", 0), acknowledged, "reading goes on");
    let half = acknowledged.len() as i64 / 2;
    assert_eq!(
        client.commit("readers", "filling", 0, half),
        Ok(()),
        "committing offsets goes on"
    );
    assert_eq!(client.committed("readers", "filling", 0), Some(half));

    // Recovery needs no free byte.
    daemon.kill_nine();
    let daemon = Daemon::start(&data, "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    assert_eq!(
        client.read_all("filling", 0),
        acknowledged,
        "the full disk is read after a crash"
    );
    assert_eq!(client.committed("readers", "filling", 0), Some(half));

    std::fs::remove_file(&ballast).expect("the ballast");
    let acknowledged = produce_until_taken(&client, acknowledged, &mut random);
    daemon.kill_nine();
    let daemon = Daemon::start(&data, "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    assert_eq!(client.read_all("filling", 0), acknowledged);
    assert_eq!(client.committed("readers", "filling", 0), Some(half));
    let stopped = daemon.stop(signal_named("SIGTERM"));
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
}

/// Produces until the first refusal; what was acknowledged, and the refusal.
fn fill(client: &Client, random: &mut Random) -> (Vec<Vec<u8>>, KafkaError) {
    const TRIES_MAX: usize = 2_000;
    let mut acknowledged = Vec::new();
    for _ in 0..TRIES_MAX {
        let value = random.bytes(100_000);
        match client.produce("filling", 0, &value) {
            Ok(offset) => assert_eq!(offset, acknowledged.len() as i64),
            Err(error) => return (acknowledged, error),
        }
        acknowledged.push(value);
    }
    panic!("a disk of 64 MiB took {TRIES_MAX} records of 100 kB");
}

/// Produces until a record is taken again, and 5 more.
fn produce_until_taken(client: &Client, mut acknowledged: Vec<Vec<u8>>, random: &mut Random) -> Vec<Vec<u8>> {
    let begun = Instant::now();
    let goal = acknowledged.len() + 6;
    while acknowledged.len() < goal {
        let value = random.bytes(100_000);
        match client.produce("filling", 0, &value) {
            Ok(offset) => {
                assert_eq!(offset, acknowledged.len() as i64);
                acknowledged.push(value);
            }
            Err(error) => assert!(
                begun.elapsed() < Duration::from_secs(20),
                "still refused: {error}"
            ),
        }
    }
    acknowledged
}

/// One byte of a file that is wrong.
struct Damage {
    file: PathBuf,
    position: usize,
}

impl Damage {
    /// Damage to the journal frame that carries `value`.
    fn of_frame_with(folder: &Path, value: &[u8]) -> Damage {
        Damage::in_files(&folder.join("journal"), "journal", value)
    }

    /// Damage to `value`, which one file below `folder` with that extension holds, and holds once.
    fn in_files(folder: &Path, extension: &str, value: &[u8]) -> Damage {
        let mut found = Vec::new();
        for file in snapshot(folder)
            .into_keys()
            .filter(|path| path.extension().is_some_and(|e| e == extension))
        {
            let content = std::fs::read(&file).expect("a readable file");
            let is_here = |window: &(usize, &[u8])| window.1 == value;
            for (position, _) in content.windows(value.len()).enumerate().filter(is_here) {
                found.push(Damage {
                    file: file.clone(),
                    position,
                });
            }
        }
        assert_eq!(found.len(), 1, "places of {value:?} in {}", folder.display());
        found.remove(0)
    }

    fn apply(&self) {
        let mut content = std::fs::read(&self.file).expect("a readable file");
        content[self.position] ^= 0x40;
        std::fs::write(&self.file, content).expect("a writable file");
    }

    fn undo(&self) {
        self.apply();
    }
}

#[test]
fn a_power_cut_on_a_real_filesystem_loses_nothing_acknowledged() {
    match SmallDisk::ext4(160 * 1024 * 1024) {
        Ok(disk) => cut_power_again_and_again(&disk),
        Err(why) => eprintln!("NO LOOP FILESYSTEM ({why}): power cuts are NOT TRIED with the real kernel"),
    }
}

fn cut_power_again_and_again(disk: &SmallDisk) {
    let daemon = Daemon::start(&disk.path().join("data"), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    let mut random = Random::new(160);
    let mut sent: Vec<Vec<Vec<u8>>> = Vec::new();
    for round in 0..12 {
        let topic = format!("round-{round}");
        client.create_topic(&topic, 1);
        sent.push(Vec::new());
        for _ in 0..random.between(0, 40) {
            let size = if random.one_in(4) { 200_000 } else { 100 };
            let (which, value) = (random.between(0, round + 1) as usize, random.bytes(size));
            let offset = client.produce(&format!("round-{which}"), 0, &value);
            assert_eq!(offset, Ok(sent[which].len() as i64));
            sent[which].push(value);
        }
        // Standing still, the daemon writes nothing while the blocks are copied.
        let left = daemon
            .frozen(|| disk.after_power_cut())
            .expect("a second filesystem");
        let restarted = Daemon::start(&left.path().join("data"), "127.0.0.1:0");
        let reader = Client::new(&restarted.address());
        for (which, values) in sent.iter().enumerate() {
            assert_eq!(
                &reader.read_all(&format!("round-{which}"), 0),
                values,
                "cut {round}, topic {which}"
            );
        }
        assert_eq!(
            reader.produce(&topic, 0, b"after"),
            Ok(sent[round as usize].len() as i64)
        );
    }
}

#[test]
fn nobody_but_the_engine_writes_its_events_or_deletes_its_topics() {
    let (commands, events) = ("inventory.commands", "inventory.events");
    let folder = folder();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    let client = Client::new(&daemon.address());
    let forged = br#"{"type":"received","sku":"tv","quantity":1000,"command":"00000000-0000-0000-0000-000000000001","at_ms":1}"#;
    let denied = Some(RDKafkaErrorCode::TopicAuthorizationFailed);
    for value in [&forged[..], b"no event at all"] {
        let sent = client.produce(events, 0, value);
        assert_eq!(sent.expect_err("a refusal").rdkafka_error_code(), denied);
    }
    assert_eq!(client.delete_topics(&[commands, events]), [denied, denied]);

    // The engine was not disturbed, and a restart finds nothing but its own events.
    let command =
        br#"{"type":"receive","id":"00000000-0000-0000-0000-000000000001","sku":"tv","quantity":1}"#;
    assert_eq!(client.produce(commands, 0, command), Ok(0));
    let asked = Instant::now();
    while client.read_all(events, 0).is_empty() {
        assert!(asked.elapsed() < Duration::from_secs(20), "no answer");
    }
    daemon.kill_nine();
    let daemon = Daemon::start(folder.path(), "127.0.0.1:0");
    assert_eq!(Client::new(&daemon.address()).read_all(events, 0).len(), 1);
}
