//! Every served API in every version: a request with content gets a response with content.

#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a setup that fails is a failed test")]

mod broker_support;

use broker_support::RunningBroker;
use broker_support::wire::{Wire, decode_response, request_frame};
use bytes::{Bytes, BytesMut};
use kafka_wire::*;
use kafka_wire_core::{ApiVersion, StrBytes, Uuid};
use kafka_wire_records::{Compression, Record, RecordBatch, RecordEncodeLimits, TimestampType};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";

fn text(text: &str) -> StrBytes {
    StrBytes::from(text)
}

/// The folder comes last: it must outlive the broker.
struct Setup {
    broker: RunningBroker,
    wire: Wire,
    topic_id: Uuid,
    folder: tempfile::TempDir,
}

fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(folder.path());
    let mut wire = Wire::connect(broker.address);
    let mut topic = create_topics_request::CreatableTopic::default();
    topic.name = text(TOPIC);
    topic.num_partitions = 2;
    topic.replication_factor = 1;
    let mut request = CreateTopicsRequest::default();
    request.topics = vec![topic];
    let created = wire.call(&request, 7);
    assert_eq!(created.topics[0].error_code, 0);
    let topic_id = created.topics[0].topic_id;
    Setup {
        broker,
        wire,
        topic_id,
        folder,
    }
}

/// One uncompressed batch; its records are a second apart.
fn batch(count: i32, first_timestamp: i64) -> Bytes {
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
        compression: Compression::Gzip,
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
    bytes.freeze()
}

fn produce_request(setup: &Setup, version: i16, partition: i32, records: Bytes) -> ProduceRequest {
    let mut data = produce_request::PartitionProduceData::default();
    data.index = partition;
    data.records = Some(records);
    let mut topic = produce_request::TopicProduceData::default();
    if version >= 13 {
        topic.topic_id = setup.topic_id;
    } else {
        topic.name = text(TOPIC);
    }
    topic.partition_data = vec![data];
    let mut request = ProduceRequest::default();
    request.acks = -1;
    request.timeout_ms = 30_000;
    request.topic_data = vec![topic];
    request
}

fn produce(setup: &mut Setup, version: i16, partition: i32, records: Bytes) -> (i16, i64) {
    let request = produce_request(setup, version, partition, records);
    let response = setup.wire.call(&request, version);
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

fn fetch_request(setup: &Setup, version: i16, partitions: &[(i32, i64)], max_bytes: i32) -> FetchRequest {
    let mut topic = fetch_request::FetchTopic::default();
    if version >= 13 {
        topic.topic_id = setup.topic_id;
    } else {
        topic.topic = text(TOPIC);
    }
    topic.partitions = partitions
        .iter()
        .map(|(index, offset)| {
            let mut partition = fetch_request::FetchPartition::default();
            partition.partition = *index;
            partition.fetch_offset = *offset;
            partition.partition_max_bytes = max_bytes;
            partition
        })
        .collect();
    let mut request = FetchRequest::default();
    request.max_wait_ms = 100;
    request.min_bytes = 1;
    request.max_bytes = max_bytes;
    request.topics = vec![topic];
    request
}

#[test]
fn produce_and_fetch() {
    let mut setup = setup();
    let mut expected = 0;
    for version in 3..=13 {
        assert_eq!(
            produce(&mut setup, version, 0, batch(3, 1_000)),
            (0, expected),
            "version {version}"
        );
        expected += 3;
    }
    for version in 4..=18 {
        let request = fetch_request(&setup, version, &[(0, 4), (1, 0)], 1 << 20);
        let response = setup.wire.call(&request, version);
        assert_eq!((response.error_code, response.session_id), (0, 0));
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, expected));
        let mut records = partition.records.clone().unwrap();
        let first =
            RecordBatch::decode(&mut records, kafka_wire_records::RecordDecodeLimits::default()).unwrap();
        assert_eq!(
            (first.base_offset, first.records.len()),
            (3, 3),
            "the batch that holds offset 4"
        );
        let empty = &response.responses[0].partitions[1];
        assert_eq!((empty.error_code, empty.high_watermark), (0, 0));
    }
}

#[test]
fn a_fetch_gives_at_least_one_batch_and_keeps_its_limits() {
    let mut setup = setup();
    for partition in 0..2 {
        for _ in 0..3 {
            assert_eq!(produce(&mut setup, 9, partition, batch(1, 0)).0, 0);
        }
    }
    let size = batch(1, 0).len() as i32;
    for (max_bytes, expected) in [
        (0, [1, 0]),
        (1, [1, 0]),
        (size * 2, [2, 0]),
        (size * 4, [3, 1]),
        (size * 6, [3, 3]),
    ] {
        let request = fetch_request(&setup, 11, &[(0, 0), (1, 0)], max_bytes);
        let response = setup.wire.call(&request, 11);
        let counts: Vec<i32> = response.responses[0]
            .partitions
            .iter()
            .map(|partition| partition.records.as_ref().unwrap().len() as i32 / size)
            .collect();
        assert_eq!(counts, expected, "max bytes {max_bytes}");
    }
}

#[test]
fn fetches_out_of_range_are_told_at_once() {
    let mut setup = setup();
    produce(&mut setup, 9, 0, batch(2, 0));
    for (offset, error) in [(2, 0), (3, 1), (-1, 1), (i64::MAX, 1)] {
        let request = fetch_request(&setup, 12, &[(0, offset)], 1 << 20);
        let response = setup.wire.call(&request, 12);
        assert_eq!(
            response.responses[0].partitions[0].error_code, error,
            "offset {offset}"
        );
    }
    let request = fetch_request(&setup, 12, &[(7, 0)], 1 << 20);
    assert_eq!(
        setup.wire.call(&request, 12).responses[0].partitions[0].error_code,
        3
    );
    let mut request = fetch_request(&setup, 13, &[(0, 0)], 1 << 20);
    request.topics[0].topic_id = Uuid::from_bytes([9; 16]);
    assert_eq!(
        setup.wire.call(&request, 13).responses[0].partitions[0].error_code,
        100
    );
    let mut request = fetch_request(&setup, 12, &[(0, 0)], 1 << 20);
    request.session_id = 5;
    request.session_epoch = 1;
    assert_eq!(setup.wire.call(&request, 12).error_code, 70);
}

#[test]
fn a_long_poll_ends_when_records_arrive() {
    let mut setup = setup();
    let mut request = fetch_request(&setup, 12, &[(0, 0), (1, 0)], 1 << 20);
    request.max_wait_ms = 60_000;
    setup.wire.send(&request_frame(&request, 12, 77));
    let mut other = Wire::connect(setup.broker.address);
    std::mem::swap(&mut other, &mut setup.wire);
    assert_eq!(produce(&mut setup, 9, 1, batch(1, 0)), (0, 0));
    let response = decode_response::<FetchRequest>(&other.receive().unwrap(), 12, 77);
    assert_eq!(response.responses[0].partitions[1].records.as_ref().unwrap(), &{
        let mut stored = BytesMut::from(&batch(1, 0)[..]);
        stored[12..16].copy_from_slice(&0_i32.to_be_bytes());
        stored.freeze()
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut setup = setup();
    let mut frames = Vec::new();
    for correlation_id in 0..200 {
        let request = produce_request(&setup, 9, correlation_id % 2, batch(1, 0));
        frames.extend_from_slice(&request_frame(&request, 9, correlation_id));
    }
    setup.wire.send(&frames);
    for correlation_id in 0..200 {
        let frame = setup.wire.receive().unwrap();
        let response = decode_response::<ProduceRequest>(&frame, 9, correlation_id);
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (0, i64::from(correlation_id / 2))
        );
    }
}

#[test]
fn a_fetch_behind_a_produce_sees_its_records() {
    let mut setup = setup();
    let produce = produce_request(&setup, 9, 0, batch(1, 0));
    let fetch = fetch_request(&setup, 12, &[(0, 0)], 1 << 20);
    let more = produce_request(&setup, 9, 0, batch(1, 0));
    let frames = [
        request_frame(&produce, 9, 1),
        request_frame(&fetch, 12, 2),
        request_frame(&more, 9, 3),
    ];
    setup.wire.send(&frames.concat());
    setup.wire.receive().unwrap();
    let fetched = decode_response::<FetchRequest>(&setup.wire.receive().unwrap(), 12, 2);
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 1);
    let produced = decode_response::<ProduceRequest>(&setup.wire.receive().unwrap(), 9, 3);
    assert_eq!(produced.responses[0].partition_responses[0].base_offset, 1);
}

#[test]
fn list_offsets() {
    let mut setup = setup();
    produce(&mut setup, 9, 0, batch(5, 10_000));
    produce(&mut setup, 9, 0, batch(5, 5_000));
    for version in 1..=11 {
        let mut asked = vec![
            (-1, (10, -1)),
            (-2, (0, -1)),
            (0, (0, 10_000)),
            (12_001, (3, 13_000)),
            (14_001, (-1, -1)),
        ];
        if version >= 7 {
            asked.push((-3, (4, 14_000)));
        }
        if version >= 8 {
            asked.push((-4, (0, -1)));
        }
        if version >= 9 {
            asked.push((-5, (-1, -1)));
        }
        for (timestamp, expected) in asked {
            let mut partition = list_offsets_request::ListOffsetsPartition::default();
            partition.timestamp = timestamp;
            let mut topic = list_offsets_request::ListOffsetsTopic::default();
            topic.name = text(TOPIC);
            topic.partitions = vec![partition];
            let mut request = ListOffsetsRequest::default();
            request.replica_id = -1;
            request.topics = vec![topic];
            let response = setup.wire.call(&request, version);
            let found = &response.topics[0].partitions[0];
            assert_eq!(found.error_code, 0, "version {version}, timestamp {timestamp}");
            assert_eq!(
                (found.offset, found.timestamp),
                expected,
                "version {version}, timestamp {timestamp}"
            );
        }
    }
}

#[test]
fn metadata_and_api_versions() {
    let mut setup = setup();
    for version in 0..=13 {
        let mut topic = metadata_request::MetadataRequestTopic::default();
        topic.name = Some(text(TOPIC));
        let mut unknown = metadata_request::MetadataRequestTopic::default();
        unknown.name = Some(text("illegal/name"));
        let mut request = MetadataRequest::default();
        request.topics = Some(vec![topic, unknown]);
        let response = setup.wire.call(&request, version);
        assert_eq!(response.brokers[0].port, i32::from(setup.broker.address.port()));
        let found = &response.topics[0];
        assert_eq!((found.error_code, found.partitions.len()), (0, 2));
        assert_eq!(found.partitions[1].leader_id, 1);
        assert_eq!(response.topics[1].error_code, 17);
        if version >= 10 {
            assert_eq!(found.topic_id, setup.topic_id);
        }
    }
    for (version, name) in [(12, None), (12, Some("")), (13, None), (13, Some(""))] {
        let mut by_id = metadata_request::MetadataRequestTopic::default();
        by_id.topic_id = setup.topic_id;
        by_id.name = name.map(text);
        let mut unknown = by_id.clone();
        unknown.topic_id = Uuid::from_bytes([9; 16]);
        let mut request = MetadataRequest::default();
        request.topics = Some(vec![by_id, unknown]);
        let topics = setup.wire.call(&request, version).topics;
        assert_eq!((topics[0].error_code, &topics[0].name), (0, &Some(text(TOPIC))));
        assert_eq!((topics[1].error_code, &topics[1].name), (100, &None));
        assert_eq!(topics[1].topic_id, Uuid::from_bytes([9; 16]));
    }
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = text("wire");
            request.client_software_version = text("1.0");
        }
        let response = setup.wire.call(&request, version);
        assert_eq!(response.error_code, 0);
        let produce = response.api_keys.iter().find(|range| range.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
    }
    let mut unknown = request_frame(&ApiVersionsRequest::default(), 0, 9).to_vec();
    unknown[6..8].copy_from_slice(&77_i16.to_be_bytes());
    setup.wire.send(&unknown);
    let response = decode_response::<ApiVersionsRequest>(&setup.wire.receive().unwrap(), 0, 9);
    assert_eq!(response.error_code, 35);
    assert!(
        response
            .api_keys
            .iter()
            .any(|range| range.api_key == 18 && range.max_version == 4)
    );
}

#[test]
fn authorized_operations_are_told_when_asked_for() {
    const CLUSTER: i32 = 0b1_1111_1010_0000;
    const TOPIC_AND_UNKNOWN: [i32; 2] = [0b1101_1111_1000, i32::MIN];
    let mut setup = setup();
    commit_alone(&mut setup, GROUP);
    let wire = &mut setup.wire;
    let mut metadata = MetadataRequest::default();
    let names = [TOPIC, "no-such-topic"];
    let asked = names.map(|name| {
        let mut topic = metadata_request::MetadataRequestTopic::default();
        topic.name = Some(text(name));
        topic
    });
    metadata.topics = Some(asked.to_vec());
    metadata.allow_auto_topic_creation = false;
    for (version, is_asked) in [(8, true), (8, false), (10, true), (13, true), (13, false)] {
        metadata.include_topic_authorized_operations = is_asked;
        metadata.include_cluster_authorized_operations = is_asked && version <= 10;
        let response = wire.call(&metadata, version);
        let topics: Vec<i32> = response
            .topics
            .iter()
            .map(|topic| topic.topic_authorized_operations)
            .collect();
        assert_eq!(
            topics,
            if is_asked {
                TOPIC_AND_UNKNOWN
            } else {
                [i32::MIN; 2]
            }
        );
        let cluster = if is_asked && version <= 10 {
            CLUSTER
        } else {
            i32::MIN
        };
        assert_eq!(response.cluster_authorized_operations, cluster);
    }
    let mut cluster = DescribeClusterRequest::default();
    assert_eq!(wire.call(&cluster, 1).cluster_authorized_operations, i32::MIN);
    cluster.include_cluster_authorized_operations = true;
    assert_eq!(wire.call(&cluster, 1).cluster_authorized_operations, CLUSTER);
    let mut groups = DescribeGroupsRequest::default();
    groups.groups = vec![text(GROUP)];
    assert_eq!(wire.call(&groups, 6).groups[0].authorized_operations, i32::MIN);
    groups.include_authorized_operations = true;
    assert_eq!(
        wire.call(&groups, 6).groups[0].authorized_operations,
        0b1101_0100_1000
    );
}

/// Topic, partition and size of everything in the data folder.
fn sizes(setup: &mut Setup, asked: Option<&[(&str, &[i32])]>, version: i16) -> Vec<(String, i32, i64)> {
    let mut request = DescribeLogDirsRequest::default();
    request.topics = asked.map(|asked| {
        let topic = |(name, partitions): &(&str, &[i32])| {
            let mut topic = describe_log_dirs_request::DescribableLogDirTopic::default();
            topic.topic = text(name);
            topic.partitions = partitions.to_vec();
            topic
        };
        asked.iter().map(topic).collect()
    });
    let response = setup.wire.call(&request, version);
    assert_eq!((response.error_code, response.results.len()), (0, 1));
    let folder = &response.results[0];
    assert_eq!(folder.error_code, 0);
    assert_eq!(folder.log_dir.as_str(), setup.folder.path().to_str().unwrap());
    let topics = folder.topics.iter();
    let partitions = topics.flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.to_string(), p)));
    partitions
        .map(|(name, partition)| (name, partition.partition_index, partition.partition_size))
        .collect()
}

#[test]
fn the_data_folder_and_its_sizes() {
    let mut setup = setup();
    let records = batch(3, 1_000);
    assert_eq!(produce(&mut setup, 9, 1, records.clone()), (0, 0));
    // Stopping flushes the tails into segments.
    setup.broker.stop();
    setup.broker = RunningBroker::start(setup.folder.path());
    setup.wire = Wire::connect(setup.broker.address);
    let size_bytes = records.len() as i64;
    let both = vec![(TOPIC.to_owned(), 0, 0), (TOPIC.to_owned(), 1, size_bytes)];
    for version in 1..=5 {
        let mut all = sizes(&mut setup, None, version);
        all.retain(|(name, ..)| !name.starts_with("__"));
        assert_eq!(all, both, "version {version}");
        let asked: [(&str, &[i32]); 2] = [("no-such-topic", &[0]), (TOPIC, &[1, 2])];
        assert_eq!(
            sizes(&mut setup, Some(&asked), version),
            both[1..],
            "version {version}"
        );
        assert_eq!(sizes(&mut setup, Some(&[]), version), vec![]);
    }
}

#[test]
fn group_membership_and_offsets() {
    let mut setup = setup();
    for version in 0..=9 {
        let group = format!("{GROUP}-{version}");
        let generation = join_and_sync(&mut setup, &group, version);
        commit_and_fetch(&mut setup, &group, version, &generation);
        describe_list_and_delete(&mut setup, &group, version);
    }
}

/// What a member knows after it joined.
struct Joined {
    member_id: StrBytes,
    generation: i32,
}

fn join_and_sync(setup: &mut Setup, group: &str, version: i16) -> Joined {
    let mut protocol = join_group_request::JoinGroupRequestProtocol::default();
    protocol.name = text("range");
    protocol.metadata = Bytes::from_static(b"subscription");
    let mut join = JoinGroupRequest::default();
    join.group_id = text(group);
    join.session_timeout_ms = 30_000;
    if version >= 1 {
        join.rebalance_timeout_ms = 60_000;
    }
    join.protocol_type = text("consumer");
    join.protocols = vec![protocol];
    let mut joined = setup.wire.call(&join, version);
    if version >= 4 {
        assert_eq!(joined.error_code, 79, "a member id is required");
        join.member_id = joined.member_id.clone();
        joined = setup.wire.call(&join, version);
    }
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members[0].metadata, Bytes::from_static(b"subscription"));

    let sync_version = version.min(5);
    let mut assignment = sync_group_request::SyncGroupRequestAssignment::default();
    assignment.member_id = joined.member_id.clone();
    assignment.assignment = Bytes::from_static(b"assignment");
    let mut sync = SyncGroupRequest::default();
    sync.group_id = text(group);
    sync.generation_id = 1;
    sync.member_id = joined.member_id.clone();
    if sync_version >= 5 {
        sync.protocol_type = Some(text("consumer"));
        sync.protocol_name = Some(text("range"));
    }
    sync.assignments = vec![assignment];
    let synced = setup.wire.call(&sync, sync_version);
    assert_eq!(
        (synced.error_code, synced.assignment),
        (0, Bytes::from_static(b"assignment"))
    );

    let mut heartbeat = HeartbeatRequest::default();
    heartbeat.group_id = text(group);
    heartbeat.generation_id = 1;
    heartbeat.member_id = joined.member_id.clone();
    assert_eq!(setup.wire.call(&heartbeat, version.min(4)).error_code, 0);
    Joined {
        member_id: joined.member_id,
        generation: 1,
    }
}

fn commit_and_fetch(setup: &mut Setup, group: &str, version: i16, joined: &Joined) {
    let commit_version = (version + 2).min(10);
    let mut partition = offset_commit_request::OffsetCommitRequestPartition::default();
    partition.partition_index = 1;
    partition.committed_offset = 42;
    partition.committed_metadata = Some(text("note"));
    let mut topic = offset_commit_request::OffsetCommitRequestTopic::default();
    if commit_version >= 10 {
        topic.topic_id = setup.topic_id;
    } else {
        topic.name = text(TOPIC);
    }
    topic.partitions = vec![partition];
    let mut commit = OffsetCommitRequest::default();
    commit.group_id = text(group);
    commit.generation_id_or_member_epoch = joined.generation;
    commit.member_id = joined.member_id.clone();
    commit.topics = vec![topic];
    let committed = setup.wire.call(&commit, commit_version);
    assert_eq!(
        committed.topics[0].partitions[0].error_code, 0,
        "version {commit_version}"
    );

    let fetch_version = version + 1;
    if fetch_version <= 7 {
        let mut topic = offset_fetch_request::OffsetFetchRequestTopic::default();
        topic.name = text(TOPIC);
        topic.partition_indexes = vec![0, 1];
        let mut fetch = OffsetFetchRequest::default();
        fetch.group_id = text(group);
        fetch.topics = Some(vec![topic]);
        let fetched = setup.wire.call(&fetch, fetch_version);
        let partitions = &fetched.topics[0].partitions;
        assert_eq!(
            (partitions[0].committed_offset, partitions[1].committed_offset),
            (-1, 42)
        );
        assert_eq!(partitions[1].metadata, Some(text("note")));
        return;
    }
    let mut topic = offset_fetch_request::OffsetFetchRequestTopics::default();
    if fetch_version >= 10 {
        topic.topic_id = setup.topic_id;
    } else {
        topic.name = text(TOPIC);
    }
    topic.partition_indexes = vec![0, 1];
    for topics in [Some(vec![topic]), None] {
        let asked_all = topics.is_none();
        let mut asked = offset_fetch_request::OffsetFetchRequestGroup::default();
        asked.group_id = text(group);
        asked.topics = topics;
        let mut fetch = OffsetFetchRequest::default();
        fetch.groups = vec![asked];
        let fetched = setup.wire.call(&fetch, fetch_version);
        let partitions = &fetched.groups[0].topics[0].partitions;
        let found: Vec<(i32, i64)> = partitions
            .iter()
            .map(|partition| (partition.partition_index, partition.committed_offset))
            .collect();
        let expected = if asked_all {
            vec![(1, 42)]
        } else {
            vec![(0, -1), (1, 42)]
        };
        assert_eq!(found, expected, "version {fetch_version}");
    }
}

fn describe_list_and_delete(setup: &mut Setup, group: &str, version: i16) {
    let mut describe = DescribeGroupsRequest::default();
    describe.groups = vec![text(group), text("no-such-group")];
    let described = setup.wire.call(&describe, version.min(6));
    assert_eq!(described.groups[0].group_state, text("Stable"));
    assert_eq!(
        described.groups[0].members[0].member_assignment,
        Bytes::from_static(b"assignment")
    );
    assert_eq!(described.groups[1].group_state, text("Dead"));
    assert_eq!(described.groups[1].error_code, if version >= 6 { 69 } else { 0 });

    let listed = setup.wire.call(&ListGroupsRequest::default(), version.min(5));
    assert!(listed.groups.iter().any(|listed| listed.group_id == text(group)));

    let mut delete = DeleteGroupsRequest::default();
    delete.groups_names = vec![text(group)];
    assert_eq!(setup.wire.call(&delete, version.min(2)).results[0].error_code, 68);
    let mut leave = LeaveGroupRequest::default();
    leave.group_id = text(group);
    let member_id = described.groups[0].members[0].member_id.clone();
    let leave_version = version.min(5);
    if leave_version <= 2 {
        leave.member_id = member_id;
        assert_eq!(setup.wire.call(&leave, leave_version).error_code, 0);
    } else {
        let mut member = leave_group_request::MemberIdentity::default();
        member.member_id = member_id;
        leave.members = vec![member];
        assert_eq!(setup.wire.call(&leave, leave_version).members[0].error_code, 0);
    }
    assert_eq!(setup.wire.call(&delete, version.min(2)).results[0].error_code, 0);
    assert_eq!(setup.wire.call(&delete, version.min(2)).results[0].error_code, 69);
}

/// Commits offset 7 of both partitions for nobody in particular.
fn commit_alone(setup: &mut Setup, group: &str) {
    let mut commit = OffsetCommitRequest::default();
    commit.group_id = text(group);
    commit.generation_id_or_member_epoch = -1;
    let mut topic = offset_commit_request::OffsetCommitRequestTopic::default();
    topic.name = text(TOPIC);
    for index in 0..2 {
        let mut partition = offset_commit_request::OffsetCommitRequestPartition::default();
        partition.partition_index = index;
        partition.committed_offset = 7;
        topic.partitions.push(partition);
    }
    commit.topics = vec![topic];
    let committed = setup.wire.call(&commit, 8);
    assert_eq!(committed.topics[0].partitions[1].error_code, 0);
}

/// The partitions of the topic that have a committed offset.
fn committed_partitions(wire: &mut Wire, group: &str) -> Vec<i32> {
    let mut asked = offset_fetch_request::OffsetFetchRequestGroup::default();
    asked.group_id = text(group);
    asked.topics = None;
    let mut fetch = OffsetFetchRequest::default();
    fetch.groups = vec![asked];
    let fetched = wire.call(&fetch, 9);
    let partitions = fetched.groups[0]
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.partition_index).collect()
}

/// The errors of the group and of its partitions.
fn delete_offsets(wire: &mut Wire, group: &str, asked: &[(&str, &[i32])]) -> (i16, Vec<i16>) {
    let mut request = OffsetDeleteRequest::default();
    request.group_id = text(group);
    for (name, partitions) in asked {
        let mut topic = offset_delete_request::OffsetDeleteRequestTopic::default();
        topic.name = text(name);
        for index in *partitions {
            let mut partition = offset_delete_request::OffsetDeleteRequestPartition::default();
            partition.partition_index = *index;
            topic.partitions.push(partition);
        }
        request.topics.push(topic);
    }
    let response = wire.call(&request, 0);
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let errors = partitions.map(|partition| partition.error_code).collect();
    (response.error_code, errors)
}

#[test]
fn committed_offsets_are_deleted_for_good() {
    let mut setup = setup();
    commit_alone(&mut setup, GROUP);
    let asked: [(&str, &[i32]); 2] = [("no-such-topic", &[0]), (TOPIC, &[1, 9])];
    let wire = &mut setup.wire;
    assert_eq!(delete_offsets(wire, "no-such-group", &asked), (69, Vec::new()));
    assert_eq!(committed_partitions(wire, GROUP), vec![0, 1]);
    assert_eq!(delete_offsets(wire, GROUP, &asked), (0, vec![3, 0, 3]));
    assert_eq!(committed_partitions(wire, GROUP), vec![0]);

    setup.broker.stop();
    let broker = RunningBroker::start(setup.folder.path());
    let mut wire = Wire::connect(broker.address);
    assert_eq!(committed_partitions(&mut wire, GROUP), vec![0]);
    assert_eq!(delete_offsets(&mut wire, GROUP, &[(TOPIC, &[0])]), (0, vec![0]));
    assert_eq!(committed_partitions(&mut wire, GROUP), Vec::<i32>::new());
}

#[test]
fn offsets_of_topics_that_members_may_read_stay() {
    let mut setup = setup();
    let joined = join_and_sync(&mut setup, GROUP, 9);
    commit_and_fetch(&mut setup, GROUP, 8, &joined);
    // The metadata of this member is not a subscription, so it may read anything.
    assert_eq!(
        delete_offsets(&mut setup.wire, GROUP, &[(TOPIC, &[1])]),
        (0, vec![86])
    );
    assert_eq!(committed_partitions(&mut setup.wire, GROUP), vec![1]);
}

#[test]
fn topics_configs_and_the_cluster() {
    let mut setup = setup();
    for version in 2..=7 {
        let mut topic = create_topics_request::CreatableTopic::default();
        topic.name = text(&format!("topic-{version}"));
        topic.num_partitions = 1;
        topic.replication_factor = 1;
        let mut request = CreateTopicsRequest::default();
        request.topics = vec![topic];
        request.validate_only = true;
        assert_eq!(setup.wire.call(&request, version).topics[0].error_code, 0);
        request.validate_only = false;
        assert_eq!(
            setup.wire.call(&request, version).topics[0].error_code,
            0,
            "validating creates nothing"
        );
        assert_eq!(setup.wire.call(&request, version).topics[0].error_code, 36);
        request.topics.push(request.topics[0].clone());
        let repeated = setup.wire.call(&request, version);
        assert_eq!((repeated.topics.len(), repeated.topics[0].error_code), (1, 42));
    }
    for version in 1..=4 {
        for (kind, name, least) in [(2, TOPIC, 33), (4, "1", 15)] {
            let mut resource = describe_configs_request::DescribeConfigsResource::default();
            resource.resource_type = kind;
            resource.resource_name = text(name);
            let mut request = DescribeConfigsRequest::default();
            request.resources = vec![resource];
            request.include_synonyms = true;
            request.include_documentation = version >= 3;
            let response = setup.wire.call(&request, version);
            assert_eq!(response.results[0].error_code, 0);
            assert!(response.results[0].configs.len() >= least);
        }
    }
    for version in 0..=2 {
        let response = setup.wire.call(&DescribeClusterRequest::default(), version);
        assert_eq!(
            (
                response.error_code,
                response.brokers.len(),
                response.cluster_id.len()
            ),
            (0, 1, 22)
        );
    }
    for version in 1..=6 {
        let name = text(&format!("topic-{}", version + 1));
        let mut request = DeleteTopicsRequest::default();
        if version >= 6 {
            let mut topic = delete_topics_request::DeleteTopicState::default();
            topic.name = Some(name);
            request.topics = vec![topic];
        } else {
            request.topic_names = vec![name];
        }
        assert_eq!(setup.wire.call(&request, version).responses[0].error_code, 0);
        assert_eq!(setup.wire.call(&request, version).responses[0].error_code, 3);
    }
}

#[test]
fn coordinators_producer_ids_and_epochs() {
    let mut setup = setup();
    for version in 0..=6 {
        for (kind, expected) in [(0, 0), (1, 42)] {
            if version == 0 && kind == 1 {
                continue;
            }
            let mut request = FindCoordinatorRequest::default();
            request.key_type = kind;
            if version >= 4 {
                request.coordinator_keys = vec![text(GROUP)];
            } else {
                request.key = text(GROUP);
            }
            let response = setup.wire.call(&request, version);
            let error = if version >= 4 {
                response.coordinators[0].error_code
            } else {
                response.error_code
            };
            assert_eq!(error, expected, "version {version}");
        }
    }
    let mut last = -1;
    for version in 0..=5 {
        let mut request = idempotent();
        request.transaction_timeout_ms = 60_000;
        let response = setup.wire.call(&request, version);
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        assert!(response.producer_id > last);
        last = response.producer_id;
        request.transactional_id = Some(text("t"));
        assert_eq!(setup.wire.call(&request, version).error_code, 42);
    }
    produce(&mut setup, 9, 0, batch(4, 0));
    for version in 2..=4 {
        let mut partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
        partition.leader_epoch = 0;
        let mut topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default();
        topic.topic = text(TOPIC);
        topic.partitions = vec![partition];
        let mut request = OffsetForLeaderEpochRequest::default();
        request.topics = vec![topic];
        let response = setup.wire.call(&request, version);
        let end = &response.topics[0].partitions[0];
        assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (0, 0, 4));
    }
}

fn idempotent() -> InitProducerIdRequest {
    let mut request = InitProducerIdRequest::default();
    request.transactional_id = None;
    request
}

#[test]
fn producer_ids_are_never_given_out_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let broker = RunningBroker::start(folder.path());
        let mut wire = Wire::connect(broker.address);
        for _ in 0..5 {
            let response = wire.call(&idempotent(), 4);
            assert!(
                seen.insert(response.producer_id),
                "{} was given out before",
                response.producer_id
            );
        }
        broker.stop();
    }
}

#[test]
fn the_cluster_id_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let broker = RunningBroker::start(folder.path());
        let mut wire = Wire::connect(broker.address);
        ids.insert(
            wire.call(&DescribeClusterRequest::default(), 0)
                .cluster_id
                .into_string(),
        );
        broker.stop();
    }
    assert_eq!(ids.len(), 1);
}

#[test]
fn the_version_table_is_covered() {
    use doorbuster::broker::protocol::{ApiKey, SERVED_APIS};
    // A new API needs a test of its own, above or in broker_retention.rs.
    assert_eq!(SERVED_APIS.len(), 27);
    let fetch = SERVED_APIS
        .iter()
        .find(|served| served.key == ApiKey::Fetch)
        .unwrap();
    assert!(FetchRequest::supports(ApiVersion::new(fetch.max)));
}
