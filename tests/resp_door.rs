//! The RESP door: the daemon under real Redis clients and under clients that mean harm.

#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::{Daemon, serve};
use doorbuster::commerce::doors::resp::{RespConfig, RespDoor};
use doorbuster::commerce::inventory::{Inventory, InventoryOptions, Router};
use doorbuster::commerce::store::MemoryStore;
use doorbuster::resp::{Reply, parse_reply, write};

/// Longest wait for anything that should happen at once.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A client that says exactly what it is told to.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            input: Vec::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn next(&mut self) -> Reply {
        self.try_next().expect("a reply, not the end")
    }

    /// The next reply, or none at the end of the connection.
    fn try_next(&mut self) -> Option<Reply> {
        let mut chunk = [0; 4096];
        loop {
            if let Some((reply, size_bytes)) = parse_reply(&self.input).unwrap() {
                self.input.drain(..size_bytes);
                return Some(reply);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(size_bytes) => self.input.extend_from_slice(&chunk[..size_bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn ask(&mut self, line: &str) -> Reply {
        self.send(&array(line));
        self.next()
    }
}

fn array(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut request = Vec::new();
    write::array(&mut request, words.len());
    for word in words {
        write::bulk(&mut request, word.as_bytes());
    }
    request
}

fn status(text: &str) -> Reply {
    Reply::Status(text.to_owned())
}

fn error(text: &str) -> Reply {
    Reply::Error(text.to_owned())
}

/// The status of an array of a status and a number.
fn first_status(reply: Reply) -> String {
    match reply {
        Reply::Array(elements) => match &elements[..] {
            [Reply::Status(status), Reply::Integer(_)] => status.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// A count of `STOCK`.
fn count(client: &mut Client, sku: &str, name: &str) -> i64 {
    let Reply::Array(pairs) = client.ask(&format!("STOCK {sku}")) else {
        panic!("no article {sku}");
    };
    let found = pairs
        .chunks(2)
        .find(|pair| pair[0] == Reply::Bulk(name.as_bytes().to_vec()));
    match found.unwrap()[1] {
        Reply::Integer(count) => count,
        ref other => panic!("{other:?}"),
    }
}

fn start(folder: &Path) -> (Daemon, String) {
    let mut command = serve();
    command
        .args(["--listen", "127.0.0.1:0", "--resp", "127.0.0.1:0", "--data-dir"])
        .arg(folder);
    let mut daemon = Daemon::started_by(&mut command);
    let address = daemon.door("RESP");
    (daemon, address)
}

/// A door in this process, over an engine in memory.
fn door(config: RespConfig) -> (RespDoor, String) {
    let shard = Inventory::open_store(MemoryStore::new(), InventoryOptions::default()).unwrap();
    let door = RespDoor::open(config, Router::new(vec![shard])).unwrap();
    let address = door.local_addr().to_string();
    (door, address)
}

fn config() -> RespConfig {
    RespConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..RespConfig::default()
    }
}

#[test]
fn a_reservation_from_beginning_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, address) = start(folder.path());
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("STOCK tv"), Reply::Null);
    assert_eq!(client.ask("RECEIVE tv 5 delivery-1"), status("RECEIVED"));
    assert_eq!(client.ask("RECEIVE tv 5 delivery-1"), status("EXISTS"));
    assert_eq!(first_status(client.ask("RESERVE r-1 ann 60000 tv 2")), "RESERVED");
    assert_eq!(first_status(client.ask("RESERVE r-1 ann 60000 tv 2")), "EXISTS");
    assert_eq!(
        client.ask("RESERVE r-1 ann 60000 tv 1"),
        error("EXISTS_DIFFERENT field=lines")
    );
    assert_eq!(
        client.ask("RESERVE r-2 bob 60000 tv 4"),
        error("SOLD_OUT sku=tv available=3")
    );
    assert_eq!(
        client.ask("RESERVE r-2 bob 60000 tv 1"),
        error("ALREADY_FAILED reason=sold_out")
    );
    assert_eq!(
        client.ask("RESERVE r-3 bob 60000 radio 1"),
        error("UNKNOWN_SKU sku=radio")
    );
    assert_eq!(first_status(client.ask("EXTEND r-1 90000")), "EXTENDED");
    assert_eq!(client.ask("COMMIT r-1"), status("COMMITTED"));
    assert_eq!(client.ask("COMMIT r-1"), status("ALREADY_COMMITTED"));
    assert_eq!(client.ask("RELEASE r-1"), error("ALREADY_COMMITTED"));
    assert_eq!(client.ask("COMMIT r-9"), error("UNKNOWN_RESERVATION"));
    assert_eq!(
        client.ask("RESERVATION r-1"),
        Reply::Array(vec![
            Reply::Bulk(b"state".to_vec()),
            Reply::Bulk(b"committed".to_vec())
        ])
    );
    assert_eq!(client.ask("RESERVATION r-9"), Reply::Null);
    assert_eq!(count(&mut client, "tv", "allocated"), 2);
    assert_eq!(
        client.ask(
            r#"SUBMIT {"type":"set_policy","id":"00000000-0000-0000-0000-000000000001","sku":"tv","limit_per_customer":1}"#
        ),
        Reply::Bulk(br#"{"type":"policy_set","sku":"tv","limit_per_customer":1}"#.to_vec())
    );
    assert_eq!(
        client.ask("RESERVE r-4 eve 60000 tv 2"),
        error("CUSTOMER_LIMIT remaining=1 sku=tv")
    );
    let ended = daemon.stop(daemon::signal_named("SIGTERM"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn what_was_answered_survives_kill_nine_and_a_retry_is_one_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, address) = start(folder.path());
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("RECEIVE tv 1000"), status("RECEIVED"));
    // A pipeline of which only a part is answered when the daemon dies.
    let mut pipeline = Vec::new();
    for n in 0..500 {
        pipeline.extend(array(&format!("RESERVE r-{n} c-{n} 600000 tv 1")));
    }
    client.send(&pipeline);
    for _ in 0..200 {
        assert_eq!(first_status(client.next()), "RESERVED");
    }
    daemon.kill_nine();

    let (daemon, address) = start(folder.path());
    let mut client = Client::connect(&address);
    client.send(&pipeline);
    let statuses: Vec<String> = (0..500).map(|_| first_status(client.next())).collect();
    assert!(
        statuses[..200].iter().all(|status| status == "EXISTS"),
        "{statuses:?}"
    );
    assert_eq!(count(&mut client, "tv", "reserved"), 500);
    daemon.kill_nine();
}

#[test]
fn replies_come_in_order_and_each_sees_what_went_before() {
    let (_door, address) = door(config());
    let mut client = Client::connect(&address);
    let mut pipeline = Vec::new();
    for n in 0..1_000 {
        for line in [
            format!("RECEIVE sku-{n} 1"),
            format!("RESERVE r-{n} c 60000 sku-{n} 1"),
            format!("ECHO {n}"),
            format!("STOCK sku-{n}"),
            format!("RELEASE r-{n}"),
            "NONSENSE".to_owned(),
            format!("RESERVATION r-{n}"),
        ] {
            pipeline.extend(array(&line));
        }
    }
    let mut sender = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&pipeline).unwrap());
    for n in 0..1_000 {
        assert_eq!(client.next(), status("RECEIVED"), "{n}");
        assert_eq!(first_status(client.next()), "RESERVED", "{n}");
        assert_eq!(client.next(), Reply::Bulk(n.to_string().into_bytes()));
        let Reply::Array(stock) = client.next() else {
            panic!("no stock of {n}");
        };
        let reserved = stock
            .iter()
            .position(|name| *name == Reply::Bulk(b"reserved".to_vec()));
        assert_eq!(stock[reserved.unwrap() + 1], Reply::Integer(1), "{n}");
        assert_eq!(client.next(), status("RELEASED"), "{n}");
        assert_eq!(client.next(), error("ERR unknown command 'NONSENSE'"), "{n}");
        assert_eq!(
            client.next(),
            Reply::Array(vec![
                Reply::Bulk(b"state".to_vec()),
                Reply::Bulk(b"released".to_vec())
            ])
        );
    }
    sending.join().unwrap();
}

#[test]
fn many_connections_race_for_few_units() {
    let (_door, address) = door(config());
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("RECEIVE tv 100"), status("RECEIVED"));
    let won: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|racer| {
                let address = &address;
                scope.spawn(move || {
                    let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(address)).collect();
                    for (n, client) in clients.iter_mut().enumerate() {
                        for k in 0..5 {
                            client.send(&array(&format!("RESERVE {racer}-{n}-{k} c 60000 tv 1")));
                        }
                    }
                    let replies = clients
                        .iter_mut()
                        .flat_map(|client| (0..5).map(|_| client.next()));
                    replies.filter(|reply| matches!(reply, Reply::Array(_))).count()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(won, 100);
    assert_eq!(count(&mut client, "tv", "sellable"), 0);
}

#[test]
fn what_is_not_resp_ends_the_connection_after_what_came_before() {
    let (_door, address) = door(config());
    let huge = b"*1\r\n$200000\r\n".to_vec();
    let deep = b"*1\r\n".repeat(1_000);
    let long = [b'x'; 5_000].to_vec();
    for (attack, said) in [
        (
            b"*1\r\n:1\r\n".to_vec(),
            "ERR Protocol error: expected '$', got ':'",
        ),
        (
            b"*9999999\r\n".to_vec(),
            "ERR Protocol error: invalid multibulk length, at most 256 arguments are taken",
        ),
        (
            huge,
            "ERR Protocol error: too big request, at most 131072 bytes are taken",
        ),
        (deep, "ERR Protocol error: expected '$', got '*'"),
        (
            long,
            "ERR Protocol error: too big inline request, at most 4096 bytes are taken",
        ),
        (
            b"GET / HTTP/1.1 \"\r\n".to_vec(),
            "ERR Protocol error: unbalanced quotes in request",
        ),
    ] {
        let mut client = Client::connect(&address);
        let mut request = array("RECEIVE tv 1");
        request.extend(array("PING"));
        request.extend(&attack);
        client.send(&request);
        assert_eq!(client.next(), status("RECEIVED"));
        assert_eq!(client.next(), status("PONG"));
        assert_eq!(client.next(), error(said));
        assert_eq!(client.try_next(), None, "{said}");
    }
    assert_eq!(Client::connect(&address).ask("PING"), status("PONG"));
}

#[test]
fn a_command_in_single_bytes_is_a_command() {
    let (_door, address) = door(config());
    let mut client = Client::connect(&address);
    for line in ["RECEIVE tv 3", "RESERVE r c 60000 tv 1"] {
        for byte in array(line) {
            client.send(&[byte]);
        }
    }
    assert_eq!(client.next(), status("RECEIVED"));
    assert_eq!(first_status(client.next()), "RESERVED");
}

#[test]
fn a_client_that_sends_half_a_command_is_let_go_and_others_are_not() {
    let (_door, address) = door(RespConfig {
        request_timeout: Duration::from_millis(100),
        ..config()
    });
    let mut patient = Client::connect(&address);
    assert_eq!(patient.ask("PING"), status("PONG"));
    let mut slow = Client::connect(&address);
    slow.send(b"*2\r\n$4\r\nECHO\r\n$100\r\nabc");
    assert_eq!(slow.try_next(), None);
    assert_eq!(patient.ask("PING"), status("PONG"));
}

#[test]
fn a_client_that_takes_no_replies_is_not_read_further_and_is_let_go() {
    let (_door, address) = door(RespConfig {
        write_timeout: Duration::from_millis(100),
        ..config()
    });
    let mut greedy = Client::connect(&address);
    greedy.stream.set_write_timeout(Some(ANSWER_MAX)).unwrap();
    let commands = b"COMMAND\r\n".repeat(10_000);
    let started = Instant::now();
    let refused = loop {
        if let Err(error) = greedy.stream.write_all(&commands) {
            break error;
        }
        assert!(started.elapsed() < ANSWER_MAX, "everything is taken in");
    };
    assert!(
        matches!(
            refused.kind(),
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
        ),
        "{refused:?}"
    );
    assert_eq!(Client::connect(&address).ask("PING"), status("PONG"));
}

#[test]
fn too_many_connections_are_told_so() {
    let (_door, address) = door(RespConfig {
        connections_max: 2,
        ..config()
    });
    let mut first = Client::connect(&address);
    let mut second = Client::connect(&address);
    assert_eq!(first.ask("PING"), status("PONG"));
    assert_eq!(second.ask("PING"), status("PONG"));
    let mut third = Client::connect(&address);
    assert_eq!(third.next(), error("ERR max number of clients reached"));
    assert_eq!(third.try_next(), None);
    assert_eq!(first.ask("QUIT"), status("OK"));
    assert_eq!(first.try_next(), None);
    assert_eq!(Client::connect(&address).ask("PING"), status("PONG"));
}

#[test]
fn a_client_that_closes_its_side_still_hears_its_answers() {
    let (_door, address) = door(config());
    let mut client = Client::connect(&address);
    let mut request = array("RECEIVE tv 3");
    request.extend(array("RESERVE r c 60000 tv 1"));
    client.send(&request);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.next(), status("RECEIVED"));
    assert_eq!(first_status(client.next()), "RESERVED");
    assert_eq!(client.try_next(), None);
}

#[test]
fn a_door_that_closes_lets_its_clients_go() {
    let (door, address) = door(config());
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("RECEIVE tv 3"), status("RECEIVED"));
    drop(door);
    assert_eq!(client.try_next(), None);
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn an_engine_that_stopped_says_so() {
    let shard = Inventory::open_store(MemoryStore::new(), InventoryOptions::default()).unwrap();
    let door = RespDoor::open(config(), Router::new(vec![shard.clone()])).unwrap();
    let mut client = Client::connect(&door.local_addr().to_string());
    shard.close();
    for line in ["RECEIVE tv 1", "STOCK tv", "RESERVATION r"] {
        let stopped = "STOPPED the engine takes no commands; ask again later with the same id";
        assert_eq!(client.ask(line), error(stopped), "{line}");
    }
    assert_eq!(client.ask("PING"), status("PONG"));
}

#[test]
fn resp3_where_it_is_asked_for() {
    let (_door, address) = door(config());
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("RECEIVE tv 3"), status("RECEIVED"));
    // What was asked before is told as it was asked.
    client.send(&[array("STOCK tv"), array("HELLO 3")].concat());
    assert!(matches!(client.next(), Reply::Array(_)));
    let Reply::Map(hello) = client.next() else {
        panic!("HELLO answers a map");
    };
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    assert_eq!(hello[0], (bulk("server"), bulk("doorbuster")));
    assert!(hello.contains(&(bulk("proto"), Reply::Integer(3))));
    assert_eq!(client.ask("STOCK radio"), Reply::Null);
    assert!(matches!(client.ask("STOCK tv"), Reply::Map(_)));
}

/// Whether a program is there; where changes are judged, it must be.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{program} is not installed"
    );
    found
}

#[test]
fn redis_cli_and_redis_benchmark_work_unchanged() {
    if !has("redis-cli") || !has("redis-benchmark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (daemon, address) = start(folder.path());
    let port = address.rsplit_once(':').unwrap().1;
    let cli = |line: &str| {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", port]).args(line.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(cli("RECEIVE tv 100000"), "RECEIVED\n");
    assert!(cli("RESERVE o-1 ann 60000 tv 1").starts_with("RESERVED\n"));
    assert_eq!(cli("COMMIT o-1"), "COMMITTED\n");
    assert_eq!(
        cli("RESERVE o-2 ann 60000 tv 200000").trim_end(),
        "SOLD_OUT sku=tv available=99999"
    );
    let output = Command::new("redis-benchmark")
        .args([
            "-p",
            port,
            "-n",
            "20000",
            "-c",
            "20",
            "-P",
            "16",
            "-r",
            "1000000000",
            "-q",
        ])
        .args(["RESERVE", "__rand_int__", "c", "600000", "tv", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("requests per second") && !said.contains("Error"),
        "{said}"
    );
    let mut client = Client::connect(&address);
    let reserved = count(&mut client, "tv", "reserved");
    // A few of so many random ids may be drawn twice.
    assert!((19_900..=20_000).contains(&reserved), "{reserved}");
    daemon.kill_nine();
}
