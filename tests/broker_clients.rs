//! Unmodified clients against the broker: librdkafka through its Rust binding, and kcat.

#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod broker_support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use broker_support::{RunningBroker, config};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(30);

fn client(broker: &RunningBroker) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", broker.address.to_string());
    client.set("broker.address.family", "v4");
    client
}

fn producer(broker: &RunningBroker) -> BaseProducer {
    client(broker)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create()
        .unwrap()
}

fn consumer(broker: &RunningBroker, group: &str) -> BaseConsumer {
    client(broker)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .create()
        .unwrap()
}

fn create_topic(broker: &RunningBroker, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().unwrap();
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let created = block_on(admin.create_topics(&[topic], &AdminOptions::new())).unwrap();
    assert_eq!(created, vec![Ok(name.to_owned())]);
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Sends `count` records to one partition, a millisecond of record time apart, from `first_timestamp` on.
fn produce(broker: &RunningBroker, topic: &str, partition: i32, numbers: std::ops::Range<i64>) {
    let producer = producer(broker);
    for number in numbers {
        let (key, payload) = (format!("key-{number}"), format!("value-{number}"));
        let record = BaseRecord::to(topic)
            .partition(partition)
            .key(&key)
            .payload(&payload)
            .timestamp(1_000_000 + number)
            .headers(OwnedHeaders::new().insert(Header {
                key: "n",
                value: Some(&number.to_string()),
            }));
        send(&producer, record);
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

fn send(producer: &BaseProducer, record: BaseRecord<'_, String, String>) {
    let mut record = record;
    let deadline = Instant::now() + PATIENCE;
    while let Err((error, refused)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
        assert!(Instant::now() < deadline);
        producer.poll(Duration::from_millis(10));
        record = refused;
    }
    producer.poll(Duration::ZERO);
}

fn take(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let deadline = Instant::now() + PATIENCE;
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} messages came",
            messages.len()
        );
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(message.unwrap().detach());
        }
    }
    messages
}

fn offsets(messages: &[OwnedMessage]) -> Vec<i64> {
    messages.iter().map(Message::offset).collect()
}

fn assign(consumer: &BaseConsumer, topic: &str, partition: i32, offset: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset).unwrap();
    consumer.assign(&list).unwrap();
}

#[test]
fn records_come_back_as_they_were_sent() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    create_topic(&broker, "orders", 2, &[]);
    produce(&broker, "orders", 1, 0..1000);

    let consumer = consumer(&broker, "readers");
    assign(&consumer, "orders", 1, Offset::Beginning);
    let messages = take(&consumer, 1000);
    assert_eq!(offsets(&messages), (0..1000).collect::<Vec<i64>>());
    for (number, message) in messages.iter().enumerate() {
        assert_eq!(message.key(), Some(format!("key-{number}").as_bytes()));
        assert_eq!(message.payload(), Some(format!("value-{number}").as_bytes()));
        assert_eq!(message.timestamp().to_millis(), Some(1_000_000 + number as i64));
        let header = message.headers().unwrap().get(0);
        assert_eq!(
            (header.key, header.value),
            ("n", Some(number.to_string().as_bytes()))
        );
    }
    assert_eq!(
        consumer.fetch_watermarks("orders", 1, PATIENCE).unwrap(),
        (0, 1000)
    );
    assert_eq!(consumer.fetch_watermarks("orders", 0, PATIENCE).unwrap(), (0, 0));
}

#[test]
fn every_codec_and_every_kind_of_acknowledgement_works() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let mut expected = 0;
    create_topic(&broker, "codecs", 1, &[]);
    for codec in codecs {
        for acks in ["0", "1", "all"] {
            let producer: BaseProducer = client(&broker)
                .set("compression.codec", codec)
                .set("acks", acks)
                .set("linger.ms", "5")
                .create()
                .unwrap();
            for _ in 0..10 {
                let payload = format!("{codec} {acks} ").repeat(50);
                send(
                    &producer,
                    BaseRecord::to("codecs").key(&String::new()).payload(&payload),
                );
            }
            producer.flush(PATIENCE).unwrap();
            expected += 10;
        }
    }
    let consumer = consumer(&broker, "codecs");
    assign(&consumer, "codecs", 0, Offset::Beginning);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for message in take(&consumer, expected) {
        let text = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        *seen
            .entry(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
            .or_default() += 1;
    }
    assert_eq!(seen.len(), codecs.len() * 3);
    assert!(seen.values().all(|count| *count == 10), "{seen:?}");
}

#[test]
fn a_point_in_time_is_found_to_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    create_topic(&broker, "times", 1, &[]);
    produce(&broker, "times", 0, 0..500);
    let consumer = consumer(&broker, "times");
    for (timestamp, expected) in [
        (0, Offset::Offset(0)),
        (1_000_000, Offset::Offset(0)),
        (1_000_001, Offset::Offset(1)),
        (1_000_257, Offset::Offset(257)),
        (1_000_499, Offset::Offset(499)),
        (1_000_500, Offset::End),
    ] {
        let mut asked = TopicPartitionList::new();
        asked
            .add_partition_offset("times", 0, Offset::Offset(timestamp))
            .unwrap();
        let found = consumer.offsets_for_times(asked, PATIENCE).unwrap();
        assert_eq!(found.elements()[0].offset(), expected, "timestamp {timestamp}");
    }
    assign(&consumer, "times", 0, Offset::Offset(257));
    assert_eq!(take(&consumer, 1)[0].offset(), 257);
}

#[test]
fn a_restart_keeps_records_offsets_and_producers() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    create_topic(&broker, "orders", 1, &[]);
    produce(&broker, "orders", 0, 0..100);
    let first = consumer(&broker, "billing");
    first.subscribe(&["orders"]).unwrap();
    let messages = take(&first, 60);
    let mut commit = TopicPartitionList::new();
    commit
        .add_partition_offset("orders", 0, Offset::Offset(60))
        .unwrap();
    commit.elements_for_topic("orders")[0].set_metadata("halfway");
    first.commit(&commit, CommitMode::Sync).unwrap();
    assert_eq!(offsets(&messages), (0..60).collect::<Vec<i64>>());
    drop(first);
    broker.stop();

    let broker = RunningBroker::start(folder.path());
    produce(&broker, "orders", 0, 100..150);
    let second = consumer(&broker, "billing");
    let mut asked = TopicPartitionList::new();
    asked.add_partition("orders", 0);
    let committed = second.committed_offsets(asked, PATIENCE).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(60));
    assert_eq!(committed.elements()[0].metadata(), "halfway");
    second.subscribe(&["orders"]).unwrap();
    assert_eq!(offsets(&take(&second, 90)), (60..150).collect::<Vec<i64>>());

    let groups = second.fetch_group_list(Some("billing"), PATIENCE).unwrap();
    assert_eq!(groups.groups()[0].state(), "Stable");
    assert_eq!(groups.groups()[0].protocol_type(), "consumer");
}

#[test]
fn three_consumers_share_a_topic_and_one_that_leaves_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    create_topic(&broker, "shared", 6, &[]);
    let mut consumers: Vec<BaseConsumer> = (0..3).map(|_| consumer(&broker, "workers")).collect();
    for consumer in &consumers {
        consumer.subscribe(&["shared"]).unwrap();
    }
    await_assignments(&consumers, &[2, 2, 2]);
    for partition in 0..6 {
        produce(&broker, "shared", partition, 0..50);
    }
    let mut seen: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    poll_until(&consumers, &mut seen, 300);
    for consumer in &consumers {
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    }
    drop(consumers.pop());
    await_assignments(&consumers, &[3, 3]);
    for partition in 0..6 {
        produce(&broker, "shared", partition, 50..100);
    }
    poll_until(&consumers, &mut seen, 600);
    assert!(
        seen.values().all(|count| *count == 1),
        "every record is read by one consumer, once"
    );
}

/// Polls until the consumers have so many partitions each, in any order.
fn await_assignments(consumers: &[BaseConsumer], expected: &[usize]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for consumer in consumers {
            assert!(consumer.poll(Duration::from_millis(20)).is_none());
        }
        let mut counts: Vec<usize> = consumers
            .iter()
            .map(|consumer| consumer.assignment().unwrap().count())
            .collect();
        counts.sort_unstable();
        if counts == expected {
            return;
        }
        assert!(Instant::now() < deadline, "assignments are {counts:?}");
    }
}

fn poll_until(consumers: &[BaseConsumer], seen: &mut BTreeMap<(i32, i64), usize>, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records came",
            seen.len()
        );
        for consumer in consumers {
            if let Some(message) = consumer.poll(Duration::from_millis(10)) {
                let message = message.unwrap();
                *seen.entry((message.partition(), message.offset())).or_default() += 1;
            }
        }
    }
}

#[test]
fn a_static_member_comes_back_to_its_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    create_topic(&broker, "static", 4, &[]);
    let member = |instance: &str| -> BaseConsumer {
        client(&broker)
            .set("group.id", "statics")
            .set("group.instance.id", instance)
            .set("session.timeout.ms", "30000")
            .set("heartbeat.interval.ms", "200")
            .create()
            .unwrap()
    };
    let consumers = vec![member("a"), member("b")];
    for consumer in &consumers {
        consumer.subscribe(&["static"]).unwrap();
    }
    await_assignments(&consumers, &[2, 2]);
    let mut consumers = consumers.into_iter();
    let (stays, goes) = (consumers.next().unwrap(), consumers.next().unwrap());
    let before = partitions_of(&goes);
    drop(goes);
    let back = vec![stays, member("b")];
    back[1].subscribe(&["static"]).unwrap();
    await_assignments(&back, &[2, 2]);
    assert_eq!(partitions_of(&back[1]), before);
}

/// The partitions a consumer has. A librdkafka list must not outlive its client, so they are copied out.
fn partitions_of(consumer: &BaseConsumer) -> Vec<i32> {
    consumer
        .assignment()
        .unwrap()
        .elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}

#[test]
fn topics_are_managed_with_clear_errors() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    create_topic(&broker, "small", 3, &[("max.message.bytes", "1000")]);
    let admin: AdminClient<DefaultClientContext> = client(&broker).create().unwrap();
    let create = |topic: NewTopic<'_>| {
        block_on(admin.create_topics(&[topic], &AdminOptions::new()))
            .unwrap()
            .remove(0)
    };
    let refused = |result: Result<String, (String, RDKafkaErrorCode)>| result.unwrap_err().1;
    assert_eq!(
        refused(create(NewTopic::new("small", 1, TopicReplication::Fixed(1)))),
        RDKafkaErrorCode::TopicAlreadyExists
    );
    assert_eq!(
        refused(create(NewTopic::new("a/b", 1, TopicReplication::Fixed(1)))),
        RDKafkaErrorCode::InvalidTopic
    );
    let replicated = NewTopic::new("replicated", 1, TopicReplication::Fixed(3));
    assert_eq!(
        refused(create(replicated)),
        RDKafkaErrorCode::InvalidReplicationFactor
    );
    let misconfigured = NewTopic::new("odd", 1, TopicReplication::Fixed(1)).set("no.such.config", "1");
    assert_eq!(refused(create(misconfigured)), RDKafkaErrorCode::InvalidConfig);

    let described =
        block_on(admin.describe_configs(&[ResourceSpecifier::Topic("small")], &AdminOptions::new()));
    let described = described.unwrap().remove(0).unwrap();
    assert_eq!(
        described.get("max.message.bytes").unwrap().value.as_deref(),
        Some("1000")
    );
    assert_eq!(
        described.get("cleanup.policy").unwrap().value.as_deref(),
        Some("delete")
    );
    assert!(described.entries.len() >= 30);

    let too_large: BaseProducer = client(&broker)
        .set("message.timeout.ms", "10000")
        .create()
        .unwrap();
    let payload = "x".repeat(2000);
    let sent = too_large.send(BaseRecord::to("small").key("k").payload(&payload));
    assert!(sent.is_ok());
    too_large.flush(PATIENCE).unwrap();
    let consumer = consumer(&broker, "sizes");
    for partition in 0..3 {
        assert_eq!(
            consumer.fetch_watermarks("small", partition, PATIENCE).unwrap(),
            (0, 0)
        );
    }

    let deleted = block_on(admin.delete_topics(&["small", "missing"], &AdminOptions::new())).unwrap();
    assert_eq!(deleted[0], Ok("small".to_owned()));
    assert_eq!(
        deleted[1].as_ref().unwrap_err().1,
        RDKafkaErrorCode::UnknownTopicOrPartition
    );
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    let names: Vec<&str> = metadata
        .topics()
        .iter()
        .map(rdkafka::metadata::MetadataTopic::name)
        .collect();
    assert!(
        names.iter().all(|name| *name == "__consumer_offsets"),
        "{names:?}"
    );
}

#[test]
fn unknown_topics_are_created_only_if_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let strict = doorbuster::broker::BrokerConfig {
        auto_create_topics: false,
        ..config()
    };
    let broker = RunningBroker::start_with(folder.path(), strict);
    let consumer: BaseConsumer = client(&broker)
        .set("group.id", "g")
        .set("allow.auto.create.topics", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some("missing"), PATIENCE).unwrap();
    assert!(metadata.topics()[0].error().is_some());
    broker.stop();

    let broker = RunningBroker::start(folder.path());
    produce(&broker, "made-on-demand", 0, 0..1);
    let consumer = self::consumer(&broker, "g");
    assert_eq!(
        consumer.fetch_watermarks("made-on-demand", 0, PATIENCE).unwrap(),
        (0, 1)
    );
}

#[test]
fn transactions_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    let producer: BaseProducer = client(&broker).set("transactional.id", "t").create().unwrap();
    assert!(producer.init_transactions(Duration::from_secs(5)).is_err());
}

#[test]
fn kcat_writes_reads_and_lists() {
    if Command::new("kcat").arg("-V").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "kcat is missing; install it with: apt-get install kcat"
        );
        eprintln!("NOT TESTED with kcat: it is not installed; install it with: apt-get install kcat");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    let address = broker.address.to_string();
    let lines: Vec<String> = (0..100).map(|number| format!("line {number}\n")).collect();
    let input = lines.concat();
    let written = kcat(&["-b", &address, "-t", "lines", "-P", "-z", "zstd"], &input);
    assert_eq!(written, "");
    let read = kcat(
        &["-b", &address, "-t", "lines", "-C", "-e", "-q", "-o", "beginning"],
        "",
    );
    assert_eq!(read, input);
    let listed = kcat(&["-b", &address, "-L"], "");
    assert!(listed.contains("topic \"lines\" with 1 partitions"), "{listed}");
    assert!(listed.contains(&format!("broker 1 at {address}")), "{listed}");
    let grouped = kcat(
        &[
            "-b",
            &address,
            "-G",
            "kcats",
            "-e",
            "-q",
            "-X",
            "auto.offset.reset=earliest",
            "lines",
        ],
        "",
    );
    assert_eq!(grouped, input);
}

/// Runs kcat and returns what it printed.
fn kcat(arguments: &[&str], input: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("kcat")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kcat was found a moment ago");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "kcat {arguments:?} failed: {}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}
