//! The HTTP door: the daemon under curl, under a client that says exactly what it is told to, and with other doors.

#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::{Client as KafkaClient, Daemon, serve};
use doorbuster::commerce::doors::http::{HttpConfig, HttpDoor};
use doorbuster::commerce::inventory::{Inventory, InventoryOptions, Router};
use doorbuster::commerce::store::MemoryStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything that should happen at once.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What was answered.
#[derive(Debug)]
struct Response {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Sends bytes on a connection of their own and reads until the daemon closes it.
fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    answer
}

fn send(address: &str, head: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let answer = exchange(address, request.as_bytes());
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8(answer[..end].to_vec()).unwrap();
    Response {
        status: headers.split(' ').nth(1).unwrap().parse().unwrap(),
        headers,
        body: answer[end + 4..].to_vec(),
    }
}

fn get(address: &str, path: &str) -> Response {
    send(address, &format!("GET {path} HTTP/1.1"), "")
}

fn post(address: &str, path: &str, key: &str, body: &Value) -> Response {
    let mut head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json");
    if !key.is_empty() {
        head.push_str("\r\nIdempotency-Key: ");
        head.push_str(key);
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    send(address, &head, &body)
}

fn cart(sku: &str, quantity: u32) -> Value {
    json!({"customer": "ann", "lines": [{"sku": sku, "quantity": quantity}], "ttl_ms": 600_000})
}

fn start(folder: &Path) -> (Daemon, String) {
    let mut command = serve();
    command
        .args([
            "--listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--resp",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(folder);
    let mut daemon = Daemon::started_by(&mut command);
    let address = daemon.door("HTTP");
    (daemon, address)
}

#[test]
fn a_reservation_from_beginning_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, address) = start(folder.path());
    let address = &*address;
    assert_eq!(get(address, "/healthz").json(), json!({"status": "ok"}));
    assert_eq!(get(address, "/v1/stock/tv").status, 404);
    let received = post(
        address,
        "/v1/stock/tv/receive",
        "delivery-1",
        &json!({"quantity": 5}),
    );
    assert_eq!(
        (received.status, &received.json()["type"]),
        (200, &json!("received"))
    );
    let again = post(
        address,
        "/v1/stock/tv/receive",
        "\"delivery-1\"",
        &json!({"quantity": 5}),
    );
    assert_eq!((again.status, &again.json()["type"]), (200, &json!("exists")));

    let reserved = post(address, "/v1/reservations", "order-1", &cart("tv", 2));
    assert_eq!(
        (reserved.status, &reserved.json()["type"]),
        (201, &json!("reserved"))
    );
    let id = reserved.json()["reservation"].as_str().unwrap().to_owned();
    assert_eq!(
        reserved.header("location").unwrap(),
        format!("/v1/reservations/{id}")
    );
    let again = post(address, "/v1/reservations", "order-1", &cart("tv", 2));
    assert_eq!((again.status, &again.json()["type"]), (200, &json!("exists")));
    let different = post(address, "/v1/reservations", "order-1", &cart("tv", 1));
    assert_eq!(
        (different.status, &different.json()["field"]),
        (422, &json!("lines"))
    );

    let sold_out = post(address, "/v1/reservations", "order-2", &cart("tv", 4));
    assert_eq!(sold_out.header("content-type"), Some("application/problem+json"));
    let problem = sold_out.json();
    assert_eq!(
        (
            sold_out.status,
            &problem["type"],
            &problem["status"],
            &problem["available"]
        ),
        (
            409,
            &json!("urn:doorbuster:problem:sold-out"),
            &json!(409),
            &json!(3)
        )
    );

    let held = get(address, "/v1/reservations/order-1").json();
    assert_eq!(
        (&held["state"], &held["reservation"]),
        (&json!("held"), &json!(id))
    );
    let extended = post(
        address,
        "/v1/reservations/order-1/extend",
        "",
        &json!({"ttl_ms": 900_000}),
    );
    assert_eq!(extended.status, 200);
    assert!(extended.json()["expires_at_ms"].as_i64() > held["expires_at_ms"].as_i64());
    for expected in ["committed", "already_committed"] {
        let committed = post(
            address,
            &format!("/v1/reservations/{id}/commit"),
            "",
            &Value::Null,
        );
        assert_eq!(
            (committed.status, &committed.json()["type"]),
            (200, &json!(expected))
        );
    }
    let released = post(address, "/v1/reservations/order-1/release", "", &Value::Null);
    assert_eq!(released.status, 409);
    assert_eq!(
        get(address, "/v1/reservations/order-1").json()["state"],
        "committed"
    );
    assert_eq!(get(address, "/v1/reservations/order-9").status, 404);
    let stock = get(address, "/v1/stock/tv").json();
    assert_eq!((&stock["allocated"], &stock["sellable"]), (&json!(2), &json!(3)));

    let drawn = post(address, "/v1/reservations", "", &cart("tv", 1));
    assert_eq!(drawn.status, 201);
    let drawn_id = drawn.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        get(address, &format!("/v1/reservations/{drawn_id}")).json()["state"],
        "held"
    );
    let ended = daemon.stop(daemon::signal_named("SIGTERM"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn many_commands_at_once_are_decided_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (_daemon, address) = start(folder.path());
    let mut first = cart("tv", 2);
    first["type"] = "reserve".into();
    first["id"] = "o-1".into();
    let commands = json!([
        {"type": "receive", "id": "d-1", "sku": "tv", "quantity": 2},
        first,
        {"type": "commit", "reservation": "o-1"},
        {"type": "release", "reservation": "o-9"},
    ]);
    let response = post(&address, "/v1/commands", "", &commands);
    assert_eq!(response.status, 200);
    let outcomes = response.json();
    let statuses: Vec<&Value> = outcomes
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["status"])
        .collect();
    assert_eq!(statuses, [200, 201, 200, 404]);
    let single = json!({"type": "set_policy", "sku": "tv", "limit_per_customer": 1});
    let response = post(&address, "/v1/commands", "policy-1", &single);
    assert_eq!(
        (response.status, &response.json()["type"]),
        (200, &json!("policy_set"))
    );
    assert_eq!(post(&address, "/v1/commands", "", &json!([])).json(), json!([]));
    assert_eq!(post(&address, "/v1/commands", "key", &commands).status, 400);
}

#[test]
fn mistakes_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let (_daemon, address) = start(folder.path());
    let json_type = "Content-Type: application/json";
    for (head, body, status, kind) in [
        ("GET /nothing HTTP/1.1".to_owned(), "", 404, "not-found"),
        (
            "DELETE /v1/reservations HTTP/1.1".to_owned(),
            "",
            405,
            "method-not-allowed",
        ),
        (
            format!("POST /v1/reservations HTTP/1.1\r\n{json_type}"),
            "{",
            400,
            "malformed",
        ),
        (
            format!("POST /v1/reservations HTTP/1.1\r\n{json_type}"),
            "[]",
            400,
            "malformed",
        ),
        (
            format!("POST /v1/reservations HTTP/1.1\r\n{json_type}"),
            "{}",
            400,
            "malformed",
        ),
        (
            "POST /v1/reservations HTTP/1.1".to_owned(),
            "{}",
            415,
            "unsupported-media-type",
        ),
        (
            "POST /v1/reservations HTTP/1.1\r\nContent-Type: text/plain".to_owned(),
            "{}",
            415,
            "unsupported-media-type",
        ),
        (
            format!("POST /v1/stock/tv/steal HTTP/1.1\r\n{json_type}"),
            "{}",
            400,
            "malformed",
        ),
        (
            format!("POST /v1/stock/tv/receive HTTP/1.1\r\n{json_type}"),
            r#"{"quantity":0}"#,
            422,
            "invalid",
        ),
        (
            "POST /v1/reservations/r/steal HTTP/1.1".to_owned(),
            "",
            404,
            "not-found",
        ),
        (
            "POST /v1/reservations/r/commit HTTP/1.1".to_owned(),
            "",
            404,
            "unknown-reservation",
        ),
        (
            format!("POST /v1/reservations/{}/commit HTTP/1.1", "r".repeat(65)),
            "",
            400,
            "malformed",
        ),
    ] {
        let response = send(&address, &head, body);
        let problem = response.json();
        assert_eq!(
            (response.status, &problem["type"], response.header("content-type")),
            (
                status,
                &json!(format!("urn:doorbuster:problem:{kind}")),
                Some("application/problem+json")
            ),
            "{head} {body}: {problem}"
        );
    }
}

#[test]
fn what_is_too_much_or_no_http_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_daemon, address) = start(folder.path());
    let allowed = send(&address, "DELETE /v1/stock/tv HTTP/1.1", "");
    assert_eq!(
        (allowed.status, allowed.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let large = "x".repeat(300_000);
    assert_eq!(post(&address, "/v1/commands", "", &json!(large)).status, 413);
    let too_many_headers = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    let answer = exchange(&address, too_many_headers.as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", answer.escape_ascii());
    let garbage = exchange(&address, b"\x00\x01\x02 nonsense\r\n\r\n");
    assert!(garbage.starts_with(b"HTTP/1.1 400"), "{}", garbage.escape_ascii());
    assert_eq!(get(&address, "/healthz").status, 200);
}

#[test]
fn one_id_is_one_hold_at_every_door_and_after_kill_nine() {
    let folder = tempfile::tempdir().unwrap();
    let (mut daemon, address) = start(folder.path());
    let resp = daemon.door("RESP");
    let ask = |resp: &str, line: &str| {
        let mut stream = TcpStream::connect(resp).unwrap();
        stream
            .write_all(format!("{line}\r\nQUIT\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(ask(&resp, "RECEIVE tv 5"), "+RECEIVED\r\n+OK\r\n");
    assert_eq!(
        post(&address, "/v1/reservations", "order-1", &cart("tv", 2)).status,
        201
    );
    assert!(ask(&resp, "RESERVE order-1 ann 600000 tv 2").starts_with("*2\r\n+EXISTS\r\n"));
    assert!(ask(&resp, "RESERVE order-2 ann 600000 tv 1").starts_with("*2\r\n+RESERVED\r\n"));
    assert_eq!(
        post(&address, "/v1/reservations", "order-2", &cart("tv", 1)).status,
        200
    );

    // By its UUID through Kafka: the outcome is on the events topic.
    let id = get(&address, "/v1/reservations/order-1").json()["reservation"].clone();
    let mut command = cart("tv", 2);
    command["type"] = "reserve".into();
    (command["id"], command["reservation"]) = (id.clone(), id);
    let kafka = KafkaClient::new(&daemon.address());
    kafka
        .produce("inventory.commands", 0, command.to_string().as_bytes())
        .unwrap();
    let is_decided = || {
        let events = kafka.read_all("inventory.events", 0);
        let last: Value = serde_json::from_slice(events.last().unwrap()).unwrap();
        last["command_offset"] == 0 && last["type"] == "exists"
    };
    let started = Instant::now();
    while !is_decided() {
        assert!(started.elapsed() < ANSWER_MAX, "the command is not decided");
    }
    daemon.kill_nine();

    let (_daemon, address) = start(folder.path());
    assert_eq!(
        post(&address, "/v1/reservations", "order-1", &cart("tv", 2)).status,
        200
    );
    let stock = get(&address, "/v1/stock/tv").json();
    assert_eq!((&stock["reserved"], &stock["sellable"]), (&json!(3), &json!(2)));
}

/// A door in this process, over an engine in memory, while `act` runs.
fn with_door(config: &HttpConfig, act: impl FnOnce(&str)) {
    with_shards(1, config, act);
}

/// As [`with_door`], over an engine of several shards.
fn with_shards(shards: usize, config: &HttpConfig, act: impl FnOnce(&str)) {
    let open = |_| Inventory::open_store(MemoryStore::new(), InventoryOptions::default()).unwrap();
    let router = Router::new((0..shards).map(open).collect::<Vec<_>>());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = HttpConfig {
        listen: "127.0.0.1:0".to_owned(),
        ..config.clone()
    };
    let door = runtime.block_on(HttpDoor::bind(config, router)).unwrap();
    let address = door.local_addr().to_string();
    let stop = CancellationToken::new();
    let running = runtime.spawn(door.run(stop.clone()));
    act(&address);
    stop.cancel();
    runtime.block_on(running).unwrap();
}

/// Sends commands, all of which must be granted.
fn granted(address: &str, commands: &Value) {
    let response = post(address, "/v1/commands", "", commands);
    for outcome in response.json().as_array().unwrap() {
        assert!(outcome["status"].as_u64() < Some(300), "{outcome}");
    }
}

/// Two of five televisions sold and the one radio held: five events.
fn sell_televisions(address: &str) {
    let mut first = cart("tv", 2);
    (first["type"], first["id"]) = ("reserve".into(), "o-1".into());
    let mut radio = cart("radio", 1);
    (radio["type"], radio["id"]) = ("reserve".into(), "o-2".into());
    granted(
        address,
        &json!([
            {"type": "receive", "id": "d-1", "sku": "tv", "quantity": 5},
            {"type": "receive", "id": "d-2", "sku": "radio", "quantity": 1},
            first,
            radio,
            {"type": "commit", "reservation": "o-1"},
        ]),
    );
}

#[test]
fn stock_is_told_as_it_was() {
    with_door(&HttpConfig::default(), |address| {
        sell_televisions(address);
        let present = get(address, "/v1/stock/tv").json();
        let units = |path: &str| {
            let stock = get(address, path).json();
            ["on_hand", "reserved", "allocated", "sellable"].map(|name| stock[name].as_u64().unwrap())
        };
        assert_eq!(units("/v1/stock/tv?as_of=offset:1"), [5, 0, 0, 5]);
        assert_eq!(units("/v1/stock/tv?as_of=offset:2"), [5, 0, 0, 5]);
        assert_eq!(units("/v1/stock/tv?as_of=offset:3"), [5, 2, 0, 3]);
        assert_eq!(units("/v1/stock/tv?as_of=offset:5"), [5, 0, 2, 3]);
        assert_eq!(get(address, "/v1/stock/tv?as_of=offset:5").json(), present);
        assert_eq!(get(address, "/v1/stock/radio?as_of=offset:1").status, 404);
        assert_eq!(get(address, "/v1/stock/tv?as_of=ms:0").status, 404);
        let to_come = format!("/v1/stock/tv?as_of=ms:{}", i64::MAX);
        assert_eq!(get(address, &to_come).json(), present);
    });
}

#[test]
fn a_ledger_comes_in_pages_of_whole_events() {
    with_door(&HttpConfig::default(), |address| {
        sell_televisions(address);
        granted(
            address,
            &json!([{"type": "transfer", "id": "t-1", "sku": "tv", "from": "", "to": "berlin", "quantity": 1}]),
        );
        let entries = |response: &Response| -> Vec<Value> {
            assert_eq!(response.status, 200);
            assert_eq!(response.header("content-type"), Some("application/x-ndjson"));
            let lines = response.body.split_inclusive(|&byte| byte == b'\n');
            lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
        };
        let whole = get(address, "/v1/stock/tv/ledger");
        assert_eq!(whole.header("link"), None);
        let whole = entries(&whole);
        let told: Vec<Value> = whole
            .iter()
            .map(|entry| {
                let fields = [
                    "offset",
                    "movement",
                    "location",
                    "quantity",
                    "on_hand",
                    "reserved",
                    "allocated",
                    "sellable",
                ];
                fields.iter().map(|&name| entry[name].clone()).collect()
            })
            .collect();
        assert_eq!(
            json!(told),
            json!([
                [0, "received", "", 5, 5, 0, 0, 5],
                [2, "reserved", "", 2, 5, 2, 0, 3],
                [4, "committed", "", 2, 5, 0, 2, 3],
                [5, "transferred_out", "", 1, 4, 0, 2, 2],
                [5, "transferred_in", "berlin", 1, 1, 0, 0, 1],
            ])
        );
        let reservation = &get(address, "/v1/reservations/o-1").json()["reservation"];
        assert_eq!(&whole[1]["reservation"], reservation);

        let mut paged = Vec::new();
        let mut links = Vec::new();
        let mut query = "?limit=1&as_of=ms:99999999999999".to_owned();
        loop {
            let page = get(address, &format!("/v1/stock/tv/ledger{query}"));
            paged.extend(entries(&page));
            let Some(link) = page.header("link") else {
                break;
            };
            let next = link.strip_prefix('<').unwrap();
            query = next.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            links.push(query.clone());
        }
        assert_eq!(paged, whole);
        let expected = [2, 4, 5].map(|from| format!("?from={from}&limit=1&as_of=ms:99999999999999"));
        assert_eq!(links, expected);
        let before = get(address, "/v1/stock/tv/ledger?as_of=offset:4");
        assert_eq!(entries(&before), whole[..2]);

        let head = "GET /v1/stock/tv/ledger?limit=1 HTTP/1.1\r\nAccept: text/csv";
        let csv = send(address, head, "");
        assert_eq!(
            csv.header("content-type"),
            Some("text/csv; charset=utf-8; header=present")
        );
        let [at_ms, command] = ["at_ms", "command"].map(|name| whole[0][name].to_string());
        let names = "offset,at_ms,command,reservation,location,movement,quantity,on_hand,reserved,allocated,safety,\
                     backorder_cap,incoming,sellable";
        assert_eq!(
            String::from_utf8(csv.body).unwrap(),
            format!(
                "{names}\r\n0,{at_ms},{},,\"\",received,5,5,0,0,0,0,0,5\r\n",
                command.trim_matches('"')
            )
        );
    });
}

#[test]
fn live_holds_of_all_shards_are_seen_once_in_pages() {
    with_shards(3, &HttpConfig::default(), |address| {
        let mut expected = Vec::new();
        for n in 0..12 {
            let (sku, order) = (format!("sku-{n}"), format!("o-{n}"));
            let mut reserve = cart(&sku, 1);
            (reserve["type"], reserve["id"]) = ("reserve".into(), (&*order).into());
            granted(
                address,
                &json!([{"type": "receive", "id": sku, "sku": sku, "quantity": 1}, reserve]),
            );
            if n % 4 == 0 {
                granted(address, &json!([{"type": "commit", "reservation": order}]));
            } else {
                expected.push(get(address, &format!("/v1/reservations/{order}")).json());
            }
        }
        let mut found = Vec::new();
        let mut next = json!("0:0");
        let mut shards = Vec::new();
        while let Some(from) = next.as_str() {
            shards.push(from.split(':').next().unwrap().to_owned());
            let page = get(address, &format!("/v1/reservations?from={from}&limit=2")).json();
            let holds = page["reservations"].as_array().unwrap();
            assert!(holds.len() <= 2, "{page}");
            found.extend(holds.iter().cloned());
            next = page["next"].clone();
        }
        shards.dedup();
        assert_eq!(shards, ["0", "1", "2"]);
        let id = |hold: &Value| hold["reservation"].as_str().unwrap().to_owned();
        found.sort_by_key(id);
        expected.sort_by_key(id);
        assert_eq!(found, expected);
        let first = get(address, "/v1/reservations").json();
        assert_eq!(first, get(address, "/v1/reservations?from=0:0&limit=100").json());
    });
}

#[test]
fn mistaken_reads_are_problems() {
    with_door(&HttpConfig::default(), |address| {
        for (path, status, kind) in [
            ("/v1/stock/tv?as_of=7", 400, "malformed"),
            ("/v1/stock/tv?as_off=offset:7", 400, "malformed"),
            ("/v1/stock/tv?as_of=offset:7&as_of=offset:8", 400, "malformed"),
            ("/v1/stock/tv?as_of=offset:0", 404, "unknown-sku"),
            ("/v1/stock/tv/ledger", 404, "unknown-sku"),
            ("/v1/stock/tv/ledger?limit=10001", 400, "malformed"),
            ("/v1/stock/tv/ledger?from=-1", 400, "malformed"),
            ("/v1/reservations?limit=0", 400, "malformed"),
            ("/v1/reservations?from=0", 400, "malformed"),
            ("/v1/reservations?from=1:0", 400, "malformed"),
        ] {
            let response = get(address, path);
            assert_eq!(
                (response.status, &response.json()["type"]),
                (status, &json!(format!("urn:doorbuster:problem:{kind}"))),
                "{path}"
            );
        }
        let changed = post(address, "/v1/stock/tv/ledger", "", &Value::Null);
        assert_eq!(
            (changed.status, changed.header("allow")),
            (405, Some("GET, HEAD"))
        );
    });
}

#[test]
fn long_reads_beyond_the_limit_are_put_off_and_others_go_on() {
    let config = HttpConfig {
        long_reads_max: 0,
        ..HttpConfig::default()
    };
    with_door(&config, |address| {
        sell_televisions(address);
        for path in [
            "/v1/stock/tv?as_of=offset:1",
            "/v1/stock/tv/ledger",
            "/v1/reservations",
        ] {
            let busy = get(address, path);
            assert_eq!(
                (busy.status, busy.header("retry-after"), &busy.json()["type"]),
                (503, Some("1"), &json!("urn:doorbuster:problem:busy")),
                "{path}"
            );
        }
        assert_eq!(get(address, "/v1/stock/tv").status, 200);
    });
}

#[test]
fn a_client_that_sends_half_a_request_is_let_go() {
    let config = HttpConfig {
        header_timeout: Duration::from_millis(100),
        request_timeout: Duration::from_millis(100),
        ..HttpConfig::default()
    };
    with_door(&config, |address| {
        let half_a_head = exchange(address, b"GET /healthz HTTP/1.1\r\nHost:");
        assert!(
            !half_a_head.starts_with(b"HTTP/1.1 200"),
            "{}",
            half_a_head.escape_ascii()
        );
        let half_a_body = b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{";
        let answer = exchange(address, half_a_body);
        assert!(answer.starts_with(b"HTTP/1.1 503"), "{}", answer.escape_ascii());
        assert_eq!(get(address, "/healthz").status, 200);
    });
}

#[test]
fn a_door_that_closes_lets_silent_clients_go() {
    let mut silent = None;
    with_door(&HttpConfig::default(), |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        silent = Some(stream);
    });
    let mut rest = Vec::new();
    silent.unwrap().read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"{\"status\":\"ok\"}"), "{}", rest.escape_ascii());
}

#[test]
fn a_door_that_other_machines_reach_must_be_intended() {
    let folder = tempfile::tempdir().unwrap();
    for door in ["--http", "--resp"] {
        let mut command = serve();
        command
            .args(["--listen", "127.0.0.1:0", door, "0.0.0.0:0", "--data-dir"])
            .arg(folder.path());
        let ended = Daemon::refused_by(&mut command);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.stderr.contains("refusing to listen on 0.0.0.0:0"),
            "{ended:?}"
        );
    }
}

#[test]
fn the_description_is_served_and_curl_can_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let (_daemon, address) = start(folder.path());
    assert_eq!(get(&address, "/openapi.json").json()["openapi"], "3.1.0");
    let found = Command::new("curl").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "curl is not installed");
    if !found {
        return;
    }
    let curl = |path: &str, body: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", &format!("http://{address}{path}")])
            .args([
                "-H",
                "Content-Type: application/json",
                "-H",
                "Idempotency-Key: k-1",
                "-d",
                body,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(
        curl("/v1/stock/tv/receive", r#"{"quantity":3}"#)["type"],
        "received"
    );
    assert_eq!(
        curl("/v1/reservations", &cart("tv", 1).to_string())["type"],
        "reserved"
    );
}
