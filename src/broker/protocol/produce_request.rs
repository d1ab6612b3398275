//! The body of a Produce request, decoded by hand: one budget for all its partitions together.
//!
//! A generic decoder limits each array by itself, so a 100 MiB frame of nested empty arrays would cost
//! gigabytes. Here the number of partitions of the whole request is bounded.

use kafka_wire::ProduceRequest;
use kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_wire_core::{ApiVersion, DecodeError, Decoder, StrBytes};

/// Most topics and partitions in one Produce request. A batch per partition is at least 61 bytes, so a
/// useful 100 MiB request stays far below.
const PARTITIONS_MAX: usize = 100_000;

/// First version with compact encodings and tagged fields.
const FLEXIBLE_VERSION: i16 = 9;

/// First version that names topics by id.
const TOPIC_ID_VERSION: i16 = 13;

/// Decodes the body; record batches stay slices of the decoder's input.
pub fn decode_produce(decoder: &mut Decoder, version: ApiVersion) -> Result<ProduceRequest, DecodeError> {
    let flexible = version.value() >= FLEXIBLE_VERSION;
    let mut request = ProduceRequest::default();
    request.transactional_id = read_nullable_string(decoder, flexible)?;
    request.acks = decoder.read_i16()?;
    request.timeout_ms = decoder.read_i32()?;

    let mut element_count = 0;
    for _ in 0..read_array_len(decoder, flexible)? {
        count_element(&mut element_count, decoder)?;
        let topic = decode_topic(decoder, version, &mut element_count)?;
        request.topic_data.push(topic);
    }
    if flexible {
        request.unknown_tagged_fields = decoder.read_tagged_fields()?;
    }
    Ok(request)
}

fn decode_topic(
    decoder: &mut Decoder,
    version: ApiVersion,
    element_count: &mut usize,
) -> Result<TopicProduceData, DecodeError> {
    let flexible = version.value() >= FLEXIBLE_VERSION;
    let mut topic = TopicProduceData::default();
    if version.value() >= TOPIC_ID_VERSION {
        topic.topic_id = decoder.read_uuid()?;
    } else if flexible {
        topic.name = decoder.read_compact_string()?;
    } else {
        topic.name = decoder.read_string()?;
    }
    for _ in 0..read_array_len(decoder, flexible)? {
        count_element(element_count, decoder)?;
        let mut partition = PartitionProduceData::default();
        partition.index = decoder.read_i32()?;
        if flexible {
            partition.records = decoder.read_compact_nullable_bytes()?;
            partition.unknown_tagged_fields = decoder.read_tagged_fields()?;
        } else {
            partition.records = decoder.read_nullable_bytes()?;
        }
        topic.partition_data.push(partition);
    }
    if flexible {
        topic.unknown_tagged_fields = decoder.read_tagged_fields()?;
    }
    Ok(topic)
}

fn count_element(count: &mut usize, decoder: &Decoder) -> Result<(), DecodeError> {
    *count += 1;
    if *count > PARTITIONS_MAX {
        return Err(DecodeError::LimitExceeded {
            kind: "produce partitions",
            length: *count,
            limit: PARTITIONS_MAX,
            offset: decoder.offset(),
        });
    }
    Ok(())
}

fn read_array_len(decoder: &mut Decoder, flexible: bool) -> Result<usize, DecodeError> {
    let length = if flexible {
        decoder.read_compact_array_len()?
    } else {
        decoder.read_array_len()?
    };
    Ok(length.get())
}

fn read_nullable_string(decoder: &mut Decoder, flexible: bool) -> Result<Option<StrBytes>, DecodeError> {
    if flexible {
        decoder.read_compact_nullable_string()
    } else {
        decoder.read_nullable_string()
    }
}
