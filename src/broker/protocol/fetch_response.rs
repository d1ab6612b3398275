//! The Fetch response, encoded without copying a record: a skeleton cut around slices of the log.

use bytes::{Bytes, BytesMut};
use kafka_wire_core::{EncodeError, Encoder, StrBytes, Uuid};

use super::response::{begin_frame, end_frame};
use super::{ErrorCode, RequestHeader, ResponseFrame};

/// First version with compact encodings and tagged fields.
const FLEXIBLE_VERSION: i16 = 12;

/// First version that names topics by id.
const TOPIC_ID_VERSION: i16 = 13;

/// What a Fetch answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchAnswer {
    /// An error of the whole request.
    pub error: ErrorCode,
    /// Whether the client asked for committed records only: it then gets a list of aborted transactions.
    pub read_committed: bool,
    /// The topics, in the order of the request.
    pub topics: Vec<FetchedTopic>,
}

/// What a Fetch answers for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The name; on the wire below version 13.
    pub name: StrBytes,
    /// The id; on the wire from version 13.
    pub id: Uuid,
    /// The partitions, in the order of the request.
    pub partitions: Vec<FetchedPartition>,
}

/// What a Fetch answers for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The partition.
    pub index: i32,
    /// Why there is no data.
    pub error: ErrorCode,
    /// Offset behind the last readable record, -1 with an error.
    pub high_watermark: i64,
    /// Offset of the first readable record, -1 with an error.
    pub log_start: i64,
    /// Whole batches, as slices of the log.
    pub records: Vec<Bytes>,
}

impl FetchedPartition {
    /// An answer without data.
    pub fn failed(index: i32, error: ErrorCode) -> FetchedPartition {
        FetchedPartition {
            index,
            error,
            high_watermark: -1,
            log_start: -1,
            records: Vec::new(),
        }
    }

    /// Size of the records.
    pub fn records_size_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// Encodes the answer to the Fetch with `header`.
pub fn encode_fetch(header: &RequestHeader, answer: FetchAnswer) -> Result<ResponseFrame, EncodeError> {
    let version = header.version;
    let mut skeleton = begin_frame(header.correlation_id, version >= FLEXIBLE_VERSION);
    let mut cuts = Vec::new();
    write_body(&mut skeleton, version, answer, &mut cuts)?;
    let records_size_bytes: usize = cuts.iter().flat_map(|cut| &cut.records).map(Bytes::len).sum();
    end_frame(&mut skeleton, records_size_bytes)?;
    Ok(ResponseFrame {
        parts: weave(&skeleton.freeze(), cuts),
    })
}

/// A place in the skeleton where records of the log follow.
struct Cut {
    position: usize,
    records: Vec<Bytes>,
}

fn write_body(
    skeleton: &mut BytesMut,
    version: i16,
    answer: FetchAnswer,
    cuts: &mut Vec<Cut>,
) -> Result<(), EncodeError> {
    let flexible = version >= FLEXIBLE_VERSION;
    let read_committed = answer.read_committed;
    let mut encoder = Encoder::new(skeleton);
    encoder.write_i32(0)?;
    if version >= 7 {
        encoder.write_i16(answer.error.0)?;
        // Session 0: every fetch is a full fetch.
        encoder.write_i32(0)?;
    }
    write_array_len(skeleton, flexible, answer.topics.len())?;
    for topic in answer.topics {
        let mut encoder = Encoder::new(skeleton);
        if version >= TOPIC_ID_VERSION {
            encoder.write_uuid(topic.id)?;
        } else if flexible {
            encoder.write_compact_string(&topic.name)?;
        } else {
            encoder.write_string(&topic.name)?;
        }
        write_array_len(skeleton, flexible, topic.partitions.len())?;
        for partition in topic.partitions {
            write_partition(skeleton, version, &partition, read_committed)?;
            if !partition.records.is_empty() {
                cuts.push(Cut {
                    position: skeleton.len(),
                    records: partition.records,
                });
            }
            write_no_tags(skeleton, flexible);
        }
        write_no_tags(skeleton, flexible);
    }
    write_no_tags(skeleton, flexible);
    Ok(())
}

/// Writes a partition up to and including the length of its records.
fn write_partition(
    skeleton: &mut BytesMut,
    version: i16,
    partition: &FetchedPartition,
    read_committed: bool,
) -> Result<(), EncodeError> {
    let flexible = version >= FLEXIBLE_VERSION;
    let mut encoder = Encoder::new(skeleton);
    encoder.write_i32(partition.index)?;
    encoder.write_i16(partition.error.0)?;
    encoder.write_i64(partition.high_watermark)?;
    // Without transactions the last stable offset is the high watermark.
    encoder.write_i64(partition.high_watermark)?;
    if version >= 5 {
        encoder.write_i64(partition.log_start)?;
    }
    if read_committed {
        write_array_len(skeleton, flexible, 0)?;
    } else {
        write_null_array(skeleton, flexible)?;
    }
    let mut encoder = Encoder::new(skeleton);
    if version >= 11 {
        encoder.write_i32(-1)?;
    }
    let length = partition.records_size_bytes();
    let overflow = |_| EncodeError::LengthOverflow {
        kind: "records",
        length,
        maximum: i32::MAX as usize,
    };
    let length = i32::try_from(length).map_err(overflow)?;
    if flexible {
        encoder.write_unsigned_varint(length as u32 + 1)
    } else {
        encoder.write_i32(length)
    }
}

fn write_array_len(skeleton: &mut BytesMut, flexible: bool, length: usize) -> Result<(), EncodeError> {
    let mut encoder = Encoder::new(skeleton);
    if flexible {
        encoder.write_compact_array_len(length)
    } else {
        encoder.write_array_len(length)
    }
}

fn write_null_array(skeleton: &mut BytesMut, flexible: bool) -> Result<(), EncodeError> {
    let mut encoder = Encoder::new(skeleton);
    if flexible {
        encoder.write_unsigned_varint(0)
    } else {
        encoder.write_i32(-1)
    }
}

fn write_no_tags(skeleton: &mut BytesMut, flexible: bool) {
    if flexible {
        skeleton.extend_from_slice(&[0]);
    }
}

/// Puts the records at their cuts.
fn weave(skeleton: &Bytes, cuts: Vec<Cut>) -> Vec<Bytes> {
    let part_count = cuts.iter().map(|cut| cut.records.len() + 1).sum::<usize>() + 1;
    let mut parts = Vec::with_capacity(part_count);
    let mut from = 0;
    for cut in cuts {
        parts.push(skeleton.slice(from..cut.position));
        parts.extend(cut.records);
        from = cut.position;
    }
    if from < skeleton.len() {
        parts.push(skeleton.slice(from..));
    }
    parts
}

#[cfg(test)]
mod tests {
    use kafka_wire::FetchResponse;
    use kafka_wire_core::{ApiVersion, DecodeLimits, KafkaDecode};

    use super::super::ApiKey;
    use super::*;

    fn partition(index: i32, records: &[&'static [u8]]) -> FetchedPartition {
        FetchedPartition {
            index,
            error: ErrorCode::NONE,
            high_watermark: 70,
            log_start: 3,
            records: records.iter().map(|slice| Bytes::from_static(slice)).collect(),
        }
    }

    fn answer() -> FetchAnswer {
        let partitions = vec![
            partition(0, &[b"head", b"body"]),
            partition(1, &[]),
            FetchedPartition::failed(2, ErrorCode::OFFSET_OUT_OF_RANGE),
            partition(3, &[b"last"]),
        ];
        let id = Uuid::from_bytes([7; 16]);
        let topics = vec![FetchedTopic {
            name: StrBytes::from("orders"),
            id,
            partitions,
        }];
        FetchAnswer {
            error: ErrorCode::NONE,
            read_committed: false,
            topics,
        }
    }

    #[test]
    fn every_version_decodes_to_what_was_answered() {
        for version in 4..=18 {
            let header = RequestHeader {
                api: ApiKey::Fetch,
                version,
                correlation_id: 9,
                client_id: None,
            };
            let frame = encode_fetch(&header, answer()).unwrap();
            let wire: Vec<u8> = frame.parts.concat();
            assert_eq!(
                u32::from_be_bytes(wire[..4].try_into().unwrap()) as usize,
                wire.len() - 4
            );
            assert_eq!(wire[4..8], 9_i32.to_be_bytes());
            let body = Bytes::from(wire).slice(if version >= 12 { 9.. } else { 8.. });
            let limits = DecodeLimits::default();
            let decoded = FetchResponse::decode_from_bytes(body, ApiVersion::new(version), limits).unwrap();

            assert_eq!(decoded.session_id, 0);
            let topic = &decoded.responses[0];
            if version >= 13 {
                assert_eq!(topic.topic_id, Uuid::from_bytes([7; 16]));
            } else {
                assert_eq!(topic.topic.as_str(), "orders");
            }
            let seen: Vec<_> = topic
                .partitions
                .iter()
                .map(|p| {
                    (
                        p.partition_index,
                        p.error_code,
                        p.high_watermark,
                        p.records.clone(),
                    )
                })
                .collect();
            let expected = vec![
                (0, 0, 70, Some(Bytes::from_static(b"headbody"))),
                (1, 0, 70, Some(Bytes::new())),
                (2, 1, -1, Some(Bytes::new())),
                (3, 0, 70, Some(Bytes::from_static(b"last"))),
            ];
            assert_eq!(seen, expected, "version {version}");
            assert!(topic.partitions.iter().all(|p| p.aborted_transactions.is_none()));
        }
    }

    #[test]
    fn read_committed_gets_an_empty_list_of_aborted_transactions() {
        let mut answer = answer();
        answer.read_committed = true;
        let header = RequestHeader {
            api: ApiKey::Fetch,
            version: 11,
            correlation_id: 9,
            client_id: None,
        };
        let wire = Bytes::from(encode_fetch(&header, answer).unwrap().parts.concat());
        let limits = DecodeLimits::default();
        let decoded = FetchResponse::decode_from_bytes(wire.slice(8..), ApiVersion::new(11), limits).unwrap();
        assert_eq!(
            decoded.responses[0].partitions[0].aborted_transactions,
            Some(Vec::new())
        );
    }
}
