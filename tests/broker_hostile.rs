//! Attackers and accidents: each gets a clear end, and whoever comes next is served.

#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod broker_support;

use std::time::Duration;

use broker_support::wire::{Wire, decode_response, request_frame};
use broker_support::{RunningBroker, config};
use bytes::{Bytes, BytesMut};
use doorbuster::broker::{Broker, BrokerConfig, BrokerError};
use doorbuster::log::{Log, LogOptions};
use kafka_wire::*;
use kafka_wire_core::StrBytes;
use kafka_wire_records::{Compression, Record, RecordBatch, RecordEncodeLimits, TimestampType};

const TOPIC: &str = "orders";

fn start() -> (tempfile::TempDir, RunningBroker) {
    start_with(config())
}

fn start_with(config: BrokerConfig) -> (tempfile::TempDir, RunningBroker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start_with(folder.path(), config);
    let mut topic = metadata_request::MetadataRequestTopic::default();
    topic.name = Some(StrBytes::from(TOPIC));
    let mut request = MetadataRequest::default();
    request.topics = Some(vec![topic]);
    request.allow_auto_topic_creation = true;
    assert_eq!(
        Wire::connect(broker.address).call(&request, 4).topics[0].error_code,
        0
    );
    (folder, broker)
}

/// Somebody else is served as if nothing had happened.
fn assert_serves(broker: &RunningBroker) {
    let response = Wire::connect(broker.address).call(&ListGroupsRequest::default(), 0);
    assert_eq!(response.error_code, 0);
}

fn batch(change: impl FnOnce(&mut RecordBatch)) -> BytesMut {
    let record = Record {
        attributes: 0,
        timestamp_delta: 0,
        offset_delta: 0,
        key: None,
        value: Some(Bytes::from_static(b"value")),
        headers: Vec::new(),
    };
    let mut batch = RecordBatch {
        base_offset: 0,
        last_offset_delta: 0,
        partition_leader_epoch: -1,
        compression: Compression::None,
        timestamp_type: TimestampType::CreateTime,
        is_transactional: false,
        is_control: false,
        has_delete_horizon: false,
        base_timestamp: 1,
        max_timestamp: 1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records: vec![record],
    };
    change(&mut batch);
    let mut bytes = BytesMut::new();
    batch
        .encode_into(&mut bytes, RecordEncodeLimits::default())
        .unwrap();
    bytes
}

fn produce_request(topic: &str, partition: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let mut data = produce_request::PartitionProduceData::default();
    data.index = partition;
    data.records = records;
    let mut topic_data = produce_request::TopicProduceData::default();
    topic_data.name = StrBytes::from(topic);
    topic_data.partition_data = vec![data];
    let mut request = ProduceRequest::default();
    request.acks = acks;
    request.topic_data = vec![topic_data];
    request
}

fn error_of(wire: &mut Wire, request: &ProduceRequest) -> i16 {
    wire.call(request, 9).responses[0].partition_responses[0].error_code
}

#[test]
fn impossible_frame_lengths_close_the_connection() {
    let (_folder, broker) = start();
    for length in [-1, 0, i32::MIN, i32::MAX, 100 * 1024 * 1024 + 1] {
        let mut wire = Wire::connect(broker.address);
        wire.send(&length.to_be_bytes());
        assert_eq!(wire.receive(), None, "length {length}");
        assert_serves(&broker);
    }
}

#[test]
fn garbage_closes_the_connection() {
    let (_folder, broker) = start();
    let frames: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\0\0\x01\0",
        b"\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xff",
        // An API that is not served.
        b"\0\0\0\x0e\0\x63\0\0\0\0\0\x01\0\x04test",
        // Produce version 2.
        b"\0\0\0\x0e\0\0\0\x02\0\0\0\x01\0\x04test",
        // Metadata version 1 with 2^31-1 topics.
        b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
    ];
    for frame in frames {
        let mut wire = Wire::connect(broker.address);
        wire.send(frame);
        assert_eq!(wire.receive(), None, "{frame:?}");
        assert_serves(&broker);
    }
}

#[test]
fn a_client_that_leaves_inside_a_frame_hurts_nobody() {
    let (_folder, broker) = start();
    let frame = request_frame(&produce_request(TOPIC, 0, -1, Some(batch(|_| {}).freeze())), 9, 1);
    for length in 1..frame.len() {
        let mut wire = Wire::connect(broker.address);
        wire.send(&frame[..length]);
    }
    assert_serves(&broker);
}

#[test]
fn damaged_batches_are_refused_one_by_one() {
    let (_folder, broker) = start();
    let mut wire = Wire::connect(broker.address);
    let flipped = |position: usize| {
        let mut bytes = batch(|_| {});
        bytes[position] ^= 1;
        bytes.freeze()
    };
    let intact = batch(|_| {}).freeze();
    let last = intact.len() - 1;
    let cases: [(&str, Option<Bytes>, i16); 11] = [
        ("no records", None, 87),
        ("empty records", Some(Bytes::new()), 87),
        ("a cut batch", Some(intact.slice(..last)), 2),
        ("less than a header", Some(intact.slice(..60)), 2),
        ("a flipped bit in the records", Some(flipped(last)), 2),
        ("a flipped bit in the checksum", Some(flipped(17)), 2),
        ("an old format", Some(flipped(16)), 43),
        (
            "two batches",
            Some(Bytes::from([&intact[..], &intact[..]].concat())),
            87,
        ),
        (
            "a control batch",
            Some(batch(|batch| batch.is_control = true).freeze()),
            87,
        ),
        (
            "a transaction",
            Some(batch(|batch| batch.is_transactional = true).freeze()),
            42,
        ),
        (
            "a wrong count",
            Some(batch(|batch| batch.last_offset_delta = 9).freeze()),
            2,
        ),
    ];
    for (name, records, expected) in cases {
        let error = error_of(&mut wire, &produce_request(TOPIC, 0, -1, records));
        assert_eq!(error, expected, "{name}");
    }
    assert_eq!(
        error_of(&mut wire, &produce_request(TOPIC, 0, -1, Some(intact))),
        0
    );
}

#[test]
fn unknown_places_and_modes_are_told() {
    let (_folder, broker) = start();
    let mut wire = Wire::connect(broker.address);
    let intact = batch(|_| {}).freeze();
    for (topic, partition, acks, expected) in [
        ("missing", 0, -1, 3),
        (TOPIC, 1, -1, 3),
        (TOPIC, -1, -1, 3),
        (TOPIC, i32::MAX, -1, 3),
        (TOPIC, 0, 2, 21),
        (TOPIC, 0, -2, 21),
        ("__broker_state", 0, -1, 3),
        (TOPIC, 0, 1, 0),
    ] {
        let request = produce_request(topic, partition, acks, Some(intact.clone()));
        assert_eq!(
            error_of(&mut wire, &request),
            expected,
            "{topic} {partition} acks {acks}"
        );
    }
}

#[test]
fn sequences_are_checked() {
    let (_folder, broker) = start();
    let mut wire = Wire::connect(broker.address);
    let mut init = InitProducerIdRequest::default();
    init.transactional_id = None;
    let producer_id = wire.call(&init, 4).producer_id;
    let mut send = |epoch: i16, sequence: i32| {
        let records = batch(|batch| {
            batch.producer_id = producer_id;
            batch.producer_epoch = epoch;
            batch.base_sequence = sequence;
        });
        let response = wire.call(&produce_request(TOPIC, 0, -1, Some(records.freeze())), 9);
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    };
    assert_eq!(send(0, 0), (0, 0));
    assert_eq!(send(0, 1), (0, 1));
    assert_eq!(send(0, 1), (0, 1), "a duplicate returns its original offset");
    assert_eq!(send(0, 0), (0, 0), "an older duplicate too");
    assert_eq!(send(0, 3), (45, -1), "a gap");
    assert_eq!(send(1, 0), (0, 2), "a new epoch starts anew");
    assert_eq!(send(0, 2), (47, -1), "the old epoch is over");
}

#[test]
fn unacknowledged_requests_get_no_answer_and_a_refusal_closes() {
    let (_folder, broker) = start();
    let mut wire = Wire::connect(broker.address);
    let intact = batch(|_| {}).freeze();
    wire.send(&request_frame(
        &produce_request(TOPIC, 0, 0, Some(intact.clone())),
        9,
        1,
    ));
    assert!(wire.is_silent_for(Duration::from_millis(200)));
    let response = wire.call(&produce_request(TOPIC, 0, 1, Some(intact.clone())), 9);
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 1);
    wire.send(&request_frame(
        &produce_request("missing", 0, 0, Some(intact)),
        9,
        2,
    ));
    assert_eq!(wire.receive(), None);
    assert_serves(&broker);
}

#[test]
fn an_oversized_request_of_a_small_kind_is_refused() {
    let (_folder, broker) = start();
    let mut wire = Wire::connect(broker.address);
    let size = 9 * 1024 * 1024;
    let mut frame = BytesMut::from(&(size as u32).to_be_bytes()[..]);
    frame.extend_from_slice(b"\0\x03\0\x01\0\0\0\x01\xff\xff");
    frame.resize(size + 4, 0);
    wire.try_send(&frame);
    assert_eq!(wire.receive(), None);
    assert_serves(&broker);
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let (_folder, broker) = start_with(BrokerConfig {
        connections_max: 3,
        ..config()
    });
    let mut wires: Vec<Wire> = Vec::new();
    while wires.len() < 3 {
        // The connection of the setup may still count for a moment.
        let mut wire = Wire::connect(broker.address);
        wire.try_send(&request_frame(&ListGroupsRequest::default(), 0, 1));
        if wire.receive().is_some() {
            wires.push(wire);
        }
    }
    let mut fourth = Wire::connect(broker.address);
    fourth.try_send(&request_frame(&ListGroupsRequest::default(), 0, 1));
    assert_eq!(fourth.receive(), None);
    assert_eq!(wires[0].call(&ListGroupsRequest::default(), 0).error_code, 0);
}

#[test]
fn a_slow_client_is_closed_and_others_are_served() {
    let short = BrokerConfig {
        frame_timeout: Duration::from_millis(50),
        ..config()
    };
    let (_folder, broker) = start_with(short);
    let mut wire = Wire::connect(broker.address);
    wire.send(&[0, 0]);
    assert_eq!(wire.receive(), None);
    assert_serves(&broker);
}

#[test]
fn requests_wait_for_the_budget_of_all_connections() {
    let tight = BrokerConfig {
        requests_size_max_bytes: 200,
        ..config()
    };
    let (_folder, broker) = start_with(tight);
    let mut wires: Vec<Wire> = (0..8).map(|_| Wire::connect(broker.address)).collect();
    let frame = request_frame(&produce_request(TOPIC, 0, -1, Some(batch(|_| {}).freeze())), 9, 1);
    for wire in &mut wires {
        for _ in 0..10 {
            wire.send(&frame);
        }
    }
    for wire in &mut wires {
        for _ in 0..10 {
            assert!(wire.receive().is_some());
        }
    }
}

#[test]
fn a_used_port_is_named() {
    let (_folder, broker) = start();
    let other = tempfile::tempdir().unwrap();
    let log = Log::open(other.path(), LogOptions::default()).unwrap();
    let address = broker.address.to_string();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let taken = BrokerConfig {
        listen: address.clone(),
        ..config()
    };
    let error = runtime.block_on(Broker::bind(log.clone(), taken)).unwrap_err();
    assert!(matches!(&error, BrokerError::AddressInUse { address: named } if *named == address));
    let nonsense = BrokerConfig {
        listen: "no port".to_owned(),
        ..config()
    };
    let error = runtime.block_on(Broker::bind(log, nonsense)).unwrap_err();
    assert!(matches!(error, BrokerError::Listen { address, .. } if address == "no port"));
}

#[test]
fn shutdown_ends_long_polls() {
    let (_folder, broker) = start();
    let mut partition = fetch_request::FetchPartition::default();
    partition.partition_max_bytes = 1 << 20;
    let mut topic = fetch_request::FetchTopic::default();
    topic.topic = StrBytes::from(TOPIC);
    topic.partitions = vec![partition];
    let mut request = FetchRequest::default();
    request.max_wait_ms = 300_000;
    request.min_bytes = 1;
    request.max_bytes = 1 << 20;
    request.topics = vec![topic];
    let mut wire = Wire::connect(broker.address);
    wire.send(&request_frame(&request, 11, 1));
    assert!(wire.is_silent_for(Duration::from_millis(100)));
    broker.stop();
    assert!(
        wire.receive().is_some(),
        "the poll is answered, then the connection ends"
    );
    assert_eq!(wire.receive(), None);
}

#[test]
fn shutdown_ends_a_rebalance_that_waits() {
    let slow = BrokerConfig {
        group_initial_rebalance_delay: Duration::from_mins(5),
        ..config()
    };
    let (_folder, broker) = start_with(slow);
    let mut protocol = join_group_request::JoinGroupRequestProtocol::default();
    protocol.name = StrBytes::from("range");
    let mut join = JoinGroupRequest::default();
    join.group_id = StrBytes::from("g");
    join.session_timeout_ms = 30_000;
    join.rebalance_timeout_ms = 600_000;
    join.protocol_type = StrBytes::from("consumer");
    join.protocols = vec![protocol];
    let mut wire = Wire::connect(broker.address);
    wire.send(&request_frame(&join, 3, 1));
    assert!(wire.is_silent_for(Duration::from_millis(100)));
    broker.stop();
    let response = decode_response::<JoinGroupRequest>(&wire.receive().unwrap(), 3, 1);
    assert_eq!(response.error_code, 15);
}

/// A name that is repeated is answered once: the response is not the product of the request and the state.
#[test]
fn repeated_names_are_not_multiplied() {
    let (_folder, broker) = start();
    let mut wire = Wire::connect(broker.address);

    let mut topic = metadata_request::MetadataRequestTopic::default();
    topic.name = Some(StrBytes::from(TOPIC));
    let mut request = MetadataRequest::default();
    request.topics = Some(vec![topic; 1000]);
    assert_eq!(wire.call(&request, 12).topics.len(), 1);

    let mut resource = describe_configs_request::DescribeConfigsResource::default();
    resource.resource_type = 2;
    resource.resource_name = StrBytes::from(TOPIC);
    let mut request = DescribeConfigsRequest::default();
    request.resources = vec![resource; 1000];
    assert_eq!(wire.call(&request, 4).results.len(), 1);

    let mut request = DescribeGroupsRequest::default();
    request.groups = vec![StrBytes::from("group"); 1000];
    assert_eq!(wire.call(&request, 5).groups.len(), 1);

    let mut asked = offset_fetch_request::OffsetFetchRequestTopics::default();
    asked.name = StrBytes::from(TOPIC);
    asked.partition_indexes = vec![0, 0, 1, 0];
    let mut group = offset_fetch_request::OffsetFetchRequestGroup::default();
    group.group_id = StrBytes::from("group");
    group.topics = Some(vec![asked; 2]);
    let mut request = OffsetFetchRequest::default();
    request.groups = vec![group; 1000];
    let response = wire.call(&request, 8);
    assert_eq!(response.groups.len(), 1);
    let counts: Vec<usize> = response.groups[0]
        .topics
        .iter()
        .map(|t| t.partitions.len())
        .collect();
    assert_eq!(counts, [2, 0]);
}

/// Kafka's answer; each look-up of a time costs the reading of a batch.
#[test]
fn a_repeated_partition_is_refused_by_list_offsets() {
    let (_folder, broker) = start();
    let mut partition = list_offsets_request::ListOffsetsPartition::default();
    partition.timestamp = 0;
    let mut topic = list_offsets_request::ListOffsetsTopic::default();
    topic.name = StrBytes::from(TOPIC);
    topic.partitions = vec![partition];
    let mut request = ListOffsetsRequest::default();
    request.topics = vec![topic; 2];
    let response = Wire::connect(broker.address).call(&request, 6);
    let errors: Vec<i16> = response
        .topics
        .iter()
        .map(|t| t.partitions[0].error_code)
        .collect();
    assert_eq!(errors, [42, 42]);
}

/// Groups that nobody got into do not use up the number of groups.
#[test]
fn refused_members_leave_no_groups_behind() {
    let (_folder, broker) = start_with(BrokerConfig {
        groups_max: 2,
        ..config()
    });
    let mut wire = Wire::connect(broker.address);
    let mut join = JoinGroupRequest::default();
    join.session_timeout_ms = 10_000;
    join.rebalance_timeout_ms = 10_000;
    join.protocol_type = StrBytes::from("consumer");
    let mut commit = OffsetCommitRequest::default();
    commit.generation_id_or_member_epoch = -1;
    for number in 0..5 {
        // Without a protocol nobody can join.
        join.group_id = StrBytes::from(format!("refused-{number}"));
        assert_eq!(wire.call(&join, 4).error_code, 23);
        commit.group_id = StrBytes::from(format!("nothing-{number}"));
        assert_eq!(wire.call(&commit, 8).topics, []);
    }
    assert_eq!(wire.call(&ListGroupsRequest::default(), 4).groups, []);

    join.group_id = StrBytes::from("real");
    let mut protocol = join_group_request::JoinGroupRequestProtocol::default();
    protocol.name = StrBytes::from("range");
    join.protocols = vec![protocol];
    let joined = wire.call(&join, 4);
    assert_eq!(joined.error_code, 79);
    join.member_id = joined.member_id;
    assert_eq!(wire.call(&join, 4).error_code, 0);
}

/// A client that vanished without a word gives its place back; one that waits for an answer keeps it.
#[test]
fn idle_connections_are_closed() {
    let (_folder, broker) = start_with(BrokerConfig {
        idle_timeout: Duration::from_secs(1),
        ..config()
    });
    let mut silent = Wire::connect(broker.address);
    let mut waiting = Wire::connect(broker.address);
    let mut partition = fetch_request::FetchPartition::default();
    partition.partition_max_bytes = 1000;
    let mut topic = fetch_request::FetchTopic::default();
    topic.topic = StrBytes::from(TOPIC);
    topic.partitions = vec![partition];
    let mut request = FetchRequest::default();
    request.max_wait_ms = 1500;
    request.min_bytes = 1;
    request.max_bytes = 1000;
    request.topics = vec![topic];
    assert_eq!(waiting.call(&request, 8).responses.len(), 1);
    assert_eq!(silent.receive(), None);
    assert_eq!(waiting.receive(), None);
    assert_serves(&broker);
}

/// Names are free, partitions are not: neither way to create topics goes beyond the limit.
#[test]
fn clients_cannot_create_partitions_without_end() {
    // One is the topic of the other tests, one the broker's own.
    let (_folder, broker) = start_with(BrokerConfig {
        partitions_max: 3,
        ..config()
    });
    let mut wire = Wire::connect(broker.address);
    let mut topic = create_topics_request::CreatableTopic::default();
    topic.name = StrBytes::from("created");
    topic.replication_factor = 1;
    for (partitions, expected) in [(2, 44), (1, 0)] {
        topic.num_partitions = partitions;
        let mut request = CreateTopicsRequest::default();
        request.topics = vec![topic.clone()];
        assert_eq!(
            wire.call(&request, 5).topics[0].error_code,
            expected,
            "{partitions}"
        );
    }
    let mut asked = metadata_request::MetadataRequestTopic::default();
    asked.name = Some(StrBytes::from("auto-created"));
    let mut request = MetadataRequest::default();
    request.topics = Some(vec![asked]);
    request.allow_auto_topic_creation = true;
    assert_eq!(wire.call(&request, 4).topics[0].error_code, 3);
}
