//! Configurations that change, records that are deleted, partitions that are added: by every version of their APIs.

#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod broker_support;

use broker_support::wire::Wire;
use broker_support::{RunningBroker, config};
use bytes::{Bytes, BytesMut};
use kafka_wire::*;
use kafka_wire_core::StrBytes;
use kafka_wire_records::{Compression, Record, RecordBatch, RecordEncodeLimits, TimestampType};

const TOPIC: &str = "orders";
const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;

const NONE: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const POLICY_VIOLATION: i16 = 44;

fn text(text: &str) -> StrBytes {
    StrBytes::from(text)
}

/// The folder comes last: it must outlive the broker.
struct Setup {
    wire: Wire,
    broker: RunningBroker,
    folder: tempfile::TempDir,
}

fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let config = broker_support_config();
    let broker = RunningBroker::start_with(folder.path(), config);
    let mut wire = Wire::connect(broker.address);
    create_topic(&mut wire, TOPIC, 2, &[]);
    Setup { wire, broker, folder }
}

fn broker_support_config() -> doorbuster::broker::BrokerConfig {
    doorbuster::broker::BrokerConfig {
        kept_topics: vec!["kept".to_owned()],
        ..config()
    }
}

fn create_topic(wire: &mut Wire, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let mut topic = create_topics_request::CreatableTopic::default();
    topic.name = text(name);
    topic.num_partitions = partitions;
    topic.replication_factor = 1;
    topic.configs = configs
        .iter()
        .map(|(name, value)| {
            let mut config = create_topics_request::CreatableTopicConfig::default();
            config.name = text(name);
            config.value = Some(text(value));
            config
        })
        .collect();
    let mut request = CreateTopicsRequest::default();
    request.topics = vec![topic];
    assert_eq!(wire.call(&request, 6).topics[0].error_code, NONE);
}

/// Produces one batch of that many records, a second apart from `first_timestamp` on.
fn produce(wire: &mut Wire, topic: &str, partition: i32, count: i32, first_timestamp: i64) {
    let record = |offset_delta: i32| Record {
        attributes: 0,
        timestamp_delta: i64::from(offset_delta) * 1000,
        offset_delta,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value")),
        headers: Vec::new(),
    };
    let batch = RecordBatch {
        base_offset: 0,
        last_offset_delta: count - 1,
        partition_leader_epoch: -1,
        compression: Compression::None,
        timestamp_type: TimestampType::CreateTime,
        is_transactional: false,
        is_control: false,
        has_delete_horizon: false,
        base_timestamp: first_timestamp,
        max_timestamp: first_timestamp + i64::from(count - 1) * 1000,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records: (0..count).map(record).collect(),
    };
    let mut bytes = BytesMut::new();
    batch
        .encode_into(&mut bytes, RecordEncodeLimits::default())
        .unwrap();
    let mut data = produce_request::PartitionProduceData::default();
    data.index = partition;
    data.records = Some(bytes.freeze());
    let mut produced = produce_request::TopicProduceData::default();
    produced.name = text(topic);
    produced.partition_data = vec![data];
    let mut request = ProduceRequest::default();
    request.acks = -1;
    request.timeout_ms = 30_000;
    request.topic_data = vec![produced];
    let response = wire.call(&request, 9);
    assert_eq!(response.responses[0].partition_responses[0].error_code, NONE);
}

/// Low watermark and error of each partition.
fn delete_records(wire: &mut Wire, version: i16, topic: &str, asked: &[(i32, i64)]) -> Vec<(i64, i16)> {
    let mut asked_topic = delete_records_request::DeleteRecordsTopic::default();
    asked_topic.name = text(topic);
    asked_topic.partitions = asked
        .iter()
        .map(|(index, offset)| {
            let mut partition = delete_records_request::DeleteRecordsPartition::default();
            partition.partition_index = *index;
            partition.offset = *offset;
            partition
        })
        .collect();
    let mut request = DeleteRecordsRequest::default();
    request.topics = vec![asked_topic];
    request.timeout_ms = 30_000;
    let response = wire.call(&request, version);
    assert_eq!(response.topics[0].name.as_str(), topic);
    let partitions = &response.topics[0].partitions;
    let indexes: Vec<i32> = partitions
        .iter()
        .map(|partition| partition.partition_index)
        .collect();
    assert_eq!(indexes, asked.iter().map(|(index, _)| *index).collect::<Vec<_>>());
    partitions
        .iter()
        .map(|partition| (partition.low_watermark, partition.error_code))
        .collect()
}

/// Error and offset of a timestamp.
fn list_offset(wire: &mut Wire, topic: &str, timestamp: i64) -> (i16, i64) {
    let mut partition = list_offsets_request::ListOffsetsPartition::default();
    partition.timestamp = timestamp;
    let mut asked = list_offsets_request::ListOffsetsTopic::default();
    asked.name = text(topic);
    asked.partitions = vec![partition];
    let mut request = ListOffsetsRequest::default();
    request.replica_id = -1;
    request.topics = vec![asked];
    let response = wire.call(&request, 8);
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset)
}

/// Error and log start of a fetch.
fn fetch(wire: &mut Wire, topic: &str, offset: i64) -> (i16, i64) {
    let mut partition = fetch_request::FetchPartition::default();
    partition.fetch_offset = offset;
    partition.partition_max_bytes = 1 << 20;
    let mut asked = fetch_request::FetchTopic::default();
    asked.topic = text(topic);
    asked.partitions = vec![partition];
    let mut request = FetchRequest::default();
    request.max_bytes = 1 << 20;
    request.topics = vec![asked];
    let response = wire.call(&request, 12);
    let found = &response.responses[0].partitions[0];
    (found.error_code, found.log_start_offset)
}

#[test]
fn deleted_records_are_out_of_range_before_and_after_a_restart() {
    let mut setup = setup();
    let wire = &mut setup.wire;
    for _ in 0..4 {
        produce(wire, TOPIC, 0, 5, 10_000);
    }
    for (version, offset) in [(0, 3), (1, 7), (2, 12)] {
        assert_eq!(
            delete_records(wire, version, TOPIC, &[(0, offset)]),
            [(offset, NONE)]
        );
        assert_eq!(list_offset(wire, TOPIC, -2), (NONE, offset), "earliest");
        assert_eq!(fetch(wire, TOPIC, offset - 1).0, OFFSET_OUT_OF_RANGE);
        assert_eq!(fetch(wire, TOPIC, offset), (NONE, offset));
    }
    assert_eq!(
        list_offset(wire, TOPIC, 11_000),
        (NONE, 12),
        "the first that is left"
    );
    assert_eq!(list_offset(wire, TOPIC, 14_000), (NONE, 14));
    assert_eq!(
        delete_records(wire, 2, TOPIC, &[(0, 4)]),
        [(12, NONE)],
        "nothing comes back"
    );
    let refused = delete_records(wire, 2, TOPIC, &[(0, 21), (0, -2), (7, 0), (1, -1)]);
    let expected = [
        (-1, OFFSET_OUT_OF_RANGE),
        (-1, OFFSET_OUT_OF_RANGE),
        (-1, UNKNOWN_TOPIC_OR_PARTITION),
        (0, NONE),
    ];
    assert_eq!(refused, expected);
    assert_eq!(
        delete_records(wire, 2, TOPIC, &[(0, -1)]),
        [(20, NONE)],
        "all of them"
    );
    assert_eq!(fetch(wire, TOPIC, 20), (NONE, 20));
    setup.broker.stop();
    let broker = RunningBroker::start_with(setup.folder.path(), broker_support_config());
    let mut wire = Wire::connect(broker.address);
    assert_eq!(list_offset(&mut wire, TOPIC, -2), (NONE, 20));
    assert_eq!(list_offset(&mut wire, TOPIC, 0), (NONE, -1), "no record is left");
    assert_eq!(fetch(&mut wire, TOPIC, 19).0, OFFSET_OUT_OF_RANGE);
}

#[test]
fn records_of_topics_that_keep_them_are_not_deleted() {
    let mut setup = setup();
    let wire = &mut setup.wire;
    create_topic(wire, "compacted", 1, &[("cleanup.policy", "compact")]);
    create_topic(wire, "kept", 1, &[]);
    for (topic, error) in [
        ("compacted", POLICY_VIOLATION),
        ("kept", TOPIC_AUTHORIZATION_FAILED),
        ("__consumer_offsets", INVALID_TOPIC_EXCEPTION),
        ("missing", UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        assert_eq!(
            delete_records(wire, 2, topic, &[(0, 0)]),
            [(-1, error)],
            "{topic}"
        );
    }
}

type Changes<'a> = &'a [(&'a str, i8, Option<&'a str>)];

fn change(
    wire: &mut Wire,
    version: i16,
    resource: (i8, &str),
    changes: Changes<'_>,
    validate_only: bool,
) -> i16 {
    let mut asked = incremental_alter_configs_request::AlterConfigsResource::default();
    (asked.resource_type, asked.resource_name) = (resource.0, text(resource.1));
    asked.configs = changes
        .iter()
        .map(|(name, operation, value)| {
            let mut config = incremental_alter_configs_request::AlterableConfig::default();
            config.name = text(name);
            config.config_operation = *operation;
            config.value = value.map(text);
            config
        })
        .collect();
    let mut request = IncrementalAlterConfigsRequest::default();
    request.resources = vec![asked];
    request.validate_only = validate_only;
    let response = wire.call(&request, version);
    assert_eq!(response.responses.len(), 1);
    let result = &response.responses[0];
    assert_eq!((result.resource_type, result.resource_name.as_str()), resource);
    assert_eq!(result.error_message.is_some(), result.error_code != NONE);
    result.error_code
}

fn replace(wire: &mut Wire, version: i16, topic: &str, configs: &[(&str, &str)]) -> i16 {
    let mut asked = alter_configs_request::AlterConfigsResource::default();
    (asked.resource_type, asked.resource_name) = (TOPIC_RESOURCE, text(topic));
    asked.configs = configs
        .iter()
        .map(|(name, value)| {
            let mut config = alter_configs_request::AlterableConfig::default();
            config.name = text(name);
            config.value = Some(text(value));
            config
        })
        .collect();
    let mut request = AlterConfigsRequest::default();
    request.resources = vec![asked];
    let response = wire.call(&request, version);
    assert_eq!(response.responses[0].resource_name.as_str(), topic);
    response.responses[0].error_code
}

/// The configurations of the topic that are not defaults.
fn own_configs(wire: &mut Wire, topic: &str) -> Vec<(String, String)> {
    const SOURCE_TOPIC: i8 = 1;
    let mut resource = describe_configs_request::DescribeConfigsResource::default();
    (resource.resource_type, resource.resource_name) = (TOPIC_RESOURCE, text(topic));
    let mut request = DescribeConfigsRequest::default();
    request.resources = vec![resource];
    let response = wire.call(&request, 4);
    let configs = response.results[0].configs.iter();
    let own = configs.filter(|config| config.config_source == SOURCE_TOPIC);
    own.map(|config| {
        (
            config.name.to_string(),
            config.value.as_ref().unwrap().to_string(),
        )
    })
    .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn topic_configurations_are_altered_and_stay() {
    let mut setup = setup();
    let wire = &mut setup.wire;
    let topic = (TOPIC_RESOURCE, TOPIC);
    for version in 0..=2 {
        let configs = [("durability", "os"), ("retention.ms", "5000")];
        assert_eq!(replace(wire, version, TOPIC, &configs), NONE);
        assert_eq!(own_configs(wire, TOPIC), pairs(&configs));
        assert_eq!(replace(wire, version, TOPIC, &[]), NONE, "all of them go");
        assert_eq!(own_configs(wire, TOPIC), pairs(&[]));
    }
    for version in 0..=1 {
        let changes: Changes<'_> = &[
            ("segment.ms", 0, Some("7000")),
            ("cleanup.policy", 2, Some("compact")),
        ];
        assert_eq!(change(wire, version, topic, changes, true), NONE);
        assert_eq!(own_configs(wire, TOPIC), pairs(&[]), "it was only validated");
        assert_eq!(change(wire, version, topic, changes, false), NONE);
        assert_eq!(
            own_configs(wire, TOPIC),
            pairs(&[("cleanup.policy", "delete,compact"), ("segment.ms", "7000")])
        );
        let changes: Changes<'_> = &[("segment.ms", 1, None), ("cleanup.policy", 1, None)];
        assert_eq!(change(wire, version, topic, changes, false), NONE);
        assert_eq!(own_configs(wire, TOPIC), pairs(&[]));
    }
    assert_eq!(
        change(wire, 1, topic, &[("retention.ms", 0, Some("60000"))], false),
        NONE
    );
    setup.broker.stop();
    let broker = RunningBroker::start_with(setup.folder.path(), broker_support_config());
    let mut wire = Wire::connect(broker.address);
    assert_eq!(own_configs(&mut wire, TOPIC), pairs(&[("retention.ms", "60000")]));
}

#[test]
fn configurations_that_make_no_sense_change_nothing() {
    let mut setup = setup();
    let wire = &mut setup.wire;
    create_topic(wire, "kept", 1, &[]);
    let topic = (TOPIC_RESOURCE, TOPIC);
    let mut coordinator = FindCoordinatorRequest::default();
    coordinator.key = text("a group, for which the broker makes its topic");
    assert_eq!(wire.call(&coordinator, 0).error_code, NONE);
    let cases: [((i8, &str), Changes<'_>, i16); 8] = [
        (topic, &[("retention.ms", 0, Some("soon"))], INVALID_CONFIG),
        (topic, &[("no.such.config", 0, Some("1"))], INVALID_CONFIG),
        (topic, &[("retention.ms", 0, None)], INVALID_REQUEST),
        (topic, &[("retention.ms", 2, Some("1"))], INVALID_CONFIG),
        ((TOPIC_RESOURCE, "missing"), &[], UNKNOWN_TOPIC_OR_PARTITION),
        ((TOPIC_RESOURCE, "kept"), &[], TOPIC_AUTHORIZATION_FAILED),
        ((BROKER_RESOURCE, "1"), &[], INVALID_REQUEST),
        (
            (TOPIC_RESOURCE, "__consumer_offsets"),
            &[("cleanup.policy", 0, Some("delete"))],
            INVALID_CONFIG,
        ),
    ];
    for (resource, changes, error) in cases {
        assert_eq!(
            change(wire, 1, resource, changes, false),
            error,
            "{resource:?} {changes:?}"
        );
    }
    let contradiction = [("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")];
    assert_eq!(replace(wire, 2, TOPIC, &contradiction), INVALID_CONFIG);
    assert_eq!(own_configs(wire, TOPIC), pairs(&[]));
}

fn add_partitions(wire: &mut Wire, version: i16, topic: &str, count: i32, brokers: Option<&[i32]>) -> i16 {
    let mut asked = create_partitions_request::CreatePartitionsTopic::default();
    asked.name = text(topic);
    asked.count = count;
    asked.assignments = brokers.map(|brokers| {
        let assignment = |broker: &i32| {
            let mut assignment = create_partitions_request::CreatePartitionsAssignment::default();
            assignment.broker_ids = vec![*broker];
            assignment
        };
        brokers.iter().map(assignment).collect()
    });
    let mut request = CreatePartitionsRequest::default();
    request.topics = vec![asked];
    request.timeout_ms = 30_000;
    let response = wire.call(&request, version);
    assert_eq!(response.results[0].name.as_str(), topic);
    response.results[0].error_code
}

#[test]
fn partitions_are_added_and_take_records() {
    let mut setup = setup();
    let wire = &mut setup.wire;
    for version in 0..=3 {
        let count = 3 + i32::from(version);
        assert_eq!(add_partitions(wire, version, TOPIC, count, None), NONE);
        produce(wire, TOPIC, count - 1, 1, 0);
    }
    assert_eq!(add_partitions(wire, 3, TOPIC, 8, Some(&[1, 1])), NONE);
    assert_eq!(
        add_partitions(wire, 3, TOPIC, 9, Some(&[2])),
        INVALID_REPLICA_ASSIGNMENT
    );
    for count in [8, 7, 0, -1] {
        assert_eq!(
            add_partitions(wire, 3, TOPIC, count, None),
            INVALID_PARTITIONS,
            "{count}"
        );
    }
    assert_eq!(
        add_partitions(wire, 3, "missing", 9, None),
        UNKNOWN_TOPIC_OR_PARTITION
    );
    setup.broker.stop();
    let broker = RunningBroker::start_with(setup.folder.path(), broker_support_config());
    let mut wire = Wire::connect(broker.address);
    produce(&mut wire, TOPIC, 7, 1, 0);
    assert_eq!(add_partitions(&mut wire, 3, TOPIC, 8, None), INVALID_PARTITIONS);
}
