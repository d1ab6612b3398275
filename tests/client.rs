//! The client against the daemon, and against servers that are none.

#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command as Process;
use std::sync::mpsc::channel;
use std::time::Duration;

use daemon::{Daemon, free_address, serve};
use doorbuster::client::{Client, ClientError, ClientOptions};
use doorbuster::commerce::doors::resp::{RespConfig, RespDoor};
use doorbuster::commerce::inventory::{
    Adjust, CartPolicy, Command, Inventory, InventoryOptions, Line, Outcome, ReservationView, Router,
};
use doorbuster::commerce::store::MemoryStore;
use uuid::Uuid;

const TTL: Duration = Duration::from_mins(10);

fn start(folder: &Path, resp: &str) -> Daemon {
    let mut command = serve();
    command
        .args(["--listen", "127.0.0.1:0", "--resp", resp, "--data-dir"])
        .arg(folder);
    Daemon::started_by(&mut command)
}

/// A door in this process, over an engine in memory.
fn door() -> (RespDoor, Client) {
    let shard = Inventory::open_store(MemoryStore::new(), InventoryOptions::default()).unwrap();
    let config = RespConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..RespConfig::default()
    };
    let door = RespDoor::open(config, Router::new(vec![shard])).unwrap();
    let client = Client::connect(&door.local_addr().to_string(), ClientOptions::default()).unwrap();
    (door, client)
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn tv(quantity: u32) -> Vec<Line> {
    vec![Line::new("tv", quantity)]
}

#[test]
fn every_outcome_comes_back_as_the_engine_gave_it() {
    let (_door, client) = door();
    // The same commands to an engine without a door between.
    let engine = Inventory::open_store(MemoryStore::new(), InventoryOptions::default()).unwrap();
    let reserve = |n, lines| Command::reserve(id(n), format!("c {n}"), lines, 60_000);
    let carts = [
        reserve(1, tv(2)),
        reserve(1, tv(2)),
        reserve(1, tv(1)),
        reserve(2, tv(9)),
        reserve(2, tv(1)),
        reserve(3, vec![Line::new("4711 \"odd\"\r\n", 1)]),
        reserve(4, vec![Line::new("tv", 1), Line::new("tv", 1)]),
        reserve(5, Vec::new()),
        reserve(6, tv(0)),
    ];
    let extend = |n, reservation, ttl_ms| Command::Extend {
        id: id(n),
        reservation: id(reservation),
        ttl_ms,
    };
    let commands = [
        Command::receive(id(100), "tv", 5),
        Command::limit(id(101), "tv", Some(3)),
    ]
    .into_iter()
    .chain(carts)
    .chain([
        extend(102, 1, 90_000),
        extend(102, 1, 90_000),
        extend(103, 9, 1),
        Command::commit(id(1)),
        Command::commit(id(1)),
        Command::release(id(1)),
        Command::release(id(4)),
        Command::release(id(4)),
        Command::commit(id(9)),
        Command::Reserve {
            id: id(7),
            reservation: id(7),
            customer: "bob".into(),
            lines: vec![Line::new("tv", 2), Line::new("radio", 1)],
            ttl_ms: 60_000,
            policy: CartPolicy::PerLine,
            split: None,
        },
        Command::Commit {
            id: id(7),
            reservation: id(7),
            lines: tv(1),
        },
        Command::Adjust(Box::new(Adjust {
            id: id(104),
            sku: "tv".into(),
            location: String::new(),
            delta: 1,
            expected_on_hand: Some(99),
            expected_version: None,
            reason: "counted".into(),
        })),
    ]);
    for command in commands {
        let told = client.submit(command.clone()).wait().unwrap();
        let expected = engine.submit(command.clone()).wait().unwrap();
        assert_eq!(timeless(told), timeless(expected), "{command:?}");
    }
}

/// The outcome without the instants, which two engines do not share.
fn timeless(mut outcome: Outcome) -> Outcome {
    if let Outcome::Reserved { expires_at_ms, .. }
    | Outcome::Extended { expires_at_ms }
    | Outcome::Exists {
        expires_at_ms: Some(expires_at_ms),
    } = &mut outcome
    {
        *expires_at_ms = 0;
    }
    outcome
}

#[test]
fn reads_are_typed() {
    let (_door, client) = door();
    assert_eq!(client.stock("tv").wait().unwrap(), None);
    assert_eq!(client.reservation(id(1)).wait().unwrap(), None);
    client.receive(id(100), "tv", 5).wait().unwrap();
    client.reserve(id(1), "ann", tv(2), TTL).wait().unwrap();
    let stock = client.stock("tv").wait().unwrap().unwrap();
    assert_eq!((stock.sellable, stock.reserved, stock.allocated), (3, 2, 0));
    let held = client.reservation(id(1)).wait().unwrap().unwrap();
    assert!(
        matches!(&held, ReservationView::Held { customer, lines, .. } if customer == "ann" && *lines == tv(2)),
        "{held:?}"
    );
    client.release(id(1)).wait().unwrap();
    assert_eq!(
        client.reservation(id(1)).wait().unwrap(),
        Some(ReservationView::Released)
    );
}

#[test]
fn threads_and_tasks_share_a_connection_and_no_unit_is_sold_twice() {
    let (_door, client) = door();
    client.receive(id(1), "tv", 1_000).wait().unwrap();
    let won = |outcome: Result<Outcome, ClientError>| match outcome.unwrap() {
        Outcome::Reserved { .. } => 1,
        Outcome::SoldOut { available: 0, .. } => 0,
        other => panic!("{other:?}"),
    };
    let by_threads: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=8u128)
            .map(|thread| {
                let client = client.clone();
                scope.spawn(move || {
                    let reserve = |n: u128| client.reserve(id(thread << 64 | n), "c", tv(1), TTL);
                    (0..50).map(|n| won(reserve(n).wait())).sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let by_tasks: usize = runtime.block_on(async {
        let tasks: Vec<_> = (100..108u128)
            .map(|task| {
                let client = client.clone();
                tokio::spawn(async move {
                    let mut sum = 0;
                    for n in 0..100 {
                        sum += won(client.reserve(id(task << 64 | n), "c", tv(1), TTL).await);
                    }
                    sum
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    });
    assert_eq!((by_threads, by_tasks), (400, 600));
    assert_eq!(client.stock("tv").wait().unwrap().unwrap().sellable, 0);
}

#[test]
fn a_daemon_that_dies_and_comes_back_is_met_again_and_nothing_is_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let daemon = start(folder.path(), &address);
    let client = Client::connect(
        &address,
        ClientOptions {
            timeout: Duration::from_secs(30),
            ..ClientOptions::default()
        },
    )
    .unwrap();
    client.receive(id(1), "tv", 1_000).wait().unwrap();
    let (sender, answered) = channel();
    std::thread::scope(|scope| {
        for thread in 1..=4u128 {
            let (client, sender) = (client.clone(), sender.clone());
            scope.spawn(move || {
                for n in 0..100 {
                    let outcome = client
                        .reserve(id(thread << 64 | n), "c", tv(1), TTL)
                        .wait()
                        .unwrap();
                    assert!(
                        matches!(outcome, Outcome::Reserved { .. } | Outcome::Exists { .. }),
                        "{outcome:?}"
                    );
                    sender.send(()).unwrap();
                }
            });
        }
        for _ in 0..100 {
            answered.recv().unwrap();
        }
        daemon.kill_nine();
        let _daemon = start(folder.path(), &address);
        for _ in 100..400 {
            answered.recv().unwrap();
        }
        assert_eq!(client.stock("tv").wait().unwrap().unwrap().reserved, 400);
    });
}

#[test]
fn a_daemon_that_stands_still_is_a_timeout_and_the_same_id_tells_later() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let daemon = start(folder.path(), &address);
    let client = Client::connect(
        &address,
        ClientOptions {
            timeout: Duration::from_millis(200),
            ..ClientOptions::default()
        },
    )
    .unwrap();
    let patient = Client::connect(&address, ClientOptions::default()).unwrap();
    patient.receive(id(1), "tv", 5).wait().unwrap();
    daemon.frozen(|| {
        let blocked = client.reserve(id(2), "c", tv(1), TTL).wait();
        assert!(matches!(blocked, Err(ClientError::Timeout)), "{blocked:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let awaited = runtime.block_on(client.reserve(id(3), "c", tv(1), TTL));
        assert!(matches!(awaited, Err(ClientError::Timeout)), "{awaited:?}");
    });
    for n in [2, 3] {
        let outcome = patient.reserve(id(n), "c", tv(1), TTL).wait().unwrap();
        assert!(
            matches!(outcome, Outcome::Reserved { .. } | Outcome::Exists { .. }),
            "{outcome:?}"
        );
    }
    assert_eq!(patient.stock("tv").wait().unwrap().unwrap().reserved, 2);
}

#[test]
fn too_many_calls_are_refused_and_the_end_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = ClientOptions {
        calls_max: 2,
        ..ClientOptions::default()
    };
    let client = Client::connect(&listener.local_addr().unwrap().to_string(), options).unwrap();
    let (first, second) = (client.commit(id(1)), client.commit(id(2)));
    assert!(matches!(
        client.commit(id(3)).wait(),
        Err(ClientError::Overloaded)
    ));
    drop(client);
    assert!(matches!(first.wait(), Err(ClientError::Closed)));
    assert!(matches!(second.wait(), Err(ClientError::Closed)));
    drop(listener);
}

#[test]
fn a_server_that_is_none_is_given_up_until_the_time_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let options = ClientOptions {
        timeout: Duration::from_millis(200),
        ..ClientOptions::default()
    };
    let client = Client::connect(&address, options).unwrap();
    assert!(matches!(client.commit(id(1)).wait(), Err(ClientError::Timeout)));
    serving.join().unwrap();
    assert!(matches!(
        Client::connect(&free_address(), ClientOptions::default()),
        Err(ClientError::Connect { .. })
    ));
    assert!(matches!(
        Client::connect("no address", ClientOptions::default()),
        Err(ClientError::Address { .. })
    ));
}

#[test]
fn the_example_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = start(folder.path(), "127.0.0.1:0");
    let address = daemon.door("RESP");
    // Beside the test's own program, where cargo puts what it builds for the tests.
    let mut example = std::env::current_exe().unwrap();
    example.pop();
    example.pop();
    example.push("examples/reserve_remotely");
    if !example.exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{} is not built",
            example.display()
        );
        return;
    }
    let output = Process::new(example).arg(address).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.ends_with("5 of 8 shoppers got one\n5 sold, 0 left\n"),
        "{said}"
    );
}
