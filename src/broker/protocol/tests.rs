//! Requests from clients, and from attackers.

use bytes::{Bytes, BytesMut};
use kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_wire::{
    KafkaRequest, ListGroupsRequest, MetadataRequest, OutboundFrameLimits, ProduceRequest, encode_request,
};
use kafka_wire_core::{ApiVersion, KafkaEncode, StrBytes, Uuid};
use proptest::prelude::*;

use super::*;

fn frame_of<R: KafkaRequest + KafkaEncode>(request: &R, version: i16) -> Bytes {
    let mut wire = BytesMut::new();
    let limits = OutboundFrameLimits::new(1 << 30);
    let client_id = Some(StrBytes::from("tester"));
    encode_request(
        &mut wire,
        77,
        client_id,
        request,
        ApiVersion::new(version),
        limits,
    )
    .unwrap();
    wire.freeze().slice(LENGTH_PREFIX_SIZE_BYTES..)
}

fn produce_request(version: i16) -> ProduceRequest {
    let mut partition = PartitionProduceData::default();
    partition.index = 4;
    partition.records = Some(Bytes::from_static(b"a batch"));
    let mut empty = PartitionProduceData::default();
    empty.index = 5;
    let mut topic = TopicProduceData::default();
    if version >= 13 {
        topic.topic_id = Uuid::from_bytes([3; 16]);
    } else {
        topic.name = StrBytes::from("orders");
    }
    topic.partition_data = vec![partition, empty];
    let mut request = ProduceRequest::default();
    request.acks = -1;
    request.timeout_ms = 30_000;
    request.topic_data = vec![topic];
    request
}

#[test]
fn produce_decodes_in_every_version() {
    for version in 3..=13 {
        let expected = produce_request(version);
        let decoded = decode_request(frame_of(&expected, version)).unwrap();
        assert_eq!(decoded.header.correlation_id, 77);
        assert_eq!(decoded.header.client_id, Some(StrBytes::from("tester")));
        let Request::Produce(found) = decoded.request else {
            panic!("not a produce request")
        };
        assert_eq!(found, expected, "version {version}");
    }
}

#[test]
fn records_stay_slices_of_the_frame() {
    let frame = frame_of(&produce_request(9), 9);
    let range = frame.as_ptr_range();
    let Request::Produce(request) = decode_request(frame.clone()).unwrap().request else {
        panic!()
    };
    let records = request.topic_data[0].partition_data[0].records.clone().unwrap();
    assert!(range.contains(&records.as_ptr()));
}

#[test]
fn an_unknown_version_of_api_versions_is_not_an_error() {
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&18_i16.to_be_bytes());
    frame.extend_from_slice(&99_i16.to_be_bytes());
    frame.extend_from_slice(&5_i32.to_be_bytes());
    let decoded = decode_request(frame.freeze()).unwrap();
    assert!(matches!(decoded.request, Request::UnknownApiVersions));
    assert_eq!((decoded.header.version, decoded.header.correlation_id), (0, 5));
}

#[test]
fn unserved_apis_and_versions_are_refused() {
    let frame = |key: i16, version: i16| {
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0; 32]);
        frame.freeze()
    };
    assert_eq!(
        decode_request(frame(99, 0)).unwrap_err(),
        RequestError::UnknownApi { key: 99 }
    );
    let expected = RequestError::UnsupportedVersion {
        api: ApiKey::Produce,
        version: 2,
        min: 3,
        max: 13,
    };
    assert_eq!(decode_request(frame(0, 2)).unwrap_err(), expected);
    let expected = RequestError::UnsupportedVersion {
        api: ApiKey::Metadata,
        version: -1,
        min: 0,
        max: 13,
    };
    assert_eq!(decode_request(frame(3, -1)).unwrap_err(), expected);
}

#[test]
fn only_produce_may_be_large() {
    let mut frame = BytesMut::from(&frame_of(&MetadataRequest::default(), 1)[..]);
    frame.resize(SMALL_FRAME_MAX_BYTES + 1, 0);
    assert!(matches!(
        decode_request(frame.freeze()),
        Err(RequestError::TooLarge { .. })
    ));
}

#[test]
fn every_truncation_is_an_error_or_a_request() {
    for version in 3..=13 {
        let frame = frame_of(&produce_request(version), version);
        for length in 0..frame.len() {
            assert!(
                decode_request(frame.slice(..length)).is_err(),
                "version {version}, {length} bytes"
            );
        }
    }
}

#[test]
fn claimed_counts_allocate_nothing() {
    // Produce v3: null transactional id, acks, timeout, then 2^31-1 topics.
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&[0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff]);
    frame.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
    frame.extend_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(
        decode_request(frame.freeze()),
        Err(RequestError::Body { .. })
    ));
}

#[test]
fn nested_empty_partitions_are_bounded_together() {
    // 1,001 topics of 100 empty partitions each are more partitions than one request may have.
    let mut topic = TopicProduceData::default();
    topic.partition_data = vec![PartitionProduceData::default(); 100];
    let mut request = ProduceRequest::default();
    request.topic_data = vec![topic; 1001];
    assert!(matches!(
        decode_request(frame_of(&request, 9)),
        Err(RequestError::Body { .. })
    ));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode_request(Bytes::from(bytes));
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        row in 0..SERVED_APIS.len(),
        step in 0_i16..20,
        body in proptest::collection::vec(any::<u8>(), 0..256),
    ) {
        let served = SERVED_APIS[row];
        let version = served.min + step % (served.max - served.min + 1);
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&(served.key as i16).to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0]);
        frame.extend_from_slice(&body);
        let _ = decode_request(frame.freeze());
    }
}

#[test]
fn trailing_bytes_are_ignored() {
    let mut frame = BytesMut::from(&frame_of(&ListGroupsRequest::default(), 2)[..]);
    frame.extend_from_slice(b"more");
    assert!(decode_request(frame.freeze()).is_ok());
}
