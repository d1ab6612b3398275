//! Kafka's record format of `__consumer_offsets`: committed offsets and group metadata.
//!
//! Keys begin with a version: 0 and 1 name a committed offset `(group, topic, partition)`, 2 names a group.
//! Offset values are written as version 3, group values as version 3, the versions that Kafka 4 writes for
//! classic groups; version 4 of both (compact encodings) is read too.

use bytes::{Bytes, BytesMut};
use kafka_wire_core::{DecodeError, DecodeLimits, Decoder, EncodeError, Encoder, StrBytes};

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
const OFFSET_VALUE_VERSION: i16 = 3;
const GROUP_VALUE_VERSION: i16 = 3;
const FLEXIBLE_VALUE_VERSION: i16 = 4;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum RecordKey {
    /// The committed offset of a group for a partition.
    Offset {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The members and assignments of a group.
    Group {
        /// The group.
        group: String,
    },
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffsetValue {
    /// The offset of the next record to consume.
    pub(super) offset: i64,
    /// The leader epoch of the record before it, or -1.
    pub(super) leader_epoch: i32,
    /// What the client wanted to remember.
    pub(super) metadata: String,
    /// When it was committed.
    pub(super) commit_timestamp_ms: i64,
}

/// A group as of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupValue {
    pub(super) protocol_type: String,
    pub(super) generation: i32,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) state_timestamp_ms: i64,
    pub(super) members: Vec<GroupMemberValue>,
}

/// A member of a group as of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupMemberValue {
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) subscription: Bytes,
    pub(super) assignment: Bytes,
}

impl RecordKey {
    /// Encodes the key.
    pub(super) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        let mut encoder = Encoder::new(&mut buffer);
        match self {
            RecordKey::Offset {
                group,
                topic,
                partition,
            } => {
                encoder.write_i16(OFFSET_KEY_VERSION)?;
                encoder.write_string(&StrBytes::from(group.as_str()))?;
                encoder.write_string(&StrBytes::from(topic.as_str()))?;
                encoder.write_i32(*partition)?;
            }
            RecordKey::Group { group } => {
                encoder.write_i16(GROUP_KEY_VERSION)?;
                encoder.write_string(&StrBytes::from(group.as_str()))?;
            }
        }
        Ok(buffer.freeze())
    }

    /// Decodes a key; `None` for a kind that this broker does not know.
    pub(super) fn decode(bytes: Bytes) -> Result<Option<RecordKey>, DecodeError> {
        let mut decoder = Decoder::new(bytes, DecodeLimits::default())?;
        Ok(match decoder.read_i16()? {
            0 | OFFSET_KEY_VERSION => Some(RecordKey::Offset {
                group: decoder.read_string()?.into_string(),
                topic: decoder.read_string()?.into_string(),
                partition: decoder.read_i32()?,
            }),
            GROUP_KEY_VERSION => Some(RecordKey::Group {
                group: decoder.read_string()?.into_string(),
            }),
            _ => None,
        })
    }
}

impl OffsetValue {
    /// Encodes the value.
    pub(super) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        let mut encoder = Encoder::new(&mut buffer);
        encoder.write_i16(OFFSET_VALUE_VERSION)?;
        encoder.write_i64(self.offset)?;
        encoder.write_i32(self.leader_epoch)?;
        encoder.write_string(&StrBytes::from(self.metadata.as_str()))?;
        encoder.write_i64(self.commit_timestamp_ms)?;
        Ok(buffer.freeze())
    }

    /// Decodes a value of version 0 to 4.
    pub(super) fn decode(bytes: Bytes) -> Result<Option<OffsetValue>, DecodeError> {
        let mut decoder = Decoder::new(bytes, DecodeLimits::default())?;
        let version = decoder.read_i16()?;
        if !(0..=FLEXIBLE_VALUE_VERSION).contains(&version) {
            return Ok(None);
        }
        let offset = decoder.read_i64()?;
        let leader_epoch = if version >= 3 { decoder.read_i32()? } else { -1 };
        let metadata = read_string(&mut decoder, version)?;
        let commit_timestamp_ms = decoder.read_i64()?;
        Ok(Some(OffsetValue {
            offset,
            leader_epoch,
            metadata,
            commit_timestamp_ms,
        }))
    }
}

impl GroupValue {
    /// Encodes the value.
    pub(super) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        let mut encoder = Encoder::new(&mut buffer);
        encoder.write_i16(GROUP_VALUE_VERSION)?;
        encoder.write_string(&StrBytes::from(self.protocol_type.as_str()))?;
        encoder.write_i32(self.generation)?;
        encoder.write_nullable_string(nullable(self.protocol.as_ref()).as_ref())?;
        encoder.write_nullable_string(nullable(self.leader.as_ref()).as_ref())?;
        encoder.write_i64(self.state_timestamp_ms)?;
        encoder.write_array_len(self.members.len())?;
        for member in &self.members {
            encoder.write_string(&StrBytes::from(member.member_id.as_str()))?;
            encoder.write_nullable_string(nullable(member.instance_id.as_ref()).as_ref())?;
            encoder.write_string(&StrBytes::from(member.client_id.as_str()))?;
            encoder.write_string(&StrBytes::from(member.client_host.as_str()))?;
            encoder.write_i32(member.rebalance_timeout_ms)?;
            encoder.write_i32(member.session_timeout_ms)?;
            encoder.write_bytes(&member.subscription)?;
            encoder.write_bytes(&member.assignment)?;
        }
        Ok(buffer.freeze())
    }

    /// Decodes a value of version 3 or 4; older ones, which Kafka stopped writing in 2.3, are not read.
    pub(super) fn decode(bytes: Bytes) -> Result<Option<GroupValue>, DecodeError> {
        let mut decoder = Decoder::new(bytes, DecodeLimits::default())?;
        let version = decoder.read_i16()?;
        if !(GROUP_VALUE_VERSION..=FLEXIBLE_VALUE_VERSION).contains(&version) {
            return Ok(None);
        }
        let mut value = GroupValue {
            protocol_type: read_string(&mut decoder, version)?,
            generation: decoder.read_i32()?,
            protocol: read_nullable_string(&mut decoder, version)?,
            leader: read_nullable_string(&mut decoder, version)?,
            state_timestamp_ms: decoder.read_i64()?,
            members: Vec::new(),
        };
        let flexible = version >= FLEXIBLE_VALUE_VERSION;
        let count = if flexible {
            decoder.read_compact_array_len()?
        } else {
            decoder.read_array_len()?
        };
        for _ in 0..count.get() {
            value.members.push(read_member(&mut decoder, version)?);
        }
        Ok(Some(value))
    }
}

fn read_member(decoder: &mut Decoder, version: i16) -> Result<GroupMemberValue, DecodeError> {
    let flexible = version >= FLEXIBLE_VALUE_VERSION;
    let member = GroupMemberValue {
        member_id: read_string(decoder, version)?,
        instance_id: read_nullable_string(decoder, version)?,
        client_id: read_string(decoder, version)?,
        client_host: read_string(decoder, version)?,
        rebalance_timeout_ms: decoder.read_i32()?,
        session_timeout_ms: decoder.read_i32()?,
        subscription: if flexible {
            decoder.read_compact_bytes()?
        } else {
            decoder.read_bytes()?
        },
        assignment: if flexible {
            decoder.read_compact_bytes()?
        } else {
            decoder.read_bytes()?
        },
    };
    if flexible {
        decoder.read_tagged_fields()?;
    }
    Ok(member)
}

fn nullable(text: Option<&String>) -> Option<StrBytes> {
    text.map(|text| StrBytes::from(text.as_str()))
}

fn read_string(decoder: &mut Decoder, version: i16) -> Result<String, DecodeError> {
    let text = if version >= FLEXIBLE_VALUE_VERSION {
        decoder.read_compact_string()?
    } else {
        decoder.read_string()?
    };
    Ok(text.into_string())
}

fn read_nullable_string(decoder: &mut Decoder, version: i16) -> Result<Option<String>, DecodeError> {
    let text = if version >= FLEXIBLE_VALUE_VERSION {
        decoder.read_compact_nullable_string()?
    } else {
        decoder.read_nullable_string()?
    };
    Ok(text.map(StrBytes::into_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_kafkas_bytes() {
        let key = RecordKey::Offset {
            group: "g".into(),
            topic: "t".into(),
            partition: 3,
        };
        assert_eq!(&key.encode().unwrap()[..], b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
        assert_eq!(RecordKey::decode(key.encode().unwrap()).unwrap(), Some(key));

        let metadata = "m".to_owned();
        let value = OffsetValue {
            offset: 5,
            leader_epoch: -1,
            metadata,
            commit_timestamp_ms: 6,
        };
        let expected = b"\0\x03\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\0\x01m\0\0\0\0\0\0\0\x06";
        assert_eq!(&value.encode().unwrap()[..], expected);
        assert_eq!(
            OffsetValue::decode(value.encode().unwrap()).unwrap(),
            Some(value.clone())
        );

        let flexible = b"\0\x04\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\x02m\0\0\0\0\0\0\0\x06\0";
        assert_eq!(
            OffsetValue::decode(Bytes::from_static(flexible)).unwrap(),
            Some(value)
        );
    }

    #[test]
    fn groups_survive_a_round_trip() {
        let member = GroupMemberValue {
            member_id: "m-1".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::new(),
        };
        let value = GroupValue {
            protocol_type: "consumer".into(),
            generation: 7,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            state_timestamp_ms: 9,
            members: vec![
                member.clone(),
                GroupMemberValue {
                    instance_id: None,
                    ..member
                },
            ],
        };
        assert_eq!(GroupValue::decode(value.encode().unwrap()).unwrap(), Some(value));
        let empty = GroupValue::default();
        assert_eq!(GroupValue::decode(empty.encode().unwrap()).unwrap(), Some(empty));
    }

    #[test]
    fn unknown_kinds_are_skipped_and_torn_ones_are_errors() {
        assert_eq!(RecordKey::decode(Bytes::from_static(b"\0\x09xyz")).unwrap(), None);
        assert!(RecordKey::decode(Bytes::from_static(b"\0\x01\0\x09g")).is_err());
        assert_eq!(OffsetValue::decode(Bytes::from_static(b"\0\x07")).unwrap(), None);
        assert_eq!(GroupValue::decode(Bytes::from_static(b"\0\x01")).unwrap(), None);
    }
}
